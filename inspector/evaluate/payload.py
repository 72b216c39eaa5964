"""An evaluation as the object that `--json` prints."""

from __future__ import annotations

from dataclasses import asdict

from qinspect.inspector.accuracy import AccuracyComparison
from qinspect.inspector.evaluate.answers import TaskFigures
from qinspect.inspector.evaluate.best import Best
from qinspect.inspector.evaluate.intervals import Estimate
from qinspect.inspector.evaluate.layout import SCHEMA
from qinspect.inspector.evaluate.results import Against, Evaluation, Floor, ModelFigures, Part
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.json_text import Json, finite


def evaluation(found: Evaluation, settings: EvaluateSettings) -> Json:
    """`qinspect evaluate --json`."""
    return {
        "schema": SCHEMA,
        "reference": found.reference,
        "windows": found.n_windows,
        "tokens": found.n_tokens,
        "samples": dict(found.samples),
        "settings": asdict(settings),
        "noise_floor": None if found.floor is None else floor(found.floor),
        "not_measured": [{"name": f.name, "problem": f.problem} for f in found.failed],
        "models": [_model(m) for m in found.models],
        "against_first": [_against(a) for a in found.against],
        "tasks": [_task(t) for t in found.tasks],
        "best": None if found.best is None else _best(found.best),
        "through": None if not settings.through else _through(found),
        "warnings": list(found.warnings),
    }


def _model(m: ModelFigures) -> Json:
    return {
        "name": m.name,
        "format": m.described,
        "bytes": m.nbytes,
        "bits_per_weight": m.bits_per_weight,
        "points": m.n_points,
        "cache_points": m.n_caches,
        "not_simulated": list(m.left_out),
        "tokens": m.n,
        "not_finite": m.n_not_finite,
        "perplexity_reference": finite(m.perplexity_reference),
        "perplexity": finite(m.perplexity),
        "bits_per_byte_reference": finite(m.bits_per_byte_reference),
        "bits_per_byte": finite(m.bits_per_byte),
        "ln_ratio": estimate(m.ln_ratio),
        "kl": estimate(m.kl),
        "kl_back": estimate(m.kl_back),
        "kl_max": finite(m.kl_max),
        "kl_quantiles": {str(q): finite(v) for q, v in m.kl_quantiles.items()},
        "accuracy_reference": estimate(m.accuracy_reference),
        "accuracy": estimate(m.accuracy),
        "same_top": estimate(m.same_top),
        "shared_top": estimate(m.shared_top),
        "shift": estimate(m.shift),
        "shift_rms": finite(m.shift_rms),
        "shift_quantiles": {str(q): finite(v) for q, v in m.shift_quantiles.items()},
        "by_confidence": [_part(p) for p in m.buckets],
        "by_position": [_part(p) for p in m.stretches],
        "answer": m.answer.value,
        "margin": m.margin,
    }


def _best(b: Best) -> Json:
    return {
        "name": b.name,
        "second": b.second,
        "models": b.n_models,
        "documents_that_chose": b.n_chose,
        "documents_that_tested": b.n_tested,
        "ln_ratio_where_chosen": estimate(b.chose),
        "ln_ratio": estimate(b.tested),
        "ln_ratio_to_second": estimate(b.against_second),
        "holds": b.holds,
    }


def _through(found: Evaluation) -> Json:
    """The same checkpoints as a library runs them."""
    return {
        "control_kl": found.engine_control,
        "not_measured": [{"name": f.name, "problem": f.problem} for f in found.engines_failed],
        "models": [
            {
                "name": e.name,
                "engine": e.engine,
                "modules": dict(e.modules),
                "dequantized": e.dequantized,
                "against_reference": _model(e.figures),
                "against_executor": _model(e.between),
            }
            for e in found.engines
        ],
    }


def _task(t: TaskFigures) -> Json:
    return {"name": t.model, "task": t.task, "metrics": {metric: _metric(c) for metric, c in t.metrics.items()}}


def _metric(c: AccuracyComparison) -> Json:
    pairs = c.paired
    return {
        "items": c.b.n,
        "accuracy_reference": c.a.share,
        "accuracy": c.b.share,
        "difference_points": {"value": 100 * c.difference, "low": 100 * c.low, "high": 100 * c.high},
        "only_reference_right": None if pairs is None else pairs.n_only_a,
        "only_model_right": None if pairs is None else pairs.n_only_b,
        "mcnemar_p": None if pairs is None else pairs.exact_p,
        "smallest_points": 100 * c.detectable,
    }


def floor(f: Floor) -> Json:
    """What rounding noise alone does."""
    return {
        "seeds": f.seeds,
        "windows": f.n_windows,
        "kl": finite(f.kl),
        "kl_most": finite(f.kl_most),
        "ln_ratio_most": finite(f.ratio_most),
        "same_top": finite(f.same_top),
        "batch": f.batch,
        "batch_kl": finite(f.batch_kl),
        "batch_ln_ratio": finite(f.batch_ratio),
        "batch_same_top": finite(f.batch_same_top),
    }


def _against(a: Against) -> Json:
    return {
        "name": a.name,
        "scales_percent": a.scales_percent,
        "accuracy_points": estimate(a.accuracy),
        "ln_ratio": estimate(a.ln_ratio),
        "robust": a.robust,
        "margin_points": a.margin,
        "smallest_points": finite(a.accuracy.smallest),
    }


def estimate(e: Estimate) -> Json:
    """A mean with its interval, and what would mostly be told from zero."""
    of_interval = {"low": finite(e.low), "high": finite(e.high), "smallest": finite(e.smallest)}
    return {"value": finite(e.value), **of_interval}


def _part(p: Part) -> Json:
    return {"from": p.start, "to": p.stop, "tokens": p.n, "kl": finite(p.kl)}
