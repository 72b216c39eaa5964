"""The views of a run that are worked out of its log and of its models, and logs of any size."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest
from pilots import ALPHA_A, ALPHA_B, LARGE, MIDDLE, Driver, open_app
from run_processes import WAIT_FOR_FILE, begin, ended, shell

from qinspect.inspector.explain import report as explained
from qinspect.inspector.explain.asking import explanation_of
from qinspect.inspector.logs.growing import GrowingSummary
from qinspect.inspector.logs.summary import summarize
from qinspect.inspector.runs import Run, RunEvent, ourselves
from qinspect.inspector.runs.show import look
from qinspect.tui.runs.log_facts import from_journal
from qinspect.tui.runs.log_source import Cancelled, LogSource
from qinspect.tui.runs.outputs import made_by, to_compare
from qinspect.tui.runs.run_pane import RunPane

LOADED = (
    "2026-11-22:07:18:45,608 INFO     [modelutils_mamba.py:231] Run calibration\n"
    "2026-11-22:07:18:51,171 DEBUG    [observer.py:174] PerTensorPercentileObserver: percentile_alpha=0.99950,"
    " w_max=17.693964, clip_ratio=1.0\n"
    "|    Tasks     |Version|Filter|n-shot|Metric|   |Value |   |Stderr|\n"
    "|--------------|------:|------|-----:|------|---|-----:|---|-----:|\n"
    "|lambada_openai|      1|none  |     0|acc   |↑  |0.5374|±  |0.0069|\n"
    "\n"
)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_LOOK_S", "LIVE_S", "IDLE_S"):
        monkeypatch.setattr(f"qinspect.tui.runs.service.{name}", 0.05)
    for name in ("READ_EVERY_S", "FACTS_EVERY_S"):
        monkeypatch.setattr(f"qinspect.tui.runs.run_pane.{name}", 0.05)


def pane(d: Driver) -> RunPane:
    return d.runs.run_pane


def said(d: Driver) -> str:
    """What the view that is seen says, folds and what is scrolled away included."""
    return " ".join(" ".join(pane(d).seen.text.plain).split())  # type: ignore[attr-defined]


def title(d: Driver) -> str:
    return d.runs.query_one("#view-title").text  # type: ignore[attr-defined,no-any-return]


def quamba(tmp_path: Path, more: str = "") -> Run:
    """Asked for one alpha, while its log shows another."""
    (tmp_path / "text").write_text(LOADED)
    words = ("sh", "-c", f"cat text; {more}:", "main.py", "--percentile_alpha", "0.99999")
    return begin("/bin/" + words[0], *words[1:], cwd=tmp_path, name="asked")


# --- what the log says ---


async def test_conclusions_and_accuracies_are_those_of_the_command_line(tmp_path: Path) -> None:
    run = quamba(tmp_path)
    ended(run)
    async with open_app() as d:
        await d.until(lambda: d.seen_run is not None, "the run")
        await d.press("t")
        await d.until(lambda: "All of the log" in said(d), "all of it")
        notes = summarize(run.log_path).notes
        assert notes
        for note in notes:
            assert " ".join(note.text.split()) in said(d)
        assert "lambada_openai acc, 0-shot: 53.74 % +- 0.69 of 5,2" in said(d)
        assert "from its standard error" in said(d)
        assert f"qinspect logs {shlex.quote(str(run.log_path))}" in said(d)
        # the screen knows the command as well: what it asked for was not what took effect
        assert f"[conclusions {len(notes) + 1}]" in title(d)
        assert "percentile_alpha 0.99999 was asked for, and 0.9995 was used" in said(d)


async def test_what_was_asked_for_stands_beside_what_took_effect(tmp_path: Path) -> None:
    ended(quamba(tmp_path))
    async with open_app() as d:
        await d.until(lambda: d.seen_run is not None, "the run")
        await d.press("d")
        await d.until(lambda: "percentile_alpha 0.99999 0.9995 DIFFERS" in said(d), "both")


async def test_of_a_run_that_goes_on_it_is_said_so_far(tmp_path: Path) -> None:
    quamba(tmp_path, f"{WAIT_FOR_FILE}; echo 'RuntimeError: it broke'; ")
    async with open_app() as d:
        await d.until(lambda: d.seen_run is not None, "the run")
        await d.press("t")
        await d.until(lambda: "So far" in said(d) and "used alpha 0.9995" in said(d), "the first conclusion")
        assert "it broke" not in said(d)
        (tmp_path / "go").touch()
        await d.until(lambda: "All of the log" in said(d), "its end")


async def test_an_empty_log_has_none_and_an_absent_one_says_why() -> None:
    empty, gone = shell("true", name="empty"), shell("true", name="gone")
    ended(empty), ended(gone)
    gone.log_path.unlink()
    async with open_app() as d:
        await d.until(lambda: len(d.runs.list_pane.list.runs) == 2, "both")
        d.runs.list_pane.list.choose(empty.id)
        await d.press("t")
        await d.until(lambda: "All of the log: 0 B, 0 lines" in said(d), "nothing")
        assert "none in the log" in said(d)
        await d.press("d")
        await d.until(lambda: "not known: neither the command nor the log names one" in said(d), "no settings")
        d.runs.list_pane.list.choose(gone.id)
        await d.until(lambda: "no such file" in said(d), "why")


async def test_what_was_read_once_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended(quamba(tmp_path))
    ended(shell("true", name="other"))
    read: list[Path] = []

    def counted(path: Path, argv: tuple[str, ...]) -> GrowingSummary:
        read.append(path)
        return GrowingSummary(path, argv)

    monkeypatch.setattr("qinspect.tui.runs.log_facts.GrowingSummary", counted)
    async with open_app() as d:
        await d.until(lambda: len(d.runs.list_pane.list.runs) == 2, "both")
        await d.press("t")
        for key in ("j", "k", "j", "k"):
            await d.until(lambda: "All of the log" in said(d), "all of it")
            await d.press(key)
        assert len(read) == len(set(read)) == 2


async def test_of_a_log_that_is_too_large_the_journal_has_the_conclusions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qinspect.tui.runs.log_facts.MOST_BYTES", 100)
    ended(quamba(tmp_path))
    async with open_app() as d:
        await d.until(lambda: d.seen_run is not None, "the run")
        await d.press("t")
        await d.until(lambda: "it is not read for this" in said(d), "why")
        assert "percentile_alpha 0.99999 was asked for, and 0.9995 was used" in said(d)
        assert "lambada_openai acc, 0-shot: 53.74 %" in said(d)
        await d.press("d")
        assert "percentile_alpha 0.99999" in said(d)


def test_a_journal_of_anything_makes_a_summary() -> None:
    odd = [None, 3, "x", [], {}, [1], {"a": 1}, [["a"]], True]
    kinds = ("note", "setting", "table", "result")
    names = ("text", "rule", "lines", "name", "value", "role", "columns", "rows", "json", "line")
    events = [RunEvent(1, 0.0, kind, dict.fromkeys(names, value)) for kind in kinds for value in odd]
    made = from_journal("log", 5, events)
    assert made.n_bytes == 5
    assert [n.text for n in made.notes] == ["x"]


# --- the models ---


async def test_the_effect_is_what_explain_prints(tmp_path: Path) -> None:
    a, b = (str(Path(p).absolute()) for p in (ALPHA_A, ALPHA_B))
    ended(begin("/bin/echo", f"--pretrained_dir={b}", name="made one"))
    async with open_app(a) as d:
        await d.press("R")
        await d.until(lambda: d.seen_run is not None, "the run")
        await d.press("Q")
        await d.until(lambda: "ANSWER" in said(d), "the page")
        for section in explained.sections(explanation_of(a, b)):
            assert section.title in said(d)
            for sentence in section.sentences:
                assert " ".join(sentence.split()) in said(d)
        assert f"qinspect explain {a} {b}" in said(d)


async def test_one_model_alone_has_no_effect_to_show() -> None:
    ended(begin("/bin/echo", f"--pretrained_dir={Path(ALPHA_A).absolute()}", name="made one"))
    ended(shell("true", name="made none"))
    async with open_app() as d:
        await d.until(lambda: len(d.runs.list_pane.list.runs) == 2, "both")
        await d.press("Q")
        await d.until(lambda: "no folder with a model is known" in said(d), "none")
        await d.press("j")
        await d.until(lambda: "the run made one model" in said(d), "one")


async def test_escape_ends_the_comparison_and_the_key_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(a: str, b: str, progress: object = None) -> object:
        while True:
            progress("reading", 1, 2)  # type: ignore[operator]

    a, b = (str(Path(p).absolute()) for p in (ALPHA_A, ALPHA_B))
    ended(begin("/bin/echo", f"--pretrained_dir={b}", name="made one"))
    async with open_app(a) as d:
        await d.press("R")
        await d.until(lambda: d.seen_run is not None, "the run")
        with monkeypatch.context() as patch:
            patch.setattr("qinspect.inspector.explain.asking.explanation_of", endless)
            await d.send("Q")
            await d.until(lambda: "reading 50 %" in d.runs.hints.status, "the work")
            await d.send("escape")
            await d.until(lambda: "the comparison was ended" in said(d), "its end")
            await d.settle()
        assert d.app.screen is d.runs
        await d.press("Q")
        await d.until(lambda: "ANSWER" in said(d), "the page")


def test_what_apply_wrote_is_compared_with_what_it_copied(tmp_path: Path) -> None:
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"")
    words = ourselves("apply", "run", "--to", "before", "--alpha", "0.9", "--out=after")
    run = begin("/bin/true", cwd=tmp_path)
    ended(run)
    seen = look(Run(run.folder, type(run.spec)(argv=tuple(words), cwd=str(tmp_path))))
    assert made_by(seen, []) == [tmp_path / "after"]
    assert to_compare(seen, []) == [tmp_path / "before", tmp_path / "after"]
    (tmp_path / "after" / "model.safetensors").unlink()
    assert made_by(seen, []) == to_compare(seen, []) == []


# --- size ---


def memory_mb() -> float:
    """What this process holds now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise AssertionError("no VmRSS")


