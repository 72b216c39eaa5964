"""events.jsonl: whole lines only, however the bytes arrive."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector.runs import RunEvent, missing, read_all_events, read_events
from qinspect.inspector.runs import journal as journals
from qinspect.inspector.runs.journal import Journal, read_last_events

FIELDS = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)
NOISE = st.sampled_from([b"\n", b"{}\n", b"null\n", b'{"seq":"1","time":1,"kind":"x"}\n', b"\xff\x00\n", b"[[[[\n"])


@given(st.lists(st.tuples(st.text(min_size=1, max_size=6), FIELDS), max_size=8))
def test_what_is_appended_is_read_back(items: list[tuple[str, dict[str, object]]]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        journal = Journal(path)
        for kind, fields in items:
            assert journal.append(kind, fields)
        journal.close()
        events = read_all_events(path)
        assert [e.seq for e in events] == list(range(1, len(items) + 1))
        assert [e.kind for e in events] == [kind for kind, _ in items]
        for event, (_, fields) in zip(events, items, strict=True):
            assert set(event.fields) == {k for k in fields if k not in ("seq", "time", "kind")}


@given(st.lists(st.tuples(FIELDS, NOISE | st.just(b"")), max_size=6), st.lists(st.integers(0, 400), max_size=12))
def test_any_split_of_the_bytes_yields_the_same_events(
    items: list[tuple[dict[str, object], bytes]], cuts: list[int]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        journal = Journal(path)
        for fields, noise in items:
            journal.append("point", fields)
            with path.open("ab") as f:
                f.write(noise)
        journal.close()
        data = path.read_bytes()
        expected = read_all_events(path)
        assert len(expected) == len(items)
        growing = Path(folder) / "growing.jsonl"
        found: list[RunEvent] = []
        offset = 0
        for cut in [*sorted(min(c, len(data)) for c in cuts), len(data)]:
            growing.write_bytes(data[:cut])
            events, offset = read_events(growing, offset)
            found += events
            assert offset <= cut
            assert data[:offset].endswith(b"\n") or offset == 0
        assert found == expected
        assert offset == len(data)
        assert read_events(growing, offset) == ([], offset)


def test_a_half_written_line_is_not_there_until_its_newline(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    line = b'{"seq":1,"time":2.5,"kind":"start","pid":7}'
    path.write_bytes(line)
    assert read_events(path) == ([], 0)
    path.write_bytes(line + b"\n")
    assert read_events(path) == ([RunEvent(1, 2.5, "start", {"pid": 7})], len(line) + 1)


def test_a_writer_goes_on_after_one_that_was_killed_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal = Journal(path)
    journal.append("start")
    journal.close()
    with path.open("ab") as f:
        f.write(b'{"seq":2,"time":1,"ki')
    journal = Journal(path)
    journal.append("end")
    journal.close()
    assert [(e.seq, e.kind) for e in read_all_events(path)] == [(1, "start"), (2, "end")]


def test_a_journal_larger_than_one_reading_comes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "_READ_BYTES", 64)
    path = tmp_path / "events.jsonl"
    journal = Journal(path)
    for i in range(50):
        journal.append("point", {"name": "x" * (200 if i == 20 else 3)})
    journal.close()
    first, offset = read_events(path)
    assert 0 < len(first) < 50
    assert offset < path.stat().st_size
    assert [e.seq for e in read_all_events(path)] == list(range(1, 51))
    assert [e.seq for e in read_last_events(path, 300)][-1] == 50
    assert len(read_last_events(path, 300)) < 10


def test_a_line_without_an_end_does_not_stop_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "_READ_BYTES", 64)
    monkeypatch.setattr(journals, "_MAX_LINE_BYTES", 256)
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x" * 1000 + b'\n{"seq":1,"time":1,"kind":"end"}\n')
    assert [e.kind for e in read_all_events(path)] == ["end"]


def test_what_json_has_not_is_made_to_fit(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal = Journal(path)
    journal.append(
        "point", {"a": math.nan, "b": [math.inf, {"c": b"\x1b"}], "seq": 99, "t": "x" * 20_000, "3": "\ud800"}
    )
    journal.close()
    raw = path.read_bytes()
    assert raw.isascii()
    assert b"\x1b" not in raw
    json.loads(raw, parse_constant=pytest.fail)
    (event,) = read_all_events(path)
    assert event.seq == 1
    assert event.fields["a"] is None
    assert event.fields["b"][0] is None
    assert len(event.fields["t"]) < 17_000
    assert event.fields["3"] == "\ud800"


def test_gaps_are_counted() -> None:
    assert missing([]) == 0
    assert missing([RunEvent(s, 0, "x") for s in (1, 2, 5, 6, 8)]) == 3


def test_a_journal_that_is_not_there_has_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "none", 17) == ([], 17)
    assert read_last_events(tmp_path / "none") == []


def test_the_file_is_its_owners(tmp_path: Path) -> None:
    Journal(tmp_path / "events.jsonl").close()
    assert os.stat(tmp_path / "events.jsonl").st_mode & 0o077 == 0
