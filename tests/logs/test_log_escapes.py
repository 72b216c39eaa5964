"""No escape sequence of a log acts; its colours are kept as data."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector.logs import PLAIN, Style, clean, plain

CASES = [
    (b"plain", [("plain", PLAIN)]),
    (b"", []),
    (b"\x1b[1;31mred\x1b[0m not", [("red", Style(fg=1, bold=True)), (" not", PLAIN)]),
    (b"\x1b[38;5;200ma\x1b[48;2;1;2;3mb\x1b[39;49mc", [
        ("a", Style(fg=200)), ("b", Style(fg=200, bg=(1, 2, 3))), ("c", PLAIN)]),
    (b"\x1b[92;103mx\x1b[2;3;4;7my\x1b[22;23;24;27mz", [
        ("x", Style(fg=10, bg=11)),
        ("y", Style(fg=10, bg=11, dim=True, italic=True, underline=True, reverse=True)),
        ("z", Style(fg=10, bg=11))]),
    (b"a\x1b[2Jb\x1b[10;10Hc\x1b]0;title\x07d\x1b]8;;http://x\x1b\\e\x1bPq\x1b\\f\x1bc", [("abcdef", PLAIN)]),
    (b"a\x1b]52;c;unterminated", [("a52;c;unterminated", PLAIN)]),
    (b"nul\x00 bel\x07 \xff", [("nul\\x00 bel\\x07 \ufffd", PLAIN)]),
    ("a\u202eb\u009bc".encode(), [("a\\u202eb\\x9bc", PLAIN)]),
    (b"a\tb\x1b[31m\tc", [("a       b", PLAIN), ("       c", Style(fg=1))]),
    (b"\r 10%\r 20%\r\n", [(" 20%", PLAIN)]),
    (b"text\r\n", [("text", PLAIN)]),
    (b"old\rnew\r   ", [("new", PLAIN)]),
    (b"\x1b[mx\x1b[38;5my\x1b[38mz\x1b[999;1mb", [("xyz", PLAIN), ("b", Style(bold=True))]),
]  # fmt: skip


@pytest.mark.parametrize(("line", "runs"), CASES, ids=range(len(CASES)))
def test_runs(line: bytes, runs: list[tuple[str, Style]]) -> None:
    assert clean(line) == runs


PARTS = st.sampled_from([b"\x1b", b"\x1b[", b"\x1b]", b"\x1bP", b"m", b";", b"38;5;", b"\x07", b"\\", b"\t", b"\r"])


@given(st.lists(st.one_of(PARTS, st.binary(max_size=6)), max_size=30).map(b"".join))
def test_nothing_that_acts_is_left(line: bytes) -> None:
    runs = clean(line)
    assert all(text for text, _ in runs)
    assert all(a[1] != b[1] for a, b in pairwise(runs))
    for c in plain(line):
        assert unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
