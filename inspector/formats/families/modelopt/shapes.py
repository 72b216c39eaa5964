"""What the shapes of codes and scales make of a weight: its own shape, and the elements that share a scale."""

from __future__ import annotations

from collections.abc import Iterable

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.families.modelopt.layouts import FLOATS, TILE, Layout
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, channels, groups, tiles

USUAL_GROUPS = {Layout.NVFP4: 16, Layout.MXFP4: 32, Layout.MXFP8: 32, Layout.INT4: 128, Layout.INT4_FP8: 128}
"""Columns that share a scale."""
IN_PAIRS_OF_ROWS = (Layout.INT4, Layout.INT4_FP8)
"""Also those whose groups the library takes from the shapes; of the others, scales of another shape are damaged."""
_IN_PAIRS_OF_COLUMNS = (Layout.NVFP4, Layout.MXFP4)

Shape = tuple[int, int]


def unfit(tensor: Tensor, expected: str, codes: Tensor) -> CannotDequantize:
    """The error of a tensor that does not fit the codes that it belongs to."""
    beside = "" if codes.name == tensor.name else f" beside {codes.name} {list(codes.shape)}"
    return CannotDequantize(
        "does not fit the quantized weight that it belongs to", file=tensor.file.path, key=tensor.name,
        expected=expected, found=f"{tensor.dtype.name} {list(tensor.shape)}{beside}",
    )  # fmt: skip


def check(tensor: Tensor, shapes: Iterable[tuple[int, ...]], codes: Tensor) -> Tensor:
    """A tensor of floats of one of these shapes. Raises CannotDequantize."""
    shapes = list(shapes)
    if tensor.dtype.name not in FLOATS or tensor.shape not in shapes:
        raise unfit(tensor, f"floats {' or '.join(str(list(s)) for s in shapes)}", codes)
    return tensor


def form_of(layout: Layout, codes: Tensor, steps: Tensor, group_size: int | None) -> tuple[Shape, Shape]:
    """([O, I] of the weight, rows and columns that share a scale). codes, steps: those of one matrix, output channels
    first. group_size: as the configuration says. Raises CannotDequantize."""
    rows, columns = codes.shape
    rows *= 2 if layout in IN_PAIRS_OF_ROWS else 1
    columns *= 2 if layout in _IN_PAIRS_OF_COLUMNS else 1
    shape = rows, columns
    if layout in USUAL_GROUPS:
        return shape, (1, _group(layout, shape, codes, steps, group_size))
    if layout is Layout.FP8_BLOCK:
        return shape, _tile(shape, codes, steps)
    if steps.n_elements != 1 and steps.shape not in ((rows,), (rows, 1)):
        raise unfit(steps, f"[] or [{rows}]", codes)
    return shape, (1, columns)


def grid_of(layout: Layout, steps: Tensor, shared: Shape) -> Grid:
    """shared: rows and columns that share a scale."""
    if layout is Layout.FP8_BLOCK:
        return tiles(*shared)
    if layout in USUAL_GROUPS:
        return groups(shared[1])
    return PER_TENSOR if steps.n_elements == 1 else channels()


def _group(layout: Layout, shape: Shape, codes: Tensor, steps: Tensor, said: int | None) -> int:
    usual = USUAL_GROUPS[layout]
    rows, columns = shape
    for size in (said, usual):
        if size and steps.shape == (rows, -(-columns // size)):
            return size
    n_groups = steps.shape[1] if len(steps.shape) == 2 else 0
    if layout in IN_PAIRS_OF_ROWS and steps.shape[:1] == (rows,) and n_groups and columns % n_groups == 0:
        return columns // n_groups
    raise unfit(steps, str([rows, -(-columns // (said or usual))]), codes)


def _tile(shape: Shape, codes: Tensor, steps: Tensor) -> Shape:
    """Rows and columns of a tile. The library writes the scales as [O/b, 1, I/b, 1], and one alone as []."""
    usual = -(-shape[0] // TILE), -(-shape[1] // TILE)
    sizes = [n for n in steps.shape if n != 1]
    match steps.shape:
        case (a, 1, b, 1) | (a, b):
            found = a, b
        case _ if steps.n_elements == 1:
            found = 1, 1
        case _ if sizes == [n for n in usual if n != 1]:  # squeezed
            found = usual
        case _:
            raise unfit(steps, str([usual[0], 1, usual[1], 1]), codes)
    if found == usual:
        return TILE, TILE
    if all(found) and shape[0] % found[0] == 0 and shape[1] % found[1] == 0:
        return max(1, shape[0] // found[0]), max(1, shape[1] // found[1])
    raise unfit(steps, str([usual[0], 1, usual[1], 1]), codes)
