"""What rounding to nearest would have cost: the error of the plainest quantizer there is, on the grid of the codes.

Its scales are made of the largest magnitudes of what they scale ("max scales") and kept in the dtype of the stored
ones, and every value is rounded to the nearest that a code stands for. Nothing is searched, and no activation is looked
at: a method that does may store less error than this, or, where it looks at activations, knowingly more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint.dtypes import BLOCKS
from qinspect.inspector.fidelity.sums import Cells, Stored
from qinspect.inspector.formats import Format, QuantizedWeight, ScaleRecord
from qinspect.inspector.formats.element import Element, ElementKind
from qinspect.inspector.formats.grid import Grid
from qinspect.inspector.formats.hadamard_blocks import HadamardBlocks
from qinspect.inspector.formats.records import Quantity, Use
from qinspect.kernels.distance import Rounding, cell_extremes, rounding_by_cells, rounding_error
from qinspect.kernels.matrix import CHUNK

Array = NDArray[Any]
WHOLE = 1 << 62
"""Rows or columns of a cell that ends where the tensor does."""


class Rule(StrEnum):
    """How a scale is made of the values that share it."""

    SYMMETRIC = "scale = 2 max|x| / (q_max - q_min)"
    SIGNED = "scale = the x of largest magnitude / the lowest code"
    RANGE = "scale = (max - min) / (q_max - q_min), with a zero point; 0 is in the range"
    LARGEST = "scale = max|x| / the largest value that a code stands for"
    POWER = "scale = 2^ceil(log2(max|x| / the largest value of the element))"
    TWO_LEVELS = (
        "scale = max|x| / the largest value of the element, rounded under a global scale, which is max|x| of the "
        "weight / (the largest value of the element x that of the scale)"
    )


@dataclass(frozen=True, slots=True)
class NearestGrid:
    """On which grid, by which rule. cells: which values share a scale. scale: numpy's or ml_dtypes' name of the dtype
    that scales are kept in; "" for a power of two. rotation: what is done to the values before, so that cells are of
    rotated ones."""

    rule: Rule
    element: Element
    cells: Cells
    scale: str
    rotation: HadamardBlocks | None = None

    @property
    def said(self) -> str:
        """The rule, for people."""
        return f"{self.rule}, of the weight {self.rotation.said}" if self.rotation else str(self.rule)

    def rotated(self, x: Array) -> Array:
        """float[rows, columns] as its codes are made of them; zero where they are not finite."""
        return x if self.rotation is None else self.rotation.of(np.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0))

    @property
    def of_whole(self) -> bool:
        """Whether the largest magnitude of the whole weight has to be known first."""
        return self.rule is Rule.TWO_LEVELS or (self.cells.rows == WHOLE and self.cells.columns == WHOLE)


_KEPT_IN = ("float16", "bfloat16", "float32", "float64")
_OF_BLOCKS = {"q4_0": "float16", "q5_0": "float16", "q8_0": "float16", "mxfp4": "", "nvfp4": "float8_e4m3fn"}
"""Block dtypes whose groups have a scale of their own, and what it is kept in."""
_MANTISSA = {  # bits of the mantissa, the exponent of the smallest normal number
    "float4_e2m1fn": (1, 0), "float6_e2m3fn": (3, 0), "float6_e3m2fn": (2, -2), "float8_e4m3fn": (3, -6),
    "float8_e5m2": (2, -14),
}  # fmt: skip


def nearest_grid(fmt: Format, weight: QuantizedWeight, records: Mapping[str, ScaleRecord]) -> NearestGrid | str:
    """The grid of a weight, or why it is not known. records: of the format, by role. May read zero points, to see
    whether they are all the same; raises as that does."""
    if weight.rotation is not None and weight.rotation.outputs:
        return "its codes are of a weight that is rotated on both sides"
    of_weight = [records[role] for role in weight.scale_roles if role in records]
    by_quantity = {r.quantity: r for r in of_weight if r.quantity is not Quantity.FACTOR}
    scale = by_quantity.get(Quantity.SCALE)
    if scale is None or len(by_quantity) < sum(r.quantity is not Quantity.FACTOR for r in of_weight):
        return "it has no scale of its own, or several"
    if weight.grid.group_index:
        return "its groups are no consecutive columns"
    if Quantity.MINIMUM in by_quantity or any(s.use is Use.PART for r in of_weight for s in r.sources):
        return "its scales are quantized themselves, or a minimum is added"
    cells = cells_of(scale.grid, weight.shape)
    if cells is None:
        return f"the values that share a scale are no cells of rows and columns: {weight.scheme}"
    kept = _kept_in(scale)
    if kept is None:
        return f"scales {f'stored as {scale.packed}' if scale.packed else f'in {scale.dtype}'} are not made again"
    two_levels = Quantity.GLOBAL_SCALE in by_quantity
    found: NearestGrid | str = f"there is no such rule for {weight.scheme}"
    if weight.element.kind is ElementKind.INTEGER and not two_levels and kept in _KEPT_IN:
        found = _of_integers(fmt, weight, scale, cells, kept)
    elif weight.element.kind is ElementKind.FLOAT and weight.element.name in _MANTISSA:
        found = _of_floats(weight.element, cells, kept, two_levels)
    return found if isinstance(found, str) or weight.rotation is None else replace(found, rotation=weight.rotation)


def _kept_in(scale: ScaleRecord) -> str | None:
    if scale.dtype in BLOCKS:
        return _OF_BLOCKS.get(scale.dtype)
    if scale.dtype == "float8_e8m0fnu" or scale.packed.startswith("E8M0"):
        return ""
    if scale.packed:
        return "float8_e4m3fn" if scale.packed.startswith("E4M3") else None
    return scale.dtype if scale.dtype in _KEPT_IN or scale.dtype in _MANTISSA else None


def _of_integers(
    fmt: Format, weight: QuantizedWeight, scale: ScaleRecord, cells: Cells, kept: str
) -> NearestGrid | str:
    element = fmt.element_of(weight)
    offset, middle = element.offset, (element.q_min + element.q_max + 1) / 2
    if offset is None:
        return NearestGrid(Rule.RANGE, element, cells, kept)
    if offset not in (middle, middle - 0.5):
        return f"codes from {element.q_min:g} to {element.q_max:g} with zero at {offset:g} are one-sided"
    if scale.signed:
        return NearestGrid(Rule.SIGNED, element, cells, kept)
    return NearestGrid(Rule.LARGEST if scale.dtype in BLOCKS else Rule.SYMMETRIC, element, cells, kept)


def _of_floats(element: Element, cells: Cells, kept: str, two_levels: bool) -> NearestGrid | str:
    if two_levels:
        return NearestGrid(Rule.TWO_LEVELS, element, cells, kept) if kept in _MANTISSA else f"scales in {kept}"
    if kept == "":
        return NearestGrid(Rule.POWER, element, cells, kept)
    if kept in _MANTISSA:
        return f"scales in {kept} without a global scale"
    return NearestGrid(Rule.LARGEST, element, cells, kept)


def cells_of(grid: Grid, shape: tuple[int, ...]) -> Cells | None:
    """Which values of a matrix share a number; None where they are no cells of rows and columns."""
    if len(shape) != 2 or grid.flattened or grid.group_index or grid.parts or grid.cells or grid.n_dims is not None:
        return None
    if grid.axes == ():
        return Cells(WHOLE, WHOLE)
    if grid.axes == (0,) and grid.block == (1,):
        return Cells(1, WHOLE)
    if grid.axes == (1,) and grid.block == (1,):
        return None
    return Cells(*grid.block) if grid.axes == (0, 1) and len(grid.block) == 2 else None


def nearest_error(x: Array, grid: NearestGrid, largest: float) -> float:
    """The sum of the squared errors of rounding float[rows, columns], which begin at a cell. largest: the largest
    magnitude of the whole weight, where that is needed. Values that are not finite must be zero."""
    x = grid.rotated(x)
    rounding = rounding_of(x, grid, largest)
    found = rounding_error(x, rounding) if rounding else None
    if found is not None:
        return found
    rows, columns = min(grid.cells.rows, x.shape[0]), min(grid.cells.columns, x.shape[1])
    with np.errstate(all="ignore"):
        return _by_numpy(x.astype(np.float32), rows, columns, grid, np.float32(largest))


def rounding_of(x: Stored, grid: NearestGrid, largest: float) -> Rounding | None:
    """How the compiled body rounds what `nearest_error` rounds; None where there is none, or it does not take it.
    x: rotated already, where that is to be done."""
    rows, columns = min(grid.cells.rows, x.shape[0]), min(grid.cells.columns, x.shape[1])
    floats = small_float_of(grid.element)
    narrow = grid.cells.rows == 1 and columns <= CHUNK and CHUNK % columns == 0
    if narrow and isinstance(x, np.ndarray) and x.dtype.name == "bfloat16":
        table = table_of_steps(grid, largest)
        if table is not None:
            return Rounding(1, columns, *table, floats)
    ends = cell_extremes(x, rows, columns)
    if ends is None:
        return None
    with np.errstate(all="ignore"):
        return Rounding(rows, columns, *steps_of(*ends, grid, np.float32(largest)), floats)


@lru_cache(32)  # pieces of as many weights as there are workers, at most
def table_of_steps(grid: NearestGrid, largest: float) -> tuple[Array, Array, Array] | None:
    """`steps_of` of cells of bfloat16 by the pattern of their value of largest magnitude: there are so few that each is
    calculated once. None where a scale depends on more than that value."""
    if grid.rule is Rule.RANGE:
        return None
    every = (np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32)
    with np.errstate(all="ignore"):
        step, low, high = steps_of(np.minimum(every, 0), np.maximum(every, 0), grid, np.float32(largest))
    step.setflags(write=False)
    return step, low, high


def small_float_of(element: Element) -> tuple[int, float] | None:
    """Bits of the mantissa and the smallest normal number; None of an integer."""
    if element.kind is ElementKind.INTEGER:
        return None
    mantissa, least = _MANTISSA[element.name]
    return mantissa, 2.0**least


def _by_numpy(x: Array, rows: int, columns: int, grid: NearestGrid, largest: np.float32) -> float:
    return float(
        errors_of_cells(x, rows, columns, steps_of(*ends_of_cells(x, rows, columns), grid, largest), grid).sum()
    )


def ends_of_cells(x: Array, rows: int, columns: int) -> tuple[Array, Array]:
    """float32[down, across]: the least and the largest value, or 0, of each cell of float32[rows, columns]."""
    found = cell_extremes(x, rows, columns)
    if found is not None:
        return found
    cells = _in_cells(x, rows, columns)
    zero = np.float32(0)
    return np.minimum(cells.min(axis=(1, 3)), zero), np.maximum(cells.max(axis=(1, 3)), zero)


def errors_of_cells(
    x: Array, rows: int, columns: int, steps: tuple[Array, Array, Array], grid: NearestGrid
) -> NDArray[np.float64]:
    """float64[down, across]: the squared error of rounding each cell of float32[rows, columns]. steps: as of
    `steps_of`."""
    found = rounding_by_cells(x, Rounding(rows, columns, *steps, small_float_of(grid.element)))
    if found is not None:
        return found
    cells = _in_cells(x, rows, columns)
    step, least, most = (n[:, None, :, None] if n.ndim else n for n in steps)
    codes = np.clip(cells / step, least, most)
    integers = grid.element.kind is ElementKind.INTEGER
    codes = np.rint(codes) if integers else to_small_float(codes, grid.element.name)
    d = codes * step - cells
    return np.asarray(np.einsum("ijkl,ijkl->ik", d, d, dtype=np.float64))


def _in_cells(x: Array, rows: int, columns: int) -> Array:
    """float32[down, rows, across, columns], with zeros beyond the edges."""
    over = -x.shape[0] % rows, -x.shape[1] % columns
    padded = np.pad(x, ((0, over[0]), (0, over[1]))) if any(over) else x
    return padded.reshape(padded.shape[0] // rows, rows, padded.shape[1] // columns, columns)


def steps_of(low: Array, high: Array, grid: NearestGrid, largest: np.float32) -> tuple[Array, Array, Array]:
    """float32 of the shape of low and high, the least and the largest value of each cell, or 0: its scale, and the
    least and the largest that its codes stand for at a scale of one, as one number where they are that of all."""
    element = grid.element
    if grid.rule is Rule.RANGE:
        step = _usable(_kept((high - low) / np.float32(element.q_max - element.q_min), grid.scale))
        zero = np.clip(np.rint(np.float32(element.q_min) - low / step), element.q_min, element.q_max)
        return step, np.float32(element.q_min) - zero, np.float32(element.q_max) - zero
    extreme = np.where(high > -low, high, low)
    if grid.rule is not Rule.SIGNED:
        extreme = np.abs(extreme)
    if grid.of_whole and grid.rule is not Rule.TWO_LEVELS:
        extreme = np.full_like(extreme, largest)
    ends = element.ends()
    assert ends is not None
    step = _usable(_step(extreme, grid, largest))
    return step, np.asarray(ends[0], np.float32), np.asarray(ends[1], np.float32)


def _step(extreme: Array, grid: NearestGrid, largest: np.float32) -> Array:
    """float32: the scale of each cell."""
    element = grid.element
    ends = element.ends()
    assert ends is not None
    top = np.float32(ends[1])
    if grid.rule is Rule.SYMMETRIC:
        return _kept(extreme / np.float32((element.q_max - element.q_min) / 2), grid.scale)
    if grid.rule is Rule.SIGNED:
        return _kept(extreme / np.float32(ends[0]), grid.scale)
    if grid.rule is Rule.POWER:
        return np.asarray(np.exp2(np.ceil(np.log2(extreme / top))))
    if grid.rule is Rule.LARGEST:
        return _kept(extreme / top, grid.scale)
    outer = outer_of(grid, largest)
    most = np.float32(_largest_of(grid.scale))
    return np.asarray(to_small_float(np.clip(extreme / top / outer, 0, most), grid.scale) * outer)


def outer_of(grid: NearestGrid, largest: np.float32) -> np.float32:
    """The global scale of two levels."""
    ends = grid.element.ends()
    assert ends is not None
    most = np.float32(ends[1]) * np.float32(_largest_of(grid.scale))
    return np.float32(largest / most) if largest > 0 else np.float32(1)


def _usable(step: Array) -> Array:
    """The scale of a cell of zeros, and one that its dtype makes zero, is one."""
    return np.where((step == 0) | ~np.isfinite(step), np.float32(1), step)


def _kept(scale: Array, dtype: str) -> Array:
    """float32, rounded to what a file keeps of it."""
    if dtype in ("float32", "float64"):
        return scale
    if dtype == "float16":
        return np.asarray(scale.astype(np.float16).astype(np.float32))
    bits = np.ascontiguousarray(scale, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


def _largest_of(dtype: str) -> float:
    from qinspect.inspector.formats.element import small_float

    return small_float(dtype).q_max


def to_small_float(x: Array, dtype: str) -> Array:
    """float32 rounded to the nearest number of a small float, ties to even, within its range: as a cast of ml_dtypes
    in a tenth of the time. Where x has the exponent e, adding and taking away 1.5 * 2^(e + 23 - mantissa bits) leaves
    what that many bits hold."""
    mantissa, least = _MANTISSA[dtype]
    x = np.ascontiguousarray(x, np.float32)
    power = (x.view(np.uint32) & np.uint32(0x7F800000)).view(np.float32)
    anchor = np.maximum(power, np.float32(2.0**least)) * np.float32(1.5 * 2.0 ** (23 - mantissa))
    return np.asarray((x + anchor) - anchor)
