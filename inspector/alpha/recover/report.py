"""Where scales come from as text and as the JSON of `qinspect whence --json`."""

from __future__ import annotations

from typing import Any

from qinspect.inspector.alpha.recover.agreement import Agreement, Interval
from qinspect.inspector.alpha.recover.answers import TOLERANCES, Answers, Fit, PointAnswer, RuleAnswer
from qinspect.inspector.alpha.recover.recovery import Recovery, bounds, off
from qinspect.inspector.alpha.recover.spread import COVERAGE
from qinspect.inspector.printing import PIPE_WIDTH, folded
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import magnitude, number, some

Json = dict[str, Any]
_POINTS = (
    *(Column("scale"), Column("stored", True), Column("samples", True, drop=2)),
    *(Column("alpha", True), Column("fit"), Column("other samples", True, drop=1)),
)
_SCALE = (
    *(Column("rule"), Column("alpha", True), Column("this scale"), Column("other samples", True, drop=1)),
    Column("all scales"),
)
_RULES = (
    *(Column("rule"), Column("points", True), Column("alpha", True)),
    *(Column("fit"), Column("other samples", True, drop=1)),
)


def text(f: Answers, v: Recovery, width: int | None) -> str:
    """The report for people. width: columns of the terminal, None for a pipe."""
    w = width or PIPE_WIDTH
    lines = [
        *folded("checkpoint  ", f"{f.checkpoint}, {f.description}", w),
        *folded("run         ", f"{f.calibration}, recipe {f.recipe}", w), "",
        *verdict_lines(v, w),
    ]  # fmt: skip
    if f.rules:
        lines += ["", "RULES", table_text(rules_table(f), width)]
        for r in f.rules:
            lines += folded(f"  {r.named.name}: ", r.named.says, w)
        lines += ["", *folded("SCALES, by ", scales_by(f), w), table_text(scales_table(f), width)]
    return "\n".join(lines)


def verdict_lines(v: Recovery, width: int) -> list[str]:
    """The answer, what it rests on, what to do next: sentences."""
    lines = folded("VERDICT  ", f"{v.text} [{v.kind}]", width)
    for sentence in v.evidence:
        lines += folded("         ", sentence, width)
    return lines + (folded("  next   ", v.cure, width) if v.cure else [])


def rules_table(f: Answers) -> Table:
    """What each rule says of all scales."""
    return Table(_RULES, [_rule_cells(r) for r in f.rules])


def scales_by(f: Answers) -> str:
    """The rule of `scales_table`: the best one."""
    return f"{f.rules[0].named.name}: {f.rules[0].named.notation()}"


def scales_table(f: Answers) -> Table:
    """What the best rule says of each scale."""
    return Table(_POINTS, [_point_cells(p, p.fits.get(f.rules[0].named.name)) for p in f.points])


def scale_said(f: Answers, role: str) -> list[str]:
    """What is known of one scale beside what its rules say: sentences. Empty where the checkpoint has no such scale."""
    for p in f.points:
        if p.role == role:
            by = f"{some(p.n_samples, 'sample')} kept apart" if p.n_samples else "no table of each sample was kept"
            means = " The largest |x| of the run gives it: it needs no percentile." if p.min_max else ""
            return [f"stored {number(p.stored)}; {by}.{means}"]
    for r in f.references:
        if r.role == role:
            is_so = "equals it to the bit" if r.equal else f"is {magnitude(100 * r.apart)} off"
            return [f"stored {number(r.stored)}. No alpha reaches it: it comes from the largest |x|, and {is_so}."]
    return [f"Not asked: {u.why}." for u in f.unasked if role in u.roles]


def scale_table(f: Answers, role: str) -> Table | None:
    """What every rule says of one scale, and whether it can have made all the others; None where it was not asked."""
    point = next((p for p in f.points if p.role == role), None)
    if point is None:
        return None
    rows = []
    for r in f.rules:
        _, _, _, *cells = _point_cells(point, point.fits.get(r.named.name))
        rows.append([r.named.name, *cells, _rule_cells(r)[3]])
    return Table(_SCALE, rows)


def table_text(table: Table, width: int | None) -> str:
    """A table without its empty columns: as wide as the terminal, unfolded in a pipe."""
    kept = table.without_empty()
    return kept.rich(width) if width else kept.text()


def _rule_cells(r: RuleAnswer) -> list[str]:
    """At the least tolerance at which all points agree, else at the greatest."""
    a = r.within[-1 if r.level is None else r.level]
    fit = "refuted" if r.level is None else off(TOLERANCES[r.level])
    alpha = "" if a.interval is None else bounds(a.interval)
    return [r.named.name, f"{a.n_agreeing} of {a.n_points}", alpha, fit, _shared(r.data)]


def _shared(a: Agreement | None) -> str:
    if a is None:
        return ""
    return bounds(a.interval) if a.unanimous and a.interval else f"{a.n_agreeing} of {a.n_points} agree"


def _point_cells(p: PointAnswer, fit: Fit | None) -> list[str]:
    samples = str(p.n_samples) if p.n_samples else ""
    if p.min_max:
        return [p.role, number(p.stored), samples, "", "largest |x|", ""]
    if fit is None:
        return [p.role, number(p.stored), samples, "", "not asked", ""]
    first = next((i for i in fit.within if i), None)
    alpha = "" if first is None else bounds(first)
    how = "no alpha" if fit.tolerance is None else off(fit.tolerance)
    return [p.role, number(p.stored), samples, alpha, how, bounds(fit.data) if fit.data else ""]


def payload(f: Answers, v: Recovery) -> Json:
    """The object of --json."""
    return {
        "schema": "qinspect.whence/1",
        "checkpoint": f.checkpoint,
        "format": f.description,
        "run": f.calibration,
        "recipe": f.recipe,
        "tolerances": list(TOLERANCES),
        "coverage": COVERAGE,
        "verdict": {
            "kind": v.kind,
            "text": v.text,
            "rule": v.rule,
            "alpha": _interval(v.interval),
            "tolerance": v.tolerance,
            "too_wide": v.wide,
            "evidence": list(v.evidence),
            "next": v.cure,
        },
        "same_data": f.same_data,
        "rules": [_rule(r) for r in f.rules],
        "points": [_point(p) for p in f.points],
        "references": [
            {"role": r.role, "stored": r.stored, "largest": r.expected, "equal": r.equal} for r in f.references
        ],
        "not_asked": [{"why": u.why, "roles": list(u.roles)} for u in f.unasked],
    }


def _rule(r: RuleAnswer) -> Json:
    return {
        "name": r.named.name,
        "notation": r.named.notation(),
        "refuted": r.level is None,
        "within": [_agreement(a) for a in r.within],
        "other_order": _agreement(r.order),
        "other_samples": _agreement(r.data),
    }


def _agreement(a: Agreement | None) -> Json | None:
    if a is None:
        return None
    return {
        "alpha": _interval(a.interval), "agree": a.n_agreeing, "points": a.n_points, "dissent": list(a.dissent),
    }  # fmt: skip


def _point(p: PointAnswer) -> Json:
    return {
        "role": p.role,
        "key": p.key,
        "stored": p.stored,
        "samples": p.n_samples,
        "min_max": p.min_max,
        "fits": {
            name: {
                "within": [_interval(i) for i in fit.within],
                "other_order": _interval(fit.order),
                "other_samples": _interval(fit.data),
            }
            for name, fit in p.fits.items()
        },
    }


def _interval(i: Interval | None) -> list[float] | None:
    return None if i is None else [i.low, i.high]
