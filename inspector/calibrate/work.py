"""A calibration from its settings to its results. This process imports torch; nothing else of the instrument does."""

from __future__ import annotations

import ctypes
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qinspect.inspector.calibrate.checkpoint import (
    Deferred,
    PointScale,
    Provenance,
    check_same,
    check_target,
    write_checkpoint,
)
from qinspect.inspector.calibrate.engine import Pass, Progress, apart_of, batches, find_points, forecast_bytes
from qinspect.inspector.calibrate.folder import keep_to, locked
from qinspect.inspector.calibrate.grouped import BLOCKS, GroupedAbsmax
from qinspect.inspector.calibrate.records import Bar, LivePoints, log, log_observers, write_json
from qinspect.inspector.calibrate.room import check_disk, check_writable, checkpoint_bytes
from qinspect.inspector.calibrate.rounding import WeightScheme
from qinspect.inspector.calibrate.shards import SHARD_SAMPLES, Shards
from qinspect.inspector.calibration.layout import RESULT, SCHEMA
from qinspect.inspector.calibration.scales import PointResult, results
from qinspect.inspector.calibration.settings import Settings, fingerprint
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.demo import HELD_OUT_TEXT
from qinspect.inspector.distribution import DistributionFile
from qinspect.inspector.errors import CannotOpen, QinspectError, UsageError
from qinspect.inspector.models.free import free_on
from qinspect.inspector.models.load import MambaModel, ProbedModel, as_numpy, is_mamba, open_model
from qinspect.inspector.models.memory import check_forward, is_shortage, no_room
from qinspect.inspector.observers.points import Point
from qinspect.inspector.observers.recipes import Grouping, applied, default_recipe, reach, rotates, short
from qinspect.inspector.samples.data import ByteTokenizer, Samples, Tokenizer, load_samples, load_tokenizer
from qinspect.inspector.text import some

SCHEMES = {"w8a8": WeightScheme(8), "w4a8": WeightScheme(4, 128)}
PROBE_TOKENS = 16
"""Of the first sample, to find the points with."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's malloc.h."""


def calibrate(settings: Settings, state: Path) -> dict[str, Any]:
    """Run or resume a calibration whose files are in `state`. Returns what calibration.json says.

    Raises QinspectError for settings that do not fit the model, data or device, and for a folder that another
    calibration uses or has filled.
    """
    requested, settings = settings, _resolved(settings)
    for target, scheme in _targets(settings):
        if not _is_like(target, _asked(requested, settings, target, scheme)):
            check_writable(target.parent, target)
            if len(_targets(settings)) > 1:
                Path(settings.out).mkdir(parents=True, exist_ok=True)
            check_target(target)
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        cure = "Name another place with --state."
        raise CannotOpen(f"cannot be made: {e.strerror or e}", file=state, cure=cure) from e
    check_writable(state)
    with locked(state):
        try:
            return _calibrate(requested, settings, state)
        except Exception as e:
            if isinstance(e, QinspectError) or not is_shortage(e):
                raise
            said = " ".join(str(e).split()) or "out of memory"
            raise no_room(settings.model, said, settings.device, settings.batch, settings.seq_len) from e
        finally:
            Bar.end_line()


