"""The axis that both plots share: |x|, and with it the range that a scale stands for, in octaves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from qinspect.tui.charts.ticks import logarithmic
from qinspect.tui.widgets.lines import Piece

ROOM = 2
"""Blank cells between a number and the next tick, at least."""


@dataclass(frozen=True, slots=True)
class Axis:
    """left: cells before it. width: its cells. low, high: its ends, log2."""

    left: int
    width: int
    low: float
    high: float

    def column(self, at: float) -> int:
        """The cell of a log2; negative, or `width`, beyond the ends."""
        if at > self.high + 1e-9:
            return self.width
        share = (at - self.low) / (self.high - self.low)
        return -1 if share < -1e-9 else min(self.width - 1, int(self.width * max(share, 0.0)))

    def column_of(self, value: float) -> int:
        """The cell of a positive number; -1 for any other."""
        return self.column(math.log2(value)) if 0 < value < math.inf else -1

    def tick_line(self, name: str, divisor: float, plain: bool) -> list[Piece]:
        """The axis with its numbers, |x| / divisor, right of their ticks."""
        corner, rule, tick = ("+", "-", "+") if plain else ("└", "─", "┴")
        cells = [rule] * self.width
        for column, text in self._ticks(divisor):
            cells[column : column + 1 + len(text)] = [tick, *text]
        return [(f"{name:>{self.left - 1}}{corner}", "dim"), ("".join(cells), "dim")]

    def _ticks(self, divisor: float) -> list[tuple[int, str]]:
        """As many as have room, each with its number right of it."""
        low, high = (2.0**end / divisor for end in (self.low, self.high))
        for candidate in logarithmic(low, high, max(1, self.width // 4)):
            ticks = [(self.column_of(t.at * divisor), t.label) for t in candidate]
            ticks = [(c, text) for c, text in ticks if c + len(text) < self.width]
            if ticks and all(c + len(text) + ROOM < after for (c, text), (after, _) in pairwise(ticks)):
                return ticks
        return []
