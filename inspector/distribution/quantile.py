"""Quantiles of counted values, equal to the bit to those of the expanded values, and the alphas that give a value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]

Rank = Literal["float32", "float64"]
"""Precision of the rank alpha * (n - 1). `float32`: torch.quantile, which forms it in the dtype of its input, and with
it Quamba. `float64`: numpy.quantile."""


def quantile(
    magnitudes: NDArray[np.float32], cumulative: NDArray[np.int64], n_inf: int, alphas: ArrayLike, rank: Rank
) -> Floats:
    """The alpha-quantiles, linearly interpolated, of values of which `cumulative[i]` are <= magnitudes[i], then n_inf
    infinities. float32 for rank float32, float64 for rank float64; of the shape of `alphas`.

    Raises ValueError for no values at all and for an alpha outside [0, 1].
    """
    n = int(cumulative[-1]) + n_inf if cumulative.size else n_inf
    a = np.asarray(alphas, np.float64)
    if n == 0:
        raise ValueError("there is no quantile of no values")
    if not ((a >= 0) & (a <= 1)).all():
        raise ValueError("an alpha is a fraction from 0 to 1")
    position = (np.float32(n - 1) * a.astype(np.float32)) if rank == "float32" else (n - 1) * a
    below = np.floor(position)
    weight = position - below
    values = np.append(magnitudes, np.float32(np.inf)) if n_inf else magnitudes  # a copy of the table, asked for often
    # From 2^24 values on, float32(n - 1) may be over n - 1; torch refuses such sizes.
    start = values[np.searchsorted(cumulative, np.minimum(below.astype(np.int64), n - 1), "right")]
    end = values[np.searchsorted(cumulative, np.minimum(np.ceil(position).astype(np.int64), n - 1), "right")]
    return _lerp32(start, end, weight) if rank == "float32" else _lerp64(start, end, weight)


@np.errstate(invalid="ignore")  # inf - inf, between two infinities: nan, as in torch and numpy
def _lerp32(start: Floats, end: Floats, weight: Floats) -> Floats:
    """torch's lerp (ATen/native/Lerp.h) with the multiply-add fused: from the nearer end, products exact, one rounding.

    In float64 the product of two float32 is exact.
    """
    difference = (end - start).astype(np.float64)
    w = weight.astype(np.float64)
    near_start = start + difference * w
    near_end = end - difference * (1.0 - w)
    lerped: Floats = np.where(weight < 0.5, near_start, near_end).astype(np.float32)
    return lerped


@np.errstate(invalid="ignore")
def _lerp64(start: Floats, end: Floats, weight: Floats) -> Floats:
    """numpy's _lerp (numpy/lib/_function_base_impl.py)."""
    a, b = start.astype(np.float64), end.astype(np.float64)
    lerped: Floats = np.where(weight < 0.5, a + (b - a) * weight, b - (b - a) * (1 - weight))
    return lerped


@dataclass(frozen=True, slots=True)
class AlphaInterval:
    """low ... high: float32 alphas. attained: all of them give the value; otherwise none does, and the function steps
    over it between these two neighbours. `alpha in interval` rounds alpha to float32 first, as an observer does."""

    low: float
    high: float
    attained: bool

    def __contains__(self, alpha: float) -> bool:
        return self.low <= float(np.float32(alpha)) <= self.high


Function = Callable[[NDArray[np.float32]], Floats]
"""From float32 alphas to values that do not descend."""

_ONE = 0x3F800000
"""Bit pattern of float32 1.0: non-negative floats are in the order of their patterns, so alphas are counted by them."""
_WAYS = 64
"""Alphas tried at once, from the second round on."""


def _first_tries() -> NDArray[np.int64]:
    """Patterns of 1,088 alphas that stretch near 1: between two of them a round or two find the answer."""
    near_one = 1 - np.geomspace(0.5, 2.0**-24, 1023)
    alphas = np.concatenate([np.linspace(0, 0.5, 64, endpoint=False), near_one, [1.0]]).astype(np.float32)
    return np.unique(alphas.view(np.uint32)).astype(np.int64)


_FIRST_TRIES = _first_tries()


def remembered(function: Function) -> Function:
    """The same, which asks nothing twice: searches for several values of one function begin with the same alphas."""
    known: dict[bytes, Floats] = {}

    def answer(alphas: NDArray[np.float32]) -> Floats:
        key = alphas.tobytes()
        if key not in known:
            known[key] = function(alphas)
        return known[key]

    return answer


def solve_alpha(function: Function, low: float, high: float) -> AlphaInterval | None:
    """The alphas whose `function(alpha)` lies in low ... high. None where even alpha 0 is above or alpha 1 below.

    Where roundings make the function descend by an ulp, give low and high an ulp of room, and the interval still holds
    every alpha that gives a value between them.
    """
    function = remembered(function)
    ends = function(np.array([0.0, 1.0], np.float32))
    if not (ends[0] <= high and ends[1] >= low):
        return None
    first = _first(lambda a: function(a) >= low)
    last = _first(lambda a: function(a) > high) - 1
    attained = first <= last
    below, above = sorted((max(first, 0), min(last, _ONE)))
    as_alpha = np.array([below, above], np.uint32).view(np.float32)
    return AlphaInterval(float(as_alpha[0]), float(as_alpha[1]), attained)


def solve_alpha_between(lower: Function, upper: Function, low: float, high: float) -> AlphaInterval | None:
    """`solve_alpha` of a function that is only known to lie between `lower` and `upper`: no alpha outside the interval
    can give a value in low ... high, one inside may."""
    first = solve_alpha(upper, low, math.inf)
    last = solve_alpha(lower, -math.inf, high)
    if first is None or last is None:
        return None
    return AlphaInterval(min(first.low, last.high), max(first.low, last.high), first.low <= last.high)


def _first(holds: Callable[[NDArray[np.float32]], NDArray[np.bool_]]) -> int:
    """Pattern of the smallest float32 alpha that `holds`, which once true stays true; one past 1.0 where none does."""
    low, high = 0, _ONE + 1  # the answer lies in low ... high
    tries = _FIRST_TRIES
    while low < high:
        true = holds(tries.astype(np.uint32).view(np.float32))
        i = int(np.argmax(true)) if true.any() else tries.size
        high = int(tries[i]) if i < tries.size else high
        low = int(tries[i - 1]) + 1 if i else low
        tries = np.unique(np.linspace(low, high - 1, max(0, min(_WAYS, high - low))).astype(np.int64))
    return low
