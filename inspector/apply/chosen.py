"""Which points get another scale, by which rule and at which alpha: what was asked for, held against what a run has."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.errors import CannotApply, UsageError
from qinspect.inspector.observers.recipes import reach, short
from qinspect.inspector.observers.registry import ANY, RULES
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import some


@dataclass(frozen=True, slots=True)
class PointsAsked:
    """Points that match a glob. alpha: theirs alone, None where they take the one for all."""

    glob: str
    alpha: float | None = None

    def __str__(self) -> str:
        return self.glob if self.alpha is None else f"{self.glob}={short(self.alpha)}"


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for. rule: a name of RULES, None for the recipe's own at each point."""

    alpha: float | None = None
    rule: str | None = None
    points: tuple[PointsAsked, ...] = ()

    @property
    def takes_no_alpha(self) -> bool:
        """Whether a rule is asked for that chooses the range by itself."""
        return self.rule is not None and not RULES[self.rule].takes_alpha


@dataclass(frozen=True, slots=True)
class ChosenPoints:
    """Points, by role, that get a new scale, with the alpha of each (None: by a rule that has none). notes: what stays
    as it is and why, a sentence each."""

    alphas: Mapping[str, float | None]
    notes: tuple[str, ...]


def parse_points(words: Sequence[str]) -> tuple[PointsAsked, ...]:
    """GLOB or GLOB=ALPHA, each. Raises UsageError."""
    made = []
    for word in words:
        glob, equals, alpha = word.rpartition("=")
        if not equals:
            made.append(PointsAsked(word))
            continue
        try:
            made.append(PointsAsked(glob, checked_alpha(float(alpha), f"the alpha of --points {word}")))
        except ValueError as e:
            raise UsageError(
                f"the alpha of --points {word} is not a number", found=alpha,
                expected="GLOB=ALPHA with an alpha from 0 to 1",
            ) from e  # fmt: skip
    return tuple(made)


def checked_alpha(alpha: float, what: str = "--alpha") -> float:
    """The alpha. what: the option that it was given to. Raises UsageError unless it is one."""
    if not (math.isfinite(alpha) and 0 <= alpha <= 1):
        raise UsageError(f"{what} is a fraction", found=f"{alpha!r}", expected="a number from 0 to 1")
    return alpha


def choose(calibration: Calibration, request: Request, stored: Collection[str]) -> ChosenPoints:
    """The points that a request reaches. stored: those that the checkpoint has a scale of.

    A glob without an alpha limits the request to what it matches. One with an alpha sets that, whatever else is asked;
    the last that matches decides. Raises UsageError for what contradicts itself, CannotApply where nothing is reached.
    """
    _check(request)
    roles = [strip_root(name) for name in calibration.points]
    reached = frozenset(r for r in roles if reaches(calibration, r))
    asked_for = _asked_for(calibration, request, reached)
    chosen = asked_for if request.rule else {n: a for n, a in asked_for.items() if n in reached}
    if not chosen:
        raise _nothing(calibration, request, len(asked_for))
    notes = []
    if left := len(asked_for) - len(chosen):
        of_them = f"alpha does not reach {_them(left)} (a --rule does)"
        notes.append(f"{some(left, 'point')} asked for {'is' if left == 1 else 'are'} made by min-max: {of_them}.")
    absent = [n for n in chosen if n not in stored]
    if request.points and len(absent) < len(chosen):  # a glob may match what this format does not store
        chosen = {n: a for n, a in chosen.items() if n in stored}
        if absent:
            notes.append(f"{some(len(absent), 'point')} asked for: no scale in the checkpoint.")
    return ChosenPoints({r: chosen[r] for r in roles if r in chosen}, tuple(notes))


def _check(request: Request) -> None:
    """Raises UsageError for an alpha too many or too few."""
    globs = [p for p in request.points if p.alpha is None]
    if request.takes_no_alpha:
        if request.alpha is not None or len(globs) < len(request.points):
            raise UsageError(f"the rule {request.rule} has no alpha", cure="Leave alpha out, or give another rule.")
    elif request.alpha is None and globs:
        raise UsageError(f"no alpha is given for the points {globs[0]}", cure="Give --alpha A, or --points GLOB=ALPHA.")
    elif request.alpha is None and not request.points:
        raise UsageError("neither an alpha nor a rule without one is given", cure="Give --alpha A.")


def _asked_for(calibration: Calibration, request: Request, reached: Collection[str]) -> dict[str, float | None]:
    """Every point that is asked for, with its alpha."""
    found: dict[str, float | None] = {}
    limits = [p for p in request.points if p.alpha is None]
    if limits:
        found = {n: request.alpha for p in limits for n in _matching(calibration, p)}
    elif request.alpha is not None or request.takes_no_alpha:
        found = dict.fromkeys(reached, request.alpha)
    for points in request.points:
        if points.alpha is not None:
            found |= dict.fromkeys(_matching(calibration, points), points.alpha)
    return found


def reaches(calibration: Calibration, name: str) -> bool:
    """Whether an alpha has a part in the scale that the recipe makes of a point."""
    return calibration.applied(name, ANY).alpha is not None


def _matching(calibration: Calibration, points: PointsAsked) -> list[str]:
    roles = {name: strip_root(name) for name in calibration.points}
    found = [role for name, role in roles.items() if any(fnmatchcase(n, points.glob) for n in (name, role))]
    if not found:
        raise CannotApply(
            "no observation point of the run matches", file=calibration.path, key=points.glob,
            found=f"{len(calibration.points)} others, such as {next(iter(calibration.points))}",
            cure="The pattern is a glob over whole names: '*ssm_state_act:input'.",
        )  # fmt: skip
    return found


def _nothing(calibration: Calibration, request: Request, n_asked_for: int) -> CannotApply:
    if n_asked_for:
        problem = f"alpha reaches none of the {some(n_asked_for, 'point')}: the recipe {calibration.recipe} makes "
        problem += f"{_them(n_asked_for)} by min-max"
    else:
        alpha = ANY if request.alpha is None else request.alpha
        _, sentence = reach(calibration.recipe, list(calibration.points.values()), alpha)
        problem = sentence if request.alpha is not None else "the recipe makes no point by a percentile"
    return CannotApply(
        problem, file=calibration.path, expected="a point that a percentile makes",
        cure="Give --rule (such as pooled) and --points for what it should make.",
    )  # fmt: skip


def _them(n: int) -> str:
    return "it" if n == 1 else "them"
