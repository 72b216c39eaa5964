"""The command line's border: one room writes to stdout and stderr, and what it writes does nothing to a terminal."""

from __future__ import annotations

import ast
import io
import logging
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_models import EVERY, IN_A_NAME, MARK, PAYLOADS, hostile_log, hostile_model
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector.calibrate.records import begin_log, log
from qinspect.inspector.printing import Foreign, Meter, foreign_stderr, narrate, print_text, progress
from qinspect.inspector.text import columns, is_plain, shell_words, visible, visible_lines

ROOT = Path(__file__).parents[1]
REASONS = {
    "inspector/demo/train.py: print": "a script for developers: numbers that it made",
    "inspector/runs/cli.py: sys.stdout.buffer.write": "a log into a pipe or file, byte for byte; never a terminal",
    "inspector/runs/supervisor.py: sys.stderr.write": "a process of its own, whose stderr is a file",
}
"""Writes to a stream outside printing.py, and why they are not text that reaches a terminal."""
STREAM = re.compile(r"(sys\.)?(stdout|stderr)(\.buffer)?\.(write|writelines)$")


def stream_calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            into_stdout = name == "json.dump" and "sys.std" in ast.unparse(node)
            if name in ("print", "pprint", "click.echo", "rich.print") or STREAM.search(name) or into_stdout:
                yield name


def test_nothing_else_writes_to_a_stream() -> None:
    places = [p for room in ("inspector", "kernels", "tui") for p in sorted((ROOT / room).rglob("*.py"))]
    found = {
        f"{p.relative_to(ROOT)}: {name}"
        for p in places
        if p != ROOT / "inspector" / "printing.py"
        for name in stream_calls(p)
    }
    assert found == REASONS.keys()


def test_what_is_safe_already_is_said_by_whom() -> None:
    """`write_safe` takes sequences of ours; whoever uses it has made the text safe."""
    users = {
        str(p.relative_to(ROOT))
        for room in ("inspector", "tui")
        for p in (ROOT / room).rglob("*.py")
        if re.search(r"\bwrite_safe\(", p.read_text())
    }
    assert users == {"inspector/printing.py", "inspector/runs/cli.py", "inspector/verify/cli.py"}


def test_loggers_have_the_one_formatter() -> None:
    for path in (ROOT / "inspector").rglob("*.py"):
        if path.name != "records.py":
            assert "logging.Formatter" not in path.read_text(), path
            assert "basicConfig" not in path.read_text(), path


# --- what the room does ---


