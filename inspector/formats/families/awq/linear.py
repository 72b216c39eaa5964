"""A module of AWQ: which layout its tensors have, and the weight that they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.element import unsigned
from qinspect.inspector.formats.families.awq.layouts import (
    ROWS,
    STEP,
    AwqWeight,
    Gemm,
    Gemv,
    GemvFast,
    padded_groups,
)
from qinspect.inspector.formats.grid import Grid, groups
from qinspect.inspector.formats.modular import required
from qinspect.inspector.formats.output_words import PER_WORD
from qinspect.inspector.formats.records import OF_WEIGHTS, Kind, Quantity, QuantizedWeight, ScaleRecord
from qinspect.inspector.formats.stripes import Stripes

FLOATS = ("float16", "bfloat16", "float32")
_SIZES = (128, 64, 32, 16)
_SCALED = ("scaled_zeros", "qzeros")


def layout_of(checkpoint: Checkpoint, keys: Mapping[str, str]) -> type[AwqWeight] | None:
    """By the shapes and types of its tensors alone; None where they are none of AWQ's."""
    codes, scales = _matrix(checkpoint, keys.get("qweight")), _matrix(checkpoint, keys.get("scales"))
    if codes is None or scales is None or scales.dtype.name not in FLOATS:
        return None
    zeros = _matrix(checkpoint, next((keys[k] for k in _SCALED if k in keys), None))
    if codes.dtype.name == "int16":
        floats = zeros is not None and zeros.dtype.name in FLOATS and zeros.shape == scales.shape
        return GemvFast if floats and codes.shape[0] * ROWS == scales.shape[1] else None
    if codes.dtype.name != "int32" or (zeros is not None and zeros.dtype.name != "int32"):
        return None
    if scales.shape[1] == codes.shape[1] * PER_WORD:
        return Gemm
    alike = zeros is not None and zeros.shape[1] * PER_WORD == scales.shape[1] and zeros.shape[0] == codes.shape[0]
    return Gemv if alike and scales.shape[0] == codes.shape[0] else None


@dataclass(frozen=True, slots=True)
class Fit:
    """What the tensors of a module are together; modules whose tensors are alike share it. n_groups: no padding."""

    layout: type[AwqWeight]
    n_out: int
    n_in: int
    n_groups: int
    grid: Grid


