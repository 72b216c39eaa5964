"""Exact counts of 16-bit floats: 32,768 magnitudes, or 65,536 patterns with the sign.

A bfloat16 or float16 without its sign has 15 bits: a table of 32,768 counts is its distribution, not an approximation
of it, and two tables add up. Zeros of both signs fall together, infinities and NaNs have patterns of their own.

Arrays of numpy and tensors of torch on the CPU go to the CPU body, CUDA tensors to the GPU body. torch is never
imported here: who has a tensor has it imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_MAGNITUDES = 1 << 15
"""Magnitudes of a 16-bit float: bit patterns 0 ... 0x7FFF."""
N_PATTERNS = 1 << 16
"""Bit patterns of a 16-bit float."""

Counts = Any
"""int64: a numpy array for what is on the CPU, a torch tensor on x's device for what is on a GPU."""


def magnitude_counts(x: Any, out: Counts | None = None) -> Counts:
    """How often each |x| occurs: int64[32768], index = bit pattern without its sign.

    x: 2-byte elements (float16, bfloat16, or raw bits as uint16 or int16) of any shape, strides and alignment.
    out: int64[32768], contiguous: the counts are added to it and it is returned; None for a new table.
    Raises TypeError for elements of another size or byte order, ValueError for an unfit `out`.
    """
    return _count(x, out, N_MAGNITUDES)


def signed_counts(x: Any, out: Counts | None = None) -> Counts:
    """How often each pattern occurs: int64[65536], index = bit pattern; negative values from 0x8000 on.

    Otherwise as `magnitude_counts`.
    """
    return _count(x, out, N_PATTERNS)


def segmented_magnitude_counts(
    x: Any,
    offsets: Sequence[int] | NDArray[np.int64] | None = None,
    out: Counts | None = None,
    *,
    signed: bool = False,
) -> Counts:
    """Many tables in one call, one for each segment: int64[segments, 32768], or [segments, 65536] of whole patterns.

    x: a sequence of arrays, one a segment; or, with `offsets`, one array, of which segment i is
    `x.reshape(-1)[offsets[i]:offsets[i + 1]]`. offsets: from 0 to x's size, not descending. out: as in
    `magnitude_counts`.
    Raises ValueError for offsets that do not do so; otherwise as `magnitude_counts`.
    """
    first = x[0] if offsets is None and len(x) else x
    if _is_cuda(first):
        parts = list(x) if offsets is None else _segments(x, np.asarray(offsets, np.int64), x.numel())
        from qinspect.kernels.cuda_counts import cuda_segmented_counts

        return cuda_segmented_counts([_checked_tensor(part) for part in parts], out, signed)
    if offsets is not None:
        array = _as_numpy(x)
        x = _segments(array, np.asarray(offsets, np.int64), array.size)
    size = N_PATTERNS if signed else N_MAGNITUDES
    table = _table(out, (len(x), size))
    for segment, row in zip(x, table, strict=True):
        _count(segment, row, size)
    return table


def _count(x: Any, out: Counts | None, size: int) -> Counts:
    if _is_cuda(x):
        from qinspect.kernels.cuda_counts import cuda_counts

        return cuda_counts(_checked_tensor(x), out, size == N_PATTERNS)
    from qinspect.kernels.cpu import add_counts

    array = _as_numpy(x)
    table = _table(out, (size,))
    add_counts(array, table)
    return table


def _is_cuda(x: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor) and bool(x.is_cuda)


def _checked_tensor(x: Any) -> Any:
    if x.element_size() != 2:
        raise TypeError(f"counts are of 16-bit elements, not of {x.dtype}")
    return x.detach() if x.requires_grad else x


def _as_numpy(x: Any) -> NDArray[Any]:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        x = _checked_tensor(x).view(torch.int16).numpy()  # numpy has no bfloat16 of torch's
    array = np.asarray(x)
    if array.dtype.itemsize != 2 or array.dtype.kind not in "fuiV":
        raise TypeError(f"counts are of 16-bit elements, not of {array.dtype}")
    if not array.dtype.isnative:
        raise TypeError(f"counts are of elements in this machine's byte order, not of {array.dtype.str}")
    return array


def _table(out: Counts | None, shape: tuple[int, ...]) -> NDArray[np.int64]:
    if out is None:
        return np.zeros(shape, np.int64)
    if isinstance(out, np.ndarray) and out.dtype == np.int64 and out.shape == shape:
        table: NDArray[np.int64] = out
        if table.flags.c_contiguous and table.flags.aligned and table.flags.writeable:
            return table
    raise ValueError(f"out must be a contiguous, writable int64 array of shape {shape}")


def _segments(x: Any, offsets: NDArray[np.int64], size: int) -> list[Any]:
    if offsets.ndim != 1 or not offsets.size or offsets[0] != 0 or offsets[-1] != size or (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets must lead from 0 to {size} and not descend")
    flat = x.reshape(-1)
    return [flat[start:stop] for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