@pytest.mark.parametrize("kind", PAYLOADS)
def test_every_way_out(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = PAYLOADS[kind]
    print_text(f"a {text}\nb")
    narrate(text)
    progress(f"{text}: 10 %", ends=True)
    out, err = capsys.readouterr()
    for stream in (out, err.replace("\r", "")):
        assert is_plain(stream.replace("\n", ""))
        assert MARK in stream


@pytest.mark.parametrize("kind", PAYLOADS)
def test_the_log_of_a_calibration(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = PAYLOADS[kind]
    begin_log()
    log.info("Creating Model:%s", text)
    log.warning("%s %s", text, {text: text})
    err = capsys.readouterr().err
    assert err.count("\n") == 2
    assert is_plain(err.replace("\n", ""))
    assert visible(text) in err


def test_what_libraries_write_is_escaped_and_their_bars_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    from tqdm import tqdm  # type: ignore[import-untyped]

    with foreign_stderr():
        logging.StreamHandler(sys.stderr).emit(logging.makeLogRecord({"msg": f"unexpected key {EVERY}"}))
        for _ in tqdm(range(3), desc=PAYLOADS["title"], file=sys.stderr):
            pass
        sys.stderr.writelines(["\n\x1b[A", "\x1b[31m", "\n\x1b[A"])
        assert sys.stderr.encoding
        assert not sys.stderr.isatty()
    err = capsys.readouterr().err
    assert "100%" in err
    assert err.endswith("\n\x1b[A")
    assert "\r" in err
    assert is_plain(re.sub("[\r\n]", "", err.replace("\n\x1b[A", "")))
    assert not isinstance(sys.stderr, Foreign)


@given(st.text())
def test_foreign_text_keeps_its_lines(text: str) -> None:
    out = io.StringIO()
    assert Foreign(out).write(text) == len(text)
    made = out.getvalue()
    if not re.fullmatch("(\n|\x1b\\[A)*", text):
        assert made.count("\n") == text.count("\n")
        assert is_plain(made.removeprefix("\r").replace("\n", ""))


@given(st.lists(st.text(), max_size=4))
def test_cells_and_lines_are_as_many_as_were_given(cells: list[str]) -> None:
    assert columns(*cells).count("\t") == max(0, len(cells) - 1)
    assert "\n" not in columns(*cells)
    assert visible_lines("\n".join(cells)).count("\n") == "\n".join(cells).count("\n")
    assert is_plain(shell_words(cells))


# --- every command, on a terminal ---


def on_a_terminal(*words: str | Path) -> str:
    """What a command writes where stdout and stderr are a terminal."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "qinspect.inspector", *map(str, words)]
    child = subprocess.Popen(command, stdout=slave, stderr=slave)  # a fork of a worker that has threads may hang
    os.close(slave)
    out = b""
    while True:
        try:
            more = os.read(master, 1 << 16)
        except OSError:  # the child has closed its end
            break
        if not more:
            break
        out += more
    code = child.wait()
    os.close(master)
    text = out.decode("utf-8", "replace").replace("\r\n", "\n")
    assert code in (0, 1, 2), text[-2000:]
    return text


OURS = re.compile("\x1b\\[[01]?m|\r\x1b\\[K[^\r]*|\r(?=[a-z ]+[:])")
"""Bold headers, what erases a meter, a bar's return."""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    made = {
        "A": hostile_model(tmp_path / f"a{IN_A_NAME['title']}{IN_A_NAME['override']}"),
        "B": hostile_model(tmp_path / f"b{IN_A_NAME['C1 CSI']}{IN_A_NAME['feed']}", 2.0),
        "log": tmp_path / f"log{IN_A_NAME['clipboard']}",
    }
    made["log"].write_text(hostile_log())
    return made


COMMANDS: dict[str, tuple[str, ...]] = {
    "report": ("A", "B"),
    "report of one": ("A",),
    "tree": ("tree", "A", "--expand"),
    "scales": ("scales", "A"),
    "experts": ("experts", "A"),
    "show": ("show", "A", EVERY),
    "diff": ("diff", "A", "B", "--only", "all"),
    "csv": ("diff", "A", "B", "--only", "all", "--csv"),
    "markdown": ("diff", "A", "B", "--only", "all", "--markdown"),
    "json": ("diff", "A", "B", "--json"),
    "dequantize": ("dequantize", "A", f"o{IN_A_NAME['title']}.safetensors"),
    "explain": ("explain", "A", "B"),
    "loaders": ("loaders", "A", "--engine", EVERY),
    "loaders of one": ("loaders", "A"),
    "logs": ("logs", "log", "--points"),
    "logs as json": ("logs", "log", "--json"),
    "accuracy": ("accuracy", "log", "log"),
    "verify": ("verify", "A", "--key", EVERY),
    "whence": ("whence", "A", "--run", EVERY),
    "apply": ("apply", EVERY, "--to", "A", "--out", "x"),
    "alpha": ("alpha", EVERY),
    "calibrate": ("calibrate", "A", "--here", "--state", "st"),
    "calibrate nothing": ("calibrate", f"no{IN_A_NAME['title']}"),
    "calibrate with": ("calibrate", "demo", "--data", "log", "--here", "--samples", "1", "--seq-len", "16",
                       "--device", "cpu", "--state", f"st{IN_A_NAME['colour']}", "--out", f"out{IN_A_NAME['title']}"),
    "run": ("run", "--name", EVERY, "--env", f"X={EVERY}", "-f", "--", "cat", "log"),
    "run nothing": ("run", "--", EVERY),
    "runs": ("runs",),
    "runs show": ("runs", "show", EVERY),
    "unknown option": ("tree", "A", f"--{EVERY}"),
    "unknown words": (EVERY, EVERY, EVERY),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_on_a_terminal(places: dict[str, Path], name: str) -> None:
    text = on_a_terminal(*(places.get(w, w) for w in COMMANDS[name]))
    left = OURS.sub("", text).replace("\n", "")
    bad = [c for c in left if not is_plain(c)]
    assert not bad, (bad[:5], [left[max(0, left.index(c) - 40) : left.index(c) + 40] for c in bad[:1]])
    assert "Traceback (most recent call last):\n" not in text or name in ("run", "logs")


def test_a_meter_names_its_phase_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", out)
    meter = Meter()
    meter.start -= 10
    meter.last -= 10
    meter(f"opening {EVERY}", 1, 2)
    assert is_plain(out.getvalue().removeprefix("\r\x1b[K"))