def fit_of(checkpoint: Checkpoint, module: str, keys: Mapping[str, str], size: int | None) -> Fit:
    """How the tensors of a module fit each other. keys: the last parts of the names in it, and the names. size: of a
    group, as the settings have it; -1 for one group. Raises CannotDequantize where they do not."""
    layout = layout_of(checkpoint, keys)
    if layout is None:
        raise _no_layout(checkpoint, module, keys)
    qweight, scales = checkpoint.tensor(keys["qweight"]), checkpoint.tensor(keys["scales"])
    assert qweight is not None
    assert scales is not None
    zero_shape: tuple[int, ...]
    if layout is Gemm:
        n_in, (n_groups, n_out) = qweight.shape[0], scales.shape
        zero_shape = n_groups, n_out // PER_WORD
    elif layout is Gemv:
        n_out, n_in = qweight.shape[0], qweight.shape[1] * PER_WORD
        n_groups = _padded(checkpoint, keys["scales"], n_in, scales.shape[1], size)
        zero_shape = n_out, scales.shape[1] // PER_WORD
    else:
        n_out, n_in = qweight.shape[0] * ROWS, qweight.shape[1]
        n_groups = _padded(checkpoint, keys["scales"], n_in, scales.shape[0], size)
        zero_shape = scales.shape
    _check_inputs(checkpoint, keys, layout, n_in, n_groups)
    dtypes = FLOATS if layout is GemvFast else ("int32",)
    required(checkpoint, _zeros_key(module, keys), dtypes, [zero_shape], f"the codes {keys['qweight']}")
    return Fit(layout, n_out, n_in, n_groups, groups(n_in // n_groups))


def linear_of(
    checkpoint: Checkpoint, module: str, role: str, keys: Mapping[str, str], forms: Mapping[str, Form | None], fit: Fit,
    stripes: Stripes,
) -> AwqWeight:  # fmt: skip
    """The layer `module`, whose tensors fit. role: of its weight. forms: dtype and shape of each entry. stripes: of the
    checkpoint."""
    floats = fit.layout is GemvFast
    element, grid, of = unsigned(4, 0 if floats else None), fit.grid, f"the weight {role}"
    zeros_key = _zeros_key(module, keys)
    other_role = f"{role}#{'minimum' if floats else 'zero_point'}"
    records = (
        ScaleRecord(role, keys["scales"], Kind.WEIGHT, of, element, grid, *_form(forms, keys["scales"]),
                    packed="" if fit.layout is Gemm else "padded", reach=OF_WEIGHTS),
        ScaleRecord(other_role, zeros_key, Kind.WEIGHT, of, element, grid, *_form(forms, zeros_key),
                    Quantity.MINIMUM if floats else Quantity.ZERO_POINT,
                    packed="padded" if floats else f"nibbles of {fit.layout.layout}", reach=OF_WEIGHTS),
    )  # fmt: skip
    name = f"{module}.weight" if module else "weight"
    weight = QuantizedWeight(name, role, keys["qweight"], (fit.n_out, fit.n_in), element, (role, other_role), grid)
    return fit.layout(checkpoint, weight, records, fit.n_groups, stripes)


def _zeros_key(module: str, keys: Mapping[str, str]) -> str:
    return next((keys[k] for k in _SCALED if k in keys), f"{module}.qzeros")


def _form(forms: Mapping[str, Form | None], key: str) -> tuple[str, tuple[int, ...]]:
    form = forms[key]
    assert form is not None  # its tensor fits
    return form[0].name, form[1]


def _check_inputs(
    checkpoint: Checkpoint, keys: Mapping[str, str], layout: type[AwqWeight], n_in: int, n_groups: int
) -> None:
    if not n_groups or n_in % n_groups:
        raise CannotDequantize(
            f"does not fit a weight of {n_in} input channels", file=checkpoint.path, key=keys["scales"],
            expected="scales of equal groups", found=f"{n_groups} groups",
        )  # fmt: skip
    if layout is GemvFast and n_in % STEP:
        raise CannotDequantize(
            "is not of whole runs", file=checkpoint.path, key=keys["qweight"],
            expected=f"input channels in a multiple of {STEP}", found=f"{n_in}",
        )  # fmt: skip


def _padded(checkpoint: Checkpoint, key: str, n_in: int, room: int, said: int | None) -> int:
    """Groups that fill `room` with padding: by the settings, or the one size in use that does."""
    possible = [size for size in (*_SIZES, n_in) if n_in % size == 0 and padded_groups(n_in, size) == room]
    size = n_in if said == -1 else said
    if size is None and len(possible) == 1:
        size = possible[0]
    if size not in possible:
        raise CannotDequantize(
            f"does not fit a weight of {n_in} input channels", file=checkpoint.path, key=key,
            expected=f"room for {padded_groups(n_in, size)} groups of {size}" if size and n_in % size == 0 and size > 0
            else "a group_size in the settings that divides them",
            found=f"room for {room}",
        )  # fmt: skip
    assert size is not None
    return n_in // size


def _no_layout(checkpoint: Checkpoint, module: str, keys: Mapping[str, str]) -> CannotDequantize:
    listed = []
    for last in ("qweight", "scales", *_SCALED):
        tensor = checkpoint.tensor(keys.get(last, f"{module}.{last}"))
        if tensor is not None:
            listed.append(f"{last} {tensor.dtype.name} {list(tensor.shape)}")
    return CannotDequantize(
        "is in none of AWQ's layouts", file=checkpoint.path, key=keys["qweight"],
        expected="qweight int32 [in, out / 8] with scales [groups, out] and qzeros int32 [groups, out / 8] (GEMM), or "
        "those of GEMV or GEMV_FAST", found=", ".join(listed),
    )  # fmt: skip


def _matrix(checkpoint: Checkpoint, key: str | None) -> Tensor | None:
    tensor = checkpoint.tensor(key) if key else None
    return tensor if tensor is not None and len(tensor.shape) == 2 and 0 not in tensor.shape else None
