"""Fidelity as the object that `--json` prints; docs/schema/fidelity.json has its schema."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from qinspect.inspector.fidelity.factors import Factors
from qinspect.inspector.fidelity.measures import OF_FIDELITY
from qinspect.inspector.fidelity.pairs import NotCompared
from qinspect.inspector.fidelity.report import line_of
from qinspect.inspector.fidelity.results import SEED, Best, Fidelity, Made, Nearest, OfSegment, Part, WeightFidelity
from qinspect.inspector.fidelity.summary import Summary, grouped, summary_of
from qinspect.inspector.fidelity.threshold import Threshold
from qinspect.inspector.fidelity.verdict import sentence
from qinspect.inspector.formats.payload import checkpoint
from qinspect.inspector.json_text import Json, finite

SCHEMA = "qinspect.fidelity/1"


def fidelity(
    found: Fidelity, weights: Sequence[WeightFidelity], by: str | None, threshold: Threshold | None,
    methods: Mapping[str, Made],
) -> Json:  # fmt: skip
    """All of it. weights: those that are listed. methods: by role, {} where they were not asked for."""
    return {
        "schema": SCHEMA,
        "a": checkpoint(found.a),
        "b": checkpoint(found.b),
        "sentence": sentence(found),
        "line": line_of(found),
        "bits_per_weight": finite(found.bits),
        "summary": summary(summary_of(found.counted)),
        "of_quantized": any(w.quantized for w in found.counted),
        "by": by,
        "groups": [_group(name, ws) for name, ws in grouped(found.weights, by).items()] if by else [],
        "methods": dict(Counter(m.method for m in methods.values()).most_common()) if methods else None,
        "weights": [weight(w, methods.get(w.role)) for w in weights],
        "not_compared": [not_compared(o) for o in found.not_compared],
        "changed_files": list(found.changed),
        "measured_at": None if found.measured_at is None else _utc(found.measured_at),
        "threshold": _threshold(threshold) if threshold else None,
        "measures": [{"key": m.key, "name": m.name, "unit": m.unit, "what": m.sentence} for m in OF_FIDELITY.values()],
    }


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def summary(s: Summary) -> Json:
    """Numbers over several weights."""
    return {
        "weights": s.n,
        "equal": s.n_exact,
        "with_sqnr": s.n_sqnr,
        "zero_in_a": len(s.zeros),
        "values": s.n_values,
        "not_finite": s.n_excluded,
        "relative_error": finite(s.relative),
        "sqnr_db": finite(s.sqnr),
        "mean_sqnr_db": finite(s.mean),
        "worst_sqnr_db": finite(s.worst.sums.sqnr) if s.worst else None,
        "worst": s.worst.role if s.worst else None,
        "mean_loss_db": finite(s.loss),
        "weights_with_loss": s.n_nearest,
    }


def _group(name: str, weights: Sequence[WeightFidelity]) -> Json:
    return {"name": name, "summary": summary(summary_of(weights))}


def weight(w: WeightFidelity, made: Made | None = None) -> Json:
    """One weight. made: how it was, None where that was not asked for."""
    s = w.sums
    return {
        "role": w.role,
        "a": w.a,
        "b": w.b,
        "shape": list(w.shape),
        "stored_a": w.stored_a,
        "stored_b": w.stored_b,
        "quantized_a": w.quantized_a,
        "quantized_b": w.quantized_b,
        "note": w.note,
        "equal": s.exact,
        "values": s.n,
        "not_finite": {"a": s.n_bad_a, "b": s.n_bad_b, "either": s.n_excluded},
        "relative_error": finite(s.relative),
        "sqnr_db": finite(s.sqnr),
        "cosine": finite(s.cosine),
        "mean_shift": finite(s.mean_shift),
        "largest": {"error": s.largest, "where": list(w.where), "a": finite(s.a), "b": finite(s.b)},
        "channels": w.n_channels,
        "worst_channels": [_part(c) for c in w.channels],
        "group_shape": list(w.group_shape),
        "worst_group": _part(w.group) if w.group else None,
        "nearest": _nearest(w.nearest) if w.nearest else None,
        "best_found": _best(w.best) if w.best else None,
        "factors": _factors(w.factors) if w.factors else None,
        "undone": [{"what": str(u.what), "axis": u.axis, "text": u.said} for u in w.undone],
        "as_stored_sqnr_db": finite(w.as_stored),
        "method": None if made is None else {"method": made.method, "said": made.said},
        "segments": [_segment(name, of, s) for (name, of), s in zip(w.by_segment, w.segments, strict=True)],
    }


def _part(part: Part) -> Json:
    return {"where": list(part.where), "share": finite(part.share), "sqnr_db": finite(part.sqnr)}


def _nearest(n: Nearest) -> Json:
    known = n.sqnr is not None
    return {"known": known, "sqnr_db": finite(n.sqnr), "loss_db": finite(n.loss), "rule": n.said}


def _best(b: Best) -> Json:
    return {
        "known": b.loss is not None, "sqnr_db": finite(b.sqnr), "loss_db": finite(b.loss),
        "standard_error_db": finite(b.error), "blocks": b.n_blocks, "of_blocks": b.n_all, "seed": SEED,
        "search": b.said,
    }  # fmt: skip


def _factors(f: Factors) -> Json:
    return {"axis": f.axis, "least": f.least, "largest": f.largest, "sqnr_db": finite(f.sqnr)}


def _segment(name: str, of: WeightFidelity, s: OfSegment) -> Json:
    sums = of.sums
    return {
        "name": name, "rows": [s.start, s.stop], "equal": sums.exact, "relative_error": finite(sums.relative),
        "sqnr_db": finite(sums.sqnr), "cosine": finite(sums.cosine),
    }  # fmt: skip


def not_compared(o: NotCompared) -> Json:
    """A weight without a number."""
    return {"role": o.role, "a": o.a, "b": o.b, "why": str(o.why), "values": o.n, "text": o.said}


def _threshold(t: Threshold) -> Json:
    return {
        "min_sqnr_db": t.min_sqnr,
        "passed": t.passed,
        "below": len(t.below),
        "without_number": len(t.unproven),
        "text": t.sentence,
    }
