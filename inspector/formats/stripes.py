"""Rows of matrices whose columns lie in one piece: what is packed along the outputs, as GPTQ and AWQ do it.

A few rows of these are a short run of bytes out of every column: a thousand reads. So a stripe of many rows is read at
once, turned round, and held for who asks for the next ones.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Tensor

Array = NDArray[Any]

STRIPE_BYTES = 1 << 23
"""Of one stripe, at most: most matrices of a model of 8B parameters are one to four."""
HELD_BYTES = 20_000_000
"""The stripe of the codes and the next one, and those of scales and zero points."""


class Stripes:
    """Those of one checkpoint, the last ones that were asked for. Safe to use from several threads."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int, int], Array] = {}
        self._lock = threading.Lock()

    def rows(self, tensor: Tensor, start: int, stop: int) -> Array:
        """Rows `start` to `stop` of the transposed matrix, contiguous; 0 <= start <= stop <= rows. Raises
        as `Tensor.read_rows`."""
        height, n_rows = max(1, STRIPE_BYTES * 8 // max(1, tensor.shape[0] * tensor.dtype.bits)), tensor.shape[1]
        if tensor.strides is not None or height >= n_rows:
            height = max(1, n_rows)
        first, last = start // height, -(-stop // height)
        parts = [
            self._stripe(tensor, i * height, min(n_rows, (i + 1) * height))[
                max(0, start - i * height) : stop - i * height
            ]
            for i in range(first, max(last, first + 1))
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _stripe(self, tensor: Tensor, start: int, stop: int) -> Array:
        key = tensor.name, start, stop
        with self._lock:  # who comes second waits for what the first one reads
            found = self._held.pop(key, None)
            if found is None:
                found = np.ascontiguousarray(tensor.transposed().read_rows(start, stop))
            self._held[key] = found
            while len(self._held) > 1 and sum(n.nbytes for n in self._held.values()) > HELD_BYTES:
                del self._held[next(iter(self._held))]
        return found
