"""The log's pane on hostile, huge and growing logs: a run whose log the test writes itself."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pilots import MIDDLE, Driver, open_app
from rich.style import Style
from run_processes import shell

from qinspect.inspector.runs import Run
from qinspect.tui.runs.log_source import Levels, LogSource
from qinspect.tui.widgets.log import LogView


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_LOOK_S", "LIVE_S", "IDLE_S"):
        monkeypatch.setattr(f"qinspect.tui.runs.service.{name}", 0.05)
    monkeypatch.setattr("qinspect.tui.runs.run_pane.READ_EVERY_S", 0.05)


@asynccontextmanager
async def looking_at(content: bytes, size: tuple[int, int] = MIDDLE) -> AsyncIterator[tuple[Driver, Run, LogView]]:
    """The runs screen on a live run that prints nothing itself; its log holds `content`. The log is the active pane."""
    run = shell("exec sleep 600", name="quiet")
    run.log_path.write_bytes(content)
    async with open_app(size=size) as d:
        await d.until(lambda: d.log_pane.source is not None and d.log_pane.source.total is not None, "the log's lines")
        await d.press("2")
        yield d, run, d.log_view


def text_of(log: LogView) -> str:
    return "\n".join(strip.text.rstrip() for strip in log._painted)


def append(run: Run, data: bytes) -> None:
    with run.log_path.open("ab") as f:
        f.write(data)


HOSTILE = [
    b"\x1b]0;title\x07\x1b]52;c;aGFjaw==\x07clip",
    b"\x1b[2J\x1b[H\x1b[?1049l\x1b[31mred\x1b[m plain",
    b"nul \x00 bell \x07 back \x08 del \x7f",
    b"\xff\xfe\xc3\x28 invalid",
    "rtl \u202e evil \u2066 and \u200b".encode(),
    b"\x9b31m c1 \x90 dcs",
    b"\x1bPq unfinished",
    b"[bold red]markup[/] [link=http://x]",
    "wide \u6f22\u5b57 \U0001f600 cells".encode(),
]


async def test_nothing_hostile_reaches_the_terminal() -> None:
    async with looking_at(b"\n".join(HOSTILE) + b"\nhalf a li") as (d, _, log):
        shown = text_of(log)
        assert "red plain" in shown
        assert r"nul \x00 bell \x07" in shown
        assert "[bold red]markup[/]" in shown
        assert "half a li" in shown
        for keys in ("", "Z", "at"):
            if keys:
                await d.press(keys)
            painted = d.painted
            assert not [c for c in painted if ord(c) < 32 and c != "\n"]
            assert not [c for c in painted if 0x7F <= ord(c) < 0xA0]
            assert not set(painted) & set("\u202e\u2066\u200b")


async def test_colours_of_the_log_are_shown() -> None:
    async with looking_at(b"\x1b[1;31mred\x1b[m \x1b[48;2;1;2;3mback\x1b[m\n") as (_, _, log):
        styles = {s.text: s.style for s in log._painted[0] if s.style}
        red = styles["red"]
        assert isinstance(red, Style)
        assert red.bold
        assert red.color is not None
        assert red.color.number == 1
        back = styles["back"]
        assert back is not None
        assert back.bgcolor is not None
        assert back.bgcolor.triplet == (1, 2, 3)


async def test_a_bar_is_one_line_that_moves() -> None:
    bar = b"\rquantize:  10%|#         | 10/100"
    async with looking_at(b"start\n" + bar) as (d, run, log):
        assert text_of(log) == "start\nquantize:  10%|#         | 10/100"
        append(run, b"\rquantize:  20%|##        | 20/100")
        await d.until(lambda: "20/100" in text_of(log), "the next step")
        assert "10/100" not in text_of(log)
        assert len(text_of(log).split("\n")) == 2


async def test_a_bar_longer_than_what_is_read_of_a_line_shows_its_end() -> None:
    bar = b"".join(b"\rstep %6d of 100000 %s" % (i, b"=" * 60) for i in range(2000))
    async with looking_at(bar) as (d, run, log):
        assert text_of(log).startswith("step   1999 of")
        append(run, b"\rstep 002000 of 100000")
        await d.until(lambda: text_of(log).startswith("step 002000"), "the next step")


async def test_a_line_of_ten_megabytes() -> None:
    async with looking_at(b"before\n" + b"\x00ab" * 3_500_000 + b"\nafter\n") as (d, _, log):
        assert text_of(log).startswith("before\n\\x00ab\\x00ab")
        assert text_of(log).endswith("\nafter")
        await d.press("Z")
        assert text_of(log).endswith("after")
        assert "(a line of 10,500,000 bytes)" in text_of(log)
        await d.press("k", "k", "g")
        assert text_of(log).startswith("before")
        await d.press("G", "Z", "l", "l")
        assert text_of(log).split("\n")[-1] == ""


async def test_following_pausing_and_what_is_new() -> None:
    async with looking_at(b"".join(b"line %d\n" % i for i in range(500))) as (d, run, log):
        assert text_of(log).endswith("line 499")
        append(run, b"line 500\n")
        await d.until(lambda: text_of(log).endswith("line 500"), "it follows")
        await d.press("k", "k")
        assert not log.follows
        append(run, b"line 501\nline 502\n")
        await d.until(lambda: log.n_new == 2, "two new ones")
        assert text_of(log).endswith("line 498")
        await d.press("j")
        assert not log.follows
        await d.press("pagedown")
        assert log.follows
        assert text_of(log).endswith("line 502")


async def test_scrolling_over_wrapped_lines_leaves_out_no_row() -> None:
    lines = [b"%03d " % i + b"x" * (37 * (i % 7)) + b" end%03d" % i for i in range(36)]
    async with looking_at(b"\n".join(lines) + b"\n") as (d, _, log):
        await d.press("Z", "g")
        seen = [text_of(log).split("\n")[0]]
        while not log.follows:
            before = text_of(log).split("\n")
            await d.press("j")
            after = text_of(log).split("\n")
            if not log.follows:
                assert after[: len(before) - 1] == before[1:]
            seen.append(after[0])
        end = text_of(log)
        assert end.split("\n")[-1].endswith("end035")
        await d.press(*"k" * 120)
        assert text_of(log).startswith("000")
        await d.press("G")
        assert text_of(log) == end


async def test_a_log_that_is_cut_is_shown_anew() -> None:
    async with looking_at(b"old\n" * 100) as (d, run, log):
        await d.press("k")
        run.log_path.write_bytes(b"new\n")
        await d.until(lambda: text_of(log).strip() == "new", "what is there now")
        run.log_path.unlink()
        await d.press("j", "k", "g", "G")
        assert text_of(log).strip() == "new"


async def test_search_is_among_the_lines_that_are_shown() -> None:
    content = b"".join(b"needle %d\n" % i if i % 10 else b"ERROR: needle %d\n" % i for i in range(300))
    async with looking_at(content) as (d, _, log):
        await d.press("c", "c")
        await d.until(lambda: d.log_pane.source is not None and d.log_pane.source.n_rows == 30, "errors only")
        await d.press("g", "slash")
        await d.type("needle 1")
        await d.press("enter")
        await d.until(lambda: log.mark == 10, "the first")
        await d.press("n")
        await d.until(lambda: log.mark == 100, "the next that is shown")
        await d.press("c")
        assert d.log_pane.source is not None
        assert d.log_pane.source.levels is Levels.ALL
        await d.press("n")
        await d.until(lambda: log.mark == 101, "the next of all")


async def test_escape_ends_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    async with looking_at(b"some text\n" * 100) as (d, _, log):
        began: list[bool] = []

        def endless(self: LogSource, text: str, first: int, direction: int, cancelled: object) -> tuple[None, bool]:
            began.append(True)
            while not cancelled():  # type: ignore[operator]
                os.sched_yield()
            return None, False

        monkeypatch.setattr(LogSource, "find", endless)
        await d.send("slash", "x", "enter")
        await d.until(lambda: began, "the search")
        assert "esc ends it" in d.runs.hints.status
        await d.send("escape")
        await d.until(lambda: "the search was ended" in d.runs.hints.status, "its end")
        await d.settle()
        assert log.mark is None
        assert d.app.screen is d.runs


async def test_a_huge_log_is_there_at_once_and_counted_meanwhile(tmp_path: Path) -> None:
    """Sparse: a gigabyte of NULs without a line end, then lines. Only its end is read to show it."""
    run = shell("exec sleep 600", name="huge")
    with run.log_path.open("wb") as f:
        f.write(b"first\n")
        f.seek(1 << 30)
        f.write(b"\nthe end is here\n")
    source = LogSource(run.log_path)
    assert source.total is None
    assert source.rows(source.n_rows - 1, 1)[0].data == b"the end is here"
    source.let_go()


async def test_rows_keep_their_place_when_the_lines_were_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever scrolls up before the lines of a large log are counted stays where they are."""
    run = shell("exec sleep 600", name="large")
    run.log_path.write_bytes(b"".join(b"line %d\n" % i for i in range(5000)))
    allowed: list[bool] = []
    refresh = LogSource.refresh

    def later(self: LogSource, *arguments: object) -> bool:
        return refresh(self, *arguments) if allowed else False  # type: ignore[arg-type]

    monkeypatch.setattr(LogSource, "refresh", later)
    async with open_app() as d:
        log = d.log_view
        await d.until(lambda: "line 4999" in text_of(log), "the end")
        await d.press("2", "pageup", "pageup")
        before = text_of(log)
        assert "line 4999" not in before
        allowed.append(True)
        await d.until(lambda: d.log_pane.source is not None and d.log_pane.source.total == 5000, "all counted")
        await d.settle()
        assert text_of(log) == before
        await d.press("g")
        assert text_of(log).startswith("line 0")
