"""From tables to what a calibration leaves: scales for every alpha, checkpoints, the record of it all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qinspect.inspector.calibrate.checkpoint import Deferred, PointScale, check_same, write_checkpoint
from qinspect.inspector.calibrate.identity import device_name, versions
from qinspect.inspector.calibrate.opening import Opened
from qinspect.inspector.calibrate.passing import Passed
from qinspect.inspector.calibrate.records import Bar, log, log_observers, write_json
from qinspect.inspector.calibrate.rounding import SCHEMES
from qinspect.inspector.calibration.layout import RESULT, SCHEMA
from qinspect.inspector.calibration.scales import PointResult, results
from qinspect.inspector.distribution import DistributionFile
from qinspect.inspector.models.load import as_numpy
from qinspect.inspector.observers.points import Point
from qinspect.inspector.observers.recipes import reach
from qinspect.inspector.provenance import Provenance


def written(passed: Passed) -> dict[str, Any]:
    """What calibration.json says, which is written. Raises CannotOpen for a checkpoint that is there and is another."""
    opened, plan = passed.opened, passed.opened.plan
    of_alphas = _results(passed)
    warnings = [*opened.warnings, *_warn_of(of_alphas[0], opened.points)]
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "requested": plan.requested.as_dict(),
        "settings": plan.settings.as_dict(),
        "data": opened.samples.describe(),
        "assumed": dict(opened.model.assumed),
        "decides": dict(opened.decides),
        "versions": versions(opened.model.device),
        "timing": dict(passed.timing),
        "warnings": warnings,
        "experts": _tokens_of_experts(opened, of_alphas[0]),
        "alphas": [
            _of_alpha(opened, alpha, found) for alpha, found in zip(plan.settings.alphas, of_alphas, strict=True)
        ],
    }
    write_json(plan.state / RESULT, record)
    log.info("Saving result to %s", plan.state / RESULT)
    return record


def _results(passed: Passed) -> list[list[PointResult]]:
    """For each alpha the scales of all points."""
    settings = passed.opened.plan.settings
    file = DistributionFile(passed.tables)
    try:
        each = Bar("scales", after_s=1).over(passed.opened.points)
        return results(each, settings.recipe, settings.alphas, file, passed.largest)
    finally:
        file.close()


def _of_alpha(opened: Opened, alpha: float, found: Sequence[PointResult]) -> dict[str, Any]:
    """What the record says of an alpha, whose checkpoints are written."""
    settings = opened.plan.settings
    log_observers(found, alpha)
    stored = [str(_store(opened, target, scheme, found)) for target, scheme in settings.targets_of(alpha)]
    n, _ = reach(settings.recipe, [r.point for r in found], alpha)
    return {"alpha": alpha, "reached": n, "points": [r.as_dict() for r in found], "checkpoints": stored}


def _tokens_of_experts(opened: Opened, found: Sequence[PointResult]) -> dict[str, list[int]]:
    """By the module of a layer's experts, how many tokens each expert was sent, in order."""
    n_values = {r.point.name: r.n_values for r in found}
    return {
        name: [n_values.get(point, 0) // width for point, width in inputs]
        for name, inputs in opened.model.expert_inputs.items()
    }


def _warn_of(found: Sequence[PointResult], points: Sequence[Point]) -> list[str]:
    """What only the end shows: points without a value, and with values that are no numbers."""
    seen = {r.point.name for r in found}
    unseen = [p.name for p in points if p.name not in seen]
    broken = [r.point.name for r in found if r.n_not_finite]
    warnings = []
    if unseen:
        warnings.append(f"{len(unseen)} of {len(points)} points saw no value and have no scale: {unseen[0]} ...")
    if broken:
        warnings.append(f"{len(broken)} of {len(points)} points saw infinite values or NaN: {broken[0]} ...")
    for text in warnings:
        log.warning("%s", text)
    return warnings


def _store(opened: Opened, target: Path, scheme: str, found: Sequence[PointResult]) -> Path:
    """Write a checkpoint, unless a calibration that was killed had got so far."""
    plan, model = opened.plan, opened.model
    weights = model.weights()
    bar, read = Bar(f"checkpoint {target.name}", after_s=1), count(1)

    def as_array(w: torch.Tensor) -> NDArray[Any]:
        bar.show(next(read), len(weights))
        return as_numpy(w)

    tensors = {k: Deferred(tuple(w.shape), _numpy_dtype(w.dtype), partial(as_array, w)) for k, w in weights.items()}
    scales = {r.point.name: PointScale(r.scale, str(r.applied.rule), r.applied.alpha is not None) for r in found}
    effective = {
        "recipe": plan.settings.recipe,
        "alpha": {r.point.name: r.applied.alpha for r in found},
        "device": device_name(model.device),
        "dtype": model.dtype,
        "model_sha256": opened.decides["model"],
        "assumed": dict(model.assumed),
    }
    provenance = Provenance(plan.asked(target, scheme), effective, opened.samples.describe(), versions(model.device))
    if plan.is_stored(target, scheme):
        check_same(target, scales, provenance)
        log.info("The quantized model is stored at %s already", target)
        return target
    write_checkpoint(target, tensors, model.linears, scales, model.config(), provenance, SCHEMES[scheme])
    log.info("The quantized model is stored at %s", target)
    return target


def _numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    return as_numpy(torch.empty(0, dtype=dtype)).dtype
