"""The figures of an evaluation on the screen of runs: what its files say, where they say it, and while they grow."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import pytest
from damage import damaged
from hypothesis import given
from hypothesis import strategies as st
from pilots import ALPHA_A, ALPHA_B, LARGE, MIDDLE, SMALL, Driver, in_empty_folder, open_app
from rich.text import Text
from run_processes import WAIT_FOR_FILE, begin, ended

from qinspect.inspector.errors import BrokenFile, CannotOpen
from qinspect.inspector.evaluate.intervals import Estimate
from qinspect.inspector.evaluate.layout import LIVE, RESULT
from qinspect.inspector.evaluate.results import Part
from qinspect.inspector.evaluate.stored import figures_so_far, stored_answers, stored_evaluation
from qinspect.inspector.runs import Run
from qinspect.tui.evaluation.intervals import Block, Cells, Interval, block_lines, said_of
from qinspect.tui.evaluation.page import page_of, page_so_far
from qinspect.tui.evaluation.panels import Panel, panel_lines
from qinspect.tui.evaluation.rows import rows_of, short_names
from qinspect.tui.evaluation.table import table_of
from qinspect.tui.glyphs import ASCII, Glyphs
from qinspect.tui.look import Line, Look

STORED = Path(__file__).parent.parent / "data" / "evaluations"
ALPHAS = ("alpha 0.99", "alpha 0.9995", "alpha 0.99999", "alpha 1")


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_LOOK_S", "LIVE_S", "IDLE_S"):
        monkeypatch.setattr(f"qinspect.tui.runs.service.{name}", 0.05)
    monkeypatch.setattr("qinspect.tui.runs.run_pane.READ_EVERY_S", 0.05)


def plain(lines: Sequence[Line]) -> list[str]:
    return [x if isinstance(x, str) else x.plain if isinstance(x, Text) else "".join(t for t, _ in x) for x in lines]


def look(width: int = 100, height: int = 50, ascii_only: bool = False) -> Look:
    ink = None if ascii_only else (1, 2, 3)
    return Look(width, height, ink, ink, ink, ascii_only)


def content() -> dict[str, Any]:
    found = json.loads((STORED / "alphas.json").read_text())
    assert isinstance(found, dict)
    return found


def in_folder(folder: Path, name: str = RESULT, found: object = None, at: float | None = None) -> Path:
    """at: when it was written; None for now."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content() if found is None else found))
    os.utime(folder / name, None if at is None else (at, at))
    return folder


# --- intervals ---


def drawn(block: Block, width: int = 90) -> list[str]:
    return plain(block_lines(block, Cells(width, 10, 28, 0), ASCII, other_axis=False))


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3, unique=True).map(sorted))
def test_where_an_interval_stands_is_where_the_axis_says(values: list[float]) -> None:
    """The signs are in the order of the numbers, and no line is longer than it may be."""
    low, value, high = values
    intervals = [Interval("a", Estimate(value, low, high)), Interval("b", None)]
    lines = drawn(Block("t", (), intervals, 0.0, margin=2.0))
    row = lines[1][12:60]
    assert all(len(line) <= 90 for line in lines)
    zero, margin = lines[2].index("|", 12) - 12, lines[2].rindex(":") - 12
    here = row.index("o")
    unit = (margin - zero) / 2.0
    assert abs(here - zero - value * unit) <= 2  # all three stand in whole cells
    if high - low > 3 / unit:
        for end in (low, high):
            at = round(zero + end * unit)
            assert set("|o") & set(row[at - 2 : at + 3])


def test_a_point_on_a_tick_is_over_it() -> None:
    values = (-0.5, 0.0, 0.5, 1.0)
    lines = drawn(Block("t", (), [Interval(str(v), Estimate(v, math.nan, math.nan)) for v in values], 0.0))
    labels, rule = lines[-1], lines[-2]
    for value, line in zip(values, lines[1:], strict=False):
        at = line.index("o", 12)
        assert rule[at] == "+"
        assert f"{value:.1f}".removesuffix(".0") in labels[at - 4 : at + 5]


