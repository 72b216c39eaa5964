"""From the evidence to the method, with the numbers that say so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qinspect.inspector.method.evidence import UNRELATED, Evidence, Scales
from qinspect.inspector.method.factors import ENOUGH
from qinspect.inspector.method.share import Share

AT_RULE = 0.95
"""The share of scales that have to be by one rule for it to be called theirs."""
_ANCHORED = 0.98
"""With fewer zero points where the extremes put them, they were fitted."""
_WITHIN_ONE = 0.9995
_ALL_NEAREST = 0.999
"""Of rounding to nearest by the libraries of the fixtures it is 0.9995 at least; of AutoRound it was up to 0.997."""
_BY_CHANCE = 1e-3
"""Input channels that chance may leave without a moved code where one without is to mean something."""
_RELATED_CODES = 0.5
_BOTH = 0.02
_AT_LEAST_ITS_RULE = 0.99
"""Of the least step over its rule, to the rounding of scales."""
_LEAST_SPREAD = 0.005


class Method(StrEnum):
    """What made the codes and scales of a weight."""

    COPIED = "copied"
    CAST = "cast"
    CHANGED = "changed"
    """Stored plainly, with other values."""
    NEAREST = "round-to-nearest, max scales"
    LARGER = "round-to-nearest, larger scales"
    SEARCHED = "round-to-nearest, searched scales"
    FOUR_OVER_SIX = "round-to-nearest, four-over-six"
    FITTED_ZEROS = "round-to-nearest, fitted zero points"
    SMOOTHED = "AWQ or smoothing"
    LOW_RANK = "rest of a low-rank part"
    ERROR_FEEDBACK = "error feedback (GPTQ)"
    LEARNED = "learned rounding (AutoRound)"
    MOVED = "error feedback or learned rounding"
    """Too few codes that are not the nearest to tell which."""
    TWICE = "quantized twice"
    NONE = "none of these"
    UNRELATED = "not of this base"
    NOT_JUDGED = "rotated or in another order, not judged"
    NOT_KNOWN = "not known"

    @property
    def short(self) -> str:
        """For a column."""
        return _SHORT.get(self, str(self))


_SHORT = {
    Method.NEAREST: "RTN",
    Method.LARGER: "RTN, larger",
    Method.SEARCHED: "RTN, searched",
    Method.FOUR_OVER_SIX: "RTN, 4 over 6",
    Method.FITTED_ZEROS: "RTN, zeros fit",
    Method.SMOOTHED: "AWQ, smoothing",
    Method.LOW_RANK: "low-rank rest",
    Method.ERROR_FEEDBACK: "GPTQ",
    Method.LEARNED: "AutoRound",
    Method.MOVED: "codes moved",
    Method.NOT_JUDGED: "not judged",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """said: the evidence in a clause or two, without a full stop."""

    method: Method
    said: str


def judge(e: Evidence) -> Judged:
    """The method that made a quantized weight."""
    if not e.cosine >= UNRELATED:
        return Judged(Method.UNRELATED, f"cosine of values and originals {e.cosine:.3f}")
    nearest = f"{e.nearest} of codes are the nearest"
    if max(e.nearest.value, e.nearest_before.value) >= ENOUGH:
        return _nearly_all_nearest(e, nearest)
    f = e.factors
    if f is not None and e.low_rank:
        said = f"{f.nearest} of codes are the nearest of what the low-rank part beside them leaves, by a factor of each"
        return Judged(Method.LOW_RANK, f"{said} input channel")
    if f is not None and f.nearest.value >= ENOUGH and f.spread >= _LEAST_SPREAD:
        of = "input channel" if f.rows is None else "input and of each output channel"
        said = f"{f.nearest} of codes are the nearest once a factor of each {of} is applied, else {e.nearest}"
        return Judged(Method.SMOOTHED, f"{said}; {_by_scales(e.scales_by_factor)[1]}")
    if e.twice:
        said = f"{e.nearest_twice} of codes are the nearest to the original in {e.twice}"
        return Judged(Method.TWICE, f"{said}, {e.nearest} to the original")
    if e.nearest.value < _RELATED_CODES:
        return Judged(Method.NONE, f"only {nearest}, and no factor of each channel and no first format explains that")
    if e.within_one.value >= _WITHIN_ONE:
        return _moved_by_one(e, nearest)
    far = f"{_rest(e.within_one)} by more than one step"
    said = f"{nearest}, {far}: what was still to be rounded was moved by the errors before"
    return Judged(Method.ERROR_FEEDBACK, f"{said}; scales: {_by_scales(e.scales)[1]}")


def _nearly_all_nearest(e: Evidence, nearest: str) -> Judged:
    """Rounded to nearest, unless more codes are moved than arithmetic explains, and farther."""
    if e.nearest.value < ENOUGH:
        nearest += f", {e.nearest_before} by a scale that is rounded to the stored one"
    if e.nearest_before.value < _ALL_NEAREST and e.at_middles.value < _WITHIN_ONE <= e.within_one.value:
        return _moved_by_one(e, nearest)
    method, said = _by_scales(e.scales)
    return Judged(method, f"{nearest}; {said}")


def _moved_by_one(e: Evidence, nearest: str) -> Judged:
    """Error feedback begins with an input channel that no error reaches: all of its codes are the nearest. Rounding
    that is learned spares none."""
    said, scales, c = f"{nearest}, all others next to it", f"scales: {_by_scales(e.scales)[1]}", e.columns
    if not c.n_nearest:
        return Judged(Method.LEARNED, f"{said}, some in every input channel; {scales}")
    if c.by_chance > _BY_CHANCE:
        return Judged(Method.MOVED, f"{said}, too few to tell what moved them; {scales}")
    first = f"all of input channel {c.first} are the nearest, as of the first that is rounded"
    return Judged(Method.ERROR_FEEDBACK, f"{said}; {first}; {scales}")


def _by_scales(s: Scales | None) -> tuple[Method, str]:
    """(method of codes that are the nearest, how the scales were made)."""
    if s is None:
        return Method.NEAREST, "what made the scales was not looked at"
    low, median, high = s.ratio
    ratios = f"ratio {low:.3g} to {high:.3g}, median {median:.3g}"
    if s.at_rule.value + s.at_four.value >= AT_RULE and min(s.at_rule.value, s.at_four.value) >= _BOTH:
        said = f"{s.at_four} of blocks have their largest value at 4, {s.at_rule} at 6"
        return Method.FOUR_OVER_SIX, said
    if s.at_rule.value >= AT_RULE:
        said = f"{s.at_rule} of scales are {s.rule}"
        if s.anchored.value < _ANCHORED and "min" in s.rule:
            return Method.FITTED_ZEROS, f"{said}, only {s.anchored} of zero points are where these put them"
        return Method.NEAREST, said
    said = f"{s.at_rule} of scales are {s.rule}, {ratios}"
    if low >= _AT_LEAST_ITS_RULE and not s.at_four.part:
        return Method.LARGER, f"{said}: of a larger range than their own, shared with others perhaps"
    return Method.SEARCHED, said


def _rest(share: Share) -> Share:
    return Share(share.whole - share.part, share.whole)
