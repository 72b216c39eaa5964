"""Integer weights with a scale and a zero point for each group of columns: the arithmetic that many libraries share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import BrokenNumbers

Array = NDArray[Any]


def consecutive(n: int, group_size: int) -> NDArray[np.intp]:
    """intp[n]: the group of each column, where groups lie one after another; the last may be shorter."""
    return np.arange(n, dtype=np.intp) // group_size


def stored_index(checkpoint: Checkpoint, key: str, n: int, n_groups: int) -> NDArray[np.intp]:
    """intp[n]: the group of each column as `key` says it. Raises CannotDequantize where one of them is none of the
    groups, and what reading raises."""
    tensor = checkpoint.tensor(key)
    found = np.empty(0, np.intp) if tensor is None else tensor.read().reshape(-1).astype(np.intp)
    low, high = (int(found.min()), int(found.max())) if found.size else (0, 0)
    if found.size != n or low < 0 or high >= n_groups:
        raise BrokenNumbers(
            "does not say to which group each column belongs", file=checkpoint.path, key=key,
            expected=f"{n} numbers from 0 to {n_groups - 1}", found=f"{found.size} numbers from {low} to {high}",
        )  # fmt: skip
    return found


def dequantized(codes: Array, scales: Array, zeros: Array | int, group_of: NDArray[np.intp]) -> NDArray[np.float32]:
    """float32[rows, columns]: (code - zero) * scale, each operation rounded once.

    codes: uint8[rows, columns]. scales: floats[rows, groups]. zeros: integers of the same shape, or one for all.
    group_of: intp[columns].
    """
    values = codes.astype(np.float32)
    values -= zeros if isinstance(zeros, int) else zeros.astype(np.float32)[:, group_of]
    with np.errstate(all="ignore"):  # a scale in the file that is not finite is the file's
        values *= scales.astype(np.float32)[:, group_of]
    return values
