"""The scales that points have to become: by a rule on the stored tables of a run, or as another checkpoint has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.alpha.recover.answers import bits_of
from qinspect.inspector.apply.chosen import ChosenPoints, PointsAsked
from qinspect.inspector.calibration.scales import of_tables
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.errors import CannotApply, UnknownKey
from qinspect.inspector.formats import Format, Kind, ScaleRecord
from qinspect.inspector.observers import RULES, Applied
from qinspect.inspector.observers.registry import ANY
from qinspect.inspector.progress import Steps


@dataclass(frozen=True, slots=True)
class Target:
    """What the scale of a point shall be. scale: float32. rule: what made it, as rules print themselves. alpha: what
    has a part in it, None where none has or it is not known. reached: whether one has; None where that is not known."""

    role: str
    scale: NDArray[np.float32]
    rule: str
    alpha: float | None
    reached: bool | None


def targets_of_run(
    calibration: Calibration, fmt: Format, chosen: ChosenPoints, rule: str | None, progress: Steps | None = None
) -> list[Target]:
    """The scales of the chosen points by a rule of that name, by the recipe's own where it is None.

    Points that the checkpoint has no scale of keep their place: the plan says so. Raises CannotApply where the tables
    of a point cannot answer, BrokenFile where they are damaged.
    """
    records = {r.role: r for r in fmt.scales() if r.kind is Kind.ACTIVATION}
    made = []
    for i, (name, alpha) in enumerate(chosen.alphas.items()):
        if progress:
            progress(i, len(chosen.alphas))
        bits = bits_of(records[name]) if name in records else 8
        made.append(_of_point(calibration, name, alpha, rule, bits))
    return made


def _of_point(calibration: Calibration, name: str, alpha: float | None, rule: str | None, bits: int) -> Target:
    used = _applied(calibration, name, alpha, rule, bits)
    if not calibration.pooled(name).n:
        raise _unanswered(calibration, name, "the run saw no value there")
    if used.per_sample and not calibration.keeps_samples(name):
        raise _unanswered(
            calibration, name, "the rule takes a table of each sample, and the run kept only their sum",
            "Calibrate with --per-sample, or give a rule on all samples together (--rule pooled).",
        )  # fmt: skip
    tables = calibration.tables(name) if used.per_sample else [calibration.pooled(name)]
    if rule is not None and not RULES[rule].can_use(tables, used.per_sample):
        raise _unanswered(calibration, name, f"the rule {rule} cannot take so many values", "Give another rule.")
    try:
        scale = of_tables(calibration.point(name), used, tables).scale
    except ValueError as e:
        raise _unanswered(calibration, name, f"the tables do not answer for the rule: {e}") from e
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise _unanswered(calibration, name, "the rule gives no positive scale there")
    return Target(name, scale, str(used.rule), used.alpha, used.alpha is not None)


def _applied(calibration: Calibration, name: str, alpha: float | None, rule: str | None, bits: int) -> Applied:
    """The rule of a point, with its alpha."""
    if rule is not None:
        return Applied.of(rule, alpha, bits, calibration.point(name).dtype)
    used = calibration.applied(name, ANY if alpha is None else alpha)
    return replace(used, rule=replace(used.rule, bits=bits))


def _unanswered(calibration: Calibration, name: str, problem: str, cure: str | None = None) -> CannotApply:
    return CannotApply(problem, file=calibration.path, key=name, cure=cure)


def targets_of_checkpoint(source: Format, fmt: Format, points: Sequence[PointsAsked]) -> tuple[list[Target], list[str]]:
    """The scales of `source` for the points that both have, limited to the globs where there are any; and those that
    it lacks.

    Raises UnknownKey where more than a third of the points have no partner, CannotApply where a scale is of another
    scheme, no positive number, or one of several that a permutation may have moved.
    """
    theirs = {r.role: r for r in source.scales() if r.kind is Kind.ACTIVATION}
    ours = [r for r in fmt.scales() if r.kind is Kind.ACTIVATION]
    shared = [r for r in ours if r.role in theirs]
    if 3 * len(shared) < 2 * len(ours) or not shared:
        raise UnknownKey(
            f"{len(ours) - len(shared)} of {len(ours)} points of {fmt.checkpoint.path} have no scale here",
            file=source.checkpoint.path, key=next((r.role for r in ours if r.role not in theirs), None),
            expected="a checkpoint of the same model", found=source.description,
        )  # fmt: skip
    chosen = [r for r in shared if not points or any(fnmatchcase(r.role, p.glob) for p in points)]
    if not chosen:
        raise CannotApply(
            "no point of both checkpoints matches", file=source.checkpoint.path, key=str(points[0]),
            found=f"{len(shared)} others, such as {shared[0].role}",
        )  # fmt: skip
    said = source.said_of_points()
    made = [_of_checkpoint(source, theirs[r.role], fmt, r, said) for r in chosen]
    return [t for t in made if t is not None], [r.role for r in ours if r.role not in theirs]


def _of_checkpoint(
    source: Format, theirs: ScaleRecord, fmt: Format, ours: ScaleRecord, said: Mapping[str, tuple[str, float | None]]
) -> Target | None:
    if theirs.convention != ours.convention:
        raise CannotApply(
            f"the scale of {ours.role} is of another scheme", file=source.checkpoint.path, key=theirs.key,
            expected=ours.scheme, found=theirs.scheme,
        )  # fmt: skip
    with np.errstate(all="ignore"):
        values = np.asarray(source.values(theirs)).astype(np.float32)
        present = np.asarray(fmt.values(ours)).astype(np.float32)
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise CannotApply(
            f"the scale of {ours.role} is not a positive number", file=source.checkpoint.path, key=theirs.key,
            found=f"{values.reshape(-1)[0]:g}" if values.size else "nothing",
        )  # fmt: skip
    if ours.cells or theirs.cells:
        if np.array_equal(values, present):
            return None
        raise CannotApply(
            f"the scales of {ours.role} are of groups of heads and channels, whose order is not stored: they belong to "
            "the weights beside them (and alpha does not reach them)", file=source.checkpoint.path, key=theirs.key,
            cure="Leave the point out (--points), or quantize again.",
        )  # fmt: skip
    rule, alpha = said.get(theirs.key, (f"copy of {source.checkpoint.path.name}", None))
    return Target(ours.role, values, rule, alpha, theirs.alpha_sensitive)
