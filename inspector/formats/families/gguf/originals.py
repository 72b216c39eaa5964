"""Tensors that are not quantized, in the shape and the order of rows that the original has."""

from __future__ import annotations

import math

import numpy as np

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.checkpoint.source import View
from qinspect.inspector.formats.families.gguf.rows import stored_rows


def of_shape(tensor: Tensor, original: str) -> Tensor:
    """The same bytes in the original's shape: llama.cpp gives the D and the A of Mamba2 an axis more, its norm one for
    the groups, and the convolution one less."""
    shape = tensor.shape
    if original.endswith((".D", ".A_log")) and len(shape) == 2 and shape[1] == 1:
        shape = shape[:1]
    elif original.endswith(("mixer.norm.weight", "mamba.norm.weight")) and len(shape) == 2:
        shape = (math.prod(shape),)
    elif original.endswith("conv1d.weight") and len(shape) == 2:
        shape = (shape[0], 1, shape[1])
    else:
        return tensor
    return Tensor(tensor.name, tensor.dtype, shape, None, tensor.file, tensor.offset)


def of_order(tensor: Tensor, n_heads: int) -> Tensor:
    """The same rows in the original's order."""
    return Tensor(tensor.name, tensor.dtype, tensor.shape, None, _Rows(tensor, n_heads), 0)


class _Rows(View):
    """The bytes of a tensor's rows, of which the two halves of each head are no longer interleaved."""

    __slots__ = ("_n_heads", "_tensor", "_width")

    def __init__(self, tensor: Tensor, n_heads: int) -> None:
        super().__init__(tensor.file, tensor.nbytes)
        self.identity = (*tensor.file.identity, tensor.name)
        self._tensor = tensor
        self._n_heads = n_heads
        self._width = tensor.nbytes // tensor.shape[0]

    def _pread(self, offset: int, n: int) -> bytes:
        width, n_rows = self._width, self._tensor.shape[0]
        start, stop = offset // width, min(n_rows, -(-(offset + n) // width))
        first, last, order = stored_rows(start, stop, n_rows, self._n_heads)
        raw = self._tensor.file.read(self._tensor.offset + first * width, (last - first) * width)
        rows = np.frombuffer(raw, np.uint8).reshape(-1, width)[order].tobytes()
        return rows[offset - start * width :][:n]
