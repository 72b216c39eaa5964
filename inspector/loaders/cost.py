"""What a deed costs in accuracy.

Another constant is off by |S/s - 1|, exactly. What a second rounding or another scale of activations costs depends on
the values, which are not read: it is simulated on normally distributed ones, 131,072 of them, in an order drawn once.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from qinspect.inspector.loaders.statement import Cost

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[Any]

_N = 1 << 17
_BLOCK = 16
_E4M3_MAX = 448.0
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
MARGIN_OF_BLOCKS = 4096.0
"""Times by which the outer scale of FP4 blocks may be too large: their own scales, which have 15 powers of two,
make up for it."""


def constant(factor: float, of_format: float) -> Cost:
    """Of S/s. of_format: the error that the format has by itself, of normally distributed values."""
    error = abs(factor - 1)
    return Cost(factor, error, _lost(math.hypot(of_format, error), of_format))


def requantized(factor: float) -> Cost:
    """Of FP8 that is rounded again to a scale S = factor * s."""
    first, error, total = _requantized(float(f"{factor:.4g}"))
    return Cost(factor, error, _lost(total, first), simulated=True)


def rounding_loss(factor: float) -> float:
    """A rank of factors by what rounding again to them costs, which goes by the part of the factor that is no power of
    two: to 1/32 of one, for thousands of factors."""
    part = math.log2(factor) % 1
    return _requantized(2 ** (round(32 * part) % 32 / 32))[2]


def powers_of_two() -> Cost:
    """Of FP8 blocks whose scales become the next power of two: the mean over factors between 1 and 2."""
    found = [_requantized(2 ** ((i + 0.5) / 16)) for i in range(16)]
    first = found[0][0]
    total, error = (math.sqrt(sum(f[i] ** 2 for f in found) / len(found)) for i in (2, 1))
    return Cost(None, error, _lost(total, first), simulated=True)


def fp4_activations(factor: float) -> Cost:
    """Of FP4 activations in blocks of 16 whose outer scale is `factor` times what it should be."""
    own, with_it = fp4_error(), _fp4_activations(float(f"{factor:.4g}"))
    return Cost(factor, with_it, _lost(with_it, own), simulated=True)


def fp8_activations(factor: float) -> Cost:
    """Of FP8 activations with one scale, `factor` times what it should be."""
    own, with_it = fp8_error(), _fp8_activations(float(f"{factor:.4g}"))
    return Cost(factor, with_it, _lost(with_it, own), simulated=True)


def fp4_error() -> float:
    """Relative error of FP4 in blocks of 16."""
    return _fp4_activations(1.0)


def fp8_error() -> float:
    """Relative error of FP8 with one scale."""
    return _requantized(1.0)[0]


def _lost(after: float, before: float) -> float:
    """dB. Not less than 0: a second rounding never helps, and the values are a sample."""
    return max(0.0, 20 * math.log10(after / before)) if after > 0 and before > 0 else 0.0


@lru_cache(1)
def _normal() -> Values:
    """Normally distributed numbers in an order that is always the same."""
    import numpy as np

    from qinspect.inspector.normal import normal_quantiles

    return np.random.default_rng(0).permutation(normal_quantiles(_N))


@lru_cache(4096)
def _requantized(factor: float) -> tuple[float, float, float]:
    """(error of FP8, error that a second rounding to a scale `factor` times as large adds, both together)."""
    import numpy as np

    x = _normal()
    step = float(np.abs(x).max()) / _E4M3_MAX
    once = _e4m3(x / step) * step
    twice = _e4m3(once / (step * factor)) * step * factor
    return _relative(once - x, x), _relative(twice - once, once), _relative(twice - x, x)


@lru_cache(4096)
def _fp4_activations(factor: float) -> float:
    import numpy as np

    x = _normal().reshape(-1, _BLOCK)
    outer = float(np.abs(x).max()) / (_E4M3_MAX * _E2M1[-1]) * factor
    blocks = _e4m3(np.abs(x).max(axis=1, keepdims=True) / _E2M1[-1] / outer)
    steps = blocks * outer
    levels = np.asarray(_E2M1)
    scaled = np.divide(np.abs(x), steps, out=np.zeros_like(x), where=steps > 0)
    codes = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, np.minimum(scaled, levels[-1]))]
    return _relative(np.sign(x) * codes * steps - x, x)


@lru_cache(4096)
def _fp8_activations(factor: float) -> float:
    import numpy as np

    x = _normal()
    step = float(np.abs(x).max()) / _E4M3_MAX * factor
    return _relative(_e4m3(x / step) * step - x, x)


def _e4m3(x: Values) -> Values:
    """The nearest numbers of E4M3; what is beyond its largest becomes that."""
    import ml_dtypes
    import numpy as np

    return np.clip(x, -_E4M3_MAX, _E4M3_MAX).astype(ml_dtypes.float8_e4m3fn).astype(np.float64)


def _relative(error: Values, of: Values) -> float:
    return math.sqrt(float((error**2).sum()) / float((of**2).sum()))