def _calibrate(requested: Settings, settings: Settings, state: Path) -> dict[str, Any]:
    log.info("Creating Model:%s", settings.model)
    one = f", percentile_alpha={short(settings.alphas[0])}" if len(settings.alphas) == 1 else ""
    log.info("Requested: %s%s", requested.said(), one)
    device: Any = settings.device if settings.device == "auto" else torch.device(settings.device)
    if str(device) == "cpu":
        _keep_memory()
    model = open_model(settings.model, rotates(settings.recipe), device, settings.dtype)
    if model.assumed:
        log.info("config.json is silent, the defaults are used: %s", _said(model.assumed))
    samples = _samples(settings, model)
    log.info("Calibrate with %s", samples.source.get("file") or samples.source.get("name"))
    effective = replace(settings, dtype=model.dtype, device=str(model.device), samples=len(samples.ids))
    log.info("Effective: %s, group_heads=%s", effective.said(), settings.recipe == "quamba-group-heads")
    place = "auto" if model.is_spread else str(model.device)
    check_forward(model.need, model.path, place, free_on(place), *_largest_forward(samples, settings.batch))
    points = find_points(model, samples.ids[0][:PROBE_TOKENS])
    groupings = {p.name: applied(settings.recipe, p, 0.5).grouping for p in points}
    if "heads" in groupings.values():
        _check_heads(model)
    apart = apart_of(points, settings.recipe, settings.per_sample)
    n_bytes = forecast_bytes(points, apart, [ids.size for ids in samples.ids], SHARD_SAMPLES)
    warnings = _announce(settings, points, apart, n_bytes, samples, model)
    decides = _deciding(settings, samples, groupings, apart, model)
    keep_to(state, decides)
    shards = Shards(state, fingerprint(decides), len(samples.ids), grouped=any(groupings.values()))
    _check_disk(settings, state, n_bytes, model)
    made = _run(settings, model, samples, points, apart, groupings, shards, state)
    order = [p.name for p in points]
    metadata = {"settings": fingerprint(decides), "samples": str(len(samples.ids)), "recipe": settings.recipe}
    path = shards.join(Bar("joining shards", after_s=1).over(order), metadata)
    log.info("The distributions are stored at %s", path)
    file = DistributionFile(path)
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "requested": requested.as_dict(),
        "settings": settings.as_dict(),
        "data": samples.describe(),
        "assumed": dict(model.assumed),
        "decides": decides,
        "versions": versions(model.device),
        "timing": made,
        "warnings": warnings,
        "alphas": [],
    }
    try:
        each = Bar("scales", after_s=1).over(points)
        of_alphas = results(each, settings.recipe, settings.alphas, file, shards.largest())
        warnings += _warn_of(of_alphas[0], points)
        for alpha, found in zip(settings.alphas, of_alphas, strict=True):
            log_observers(found, alpha)
            stored = [
                str(_store(t, requested, settings, s, model, samples, found, decides["model"]))
                for t, s in _of_alpha(settings, alpha)
            ]
            n, _ = reach(settings.recipe, [r.point for r in found], alpha)
            record["alphas"].append(
                {"alpha": alpha, "reached": n, "points": [r.as_dict() for r in found], "checkpoints": stored}
            )
    finally:
        file.close()
    write_json(state / RESULT, record)
    log.info("Saving result to %s", state / RESULT)
    return record


def _resolved(settings: Settings) -> Settings:
    """With what was left open decided, so that the record says it."""
    checkpoint = open_checkpoint(settings.model)
    try:
        mamba = is_mamba(checkpoint)
    finally:
        checkpoint.close()
    recipe = settings.recipe or default_recipe(mamba)
    if rotates(recipe) and not mamba:
        cure = "Choose --recipe percentile or minmax."
        raise UsageError(f"the recipe {recipe} is for Mamba models", file=settings.model, cure=cure)
    n = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = settings.device or ("cuda" if n else "cpu")
    if device == "auto" and (mamba or not n):  # only transformers' models are spread
        device = "cuda" if n else "cpu"
    if device.startswith("cuda") and not n:
        cure = "Choose --device cpu, or install a torch that fits the driver."
        raise UsageError("torch sees no CUDA device", found=f"--device {device}", cure=cure)
    if int(device.partition(":")[2] or 0) >= max(n, 1):
        raise UsageError("there is no such GPU", expected=f"cuda:0 to cuda:{n - 1}", found=device)
    if device == "auto" and find_spec("accelerate") is None:
        cure = "Install the calibration extra: pip install 'qinspect[calibrate]'."
        raise UsageError("spreading a model needs the package `accelerate`", file=settings.model, cure=cure)
    return replace(settings, recipe=recipe, device=device)


def _targets(settings: Settings) -> list[tuple[Path, str]]:
    return [target for alpha in settings.alphas for target in _of_alpha(settings, alpha)]


def _of_alpha(settings: Settings, alpha: float) -> list[tuple[Path, str]]:
    """Where the checkpoints of an alpha go: `--out` itself for a single one, else a folder in it for each."""
    if not settings.out:
        return []
    out = Path(settings.out)
    if len(settings.alphas) * len(settings.weights) == 1:
        return [(out, settings.weights[0])]
    return [(out / f"pa-{short(alpha)}-{scheme}", scheme) for scheme in settings.weights]


