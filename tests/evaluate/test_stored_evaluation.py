"""What stays of an evaluation, and what is told while it goes on: read again without what wrote it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from damage import damaged
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qinspect.inspector.errors import BrokenFile, CannotOpen, QinspectError
from qinspect.inspector.evaluate import live, payload
from qinspect.inspector.evaluate.intervals import FEWEST_WINDOWS, draws, estimate, estimate_so_far
from qinspect.inspector.evaluate.layout import LIVE, RESULT, evaluation_folder
from qinspect.inspector.evaluate.report import evaluation_text
from qinspect.inspector.evaluate.results import (
    Against,
    Evaluation,
    Floor,
    NotMeasured,
    adjusted,
    compared,
    model_figures,
)
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.evaluate.stored import figures_so_far, stored_evaluation
from qinspect.inspector.evaluate.tokens import TokenFigures
from qinspect.inspector.runs import Run, RunSpec, ourselves

WINDOWS, LENGTH = 12, 30


def tokens(seed: int, scale: float, n_windows: int = WINDOWS) -> TokenFigures:
    """Figures of tokens as a model some way from its reference has them; one token has none."""
    rng = np.random.default_rng(seed)
    n = n_windows * LENGTH
    reference, kl = rng.exponential(1.0, n), scale * rng.exponential(0.1, n)
    nll = reference + rng.normal(scale * 0.05, scale * 0.1, n)
    right, same = rng.random(n) < 0.5, rng.random(n) < 0.9
    columns = [reference, nll, kl, kl * 1.1, right, right & same, same, same, np.exp(-nll) - np.exp(-reference)]
    figures = [np.asarray(c, float) for c in (*columns, rng.random(n))]
    for figure in figures:
        figure[3] = np.nan
    return TokenFigures(np.repeat(np.arange(n_windows), LENGTH), np.tile(np.arange(LENGTH), n_windows), *figures)


def evaluation(n_windows: int = WINDOWS) -> Evaluation:
    found = [tokens(1, 1.0, n_windows), tokens(2, 0.01, n_windows)]
    names = ["alpha 0.99", "models/two"]
    figures = [
        model_figures(
            t, n_windows, 0.01, 0, name=name, described="w8a8", nbytes=1000, bits_per_weight=8.5, n_points=3,
            left_out=("1 activation",),
        )
        for name, t in zip(names, found, strict=True)
    ]  # fmt: skip
    against: tuple[Against, ...] = compared(names, found, n_windows, 0.5, 0, np.array([0.0, 12.5]))
    return Evaluation(
        "base", n_windows, n_windows * LENGTH, {"source": "text"}, Floor(3, 3, 3e-6, 4e-6, 1e-4, 0.998),
        adjusted(figures), against, (NotMeasured("other", "has another vocabulary"),), ("a warning",),
    )  # fmt: skip


def written(folder: Path, found: Evaluation) -> Path:
    (folder / RESULT).write_text(json.dumps(payload.evaluation(found, EvaluateSettings("base", ("models/two",)))))
    return folder


@pytest.mark.parametrize("n_windows", [WINDOWS, 3], ids=["intervals", "too-few-windows"])
def test_a_stored_evaluation_says_what_the_command_said(tmp_path: Path, n_windows: int) -> None:
    found = evaluation(n_windows)
    again = stored_evaluation(written(tmp_path, found))
    assert evaluation_text(again, 100) == evaluation_text(found, 100)
    assert "nan" not in evaluation_text(found, 100).split()
    for a, b in zip(again.models, found.models, strict=True):
        assert a.stretches == b.stretches
        assert a.buckets == b.buckets
        assert a.kl_quantiles == b.kl_quantiles
        assert a.ln_ratio.spread == pytest.approx(b.ln_ratio.spread, nan_ok=True)


def test_neither_torch_nor_a_model_is_needed_to_read_it(tmp_path: Path) -> None:
    written(tmp_path, evaluation())
    code = (
        "import sys; from pathlib import Path; from qinspect.inspector.evaluate.stored import stored_evaluation\n"
        "from qinspect.inspector.evaluate.report import evaluation_text\n"
        "print(evaluation_text(stored_evaluation(Path(sys.argv[1])), 100)); assert 'torch' not in sys.modules"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stderr
    assert "alpha 0.99" in found.stdout


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "qinspect.evaluate/9"}', "\xff"])
def test_what_is_no_evaluation_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / RESULT).write_text(text, "latin-1")
    with pytest.raises(QinspectError, match=r"not valid JSON|another kind"):
        stored_evaluation(tmp_path)


def test_none_is_said_too(tmp_path: Path) -> None:
    with pytest.raises(CannotOpen, match="no finished evaluation"):
        stored_evaluation(tmp_path)
    with pytest.raises(CannotOpen):
        figures_so_far(tmp_path)


@given(data=st.data())
def test_any_value_anywhere_is_read_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    content = json.loads(json.dumps(payload.evaluation(_ONE, EvaluateSettings("base", ("models/two",)))))
    (folder / RESULT).write_text(json.dumps(damaged(content, data)))
    with contextlib.suppress(BrokenFile, CannotOpen):
        evaluation_text(stored_evaluation(folder), 100)


_ONE = evaluation()


# --- while it goes on ---


def test_figures_so_far_are_those_of_the_windows_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY_S", -1.0)
    found = live.LiveFigures(tmp_path, ["one", "two", "three"])
    assert figures_so_far(tmp_path).n_windows == 0
    found.begin(WINDOWS, Floor(3, 3, 3e-6, 4e-6, 1e-4, 0.998))
    whole = tokens(1, 1.0)
    columns = [getattr(whole, f) for f in TokenFigures.__dataclass_fields__]
    for window in range(WINDOWS - 2):
        part = whole.window == window
        found.add(0, TokenFigures(*(c[part] for c in columns)))
        so_far = figures_so_far(tmp_path).models[0]
        assert so_far.n_windows == window + 1
        assert so_far.kl is not None
        until = (whole.window <= window) & whole.finite
        assert so_far.kl.value == pytest.approx(whole.kl[until].mean())
        assert np.isnan(so_far.kl.low) == (window + 1 < FEWEST_WINDOWS)
    found.add(1, whole)  # kept from before: all at once
    found.failed(2, "has another vocabulary")
    said = figures_so_far(tmp_path)
    assert said.floor is not None
    assert said.floor.kl == 3e-6
    assert [(m.n_windows, m.problem) for m in said.models] == [(10, ""), (12, ""), (0, "has another vocabulary")]
    ratio = (whole.nll - whole.nll_reference)[whole.finite]
    assert said.models[1].ln_ratio is not None
    assert said.models[1].ln_ratio.value == pytest.approx(ratio.mean())


def test_a_file_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    found = live.LiveFigures(tmp_path / "gone", ["one"])
    found.add(0, tokens(1, 1.0))
    found.end()
    live.LiveFigures(None, ["one"]).end()


@given(
    sums=arrays(float, 20, elements=st.floats(-100, 100)),
    counts=arrays(float, 20, elements=st.integers(20, 50)),
)
def test_its_interval_is_about_that_of_the_bootstrap(
    sums: np.ndarray[tuple[int], np.dtype[np.float64]], counts: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> None:
    window = np.repeat(np.arange(20), counts.astype(int))
    values = (sums / counts)[window]
    exact, quick = estimate(values, window, draws(20, 0)), estimate_so_far(sums, counts)
    assert quick.value == pytest.approx(exact.value, abs=1e-9)
    assert quick.spread == pytest.approx(exact.spread, rel=0.4, abs=1e-9)


def test_where_the_files_are(tmp_path: Path) -> None:
    def run(*words: str) -> Run:
        return Run(tmp_path / "run", RunSpec(argv=words, name="", cwd="/work", env={}, host="", created=0))

    assert evaluation_folder(run(*ourselves("evaluate", "demo", "m", "--here"))) == tmp_path / "run" / "evaluation"
    assert evaluation_folder(run("qinspect", "evaluate", "demo", "--state", "there", "--here")) == Path("/work/there")
    assert evaluation_folder(run("qinspect", "evaluate", "demo", "--state=/there")) == Path("/there")
    assert evaluation_folder(run("qinspect", "calibrate", "demo")) is None
    assert evaluation_folder(run("python", "evaluate")) is None
    assert LIVE != RESULT
