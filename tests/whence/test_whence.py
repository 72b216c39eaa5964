"""Which alpha made it? Blind: the alpha is drawn in the test, and the scales are made by torch and numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from whence_cases import calibration, checkpoint, ema, pooled, scales_of, streams

from qinspect.inspector.whence import verdict_of, whence

PRECISION = 1e-5
"""How far an end of the interval may be from the alpha that was used, with the same data."""


def hidden_alpha(rng: np.random.Generator) -> float:
    """From 0.9 to 0.9999, as many near 1 as far from it."""
    return 1 - float(10 ** rng.uniform(-4, -1))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("seed", range(4))
def test_the_alpha_of_the_same_data_is_recovered(tmp_path: Path, seed: int, dtype: str) -> None:
    alpha = hidden_alpha(np.random.default_rng((seed, 1)))
    seen = streams(seed, 6, 32, dtype)
    v = verdict_of(whence(calibration(tmp_path / "run", seen), checkpoint(tmp_path / "c", scales_of(seen, ema, alpha))))
    assert (v.kind, v.rule, v.tolerance) == ("recovered", "ema", 0.0)
    assert v.interval is not None
    assert v.interval.low <= np.float32(alpha) <= v.interval.high
    assert alpha - PRECISION <= v.interval.low <= v.interval.high <= alpha + PRECISION


@pytest.mark.parametrize("keep_samples", [True, False])
@pytest.mark.parametrize("seed", range(2))
def test_a_pooled_quantile_is_told_from_an_average(tmp_path: Path, seed: int, keep_samples: bool) -> None:
    alpha = hidden_alpha(np.random.default_rng((seed, 2)))
    seen = streams(seed, 6, 16, "float16")
    run = calibration(tmp_path / "run", seen, keep_samples=keep_samples)
    f = whence(run, checkpoint(tmp_path / "c", scales_of(seen, pooled, alpha)))
    v = verdict_of(f)
    assert v.rule is not None
    assert v.rule.startswith("pooled-float64")
    assert v.interval is not None
    assert alpha - PRECISION <= v.interval.low <= alpha <= v.interval.high <= alpha + PRECISION
    by_name = {r.candidate.name: r for r in f.rules}
    assert ("ema" in by_name) == keep_samples
    if keep_samples:
        assert by_name["ema"].level is None


def test_other_data_still_cover_the_alpha(tmp_path: Path) -> None:
    """Each trial: a run on some samples, a checkpoint calibrated on others of the same kind, by an alpha of its own."""
    n_trials, covered, widths = 40, 0, []
    for trial in range(n_trials):
        rng = np.random.default_rng((trial, 3))
        alpha, dtype = hidden_alpha(rng), ("float16", "bfloat16")[trial % 2]
        ours, theirs = (streams(1000 + 2 * trial + k, 4, 48, dtype, 512) for k in (0, 1))
        run = calibration(tmp_path / f"run{trial}", ours)
        f = whence(run, checkpoint(tmp_path / f"c{trial}", scales_of(theirs, ema, alpha)))
        run.close()
        found = next(r for r in f.rules if r.candidate.name == "ema").data
        assert found is not None
        if found.unanimous and found.interval is not None:
            covered += found.interval.low <= alpha <= found.interval.high
            widths.append((1 - found.interval.low) / (1 - alpha))
    assert covered >= 0.95 * n_trials
    assert np.median(widths) < 10  # and says something: most know the share beyond w_max to one digit