def _samples(settings: Settings, model: ProbedModel) -> Samples:
    tokenizer: Tokenizer | None = load_tokenizer(Path(settings.model))
    if tokenizer is None and model.vocab_size == 256:
        tokenizer = ByteTokenizer()
    source = settings.data or str(HELD_OUT_TEXT)
    samples = load_samples(
        source, tokenizer, settings.samples, settings.seq_len, settings.seed, settings.shuffle, model.vocab_size
    )
    longest = max(ids.size for ids in samples.ids)
    if model.max_length is not None and longest > model.max_length:
        raise UsageError(
            "a sample is longer than the model", file=settings.model, expected=f"at most {model.max_length} tokens",
            found=f"{longest} tokens", cure=f"Choose --seq-len {model.max_length}.",
        )  # fmt: skip
    return samples


def _check_heads(model: ProbedModel) -> None:
    """Raises UsageError for a model whose heads and channels cannot be put into groups."""
    mamba = model.mamba if isinstance(model, MambaModel) else None
    if mamba is None or mamba.version != 2:
        raise UsageError(
            "has no heads to group", file=model.path, expected="a Mamba2 model for --recipe quamba-group-heads",
            cure="Choose --recipe quamba.",
        )  # fmt: skip
    if mamba.n_heads % (mamba.n_groups * BLOCKS) or mamba.head_dim % BLOCKS:
        raise UsageError(
            "its heads cannot be grouped", file=model.path, cure="Choose --recipe quamba.",
            expected=f"heads of each group, and channels of each head, in multiples of {BLOCKS}",
            found=f"{mamba.n_heads} heads of {mamba.head_dim} in {some(mamba.n_groups, 'group')}",
        )  # fmt: skip


def _announce(
    settings: Settings,
    points: Sequence[Point],
    apart: frozenset[str],
    n_bytes: int,
    samples: Samples,
    model: ProbedModel,
) -> list[str]:
    """Say what is going to happen; returns what the result must warn of."""
    warnings = [*samples.warnings, *model.notes]
    warnings += [f"--per-sample {glob} names no observation point" for glob in settings.per_sample
                 if not any(fnmatchcase(p.name, glob) for p in points)]  # fmt: skip
    if model.unquantized:
        kept = ": a checkpoint keeps them as they are" if settings.out else ""
        warnings.append(f"{model.unquantized}{kept}")
    log.info(
        "%d observation points; %d keep a table of each sample: about %.1f MB with the shards",
        len(points), len(apart), n_bytes / 1e6,
    )  # fmt: skip
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


def _largest_forward(samples: Samples, batch: int) -> tuple[int, int]:
    """Samples and tokens of each, of the forward with the most tokens of them all."""
    stretches = ((i, min(i + SHARD_SAMPLES, len(samples.ids))) for i in range(0, len(samples.ids), SHARD_SAMPLES))
    together = (b for stretch in stretches for b in batches(samples.ids, stretch, batch))
    return max(((len(b), samples.ids[b[0]].size) for b in together), key=lambda shape: shape[0] * shape[1])


def _said(assumed: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in assumed.items())


def _check_disk(settings: Settings, state: Path, n_bytes: int, model: ProbedModel) -> None:
    """Raises CannotOpen where tables and checkpoints will not fit beside what is stored already."""
    stored = sum(p.stat().st_size for p in state.rglob("*.safetensors"))
    wanted = [(state, max(0, n_bytes - stored), "tables")]
    shapes = {k: (tuple(w.shape), w.element_size()) for k, w in model.weights().items()}
    for target, scheme in _targets(settings):
        if not target.is_dir() or not any(target.iterdir()):
            wanted.append((target, checkpoint_bytes(shapes, model.linears, SCHEMES[scheme]), "checkpoints"))
    check_disk(wanted)


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


