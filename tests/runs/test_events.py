"""From the log to the journal: what the parser says gets there, at a bearable rate, and its mistakes harm nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector import logs
from qinspect.inspector.logs import EventKind, LogEvent
from qinspect.inspector.runs.tail import LogTail, last_line
from qinspect.inspector.runs.throttle import BURST, EVENTS_PER_S, PROGRESS_EVERY_S, Item, Throttle


class Words:
    """A parser for tests: a line is a kind and a text; `boom` is a mistake."""

    made = 0

    def __init__(self, patterns: object = None, argv: object = ()) -> None:
        Words.made += 1
        self._rest = b""

    def feed(self, data: bytes) -> list[LogEvent]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [self._event(line.decode()) for line in lines]

    def close(self) -> list[LogEvent]:
        return [self._event(self._rest.decode())] if self._rest else []

    @staticmethod
    def _event(line: str) -> LogEvent:
        kind, _, text = line.partition(" ")
        if kind == "boom":
            raise RuntimeError("a mistake")
        return LogEvent(cast("EventKind", kind), {"text": text}, 1, 0)


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> type[Words]:
    monkeypatch.setattr(logs, "LogParser", Words)
    Words.made = 0
    return Words


def texts(items: list[Item]) -> list[tuple[str, Any]]:
    return [(kind, fields.get("text")) for kind, fields in items]


def read(tail: LogTail) -> list[Item]:
    return list(tail.read(60))


@pytest.mark.usefixtures("parser")
def test_the_log_is_read_as_it_grows(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tail = LogTail(log)
    assert read(tail) == [("warning", {"text": f"the log could not be understood here: FileNotFoundError: [Errno 2] "
                                       f"No such file or directory: '{log}'"})]  # fmt: skip
    log.write_text("phase one\nerr")
    assert texts(read(tail)) == [("phase", "one")]
    assert read(tail) == []
    with log.open("a") as f:
        f.write("or two")
    assert texts(read(tail)) == []
    assert texts(list(tail.close())) == [("error", "two")]
    assert (tail.last_error, last_line(log)) == ("two", "error two")
    assert tail.backlog() == 0


@pytest.mark.usefixtures("parser")
def test_a_log_that_becomes_shorter_is_read_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("phase one\nphase two\n")
    tail = LogTail(log)
    read(tail)
    log.write_text("phase new\n")
    assert [kind for kind, _ in read(tail)] == ["warning", "phase"]


def test_a_mistake_of_the_parser_is_said_once_and_survived(tmp_path: Path, parser: type[Words]) -> None:
    log = tmp_path / "log"
    tail = LogTail(log)
    found = []
    for line in ("boom", "phase one", *["boom"] * 10, "phase two"):
        with log.open("a") as f:
            f.write(f"{line}\n")
        found += texts(read(tail))
    assert found == [("warning", "the log could not be understood here: RuntimeError: a mistake"), ("phase", "one")]
    assert parser.made == 5
    assert list(tail.close()) == []


def test_a_parser_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> Any:
        raise ValueError("pattern 3")

    monkeypatch.setattr(logs, "LogParser", refuse)
    (tmp_path / "log").write_text("x\n")
    tail = LogTail(tmp_path / "log")
    assert read(tail) == [("warning", {"text": "logs are not understood: ValueError: pattern 3"})]
    assert read(tail) == []


@pytest.mark.usefixtures("parser")
def test_reading_stops_when_its_time_is_over(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * (1 << 20))
    tail = LogTail(log)
    assert list(tail.read(-1)) == []
    assert 0 < tail.offset < 1 << 20
    assert tail.backlog() == (1 << 20) - tail.offset
    read(tail)
    assert tail.backlog() == 0


@given(
    before=st.lists(
        st.sampled_from([b"a line\n", b"\n", b"half a li", b"ERROR: early\n", b"1%|# | 1/10\r"]), max_size=8
    ),
    middle=st.lists(st.sampled_from([b"x" * 50 + b"\n", b"\r", b"\xff\n", b"no end"]), max_size=40),
    end=st.lists(st.sampled_from([b"ok\n", b"ERROR: late\n", b"RuntimeError: the reason\n"]), min_size=1, max_size=6),
    keep=st.integers(0, 200),
)
def test_what_stands_behind_a_part_that_was_passed_over_has_its_own_place(
    tmp_path_factory: pytest.TempPathFactory, before: list[bytes], middle: list[bytes], end: list[bytes], keep: int
) -> None:
    log = tmp_path_factory.mktemp("log") / "log"
    log.write_bytes(b"".join(before))
    tail = LogTail(log)
    read(tail)
    with log.open("ab") as f:
        f.write(b"".join((*middle, b"\n", *end)))
    backlog = tail.backlog()
    skipped = tail.skip_middle(keep)
    assert skipped == 0 or backlog - keep <= skipped <= backlog
    found = {(f["offset"], f["line"], f["text"]) for kind, f in (*read(tail), *tail.close()) if kind == "error"}
    whole = LogTail(log)
    every = {(f["offset"], f["line"], f["text"]) for kind, f in (*read(whole), *whole.close()) if kind == "error"}
    start = len(b"".join(before)) + skipped
    assert found == {e for e in every if e[0] >= start}


@pytest.mark.parametrize("raw", [b"", b"\n\n", b"\xff\xfe", b"\r\r", b"a\n" + b"b" * 100_000])
def test_the_last_line_of_any_log_is_short_text(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(raw)
    assert len(last_line(tmp_path / "log")) <= 500


# --- rate ---


def add(throttle: Throttle, kind: str, now: float, **fields: Any) -> list[Item]:
    return list(throttle.add(kind, fields, now))


def test_a_bar_gets_two_events_a_second_and_its_last() -> None:
    throttle = Throttle()
    written = [item for i in range(1001) for item in add(throttle, "progress", i * 0.01, name="a", done=i, total=1000)]
    written += list(throttle.close())
    times = 10 / PROGRESS_EVERY_S
    assert times <= len(written) <= times + 2
    assert written[0][1]["done"] == 0
    assert written[-1][1]["done"] == 1000
    assert list(throttle.close()) == []


def test_bars_do_not_hold_back_each_other() -> None:
    throttle = Throttle()
    assert [f["name"] for n in "abc" for _, f in add(throttle, "progress", 0, name=n)] == ["a", "b", "c"]
    assert add(throttle, "progress", 0.1, name="a", done=1) == []
    assert list(throttle.due(0.2)) == []
    assert list(throttle.due(PROGRESS_EVERY_S)) == [("progress", {"name": "a", "done": 1})]
    assert list(throttle.due(9)) == []


def test_bars_without_number_do_not_fill_the_memory() -> None:
    throttle = Throttle()
    for i in range(5000):
        add(throttle, "progress", i * 1e-6, name=str(i))
        add(throttle, "progress", i * 1e-6, name=str(i), done=1)
    assert len(throttle._bars) <= 200
    assert len(list(throttle.close())) <= 200


def test_a_flood_is_cut_and_counted() -> None:
    throttle = Throttle()
    written = [item for i in range(BURST + 500) for item in add(throttle, "warning", 0, text=str(i))]
    assert len(written) == BURST
    later = add(throttle, "error", 1, text="last")
    assert [kind for kind, _ in later] == ["warning", "error"]
    assert "500 events were left out" in later[0][1]["text"]
    assert len([x for i in range(200) for x in add(throttle, "warning", 1, text=str(i))]) <= EVENTS_PER_S
    assert "left out" in list(throttle.close())[-1][1]["text"]


def test_events_of_a_run_are_in_its_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real supervisor with the real parser, whichever it is: at the least, it begins and ends."""
    from run_processes import ended, shell

    from qinspect.inspector.runs import read_all_events

    run = shell("printf '\\r 10%%|x| 1/10 [00:01<00:09, 1.0it/s]'; echo; echo 'WARNING: w'; echo Traceback; exit 1")
    ended(run)
    kinds = [e.kind for e in read_all_events(run.events_path)]
    assert (kinds[0], kinds[-1]) == ("start", "end")
