"""UTF-16, marks, and logs of two encodings: the same answer as for UTF-8, however the bytes are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector.errors import UsageError
from qinspect.inspector.logs import LogFile, LogParser
from qinspect.inspector.logs.levels import LevelScan
from qinspect.inspector.logs.patterns import builtin_patterns

TEXT = (
    "2025-11-07:19:59:56,769 INFO     [main.py:18] Creating Model: größe/模型\n"
    "2025-11-07:20:00:10,000 WARNING  [main.py:44] percentile_alpha is given twice ᄀ਀Ċ\n"
    "calibrating:  50%|█████     | 1/2 [00:01<00:01,  1.00s/it]\n"
    "\n"
    "Traceback (most recent call last):\n"
    '  File "main.py", line 10, in <module>\n'
    "ValueError: bad scale 😀\n"
)
MARKS = {"utf-8": b"\xef\xbb\xbf", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}


def said(data: bytes, *cuts: int) -> list[tuple[str, int, dict[str, Any]]]:
    parser, made, at = LogParser(builtin_patterns()), [], 0
    for cut in (*cuts, len(data)):
        made += parser.feed(data[at:cut])
        at = cut
    return [(e.kind, e.line, e.fields) for e in made + parser.close()]


@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", MARKS)
def test_the_same_answer_in_every_encoding(encoding: str, end: str, mark: bool) -> None:
    data = (MARKS[encoding] if mark else b"") + TEXT.replace("\n", end).encode(encoding)
    wanted = said(TEXT.encode())
    assert {kind for kind, _, _ in wanted} >= {"phase", "warning", "progress", "error", "note"}
    assert said(data) == wanted
    assert said(data, *range(1, len(data))) == wanted


LINES = st.lists(
    st.one_of(
        st.sampled_from(TEXT.split("\n")),
        st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20),
    ),
    min_size=1,
    max_size=8,
)


@given(LINES, st.sampled_from(sorted(MARKS)), st.lists(st.integers(1, 400), max_size=6))
def test_any_text_with_a_mark(lines: list[str], encoding: str, cuts: list[int]) -> None:
    text = "Creating Model: a\n" + "\n".join(lines) + "\n"
    data = MARKS[encoding] + text.encode(encoding)
    if encoding != "utf-8":  # a line whose bytes are all ASCII is taken for UTF-8: some of Chinese are
        lines_ok = all(any(b < 32 or b > 126 for b in line.encode(encoding)) for line in lines if line)
        if not lines_ok:
            return
    assert said(data, *sorted(c for c in cuts if c < len(data))) == said(text.encode())


def test_offsets_are_those_of_the_file() -> None:
    data = MARKS["utf-16-le"] + "ok ä\r\nERROR: x\r\n".encode("utf-16-le")
    parser = LogParser(builtin_patterns())
    (event,) = [e for e in parser.feed(data) if e.kind == "error"]
    assert data[event.offset :].decode("utf-16-le").startswith("ERROR: x")


@pytest.mark.parametrize("order", [("utf-8", "utf-16-le"), ("utf-16-le", "utf-8"), ("utf-16-le", "utf-16-be", "utf-8")])
@pytest.mark.parametrize("mark", [True, False])
def test_several_encodings_in_one_log(order: tuple[str, ...], mark: bool) -> None:
    pieces = [f"WARNING: in {name}\nERROR: of {name}\n" for name in order]
    data = b"".join((MARKS[n] if mark else b"") + p.encode(n) for n, p in zip(order, pieces, strict=True))
    found = [f["text"] for kind, _, f in said(data) if kind in ("warning", "error")]
    assert found == [f"{word} {name}" for name in order for word in ("in", "of")]
    assert said(data, *range(1, len(data))) == said(data)


def test_nuls_that_are_no_utf16_stay() -> None:
    ((_, _, fields),) = (x for x in said(b"ERROR: a\0b\0\0c\n") if x[0] == "error")
    assert fields["text"] == "a\\x00b\\x00\\x00c"


@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("encoding", MARKS)
def test_the_view_shows_searches_and_filters(encoding: str, mark: bool, tmp_path: Path) -> None:
    path = tmp_path / "log"
    text = TEXT.replace("਀", "").replace("Ċ", "")
    path.write_bytes((MARKS[encoding] if mark else b"") + text.replace("\n", "\r\n").encode(encoding))
    wanted = [line.encode() for line in text.split("\n")[:-1]]
    with LogFile(path) as log:
        assert [line.data for line in log.tail(20)] == wanted
        assert [line.data for line in log.lines(2, 3)] == wanted[2:5]
        assert log.build_index()
        assert log.n_lines == len(wanted)
        assert log.search("CALIBRATING") == 2
        assert log.search("bad scale", case=True) == 6
        assert log.search("模型") == 0
        if encoding == "utf-8":
            assert log.search("bad s.ale", regex=True) == 6
        else:
            with pytest.raises(UsageError, match="UTF-16"):
                log.search("bad s.ale", regex=True)
    scan = LevelScan(path)
    assert scan.scan(path.stat().st_size)
    assert (list(scan.warnings), list(scan.errors)) == ([1], [4, 5, 6])