def _deciding(
    settings: Settings, samples: Samples, groupings: Mapping[str, Grouping], apart: frozenset[str], model: ProbedModel
) -> dict[str, Any]:
    """What decides every table. Not the alphas: one pass answers for all."""
    return {
        "model": model_hash(model),
        "config": model.decides(),
        "rotated": model.rotated,
        "dtype": model.dtype,
        "device": device_name(model.device),
        "torch": torch.__version__,
        "recipe_points": groupings,
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
    groupings: Mapping[str, Grouping],
    shards: Shards,
    state: Path,
) -> dict[str, float]:
    live = LivePoints(state, points, settings.recipe, settings.alphas[0])
    for of_samples, pooled in shards.stored():
        for tables in of_samples:
            live.sample(tables)
        live.pooled(pooled)
    live.write()
    bar = Bar("calibration")
    log.info("Run calibration")
    progress = Progress(
        n_done=bar.show, say=lambda text: log.warning("%s", text), sample=live.sample, shard=live.pooled,
        restart=live.restart,
    )  # fmt: skip
    head = model.mamba if isinstance(model, MambaModel) else None
    grouped = GroupedAbsmax(groupings, head.n_groups if head else 1, head.head_dim if head else 1)
    Pass(model, points, apart, grouped, progress, settings.batch).run(samples.ids, shards)
    timing = progress.timing
    return {"samples": timing.samples, "forward_s": timing.forward, "packing_s": timing.packing}


def _asked(requested: Settings, settings: Settings, target: Path, scheme: str) -> dict[str, Any]:
    """What a checkpoint says was asked for: where the user keeps the files is nobody else's business."""
    (alpha,) = {a for a in settings.alphas if (target, scheme) in _of_alpha(settings, a)}
    names = {"model": Path(requested.model).name, "data": Path(requested.data).name if requested.data else ""}
    asked = {**requested.as_dict(), **names, "alphas": [alpha], "weights": [scheme]}
    return {k: v for k, v in asked.items() if k != "out"}


def _is_like(target: Path, asked: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is there already that says that it was made with these settings."""
    try:
        config = json.loads((target / "config.json").read_text(encoding="utf-8"))
        return bool(config["provenance"]["requested"] == asked)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _store(
    target: Path,
    requested: Settings,
    settings: Settings,
    scheme: str,
    model: ProbedModel,
    samples: Samples,
    found: Sequence[PointResult],
    weights_hash: str,
) -> Path:
    weights = model.weights()
    bar, read = Bar(f"checkpoint {target.name}", after_s=1), count(1)

    def as_array(w: torch.Tensor) -> NDArray[Any]:
        bar.show(next(read), len(weights))
        return as_numpy(w)

    tensors = {k: Deferred(tuple(w.shape), _numpy_dtype(w.dtype), partial(as_array, w)) for k, w in weights.items()}
    scales = {r.point.name: PointScale(r.scale, str(r.applied.rule), r.applied.alpha is not None) for r in found}
    effective = {
        "recipe": settings.recipe,
        "alpha": {r.point.name: r.applied.alpha for r in found},
        "device": device_name(model.device),
        "dtype": model.dtype,
        "model_sha256": weights_hash,
        "assumed": dict(model.assumed),
    }
    asked = _asked(requested, settings, target, scheme)
    provenance = Provenance(asked, effective, samples.describe(), versions(model.device))
    if _is_like(target, asked):  # a calibration that was killed had got so far
        check_same(target, scales, provenance)
        log.info("The quantized model is stored at %s already", target)
        return target
    write_checkpoint(target, tensors, model.linears, scales, model.config(), provenance, SCHEMES[scheme])
    log.info("The quantized model is stored at %s", target)
    return target


def _numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    return as_numpy(torch.empty(0, dtype=dtype)).dtype


def device_name(device: torch.device) -> str:
    """`cpu`, or what a GPU calls itself: another kind rounds in another way."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def versions(device: torch.device) -> Mapping[str, str]:
    """What takes part in every number."""
    from importlib.metadata import PackageNotFoundError, version

    made = {"python": platform.python_version()}
    for name in ("qinspect", "torch", "numpy", "transformers"):
        try:
            made[name] = version(name)
        except PackageNotFoundError:
            continue
    if device.type == "cuda":
        made["cuda"] = str(torch.version.cuda)
        made["gpu"] = device_name(device)
    return made
