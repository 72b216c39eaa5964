"""A calibration from its settings to its results. This process imports torch; nothing else of the instrument does."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qinspect.inspector.calibrate.checkpoint import Deferred, PointScale, Provenance, check_target, write_checkpoint
from qinspect.inspector.calibrate.data import ByteTokenizer, Samples, Tokenizer, load_samples, load_tokenizer
from qinspect.inspector.calibrate.engine import Pass, Progress, apart_of, find_points, forecast_bytes
from qinspect.inspector.calibrate.grouped import GroupedAbsmax
from qinspect.inspector.calibrate.models.load import MambaModel, ProbedModel, as_numpy, is_mamba, open_model
from qinspect.inspector.calibrate.points import Point
from qinspect.inspector.calibrate.recipes import applied, default_recipe, reach, rotates
from qinspect.inspector.calibrate.records import RESULT, SCHEMA, Bar, LivePoints, log, log_observers, write_json
from qinspect.inspector.calibrate.rounding import WeightScheme
from qinspect.inspector.calibrate.scales import PointResult, results
from qinspect.inspector.calibrate.settings import Settings, fingerprint
from qinspect.inspector.calibrate.shards import SHARD_SAMPLES, Shards, grouped_absmax
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.demo import HELD_OUT_TEXT
from qinspect.inspector.distribution import DistributionFile
from qinspect.inspector.errors import UsageError

SCHEMES = {"w8a8": WeightScheme(8), "w4a8": WeightScheme(4, 128)}
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's malloc.h."""


def calibrate(settings: Settings, state: Path) -> dict[str, Any]:
    """Run or resume a calibration whose files are in `state`. Returns what calibration.json says.

    Raises QinspectError for settings that do not fit the model, data or device.
    """
    settings = _resolved(settings)
    targets = _targets(settings)
    if len(targets) > 1:
        Path(settings.out).mkdir(parents=True, exist_ok=True)
    for target in targets:
        check_target(target)
    state.mkdir(parents=True, exist_ok=True)
    log.info("Creating Model:%s", settings.model)
    device = torch.device(settings.device)
    if device.type == "cpu":
        _keep_memory()
    model = open_model(settings.model, rotates(settings.recipe), device, settings.dtype)
    samples = _samples(settings, model)
    log.info("Calibrate with %s", settings.data or "the text that comes with the program")
    points = find_points(model, samples.ids[0][:16])
    apart = apart_of(points, settings.recipe, settings.per_sample)
    warnings = _announce(settings, points, apart, samples)
    decides = _deciding(settings, samples, points, apart, model)
    shards = Shards(state, fingerprint(decides), len(samples.ids))
    made = _run(settings, model, samples, points, apart, shards, state)
    path = shards.join({"settings": fingerprint(decides), "samples": str(len(samples.ids)), "recipe": settings.recipe})
    log.info("The distributions are stored at %s", path)
    file, grouped = DistributionFile(path), grouped_absmax(state)
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "settings": settings.as_dict(),
        "data": samples.describe(),
        "decides": decides,
        "versions": versions(),
        "timing": made,
        "warnings": warnings,
        "alphas": [],
    }
    try:
        for alpha in settings.alphas:
            found = results(points, settings.recipe, alpha, file, grouped)
            log_observers(found, alpha)
            stored = [str(_store(t, settings, alpha, s, model, samples, found)) for t, s in _of_alpha(settings, alpha)]
            record["alphas"].append({"alpha": alpha, "points": [r.as_dict() for r in found], "checkpoints": stored})
    finally:
        file.close()
    write_json(state / RESULT, record)
    return record


def _resolved(settings: Settings) -> Settings:
    """With what was left open decided, so that the record says it."""
    checkpoint = open_checkpoint(settings.model)
    try:
        recipe = settings.recipe or default_recipe(is_mamba(checkpoint))
        if rotates(recipe) and not is_mamba(checkpoint):
            cure = "Choose --recipe percentile or minmax."
            raise UsageError(f"the recipe {recipe} is for Mamba models", file=settings.model, cure=cure)
    finally:
        checkpoint.close()
    device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        cure = "Choose --device cpu, or install a torch that fits the driver."
        raise UsageError("torch sees no CUDA device", found=f"--device {device}", cure=cure)
    return replace(settings, recipe=recipe, device=device)


def _targets(settings: Settings) -> list[Path]:
    return [target for alpha in settings.alphas for target, _ in _of_alpha(settings, alpha)]


def _of_alpha(settings: Settings, alpha: float) -> list[tuple[Path, str]]:
    """Where the checkpoints of an alpha go: `--out` itself for a single one, else a folder in it for each."""
    if not settings.out:
        return []
    out = Path(settings.out)
    if len(settings.alphas) * len(settings.weights) == 1:
        return [(out, settings.weights[0])]
    return [(out / f"pa-{alpha:g}-{scheme}", scheme) for scheme in settings.weights]


