"""What the answers mean, with the evidence, and what to do next. docs/whence.md lists every kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qinspect.inspector.alpha.recover.agreement import Agreement, Interval
from qinspect.inspector.alpha.recover.answers import TOLERANCES, Answers, RuleAnswer
from qinspect.inspector.alpha.recover.spread import COVERAGE
from qinspect.inspector.text import magnitude, some

RecoveryKind = Literal[
    "recovered", "ambiguous", "most-points", "other-order", "other-data", "min-max", "no-rule", "no-alpha"
]

WIDE = 1e-4
"""An interval wider than this, at whose ends the share beyond w_max differs by more than a factor of 2, is too wide to
tell alphas apart that anybody would choose between."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """kind: stable. text: one sentence or two. rule: name of the rule that it is about. interval: of alpha.
    tolerance: relative, at which the rule fits, None where chance was needed. wide: the interval says little.
    evidence: sentences. cure: what to do next."""

    kind: RecoveryKind
    text: str
    rule: str | None = None
    interval: Interval | None = None
    tolerance: float | None = None
    wide: bool = False
    evidence: tuple[str, ...] = ()
    cure: str = ""


def recovery_of(f: Answers) -> Recovery:
    """What the answers amount to."""
    evidence = tuple(_evidence(f))
    if not f.points:
        return Recovery("no-alpha", _without_alpha(f), evidence=evidence, cure=_NO_ALPHA_CURE)
    if all(p.min_max for p in f.points):
        text = f"The largest |x| of the run is the scale of all {_scales(len(f.points))} that could depend on alpha."
        return Recovery("min-max", f"{text} No percentile was used.", evidence=evidence, cure=_MIN_MAX_CURE)
    fitting = [r for r in f.rules if r.level is not None and r.n_points == len(f.points)]
    best = [r for r in fitting if r.level == fitting[0].level]
    if best:
        return _fits(f, best, evidence)
    return _most(f, evidence) or _by_chance(f, evidence) or _nothing(f, evidence)


def is_wide(i: Interval) -> bool:
    """Whether an interval cannot tell alphas apart that matter."""
    return i.width > WIDE and 1 - i.low > 2 * (1 - i.high)


def bounds(i: Interval) -> str:
    """The interval in eight decimals: a float32 below 1 has no more."""
    low, high = f"{i.low:.8f}", f"{i.high:.8f}"
    return low if low == high else f"{low} .. {high}"


def off(tolerance: float) -> str:
    """How a fit within a tolerance is called."""
    return f"within {100 * tolerance:g} %" if tolerance else "exactly"


def _fits(f: Answers, best: list[RuleAnswer], evidence: tuple[str, ...]) -> Recovery:
    rule, n = best[0], len(f.points)
    level = rule.level or 0
    interval = _interval(rule.within[level])
    names = " and ".join(r.named.name for r in best)
    if len(best) > 1:
        each = "; ".join(f"{r.named.name}: {bounds(_interval(r.within[level]))}" for r in best)
        one = " One scale alone refutes no rule." if n == 1 else ""
        text = f"Several rules give {_all(n)} {off(TOLERANCES[level])}: {each}.{one}"
        cure = "Choose by how the checkpoint was made, or ask a run with more and longer samples."
        wide = any(is_wide(_interval(r.within[level])) for r in best)
        text += _WIDE if wide else ""
        return Recovery("ambiguous", text, names, interval, TOLERANCES[level], wide, evidence, cure)
    text = f"alpha {bounds(interval)}: the rule {names} gives {_all(n)} {off(TOLERANCES[level])}."
    wide = is_wide(interval)
    if wide:
        text += _WIDE
    return Recovery("recovered", text, names, interval, TOLERANCES[level], wide, evidence, _WIDE_CURE if wide else "")


def _most(f: Answers, evidence: tuple[str, ...]) -> Recovery | None:
    """A rule and an alpha that most points agree on, at least two of them more than not."""
    for level, tolerance in enumerate(TOLERANCES):
        rule = max(f.rules, key=lambda r: r.within[level].n_agreeing)
        a = rule.within[level]
        if a.interval is None or a.n_agreeing < 3 or 3 * a.n_agreeing < 2 * len(f.points):
            continue
        others = ", ".join(a.dissent[:3]) + (f" and {len(a.dissent) - 3} more" if len(a.dissent) > 3 else "")
        text = (
            f"alpha {bounds(a.interval)}: the rule {rule.named.name} gives {a.n_agreeing} of {len(f.points)} "
            f"scales {off(tolerance)}; {others} {'has' if len(a.dissent) == 1 else 'have'} another origin."
        )
        cure = "`qinspect show CHECKPOINT ROLE` shows where the others are stored, and their copies."
        return Recovery(
            "most-points", text, rule.named.name, a.interval, tolerance, is_wide(a.interval), evidence, cure
        )
    return None


def _by_chance(f: Answers, evidence: tuple[str, ...]) -> Recovery | None:
    """Another order where the data are the same, other data where they are not, or not known to be."""
    ways: tuple[tuple[Literal["order", "data"], RecoveryKind, bool, str, str], ...] = (
        ("order", "other-order", f.same_data is not False, _OTHER_ORDER, _ORDER_CURE),
        ("data", "other-data", f.same_data is not True, _OTHER_DATA, _DATA_CURE),
    )
    for which, kind, may, says, cure in ways:
        if may and (found := _chance(f, which)):
            rule, interval = found
            wide = is_wide(interval)
            text = says.format(alpha=f"alpha {bounds(interval)} ({_SURE})", all=_all(len(f.points)), rule=rule)
            return Recovery(kind, text + (_WIDE if wide else ""), rule, interval, None, wide, evidence, cure)
    return None


def _chance(f: Answers, which: Literal["order", "data"]) -> tuple[str, Interval] | None:
    """The rule whose points all remain, Quamba's first; else the one whose interval is narrowest."""
    found = []
    for r in f.rules:
        a = r.order if which == "order" else r.data
        if a is not None and a.unanimous and a.n_points == len(f.points) and a.interval is not None:
            found.append((not r.named.depends_on_order, a.interval.width, r.named.name, a.interval))
    best = min(found, key=lambda x: x[:3], default=None)
    return None if best is None else (best[2], best[3])


