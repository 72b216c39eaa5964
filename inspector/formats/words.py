"""Schemes and grids in words. Here and nowhere else: whoever wants to know what a scale is asks its types."""

from __future__ import annotations

from functools import lru_cache

from qinspect.inspector.formats.element import Element, ElementKind
from qinspect.inspector.formats.grid import Grid

NO_ACTIVATION_SCALES = "there are no activation scales (A16)"
"""Why a setting of activations reached nothing."""


def granularity(grid: Grid) -> str:
    """`per-tensor`, `per-channel`, `per-group`, `per segment (z, x)`, ..."""
    if grid.n_dims is not None:
        return f"{grid.n_dims}-dimensional"
    if grid.cells:
        *most, last = grid.cells
        joined = f" and {last}" if most else last
        return f"per {', '.join(most)}{joined}"
    if grid.parts:
        return f"per segment ({', '.join(grid.parts)})"
    if grid.flattened:
        return "per-block of the flattened tensor"
    if grid.group_size:
        return "per-group"
    if len(grid.axes) == 1:
        return "per-channel" + (f" along axis {grid.axes[0]}" if grid.any_axis else "")
    return "per-block" if grid.axes else "per-tensor"


def of_codes(element: Element, grid: Grid) -> str:
    """The codes of a weight: `int4, group 128`."""
    return f"{element}{_shared(grid)}{_zeros(element)}"


def of_activation(element: Element) -> str:
    """The codes of an activation: `int8, symmetric`."""
    if element.kind is ElementKind.UNKNOWN:
        return "affine, with the zero_point beside it"
    if element.kind is not ElementKind.INTEGER:
        return str(element)
    return f"{element}, {'symmetric' if element.symmetric else 'affine'}"


_BLOCK_FLOATS = {("float4_e2m1fn", 16): "NVFP4", ("float4_e2m1fn", 32): "MXFP4", ("float8_e4m3fn", 32): "MXFP8"}
"""What small floats are called whose scales are of blocks along a row."""


@lru_cache(256)  # few occur in 60,000 weights
def stored_as(element: Element, grid: Grid, called: str) -> str:
    """What the codes of a weight are in the few characters of a cell: `NVFP4`, `FP8`, `FP8 128x128`, `int4 g128`."""
    if called:
        return called
    size = grid.group_size
    if size and (known := _BLOCK_FLOATS.get((element.name, size))):
        return known
    if element.kind is ElementKind.INTEGER:
        name = f"int{element.bits}"
    elif element.kind is ElementKind.FLOAT:
        own = "" if element.name in ("float8_e4m3fn", "float4_e2m1fn") else f" {element.name.split('_')[1]}"
        name = f"FP{element.bits}{own}"
    else:
        name = element.name
    if size:
        return f"{name} g{size}"
    if len(grid.block) > 1:
        return f"{name} {'x'.join(map(str, grid.block))}"
    return f"{name} ch" if element.kind is ElementKind.FLOAT and grid.axes else name


def shared_by(grid: Grid) -> str:
    """Which elements one number is for: `one for the whole tensor`, `one per channel`, `one per group of 32`."""
    if grid.n_dims is not None:
        return f"{grid.n_dims} dimensions of them"
    if grid.cells or grid.parts:
        return f"one {granularity(grid)}" if grid.axes or grid.cells else f"one for {' and '.join(grid.parts)}"
    if grid.flattened:
        return f"one per {grid.group_size} elements in a row"
    if grid.group_size:
        return f"one per group of {grid.group_size}"
    if len(grid.block) > 1:
        return f"one per block of {'x'.join(map(str, grid.block))}"
    if not grid.axes:
        return "one for the whole tensor"
    return "one per channel" if len(grid.axes) == 1 else f"one along each of axes {', '.join(map(str, grid.axes))}"


def formula(element: Element, minimum: bool = False) -> str:
    """How a code becomes a value. minimum: whether a minimum is added."""
    if element.kind is ElementKind.VECTOR:
        return "x ~ scale * codebook[q]"
    if minimum:
        return "x ~ scale * q + minimum"
    zeros = element.kind in (ElementKind.INTEGER, ElementKind.UNKNOWN) and element.offset != 0
    return "x ~ scale * (q - zero_point)" if zeros else "x ~ scale * q"


def two_level(element: Element, through: Element, grid: Grid, outer: bool) -> str:
    """One of two scales, where codes times the inner one are rounded to `through`, which the outer one scales."""
    return f"{through} of the two-level {element}" if outer else (
        f"{element} in {through}{_shared(grid)}, relative to the channel"
    )  # fmt: skip


def _shared(grid: Grid) -> str:
    if grid.flattened:
        return f", block {grid.group_size}"
    if grid.group_size:
        return f", group {grid.group_size}"
    if len(grid.block) > 1:
        return f", block {'x'.join(map(str, grid.block))}"
    return ""


def _zeros(element: Element) -> str:
    if element.kind is not ElementKind.INTEGER:
        return ""
    if not element.symmetric:
        return ", with zero points"
    return f", zero at {element.offset}" if element.offset else ""
