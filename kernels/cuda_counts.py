"""The GPU body of the exact counts: torch tensors on a CUDA device in, torch tensors out.

Everything runs on torch's current stream and nothing waits for the device. torch is imported by whoever has a tensor.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qinspect.kernels.nvrtc import CudaKernel

if TYPE_CHECKING:
    import torch

THREADS = 1024
FULL_BINS, HALF_BINS = 32_768, 16_384
SMALL_TABLES = "QINSPECT_SMALL_TABLES"
"""Environment variable that forces the body for cards with less than 128 KiB of shared memory a block."""

MIN_PIECE = 1 << 14
"""Elements that a block counts at least: clearing and adding up a table takes as long as reading some 10,000."""

MAX_ITEM = 1 << 24
"""Elements of an item of a segmented launch: a block takes about a millisecond for them."""

STAGED_BYTES = 1 << 16
"""A copy of at most this much ordinary memory to the device waits for nothing: the driver takes it along."""


@lru_cache(maxsize=64)
def _kernel(name: str, device: int, parts: int, bins: int) -> CudaKernel:
    source = Path(__file__).with_name("counts.cu").read_text(encoding="utf-8")
    defines = {"PARTS": parts, "BINS": bins, "THREADS": THREADS}
    return CudaKernel(source, name, defines, device, shared_bytes=4 * bins)


@lru_cache(maxsize=64)
def _shape(device: int, signed: bool, small: bool) -> tuple[int, int, int]:
    """(bins a block, parts of a table, multiprocessors)."""
    import torch

    properties = torch.cuda.get_device_properties(device)
    room = getattr(properties, "shared_memory_per_block_optin", 0) or properties.shared_memory_per_block
    bins = HALF_BINS if small or room < 4 * FULL_BINS else FULL_BINS
    return bins, (65_536 if signed else 32_768) // bins, properties.multi_processor_count


def _launch_shape(x: torch.Tensor, signed: bool) -> tuple[int, int, int]:
    return _shape(x.device.index, signed, bool(os.environ.get(SMALL_TABLES)))


def _out(x: torch.Tensor, out: torch.Tensor | None, shape: tuple[int, ...]) -> torch.Tensor:
    import torch

    if out is None:
        return torch.zeros(shape, dtype=torch.int64, device=x.device)
    if out.shape != shape or out.dtype != torch.int64 or out.device != x.device or not out.is_contiguous():
        raise ValueError(f"out must be a contiguous int64 tensor of shape {list(shape)} on {x.device}")
    return out


def _dense(x: torch.Tensor) -> torch.Tensor:
    """The same elements in one piece of memory: `x` itself where it is, in whatever order, else a copy."""
    if x.is_contiguous():
        return x
    if x.dim() > 1 and x.mT.is_contiguous():
        return x.mT
    order = sorted(range(x.dim()), key=lambda i: -x.stride()[i])
    turned = x.permute(order)
    return turned if turned.is_contiguous() else x.contiguous()


def cuda_counts(x: torch.Tensor, out: torch.Tensor | None, signed: bool) -> torch.Tensor:
    """Counts of the bit patterns of `x` (bfloat16 or float16, any shape): int64 [65,536], or [32,768] without the sign.
    Adds to `out` where it is given."""
    bins, parts, n_sm = _launch_shape(x, signed)
    counts = _out(x, out, (parts * bins,))
    n = x.numel()
    if n == 0:
        return counts
    dense = x if x.is_contiguous() else _dense(x)
    pieces = max(1, min(n_sm // parts, -(-n // MIN_PIECE)))
    _launch(
        "count_one_segment", dense.device, parts, bins, pieces,
        np.uint64(dense.data_ptr()), np.uint64(n), np.uint64(counts.data_ptr()), np.uint32(parts * bins - 1),
    )  # fmt: skip
    return counts


def cuda_segmented_counts(segments: Sequence[torch.Tensor], out: torch.Tensor | None, signed: bool) -> torch.Tensor:
    """Counts of each segment in one launch: int64 [segments, 65,536 or 32,768]. All on one device."""
    return SegmentPlan(segments, signed).count(out)


class SegmentPlan:
    """Segments that are counted again and again where they are: tensors that keep their place, as those of a CUDA graph
    do. What a launch needs is on the device already."""

    def __init__(self, segments: Sequence[torch.Tensor], signed: bool = False) -> None:
        """segments: 2-byte elements, on one device, dense in memory in some order of their axes; others are copied
        once, and a later count sees the copy."""
        import torch

        first = segments[0]
        bins, self._parts, n_sm = _launch_shape(first, signed)
        self._bins, self._device = bins, first.device
        self._dense = [x if x.is_contiguous() else _dense(x) for x in segments]
        lengths = [x.numel() for x in self._dense]
        items = items_of([x.data_ptr() for x in self._dense], lengths, n_sm // self._parts)
        self._n_items = len(items)
        self._blocks = min(n_sm // self._parts, len(items))
        table = torch.from_numpy(items.view(np.int64))
        if items.nbytes > STAGED_BYTES:
            table = table.pin_memory()
        self._table = table.to(first.device, non_blocking=True)  # torch keeps it until the stream is past it

    def count(self, out: torch.Tensor | None = None) -> torch.Tensor:
        """Add what the segments hold now to `out`, as `segmented_magnitude_counts` does."""
        counts = _out(self._dense[0], out, (len(self._dense), self._parts * self._bins))
        if self._n_items:
            _launch(
                "count_segments", self._device, self._parts, self._bins, self._blocks,
                np.uint64(self._table.data_ptr()), np.uint64(self._n_items), np.uint64(counts.data_ptr()),
                np.uint32(self._parts * self._bins - 1),
            )  # fmt: skip
        return counts


def _launch(name: str, device: torch.device, parts: int, bins: int, pieces: int, *arguments: Any) -> None:
    """On torch's current stream of the device."""
    import torch

    index = device.index
    stream = torch.cuda.current_stream(device).cuda_stream
    kernel = _kernel(name, index, parts, bins)
    if torch.cuda.current_device() == index:
        kernel(stream, pieces * parts, THREADS, *arguments)
        return
    with torch.cuda.device(device):
        kernel(stream, pieces * parts, THREADS, *arguments)


def items_of(addresses: Sequence[int], lengths: Sequence[int], n_blocks: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Segments (address in bytes, elements of 2 bytes) cut into items (address, elements, segment): uint64 [items, 3].

    Pieces of about one size, so that the blocks end together: about two a block, neither so small that their tables
    take longer than their data nor so large that one block works alone.
    """
    n = np.asarray(lengths, np.int64)
    piece = min(MAX_ITEM, max(MIN_PIECE, -(-int(n.sum()) // (2 * max(1, n_blocks)))))
    pieces = -(-n // piece)
    size = (-(-n // np.maximum(pieces, 1)) + 63) // 64 * 64  # whole lines of 128 bytes
    segment = np.repeat(np.arange(len(n)), pieces)
    at = (np.arange(len(segment)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * size[segment]
    left = n[segment] - at
    items = np.empty((len(segment), 3), np.uint64)
    items[:, 0] = np.asarray(addresses, np.uint64)[segment] + (2 * at).astype(np.uint64)
    items[:, 1] = np.minimum(size[segment], np.maximum(left, 0))
    items[:, 2] = segment
    return items[left > 0]
