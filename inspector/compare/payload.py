"""A comparison as the objects that `--json` prints; docs/schema has their schemas."""

from __future__ import annotations

from qinspect.inspector.compare import Comparison, Deviation, Difference, Effect, ScalePair, WeightPair
from qinspect.inspector.compare.measures import OF_SCALES, OF_TENSORS
from qinspect.inspector.finding import Finding
from qinspect.inspector.formats.payload import checkpoint, scale
from qinspect.inspector.json_text import Json, finite
from qinspect.inspector.noise import Band
from qinspect.inspector.values.payload import faults


def difference(d: Difference) -> Json:
    """A difference; percentages are relative to A."""
    return {
        "base": "A",
        "elements": d.n,
        "changed": d.n_changed,
        "up": d.n_up,
        "down": d.n_down,
        "direction": d.direction,
        "largest_percent": finite(d.largest),
        "median_percent": finite(d.median),
        "mean_percent": finite(d.mean),
        "log2_ratio": finite(d.log2_ratio),
        "where": list(d.where),
        "a": finite(d.a),
        "b": finite(d.b),
        "sorted_cells": d.sorted_cells,
        "undefined": d.n_undefined,
        "not_a_scale_a": d.n_bad_a,
        "not_a_scale_b": d.n_bad_b,
        "median_sampled": d.sampled,
    }


def scale_pair(p: ScalePair) -> Json:
    """One scale in A and B."""
    return {
        "role": p.role,
        "order": p.order,
        "status": str(p.status),
        "kind": str(p.record.kind),
        "alpha_sensitive": p.record.alpha_sensitive,
        "a": scale(p.a) if p.a else None,
        "b": scale(p.b) if p.b else None,
        "difference": difference(p.difference) if p.difference else None,
        "measures": {m.key: finite(m.value(p)) for m in OF_SCALES.values()},
        "note": p.note,
        "bands": [band(b) for b in p.bands],
        "faults_a": faults(p.faults_a) if p.faults_a else None,
        "faults_b": faults(p.faults_b) if p.faults_b else None,
    }


def band(b: Band) -> Json:
    """A noise band."""
    return {
        "low_percent": finite(b.low),
        "high_percent": finite(b.high),
        "floor": b.floor,
        "origin": b.origin,
        "confidence": b.confidence,
        "from": b.n,
        "p": b.p,
    }


def reason(r: Finding) -> Json:
    """A rule that fired."""
    return {"rule": r.rule, "severity": str(r.severity), "text": r.text, "next": r.next}


def effect(e: Effect | None) -> Json | None:
    """What percentile_alpha did."""
    if e is None:
        return None
    return {
        "kind": e.kind,
        "text": e.reason.text,
        "next": e.reason.next,
        "declared": [None if d is None else {"alpha": d.text, "where": d.where} for d in e.declared],
        "reached": e.n,
        "changed": e.n_changed,
        "up": e.n_up,
        "down": e.n_down,
        "beyond_noise": list(e.beyond),
        "sign_test_p": e.sign_p,
        "holm_p": e.holm_p,
    }


def weight_pair(p: WeightPair) -> Json:
    """Codes or an unquantized tensor in A and B."""
    return {
        "role": p.role,
        "status": str(p.status),
        "a": p.a,
        "b": p.b,
        "elements": p.n,
        "changed": p.n_changed,
        "quantized": p.quantized,
        "note": p.note,
        "deviation": deviation(p.deviation) if p.deviation else None,
        "measures": {m.key: finite(m.value(p)) for m in OF_TENSORS.values()},
        "stored_a": p.stored_a.name if p.stored_a else None,
        "stored_b": p.stored_b.name if p.stored_b else None,
    }


def measures() -> Json:
    """What the numbers under `measures` are, of scales and of tensors."""
    return {
        of: [{"key": m.key, "name": m.name, "unit": m.unit, "what": m.sentence, "read": str(m.cost)} for m in found]
        for of, found in (("scales", OF_SCALES.values()), ("tensors", OF_TENSORS.values()))
    }


def deviation(d: Deviation) -> Json:
    """How far B's tensor lies from A's."""
    return {
        "base": "A",
        "relative_error": finite(d.relative) if d.has_size else None,
        "largest_absolute": finite(d.largest) if d.has_size else None,
        "where": list(d.where),
        "a": finite(d.a),
        "b": finite(d.b),
        "zeroed": d.n_zeroed,
        "zero_from": d.zero_from,
        "not_finite_a": d.n_bad_a,
        "not_finite_b": d.n_bad_b,
        "rounded": d.rounded or None,
    }


def comparison(c: Comparison, pairs: list[ScalePair], weights: list[WeightPair]) -> Json:
    """`qinspect diff A B --json`; `pairs` and `weights` are the rows asked for."""
    s = c.summary
    return {
        "schema": "qinspect.diff/1",
        "a": checkpoint(c.a),
        "b": checkpoint(c.b),
        "same": c.same,
        "level": "headers, scales, codes and other tensors" if c.weights_compared else "headers and scales",
        "weights": {"compared": c.weights_compared, "bytes": c.weight_bytes},
        "verdict": reason(c.headline),
        "reasons": [reason(r) for r in c.reasons],
        "next": c.next,
        "effect": effect(c.effect),
        "noise": {
            "same_data": c.noise.same_data,
            "same_order": c.noise.same_order,
            "floor": c.noise.floor,
            "run": c.noise.run or None,
            "run_at_hand": c.noise.at_hand,
            "sources": list(c.noise.sources),
        },
        "summary": {
            "base": "A",
            "pairs": s.n_pairs,
            "same": s.n_same,
            "different": s.n_different,
            "other_order": s.n_reordered,
            "incomparable": s.n_incomparable,
            "only_a": s.n_only_a,
            "only_b": s.n_only_b,
            "mean_percent": finite(s.mean),
            "median_percent": finite(s.median),
            "largest_percent": finite(s.largest),
            "largest_role": s.largest_role,
            "first_role": s.first_role,
            "up": s.n_up,
            "down": s.n_down,
            "mixed": s.n_mixed,
            "sign_pattern": s.sign_pattern,
            "histogram": [{"bin": label, "count": n} for label, n in s.histogram],
        },
        "copies_that_disagree": [
            {
                "model": p.model,
                "role": p.role,
                "key": p.key,
                "copy": p.copy_key,
                "relation": p.relation,
                "expected": finite(p.expected),
                "found": finite(p.found),
            }
            for p in c.copies
        ],
        "scales": [scale_pair(p) for p in pairs],
        "tensors": [weight_pair(p) for p in weights],
        "measures": measures(),
        "notes": list(c.notes),
    }
