"""A band for every compared scale, from the best source that has one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qinspect.inspector.noise.band import (
    BAND_ORIGIN,
    ONE_PASS,
    REPEAT,
    REPEAT_BAND_PERCENT,
    SAMPLES,
    SAMPLES_BAND_PERCENT,
    Band,
    Floor,
    Noise,
)
from qinspect.inspector.noise.repeats import floor_of, shared_min_max, spread_band
from qinspect.inspector.noise.sources import Sources
from qinspect.inspector.progress import Progress
from qinspect.inspector.text import some, visible

if TYPE_CHECKING:
    from qinspect.inspector.noise.resampled import Resampling


@dataclass(frozen=True, slots=True)
class ComparedScale:
    """An activation scale that both models have. a: A's, None where it is a tensor or no positive number. percent: the
    difference, B from A; of a tensor, its largest; None where there is no percentage."""

    role: str
    a: float | None
    percent: float | None


def noise_of(
    scales: Sequence[ComparedScale],
    same_data: bool | None,
    same_order: bool | None,
    sources: Sources,
    is_one_pass: bool,
    progress: Progress | None = None,
) -> Noise:
    """Bands of these scales. same_data, same_order: as in `Noise`. is_one_pass: both models are of the sources' run.

    Raises BrokenFile where the run's tables are damaged.
    """
    floor = "repeat" if same_data else "data"
    of_repeats = floor_of(sources.repeats) if sources.repeats else None
    resampling = None
    if sources.run is not None:
        from qinspect.inspector.noise.resampled import Resampling  # distributions are not loaded where nothing asks

        resampling = Resampling(sources.run)
    found: dict[str, tuple[Band, ...]] = {}
    for i, scale in enumerate(scales):
        if progress:
            progress("noise bands", i, len(scales))
        bands = [*_made(scale, sources, of_repeats, resampling, is_one_pass), REPEAT, SAMPLES]
        applies = next(b for b in bands if b.floor == floor)
        rest = (b for b in bands if b is not applies and (b.origin != "measured elsewhere" or _is_first(b, bands)))
        found[scale.role] = (applies, *rest)
    said = tuple(_said(sources, of_repeats, found, is_one_pass))
    return Noise(same_data, same_order, found, said, sources.run_name if resampling else "", sources.at_hand)


def _made(
    scale: ComparedScale,
    sources: Sources,
    of_repeats: Floor | None,
    resampling: Resampling | None,
    is_one_pass: bool,
) -> Iterator[Band]:
    """In the order of preference."""
    if is_one_pass:
        yield ONE_PASS
    if of_repeats is not None:
        band = spread_band(sources.repeats, of_repeats, scale.role, scale.percent)
        if band is not None:
            yield band
    if resampling is not None and scale.a is not None:
        yield from resampling.bands(scale.role, scale.a, scale.percent)


def _is_first(band: Band, bands: Sequence[Band]) -> bool:
    """Whether nothing better is known of this floor."""
    return next(b for b in bands if b.floor == band.floor) is band


def _said(
    sources: Sources, of_repeats: Floor | None, found: dict[str, tuple[Band, ...]], is_one_pass: bool
) -> Iterator[str]:
    run = visible(sources.run_name, 120)
    n = {origin: sum(any(b.origin == origin for b in bands) for bands in found.values()) for origin in _ORIGINS}
    if is_one_pass:
        yield f"both models come from one pass, the run {run}: nothing but the setting lies between them"
    if n["repeats"]:
        names = ", ".join(visible(r.name, 120) for r in sources.repeats)
        kind = "on the same samples" if of_repeats == "repeat" else "on other samples"
        if not shared_min_max(sources.repeats):
            kind = "whose samples no min-max point tells apart"
        yield f"{some(n['repeats'], 'scale')} by {len(sources.repeats)} repeats {kind} ({names})"
    if n["resampled"]:
        how = "the run at hand" if sources.at_hand else "the run"
        yield f"{some(n['resampled'], 'scale')} by resampling the samples of {how} {run}"
    left = sum(bands[0].origin == "measured elsewhere" for bands in found.values())
    if left:
        low, high = SAMPLES_BAND_PERCENT
        yield (
            f"{some(left, 'scale')} by what was {BAND_ORIGIN}: a repeat moves one by at most {REPEAT_BAND_PERCENT} %, "
            f"other samples by {low}-{high} %"
        )


_ORIGINS = ("repeats", "resampled")
