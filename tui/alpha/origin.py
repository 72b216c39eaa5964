"""Where the scales of checkpoints come from, by a run: what `qinspect whence` answers, and the best alpha beside it. No
widget in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qinspect.inspector.alpha.recover import Answers, Recovery, recovery_of, whence
from qinspect.inspector.alpha.sweep.best import Best, best, best_of_point
from qinspect.inspector.alpha.sweep.grid import Grid
from qinspect.inspector.alpha.sweep.grid_file import opened
from qinspect.inspector.alpha.sweep.one import default_rule
from qinspect.inspector.alpha.sweep.rules import BITS
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format
from qinspect.inspector.progress import Progress, steps_of


@dataclass(frozen=True, slots=True)
class Origin:
    """Of one checkpoint. problem: why the run cannot answer for it; then there are no answers."""

    label: str
    path: str
    answers: Answers | None = None
    recovery: Recovery | None = None
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Origins:
    """of: each checkpoint. grid: every alpha of every point, None where that could not be computed, and `problem` says
    why. rule: the one that the recipe makes scales by where an alpha reaches them."""

    of: tuple[Origin, ...]
    rule: str
    grid: Grid | None = None
    problem: str = ""

    def best_of(self, name: str, bits: int) -> tuple[float, float] | None:
        """The alpha of least error at a point, and the decibels that it loses; None where no alpha makes a scale."""
        if self.grid is None or bits not in BITS or name not in self.grid.names:
            return None
        point = self.grid.names.index(name)
        at = int(best_of_point(self.grid, self.rule, bits)[point])
        lost = float(self.grid.loss_of(self.rule, bits, point)[at])
        return None if at < 0 or not np.isfinite(lost) else (float(self.grid.alphas[at]), lost)

    def best_to_apply(self, bits: int) -> Best | None:
        """One alpha for all points that the recipe has one for: what `qinspect apply` asks for."""
        found = best(self.grid, self.rule, bits) if self.grid is not None and bits in BITS else []
        reached = [f for f in found if f.what == "reached"]
        return next((f for f in (*reached, *found) if f.what in ("reached", "all")), None)


def origins_of(calibration: Calibration, formats: Mapping[str, Format], check: Progress) -> Origins:
    """Ask the run about each checkpoint, by label. What it cannot answer is said in the answer; `check` may raise."""
    found = tuple(_origin(calibration, label, fmt, check) for label, fmt in formats.items())
    rule = default_rule(calibration)
    try:
        grid = opened(calibration, steps_of(check, "every alpha of every point")).grid
    except QinspectError as e:
        return Origins(found, rule, problem=str(e))
    return Origins(found, rule, grid)


def of_one_point(
    calibration: Calibration, formats: Mapping[str, Format], name: str, check: Progress
) -> tuple[Origin, ...]:
    """What the run answers about one point, which takes a part of the time of all: what other samples would give is not
    asked. Raises as `check`."""
    return tuple(_origin(calibration, label, fmt, check, name) for label, fmt in formats.items())


def _origin(calibration: Calibration, label: str, fmt: Format, check: Progress, only: str | None = None) -> Origin:
    path = str(fmt.checkpoint.path)
    of = "this scale" if only is not None else "every scale"
    try:
        answers = whence(
            calibration, fmt, steps_of(check, f"solving for the alpha of {of} of {label}"), only is None, only
        )
    except QinspectError as e:
        return Origin(label, path, problem=str(e))
    return Origin(label, path, answers, recovery_of(answers))
