"""Which lines are warnings and errors: of loggers, of Python, of tracebacks; in files of any shape that grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from qinspect.inspector.errors import CannotOpen
from qinspect.inspector.logs import levels
from qinspect.inspector.logs.levels import LevelScan, level_of

TRACEBACK = b"""before
Traceback (most recent call last):
  File "main.py", line 3, in <module>
    raise ValueError("no")

ValueError: no
after it
"""


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (b"2026-11-22:07:18:45,608 WARNING  [m.py:870] x does not exist.", "warning"),
        (b"2026-11-22:07:18:45,608 ERROR    [m.py:870] x", "error"),
        (b"/opt/site/a.py:985: FutureWarning: `x` is deprecated.", "warning"),
        (b"RuntimeError: CUDA error: out of memory", "error"),
        (b"torch.cuda.OutOfMemoryError: CUDA out of memory", "error"),
        (b"KeyboardInterrupt", "error"),
        (b"error: unrecognized arguments", "error"),
        (b"\x1b[31mERROR: \x1b[mpainted", "error"),
        (b"bar 1\rbar 2\rWARNING: after a bar", "warning"),
        (b"0 errors, 0 warnings", ""),
        (b"mean error 0.01", ""),
        (b"2026-11-22:07:18:45,608 INFO     [m.py:870] Errors: none", "info"),
        (b"", ""),
    ],
)
def test_the_level_of_a_line(line: bytes, level: str) -> None:
    assert level_of(line) == level


def scanned(path: Path) -> LevelScan:
    scan = LevelScan(path)
    assert scan.scan(path.stat().st_size)
    return scan


@pytest.mark.parametrize("window", [128, 1 << 18])
def test_tracebacks_are_whole_whatever_the_windows(
    window: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "WINDOW_BYTES", window)
    path = tmp_path / "log"
    path.write_bytes(TRACEBACK + b"WARNING: one\n" + b"x" * 500 + b"\n" + b"e" * 300 + b"\nERROR: last\n")
    scan = scanned(path)
    assert list(scan.errors) == [1, 2, 3, 4, 5, 10]
    assert list(scan.warnings) == [7]


def test_a_scan_goes_on_where_it_was_and_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\nERROR: a\nERR")
    scan = scanned(path)
    assert (list(scan.errors), scan.number) == ([1], 2)
    with path.open("ab") as f:
        f.write(b"OR: b\nthree\n")
    assert scan.scan(path.stat().st_size)
    assert (list(scan.errors), scan.number) == ([1, 2], 4)


def test_it_agrees_with_looking_at_every_line(source_root: Path, tmp_path: Path) -> None:
    lines = [
        b"plain",
        b"WARNING: w",
        b"ERROR: e",
        b"",
        b"a\rb\rWARNING: x",
        b"\xff\xfe\x00",
        b"[W1122 10:00:00.0 a.cpp:1] w",
    ]
    data = b"".join(lines[i % len(lines)] + b"\n" for i in range(3000))
    path = tmp_path / "log"
    path.write_bytes(data)
    scan = scanned(path)
    wanted = [level_of(line) for line in data.split(b"\n")[:-1]]
    assert list(scan.warnings) == [i for i, level in enumerate(wanted) if level == "warning"]
    assert list(scan.errors) == [i for i, level in enumerate(wanted) if level == "error"]


def test_it_can_be_cancelled_and_a_missing_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"ERROR: a\n" * 10)
    scan = LevelScan(path)
    assert not scan.scan(90, lambda: True)
    assert scan.scan(90)
    assert len(scan.errors) == 10
    with pytest.raises(CannotOpen):
        LevelScan(tmp_path / "nothing").scan(1)
