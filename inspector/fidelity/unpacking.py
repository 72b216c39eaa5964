"""Rows of codes made numbers by torch, on the device where they are: the same steps as of kernels/matrix.c, for all
values at once. Only on_device.py comes here, behind its import of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from qinspect.kernels.packing import PackedRows, Packing, Plane

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]
Move = Callable[[Array, str], "Tensor"]
"""Brings an array to the device; the name tells it from the others of a matrix."""


def numbers_of(rows: PackedRows, move: Move) -> Tensor:
    """float32[rows, columns] on the device, as `values_of` of kernels/matrix.py gives them, to the bit."""
    found = move(rows.levels, "levels")[_codes_of(rows, move).int()]
    scales = move(rows.scales, "scales")
    if rows.of_scales is not None:
        scales = move(rows.of_scales, "of_scales")[scales.int()]
    cell_of = None if rows.cell_of is None else move(rows.cell_of, "cell_of")
    if rows.zeros is not None:
        _each(rows, cell_of, found, "sub_", move(rows.zeros, "zeros"))
    _each(rows, cell_of, found, "div_" if rows.divided else "mul_", scales)
    if rows.minima is not None:
        _each(rows, cell_of, found, "add_", move(rows.minima, "minima"))
    if rows.factors is not None:
        found *= move(rows.factors, "factors")
    return found


def _each(rows: PackedRows, cell_of: Tensor | None, values: Tensor, does: str, numbers: Tensor) -> None:
    """Does something to the values of each cell with its number."""
    import torch

    n_rows, columns, width = *rows.shape, rows.width
    if numbers.shape[1] == 1:
        getattr(values, does)(numbers)
    elif cell_of is not None:
        getattr(values, does)(numbers[:, cell_of])
    elif columns % width == 0:
        getattr(values.view(n_rows, columns // width, width), does)(numbers[:, :, None])
    else:
        of_column = torch.arange(columns, device=values.device) // width
        getattr(values, does)(numbers[:, of_column])


def _codes_of(rows: PackedRows, move: Move) -> Tensor:
    """uint8[rows, columns]."""
    p, columns = rows.packing, rows.columns
    stored = move(rows.codes, "codes")
    if p.shifts:
        return _shared(stored, p, columns)[rows.skipped : rows.skipped + rows.shape[0]]
    if not p.block:
        return _plane(stored, p.planes[0], columns)
    blocks = stored[:, : p.bytes_of(columns)].reshape(len(stored), -1, p.block_bytes)
    codes, shift = None, 0
    for plane in p.planes:
        inside = blocks[..., plane.first : plane.first + p.block * plane.bits // 8]
        bits = _plane(inside, plane, p.block) << shift
        codes = bits if codes is None else codes | bits
        shift += plane.bits
    assert codes is not None
    return codes.reshape(len(stored), -1)[:, :columns]


def _shared(stored: Tensor, p: Packing, columns: int) -> Tensor:
    """uint8[rows, columns] of words in which several rows have a code each."""
    import torch

    words = stored
    if stored.shape[1] != columns * p.word:  # of one row, `contiguous` would leave the stride as it was
        words = stored[:, : columns * p.word].clone(memory_format=torch.contiguous_format)
    if p.word == 4:
        words = words.view(torch.int32)
    shifts = torch.tensor(p.shifts, dtype=words.dtype, device=words.device)
    codes = (words[:, None] >> shifts[:, None]) & ((1 << p.bits) - 1)
    return codes.to(torch.uint8).reshape(-1, columns)


def _plane(stored: Tensor, plane: Plane, n: int) -> Tensor:
    """uint8[..., n] of uint8[..., bytes]."""
    import torch

    bits, before = plane.bits, stored.shape[:-1]
    if bits == 8:
        return stored[..., :n]
    if 8 % bits == 0:
        shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=stored.device)[:, None]
        runs = stored.reshape(*before, -1, 1, plane.apart) >> shifts & ((1 << bits) - 1)
        return (runs if plane.apart > 1 else runs.squeeze(-1)).reshape(*before, -1)[..., :n]
    over = -stored.shape[-1] % bits
    eights = torch.nn.functional.pad(stored, (0, over)).reshape(*before, -1, bits).long()
    words = sum(eights[..., k] << 8 * k for k in range(bits))
    assert not isinstance(words, int)  # there is a byte
    codes = words[..., None] >> torch.arange(0, 8 * bits, bits, device=stored.device) & ((1 << bits) - 1)
    return codes.to(torch.uint8).reshape(*before, -1)[..., :n]
