"""The summary of a log that is read as it grows is that of the whole log."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qinspect.inspector.errors import CannotOpen
from qinspect.inspector.logs import report
from qinspect.inspector.logs.growing import GrowingSummary
from qinspect.inspector.logs.summary import summarize

LOG = (
    "2026-11-22:07:18:45,608 WARNING  [modelutils_mamba.py:871] Runing calibration and quantization from scratch\n"
    "2026-11-22:07:18:45,714 INFO     [modelutils_mamba.py:231] Run calibration\n"
    "2026-11-22:07:18:51,171 DEBUG    [observer.py:174] PerTensorPercentileObserver: percentile_alpha=0.99950,"
    " w_max=17.693964, clip_ratio=1.0\n"
    "|    Tasks     |Version|Filter|n-shot|Metric|   |Value |   |Stderr|\n"
    "|--------------|------:|------|-----:|------|---|-----:|---|-----:|\n"
    "|lambada_openai|      1|none  |     0|acc   |↑  |0.5374|±  |0.0069|\n"
    "\n"
    "Traceback (most recent call last):\n"
    '  File "main.py", line 3, in <module>\n'
    "    run()\n"
    "RuntimeError: CUDA error: out of memory\n"
).encode()


class _Stop(Exception):
    """Whoever waited waits no more."""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(LOG)), max_size=4).map(sorted))
def test_wherever_it_is_cut_the_end_is_the_same(cuts: list[int], tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(LOG)
    whole = report.payload(summarize(log))
    log.write_bytes(b"")
    growing = GrowingSummary(log)
    for start, end in zip([0, *cuts], [*cuts, len(LOG)], strict=True):
        with log.open("ab") as f:
            f.write(LOG[start:end])
        so_far = growing.read(final=False)
        assert so_far.n_bytes == end
    assert report.payload(growing.read(final=True)) == whole
    assert whole["notes"]


def test_what_only_the_end_shows_is_not_said_before(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(LOG)
    growing = GrowingSummary(log)
    before = {n.rule for n in growing.read(final=False).notes}
    after = {n.rule for n in growing.read(final=True).notes}
    assert before < after


def test_a_log_that_is_replaced_or_cut_is_read_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(LOG)
    growing = GrowingSummary(log)
    assert growing.read(final=False).n_bytes == len(LOG)
    log.write_bytes(LOG[:200])
    assert growing.read(final=False).n_bytes == 200
    (tmp_path / "other").write_bytes(LOG * 2)
    os.replace(tmp_path / "other", log)
    assert growing.read(final=False).n_bytes == 2 * len(LOG)


def test_one_that_is_cancelled_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qinspect.inspector.logs.growing.CHUNK_BYTES", 100)
    log = tmp_path / "log"
    log.write_bytes(LOG)
    growing, told = GrowingSummary(log), []

    def stop(done: int, _total: int) -> None:
        told.append(done)
        if done == 300:
            raise _Stop

    with pytest.raises(_Stop):
        growing.read(True, stop)
    found = growing.read(True, stop)
    assert told[:4] == [100, 200, 300, 400]
    assert report.payload(found) == report.payload(summarize(log))


def test_the_command_says_what_was_asked_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(LOG)
    asked = GrowingSummary(log, ("python", "main.py", "--percentile_alpha", "0.99999")).read(final=True)
    (alpha,) = (s for s in asked.settings if s.name == "percentile_alpha")
    assert (str(alpha.requested), str(alpha.effective)) == ("0.99999", "0.9995")
    assert alpha.differs
    assert "alpha-differs" in {n.rule for n in asked.notes}


def test_an_option_that_is_given_again_asks_for_all_its_values(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    words = ("calibrate", "m", "--alpha", "0.9995", "--alpha=0.99999", "--seed", "1", "--seed", "1", "--here", "--here")
    asked = {s.name: s.requested for s in GrowingSummary(tmp_path / "log", words).read(final=True).settings}
    assert asked == {"alpha": "0.9995 0.99999", "seed": 1, "here": True}


def test_no_log_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(CannotOpen, match="no such file"):
        GrowingSummary(tmp_path / "none").read(final=True)
