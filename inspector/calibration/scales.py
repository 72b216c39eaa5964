"""Scales of a calibration: the recipe's rule on the stored tables of each point, for any alpha."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution import DistributionFile, MagnitudeTable
from qinspect.inspector.observers import Applied, Point, Rule, applied


@dataclass(frozen=True, slots=True)
class PointResult:
    """What a point got. scale: float32, a scalar, or one a group. w_max: the range it stands for, of the largest group.
    exact: whether the tables are; otherwise the scale is the upper bound of what it can be. n_values, n_not_finite:
    what the point saw. n_samples: those that have a table here, 0 where none was kept."""

    point: Point
    applied: Applied
    w_max: float
    scale: NDArray[np.float32]
    exact: bool = True
    n_values: int = 0
    n_not_finite: int = 0
    n_samples: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "point": self.point.name,
            "dtype": self.point.dtype,
            "rotated": self.point.rotated,
            "rule": str(self.applied.rule),
            "alpha": self.applied.alpha,
            "w_max": self.w_max,
            "scale": self.scale.tolist(),
            "exact": self.exact,
            "values": self.n_values,
            "not_finite": self.n_not_finite,
            "sample_tables": self.n_samples,
        }


def results(
    points: Iterable[Point],
    recipe: str,
    alphas: Sequence[float],
    file: DistributionFile,
    grouped: Mapping[str, NDArray[np.float32]],
) -> list[list[PointResult]]:
    """For each alpha the scale of every point that saw a value, in the order of the points. The tables of a point are
    read once for all alphas."""
    made: list[list[PointResult]] = [[] for _ in alphas]
    seen = frozenset(file.points)
    for point in (p for p in points if p.name in seen):
        pooled = file.pooled(point.name)
        largest = grouped.get(point.name)
        n_not_finite, n_samples = pooled.n_inf + pooled.n_nan, file.n_samples(point.name)
        per_sample = largest is None and applied(recipe, point, 0.5).per_sample
        tables = file.samples(point.name) if per_sample else [pooled]
        for of_alpha, alpha in zip(made, alphas, strict=True):
            used = applied(recipe, point, alpha)
            found = of_tables(point, used, tables) if largest is None else _of_groups(point, used, largest)
            of_alpha.append(replace(found, n_values=pooled.n, n_not_finite=n_not_finite, n_samples=n_samples))
    return made


def of_tables(point: Point, used: Applied, tables: Sequence[MagnitudeTable]) -> PointResult:
    """What a rule makes of the tables that it takes. Raises ValueError where they cannot answer."""
    if all(t.exact for t in tables):
        return PointResult(point, used, used.rule.w_max(tables), np.array(used.rule.scale(tables), np.float32))
    upper = [t.upper for t in tables]
    return PointResult(
        point, used, used.rule.w_max(upper), used.rule.scale_bounds(tables).high.reshape(()), exact=False
    )


def _of_groups(point: Point, used: Applied, largest: NDArray[np.float32]) -> PointResult:
    scale = scales_of_absmax(used.rule, largest)
    return PointResult(point, used, float(largest.max()), scale)


def scales_of_absmax(rule: Rule, largest: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 of the same shape: a min-max rule's scale for each largest magnitude."""
    return np.array([rule.scale_of_range(float(w)) for w in largest.flat], np.float32).reshape(largest.shape)
