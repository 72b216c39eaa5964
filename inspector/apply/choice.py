"""Which points get another scale, by which rule and at which alpha: what was asked for, held against what a run has."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from qinspect.inspector.alpha.recover.candidates import CANDIDATES
from qinspect.inspector.calibration.recipes import reach, short
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.errors import CannotApply, UsageError
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import some

WITHOUT_ALPHA = ("mse", "entropy", "absmax")
"""Rules that choose the range by themselves."""
RULES = (*(c.name for c in CANDIDATES), *WITHOUT_ALPHA)

_ANY_ALPHA = 0.5


@dataclass(frozen=True, slots=True)
class Points:
    """Points that match a glob. alpha: theirs alone, None where they take the one for all."""

    glob: str
    alpha: float | None = None

    def __str__(self) -> str:
        return self.glob if self.alpha is None else f"{self.glob}={short(self.alpha)}"


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for. rule: one of RULES, None for the recipe's own at each point."""

    alpha: float | None = None
    rule: str | None = None
    points: tuple[Points, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """Points, by role, that get a new scale, with the alpha of each (None: by a rule that has none). notes: what stays
    as it is and why, a sentence each."""

    alphas: Mapping[str, float | None]
    notes: tuple[str, ...]


def parse_points(words: Sequence[str]) -> tuple[Points, ...]:
    """GLOB or GLOB=ALPHA, each. Raises UsageError."""
    made = []
    for word in words:
        glob, equals, alpha = word.rpartition("=")
        if not equals:
            made.append(Points(word))
            continue
        try:
            made.append(Points(glob, checked_alpha(float(alpha), f"the alpha of --points {word}")))
        except ValueError as e:
            raise UsageError(
                f"the alpha of --points {word} is no number", found=alpha,
                expected="GLOB=ALPHA with an alpha from 0 to 1",
            ) from e  # fmt: skip
    return tuple(made)


def checked_alpha(alpha: float, what: str = "--alpha") -> float:
    """The alpha. what: the option that it was given to. Raises UsageError unless it is one."""
    if not (math.isfinite(alpha) and 0 <= alpha <= 1):
        raise UsageError(f"{what} is a share", found=f"{alpha!r}", expected="a number from 0 to 1")
    return alpha


def choose(calibration: Calibration, request: Request, stored: Collection[str]) -> Choice:
    """The points that a request reaches. stored: those that the checkpoint has a scale of.

    A glob without an alpha limits the request to what it matches. One with an alpha sets that, whatever else is asked;
    the last that matches decides. Raises UsageError for what contradicts itself, CannotApply where nothing is reached.
    """
    _check(request)
    roles = [strip_root(name) for name in calibration.points]
    reached = frozenset(r for r in roles if reaches(calibration, r))
    wanted = _wanted(calibration, request, reached)
    chosen = wanted if request.rule else {n: a for n, a in wanted.items() if n in reached}
    if not chosen:
        raise _nothing(calibration, request, len(wanted))
    notes = []
    if left := len(wanted) - len(chosen):
        of_them = f"alpha does not reach {_them(left)} (a --rule does)"
        notes.append(f"{some(left, 'point')} asked for {'is' if left == 1 else 'are'} made by min-max: {of_them}.")
    absent = [n for n in chosen if n not in stored]
    if request.points and len(absent) < len(chosen):  # a glob may match what this format does not store
        chosen = {n: a for n, a in chosen.items() if n in stored}
        if absent:
            notes.append(f"{some(len(absent), 'point')} asked for: no scale in the checkpoint.")
    return Choice({r: chosen[r] for r in roles if r in chosen}, tuple(notes))


def _check(request: Request) -> None:
    """Raises UsageError for an alpha too many or too few."""
    globs = [p for p in request.points if p.alpha is None]
    if request.rule in WITHOUT_ALPHA:
        if request.alpha is not None or len(globs) < len(request.points):
            raise UsageError(f"the rule {request.rule} has no alpha", cure="Leave alpha out, or give another rule.")
    elif request.alpha is None and globs:
        raise UsageError(f"no alpha is given for the points {globs[0]}", cure="Give --alpha A, or --points GLOB=ALPHA.")
    elif request.alpha is None and not request.points:
        raise UsageError("neither an alpha nor a rule without one is given", cure="Give --alpha A.")


def _wanted(calibration: Calibration, request: Request, reached: Collection[str]) -> dict[str, float | None]:
    """Every point that is asked for, with its alpha."""
    wanted: dict[str, float | None] = {}
    limits = [p for p in request.points if p.alpha is None]
    if limits:
        wanted = {n: request.alpha for p in limits for n in _matching(calibration, p)}
    elif request.alpha is not None or request.rule in WITHOUT_ALPHA:
        wanted = dict.fromkeys(reached, request.alpha)
    for points in request.points:
        if points.alpha is not None:
            wanted |= dict.fromkeys(_matching(calibration, points), points.alpha)
    return wanted


def reaches(calibration: Calibration, name: str) -> bool:
    """Whether an alpha has a part in the scale that the recipe makes of a point."""
    return calibration.applied(name, _ANY_ALPHA).alpha is not None


def _matching(calibration: Calibration, points: Points) -> list[str]:
    roles = {name: strip_root(name) for name in calibration.points}
    found = [role for name, role in roles.items() if any(fnmatchcase(n, points.glob) for n in (name, role))]
    if not found:
        raise CannotApply(
            "no observation point of the run matches", file=calibration.path, key=points.glob,
            found=f"{len(calibration.points)} others, such as {next(iter(calibration.points))}",
            cure="The pattern is a glob over whole names: '*ssm_state_act:input'.",
        )  # fmt: skip
    return found


def _nothing(calibration: Calibration, request: Request, n_wanted: int) -> CannotApply:
    if n_wanted:
        problem = f"alpha reaches none of the {some(n_wanted, 'point')}: the recipe {calibration.recipe} makes "
        problem += f"{_them(n_wanted)} by min-max"
    else:
        alpha = _ANY_ALPHA if request.alpha is None else request.alpha
        _, sentence = reach(calibration.recipe, list(calibration.points.values()), alpha)
        problem = sentence if request.alpha is not None else "the recipe makes no point by a percentile"
    return CannotApply(
        problem, file=calibration.path, expected="a point that a percentile makes",
        cure="Give --rule (such as pooled-float64) and --points for what shall be made by it.",
    )  # fmt: skip


def _them(n: int) -> str:
    return "it" if n == 1 else "them"