def _nothing(f: Answers, evidence: tuple[str, ...]) -> Recovery:
    rule = f.rules[0] if f.rules else None
    text = f"No rule fits: no alpha gives {_all(len(f.points))}"
    if rule is not None:
        a = rule.within[-1]
        text += f"; {rule.named.name} comes closest, with {a.n_agreeing} of {a.n_points} {off(TOLERANCES[-1])}"
    unknown = f.rules and all(r.data is None for r in f.rules)
    text += ". Whether other samples explain it cannot be known: no table of each sample was kept." if unknown else "."
    if not unknown and f.same_data is True:
        text += " Other samples do not explain it: scales without alpha are those of the run."
    return Recovery("no-rule", text, evidence=evidence, cure=_PER_SAMPLE if unknown else _NO_RULE_CURE)


def _evidence(f: Answers) -> list[str]:
    """Sentences that the conclusion rests on."""
    said = []
    if f.references:
        equal = sum(r.equal for r in f.references)
        scales, verb = _scales(len(f.references)), "equals" if equal == 1 else "equal"
        of = f"{equal} of {scales} that no alpha reaches {verb} the largest |x| of the run to the bit"
        means = {True: "model and data are the same", False: "model or data differ"}[bool(f.same_data)]
        apart = [r.apart for r in f.references if not r.equal]
        largest = f"; the largest difference is {magnitude(100 * max(apart))}" if apart else ""
        said.append(f"{of}{largest}: {means}.")
    elif f.points:
        said.append("There is no scale without alpha to say whether the data are the same.")
    if f.points:
        refuted = [_refuted(r) for r in f.rules if r.level is None]
        if refuted:
            said.append(f"Refuted: {'; '.join(refuted)}.")
        for r in f.rules[:1]:
            for a, what in ((r.order, "the samples had another order"), (r.data, "the samples were different")):
                if a is not None:
                    left = "no alpha remains" if not a.unanimous else f"alpha {bounds(_interval(a))} remains"
                    said.append(f"If {what}, {left} for {r.named.name} ({_SURE}).")
    said += [f"{_scales(len(u.roles))} not asked: {u.why}." for u in f.unasked]
    return said


def _refuted(rule: RuleAnswer) -> str:
    a = rule.within[-1]
    return f"{rule.named.name} at {len(a.dissent)} of {a.n_points} points"


def _without_alpha(f: Answers) -> str:
    if not f.n_activations:
        return "The checkpoint has no activation scale: alpha made nothing in it."
    min_max = len(f.references) + sum(len(u.roles) for u in f.unasked if u.why.endswith("no alpha"))
    rest = f.n_activations - min_max
    text = (
        f"No scale can depend on alpha: {min_max} of {_scales(f.n_activations)} of activations come from min-max "
        "observers"
    )
    return f"{text}." if not rest else f"{text}, {rest} cannot be asked."


def _interval(a: Agreement) -> Interval:
    assert a.interval is not None
    return a.interval


def _all(n: int) -> str:
    return "the only scale" if n == 1 else f"all {_scales(n)}"


def _scales(n: int) -> str:
    return some(n, "scale")


_SURE = f"{100 * COVERAGE:g} %"
_WIDE = " That is too wide to tell alphas apart."
_WIDE_CURE = "Calibrate with more, or longer, samples: alphas between the two largest values of a sample look alike."
_NO_ALPHA_CURE = "Compare other settings: whatever alpha was given had no effect on this checkpoint."
_MIN_MAX_CURE = "Whatever alpha was given had no effect; look for another setting."
_OTHER_ORDER = (
    "{alpha}: no alpha gives {all} with the samples in the order of the run; the rule {rule} does in another order."
)
_OTHER_DATA = (
    "{alpha}, if the checkpoint was calibrated on other samples of the same kind: the rule {rule} then can give {all}. "
    "On those of the run no rule does."
)
_ORDER_CURE = "Calibrate with the samples in the order of the other run (its seed and --shuffle) for a sharp answer."
_DATA_CURE = "Calibrate on the samples that the checkpoint was made with for a sharp answer."
_NO_RULE_CURE = (
    "Calibrate the model that the checkpoint was made from, rotated if it was rotated; otherwise the scales were made "
    "by another rule, or changed by hand."
)
_PER_SAMPLE = "Calibrate with --per-sample '*:input' and ask again."
