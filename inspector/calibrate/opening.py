"""A plan with its model, samples and points: all that a pass needs, found out and checked before it begins."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from qinspect.inspector.calibrate.engine import apart_of, batches, find_points, forecast_bytes
from qinspect.inspector.calibrate.folder import keep_to
from qinspect.inspector.calibrate.grouped import BLOCKS
from qinspect.inspector.calibrate.identity import deciding
from qinspect.inspector.calibrate.plan import Plan
from qinspect.inspector.calibrate.records import log
from qinspect.inspector.calibrate.room import check_disk, checkpoint_bytes
from qinspect.inspector.calibrate.rounding import SCHEMES
from qinspect.inspector.calibrate.shards import SHARD_SAMPLES
from qinspect.inspector.calibration.settings import Settings
from qinspect.inspector.demo import HELD_OUT_TEXT
from qinspect.inspector.errors import UsageError
from qinspect.inspector.models.free import free_on
from qinspect.inspector.models.load import MambaModel, ProbedModel, open_model
from qinspect.inspector.models.memory import check_forward
from qinspect.inspector.observers.points import Point
from qinspect.inspector.observers.recipes import Grouping, applied, reach, rotates, short
from qinspect.inspector.samples.data import Samples, samples_for
from qinspect.inspector.text import some

PROBE_TOKENS = 16
"""Of the first sample, to find the points with."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's malloc.h."""


@dataclass(frozen=True, eq=False)
class Opened:
    """points: in forward order. groupings: of each by name. apart: names of those that keep a table a sample. decides:
    what decides every table. warnings: what the result must warn of."""

    plan: Plan
    model: ProbedModel
    samples: Samples
    points: Sequence[Point]
    groupings: Mapping[str, Grouping]
    apart: frozenset[str]
    decides: Mapping[str, Any]
    warnings: Sequence[str]


def opened(plan: Plan) -> Opened:
    """Open what the plan names; its folder is kept to what decides the tables.

    Raises QinspectError for a model, data, memory or disk that will not do, and for a folder of another calibration.
    """
    settings = plan.settings
    model, samples = _open(plan)
    points = find_points(model, samples.ids[0][:PROBE_TOKENS])
    groupings = {p.name: applied(settings.recipe, p, 0.5).grouping for p in points}
    if "heads" in groupings.values():
        _check_heads(model)
    apart = apart_of(points, settings.recipe, settings.per_sample)
    n_bytes = forecast_bytes(points, apart, [ids.size for ids in samples.ids], SHARD_SAMPLES)
    warnings = _announce(settings, points, apart, n_bytes, samples, model)
    decides = deciding(settings, samples, groupings, apart, model)
    keep_to(plan.state, decides)
    _check_disk(settings, plan.state, n_bytes, model)
    return Opened(plan, model, samples, points, groupings, apart, decides, warnings)


def _open(plan: Plan) -> tuple[ProbedModel, Samples]:
    """Model and samples, a forward of which has room."""
    settings = plan.settings
    log.info("Creating Model:%s", settings.model)
    one = f", percentile_alpha={short(settings.alphas[0])}" if len(settings.alphas) == 1 else ""
    log.info("Requested: %s%s", plan.requested.said(), one)
    device: Any = settings.device if settings.device == "auto" else torch.device(settings.device)
    if str(device) == "cpu":
        _keep_memory()
    model = open_model(settings.model, rotates(settings.recipe), device, settings.dtype)
    if model.assumed:
        log.info("config.json is silent, the defaults are used: %s", _said(model.assumed))
    samples = samples_for(
        settings.model, model.vocab_size, model.max_length, settings.data or str(HELD_OUT_TEXT), settings.samples,
        settings.seq_len, settings.seed, settings.shuffle,
    )  # fmt: skip
    log.info("Calibrate with %s", samples.source.get("file") or samples.source.get("name"))
    effective = replace(settings, dtype=model.dtype, device=str(model.device), samples=len(samples.ids))
    log.info("Effective: %s, group_heads=%s", effective.said(), settings.recipe == "quamba-group-heads")
    place = "auto" if model.is_spread else str(model.device)
    check_forward(model.need, model.path, place, free_on(place), *_largest_forward(samples, settings.batch))
    return model, samples


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
    for target, scheme in settings.targets():
        if not target.is_dir() or not any(target.iterdir()):
            wanted.append((target, checkpoint_bytes(shapes, model.linears, SCHEMES[scheme]), "checkpoints"))
    check_disk(wanted)


def _keep_memory() -> None:
    """Let the C library keep what a forward on the CPU frees: asking the system for it again at every operation takes
    longer than the operation."""
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
    except (OSError, AttributeError):  # another C library: slower
        return
