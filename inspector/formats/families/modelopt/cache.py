"""Scales of the KV cache: `k_proj.k_scale` and `v_proj.v_scale`, which are scales of what these projections give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats.element import UNKNOWN, Element, integer
from qinspect.inspector.formats.families.modelopt.layouts import FP4, FP8
from qinspect.inspector.formats.grid import PER_TENSOR, cells
from qinspect.inspector.formats.modular import record_of
from qinspect.inspector.formats.records import Kind, Quantity, ScaleRecord

_ELEMENTS: dict[str, Element] = {"FP8": FP8, "NVFP4": FP4, "NVFP4_AFFINE": FP4, "INT8": integer(8)}
_POINTS = {
    "k_scale": ("k_cache", "keys"), "v_scale": ("v_cache", "values"), "q_scale": ("q", "queries"),
}  # fmt: skip


def is_cache_scale(last: str) -> bool:
    """Whether an entry of this last name can be a scale of attention."""
    return last in _POINTS


def cache_records(
    checkpoint: Checkpoint, module: str, inside: Mapping[str, str], algorithm: str, role_of: Callable[[str], str]
) -> Iterator[ScaleRecord]:
    """The records of the cache scales in a module, of one number each. algorithm: of the cache, "" where nothing says
    it: then what is scaled is not known."""
    element = _ELEMENTS.get(algorithm, UNKNOWN)
    for last, (point, what) in _POINTS.items():
        tensor = checkpoint.tensor(inside[last]) if last in inside else None
        if tensor is None or tensor.n_elements != 1 or not tensor.dtype.is_float:
            continue
        where, _, projection = module.rpartition(".")
        attention = where if "proj" in projection and where else module
        role = f"{role_of(attention)}:{point}"
        of = f"{what} of {attention}" if point == "q" else f"{what} in the cache of {attention}"
        called = "" if element is not UNKNOWN else "KV cache, of a type that is not said"
        yield record_of(checkpoint, role, tensor.name, Kind.ACTIVATION, of, element, PER_TENSOR, called=called)
        bias = inside.get(f"{last[0]}_bias")
        if bias is not None and checkpoint.tensor(bias) is not None:
            yield record_of(
                checkpoint, f"{role}#minimum", bias, Kind.ACTIVATION, f"what is added to {of}", element,
                cells("head", "channel"), quantity=Quantity.MINIMUM, signed=True, called=called,
            )  # fmt: skip
