"""The scales that the extreme values of a cell give, by every convention that quantizers have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats.element import Element, ElementKind

Numbers = NDArray[np.float64]
Array = NDArray[Any]

Extremes = tuple[Numbers, Numbers]
"""Of each cell: the least and the largest original."""

_HALF_ULPS = {
    "float8_e4m3fn": 2.0**-4, "float8_e4m3fnuz": 2.0**-4, "float8_e5m2": 2.0**-3, "bfloat16": 2.0**-8,
    "uint8": 2.0**-4,
}  # fmt: skip
"""What storing a scale as each dtype can change of it, relatively; of others less than the arithmetic of quantizers."""
_ARITHMETIC = 2.0**-7
"""A maximum, and a quotient, in bfloat16."""


def tolerance_of(dtype: str) -> float:
    """How far a stored scale may be from its rule, relatively, by its dtype."""
    return _ARITHMETIC + rounding_of(dtype)


def rounding_of(dtype: str) -> float:
    """How far a number that is stored as this may be from what it was, relatively."""
    return 1.07 * _HALF_ULPS.get(dtype, 0.0)


def rules_for(
    element: Element, through_zero: bool, powers_of_two: bool
) -> Iterator[tuple[str, Callable[[Extremes], Numbers]]]:
    """(name, function from extremes to steps) of each rule. powers_of_two: all stored scales are such."""
    if element.kind is not ElementKind.INTEGER:
        limit = max(abs(element.q_min), abs(element.q_max))
        yield _over(limit), lambda e: _amax(e) / limit
        if powers_of_two:
            yield from _powers(limit)
        return
    width = element.q_max - element.q_min
    offset = element.offset if element.offset is not None else (element.q_min + element.q_max + 1) / 2
    for divisor in dict.fromkeys((element.q_max - offset, width / 2, offset - element.q_min)):
        if divisor > 0:
            yield _over(divisor), lambda e, d=divisor: _amax(e) / d  # type: ignore[misc]
    if not through_zero:
        yield (
            f"(max - min) / {width:g}, zero between them",
            lambda e: (np.maximum(e[1], 0) - np.minimum(e[0], 0)) / width,
        )
        yield f"(max - min) / {width:g}", lambda e: (e[1] - e[0]) / width
        yield f"(max - min) / {width:g}, so that 0 is a level", lambda e: _with_zero(e, width)


def _over(divisor: float) -> str:
    return "amax" if divisor == 1 else f"amax / {divisor:g}"


def _amax(extremes: Extremes) -> Numbers:
    return np.maximum(np.abs(extremes[0]), np.abs(extremes[1]))


def _with_zero(extremes: Extremes, width: float) -> Numbers:
    """As MLX makes them: a whole number of steps from 0 to the extreme of the larger magnitude."""
    step, amax = (extremes[1] - extremes[0]) / width, _amax(extremes)
    whole = np.rint(amax / step)
    return np.where(whole > 0, amax / whole, step)


def _powers(limit: float) -> Iterator[tuple[str, Callable[[Extremes], Numbers]]]:
    exponent = np.floor(np.log2(limit))

    def floor(e: Extremes) -> Numbers:
        return np.asarray(np.exp2(np.floor(np.log2(_amax(e))) - exponent))

    def rounded(e: Extremes) -> Numbers:
        """OCP MX with the maximum rounded to the element's own mantissa first, as torchao's and ModelOpt's EVEN do."""
        fraction, power = np.frexp(_amax(e))
        mantissa = limit / 2**exponent  # 1.5 of e2m1, 1.75 of e4m3: what is larger rounds up to the next power
        step = 2 - mantissa
        return np.asarray(np.exp2(power - 1 + (2 * fraction >= mantissa + step / 2) - exponent))

    yield f"power of two under amax / {2**exponent:g}", floor
    yield "power of two, amax rounded to the element first", rounded
    yield f"power of two over amax / {limit:g}", lambda e: np.exp2(np.ceil(np.log2(_amax(e) / limit)))
