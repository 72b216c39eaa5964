"""How far chance alone moves a scale: a noise band for every compared activation scale, and where it comes from.

draws.py what chance does to samples. repeats.py the spread over repeats. resampled.py other samples, or another order,
out of a run's stored tables. sources.py what the user names, or
the run that checkpoints come from. bands.py the best band of each scale. band.py what a band is.

For others: `sources = sources_of(a, b, noise=names, run=name)`, then `compare(a, b, sources=sources)`. Its `noise` is a
`Noise`: `of(role)` is the `Band` that applies (`low` ... `high` in percent of A, `floor`, `origin`, `confidence`, `p`),
`bands[role]` are all; a pair has them as `bands` too. Its `effect` says what percentile_alpha did (`kind`, numbers, and
a `reason` whose `next` is what to do). `declared_alpha(fmt)` is what a checkpoint claims. docs/verdicts.md has the
reasoning.
"""

from qinspect.inspector.noise.band import Band, Noise, Skipped

__all__ = ["Band", "Noise", "Skipped"]
