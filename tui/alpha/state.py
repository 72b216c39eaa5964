"""What the explorer is asked, and what it answers. No widget in here."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.alpha.sweep.alphas import ALPHAS, nearest, on_grid
from qinspect.inspector.alpha.sweep.best import Best, best, best_of_point
from qinspect.inspector.alpha.sweep.grid import Grid, Numbers
from qinspect.inspector.alpha.sweep.one import default_rule
from qinspect.inspector.alpha.sweep.rules import BITS
from qinspect.inspector.alpha.sweep.stored_scales import ScalePlace, StoredScale, places_of
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.observers import RULES
from qinspect.inspector.text import natural_key
from qinspect.inspector.values.clipping import Reading

SORTS = ("forward", "point", "scale", "clipped", "lost", "best alpha")
ExactKey = tuple[int, str, float]
"""(point, rule, alpha)."""


@dataclass(slots=True)
class Chosen:
    """What is looked at. alpha: of the cursor, also where the rule has none. text: the filter."""

    rule: str
    alpha: float
    bits: int = 8
    sort: str = "forward"
    reverse: bool = False
    text: str = ""


class Explorer:
    """A grid, and what is chosen of it. Everything but `exact` is looked up."""

    def __init__(
        self, calibration: Calibration, grid: Grid, stored: Mapping[str, StoredScale] | None, chosen: Chosen
    ) -> None:
        self.calibration, self.grid, self.stored, self.chosen = calibration, grid, stored, chosen
        self.given = tuple(r.alpha for r in calibration.results)
        self.exact: dict[ExactKey, tuple[Reading, ...]] = {}
        """Readings between the alphas of the grid, those for each of BITS."""
        self.plot: tuple[Hashable, Any] | None = None
        """The curve that was drawn last, and of what."""
        self.best = lru_cache(maxsize=32)(self._best)
        self.best_alphas = lru_cache(maxsize=32)(self._best_alphas)
        self.placed = lru_cache(maxsize=8)(self._placed)
        self._numbers = lru_cache(maxsize=64)(grid.at)

    @property
    def index(self) -> int:
        """The number of the grid's alpha at the cursor, of the nearest where it is in between."""
        return nearest(self.chosen.alpha)

    @property
    def is_between(self) -> bool:
        """Whether the cursor is between two alphas of the grid, and the rule has one."""
        return self.has_alpha and on_grid(self.chosen.alpha) is None

    @property
    def has_alpha(self) -> bool:
        """Whether alpha makes a difference to the rule."""
        return RULES[self.chosen.rule].takes_alpha

    @property
    def b(self) -> int:
        """The number of the chosen bits in BITS."""
        return BITS.index(self.chosen.bits)

    @property
    def numbers(self) -> Numbers:
        """Of all points at the cursor."""
        return self.numbers_of(self.chosen.rule, self.index)

    def numbers_of(self, rule: str, i: int) -> Numbers:
        """Of all points by another rule, or at another alpha of the grid."""
        return self._numbers(rule, i if RULES[rule].takes_alpha else 0)

    def exact_of(self, point: int) -> tuple[Reading, ...] | None:
        """Of a point at the cursor, where that is between the alphas of the grid and was computed."""
        return self.exact.get((point, self.chosen.rule, self.chosen.alpha)) if self.is_between else None

    def _best(self, rule: str, bits: int) -> list[Best]:
        return best(self.grid, rule, bits, self.given)

    def _best_alphas(self, rule: str, bits: int) -> NDArray[np.int64]:
        return best_of_point(self.grid, rule, bits)

    def _placed(self, rule: str) -> list[ScalePlace | None]:
        return places_of(self.grid, rule if RULES[rule].takes_alpha else "pooled", self.stored or {})

    # --- rows ---

    def rows(self) -> list[int]:
        """Numbers of the points that the filter lets through, sorted."""
        words = self.chosen.text.lower().split()
        names = self.grid.names
        found = [i for i, name in enumerate(names) if all(w in name.lower() for w in words)]
        if self.chosen.sort == "point":
            found.sort(key=lambda i: natural_key(names[i]))
        elif self.chosen.sort != "forward":
            keys = self._keys()
            found.sort(key=lambda i: float(keys[i]))
        return found[::-1] if self.chosen.reverse else found

    def _keys(self) -> NDArray[np.float64]:
        """What is large comes first, what has no number last."""
        n, b, sort = self.numbers, self.b, self.chosen.sort
        if sort == "best alpha":
            return -self.best_alphas(self.chosen.rule, self.chosen.bits).astype(np.float64)
        values = {"scale": n.scale, "clipped": n.clipped, "lost": n.loss_db}.get(sort, n.scale)[b]
        return np.where(np.isnan(values), np.inf, -values)

    # --- moving ---

    def move_by(self, steps: int) -> None:
        """So many alphas of the grid; from in between the next one counts as the first."""
        alpha, i = self.chosen.alpha, self.index
        if on_grid(alpha) is None:
            i += (ALPHAS[i] > alpha) * -1 if steps > 0 else (ALPHAS[i] < alpha) * 1
        self.chosen.alpha = ALPHAS[min(len(ALPHAS) - 1, max(0, i + steps))]

    def move_decade(self, direction: int) -> None:
        """Ten times nearer to 1, or ten times further from it."""
        rest = (1 - self.chosen.alpha) * 10.0**-direction
        if self.chosen.alpha == 1:
            rest = 0.0 if direction > 0 else 1 - ALPHAS[-2]
        self.chosen.alpha = ALPHAS[nearest(1 - rest)]


def chosen_for(calibration: Calibration, alpha: float | None, rule: str | None, bits: int) -> Chosen:
    """What is looked at first: what the run did, unless something else is asked for."""
    return Chosen(rule or default_rule(calibration), calibration.results[0].alpha if alpha is None else alpha, bits)