def _samples(settings: Settings, model: ProbedModel) -> Samples:
    tokenizer: Tokenizer | None = load_tokenizer(Path(settings.model))
    if tokenizer is None and model.vocab_size == 256:
        tokenizer = ByteTokenizer()
    source = settings.data or str(HELD_OUT_TEXT)
    return load_samples(
        source, tokenizer, settings.samples, settings.seq_len, settings.seed, settings.shuffle, model.vocab_size
    )


def _announce(settings: Settings, points: Sequence[Point], apart: frozenset[str], samples: Samples) -> list[str]:
    """Say what is going to happen; returns what the result must warn of."""
    warnings = list(samples.warnings)
    n_bytes = forecast_bytes(points, apart, len(samples.ids), settings.seq_len)
    log.info(
        "%d observation points; %d keep a table of each sample: about %.0f MB", len(points), len(apart), n_bytes / 1e6
    )
    rotated = [p.name for p in points if p.rotated]
    if rotated:
        log.info("%d points are in rotated (Hadamard) space: %s ...", len(rotated), rotated[0])
    if any(p.dtype == "float32" for p in points):
        warnings.append("a float32 run: tables are bounded (docs/distributions.md), scales are upper bounds")
    for alpha in settings.alphas:
        n, sentence = reach(settings.recipe, points, alpha)
        if n:
            log.info("%s", sentence)
        else:
            warnings.append(sentence)
    for text in warnings:
        log.warning("%s", text)
    return warnings


def _deciding(
    settings: Settings, samples: Samples, points: Sequence[Point], apart: frozenset[str], model: ProbedModel
) -> dict[str, Any]:
    """What decides every table. Not the alphas: one pass answers for all."""
    return {
        "model": model_hash(model),
        "rotated": model.rotated,
        "dtype": model.dtype,
        "device": model.device.type,
        "recipe_points": {p.name: applied(settings.recipe, p, 0.5).grouping for p in points},
        "apart": sorted(apart),
        "data": samples.sha256,
        "samples": len(samples.ids),
        "batch": settings.batch,
        "shard_samples": SHARD_SAMPLES,
    }


def model_hash(model: ProbedModel) -> str:
    """sha256 of the weights that are used, name by name."""
    from hashlib import sha256

    digest = sha256()
    for name, w in sorted(model.weights().items()):
        digest.update(f"{name} {w.dtype} {tuple(w.shape)}\n".encode())
        digest.update(as_numpy(w).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _keep_memory() -> None:
    """Let the C library keep what a forward on the CPU frees: asking the system for it again at every operation takes
    longer than the operation."""
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
    except (OSError, AttributeError):  # another C library: slower
        return


def _run(
    settings: Settings,
    model: ProbedModel,
    samples: Samples,
    points: Sequence[Point],
    apart: frozenset[str],
    shards: Shards,
    state: Path,
) -> dict[str, float]:
    live = LivePoints(state, points, settings.recipe, settings.alphas[0])
    live.write()
    bar = Bar("calibration")
    log.info("Run calibration")
    progress = Progress(
        n_done=bar.show, say=lambda text: log.warning("%s", text), sample=live.sample, shard=live.pooled
    )
    groupings = {p.name: applied(settings.recipe, p, 0.5).grouping for p in points}
    head = model.mamba if isinstance(model, MambaModel) else None
    grouped = GroupedAbsmax(groupings, head.n_groups if head else 1, head.head_dim if head else 1)
    Pass(model, points, apart, grouped, progress, settings.batch).run(samples.ids, shards)
    timing = progress.timing
    return {"samples": timing.samples, "forward_s": timing.forward, "packing_s": timing.packing}


def _store(
    target: Path,
    settings: Settings,
    alpha: float,
    scheme: str,
    model: ProbedModel,
    samples: Samples,
    found: Sequence[PointResult],
) -> Path:
    weights = model.weights()
    tensors = {k: Deferred(tuple(w.shape), _numpy_dtype(w.dtype), partial(as_numpy, w)) for k, w in weights.items()}
    scales = {r.point.name: PointScale(r.scale, str(r.applied.rule), r.applied.alpha is not None) for r in found}
    effective = {r.point.name: r.applied.alpha for r in found}
    provenance = Provenance(
        requested={**settings.as_dict(), "out": "", "alphas": [alpha]},
        effective={"recipe": settings.recipe, "alpha": effective, "device": model.device.type, "dtype": model.dtype},
        data=samples.describe(),
        versions=versions(),
    )
    write_checkpoint(target, tensors, model.linears, scales, model.config(), provenance, SCHEMES[scheme])
    log.info("The quantized model is stored at %s", target)
    return target


def _numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    return as_numpy(torch.empty(0, dtype=dtype)).dtype


def versions() -> Mapping[str, str]:
    """What takes part in every number."""
    from importlib.metadata import PackageNotFoundError, version

    made = {"python": platform.python_version()}
    for name in ("qinspect", "torch", "numpy", "transformers"):
        try:
            made[name] = version(name)
        except PackageNotFoundError:
            continue
    if torch.cuda.is_available():
        made["cuda"] = str(torch.version.cuda)
        made["gpu"] = torch.cuda.get_device_name()
    return made
