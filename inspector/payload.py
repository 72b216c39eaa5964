"""The JSON that `--json` prints. Every object carries `schema`; docs/schema/ holds the schemas."""

from __future__ import annotations

import math
from typing import Any

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.compare import Comparison, Deviation, Difference, Effect, Reason, ScalePair, WeightPair
from qinspect.inspector.formats import Format, ScaleRecord
from qinspect.inspector.inspection import Inspection
from qinspect.inspector.noise import Band
from qinspect.inspector.parameters import Parameters
from qinspect.inspector.scale_faults import ScaleFaults, model_faults_said
from qinspect.inspector.scale_survey import ScaleSurvey
from qinspect.inspector.statistics import Statistics
from qinspect.inspector.tree import Node
from qinspect.inspector.value_text import array_texts, value_text

Json = dict[str, Any]


def finite(value: float) -> float | None:
    """JSON has no NaN and no infinity: null."""
    return value if math.isfinite(value) else None


def scalar(value: object) -> Any:
    """A stored Python value as JSON: strings, and numbers that JSON readers keep, as they are; the rest as text."""
    if isinstance(value, float):
        return finite(value)
    if value is None or isinstance(value, (bool, str)) or (isinstance(value, int) and abs(value) < 1 << 53):
        return value
    return value_text(value)


def _number(value: float | None) -> float | None:
    return None if value is None else finite(value)


def checkpoint(fmt: Format) -> Json:
    """The model: path, kind, format, sizes, notes."""
    c: Checkpoint = fmt.checkpoint
    return {
        "path": str(c.path),
        "kind": c.kind,
        "files": len(c.files),
        "entries": len(c.entries),
        "bytes": c.nbytes,
        "family": fmt.family,
        "format": fmt.description,
        "recognised_by": type(fmt).recognise(c),
        "tied": c.tied(),
        "notes": [*c.notes, *fmt.notes()],
    }


def scale(record: ScaleRecord) -> Json:
    """One scale record."""
    return {
        "role": record.role,
        "key": record.key,
        "kind": str(record.kind),
        "verified": record.verified,
        "of": record.of,
        "scheme": record.scheme,
        "granularity": record.granularity,
        "group_size": record.group_size,
        "axis": record.axis,
        "dtype": record.dtype,
        "shape": list(record.shape),
        "alpha_sensitive": record.alpha_sensitive,
        "copies": [{"key": c.key, "relation": c.relation, "exact": c.exact} for c in record.copies],
        "folded": list(record.folded),
    }


def scales(fmt: Format, survey: ScaleSurvey) -> Json:
    """`qinspect scales A --json`."""
    records = []
    for record in fmt.scales():
        found = survey.ranges.get(record.role)
        low, high, n_bad = found if isinstance(found, tuple) else (math.nan, math.nan, None)
        problem = found if isinstance(found, str) else None
        read = {"minimum": finite(low), "maximum": finite(high), "not_finite": n_bad, "problem": problem}
        of = survey.faults.get(record.role)
        records.append({**scale(record), **read, "faults": faults(of) if of else None})
    said = [{"rule": code, "text": text} for code, text in model_faults_said(survey.faulty)]
    return {"schema": "qinspect.scales/1", "model": checkpoint(fmt), "findings": said, "scales": records}


def tree(fmt: Format, root: Node, parameters: Parameters, depth: int | None) -> Json:
    """`qinspect tree A --json`."""

    def node(n: Node, level: int) -> Json:
        made: Json = {
            "name": n.name,
            "path": n.path,
            "entries": n.n_entries,
            "parameters": None if n.n_unknown else n.n_parameters,
            "elements": n.n_elements,
            "bytes": n.nbytes,
            "dtypes": n.dtypes,
        }
        if isinstance(n.entry, Tensor):
            made |= {"dtype": n.entry.dtype.name, "shape": list(n.entry.shape)}
        elif n.entry is not None:
            made["value"] = scalar(n.entry.value)
        if n.children and (depth is None or level < depth):
            made["children"] = [node(child, level + 1) for child in n.children.values()]
        return made

    counted = {
        "counted": parameters.counted,
        "elements_of_codes": parameters.n_unknown,
        "stated": parameters.stated,
        "stated_by": parameters.source or None,
    }
    return {"schema": "qinspect.tree/1", "model": checkpoint(fmt), "parameters": counted, "tree": node(root, 0)}


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


def reason(r: Reason) -> Json:
    """A rule that fired."""
    return {"rule": r.rule, "text": r.text, "next": r.next}


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


def faults(f: ScaleFaults) -> Json:
    """Numbers that no scale should be."""
    return {
        "elements": f.n,
        "nan": f.n_nan,
        "inf": f.n_inf,
        "zero": f.n_zero,
        "negative": f.n_negative,
        "denormal": f.n_denormal,
        "first": f.first,
        "value": scalar(f.value),
        "text": str(f),
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
        "notes": list(c.notes),
    }


def statistics(s: Statistics | None) -> Json | None:
    """Statistics of one tensor."""
    if s is None:
        return None
    return {
        "elements": s.n,
        "nan": s.n_nan,
        "inf": s.n_inf,
        "zero": s.n_zero,
        "negative": s.n_negative,
        "minimum": finite(s.minimum),
        "maximum": finite(s.maximum),
        "absmax": finite(s.absmax),
        "mean": finite(s.mean),
        "std": finite(s.std),
        "percentiles": [{"percent": p, "value": finite(v)} for p, v in s.percentiles],
        "percentiles_sampled": s.sampled,
    }


def inspection(fmt: Format, i: Inspection) -> Json:
    """`qinspect show A KEY --json`."""
    e = i.entry
    stored: Json = {"key": i.key, "file": str(e.file.path)}
    if isinstance(e, Tensor):
        stored |= {
            "dtype": e.dtype.name,
            "shape": list(e.shape),
            "strides": list(e.strides) if e.strides is not None else None,
            "offset": e.offset if e.file.stored else None,
            "bytes": e.nbytes,
            "values": _values(i),
            "values_text": None if i.values is None else array_texts(i.values),
        }
    else:
        stored |= {"dtype": e.kind, "value": scalar(e.value)}
    return {
        "schema": "qinspect.show/1",
        "model": checkpoint(fmt),
        "stored": stored,
        "statistics": statistics(i.statistics),
        "scale": {
            **scale(i.scale),
            "copies": [{"key": c.key, "relation": c.relation, "stored": _number(c.stored)} for c in i.copies],
            "unfolded": statistics(i.logical),
        }
        if i.scale
        else None,
        "copy_of": i.copy_of or None,
        "weight": {
            "name": i.weight.name,
            "role": i.weight.role,
            "shape": list(i.weight.shape),
            "bits": i.weight.bits,
            "scheme": i.weight.scheme,
            "scales": list(i.weight.scale_roles),
            "codes": [{"level": level, "count": n} for level, n in (i.codes or {}).items()],
            "dequantized": statistics(i.dequantized),
        }
        if i.weight
        else None,
        "problem": i.problem or None,
    }


def _values(i: Inspection) -> Any:
    if i.values is None:
        return None
    return [scalar(_plain(v)) for v in i.values.reshape(-1)]


def _plain(value: Any) -> object:
    """A numpy or ml_dtypes scalar as the Python number it is."""
    if isinstance(value, (bool, int, float)) or value.dtype.kind in "biufc":
        return value.item() if hasattr(value, "item") and value.dtype.kind != "c" else str(value)
    return float(value)
