"""Methods as text and as the JSON of `qinspect whence A --base MODEL --json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qinspect.inspector.json_text import finite
from qinspect.inspector.method.answers import Methods, WeightMethod, counted
from qinspect.inspector.method.evidence import Evidence, Scales
from qinspect.inspector.method.judge import Method
from qinspect.inspector.printing import PIPE_WIDTH, folded
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import number, some, visible

Json = dict[str, Any]

_WEIGHTS = (
    *(Column("weight"), Column("stored as"), Column("method"), Column("nearest codes", True)),
    *(Column("scales by rule", True, drop=1), Column("rule", drop=2), Column("step / rule", drop=3)),
)


def text(m: Methods, width: int | None) -> str:
    """The report for people. width: columns of the terminal, None for a pipe."""
    w = width or PIPE_WIDTH
    lines = [
        *folded("checkpoint  ", f"{m.checkpoint.checkpoint.path}, {m.checkpoint.description}", w),
        *folded("base        ", f"{m.base.checkpoint.path}, {m.base.description}", w), "",
        *folded("VERDICT  ", headline(m), w),
    ]  # fmt: skip
    for sentence in sentences(m):
        lines += folded("  - ", sentence, w)
    table = weights_table(m.weights)
    return "\n".join([*lines, "", "WEIGHTS", table.text() if width is None else table.fitted(w).text()])


def headline(m: Methods) -> str:
    """How many weights each method made: of what is stored in codes, then of the rest."""
    quantized = [w for w in m.weights if w.judged.method not in _PLAIN]
    plain = [w for w in m.weights if w.judged.method in _PLAIN]
    strangers = sum(w.judged.method is Method.UNRELATED for w in quantized)
    if strangers and 2 * strangers > len(quantized):
        return (
            f"The base is another model, or its weights are in another order or space: {strangers} of "
            f"{some(len(quantized), 'quantized weight')} have values that do not go with it."
        )
    said = [_counted(ws) for ws in (quantized, plain) if ws]
    return "; ".join(said) + "."


_PLAIN = (Method.COPIED, Method.CAST, Method.CHANGED)


def _counted(weights: Sequence[WeightMethod]) -> str:
    counts = counted(weights)
    kind = "other tensor" if weights[0].judged.method in _PLAIN else "quantized weight"
    parts = [f"{method} {n}" if len(counts) > 1 else method for method, n in counts]
    return f"{some(len(weights), kind)}: {', '.join(parts)}"


def sentences(m: Methods) -> list[str]:
    """What shows each method, by its first weight; what took the inverse of factors; what was not looked at."""
    said = []
    for method, n in m.counts:
        first = next(w for w in m.weights if w.judged.method is method)
        of = "" if n == 1 else f", as {n - 1} more"
        said.append(f"{method}: {visible(first.role, 120)}{of}: {first.judged.said}.")
    for i in m.inverses:
        of = ", ".join(visible(x, 120) for x in i.of)
        said.append(f"{visible(i.by, 120)} took the inverse of the factors of {of} (to {100 * i.off:.2g} %).")
    if m.not_compared:
        left = m.not_compared[0]
        said.append(
            f"{some(len(m.not_compared), 'weight')} not looked at, first {visible(left.role, 120)}: {left.why}."
        )
    sampled = [w for w in m.weights if w.evidence and w.evidence.rows < w.evidence.rows_of]
    if sampled and sampled[0].evidence:
        e = sampled[0].evidence
        said.append(
            f"Of {some(len(sampled), 'large weight')} a part of the rows was looked at, first "
            f"{visible(sampled[0].role, 120)}: {e.rows} of {e.rows_of}."
        )
    return said


def weights_table(weights: Sequence[WeightMethod]) -> Table:
    """A row a weight, in forward order."""
    return Table(_WEIGHTS, [_cells(w) for w in weights])


def _cells(w: WeightMethod) -> list[str]:
    e = w.evidence
    if e is None:
        return [w.role, w.element, w.judged.method, "", "", "", ""]
    s = e.scales_by_factor if w.judged.method is Method.SMOOTHED else e.scales
    nearest = e.factors.nearest if w.judged.method is Method.SMOOTHED and e.factors else e.nearest
    scales = ["", "", ""] if s is None else [str(s.at_rule), s.rule, f"{number(s.ratio[0])} .. {number(s.ratio[2])}"]
    return [w.role, w.element, w.judged.method, str(nearest), *scales]


def payload(m: Methods) -> Json:
    """docs/schema/method.json."""
    return {
        "schema": "qinspect.method/1",
        "checkpoint": str(m.checkpoint.checkpoint.path),
        "format": m.checkpoint.description,
        "base": str(m.base.checkpoint.path),
        "base_format": m.base.description,
        "verdict": headline(m),
        "methods": {str(method): n for method, n in m.counts},
        "weights": [_weight(w) for w in m.weights],
        "inverses": [{"by": i.by, "of": list(i.of), "off": i.off} for i in m.inverses],
        "not_compared": [{"role": n.role, "why": n.why, "said": n.said} for n in m.not_compared],
    }


def _weight(w: WeightMethod) -> Json:
    return {
        "role": w.role, "name": w.name, "stored_as": w.element, "shape": list(w.shape), "method": str(w.judged.method),
        "said": w.judged.said,
        "undone": [{"what": str(u.what), "axis": u.axis, "text": u.said} for u in w.undone],
        "evidence": None if w.evidence is None else _evidence(w.evidence),
    }  # fmt: skip


def _evidence(e: Evidence) -> Json:
    f = e.factors
    return {
        "rows": e.rows, "rows_of": e.rows_of, "codes": e.n, "cosine": finite(e.cosine), "nearest": e.nearest.part,
        "nearest_before": e.nearest_before.part, "within_one": e.within_one.part, "scales": _scales(e.scales),
        "factors": None if f is None else {
            "nearest": f.nearest.part, "spread": f.spread, "of_outputs_too": f.rows is not None,
            "low_rank": e.low_rank, "scales": _scales(e.scales_by_factor),
        },
        "twice": None if not e.twice or e.nearest_twice is None else {
            "format": e.twice, "nearest": e.nearest_twice.part,
        },
    }  # fmt: skip


def _scales(s: Scales | None) -> Json | None:
    if s is None:
        return None
    low, median, high = s.ratio
    return {
        "rule": s.rule, "cells": s.at_rule.whole, "at_rule": s.at_rule.part, "at_four": s.at_four.part,
        "anchored": s.anchored.part,
        "ratio": {"p1": finite(low), "median": finite(median), "p99": finite(high)},
    }  # fmt: skip
