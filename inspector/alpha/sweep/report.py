"""What every alpha does to a run's points as text, CSV and the JSON of `qinspect alpha --json`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from qinspect.inspector.alpha.recover.report import table_text
from qinspect.inspector.alpha.sweep.best import CRITERION, Best, best_of_point
from qinspect.inspector.alpha.sweep.grid import PointInfo
from qinspect.inspector.alpha.sweep.rules import BITS, SWEPT
from qinspect.inspector.alpha.sweep.stored_scales import ScalePlace
from qinspect.inspector.alpha.sweep.view import View
from qinspect.inspector.alpha.sweep.wording import alpha_text, between, decibels, lies, share
from qinspect.inspector.observers import RULES
from qinspect.inspector.printing import PIPE_WIDTH, folded
from qinspect.inspector.roles import place
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import number, some

Json = dict[str, Any]
INSTEAD = "*"
"""Marks a number of the pooled rule where another was asked for."""


def text(v: View, width: int | None, all_best: bool) -> str:
    """The report for people. width: columns of the terminal, None for a pipe. all_best: only the best alphas, of every
    kind, for all bits."""
    lines = heading(v, width or PIPE_WIDTH)
    if all_best:
        for bits in BITS:
            lines += ["", *_best_lines(v, bits, width, ("kind",))]
        return "\n".join(lines)
    lines += ["", table_text(_points(v), width)]
    if v.exact is not None:
        lines += ["", *_exact_lines(v, width)]
    if len(v.grid.points) > 1:
        lines += ["", *_best_lines(v, v.asked.bits, width, ())]
    return "\n".join(lines)


def heading(v: View, w: int) -> list[str]:
    """What was asked, of what, and what is not as it was asked."""
    asked, points = v.asked, v.grid.points
    named = RULES[asked.rule]
    n_samples = sum(bool(p.n_samples) for p in points)
    alpha = f"alpha {alpha_text(asked.alpha)}" if asked.alpha is not None else "no alpha"
    rule = f"{named.name}: {named.says}, {named.at(1.0 if asked.alpha is None else asked.alpha, asked.bits)}"
    what = f"{v.run}, recipe {v.recipe}: {some(len(points), 'point')}, {n_samples} with a table of each sample"
    lines = [*folded("run         ", what, w)]
    if v.checkpoint:
        lines += folded("checkpoint  ", v.checkpoint, w)
    lines += [*folded("rule        ", rule, w), *folded("at          ", f"{alpha}, {asked.bits} bits", w)]
    if v.numbers.instead.any():
        lines += folded("            ", _instead(points), w)
    if not all(p.exact for p in points):
        lines += folded("            ", "For points whose tables are not exact, ranges are upper bounds.", w)
    if v.note:
        lines += folded("            ", v.note, w)
    return lines


def _instead(points: Sequence[PointInfo]) -> str:
    why: dict[str, int] = {}
    for p in points:
        if p.pooled_instead:
            why[p.pooled_instead] = why.get(p.pooled_instead, 0) + 1
    told = "; ".join(f"at {some(n, 'point')} {reason}" for reason, n in why.items())
    return f"{INSTEAD} the pooled rule answers: {told}."


# --- the points ---


def _points(v: View) -> Table:
    loss = f"lost, {v.asked.bits} bits"
    stored = [Column("stored"), Column("lies at", True)] if v.stored is not None else []
    columns = (
        *(Column("point"), Column(INSTEAD, drop=0), Column("w_max", True, drop=6), Column("scale", True)),
        *(Column("clipped", True), Column("coverage", True, drop=5)),
        *(Column("dB 8", True, drop=3), Column("dB 4", True, drop=2), Column(loss, True)),
        *(Column("best alpha", True, drop=1), *stored),
    )
    best = best_of_point(v.grid, v.asked.rule, v.asked.bits).tolist()
    return Table(columns, [_cells(v, i, at if v.asked.alpha is not None else -1) for i, at in enumerate(best)])


def _cells(v: View, i: int, best: int) -> list[str]:
    """best: the number of the best alpha, -1 for none."""
    n, b = v.numbers, BITS.index(v.asked.bits)
    cells = [
        v.grid.points[i].name, INSTEAD if n.instead[i] else "", _number(n.w_max[b, i]), _number(n.scale[b, i]),
        share(n.clipped[b, i]), share(1 - n.clipped[b, i]), *(decibels(n.sqnr_db[k, i]) for k in range(len(BITS))),
        decibels(n.loss_db[b, i]), alpha_text(v.grid.alphas[best]) if best >= 0 else "",
    ]  # fmt: skip
    if v.stored is not None:
        found = v.stored[i]
        cells += [number(found.stored.scale) if found else "", lies(found)]
    return cells


def _number(x: float) -> str:
    return "" if math.isnan(x) else number(float(x))


def csv(v: View) -> str:
    """A line a point, all digits."""
    names = ["point", "layer", "kind", "rule", "alpha", "values", "samples", "pooled_instead", "w_max"]
    per_bits = ("scale", "beyond", "clipped", "sqnr_db", "loss_db", "optimum_scale", "best_alpha")
    names += [f"{name}_{bits}" for bits in BITS for name in per_bits] + ["stored", "stored_low", "stored_high"]
    rows = []
    for p in payload_points(v):
        stored = p["stored"] or {}
        low, high = stored.get("alpha") or (None, None)
        of_bits = [p["bits"][str(bits)][name] for bits in BITS for name in per_bits]
        rows.append([
            *(p[k] for k in ("point", "layer", "kind")), v.asked.rule, v.asked.alpha, p["values"], p["samples"],
            p["pooled_instead"], p["bits"][str(v.asked.bits)]["w_max"], *of_bits, stored.get("scale"), low, high,
        ])  # fmt: skip
    text_columns = ("point", "kind", "rule", "pooled_instead")
    cells = [["" if x is None else x if isinstance(x, str) else repr(x) for x in row] for row in rows]
    return Table(tuple(Column(n, n not in text_columns) for n in names), cells).csv()


# --- the best ---


_BEST = (
    *(Column("for"), Column("alpha", True), Column("mean lost", True), Column("worst", True)),
    *(Column("at", drop=1), Column("points", True, drop=2)),
)


def _best_lines(v: View, bits: int, width: int | None, more: Sequence[str]) -> list[str]:
    """more: what else is shown besides what holds for all points."""
    shown = [f for f in v.best[bits] if f.what != "kind" or f.what in more]
    if not shown:
        return [f"BEST, {bits} bits: no point has an error to compare."]
    title = f"{v.asked.rule}: {CRITERION}, in dB" if RULES[v.asked.rule].takes_alpha else "no alpha to choose"
    return [
        *folded(f"BEST, {bits} bits, ", title, width or PIPE_WIDTH),
        table_text(Table(_BEST, [*map(best_cells, shown)]), width),
    ]


def best_cells(f: Best) -> list[str]:
    """What it is for, alpha, mean, worst, where, how many."""
    alpha = alpha_text(f.alpha) if f.alpha is not None else ""
    if f.low is not None and f.high is not None:
        alpha = between((f.low, f.high))
    return [f.label, alpha, decibels(f.mean_db), decibels(f.worst_db), f.worst, str(f.n)]


# --- one point ---


_EXACT = (
    *(Column("exactly, by"), Column("alpha", True), Column("w_max", True), Column("scale", True)),
    *(Column("clipped", True), Column("dB", True), Column("lost", True), Column("gives the stored scale", drop=1)),
)


def _exact_lines(v: View, width: int | None) -> list[str]:
    """Every rule at this alpha, from the tables."""
    assert v.exact is not None
    b, alpha = BITS.index(v.asked.bits), v.asked.alpha
    best, rows = float(v.grid.optimum_db[b, 0]), []
    stored = v.stored[0].stored if v.stored and v.stored[0] else None
    for named in SWEPT.values():
        if not named.takes_alpha:
            n = v.grid.at(named.name, 0)
            numbers = (n.w_max[b, 0], n.scale[b, 0], n.clipped[b, 0], n.sqnr_db[b, 0])
        else:
            if alpha is None or (named.per_sample and v.exact.info.pooled_instead):
                continue
            r = v.exact.at(named.name, alpha, v.asked.bits)
            numbers = (r.w_max.middle, r.scale, 1 - r.coverage.middle, r.sqnr_db.middle)
        found = v.exact.alphas_of(named.name, stored.scale, stored.bits) if stored else None
        rows.append([
            named.name, alpha_text(alpha) if named.takes_alpha and alpha is not None else "",
            *map(_number, numbers[:2]), share(numbers[2]), decibels(numbers[3]),
            decibels(0.0 if best == numbers[3] else best - numbers[3]),
            "" if found is None else f"{found.low:.8f} .. {found.high:.8f}",
        ])  # fmt: skip
    return [table_text(Table(_EXACT, rows), width)]


# --- JSON ---


def payload(v: View) -> Json:
    """The object of --json."""
    return {
        "schema": "qinspect.alpha/1",
        "run": v.run,
        "recipe": v.recipe,
        "checkpoint": v.checkpoint or None,
        "rule": v.asked.rule,
        "notation": str(RULES[v.asked.rule].at(1.0 if v.asked.alpha is None else v.asked.alpha, v.asked.bits)),
        "alpha": v.asked.alpha,
        "bits": v.asked.bits,
        "criterion": CRITERION,
        "note": v.note,
        "points": payload_points(v),
        "best": {str(bits): [_best(f) for f in found] for bits, found in v.best.items()},
    }


def payload_points(v: View) -> list[Json]:
    """Of each point what every bits of BITS give."""
    best = {bits: best_of_point(v.grid, v.asked.rule, bits) for bits in BITS}
    found = []
    for i, p in enumerate(v.grid.points):
        layer, kind = place(p.name)
        of_bits = {str(bits): _of_bits(v, i, b, int(best[bits][i])) for b, bits in enumerate(BITS)}
        found.append({
            "point": p.name, "layer": layer, "kind": kind, "values": p.n, "samples": p.n_samples, "dtype": p.dtype,
            "rotated": p.rotated, "exact": p.exact, "reached": p.reached,
            "pooled_instead": p.pooled_instead if v.numbers.instead[i] else "", "bits": of_bits,
            "stored": _stored(v.stored[i] if v.stored else None),
        })  # fmt: skip
    return found


def _of_bits(v: View, i: int, b: int, best: int) -> Json:
    n = v.numbers
    return {
        "w_max": _json(n.w_max[b, i]),
        "scale": _json(n.scale[b, i]),
        "beyond": _json(n.beyond[b, i]),
        "clipped": _json(n.clipped[b, i]),
        "sqnr_db": _json(n.sqnr_db[b, i]),
        "loss_db": _json(n.loss_db[b, i]),
        "optimum_scale": _json(v.grid.optimum_scale[b, i]),
        "optimum_db": _json(v.grid.optimum_db[b, i]),
        "best_alpha": float(v.grid.alphas[best]) if best >= 0 and v.asked.alpha is not None else None,
    }


def _stored(p: ScalePlace | None) -> Json | None:
    if p is None:
        return None
    return {
        "key": p.stored.key, "scale": p.stored.scale, "bits": p.stored.bits, "can_vary": p.stored.can_vary,
        "alpha": None if p.alphas is None else list(p.alphas), "beyond": p.beyond, "min_max": p.min_max,
    }  # fmt: skip


def _best(f: Best) -> Json:
    return {
        "what": f.what, "label": f.label, "alpha": f.alpha, "low": f.low, "high": f.high,
        "mean_db": _json(f.mean_db), "worst_db": _json(f.worst_db), "worst": f.worst, "points": f.n,
    }  # fmt: skip


def _json(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None
