"""Scales of a calibration: the recipe's rule on the stored tables of each point, for any alpha."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.calibrate.points import Point
from qinspect.inspector.calibrate.recipes import Applied, applied
from qinspect.inspector.distribution import DistributionFile
from qinspect.inspector.observers import Rule


@dataclass(frozen=True, slots=True)
class PointResult:
    """What a point got. scale: float32, a scalar, or one a group. w_max: the range it stands for, of the largest group.
    exact: whether the tables are; otherwise the scale is the upper bound of what it can be."""

    point: Point
    applied: Applied
    w_max: float
    scale: NDArray[np.float32]
    exact: bool = True

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "point": self.point.name,
            "key": self.point.key,
            "dtype": self.point.dtype,
            "shape": list(self.point.shape),
            "rotated": self.point.rotated,
            "rule": str(self.applied.rule),
            "alpha": self.applied.alpha,
            "w_max": self.w_max,
            "scale": self.scale.tolist(),
            "exact": self.exact,
        }


def results(
    points: Sequence[Point],
    recipe: str,
    alpha: float,
    file: DistributionFile,
    grouped: Mapping[str, NDArray[np.float32]],
) -> list[PointResult]:
    """The scale of every point, in the order of the points."""
    return [_of_groups(p, recipe, alpha, grouped[p.name]) if p.name in grouped else _of_tables(p, recipe, alpha, file)
            for p in points]  # fmt: skip


def _of_tables(point: Point, recipe: str, alpha: float, file: DistributionFile) -> PointResult:
    used = applied(recipe, point, alpha)
    tables = file.samples(point.name) if used.per_sample else [file.pooled(point.name)]
    if all(t.exact for t in tables):
        return PointResult(point, used, used.rule.w_max(tables), np.array(used.rule.scale(tables), np.float32))
    upper = [t.upper for t in tables]
    return PointResult(
        point, used, used.rule.w_max(upper), used.rule.scale_bounds(tables).high.reshape(()), exact=False
    )


def _of_groups(point: Point, recipe: str, alpha: float, largest: NDArray[np.float32]) -> PointResult:
    used = applied(recipe, point, alpha)
    scale = scales_of_absmax(used.rule, largest)
    return PointResult(point, used, float(largest.max()), scale)


def scales_of_absmax(rule: Rule, largest: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 of the same shape: a min-max rule's scale for each largest magnitude."""
    return np.array([rule.scale_of_range(float(w)) for w in largest.flat], np.float32).reshape(largest.shape)
