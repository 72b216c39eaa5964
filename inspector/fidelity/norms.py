"""Norms that went into the weights behind them: folded whole, or in part, as what smoothing divides a norm by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.compare.items import Item
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.fidelity.pairs import NotCompared, Pair, Why
from qinspect.inspector.fidelity.relation import Norm
from qinspect.inspector.formats import Format
from qinspect.inspector.roles import place_in_stack
from qinspect.inspector.text import visible

Array = NDArray[Any]

_NORM = re.compile(r"norm|(?:^|\.)ln_?\w*\.", re.IGNORECASE)
_LEAST_SPREAD = 1e-3
"""Of the factors, their standard deviation over their mean: what differs by one factor scales all channels alike."""
_FROM_ONE = ("gemma",)
"""Models by the beginning of `model_type` whose norms multiply by one more than what is stored."""
_LESS = 0.89
"""Half a dB."""

Layer = tuple[str, int | None]


def layer_of(role: str) -> Layer:
    """The stack and the layer that a role is in."""
    return place_in_stack(role)[:2]


class Norms:
    """Those that are not the same in both models, by layer; from B over A, and from A over B."""

    def __init__(self, pairs: Iterable[Pair], others: Sequence[NotCompared], a: Format, b: Format) -> None:
        self._of: dict[tuple[Layer, bool], list[Norm]] = {}
        one = any(str(f.checkpoint.config.get("model_type", "")).startswith(_FROM_ONE) for f in (a, b))
        for pair in pairs:
            if len(pair.shape) == 1 and _NORM.search(pair.role) and pair.a.weight is None and pair.b.weight is None:
                self._add(pair.role, _read(pair.a), _read(pair.b), one)
        for other in others:
            if other.why is Why.ONLY_A and other.a and not other.matrix and _NORM.search(other.role):
                self._add(other.role, _of_tensor(a, other.a), None, one)

    def _add(self, role: str, in_a: Array | None, in_b: Array | None, one: bool) -> None:
        if in_a is None or in_a.ndim != 1:
            return
        name = visible(role, 100)
        if in_b is None:
            self._keep(role, in_a + one, np.ones_like(in_a), f"{name}, which B has not", "", (True, False))
            return
        neutral = bool((in_b == (0 if one else 1)).all())
        said = f"{name}, which multiplies by 1 in B" if neutral else f"what {name} is divided by in B"
        back = bool((in_a == (0 if one else 1)).all())
        said_back = f"{name}, which multiplies by 1 in A" if back else f"what {name} is divided by in A"
        self._keep(role, in_a + one, in_b + one, said, said_back, (neutral, back))

    def _keep(self, role: str, in_a: Array, in_b: Array, said: str, said_back: str, folded: tuple[bool, bool]) -> None:
        if in_a.shape != in_b.shape:
            return
        ways = ((False, in_a, in_b, said, folded[0]), (True, in_b, in_a, said_back, folded[1]))
        for of_a, x, y, text, whole in ways:
            if text and (factor := _factor(x, y)) is not None:
                self._of.setdefault((layer_of(role), of_a), []).append(Norm(factor, text, role, whole))

    def of(self, pair: Pair, in_a: bool) -> list[Norm]:
        """What may be in a weight. in_a: in A's, not in B's."""
        if len(pair.shape) != 2:
            return []
        return [n for n in self._of.get((layer_of(pair.role), in_a), ()) if n.factor.size == pair.shape[1]]

    def in_columns(self, pair: Pair, columns: Array, in_a: bool = False) -> Norm | None:
        """The norm that is in a weight otherwise as it was; None where none explains it. columns: float64[3, n], the
        sums of a*a, a*b and b*b of each."""
        if columns.shape[1] != pair.shape[-1]:
            return None
        aa, ab, bb = columns if not in_a else columns[::-1]
        noise = float((aa - 2 * ab + bb).sum())
        best = None
        for norm in self.of(pair, in_a):
            f = norm.factor.astype(np.float64)
            left = float(np.maximum(bb - 2 * f * ab + f * f * aa, 0).sum())
            if left < _LESS * noise:
                best, noise = norm, left
        return best


def _factor(x: Array, y: Array) -> Array | None:
    """What x is divided by to be y; None where that is one number for all, or none."""
    with np.errstate(all="ignore"):
        factor = x.astype(np.float64) / y
    if not factor.size or not np.isfinite(factor).all() or not (factor != 0).all():
        return None
    spread = float(factor.std()) / float(np.abs(factor).mean())
    return factor.astype(np.float32) if spread > _LEAST_SPREAD else None


def _read(item: Item) -> Array | None:
    try:
        return np.asarray(item.tensor.read()).astype(np.float32)
    except QinspectError:  # said of the pair itself
        return None


def _of_tensor(fmt: Format, name: str) -> Array | None:
    tensor = fmt.plain_tensor(name)
    try:
        return None if tensor is None else np.asarray(tensor.read()).astype(np.float32)
    except QinspectError:
        return None
