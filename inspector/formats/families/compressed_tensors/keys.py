"""What the names of entries, with their dtypes and shapes, say by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.formats.families.compressed_tensors.layout import USUAL_BLOCK
from qinspect.inspector.formats.families.compressed_tensors.steps import E8M0

_SPEAKING = ("weight_packed", "weight_scale", "k_scale")
_LOOKED_AT = (*_SPEAKING, "weight", "weight_shape", "weight_global_scale", "v_scale")
_MARKS = frozenset(
    (
        "weight_packed", "weight_scale", "weight_global_scale", "weight_shape", "input_scale", "input_global_scale",
        "output_scale", "k_scale", "v_scale", "q_scale", "compressed", "scale_packed",
    )
)  # fmt: skip
_SPARSE = (("compressed", "bitmask"), ("scale_packed", "meta"))
_WHOLE = ("int8", "float8_e4m3fn")
_MODEL_DTYPES = ("bfloat16", "float16")
_OTHERS = ("comfy_quant", "scale_weight", "weight_scale_2", "weight_scale_inv", "_weight_qdata")
"""Last parts of names that only other libraries write beside such scales."""


def may_be_quantized(names: Mapping[str, str]) -> bool:
    """Whether something of this family may stand in a module."""
    return not _MARKS.isdisjoint(names)


def sparse_entry(names: Iterable[str]) -> str:
    """Of a module in one of the old 2:4 layouts, the entry that its values are in; "" of any other."""
    inside = set(names)
    return next((pair[0] for pair in _SPARSE if inside.issuperset(pair)), "")


def evidence(checkpoint: Checkpoint) -> str | None:
    """What in the keys only this family writes; None where there is nothing. Exponents beside FP8, and scales in
    float32, are written by others under the same names."""
    entries = checkpoint.entries
    heads = entries.lasts.issuperset(("k_scale", "v_scale"))
    if not (heads or "weight_packed" in entries.lasts or not entries.dtypes.isdisjoint(_WHOLE)):
        return None
    modules = entries.modules_with(_SPEAKING)
    if not modules or entries.modules_with(_OTHERS) or _speaks_for_another(checkpoint):
        return None
    for module in entries.one_of_each_kind(modules, _LOOKED_AT):
        prefix = f"{module}."
        tensors = {last: checkpoint.tensor(prefix + last) for last in ("weight_packed", "weight_scale", "weight")}
        said = _packed(checkpoint, prefix, tensors["weight_packed"], tensors["weight_scale"])
        said = said or _whole(tensors["weight"], tensors["weight_scale"])
        said = said or _heads(checkpoint.tensor(f"{prefix}k_scale"), checkpoint.tensor(f"{prefix}v_scale"))
        if said:
            return said
    return None


def _speaks_for_another(checkpoint: Checkpoint) -> bool:
    """Whether the metadata name a layout of another library."""
    return any("quantization" in key or "quant_" in key for key in checkpoint.metadata)


def _packed(checkpoint: Checkpoint, prefix: str, packed: Tensor | None, scale: Tensor | None) -> str | None:
    if packed is None or scale is None:
        return None
    if packed.dtype.name == "int32" and f"{prefix}weight_shape" in checkpoint:
        return "weight_packed in int32 beside weight_shape"
    if packed.dtype.name != "uint8":
        return None
    if scale.dtype.name == "float8_e4m3fn" and f"{prefix}weight_global_scale" in checkpoint:
        return "weight_packed in uint8 beside weight_global_scale"
    return "weight_packed in uint8 beside exponents" if scale.dtype.name in E8M0 else None


def _whole(weight: Tensor | None, scale: Tensor | None) -> str | None:
    """int8 and FP8 with scales in the model's own dtype, of shape [1], [out, 1] or that of blocks."""
    if weight is None or scale is None or len(weight.shape) != 2:
        return None
    if weight.dtype.name not in _WHOLE or scale.dtype.name not in _MODEL_DTYPES:
        return None
    in_blocks = tuple(-(-d // USUAL_BLOCK[0]) for d in weight.shape)
    if scale.shape not in ((1,), (weight.shape[0], 1), in_blocks):
        return None
    return f"{weight.dtype.name} weights with a weight_scale in {scale.dtype.name} of shape {list(scale.shape)}"


def _heads(k: Tensor | None, v: Tensor | None) -> str | None:
    """Scales of keys and values of shape [heads, 1, 1]."""
    shapes = [t.shape for t in (k, v) if t is not None and len(t.shape) == 3 and t.shape[1:] == (1, 1)]
    return f"a k_scale and a v_scale a head, {list(shapes[0])}" if len(shapes) == 2 else None
