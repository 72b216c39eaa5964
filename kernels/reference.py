"""What the kernels must equal: the plainest form of each, slow and without a branch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def magnitude_counts(patterns: NDArray[Any]) -> NDArray[np.int64]:
    """int64[32768]: occurrences of each 15-bit magnitude pattern in an array of 16-bit elements of any kind."""
    return np.bincount(_codes(patterns) & 0x7FFF, minlength=1 << 15)


def signed_counts(patterns: NDArray[Any]) -> NDArray[np.int64]:
    """int64[65536]: occurrences of each 16-bit pattern."""
    return np.bincount(_codes(patterns), minlength=1 << 16)


def _codes(patterns: NDArray[Any]) -> NDArray[np.int64]:
    return np.array(patterns).view(np.uint16).reshape(-1).astype(np.int64)
