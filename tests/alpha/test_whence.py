"""Which alpha made it? Blind: the alpha is drawn in the test, and the scales are made by torch and numpy."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
from whence_cases import calibration, checkpoint, ema, largest, name, pooled, scales_of, streams

from qinspect.inspector.alpha.recover import recovery_of, whence
from qinspect.inspector.distribution import MagnitudeTable
from qinspect.inspector.errors import UnknownKey

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
    v = recovery_of(
        whence(calibration(tmp_path / "run", seen), checkpoint(tmp_path / "c", scales_of(seen, ema, alpha)))
    )
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
    v = recovery_of(f)
    assert v.rule is not None
    assert v.rule.startswith("pooled")
    assert v.interval is not None
    assert alpha - PRECISION <= v.interval.low <= alpha <= v.interval.high <= alpha + PRECISION
    by_name = {r.named.name: r for r in f.rules}
    assert ("ema" in by_name) == keep_samples
    if keep_samples:
        assert by_name["ema"].level is None


def test_other_data_still_cover_the_alpha(tmp_path: Path) -> None:
    """Each trial: a run on some samples, a checkpoint calibrated on others of the same kind, by an alpha of its own."""
    n_trials, covered, widths = 12, 0, []
    for trial in range(n_trials):
        rng = np.random.default_rng((trial, 3))
        alpha, dtype = hidden_alpha(rng), ("float16", "bfloat16")[trial % 2]
        ours, theirs = (streams(1000 + 2 * trial + k, 4, 48, dtype, 512) for k in (0, 1))
        run = calibration(tmp_path / f"run{trial}", ours)
        f = whence(run, checkpoint(tmp_path / f"c{trial}", scales_of(theirs, ema, alpha)))
        run.close()
        found = next(r for r in f.rules if r.named.name == "ema").data
        assert found is not None
        if found.unanimous and found.interval is not None:
            covered += found.interval.low <= alpha <= found.interval.high
            widths.append((1 - found.interval.low) / (1 - alpha))
    assert covered >= 0.95 * n_trials
    assert np.median(widths) < 10  # and says something: most know the share beyond w_max to one digit


@pytest.mark.parametrize("n_samples", [2, 120])
def test_the_order_of_the_run_is_one_of_the_orders(tmp_path: Path, n_samples: int) -> None:
    """A first sample that is the loudest at one point and the quietest at another: chance hardly puts it first."""
    alpha, seen = 0.99, streams(3, 2, n_samples, "float16")
    for point, factor in ((0, 10), (1, 0.01)):
        seen[name(point)][0][:] *= np.float16(factor)
    f = whence(calibration(tmp_path / "run", seen), checkpoint(tmp_path / "c", scales_of(seen, ema, alpha)))
    v = recovery_of(f)
    assert (v.kind, v.rule, v.tolerance) == ("recovered", "ema", 0.0)
    assert v.interval is not None
    assert not any("no alpha remains" in sentence for sentence in v.evidence)
    (rule,) = (r for r in f.rules if r.named.name == "ema")
    for a in (rule.order, rule.data):
        assert a is not None
        assert a.unanimous
        assert a.interval is not None
        assert a.interval.low <= v.interval.low <= v.interval.high <= a.interval.high


def test_another_order_of_the_same_data(tmp_path: Path) -> None:
    """The scales that no alpha reaches say that the data are the same."""
    alpha, seen = 0.9969, streams(11, 6, 40, "float16")
    order = np.random.default_rng(5).permutation(40)
    shuffled = {n: [s[i] for i in order] for n, s in seen.items()}
    references = {f"layers.9.mixer.{x}:input": seen[name(p)] for p, x in enumerate(("in_proj", "out_proj"))}
    run = calibration(tmp_path / "run", {**seen, **references})
    fmt = checkpoint(tmp_path / "c", scales_of(shuffled, ema, alpha), scales_of(references, largest, alpha))
    v = recovery_of(whence(run, fmt))
    assert (v.kind, v.rule, v.tolerance) == ("other-order", "ema", None)
    assert v.interval is not None
    assert v.interval.low <= alpha <= v.interval.high
    assert "2 of 2 scales that no alpha reaches equal" in v.evidence[0]


def test_other_data_are_said_with_what_they_widen_the_interval_to(tmp_path: Path) -> None:
    alpha = 0.9969
    ours, theirs = streams(21, 6, 40, "float16"), streams(22, 6, 40, "float16")
    extra = {f"layers.9.mixer.{x}:input": p for p, x in enumerate(("in_proj", "out_proj"))}
    run = calibration(tmp_path / "run", {**ours, **{n: ours[name(p)] for n, p in extra.items()}})
    references = scales_of({n: theirs[name(p)] for n, p in extra.items()}, largest, alpha)
    v = recovery_of(whence(run, checkpoint(tmp_path / "c", scales_of(theirs, ema, alpha), references)))
    assert (v.kind, v.rule) == ("other-data", "ema")
    assert v.interval is not None
    assert v.interval.low <= alpha <= v.interval.high
    assert v.interval.width > 10 * PRECISION
    assert "0 of 2 scales that no alpha reaches equal" in v.evidence[0]
    assert "model or data differ" in v.evidence[0]


def test_random_scales_fit_no_rule(tmp_path: Path) -> None:
    seen = streams(31, 8, 32, "float16")
    rng = np.random.default_rng(9)
    right = scales_of(seen, ema, 0.999)
    random = {n: s * float(np.exp(rng.uniform(-2, 2))) for n, s in right.items()}
    f = whence(calibration(tmp_path / "run", seen), checkpoint(tmp_path / "c", random))
    v = recovery_of(f)
    assert (v.kind, v.rule, v.interval) == ("no-rule", None, None)
    assert v.text.startswith("No rule fits: no alpha gives all 8 scales")
    assert [r.level for r in f.rules] == [None] * 5


def test_one_scale_that_was_changed_is_named(tmp_path: Path) -> None:
    alpha, seen = 0.99712, streams(41, 6, 24, "bfloat16")
    scales = scales_of(seen, ema, alpha)
    scales[name(3)] *= 1.1
    f = whence(calibration(tmp_path / "run", seen), checkpoint(tmp_path / "c", scales))
    v = recovery_of(f)
    assert (v.kind, v.rule, v.tolerance) == ("most-points", "ema", 0.0)
    assert name(3) in v.text
    assert "5 of 6" in v.text
    assert v.interval is not None
    assert alpha - PRECISION <= v.interval.low <= np.float32(alpha) <= v.interval.high <= alpha + PRECISION


def test_the_largest_of_all_is_no_percentile(tmp_path: Path) -> None:
    seen = streams(51, 4, 16, "float16")
    v = recovery_of(
        whence(calibration(tmp_path / "run", seen), checkpoint(tmp_path / "c", scales_of(seen, largest, 1.0)))
    )
    assert (v.kind, v.interval) == ("min-max", None)


def test_one_sample_cannot_tell_rules_apart(tmp_path: Path) -> None:
    """Of one sample an average, a maximum and a pooled quantile are the same number."""
    seen = streams(61, 3, 1, "float16")
    v = recovery_of(
        whence(calibration(tmp_path / "run", seen), checkpoint(tmp_path / "c", scales_of(seen, ema, 0.987)))
    )
    assert v.kind == "ambiguous"
    assert {"ema", "mean", "max"} <= set((v.rule or "").split(" and "))


def test_an_interval_that_says_nothing_is_called_too_wide(tmp_path: Path) -> None:
    """Nearly all values are alike, so nearly all alphas are."""
    seen = {name(p): [np.repeat(np.array([1 + p, 9], np.float16), [990, 10]) for _ in range(4)] for p in range(3)}
    v = recovery_of(whence(calibration(tmp_path / "run", seen), checkpoint(tmp_path / "c", scales_of(seen, ema, 0.7))))
    assert v.interval is not None
    assert v.interval.low <= 0.01
    assert v.interval.high >= 0.98
    assert v.wide
    assert "too wide to tell alphas apart" in v.text


def test_without_tables_of_samples_what_they_could_say_is_said(tmp_path: Path) -> None:
    ours, theirs = streams(81, 4, 16, "float16"), streams(82, 4, 16, "float16")
    run = calibration(tmp_path / "run", ours, keep_samples=False)
    v = recovery_of(whence(run, checkpoint(tmp_path / "c", scales_of(theirs, ema, 0.99))))
    assert v.kind == "no-rule"
    assert "no table of each sample was kept" in v.text
    assert "--per-sample" in v.cure


def test_a_run_of_another_model_is_refused(tmp_path: Path) -> None:
    seen = streams(91, 8, 4, "float16")
    few = {n: s for n, s in seen.items() if n in (name(0), name(1))}
    run = calibration(tmp_path / "run", few)
    with pytest.raises(
        UnknownKey, match=r"calibration\.json, key layers\.1\..*6 of 8 scales of .* belong to no point of the run"
    ):
        whence(run, checkpoint(tmp_path / "c", scales_of(seen, ema, 0.99)))


def test_the_tables_of_one_point_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = streams(5, 6, 8, "float16")
    run = calibration(tmp_path / "run", seen)
    held: list[weakref.ref[MagnitudeTable]] = []
    most = 0
    read = run.tables

    def tables(point: str) -> list[MagnitudeTable]:
        nonlocal most
        found = read(point)
        held.extend(weakref.ref(t) for t in found)
        most = max(most, sum(r() is not None for r in held))
        return found

    monkeypatch.setattr(run, "tables", tables)
    answers = whence(run, checkpoint(tmp_path / "c", scales_of(seen, ema, 0.999)))
    assert len(answers.points) == 6
    assert 8 <= most <= 16
