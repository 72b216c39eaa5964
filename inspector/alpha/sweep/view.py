"""What was asked of a run, and its answer: the numbers that text, JSON, CSV and the screen show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from qinspect.inspector.alpha.sweep.alphas import on_grid
from qinspect.inspector.alpha.sweep.best import Best, best
from qinspect.inspector.alpha.sweep.build import at_alpha
from qinspect.inspector.alpha.sweep.grid import Grid, Numbers
from qinspect.inspector.alpha.sweep.grid_file import OpenedGrid
from qinspect.inspector.alpha.sweep.one import ExactPoint
from qinspect.inspector.alpha.sweep.rules import BITS
from qinspect.inspector.alpha.sweep.stored_scales import ScalePlace, StoredScale, places_of
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.errors import UnknownKey
from qinspect.inspector.observers import RULES
from qinspect.inspector.progress import Steps


@dataclass(frozen=True, slots=True)
class Asked:
    """rule: a name of SWEPT. alpha: None for a rule without one. bits: of the codes that are looked at first. points: a
    glob over names, "" for all."""

    rule: str
    alpha: float | None
    bits: int
    points: str = ""


@dataclass(frozen=True, eq=False)
class View:
    """grid: of the points asked for. numbers: of each. stored: where a checkpoint's scales lie; None without one.
    exact: the point itself, where it is one alone. note: what else is to be said, "" mostly."""

    run: str
    recipe: str
    asked: Asked
    grid: Grid
    numbers: Numbers
    stored: tuple[ScalePlace | None, ...] | None
    best: Mapping[int, list[Best]]
    exact: ExactPoint | None
    checkpoint: str = ""
    note: str = ""


def view(
    calibration: Calibration, opened: OpenedGrid, asked: Asked, stored: Mapping[str, StoredScale] | None = None,
    checkpoint: str = "", progress: Steps | None = None,
) -> View:  # fmt: skip
    """The answer. Raises UnknownKey where no point is called so, BrokenFile where tables are damaged."""
    grid = opened.grid if not asked.points else opened.grid.taken(chosen(calibration, opened.grid, asked.points))
    given = tuple(r.alpha for r in calibration.results)
    exact = ExactPoint.read(calibration, grid.points[0]) if len(grid.points) == 1 else None
    lie = None
    if stored is not None:
        rule = asked.rule if asked.alpha is not None else "pooled"
        lie = tuple(places_of(grid, rule, stored))
    return View(
        str(calibration.folder), calibration.recipe, asked, grid,
        _numbers(calibration, grid, asked, progress), lie, {b: best(grid, asked.rule, b, given) for b in BITS},
        exact, checkpoint, opened.problem,
    )  # fmt: skip


def chosen(calibration: Calibration, grid: Grid, glob: str) -> list[int]:
    """Numbers of the points whose names a glob matches. Raises UnknownKey for none."""
    found = [i for i, name in enumerate(grid.names) if fnmatchcase(name, glob)]
    if not found:
        raise UnknownKey(
            "no observation point has this name", file=calibration.path, key=glob,
            expected=f"a glob over names such as {grid.names[0] if grid.names else 'layers.*'}",
        )  # fmt: skip
    return found


def _numbers(calibration: Calibration, grid: Grid, asked: Asked, progress: Steps | None) -> Numbers:
    if asked.alpha is None or not RULES[asked.rule].takes_alpha:
        return grid.at(asked.rule, 0)
    at = on_grid(asked.alpha)
    if at is not None:
        return grid.at(asked.rule, at)
    return at_alpha(calibration, grid, asked.alpha, progress).at(asked.rule, 0)
