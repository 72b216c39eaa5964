"""What was asked of a run, and its answer: the numbers that text, CSV and JSON show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase

from qinspect.inspector.alpha.dual.point import DualPoint, dual_point
from qinspect.inspector.alpha.dual.surface import Surface, surface
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.errors import UnknownKey
from qinspect.inspector.progress import Steps


@dataclass(frozen=True, eq=False)
class DualView:
    """points: those that lose most against 8 bits first. surface: of the point, where it is one alone."""

    run: str
    recipe: str
    alpha: float
    points: tuple[DualPoint, ...]
    surface: Surface | None


def dual_view(calibration: Calibration, alpha: float | None, glob: str = "", steps: Steps | None = None) -> DualView:
    """Of every point whose name a glob matches. alpha: of the scales that the modes start from, one that the run was
    asked for; None for its first. steps may raise to cancel. Raises UnknownKey for a glob that matches nothing and an
    alpha that the run has no scales of, BrokenFile for damaged tables."""
    results = {r.alpha: r for r in calibration.results}
    asked = calibration.results[0].alpha if alpha is None else alpha
    if asked not in results:
        raise UnknownKey(
            "the run has no scales of this alpha", file=calibration.path, key=str(alpha),
            expected="one of " + ", ".join(map(str, results)),
        )  # fmt: skip
    names = [n for n in calibration.points if not glob or fnmatchcase(n, glob)]
    if not names:
        raise UnknownKey(
            "no observation point has this name", file=calibration.path, key=glob,
            expected=f"a glob over names such as {next(iter(calibration.points))}",
        )  # fmt: skip
    found = []
    for done, name in enumerate(names):
        if steps:
            steps(done, len(names))
        scales = results[asked].scales.get(name)
        scale = float(scales.reshape(-1)[0]) if scales is not None and scales.size == 1 else math.nan
        found.append(dual_point(name, calibration.pooled(name), asked, scale))
    found.sort(key=lambda p: -math.inf if math.isnan(p.lost_db) else p.lost_db, reverse=True)
    alone = surface(calibration.pooled(names[0])) if len(names) == 1 else None
    return DualView(str(calibration.folder), calibration.recipe, asked, tuple(found), alone)