def test_figures_far_apart_have_a_logarithmic_axis_unless_asked_otherwise() -> None:
    block = Block("KL", (), [Interval("a", Estimate(1e-4, 9e-5, 2e-4)), Interval("b", Estimate(0.5, 0.4, 0.6))], 0.0,
                  (0.0, 1e-6), may_be_log=True)  # fmt: skip
    one, other = (plain(block_lines(block, Cells(90, 5, 25, 0), ASCII, flip)) for flip in (False, True))
    assert "logarithmic" in one[0]
    assert "logarithmic" not in other[0]
    assert other[1].index("o") < one[1].index("o") < one[2].index("o")
    assert "1e-4" in one[-1] or "1e-5" in one[-1]


def test_without_an_interval_there_is_a_point_and_without_a_number_neither() -> None:
    nan = math.nan
    estimates = (Estimate(0.3, nan, nan), None, Estimate(nan, nan, nan))
    lines = drawn(Block("t", (), [Interval(name, e) for name, e in zip("abc", estimates, strict=True)], 0.0))
    assert lines[1].count("o") == 1
    assert lines[1].rstrip().endswith("0.300")
    assert "o" not in lines[2][1:]
    assert lines[3].rstrip().endswith("n/a")
    assert said_of(Estimate(0.912, 0.9, 0.925), percent=True) == "91.20 % [90.00, 92.50]"


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
@pytest.mark.parametrize("glyphs", [ASCII, Glyphs()], ids=["ascii", "unicode"])
def test_a_page_has_room_in_any_width(width: int, glyphs: Glyphs, tmp_path: Path) -> None:
    found = stored_evaluation(in_folder(tmp_path))
    lines = plain(page_of(found, (), look(width, ascii_only=glyphs is ASCII), glyphs, other_axis=False))
    drawn_part = lines[: next(i for i, line in enumerate(lines) if line.startswith("model"))]
    if width >= 60:
        assert max(map(len, lines)) <= width
    assert max(map(len, drawn_part[2:])) <= max(width, 66)
    if glyphs is ASCII:
        assert all(line.isascii() for line in lines)


# --- along positions ---


def parts(*kl: float) -> list[Part]:
    return [Part(i * 10, (i + 1) * 10, 0 if math.isnan(x) else 5, x) for i, x in enumerate(kl)]


def test_a_larger_part_is_a_higher_step_and_one_without_tokens_a_gap() -> None:
    lines = plain(
        panel_lines("t", [Panel("a", parts(1.0, 3.0, math.nan, 2.0))], None, 6, look(ascii_only=True), "~", False)
    )[2:8]
    columns = [next((row for row, line in enumerate(lines) if line[x : x + 1] == "*"), None) for x in range(11, 51)]
    one, three, none, two = (columns[i * 10 + 4] for i in range(4))
    assert none is None
    assert three is not None
    assert two is not None
    assert one is not None
    assert three < two < one


def test_panels_have_one_axis_and_go_on_in_the_next_row() -> None:
    panels = [Panel(f"model {i}", parts(1.0, 2.0)) for i in range(5)]
    lines = plain(panel_lines("t", panels, 1e-3, 4, look(80), "~", False))
    assert [line.split() for line in lines if "model" in line] == [
        ["model", "0", "model", "1", "model", "2"], ["model", "3", "model", "4"],
    ]  # fmt: skip
    assert all(len(line) <= 80 for line in lines)


# --- names, and what is saved ---


def test_names_are_as_short_as_tells_them_apart() -> None:
    assert short_names(["/x/a/w8", "/x/b/w8"]) == ["a/w8", "b/w8"]
    assert short_names(["/x/a/one", "/x/b/two", "alpha 0.5"]) == ["one", "two", "alpha 0.5"]
    assert short_names(["same", "same"]) == ["same", "same"]
    assert short_names([]) == []


def test_saved_rows_have_the_numbers_of_the_file(tmp_path: Path) -> None:
    table = table_of(stored_evaluation(in_folder(tmp_path)))
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    for row, of in zip(rows, content()["models"], strict=True):
        assert row["model"] == of["name"]
        assert row["answer"] == of["answer"]
        assert float(row["KL"]) == of["kl"]["value"]
        assert float(row["ln ratio low"]) == of["ln_ratio"]["low"]
        assert float(row["same top high"]) == of["same_top"]["high"]


