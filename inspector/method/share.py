"""A share with the counts behind it."""

from __future__ import annotations

from typing import NamedTuple

from qinspect.inspector.text import share


class Share(NamedTuple):
    """part of whole."""

    part: int
    whole: int

    @property
    def value(self) -> float:
        """0 to 1; 0 of nothing."""
        return self.part / self.whole if self.whole else 0.0

    def __str__(self) -> str:
        return share(self.part, self.whole)
