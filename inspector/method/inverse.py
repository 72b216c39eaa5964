"""What took the inverse of the factors of a weight's input channels: a norm before it, most often."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.fidelity.pairs import Pair

Numbers = NDArray[Any]

_CORRELATED = 0.98
_OFF = 0.05
"""The median of |ratio * factor - 1| may be this: factors are known to a part of a step."""


@dataclass(frozen=True, slots=True)
class Inverse:
    """by: the role of what was divided by the factors of the weights `of`. off: the median of how far the product of
    both is from one."""

    by: str
    of: tuple[str, ...]
    off: float


def inverses(factors: Iterable[tuple[str, Numbers]], pairs: Sequence[Pair]) -> Iterator[Inverse]:
    """Of every plain vector that changed as the factors of a weight ask."""
    found: dict[str, list[tuple[str, float]]] = {}
    wanted = list(factors)
    if not wanted:
        return
    for role, ratio in _ratios(pairs, {f.size for _, f in wanted}):
        for weight, factor in wanted:
            off = _how_far(ratio, factor)
            if off is not None:
                found.setdefault(role, []).append((weight, off))
    for role, of in found.items():
        yield Inverse(role, tuple(weight for weight, _ in of), max(off for _, off in of))


def _ratios(pairs: Sequence[Pair], sizes: set[int]) -> Iterator[tuple[str, Numbers]]:
    for pair in pairs:
        if len(pair.shape) == 1 and pair.shape[0] in sizes and pair.b.weight is None:
            try:
                a, b = (np.asarray(i.tensor.read()).astype(np.float64) for i in (pair.a, pair.b))
            except QinspectError:
                continue
            with np.errstate(all="ignore"):
                yield pair.role, b / a


def _how_far(ratio: Numbers, factor: Numbers) -> float | None:
    if ratio.size != factor.size:
        return None
    known = np.isfinite(ratio) & np.isfinite(factor) & (ratio > 0)
    if np.count_nonzero(known) < max(8, factor.size // 2):
        return None
    x, y = np.log(ratio[known]), np.log(factor[known])
    if not x.std() or not y.std() or np.corrcoef(x, -y)[0, 1] < _CORRELATED:
        return None
    off = float(np.median(np.abs(np.exp(x + y) - 1)))
    return off if off <= _OFF else None
