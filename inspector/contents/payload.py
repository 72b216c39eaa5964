"""What a checkpoint holds, as the objects that `--json` prints; docs/schema has their schemas."""

from __future__ import annotations

import math

from qinspect.inspector.architecture import Segments, kind_of_layer, layer_kinds
from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.contents.parameters import Parameters
from qinspect.inspector.contents.survey import ScaleSurvey
from qinspect.inspector.contents.tree import Node
from qinspect.inspector.formats import Format
from qinspect.inspector.formats.bits import Bits, model_bits
from qinspect.inspector.formats.payload import checkpoint, scale
from qinspect.inspector.formats.records import Kind
from qinspect.inspector.formats.segments import ModelSegments
from qinspect.inspector.json_text import Json, finite
from qinspect.inspector.values.payload import faults, scalar
from qinspect.inspector.values.scale_faults import model_faults_said


def scales(fmt: Format, survey: ScaleSurvey) -> Json:
    """`qinspect scales A --json`."""
    records = []
    segments = ModelSegments(fmt)
    for record in fmt.scales():
        found = survey.ranges.get(record.role)
        low, high, n_bad = found if isinstance(found, tuple) else (math.nan, math.nan, None)
        problem = found if isinstance(found, str) else None
        read = {"minimum": finite(low), "maximum": finite(high), "not_finite": n_bad, "problem": problem}
        of = survey.faults.get(record.role)
        rows = _segments(segments.of_role(record.role)) if record.kind is Kind.WEIGHT else []
        records.append({**scale(record), **read, "faults": faults(of) if of else None, "segments": rows})
    said = [{"rule": code, "text": text} for code, text in model_faults_said(survey.faulty)]
    return {
        "schema": "qinspect.scales/1",
        "model": checkpoint(fmt),
        "bits_per_weight": _bits(model_bits(fmt)),
        "findings": said,
        "scales": records,
    }


def tree(fmt: Format, root: Node, parameters: Parameters, depth: int | None) -> Json:
    """`qinspect tree A --json`."""

    kinds, segments = layer_kinds(fmt.checkpoint.config), ModelSegments(fmt)

    def node(n: Node, level: int) -> Json:
        made: Json = {
            "name": n.name,
            "path": n.path,
            "entries": n.n_entries,
            "parameters": None if n.n_unknown else n.n_parameters,
            "elements": n.n_elements,
            "bytes": n.nbytes,
            "bits_per_weight": n.bits_per_weight,
            "dtypes": n.dtypes,
        }
        if of_layer := kind_of_layer(n.path, kinds):
            made["layer_kind"] = of_layer
        if n.entry is not None and n.entry.name != n.path:
            made["key"] = n.entry.name
        if isinstance(n.entry, Tensor):
            made |= {"dtype": n.entry.dtype.name, "shape": list(n.entry.shape)}
            if rows := segments.of_entry(n.entry.name):
                made["segments"] = _segments(rows)
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
    return {
        "schema": "qinspect.tree/1",
        "model": checkpoint(fmt),
        "parameters": counted,
        "bits_per_weight": _bits(Bits(root.bits_per_weight, fmt.declared_bits)),
        "tree": node(root, 0),
    }


def _segments(rows: Segments) -> list[Json]:
    return [{"name": s.name, "start": s.start, "stop": s.stop, "of": s.of or None} for s in rows]


def _bits(of_model: Bits) -> Json:
    return {"effective": of_model.effective, "declared": list(of_model.declared)}
