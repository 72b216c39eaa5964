"""The axis that both plots share: |x|, and with it the range that a scale stands for, in octaves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from qinspect.tui.look import Line

_MULTIPLES: tuple[tuple[float, ...], ...] = ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5), (1, 2, 5), (1,))
"""Numbers of one decade that have a tick, from the closest to the widest."""


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

    def tick_line(self, name: str, divisor: float, plain: bool) -> Line:
        """The axis with its numbers, |x| / divisor, right of their ticks."""
        corner, rule, tick = ("+", "-", "+") if plain else ("└", "─", "┴")
        cells = [rule] * self.width
        for column, text in self._ticks(divisor):
            cells[column : column + 1 + len(text)] = [tick, *text]
        return [(f"{name:>{self.left - 1}}{corner}", "dim"), ("".join(cells), "dim")]

    def _ticks(self, divisor: float) -> list[tuple[int, str]]:
        """As many as have room, a cell and more between them."""
        low, high = (2.0**end / divisor for end in (self.low, self.high))
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        for multiples in _MULTIPLES:
            at = [m * 10.0**p for p in range(first, last + 1) for m in multiples]
            ticks = [(self.column_of(x * divisor), f"{x:.3g}") for x in at if low <= x <= high]
            ticks = [(c, text) for c, text in ticks if c + len(text) < self.width]
            if _fits(ticks):
                return ticks
        ends = [10.0**p for p in range(first, last + 1, -(-(last - first) // 3)) if low <= 10.0**p <= high]
        ticks = [(self.column_of(x * divisor), f"{x:.3g}") for x in ends]
        return [(c, text) for c, text in ticks if c + len(text) < self.width]


def _fits(ticks: Sequence[tuple[int, str]]) -> bool:
    return all(c + len(text) + 2 < after for (c, text), (after, _) in pairwise(ticks))