def test_a_model_that_was_not_measured_has_a_row(tmp_path: Path) -> None:
    found = content()
    found["not_measured"] = [{"name": "other", "problem": "has another vocabulary"}]
    rows = rows_of(stored_evaluation(in_folder(tmp_path, found=found))).rows
    assert [(r.name, r.state) for r in rows[-2:]] == [("alpha 1", ""), ("other", "not measured")]


def test_an_evaluation_of_nothing_is_a_page(tmp_path: Path) -> None:
    found = content() | {"models": [], "against_first": [], "noise_floor": None}
    found["not_measured"] = [{"name": "other\x1b[2J", "problem": "has another vocabulary"}]
    lines = plain(page_of(stored_evaluation(in_folder(tmp_path, found=found)), (), look(), Glyphs(), False))
    assert any("other\\x1b[2J: not measured: has another vocabulary" in line for line in lines)
    assert not any("\x1b" in line for line in lines)


@given(data=st.data())
def test_whatever_a_file_says_is_a_page_or_is_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = in_folder(tmp_path_factory.mktemp("damaged"), found=damaged(content(), data))
    with contextlib.suppress(BrokenFile, CannotOpen):
        found, answers = stored_evaluation(folder), stored_answers(folder)
        assert table_of(found).csv()
        for width in (30, 120):
            lines = plain(page_of(found, answers, look(width), Glyphs(), data.draw(st.booleans())))
            assert not any(c in line for line in lines for c in "\x1b\n")


@given(data=st.data())
def test_whatever_figures_so_far_are_is_a_page_or_is_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    so_far = damaged(json.loads((STORED / LIVE).read_text()), data)
    folder = in_folder(tmp_path_factory.mktemp("damaged"), LIVE, so_far)
    with contextlib.suppress(BrokenFile, CannotOpen):
        found = figures_so_far(folder)
        assert table_of(found).csv()
        assert plain(page_so_far(found, True, look(60), Glyphs(), data.draw(st.booleans())))


def test_answers_to_tasks_are_told_as_the_command_tells_them(tmp_path: Path) -> None:
    found = content()
    points = {"value": -1.5, "low": -4.0, "high": 1.0}
    metric = {
        "items": 200, "accuracy_reference": 0.5, "accuracy": 0.485, "difference_points": points, "mcnemar_p": 0.25,
        "only_reference_right": 5, "only_model_right": 2, "smallest_points": 3.0,
    }  # fmt: skip
    found["tasks"] = [{"name": "alpha 1", "task": "lambada", "metrics": {"acc": metric}}]
    folder = in_folder(tmp_path, found=found)
    lines = plain(page_of(stored_evaluation(folder), stored_answers(folder), look(200), Glyphs(), False))
    said = (
        "acc 48.50% of 200 items, the reference's 50.00%: -1.50 points [-4.00, +1.00]; 5 right in the reference alone"
    )
    assert any(line.startswith(f"alpha 1, lambada: {said}, 2 in the model alone, McNemar p 0.25") for line in lines)
    found["tasks"] = [{"name": "alpha 1"}]
    with pytest.raises(BrokenFile, match="tasks"):
        stored_answers(in_folder(tmp_path, found=found))


def test_figures_so_far_say_of_how_many_windows_they_are() -> None:
    found = figures_so_far(STORED)
    lines = plain(page_so_far(found, True, look(), Glyphs(), False))
    assert lines[0].startswith("So far")
    assert plain(page_so_far(found, False, look(), Glyphs(), False))[0].startswith("It ended early")
    first, wrong, last = found.models
    assert first.n_windows == found.n_windows > last.n_windows > 0
    rows = [line for line in lines if line.startswith(PurePath(last.name).name)]
    assert rows[0].endswith(f"{last.n_windows}/{found.n_windows}")
    assert wrong.problem in " ".join(lines)


# --- on the screen ---


