"""Numbers over all scale pairs. A point counts once: its copies and derived values are never counted again."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median

from qinspect.inspector.compare.results import ScalePair, Status, Summary
from qinspect.inspector.rows import how_many, where
from qinspect.inspector.text import differ, magnitude, some

_INCOMPARABLE = (Status.SHAPE, Status.DTYPE, Status.SCHEME, Status.BROKEN)
_EDGES_PERCENT = (0.0, 0.0033, 0.01, 0.1, 1.0, 10.0, 100.0, math.inf)
"""Bins of |difference|; the first ends at the measured repeat band."""


def summarise(pairs: Sequence[ScalePair]) -> Summary:
    """Count, mean, median, maximum, signs, first difference and histogram, of pairs in forward order."""
    different = where(pairs, lambda p: p.a and p.b and p.status is Status.DIFFERENT)
    n_alike = how_many(pairs, lambda p: p.a and p.b and _is_alike(p))
    all_magnitudes = [0.0] * n_alike + [_magnitude(p) for p in different if p.difference]
    magnitudes = [m for m in all_magnitudes if m is not None]
    with_percentage = [p for p in different if _magnitude(p) is not None]
    worst = max(with_percentage, key=lambda p: _magnitude(p) or 0.0, default=None)
    telling = magnitudes and (with_percentage or not different)
    directions = [p.difference.direction for p in different if p.difference]
    return Summary(
        n_pairs=how_many(pairs, lambda p: p.a and p.b),
        n_same=how_many(pairs, lambda p: p.a and p.b and p.status.counts_as_same),
        n_different=len(different),
        n_reordered=how_many(pairs, lambda p: p.a and p.b and p.status is Status.PERMUTED),
        n_incomparable=how_many(pairs, lambda p: p.a and p.b and p.status in _INCOMPARABLE),
        n_only_a=how_many(pairs, lambda p: p.status is Status.ONLY_A),
        n_only_b=how_many(pairs, lambda p: p.status is Status.ONLY_B),
        mean=fmean(magnitudes) if telling else math.nan,
        median=median(magnitudes) if telling else math.nan,
        largest=worst.difference.largest if worst and worst.difference else math.nan if different else 0.0,
        largest_role=worst.role if worst else "",
        first_role=different[0].role if different else "",
        n_up=directions.count("up"),
        n_down=directions.count("down"),
        n_mixed=directions.count("mixed"),
        histogram=(*_histogram(magnitudes), *_without_percentage(len(all_magnitudes) - len(magnitudes))),
    )


def said_so_far(pairs: Sequence[ScalePair]) -> str:
    """What the scales alone say, before codes and noise: `4 of 50 scales differ (all up, by up to 139.67 %)`."""
    s = summarise(pairs)
    if not s.n_pairs:
        return "No scale is in both"
    rest = f", {s.n_incomparable} cannot be compared" if s.n_incomparable else ""
    rest += f", {s.n_reordered} the same in another order" if s.n_reordered else ""
    if not s.n_different:
        return f"{s.n_same} of {some(s.n_pairs, 'scale')} {'is' if s.n_same == 1 else 'are'} the same{rest}"
    size_said = "none has a percentage" if math.isnan(s.largest) else f"by up to {magnitude(s.largest)}"
    how = f"({s.sign_pattern}, {size_said})"
    return f"{s.n_different} of {some(s.n_pairs, 'scale')} {differ(s.n_different)} {how}{rest}"


def _is_alike(pair: ScalePair) -> bool:
    """Whether it was compared and does not differ."""
    return pair.status is Status.IDENTICAL or (pair.difference is not None and pair.status is not Status.DIFFERENT)


def _magnitude(pair: ScalePair) -> float | None:
    """|difference| in percent of one that differs; None where it has no percentage (A zero, or not finite)."""
    d = pair.difference
    if d is None:
        return 0.0
    return None if d.n_undefined == d.n_changed else abs(d.largest)


def _without_percentage(n: int) -> tuple[tuple[str, int], ...]:
    return (("no percentage", n),) if n else ()


def _histogram(magnitudes: Sequence[float]) -> tuple[tuple[str, int], ...]:
    ordered = sorted(magnitudes)
    bins = [("equal", bisect_right(ordered, 0.0))]
    for low, high in pairwise(_EDGES_PERCENT):
        label = f"<= {high:g} %" if low == 0 else f"> {low:g} %" if math.isinf(high) else f"{low:g} - {high:g} %"
        bins.append((label, bisect_right(ordered, high) - bisect_right(ordered, low)))
    return tuple(bins)
