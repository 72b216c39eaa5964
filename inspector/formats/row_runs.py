"""Codes of a matrix whose rows lie in runs: one byte holds a code of a row, and of the rows a run further on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Tensor


def read_row_runs(tensor: Tensor, bits: int, start: int, stop: int) -> NDArray[np.uint8]:
    """uint8[stop - start, ...]: codes of rows `start` to `stop` out of uint8[rows of a run, ...]: the first run in the
    lowest `bits` of each byte, the next above them. bits: 1, 2, 4 or 8. Only the bytes of these rows are read."""
    n = tensor.shape[0]
    parts: list[NDArray[Any]] = []
    for run in range(8 // bits):
        first, last = max(start - run * n, 0), min(stop - run * n, n)
        if first < last:
            parts.append(tensor.read_rows(first, last) >> np.uint8(bits * run) & np.uint8((1 << bits) - 1))
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([np.empty((0, *tensor.shape[1:]), np.uint8), *parts])
