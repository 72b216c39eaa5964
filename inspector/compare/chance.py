"""What of a comparison chance may have made: its noise bands, and the scales that lie beyond them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from qinspect.inspector.compare.results import ScalePair, Status
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, Kind, Quantity, ScaleRecord
from qinspect.inspector.noise.band import Floor, Noise, Skipped
from qinspect.inspector.noise.bands import ComparedScale, noise_of
from qinspect.inspector.noise.sources import Sources, one_pass, same_order
from qinspect.inspector.progress import Progress
from qinspect.inspector.rows import where
from qinspect.inspector.significance import LEVEL, holm


def activation_points(scales: Sequence[ScalePair], alpha_sensitive: bool) -> list[ScalePair]:
    """Activation points in both models that a percentile makes (or that none does)."""
    return where(scales, lambda p: p.a and p.b and _is_point(p.a) and p.a.alpha_sensitive is alpha_sensitive)


def _is_point(record: ScaleRecord) -> bool:
    return record.kind is Kind.ACTIVATION and record.quantity is Quantity.SCALE


def with_bands(
    a: Format,
    b: Format,
    pairs: Sequence[ScalePair],
    sources: Sources,
    progress: Progress | None,
) -> tuple[Noise, Sequence[ScalePair]]:
    """The noise of these pairs, and the pairs with their bands. A run that was only at hand and is damaged is left out,
    and so is one that `progress` has had enough of (`Skipped`).

    Raises BrokenFile where the tables of a run that was named are damaged.
    """
    min_max = activation_points(pairs, False)
    same_data = all(p.status.counts_as_same for p in min_max) if min_max else None
    points = where(pairs, lambda p: p.a and p.b and p.record.kind is Kind.ACTIVATION and _is_compared(p))
    compared = [_scale(a, p, read=sources.run is not None) for p in points]

    def found(used: Sources) -> Noise:
        together = used.run is not None and one_pass(used.run, a) and one_pass(used.run, b)
        if together:  # whether or not a min-max point says so
            return noise_of(compared, True, True, used, True, progress)
        return noise_of(compared, same_data, same_order(a, b), used, False, progress)

    try:
        noise = found(sources)
    except (QinspectError, Skipped) as e:
        if not (sources.at_hand or isinstance(e, Skipped)):
            raise
        noise = found(replace(sources, run=None))
    if not noise.bands:
        return noise, pairs
    return noise, [replace(p, bands=noise.bands[p.role]) if p.role in noise.bands else p for p in pairs]


def _is_compared(p: ScalePair) -> bool:
    return p.difference is not None or p.status in (Status.IDENTICAL, Status.EQUAL)


def _scale(a: Format, p: ScalePair, read: bool) -> ComparedScale:
    d = p.difference
    percent = 0.0 if d is None else None if math.isnan(d.largest) else d.largest
    return ComparedScale(p.role, _stored(a, p) if read else None, percent)


def _stored(a: Format, p: ScalePair) -> float | None:
    """A's number, None where it is a tensor or no positive one."""
    assert p.a is not None
    if math.prod(p.a.shape) != 1:
        return None
    try:
        with np.errstate(all="ignore"):  # a signalling NaN in the file is no event
            value = float(np.asarray(a.values(p.a), np.float64).reshape(-1)[0])
    except QinspectError:
        return None
    return value if math.isfinite(value) and value > 0 else None


@dataclass(frozen=True, slots=True)
class Beyond:
    """Scales that differ by more than noise. pairs: they. n: how many were tested, n_chances of them by a p. p: the
    largest adjusted p of those beyond, None where none has one: then they lie beyond the most that was seen, which is
    not adjusted for their number."""

    pairs: tuple[ScalePair, ...]
    n: int
    n_chances: int
    p: float | None


def beyond_noise(pairs: Sequence[ScalePair], noise: Noise, floor: Floor | None = None) -> Beyond:
    """Of these, those beyond the floor that applies, or beyond another. Holm-adjusted over all that have a p."""
    tested = [(p, band) for p in pairs if (band := noise.of(p.role, floor)) is not None]
    chances = [band.p for _, band in tested]
    known = [p for p in chances if p is not None]
    adjusted = iter(holm(known))
    found, largest = [], None
    for pair, band in tested:
        p = None if band.p is None else next(adjusted)
        d = pair.difference
        if d is None or pair.status.counts_as_same:
            continue
        if p is None:
            if not (math.isnan(d.largest) or d.largest in band):
                found.append(pair)
        elif p <= LEVEL:
            found.append(pair)
            largest = p if largest is None else max(largest, p)
    return Beyond(tuple(found), len(tested), len(known), largest)
