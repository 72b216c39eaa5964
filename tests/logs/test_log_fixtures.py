"""Each log that Quamba and Quamba-SE really wrote says what its provenance says it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from qinspect.inspector.logs import LogSummary, summarize
from qinspect.inspector.logs.patterns import builtin_patterns

NO_CALIBRATION = "no calibration happened: loaded an existing directory "


@pytest.fixture
def logs(source_root: Path) -> Path:
    return source_root / "tests" / "data" / "logs"


def read(path: Path) -> LogSummary:
    found = summarize(path, builtin_patterns())
    assert found.n_bytes == path.stat().st_size
    assert (found.cut_bytes, found.left_out, found.problems) == (0, 0, ())
    return found


def notes(found: LogSummary) -> dict[str, tuple[str, tuple[int, ...]]]:
    made = {n.rule: (n.text, n.where.lines) for n in found.notes}
    assert len(made) == len(found.notes)
    return made


def effective(found: LogSummary) -> dict[str, object]:
    return {s.name: s.effective for s in found.settings if s.effective is not None}


def test_observers_report_the_alpha_they_used(logs: Path) -> None:
    found = read(logs / "se_mamba1_w8a8_pa0.99999.log")
    said = notes(found)
    assert said["alpha-used"] == ("4 observers used alpha 0.99999", (40, 43))
    assert set(said) == {"alpha-used", "calibrated", "stored"}
    rows = found.points["observer"]
    assert [r.line for r in rows] == [40, 41, 42, 43]
    assert [r.fields["w_max"] for r in rows] == [17.693964, 2.272660, 16.033133, 1.880224]
    assert "write calibration cache" in [p.name for p in found.phases]
    (alpha,) = (s for s in found.settings if s.name == "percentile_alpha")
    assert (alpha.requested, alpha.effective, alpha.differs) == (0.99999, 0.99999, False)
    assert (alpha.requested_line, alpha.effective_line) == (108, 40)


def test_a_cached_calibration_set_is_named(logs: Path) -> None:
    said = notes(read(logs / "se_mamba1_w8a8_pa1.log"))
    assert said["calibrated"][0] == "calibrated with 64 samples from the cache calibration_cache.pkl"
    assert said["alpha-used"] == ("4 observers used alpha 1.0", (39, 42))
    assert said["stored"][0].endswith("/pa-1/quamba-tiny-w8a8")


def test_a_silent_cache_hit_is_no_calibration(logs: Path) -> None:
    found = read(logs / "se_mamba1_w8a8_pa1_again.log")
    said = notes(found)
    path = "pretrained_models/testPercentileRange/pa-1/quamba-tiny-w8a8"
    assert said["loaded-existing"] == (NO_CALIBRATION + path, (32,))
    assert said["settings-without-effect"][0].endswith(": percentile_alpha 1.0, calib_data_num 64, calib_seqlen 96")
    assert said["alpha-unread"][0].startswith("0 observers used alpha")
    assert "observer" not in found.points
    assert "percentile_alpha" not in effective(found)
    assert "calibrated" not in said


def test_alpha_with_group_heads_reaches_no_observer(logs: Path) -> None:
    found = read(logs / "se_mamba2_w4a8_gh_pa0.5.log")
    text, lines = notes(found)["alpha-unread"]
    assert text.startswith("0 observers used alpha: percentile_alpha 0.5 was asked for together with group heads")
    assert lines == (35, 110)
    (alpha,) = (s for s in found.settings if s.name == "percentile_alpha")
    assert (alpha.requested, alpha.effective, alpha.differs) == (0.5, "not used", True)
    assert effective(found)["group_heads"] is True
    assert effective(found)["apply_gptq"] is False


def test_the_full_recipe(logs: Path) -> None:
    found = read(logs / "quamba_mamba2_w4a8_gh_gptq.log")
    assert notes(found) == {
        "calibrated": ("calibrated with 64 samples of monology/pile-uncopyrighted", (53,)),
        "stored": ("the quantized model was stored at pretrained_models/ut-enyac/quamba2-tiny-w4a8", (69,)),
    }
    flags = ("group_heads", "apply_gptq", "quantize_embedding", "quantize_lm_head")
    assert all(effective(found)[name] is True for name in flags)
    assert effective(found)["gptq_bits"] == 4
    linears = [r.fields["linear"] for r in found.points["GPTQ"]]
    assert linears == [f"layer.{i}.mixer.{p}" for i in (0, 1) for p in ("in_proj", "out_proj")]
    (table,) = found.tables
    assert table.line == 81
    assert table.columns == ("Tasks", "Version", "Filter", "n-shot", "Metric", "Value", "", "Stderr")
    assert table.rows[1] == ("", "", "none", "0", "acc", "0.4500", "±", "0.0500")
    gptq = next(p for p in found.phases if p.name == "GPTQ calibration data")
    assert gptq.progress is not None
    assert (gptq.progress["done"], gptq.progress["total"]) == (2, 2)
    assert gptq.progress["rate"] == pytest.approx(1 / 77.31)
    assert gptq.seconds == pytest.approx(154.981)


def test_another_command_that_loads_the_same_directory(logs: Path) -> None:
    found = read(logs / "quamba_mamba2_w4a8_again.log")
    path = "pretrained_models/ut-enyac/quamba2-tiny-w4a8"
    assert notes(found) == {"loaded-existing": (NO_CALIBRATION + path, (18,))}
    assert "w_bits" not in effective(found)


def test_no_task_to_run(logs: Path) -> None:
    found = read(logs / "quamba_mamba1_w8a8_no_task.log")
    said = notes(found)
    assert said["no-task"] == ("nothing was evaluated: the command named no task", (28,))
    assert set(said) == {"no-task", "calibrated", "stored"}
    assert effective(found)["calib_data_num"] == 64
    assert effective(found)["group_heads"] is False
    first = found.warnings[0]
    assert (first.count, first.line, first.last_line) == (4, 1, 13)
    assert first.fields["category"] == "FutureWarning"
    assert first.fields["source"] == "@custom_fwd"


def test_the_traceback_of_reloading(logs: Path) -> None:
    found = read(logs / "quamba_mamba1_w8a8_reload_error.log")
    (error,) = found.errors
    assert error.text == "KeyError: 'backbone.norm_f.output_scale'"
    assert (error.line, error.fields["type"], error.fields["frames"]) == (18, "KeyError", 13)
    assert error.fields["traceback"].startswith("Traceback (most recent call last):\n  File ")
    said = notes(found)
    assert said["failed"] == (f"the run failed after 'create model': {error.text}", (18,))
    assert said["loaded-existing"][0] == "no calibration in this run: quamba-tiny-w8a8 is a stored quantized model"


def test_an_evaluated_fp16_model(logs: Path) -> None:
    found = read(logs / "quamba_mamba2_fp16_ppl.log")
    said = notes(found)
    assert said["not-finite"] == ("perplexity on wikitext2 is inf: not a number to compare", (23,))
    assert said["fp16"][0].startswith("nothing was quantized")
    assert effective(found)["ppl_samples"] == 22
    (row,) = found.points["perplexity"]
    assert row.fields == {"dataset": "wikitext2", "perplexity": "inf"}


def test_appended_results(logs: Path) -> None:
    found = read(logs / "se_mamba-tiny_w8a8.json")
    assert [line for line, _ in found.results] == [1, 45, 89]
    assert [c["lm_eval"]["lambada_openai"]["perplexity,none"] for _, c in found.results] == [27.314, 28.026, 28.026]
    assert notes(found) == {}
    found = read(logs / "se_mamba2-tiny_w4a8.json")
    assert notes(found)["alpha-unread"][0].startswith("0 observers used alpha: percentile_alpha 0.5")


def test_results_of_another_command_with_the_same_scores(logs: Path) -> None:
    found = read(logs / "quamba_mamba2-tiny_w4a8.json")
    text, lines = notes(found)["same-scores"]
    assert "(group_heads, apply_gptq, quantize_embedding, quantize_lm_head)" in text
    assert lines == (1, 39)


def test_a_result_that_is_infinite(logs: Path) -> None:
    found = read(logs / "quamba_mamba2-tiny_fp16.json")
    assert notes(found) == {"not-finite": ("perplexity on wikitext2 is inf: not a number to compare", (1,))}
    ((_, content),) = found.results
    assert content["ppl"] == {"wikitext2": "inf"}


def test_a_log_of_experiments(logs: Path) -> None:
    found = read(logs / "se_experiments.jsonl")
    assert [line for line, _ in found.results] == [1, 2, 3, 4]
    said = notes(found)
    assert said["no-statistics"] == (
        "no calibration happened: percentile_alpha 1.0 was asked for, and no activation statistics were recorded",
        (3,),
    )
    assert said["alpha-unread"][1] == (4,)


@pytest.mark.parametrize("keep", [30, 39, 40, 45])
def test_a_log_that_stops_is_incomplete(keep: int, logs: Path, tmp_path: Path) -> None:
    lines = (logs / "se_mamba1_w8a8_pa0.99999.log").read_bytes().split(b"\n")
    path = tmp_path / "cut.log"
    cut = b"\n".join(lines[:keep])
    path.write_bytes(cut[: cut.rfind(b"\r 50%") + 40] if keep in (39, 45) else cut)
    assert notes(read(path))["incomplete"][0].startswith("the run is incomplete: the log ends ")
    if keep == 39:
        assert "in 'calibration' at " in notes(read(path))["incomplete"][0]
