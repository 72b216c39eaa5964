"""Arrays of values for tests of distributions, and hypothesis strategies that make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

DTYPES: dict[str, Any] = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32}
SIXTEEN_BIT = ("float16", "bfloat16")


def silu(n: int, dtype: str, seed: int = 0) -> NDArray[Any]:
    """What a convolution with SiLU puts out: much near 0, little below it, one value in 500 twelve times as large."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    x = x / (1 + np.exp(-x))
    x[rng.random(n) < 0.002] *= 12
    cast: NDArray[Any] = x.astype(DTYPES[dtype])
    return cast


Kind = Callable[[int, str, int], NDArray[Any]]
"""kind(n, dtype, seed)"""

KINDS: dict[str, Kind] = {
    "silu": silu,
    "gaussian": lambda n, dtype, seed: np.random.default_rng(seed).standard_normal(n).astype(DTYPES[dtype]),
    "zeros": lambda n, dtype, seed: silu(n, dtype, seed) * (np.random.default_rng(seed).random(n) < 0.01),
    "ties": lambda n, dtype, seed: np.random.default_rng(seed).integers(-3, 4, n).astype(DTYPES[dtype]),
    "wide": lambda n, dtype, seed: np.exp(np.random.default_rng(seed).normal(0, 2, n)).astype(DTYPES[dtype]),
}


def patterns(
    dtype: str, finite: bool = True, min_size: int = 1, max_size: int = 200
) -> st.SearchStrategy[NDArray[Any]]:
    """Arrays of any bit patterns: subnormals, both zeros, both signs; without `finite` also NaN and infinities."""
    raw = np.uint32 if dtype == "float32" else np.uint16
    bits = 32 if dtype == "float32" else 16
    # few different patterns, too: ties are where ranks go wrong
    elements = st.integers(0, 2**bits - 1) | st.integers(0x3C00, 0x3C10)
    made = arrays(raw, st.integers(min_size, max_size), elements=elements).map(lambda x: x.view(DTYPES[dtype]))
    return made.map(lambda x: np.where(np.isfinite(x.astype(np.float32)), x, x.dtype.type(1))) if finite else made


def magnitudes(x: NDArray[Any]) -> NDArray[np.float32]:
    """Sorted |x| as float32: what every table stands for."""
    with np.errstate(all="ignore"):
        return np.sort(np.abs(x.astype(np.float32)).reshape(-1))
