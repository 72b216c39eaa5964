"""The best alpha: of each point, of each kind of point, one for all; and what each gives up.

The criterion is what a point loses in decibels of SQNR against its own best scale, its MSE optimum. Of several points
the alpha of least mean loss is the best: a decibel weighs the same at every point, whatever its values or its share of
the model's error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.alpha.sweep.alphas import ALPHAS, nearest
from qinspect.inspector.alpha.sweep.grid import Float64, Grid
from qinspect.inspector.alpha.sweep.rules import BITS, WITHOUT
from qinspect.inspector.observers import RULES
from qinspect.inspector.roles import place

CRITERION = "least mean loss of SQNR against each point's own MSE optimum"


@dataclass(frozen=True, slots=True)
class Best:
    """what: `all`, `reached` (where the recipe has an alpha), `kind`, `point` (each its own) for alphas that were
    sought; `given` for one that was asked about, `rule` for a rule without one. label: a name for it. alpha: None for a
    rule without; of `point` several, `low` to `high`. mean_db, worst_db: what is lost, at `worst`. n: points that have
    a scale."""

    what: str
    label: str
    alpha: float | None
    mean_db: float
    worst_db: float
    worst: str
    n: int
    low: float | None = None
    high: float | None = None


def best(grid: Grid, rule: str, bits: int, given: Sequence[float] = ()) -> list[Best]:
    """One for all, one for those that the recipe's alpha reaches, one for each kind, each point its own; then alphas
    that were given, and the rules without an alpha. Of a rule without one what it loses. Empty where no point has a
    scale."""
    every = grid.loss(rule, bits)
    # What loses nothing has no decibels to compare, and an infinite value makes no scale
    known = np.isfinite(grid.optimum_db[BITS.index(bits)]) & np.isfinite(every).any(axis=1)
    if not known.any():
        return []
    names, reached = np.array(grid.names, object)[known], np.array([p.reached for p in grid.points])[known]
    loss = np.nan_to_num(every[known], nan=np.inf, posinf=np.inf)
    kinds = np.array([place(name)[1] for name in names])
    groups = [("all", "one for all", np.ones(len(names), np.bool_))]
    if reached.any() and not reached.all():
        groups.append(("reached", "where the recipe has an alpha", reached))
    groups += [("kind", str(kind), kinds == kind) for kind in dict.fromkeys(kinds)]
    if not RULES[rule].takes_alpha:
        told = [_told(what, label, None, loss[of, 0], names[of]) for what, label, of in groups if what != "all"]
        return told + _without(grid, bits, known, names)
    found = [_of(loss[of], names[of], grid.alphas, what, label) for what, label, of in groups]
    found.append(_each(loss, names, grid.alphas))
    found += [_at(loss, names, a) for a in given]
    return found + _without(grid, bits, known, names)


def _without(grid: Grid, bits: int, known: NDArray[np.bool_], names: NDArray[np.object_]) -> list[Best]:
    once = [(c.name, grid.loss(c.name, bits)[known][:, 0]) for c in WITHOUT]
    return [_told("rule", name, None, lost, names) for name, lost in once if not np.isnan(lost).any()]


def best_of_point(grid: Grid, rule: str, bits: int) -> NDArray[np.int64]:
    """int64[P]: the number of each point's best alpha, of equals the largest; -1 for a point without a scale."""
    loss = grid.loss(rule, bits)
    known = ~np.isnan(loss).all(axis=1)
    return np.where(known, _last_least(np.nan_to_num(loss, nan=np.inf, posinf=np.inf)), -1)


def _last_least(loss: Float64) -> NDArray[np.int64]:
    last: NDArray[np.int64] = loss.shape[-1] - 1 - np.argmin(loss[..., ::-1], axis=-1)
    return last


def _of(loss: Float64, names: NDArray[np.object_], alphas: Float64, what: str, label: str) -> Best:
    at = int(_last_least(loss.mean(axis=0)))
    return _told(what, label, float(alphas[at]), loss[:, at], names)


def _at(loss: Float64, names: NDArray[np.object_], alpha: float) -> Best:
    at = nearest(alpha)
    label = "as given" if ALPHAS[at] == alpha else f"nearest to the given {alpha:.9g}"
    return _told("given", label, ALPHAS[at], loss[:, at], names)


def _each(loss: Float64, names: NDArray[np.object_], alphas: Float64) -> Best:
    at = alphas[_last_least(loss)]
    found = _told("point", "each its own", None, loss.min(axis=1), names)
    return Best(
        found.what, found.label, None, found.mean_db, found.worst_db, found.worst, found.n, float(at.min()),
        float(at.max()),
    )  # fmt: skip


def _told(what: str, label: str, alpha: float | None, lost: Float64, names: NDArray[np.object_]) -> Best:
    worst = int(np.argmax(lost))
    return Best(what, label, alpha, float(lost.mean()), float(lost[worst]), str(names[worst]), lost.size)
