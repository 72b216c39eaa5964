"""What is known of chance at each compared scale: plain frozen data that verdicts, reports and screens read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from qinspect.inspector.text import magnitude, percent, some

Floor = Literal["repeat", "order", "data"]
"""What chance did: the same calibration once more; the same samples in another order; other samples."""

FLOORS: dict[Floor, str] = {"repeat": "a repeat", "order": "another order", "data": "other samples"}
"""What people call them."""

Origin = Literal["one pass", "repeats", "resampled", "measured elsewhere"]
"""Where a band comes from, the best first. `one pass`: both scales are of one stored calibration, so there is none."""

REPEAT_BAND_PERCENT = 0.0033
SAMPLES_BAND_PERCENT = (0.09, 1.07)
BAND_ORIGIN = "measured on Quamba-130m W8A8, layers 0-2, 512 samples"


class Skipped(Exception):
    """Raised by who watches the progress: go on without resampling the run."""


@dataclass(frozen=True, slots=True)
class Band:
    """low ... high: differences, in percent of A, that chance alone makes; of a tensor of scales, its largest one.

    confidence: the share of such differences that lie in it, None where it is the most that was seen. n: repeats or
    samples that it comes from, 0 where it was measured elsewhere. p: how likely chance makes a difference as large as
    the one found, None where that is not known.
    """

    low: float
    high: float
    floor: Floor
    origin: Origin
    confidence: float | None = None
    n: int = 0
    p: float | None = None

    def __contains__(self, percent: float) -> bool:
        return self.low <= percent <= self.high

    def __str__(self) -> str:
        if self.origin == "one pass":
            return "0 %, both come from one pass"
        alike = self.high == -self.low
        width = f"+-{magnitude(self.high)}" if alike else f"{percent(self.low)} .. {percent(self.high)}"
        how = {
            "repeats": some(self.n, "repeat"),
            "resampled": f"resampled from {some(self.n, 'sample')}",
            "measured elsewhere": BAND_ORIGIN,
        }[self.origin]
        sure = "" if self.confidence is None else f"{100 * self.confidence:g} %, "
        return f"{width}, {sure}{how}"


REPEAT = Band(-REPEAT_BAND_PERCENT, REPEAT_BAND_PERCENT, "repeat", "measured elsewhere")
"""What identical calibrations of another model differ by, at most."""
SAMPLES = Band(-SAMPLES_BAND_PERCENT[1], SAMPLES_BAND_PERCENT[1], "data", "measured elsewhere")
"""What calibrations of another model on other samples differ by, at most."""
ONE_PASS = Band(0.0, 0.0, "repeat", "one pass")


_PLACES: dict[Floor, str] = {"repeat": "repeat noise", "order": "other order", "data": "other samples"}
_BEYOND = "beyond noise"
BAND_PLACES = ("", *_PLACES.values(), _BEYOND)
"""Where a difference may lie among the noise bands, from nowhere to outside."""


def place_of(percent: float, bands: Iterable[Band]) -> str:
    """The least kind of chance that makes a difference as large as this, in percent of A: `repeat noise`, `other
    order`, `other samples`; `beyond noise` for none. Empty where no band is known, or there is no percentage."""
    known = {b.floor: b for b in reversed(tuple(bands))}
    if not known or math.isnan(percent):
        return ""
    return next((word for floor, word in _PLACES.items() if floor in known and percent in known[floor]), _BEYOND)


@dataclass(frozen=True)
class Noise:
    """What chance does to the scales of a comparison.

    same_data: whether A and B were calibrated on the same samples, by their min-max points; None where there are none.
    same_order: whether they say so of the order; None where they do not say it. bands: by role, all that are known, the
    one that applies first. sources: a clause for each origin. run: the calibration whose samples were resampled,
    "" for none; at_hand: it was found, not named.
    """

    same_data: bool | None = None
    same_order: bool | None = None
    bands: Mapping[str, tuple[Band, ...]] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    run: str = ""
    at_hand: bool = False

    @property
    def floor(self) -> Floor:
        """The floor that applies: other samples may have made the difference unless the data are the same."""
        return "repeat" if self.same_data else "data"

    def of(self, role: str, floor: Floor | None = None) -> Band | None:
        """The band that applies to a scale, or the best of this floor. None for one that is no activation's or was not
        compared."""
        return next((b for b in self.bands.get(role, ()) if floor in (None, b.floor)), None)
