"""What rounding a second time costs, of values that look like weights."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from qinspect.inspector.normal import normal_quantiles

_N = 4096
_SIGMAS = 4.0
"""The largest of some thousand Gaussian values is about this many standard deviations."""


@lru_cache(256)
def error_once_and_again(dtype: str, limit: float, ratio: float) -> tuple[float, float]:
    """Relative errors (root mean square over that of the values) of Gaussian values rounded to a small float by their
    own scale, and of these rounded again to a scale `ratio` times as large, as engines do that keep one scale for
    several weights. dtype: ml_dtypes' name; limit: its largest number. ratio: 1 or more."""
    import ml_dtypes

    kind = getattr(ml_dtypes, dtype)
    x = normal_quantiles(_N) * (limit / _SIGMAS)
    once = x.astype(np.float32).astype(kind).astype(np.float64)
    again = (once / ratio).astype(np.float32).astype(kind).astype(np.float64) * ratio
    norm = float(np.sqrt((x**2).mean()))
    return float(np.sqrt(((once - x) ** 2).mean())) / norm, float(np.sqrt(((again - x) ** 2).mean())) / norm
