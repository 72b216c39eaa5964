"""Experts in one tensor: `experts.gate_up_proj` [experts, out, in] with `experts.gate_up_proj_scale_inv`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.families.fp8.blocks import grid_of
from qinspect.inspector.formats.families.fp8.linear import Fp8Weight, weight_of
from qinspect.inspector.formats.families.fp8.settings import Settings
from qinspect.inspector.formats.records import Slice

SCALE = "_scale_inv"
_FUSED, _DOWN = "gate_up_proj", "down_proj"
_HALVES = ("gate_proj", "up_proj")


def experts_of(checkpoint: Checkpoint, module: str, role: str, last: str, settings: Settings) -> Iterator[Fp8Weight]:
    """The weights in the stack `module.last`, expert by expert. role: of `module`. Where gate and up lie one after the
    other and have scales of their own, they are two weights. Raises CannotDequantize."""
    key = f"{module}.{last}"
    tensor, scale = checkpoint.tensor(key), checkpoint.tensor(key + SCALE)
    assert tensor is not None
    if scale is None or len(scale.shape) != 3 or scale.shape[0] != tensor.shape[0]:
        raise CannotDequantize(
            f"does not fit the {tensor.shape[0]} experts of {key}", file=checkpoint.path, key=key + SCALE,
            expected=f"[{tensor.shape[0]}, blocks of rows, blocks of columns]",
            found="nothing" if scale is None else f"{scale.dtype.name} {list(scale.shape)}",
        )  # fmt: skip
    parts, settings = _parts(checkpoint, module, last, settings)
    for expert in range(tensor.shape[0]):
        for name, rows, scale_rows in parts:
            yield weight_of(
                checkpoint, key, key + SCALE, settings, f"{module}.{expert}.{name}.weight",
                f"{role}.{expert}.{name}.weight", Slice((expert,), rows), Slice((expert,), scale_rows),
            )  # fmt: skip


Part = tuple[str, tuple[int, int] | None, tuple[int, int] | None]
"""Name, rows of the weight, rows of the scale; None for all."""


def _parts(checkpoint: Checkpoint, module: str, last: str, settings: Settings) -> tuple[list[Part], Settings]:
    """The parts of each expert, and the settings with the blocks that the whole has: a part alone may not tell them."""
    whole: list[Part] = [(last, None, None)]
    tensor, scale, down = (checkpoint.tensor(f"{module}.{name}") for name in (last, last + SCALE, _DOWN))
    assert tensor is not None
    assert scale is not None
    n_experts, n_rows, n_in = tensor.shape
    grid = grid_of((n_rows, n_in), scale.shape[1:], settings.block)
    match grid.block if grid else ():
        case (int(rows), int(columns)):
            settings = replace(settings, block=(rows, columns))
    half = n_rows // 2
    # [out, in] as modules have it: gate above up
    fused = last == _FUSED and down is not None and down.shape == (n_experts, n_in, half)
    if not fused or grid is None or n_rows % 2 or (grid.axes and half % grid.block[0]):
        return whole, settings
    if not grid.axes:
        return [(_HALVES[0], (0, half), None), (_HALVES[1], (half, n_rows), None)], settings
    cut, end = half // grid.block[0], scale.shape[1]
    return [(_HALVES[0], (0, half), (0, cut)), (_HALVES[1], (half, n_rows), (cut, end))], settings