def sparse_log(run: Run, n_bytes: int) -> None:
    """Mostly a hole in the file, which costs no disk: a line of NULs between the first one and 3,000 others."""
    with run.log_path.open("wb") as f:
        f.write(b"the very first line\n")
        f.seek(n_bytes)
        f.write(b"\nthe needle\n" + b"".join(b"line %d\n" % i for i in range(3000)) + b"the end is here\n")


@pytest.mark.parametrize("n_bytes", [64 << 20, pytest.param(2 << 30, marks=pytest.mark.slow)], ids=["64 MB", "2 GB"])
async def test_a_log_of_gigabytes(n_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there at once, keys are answered while it is counted and searched, the search can be ended, and none of it
    is held in memory."""
    find = LogSource.find

    def long(source: LogSource, text: str, first: int, way: int, cancelled: Cancelled) -> tuple[int | None, bool]:
        """Not over before somebody ends it, where there is nothing to find."""
        found = find(source, text, first, way, cancelled)
        while text == "nowhere" and not cancelled():
            time.sleep(0.001)
        return found

    monkeypatch.setattr(LogSource, "find", long)
    run = shell("exec sleep 600", name="huge")
    sparse_log(run, n_bytes)
    async with open_app() as d:
        await d.until(lambda: "the end is here" in d.painted, "its end")
        before = memory_mb()
        await d.send("2", "slash", *"nowhere", "enter")
        await d.until(lambda: "esc ends it" in d.runs.hints.status, "the search")
        for key, tab in (("d", "[spec]"), ("t", "[conclusions]"), ("v", "[points"), ("P", "[log]")):
            await d.send(key)
            assert tab in title(d)
            assert d.log_pane.searching
        await d.send("escape")
        await d.until(lambda: "the search was ended" in d.runs.hints.status, "its end")
        await d.until(lambda: d.log_pane.source is not None and d.log_pane.source.total == 3004, "its lines counted")
        await d.send("G", "slash", *"needle", "enter")
        await d.until(lambda: d.log_view.mark == 2, "the needle")
        await d.send("t")
        await d.until(lambda: "it is not read for this" in said(d), "why there is no more")
        assert memory_mb() - before < 200
        await d.send("P", "g")
        await d.until(lambda: "the very first line" in d.painted, "the first line")


KEYS = (
    *("j", "2", "P", "Z", "at", "c", "c", "c", "t", "j", "v", "enter", "d", "G", "Q", "semicolon", "k", "u"),
    *("l", "h", "z", "tab", "z"),
)


@pytest.mark.parametrize("size", [(20, 5), (1, 1), (300, 5)], ids=lambda s: f"{s[0]}x{s[1]}")
async def test_a_terminal_of_hardly_any_size(size: tuple[int, int], tmp_path: Path) -> None:
    run = quamba(tmp_path, f"{WAIT_FOR_FILE}; ")
    async with open_app(size=size) as d:
        await d.until(lambda: d.seen_run is not None and d.seen_run.run.id == run.id, "the run")
        await d.press(*KEYS)
        for opened in ("question_mark", "slash", "colon", "exclamation_mark", "X", "E"):
            await d.press(opened, "escape")
        assert d.app.crash_report is None
        assert run.state().state.is_live
        await d.pilot.resize_terminal(*MIDDLE)
        await d.press("d")
        assert "percentile_alpha" in d.painted


async def test_a_storm_of_resizes(tmp_path: Path) -> None:
    run = quamba(tmp_path, f"{WAIT_FOR_FILE}; ")
    async with open_app() as d:
        await d.until(lambda: d.seen_run is not None and d.seen_run.run.id == run.id, "the run")
        for i in range(25):
            await d.pilot.resize_terminal(20 + 37 * i % 180, 5 + 11 * i % 55)
            await d.send(KEYS[i % len(KEYS)])
        await d.pilot.resize_terminal(*LARGE)
        await d.settle()
        assert d.app.crash_report is None
        await d.press("d")
        assert "[spec]" in title(d)
        assert len(d.rows()) == LARGE[1]
