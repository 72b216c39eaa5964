"""What is said of several weights: of a model, of a layer, of a kind of module, of an expert."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from qinspect.inspector.fidelity.results import WeightFidelity
from qinspect.inspector.fidelity.sums import Sums, sqnr_db
from qinspect.inspector.roles import place_in_stack


@dataclass(frozen=True, slots=True)
class Summary:
    """Of several weights. sqnr: of all their values together. mean: of the SQNR of each of the n_sqnr weights that
    have one; worst: the one with the least. zeros: those that have none because A is zero and B is not. loss: the mean
    of what is lost against rounding to nearest, over n_nearest weights. All in dB; None where there is none."""

    n: int
    n_exact: int
    n_sqnr: int
    n_values: int
    n_excluded: int
    relative: float
    sqnr: float
    mean: float | None
    worst: WeightFidelity | None
    zeros: tuple[WeightFidelity, ...]
    loss: float | None
    n_nearest: int


def summary_of(weights: Iterable[WeightFidelity]) -> Summary:
    """Of any weights."""
    weights = list(weights)
    sums = Sums()
    for w in weights:
        s = w.sums
        sums.add(Sums(s.n, s.n_bad_a, s.n_bad_b, s.n_excluded, s.aa, s.bb, s.ab, s.dd, s.d))
    finite = [w for w in weights if math.isfinite(w.sums.sqnr)]
    losses = [w.nearest.loss for w in weights if w.nearest and w.nearest.loss is not None]
    return Summary(
        n=len(weights),
        n_exact=sum(w.sums.exact for w in weights),
        n_sqnr=len(finite),
        n_values=sums.n,
        n_excluded=sums.n_excluded,
        relative=sums.relative,
        sqnr=sqnr_db(sums.aa, sums.dd) if sums.n else math.nan,
        mean=_mean([w.sums.sqnr for w in finite]),
        worst=min(finite, key=lambda w: w.order, default=None),
        zeros=tuple(w for w in weights if w.sums.sqnr == -math.inf),
        loss=_mean(losses),
        n_nearest=len(losses),
    )


def _mean(numbers: Sequence[float]) -> float | None:
    return math.fsum(numbers) / len(numbers) if numbers else None


_EXPERT = re.compile(r"(.*\.experts\.\d+)\..*", re.DOTALL)
_NUMBERS = re.compile(r"(?<=\.)\d+(?=\.)")


def _layer(role: str) -> str:
    stack, layer, kind = place_in_stack(role)
    return kind if layer is None else f"{stack}.{layer}" if stack else str(layer)


def _kind(role: str) -> str:
    return _NUMBERS.sub("*", place_in_stack(role)[2])


def _expert(role: str) -> str | None:
    found = _EXPERT.fullmatch(role)
    return found[1] if found else None


BY: Mapping[str, Callable[[str], str | None]] = {"layer": _layer, "kind": _kind, "expert": _expert}
"""What weights are taken together by: a role to the name of its group, None for what is in none."""
SEGMENT = "segment"
"""Parts of weights are taken together by this."""


def grouped(weights: Iterable[WeightFidelity], by: str) -> dict[str, list[WeightFidelity]]:
    """Weights by layer, kind (experts of all numbers are one) or expert, or their segments by kind and name, in the
    order in which they come."""
    found: dict[str, list[WeightFidelity]] = {}
    if by == SEGMENT:
        for w in weights:
            for segment, of in w.by_segment:
                found.setdefault(f"{_kind(w.role)}: {segment}", []).append(of)
        return found
    for w in weights:
        name = BY[by](w.role)
        if name is not None:
            found.setdefault(name, []).append(w)
    return found
