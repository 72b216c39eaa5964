"""Conclusions from what tools say themselves: one sentence for a line, however often it came.

Which lines, and what is concluded, is data: patterns with `concludes` in patterns.toml.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from qinspect.inspector.logs.patterns import Pattern
from qinspect.inspector.text import count, some, visible

MAX_ITEMS = 100_000
"""Different modules that are told apart; of more, lines are counted."""
_PLACE = re.compile(r"\{(?:(n(?: of)?) (\w+)|(\w+))\}")


@dataclass
class Said:
    """How often a pattern matched, with what, and where. items: of its group `item`."""

    pattern: Pattern
    n: int = 0
    items: set[str] = field(default_factory=set)
    groups: dict[str, Any] = field(default_factory=dict)
    first: int = 0
    last: int = 0
    is_settled: bool = False
    """The line that `settled` names came after it."""

    def add(self, groups: dict[str, Any], line: int) -> None:
        """One more line."""
        self.n += 1
        self.first = self.first or line
        self.last = line
        self.groups = self.groups or groups
        if "item" in groups and len(self.items) < MAX_ITEMS:
            self.items.add(str(groups["item"]))

    def settle(self, pattern: str, said: dict[str, Said]) -> None:
        """A line of `pattern` came. Where that is what settles this one, it holds until something else is said; what
        was not said again since the one before holds no more."""
        if self.pattern.settled != pattern:
            return
        if self.is_settled:
            del said[self.pattern.name]
        self.is_settled = True

    @property
    def number(self) -> int:
        """Different items, or lines."""
        return len(self.items) if 0 < len(self.items) < MAX_ITEMS else self.n

    def text(self, said: dict[str, Said]) -> str:
        """The sentence. said: all patterns of the run, for `of`."""
        whole = said[self.pattern.of].number if self.pattern.of in said else 0
        known = whole >= self.number

        def place(found: re.Match[str]) -> str:
            if found[3]:
                return visible(str(self.groups.get(found[3], "?")), 300)
            if found[1] == "n of" and known:
                return f"{count(self.number)} of {some(whole, found[2])}"
            return some(self.number, found[2])

        text = _PLACE.sub(place, self.pattern.concludes)
        return f"{text}: {self.pattern.whole}" if self.pattern.whole and known and whole == self.number else text
