"""Random access to log files: the same lines as a naive reading gives, whatever is in them and happens to them."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import qinspect.inspector.logs.file as module
from qinspect.inspector.errors import CannotOpen, UsageError
from qinspect.inspector.logs import Growth, LogFile
from qinspect.inspector.logs import line_index as index_module
from qinspect.inspector.logs import search as search_module
from qinspect.inspector.logs.file import MAX_LINE_BYTES

BLOCK = 16


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that happens at the edges of blocks happens all the time."""
    monkeypatch.setattr(index_module, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(module, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 12)
    monkeypatch.setattr(module, "_WINDOW_BYTES", 13)
    monkeypatch.setattr(search_module, "WINDOW_BYTES", 24)
    monkeypatch.setattr(search_module, "_OVERLAP_BYTES", 8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


def naive(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return lines


def shown(line: bytes, limit: int = MAX_LINE_BYTES) -> bytes:
    return line[:limit] if len(line) > limit else line.removesuffix(b"\r")


DATA = st.lists(
    st.sampled_from([b"\n", b"\r\n", b"a", b"bc", b"needle", b"x" * 40, b"NEEDLE ", b"\x00"]), max_size=60
).map(b"".join)


@given(data=DATA, start=st.integers(0, 40), n=st.integers(0, 40))
def test_lines_are_those_of_a_naive_reading(data: bytes, start: int, n: int, place: Path) -> None:
    path = place / "a.log"
    path.write_bytes(data)
    expected = [shown(line) for line in naive(data)]
    with LogFile(path) as log:
        from_end = [line.data for line in log.tail(n)]
        assert from_end == (expected[-n:] if n else [])
        assert [line.data for line in log.lines(-n, n)] == from_end
        found = log.lines(start, n)
        assert [line.data for line in found] == expected[start : start + n]
        assert [line.number for line in found] == list(range(start, min(start + n, max(start, len(expected)))))
        assert log.build_index()
        assert log.n_lines == len(expected)
        assert [line.data for line in log.tail(n)] == from_end
        for line in log.lines(0, 10**6):
            assert line.number == log.line_at(line.offset)
            assert log.offset_of(line.number) == line.offset


@pytest.mark.usefixtures("small_blocks")
def test_lines_over_the_edges_of_blocks(place: Path) -> None:
    @given(data=DATA, start=st.integers(0, 40), n=st.integers(1, 40))
    def check(data: bytes, start: int, n: int) -> None:
        path = place / "b.log"
        path.write_bytes(data)
        lines = naive(data)
        with LogFile(path) as log:
            assert [line.data for line in log.tail(n)] == [shown(line, 12) for line in lines[-n:]]
            found = log.lines(start, n)
            assert [line.data for line in found] == [shown(line, 12) for line in lines[start : start + n]]
            assert [line.cut for line in found] == [max(0, len(line) - 12) for line in lines[start : start + n]]
            assert [log.line_at(line.offset) for line in found] == [line.number for line in found]

    check()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("case", [True, False])
@pytest.mark.parametrize("regex", [True, False])
def test_search_finds_what_a_naive_search_finds(case: bool, regex: bool, place: Path) -> None:
    @given(data=DATA, at=st.integers(-2, 50))
    def check(data: bytes, at: int) -> None:
        path = place / "c.log"
        path.write_bytes(data)
        pattern = re.compile(b"needle", 0 if case else re.IGNORECASE)
        hits = [i for i, line in enumerate(naive(data)) if pattern.search(line)]
        with LogFile(path) as log:
            after = [i for i in hits if i >= at]
            before = [i for i in hits if i <= at]
            assert log.search("needle", at, 1, case=case, regex=regex) == (after[0] if after else None)
            assert log.search("needle", at, -1, case=case, regex=regex) == (before[-1] if before else None)

    check()


@pytest.mark.usefixtures("small_blocks")
def test_growing_in_pieces_is_the_same_as_all_at_once(place: Path) -> None:
    @given(pieces=st.lists(DATA, max_size=6))
    def check(pieces: list[bytes]) -> None:
        path = place / "d.log"
        path.write_bytes(b"")
        with LogFile(path) as log, path.open("ab") as out:
            data = b""
            for piece in pieces:
                out.write(piece)
                out.flush()
                data += piece
                assert log.grow() is (Growth.GROWN if piece else Growth.SAME)
                assert log.build_index()
                assert log.n_lines == len(naive(data))
                assert [line.data for line in log.tail(3)] == [shown(line, 12) for line in naive(data)[-3:]]

    check()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogFile]:
    path = tmp_path / "run.log"
    path.write_bytes(b"one\ntwo\nthree")
    with LogFile(path) as opened:
        yield opened


def test_a_last_line_is_completed_later(log: LogFile) -> None:
    log.build_index()
    assert (log.n_lines, log.lines(2, 9)[0].data) == (3, b"three")
    with log.path.open("ab") as out:
        out.write(b" and more\nfour\n")
    assert log.grow() is Growth.GROWN
    assert log.n_lines is None
    assert [line.data for line in log.tail(2)] == [b"three and more", b"four"]
    assert log.tail(1)[0].number is None
    assert [line.data for line in log.lines(3, 9)] == [b"four"]


@pytest.mark.parametrize("content", [b"new\n", b"one\ntwO\nthree", b"ONE\ntwo\nthree and some more\n"])
def test_a_file_cut_or_rewritten_in_place_is_noticed(content: bytes, log: LogFile) -> None:
    log.build_index()
    log.path.write_bytes(content)
    assert log.grow() is Growth.REPLACED
    assert log.n_lines is None
    assert [line.data for line in log.lines(0, 9)] == naive(content)


def test_a_rotated_file_is_noticed(log: LogFile) -> None:
    log.path.rename(log.path.with_suffix(".1"))
    assert log.grow() is Growth.GONE
    assert log.tail(1)[0].data == b"three"
    log.path.write_bytes(b"fresh\n")
    assert log.grow() is Growth.REPLACED
    assert log.tail(9)[-1].data == b"fresh"
    assert log.grow() is Growth.SAME


def test_a_file_cut_while_it_is_read_gives_what_is_left(log: LogFile) -> None:
    os.truncate(log.path, 5)
    assert [line.data for line in log.lines(0, 9)] in ([b"one", b"t"], [b"one"])
    assert not log.build_index()
    assert log.search("two") is None


def test_long_lines(tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    long = b"x" * 10_000_000
    path.write_bytes(b"first\n" + long + b"needle\nlast")
    with LogFile(path) as log:
        middle, last = log.tail(2)
        assert (middle.data, last.data) == (long[:MAX_LINE_BYTES], b"last")
        assert middle.cut == len(long) + 6 - MAX_LINE_BYTES
        assert [line.data[:5] for line in log.lines(0, 9)] == [b"first", b"xxxxx", b"last"]
        assert log.search("needle") == 1
        assert log.search("needle", 2, -1) == 1


def test_the_end_of_one_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TAIL_BYTES", 1 << 20)
    path = tmp_path / "endless.log"
    path.write_bytes(b"x" * 3_000_000 + b"the end")
    with LogFile(path) as log:
        (line,) = log.tail(5)
        assert line.cut_start
        assert line.data.endswith(b"the end")
        assert line.cut + len(line.data) == 3_000_007


def test_levels() -> None:
    assert module.line_level(b"\x1b[33m2025-11-07:19:59:56,769 WARNING  [main.py:18] x") == "warning"
    assert module.line_level(b"\r 10%\rERROR: x") == "error"
    assert module.line_level(b"just text") == ""


def test_searches_are_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "big.log"
    with path.open("wb") as out:
        out.truncate(3 << 30)  # holes: no disk is used
    with LogFile(path) as log:
        start = time.perf_counter()
        assert log.search("x", 0, 1, lambda: time.perf_counter() - start > 0.2) is None
        assert time.perf_counter() - start < 0.4
        assert log.tail(3)


def test_a_reader_and_an_indexer_at_once(tmp_path: Path) -> None:
    path = tmp_path / "both.log"
    path.write_bytes(b"".join(b"line %d\n" % i for i in range(400_000)))
    with LogFile(path) as log:
        workers = [threading.Thread(target=log.build_index) for _ in range(3)]
        for worker in workers:
            worker.start()
        while any(w.is_alive() for w in workers):
            assert [line.data for line in log.tail(2)] == [b"line 399998", b"line 399999"]
        assert log.n_lines == 400_000
        assert log.lines(123_456, 1)[0].data == b"line 123456"


def test_what_cannot_be_opened_or_searched(tmp_path: Path, log: LogFile) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(CannotOpen, match=str(path)):
            LogFile(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CannotOpen, match="pipe"):
        LogFile(tmp_path / "pipe")
    with pytest.raises(UsageError, match="not a valid regular expression"):
        log.search("(", regex=True)
    assert log.search("") is None


@pytest.mark.parametrize("ends", [b"\n", b""], ids=["ended", "open"])
@pytest.mark.parametrize("after", [b"", b"next\n"], ids=["last", "not last"])
def test_the_end_of_a_line_of_any_length_is_known_by_the_index(
    ends: bytes, after: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sparse: a line of 64 MB. Once its lines are counted no look at it reads it again."""
    path, n = tmp_path / "log", 64 << 20
    with path.open("wb") as f:
        f.write(b"first\n")
        f.seek(6 + n - 1)
        f.write(b"x" + (ends or (b"\n" if after else b"")) + after)
    read: list[int] = []
    real = os.pread
    with LogFile(path) as log:
        assert log.build_index()

        def counted(fd: int, size: int, at: int) -> bytes:
            read.append(size)
            return real(fd, size, at)

        monkeypatch.setattr(os, "pread", counted)
        found = log.lines(0, 3)
        assert [len(line.data) + line.cut for line in found] == [5, n, *([4] if after else [])]
        assert sum(read) < 16 << 20
