"""The question put to every scale: with which rule, and at which alphas, do the tables of the run give it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from qinspect.inspector.alpha.recover.agreement import Agreement, Interval, agree, hull
from qinspect.inspector.alpha.recover.spread import Spread
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.distribution import MagnitudeTable
from qinspect.inspector.errors import CannotRead, UnknownKey
from qinspect.inspector.formats import Format, Kind, Quantity, ScaleRecord
from qinspect.inspector.formats.element import ElementKind
from qinspect.inspector.noise.draws import Draws
from qinspect.inspector.observers import RULES, NamedRule, Rule
from qinspect.inspector.observers.registry import WITH_ALPHA
from qinspect.inspector.progress import Steps
from qinspect.inspector.roles import strip_root

TOLERANCES = (0.0, 1e-4, 2e-3)
"""Relative differences that are looked at, one after another. 0: the same tables give the same scale, to the roundings
of float32. 1e-4: the same calibration on another machine; a GPU's repeats differ by up to 3.3e-5, most scales of the
fixtures' calibration by Quamba from ours by less than 4.4e-5. 2e-3: two steps of a float16, by which a single
activation, and so a maximum, can be rounded another way there."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What one rule says of one scale: the alphas that give it, None where none does.

    within: at each of TOLERANCES. order, data: if the samples came in another order, or were others (see spread.py),
    None too where that was not asked or cannot be.
    """

    within: tuple[Interval | None, ...]
    order: Interval | None = None
    data: Interval | None = None

    @property
    def tolerance(self) -> float | None:
        """The least at which some alpha gives the scale."""
        return next((t for t, i in zip(TOLERANCES, self.within, strict=True) if i), None)


@dataclass(frozen=True, slots=True)
class PointAnswer:
    """A scale that a percentile may have made. min_max: the largest |x| of the run gives it. fits: by rule, those that
    the tables can answer for. n_samples: tables of samples, 0 where they were not kept apart."""

    role: str
    key: str
    stored: float
    n_samples: int
    min_max: bool
    fits: Mapping[str, Fit]


@dataclass(frozen=True, slots=True)
class RuleAnswer:
    """What one rule says of all points that can be asked. within: at each of TOLERANCES. order, data: None where they
    were not asked."""

    named: NamedRule
    within: tuple[Agreement, ...]
    order: Agreement | None = None
    data: Agreement | None = None

    @property
    def n_points(self) -> int:
        """Points that can be asked."""
        return self.within[0].n_points

    @property
    def level(self) -> int | None:
        """Number of the least of TOLERANCES at which one alpha will do for every point."""
        return next((i for i, a in enumerate(self.within) if a.unanimous), None)


@dataclass(frozen=True, slots=True)
class Reference:
    """A scale that no alpha reaches, by its format: the largest |x| of the run beside it. Where they are equal, model
    and data are the same."""

    role: str
    stored: float
    expected: float

    @property
    def equal(self) -> bool:
        """To the bit, as float32."""
        return bool(np.float32(self.stored) == np.float32(self.expected))

    @property
    def apart(self) -> float:
        """Relative difference from the run, without sign."""
        return abs(self.stored / self.expected - 1)


@dataclass(frozen=True, slots=True)
class Unasked:
    """Scales that were not asked: how many, and why, a clause that a sentence about them begins with."""

    why: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Answers:
    """Everything that is known of a checkpoint's scales. rules: the best first, only those that some point can answer
    for. n_activations: scales of activations in the file."""

    checkpoint: str
    description: str
    calibration: str
    recipe: str
    n_activations: int
    points: tuple[PointAnswer, ...]
    rules: tuple[RuleAnswer, ...]
    references: tuple[Reference, ...]
    unasked: tuple[Unasked, ...]

    @property
    def same_data(self) -> bool | None:
        """Whether most scales that no alpha reaches equal the run's; None where there are none."""
        return None if not self.references else 2 * sum(r.equal for r in self.references) > len(self.references)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A scale, and what it stands for."""

    record: ScaleRecord
    stored: float
    bits: int

    @property
    def w_max(self) -> float:
        """The range that the scale is of."""
        return self.stored * ((1 << (self.bits - 1)) - 1)


def whence(
    calibration: Calibration, fmt: Format, progress: Steps | None = None, chance: bool = True, only: str | None = None
) -> Answers:
    """Ask every scale of the checkpoint. chance: whether also about other samples and another order. only: of one point
    alone, by its name; what is said of all is then of it.

    The tables of one point are held at a time: those of a long run would not fit into memory together.

    Raises as `refuse_another_model`, BrokenFile where tables are damaged.
    """
    records = [r for r in fmt.scales() if r.kind is not Kind.WEIGHT and r.quantity is Quantity.SCALE]
    if only is not None:
        records = [r for r in records if strip_root(r.role) == strip_root(only)]
    asked, references, unasked = _sorted_out(calibration, fmt, records, progress)
    apart = {a.record.role for a in asked if chance and calibration.n_samples(a.record.role) > 1}
    draws = {n: Draws(n) for n in {calibration.n_samples(role) for role in apart}}
    points = []
    for i, a in enumerate(asked):
        if progress:
            progress(i, len(asked))
        points.append(_point(calibration, a, draws, len(apart)))
    rules = _rules({p.role: p.fits for p in points})
    if chance:
        points, rules = _with_chance(points, rules, apart)
    return Answers(
        str(fmt.checkpoint.path), fmt.description, str(calibration.folder), calibration.recipe, len(records),
        tuple(points), tuple(rules), tuple(references), tuple(Unasked(w, tuple(r)) for w, r in unasked.items()),
    )  # fmt: skip


def _sorted_out(
    calibration: Calibration, fmt: Format, records: list[ScaleRecord], progress: Steps | None = None
) -> tuple[list[_Asked], list[Reference], dict[str, list[str]]]:
    asked: list[_Asked] = []
    references: list[Reference] = []
    unasked: dict[str, list[str]] = {}
    refuse_another_model(calibration, fmt, records)
    for r in records:
        if progress:
            progress(0, 0)
        why = _why_not(calibration, r)
        if not why:
            try:
                values = np.asarray(fmt.values(r), np.float64)
            except CannotRead as e:
                why = f"cannot be read ({e.problem})"
            else:
                stored = float(values.reshape(-1)[0]) if values.size == 1 else 0.0
                if not (np.isfinite(stored) and stored > 0):
                    why = "no positive number is stored"
        if why:
            unasked.setdefault(why, []).append(r.role)
        elif r.alpha_sensitive is False:
            references.append(Reference(r.role, stored, _min_max(calibration, r.role, bits_of(r)).scale(
                [calibration.pooled(r.role)])))  # fmt: skip
        else:
            asked.append(_Asked(r, stored, bits_of(r)))
    return asked, references, unasked


def refuse_another_model(calibration: Calibration, fmt: Format, records: Sequence[ScaleRecord]) -> None:
    """Raises UnknownKey where more than a third of the scales are of no point of the run."""
    known = [r for r in records if r.role in calibration]
    if 3 * len(known) < 2 * len(records):
        stranger = next(r for r in records if r.role not in calibration)
        raise UnknownKey(
            f"{len(records) - len(known)} of {len(records)} scales of {fmt.checkpoint.path} belong to no point of the "
            "run", file=calibration.path, key=stranger.role, expected="the points of one model",
            found=f"{next(iter(calibration.points))} and {len(calibration.points) - 1} others",
            cure="Calibrate the model that the checkpoint was made from, by the recipe of its library.",
        )  # fmt: skip


def references_of(calibration: Calibration, fmt: Format) -> tuple[Reference, ...]:
    """The scales that no alpha reaches: a fingerprint of model and data. Raises as `whence` does."""
    records = [r for r in fmt.scales() if r.kind is not Kind.WEIGHT and r.quantity is Quantity.SCALE]
    refuse_another_model(calibration, fmt, records)
    fixed = [r for r in records if r.alpha_sensitive is False and r.role in calibration]
    return tuple(_sorted_out(calibration, fmt, fixed)[1])


def _why_not(calibration: Calibration, record: ScaleRecord) -> str:
    """Why a scale is neither asked for its alpha nor a reference; empty where it is one of them."""
    if int(np.prod(record.shape)) != 1:
        return "one scale a group: min-max, no alpha"
    if record.element.kind not in (ElementKind.INTEGER, ElementKind.UNKNOWN):
        return "its codes are not integers, which the rules are for"
    if record.role not in calibration:
        return "not a point of the run"
    if not calibration.pooled(record.role).n:
        return "the run saw no value there"
    return ""


def _min_max(calibration: Calibration, role: str, bits: int) -> Rule:
    return RULES["absmax"].at(bits=bits, dtype=calibration.point(role).dtype)


def _is_min_max(calibration: Calibration, asked: _Asked, pooled: MagnitudeTable) -> bool:
    """Whether the largest |x| gives the scale, in the arithmetic of the point or in float32."""
    rules = (_min_max(calibration, asked.record.role, asked.bits), RULES["absmax"].at(bits=asked.bits))
    return any(np.float32(rule.scale([pooled])) == np.float32(asked.stored) for rule in rules)


def bits_of(record: ScaleRecord) -> int:
    """Bits of a code of the scale; 8 where that is not known."""
    bits = record.element.bits
    return bits if record.element.kind is ElementKind.INTEGER and 2 <= bits <= 16 else 8


def _point(calibration: Calibration, asked: _Asked, draws: Mapping[int, Draws], n_apart: int) -> PointAnswer:
    """What the tables of one point say. draws: of other samples and orders, by the number of samples; none where they
    are not asked. n_apart: how many points share the confidence."""
    record = asked.record
    n_samples = calibration.n_samples(record.role)
    tables, pooled = calibration.tables(record.role), calibration.pooled(record.role)
    spread = Spread(tables, draws[n_samples], n_apart) if n_samples in draws else None
    fits = {}
    for named in WITH_ALPHA:
        if named.can_use(tables, n_samples > 0):
            found = named.alphas(tables if named.per_sample else (pooled,), asked.stored, asked.bits, TOLERANCES)
            fits[named.name] = Fit(
                tuple(None if i is None else Interval(i.low, i.high) for i in found),
                spread.of_order(named, asked.w_max) if spread else None,
                spread.of_data(named, asked.w_max) if spread else None,
            )
    min_max = _is_min_max(calibration, asked, pooled)
    return PointAnswer(record.role, record.key, asked.stored, n_samples, min_max, fits)


def _rules(fits: Mapping[str, Mapping[str, Fit]]) -> list[RuleAnswer]:
    """Each rule that some point can answer for, the best first."""
    found = []
    for c in WITH_ALPHA:
        of_rule = {role: by_rule[c.name] for role, by_rule in fits.items() if c.name in by_rule}
        if of_rule:
            of_tolerances = range(len(TOLERANCES))
            within = tuple(agree({role: f.within[i] for role, f in of_rule.items()}) for i in of_tolerances)
            found.append(RuleAnswer(c, within))
    return sorted(found, key=_merit)


def _merit(rule: RuleAnswer) -> tuple[int, int, int]:
    """Small for a rule that fits closely, then for one that fits at many points."""
    level = len(TOLERANCES) if rule.level is None else rule.level
    return level, -rule.within[-1].n_agreeing, -rule.n_points


def _with_chance(
    points: Sequence[PointAnswer], rules: Sequence[RuleAnswer], apart: Set[str]
) -> tuple[list[PointAnswer], list[RuleAnswer]]:
    """What another order and other samples leave, of the points whose samples were kept apart. The run's order is one
    of the orders and its samples are some: what they leave holds what fits at the level of all points."""
    by_name = {r.named.name: r for r in rules}
    widened = [
        replace(p, fits={name: _widened(f, by_name[name]) for name, f in p.fits.items()}) if p.role in apart else p
        for p in points
    ]
    found = []
    for r in rules:
        of_rule = {p.role: p.fits[r.named.name] for p in widened if p.role in apart and r.named.name in p.fits}
        order = agree({role: f.order for role, f in of_rule.items()}) if r.named.depends_on_order else None
        data = agree({role: f.data for role, f in of_rule.items()})
        found.append(replace(r, order=order, data=data) if of_rule else r)
    return widened, found


def _widened(fit: Fit, rule: RuleAnswer) -> Fit:
    order, data = fit.order, fit.data
    if rule.level is not None:
        order = hull(fit.within[rule.level], order) if rule.named.depends_on_order else None
        data = hull(fit.within[rule.level], data)
    return Fit(fit.within, order, hull(order, data))
