"""The explanation of two checkpoints by their paths: opened, compared, and their calibrations asked."""

from __future__ import annotations

from collections.abc import Sequence

from qinspect.inspector.calibration.stored import Calibration, calibration_named
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import compare
from qinspect.inspector.explain.explanation import Explanation, explain
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.noise.sources import sources_of
from qinspect.inspector.progress import Progress, steps_of, unseen
from qinspect.inspector.text import visible


def explanation_of(
    a: str, b: str, runs: Sequence[str] = (), noise: Sequence[str] = (), progress: Progress = unseen
) -> Explanation:
    """What `qinspect explain A B` prints. runs: calibrations by name; without one, the newest at hand that A or B comes
    from. Raises as `open_checkpoint`, `sources_of` and `calibration_named` do."""
    first, second = (_opened(path, progress) for path in (a, b))
    sources = sources_of(first, second, noise, runs[0] if runs else None)
    asked: dict[str, Calibration] = {} if sources.run is None else {sources.run_name: sources.run}
    try:
        for name in dict.fromkeys(runs[1:]):
            if name not in asked:
                asked[name] = calibration_named(name)
        return explain(compare(first, second, None, progress, sources=sources), asked, progress, not sources.at_hand)
    finally:
        for calibration in asked.values():
            calibration.close()


def _opened(path: str, progress: Progress) -> Format:
    return format_of(open_checkpoint(path, steps_of(progress, f"opening {visible(path, 60)}")))