def evaluates(tmp_path: Path, script: str = ":") -> Run:
    """A run of a program that is called as ours; it evaluates into a folder of the test."""
    program = tmp_path / "qinspect"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    return begin(str(program), "evaluate", "demo", "--state", "state", "--here", cwd=tmp_path, name="eval")


def end_of(run: Run) -> float:
    """When it ended."""
    result = ended(run).result
    assert result is not None
    return result.ended


def text(d: Driver) -> str:
    return "\n".join(d.runs.run_pane.evaluation_pane.text.plain)


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=str)
async def test_a_finished_evaluation_has_its_models_side_by_side(size: tuple[int, int], tmp_path: Path) -> None:
    run = evaluates(tmp_path)
    in_folder(tmp_path / "state", at=end_of(run))
    async with open_app(size=size) as d:
        await d.until(lambda: d.seen_run is not None, "the run")
        await d.press("H")
        await d.until(lambda: "not separable" in text(d) or "worse" in text(d), "the figures")
        assert "[figures]" in d.runs.query_one("#view-title").text  # type: ignore[attr-defined]
        for of in content()["models"]:
            assert of["answer"] in text(d)
            assert f"{of['kl']['value']:#.3g} [{of['kl']['low']:#.3g}, {of['kl']['high']:#.3g}]" in text(d)
        assert "logarithmic" not in text(d)
        await d.press("y")
        await d.until(lambda: "logarithmic" in text(d), "the other axis")
        await d.press("2", "G")
        await d.until(lambda: d.runs.run_pane.evaluation_pane.text.scroll_offset.y > 0, "the end")


async def test_figures_come_while_it_goes_on_and_the_answer_at_its_end(tmp_path: Path) -> None:
    evaluates(tmp_path, WAIT_FOR_FILE)
    async with open_app(size=MIDDLE) as d:
        await d.until(lambda: d.seen_run is not None, "the run")
        await d.press("H")
        await d.until(lambda: "not known yet" in text(d), "nothing")
        so_far = json.loads((STORED / LIVE).read_text())
        in_folder(tmp_path / "state", LIVE, so_far)
        await d.until(lambda: f"{so_far['models'][2]['windows']}/{so_far['windows']}" in text(d), "the first figures")
        assert "not separable" not in text(d)
        so_far["models"][2]["windows"] += 1
        in_folder(tmp_path / "state", LIVE, so_far)
        await d.until(lambda: f"{so_far['models'][2]['windows']}/{so_far['windows']}" in text(d), "one more")
        in_folder(tmp_path / "state")
        (tmp_path / "go").touch()
        await d.until(lambda: "predicted tokens" in text(d), "the result")


async def test_one_that_ends_while_it_is_looked_at_says_so(tmp_path: Path) -> None:
    """With figures so far, and without any."""
    evaluates(tmp_path, f"{WAIT_FOR_FILE}; exit 1")
    async with open_app(size=MIDDLE) as d:
        await d.until(lambda: d.seen_run is not None, "the run")
        await d.press("H")
        await d.until(lambda: "not known yet" in text(d), "nothing")
        (tmp_path / "go").touch()
        await d.until(lambda: "nothing was measured" in text(d), "that nothing comes")
    (tmp_path / "go").unlink()
    evaluates(tmp_path, f"{WAIT_FOR_FILE}; exit 1")
    in_folder(tmp_path / "state", LIVE, json.loads((STORED / LIVE).read_text()))
    async with open_app(size=MIDDLE) as d:
        await d.until(lambda: d.seen_run is not None, "the run")
        await d.press("H")
        await d.until(lambda: "So far" in text(d), "its figures")
        (tmp_path / "go").touch()
        await d.until(lambda: "It ended early" in text(d), "its end")


async def test_of_one_that_ended_early_it_says_so(tmp_path: Path) -> None:
    in_state = tmp_path / "state"
    run = evaluates(tmp_path, "exit 1")
    in_folder(in_state, LIVE, json.loads((STORED / LIVE).read_text()), at=end_of(run))
    async with open_app() as d:
        await d.until(lambda: d.seen_run is not None, "the run")
        await d.press("H")
        await d.until(lambda: "It ended early" in text(d), "its figures")


