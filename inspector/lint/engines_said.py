"""What engines make of scales that they load as one, in a clause behind a finding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from qinspect.inspector.formats import Format

if TYPE_CHECKING:
    from qinspect.inspector.loaders import Loaders

CLAUSES = 3
"""Of so many engines at most: `qinspect loaders` has all."""


class EnginesSaid:
    """Asked for modules of one checkpoint. The rules of engines are looked at when the first is asked for."""

    def __init__(self, fmt: Format) -> None:
        self._fmt = fmt

    @cached_property
    def _loaders(self) -> Loaders:
        from qinspect.inspector.loaders import statements_of

        return statements_of(self._fmt)

    def __call__(self, modules: Sequence[str]) -> str:
        """What changes their numbers or refuses them, the worst of each engine; "" where no rule says so."""
        from qinspect.inspector.loaders import said_of

        first: dict[str, str] = {}
        for statement, clause in said_of(self._loaders, modules):
            if statement.known and statement.is_news:
                first.setdefault(statement.engine, clause)
        return "; ".join(list(first.values())[:CLAUSES])
