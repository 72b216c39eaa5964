"""What is measured of a pair of scales and of a pair of tensors: the columns, orders and colours of a comparison."""

from __future__ import annotations

import math
from collections.abc import Callable

from qinspect.inspector.compare.results import ScalePair, Status, WeightPair
from qinspect.inspector.measure import ColourScale, Cost, Measure, by_key
from qinspect.inspector.noise.band import BAND_PLACES
from qinspect.inspector.text import count, magnitude, percent, share


def _difference(p: ScalePair) -> float | None:
    d = p.difference
    if d is not None:
        return math.inf if d.n_undefined else d.largest
    if p.status is Status.NOT_COMPARED:
        return None
    return 0.0 if p.status.counts_as_same else math.inf


def _difference_text(p: ScalePair) -> str:
    d = p.difference
    if d is None:
        return ""
    return "n/a" if math.isnan(d.largest) else percent(d.largest)


def _changed(p: ScalePair) -> float | None:
    return float(p.difference.n_changed) if p.difference else _nothing(p.status)


def _nothing(status: Status) -> float | None:
    return 0.0 if status is Status.IDENTICAL else None


def _changed_text(p: ScalePair) -> str:
    d = p.difference
    return f"{count(d.n_changed)} of {count(d.n)}" if d and d.n > 1 else ""


def band_place(p: ScalePair) -> str:
    """Where the difference lies among the noise bands (activation scales only, once all is compared)."""
    from qinspect.inspector.noise.band import place_of

    d = p.difference
    return "" if d is None or p.status is not Status.DIFFERENT else place_of(d.largest, p.bands)


def _band(p: ScalePair) -> float | None:
    place = band_place(p)
    return float(BAND_PLACES.index(place)) if place else None


DIFFERENCE: Measure[ScalePair] = Measure(
    key="difference", name="B vs A", unit="%", cost=Cost.SCALES, colours=ColourScale(1e-3, 100.0, signed=True),
    sentence="How far B's scale is from A's, in percent of A; for a tensor, the element that differs most.",
    value=_difference, text=_difference_text,
)  # fmt: skip
CHANGED: Measure[ScalePair] = Measure(
    key="changed", name="changed", unit="elements", cost=Cost.SCALES, colours=ColourScale(1.0, 1e6),
    sentence="How many elements of the scale differ.", value=_changed, text=_changed_text,
)  # fmt: skip
NOISE: Measure[ScalePair] = Measure(
    key="noise", name="band", unit="band", cost=Cost.SCALES, colours=ColourScale(0.5, 4.0),
    sentence="Where the difference falls among those that repeats, other orders and other samples cause.",
    value=_band, text=band_place,
)  # fmt: skip
OF_SCALES = by_key((DIFFERENCE, CHANGED, NOISE))


def _of_deviation(value: Callable[[WeightPair], float]) -> Callable[[WeightPair], float | None]:
    """Of what differs; 0 where nothing does, infinite where only NaN or Inf do."""

    def found(w: WeightPair) -> float | None:
        if w.deviation is None:
            return _nothing(w.status)
        if not w.deviation.has_size:
            return math.inf
        number = value(w)
        return None if math.isnan(number) else number

    return found


def _relative(w: WeightPair) -> float:
    return 100 * w.deviation.relative if w.deviation else math.nan


def _relative_text(w: WeightPair) -> str:
    d = w.deviation
    if d is None:
        return ""
    if not d.has_size:
        return "n/a"
    return "" if math.isnan(d.relative) else magnitude(100 * d.relative)


def _share(w: WeightPair) -> float | None:
    return None if w.n_changed is None else 100 * w.n_changed / w.n if w.n else 0.0


ERROR: Measure[WeightPair] = Measure(
    key="relative_error", name="|B-A|/|A|", unit="%", cost=Cost.WEIGHTS, colours=ColourScale(1e-4, 100.0),
    sentence="The distance between the two tensors over the size of A's, both as Frobenius norms.",
    value=_of_deviation(_relative), text=_relative_text,
)  # fmt: skip
SHARE: Measure[WeightPair] = Measure(
    key="share", name="share", unit="%", cost=Cost.WEIGHTS, colours=ColourScale(1e-4, 100.0),
    sentence="How many of the tensor's elements differ.",
    value=_share, text=lambda w: "" if w.n_changed is None else share(w.n_changed, w.n),
)  # fmt: skip


def _bits_more(w: WeightPair) -> float | None:
    return w.stored_b.bits - w.stored_a.bits if w.stored_a and w.stored_b else None


def _stored_text(w: WeightPair) -> str:
    a, b = w.stored_a, w.stored_b
    return "" if a is None or b is None else a.name if a == b else f"{a.name} > {b.name}"


STORED: Measure[WeightPair] = Measure(
    key="stored", name="stored as", unit="bits", cost=Cost.HEADERS, colours=ColourScale(3.5, 12.0, signed=True),
    sentence="What the numbers of each weight are stored as in A and in B; the measure is how many bits more B has.",
    value=_bits_more, text=_stored_text,
)  # fmt: skip
OF_TENSORS = by_key((ERROR, SHARE, STORED))