@pytest.mark.parametrize("apart_s", [-1000, 1000], ids=["earlier", "later"])
async def test_what_another_one_left_in_the_folder_is_not_its(apart_s: float, tmp_path: Path) -> None:
    in_folder(tmp_path / "state", at=end_of(evaluates(tmp_path)) + apart_s)
    async with open_app() as d:
        await d.until(lambda: d.seen_run is not None, "the run")
        await d.press("H")
        await d.until(lambda: "nothing was measured" in text(d), "nothing")


async def test_a_damaged_result_is_said_and_ends_nothing(tmp_path: Path) -> None:
    run = evaluates(tmp_path)
    in_folder(tmp_path / "state", found=content() | {"models": "none"}, at=end_of(run))
    async with open_app() as d:
        await d.until(lambda: d.seen_run is not None, "the run")
        await d.press("H")
        await d.until(lambda: "does not hold what it should" in text(d), "why")
        await d.press("P", "H", "e")


async def test_another_run_has_no_tab_for_it(tmp_path: Path) -> None:
    ended(begin("/bin/sh", "-c", "true", name="other"))
    async with open_app(size=LARGE) as d:
        await d.until(lambda: d.seen_run is not None, "the run")
        title = d.runs.query_one("#view-title")
        assert "figures" not in title.text  # type: ignore[attr-defined]
        await d.press("H")
        await d.until(lambda: "no evaluation" in text(d), "why")
        assert "[figures]" in title.text  # type: ignore[attr-defined]


async def test_it_is_saved_where_it_is_the_active_pane(tmp_path: Path) -> None:
    run = evaluates(tmp_path)
    in_folder(tmp_path / "state", at=end_of(run))
    with in_empty_folder() as here:
        async with open_app() as d:
            await d.until(lambda: d.seen_run is not None, "the run")
            await d.press("H", "2")
            await d.until(lambda: "predicted tokens" in text(d), "the result")
            for kind in ("c", "j", "m"):
                await d.press("e", kind)
            await d.until(lambda: len(list(here.iterdir())) == 3, "the files")
            rows = list(csv.DictReader((here / "qinspect-view.csv").read_text().splitlines()))
            assert [r["model"] for r in rows] == list(ALPHAS)
            assert json.loads((here / "qinspect-view.json").read_text()) == content()
            assert (here / "qinspect-view.md").read_text().startswith("| model | answer |")
            await d.press("1", "e", "c")
            await d.until((here / "qinspect-view-1.csv").exists, "the list of runs")
            assert "model" not in (here / "qinspect-view-1.csv").read_text().splitlines()[0].split(",")


# --- beside a comparison ---


async def test_an_evaluation_of_the_two_models_is_told_with_the_verdict(tmp_path: Path, in_fixtures: Path) -> None:
    for name, of in (("base", ALPHA_A), ("made", ALPHA_B)):
        shutil.copytree(in_fixtures / of, tmp_path / name)
    run = evaluates(tmp_path)
    found = content() | {"reference": "base"}
    found["models"][0]["name"] = "made"
    in_folder(tmp_path / "state", found=found, at=end_of(run))
    async with open_app(tmp_path / "base", tmp_path / "made", LARGE) as d:
        await d.until(lambda: "B's predictions: KL 0.0351" in d.text_of("#verdict"), "the evaluation")
        assert "perplexity worse" in d.text_of("#verdict")
        assert "ALPHA TOOK EFFECT" in d.text_of("#verdict")
        await d.press("t", "3", "z")
        assert "evaluation: B's predictions: KL 0.0351 [0.0334, 0.0369], same likeliest token 90.07 %" in d.detail
        await d.press("ctrl+r")
        await d.until(lambda: "B's predictions" in d.text_of("#verdict"), "it is found again")


async def test_without_an_evaluation_nothing_is_told(tmp_path: Path) -> None:
    in_folder(tmp_path / "state", at=end_of(evaluates(tmp_path)))
    async with open_app(ALPHA_A, ALPHA_B, LARGE) as d:
        await d.app.workers.wait_for_complete()
        assert "predictions" not in d.text_of("#verdict")
