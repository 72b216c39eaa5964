"""Stored scales of activations and of attention's caches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats.element import small_float
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, cells
from qinspect.inspector.formats.modular import record_of
from qinspect.inspector.formats.records import Kind, ScaleRecord

INPUTS = ("activation_scale", "input_scale", "act_scale", "qscale_act")
_CACHES = {"k_scale": "k_cache", "v_scale": "v_cache", "kv_scale": "kv_cache", "q_scale": "q"}
ALL = frozenset((*INPUTS, *_CACHES))
_INSIDE_ATTENTION = (".k_proj", ".v_proj", ".q_proj", ".qkv_proj", "_attn.attn")
_FP8 = small_float("float8_e4m3fn")
_FLOATS = ("float32", "bfloat16", "float16")


def inputs(checkpoint: Checkpoint, role: str, keys: Mapping[str, str]) -> Iterator[ScaleRecord]:
    """Scales of what goes into a module, and of a cache. role: of the module. keys: the last parts of the names in it,
    and the names."""
    for last in INPUTS:
        if last in keys and (grid := _grid(checkpoint, keys[last])) is not None:
            yield record_of(
                checkpoint, f"{role}:input", keys[last], Kind.ACTIVATION, f"the input of {role}", _FP8, grid
            )
    for last, cache in _CACHES.items():
        if last in keys and (grid := _grid(checkpoint, keys[last])) is not None:
            attention = _attention(role)
            of = f"the queries of {attention}" if cache == "q" else f"the {cache.replace('_', ' ')} of {attention}"
            yield record_of(checkpoint, f"{attention}:{cache}", keys[last], Kind.ACTIVATION, of, _FP8, grid)


def _attention(role: str) -> str:
    inside = next((end for end in _INSIDE_ATTENTION if role.endswith(end)), "")
    return role[: role.rindex(".")] if inside else role


def _grid(checkpoint: Checkpoint, key: str) -> Grid | None:
    """One number, or one an expert. None for what is no scale."""
    tensor = checkpoint.tensor(key)
    if tensor is None or tensor.dtype.name not in _FLOATS:
        return None
    if tensor.n_elements == 1:
        return PER_TENSOR
    return cells("expert") if len(tensor.shape) == 1 and ".experts" in key else None
