"""An evaluation as the object that `--json` prints."""

from __future__ import annotations

from dataclasses import asdict

from qinspect.inspector.evaluate.intervals import Estimate
from qinspect.inspector.evaluate.results import ModelFigures, Part
from qinspect.inspector.evaluate.work import Evaluation
from qinspect.inspector.json_text import Json, finite


def evaluation(found: Evaluation) -> Json:
    """`qinspect evaluate --json`."""
    return {
        "schema": "qinspect.evaluate/1",
        "reference": found.reference,
        "windows": found.n_windows,
        "tokens": found.n_tokens,
        "samples": found.samples,
        "settings": asdict(found.settings),
        "models": [_model(m) for m in found.models],
        "warnings": list(found.warnings),
    }


def _model(m: ModelFigures) -> Json:
    return {
        "path": m.path,
        "format": m.described,
        "bytes": m.nbytes,
        "bits_per_weight": m.bits_per_weight,
        "weights": m.n_weights,
        "points": m.n_points,
        "not_simulated": list(m.left_out),
        "tokens": m.n,
        "not_finite": m.n_not_finite,
        "perplexity_reference": finite(m.perplexity_reference),
        "perplexity": finite(m.perplexity),
        "ln_ratio": _estimate(m.ln_ratio),
        "kl": _estimate(m.kl),
        "kl_back": _estimate(m.kl_back),
        "kl_max": finite(m.kl_max),
        "kl_quantiles": {str(q): finite(v) for q, v in m.kl_quantiles.items()},
        "same_top": _estimate(m.same_top),
        "shared_top": _estimate(m.shared_top),
        "shift": _estimate(m.shift),
        "shift_rms": finite(m.shift_rms),
        "shift_quantiles": {str(q): finite(v) for q, v in m.shift_quantiles.items()},
        "by_confidence": [_part(p) for p in m.buckets],
        "by_position": [_part(p) for p in m.stretches],
        "answer": m.answer.value,
        "margin": m.margin,
    }


def _estimate(e: Estimate) -> Json:
    return {"value": finite(e.value), "low": finite(e.low), "high": finite(e.high)}


def _part(p: Part) -> Json:
    return {"from": p.start, "to": p.stop, "tokens": p.n, "kl": finite(p.kl)}
