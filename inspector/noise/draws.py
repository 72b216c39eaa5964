"""What chance does to the samples of a calibration: other samples, or these in another order.

order: permutations of the samples that are there. Exact: every order is as likely as another.
data: as many samples from the population that these are a sample of, in random order. Samples are drawn with
replacement; each quantile is moved in the logarithm by a heavy-tailed kernel of Silverman's width, for the largest of a
few samples is not the largest there is.
It takes samples as independent and of one kind, and the other calibration as large as ours: a text of another kind, or
far fewer samples, is not covered.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution.quantile import Floats

DRAWS = 4000
KERNEL_FREEDOM = 4
"""Degrees of freedom of the kernel: with the normal one, 91-93 % were covered where 95 % should be."""
_LEAST = 1e-30
"""In place of a quantile of 0, which has no logarithm."""


class Draws:
    """What chance does to n samples; points with as many share it.

    orders, once, twice: int64[draws, n], which sample is in each place: in another order; drawn with replacement out of
    ours (another calibration); out of samples drawn so (another calibration and the chance in ours). noise:
    float64[draws, n], of the kernel, in standard deviations of a quantile's logarithm.
    """

    def __init__(self, n: int, seed: int = 0) -> None:
        self.n = n
        rng = np.random.default_rng(seed)
        self.orders = rng.permuted(np.tile(np.arange(n), (DRAWS, 1)), axis=1)
        self.once = rng.integers(0, n, (DRAWS, n))
        self.twice = np.take_along_axis(self.once, rng.integers(0, n, (DRAWS, n)), axis=1)
        self.noise = rng.standard_t(KERNEL_FREEDOM, (DRAWS, n)) * 1.06 * n**-0.2

    @cached_property
    def places_of_samples(self) -> list[NDArray[np.int64]]:
        """Of each sample, where in `twice`, flattened, it was drawn: ascending."""
        flat = self.twice.ravel()
        return np.split(np.argsort(flat, kind="stable"), np.cumsum(np.bincount(flat, minlength=self.n))[:-1])

    def weights(self, index: NDArray[np.int64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64[draws, n]: what each sample weighs in each draw. weight: of each place, [n] or [draws, n]."""
        flat = index + np.arange(DRAWS)[:, None] * self.n
        spread = np.broadcast_to(weight, index.shape)
        summed = np.bincount(flat.ravel(), spread.ravel(), DRAWS * self.n).astype(np.float64)
        return summed.reshape(DRAWS, self.n)

    def factors(self, quantiles: Floats) -> NDArray[np.float64]:
        """float64[draws, n]: the kernel's, of the width that these quantiles, one a sample, ask for."""
        made: NDArray[np.float64] = np.exp(self.noise * float(np.log(np.maximum(quantiles, _LEAST)).std()))
        return made


def ema_weights(sigma: float, n: int) -> NDArray[np.float64]:
    """float64[n]: what each of n samples, in order, weighs in a moving average that begins with the first."""
    kept = (1 - sigma) ** np.arange(n - 1, -1, -1.0)
    return kept * np.where(np.arange(n) == 0, 1.0, sigma)
