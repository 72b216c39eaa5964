"""What opens the screen, and what goes to the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from qinspect.inspector import cli
from qinspect.tui import entry, start
from qinspect.tui.alpha.alpha_words import AlphaWords
from qinspect.tui.remote import over_ssh


def test_the_names_of_commands_are_the_command_lines(capsys: pytest.CaptureFixture[str]) -> None:
    known = {name for name in cli.app if not name.startswith("-")}
    assert known == entry.COMMANDS


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), True),
        (("a",), True),
        (("a", "b"), True),
        (("a", "b", "c"), False),
        (("tree", "a"), False),
        (("diff", "a", "b"), False),
        (("./diff", "a"), True),
        (("a", "diff"), True),
        (("a", "--json"), False),
        (("--help",), False),
        (("-h",), False),
        (("--version",), False),
        (("a", "b", "--no-codes"), False),
        (("a", "b", "--low-bandwidth"), True),
        (("--low-bandwidth", "a"), True),
        (("--low-bandwidth",), True),
        (("--low-bandwidth", "tree", "a"), False),
        (("a", "b", "--noise", "x", "y"), True),
        (("a", "b", "--run", "x", "--low-bandwidth"), True),
        (("a", "--noise", "x", "y"), False),
        (("a", "--run", "x"), False),
        (("a", "b", "--noise", "x", "y", "--json"), False),
        (("diff", "a", "b", "--run", "x"), False),
    ],
    ids=str,
)
def test_what_wants_a_screen(words: tuple[str, ...], expected: bool) -> None:
    assert entry.ScreenWords.of(words).wants_screen is expected


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []

    def screen(
        a: str | None,
        b: str | None,
        low_bandwidth: bool,
        noise: tuple[str, ...] = (),
        noise_run: str | None = None,
        wanted: AlphaWords | None = None,
    ) -> int:
        if wanted is not None:
            found.append(("screen", wanted, low_bandwidth))
        else:
            found.append(("screen", a, b, low_bandwidth, *noise, *([noise_run] if noise_run else [])))
        return 7

    def line(words: list[str]) -> int:
        found.append(("line", *words))
        return 8

    monkeypatch.setattr(start, "run", screen)
    monkeypatch.setattr(cli, "main", line)
    monkeypatch.setattr(entry, "is_terminal", lambda: True)
    return found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("a",), ("screen", "a", None, False)),
        (("a", "--low-bandwidth", "b"), ("screen", "a", "b", True)),
        (("a", "b", "--json"), ("line", "a", "b", "--json")),
        (("a", "b", "--noise", "x", "y", "--run", "z"), ("screen", "a", "b", False, "x", "y", "z")),
        (("--run", "z", "a", "b", "--noise", "x", "y"), ("screen", "a", "b", False, "x", "y", "z")),
        (("a", "--noise", "x", "y"), ("line", "a", "--noise", "x", "y")),
        (("tree", "a"), ("line", "tree", "a")),
        (("tree", "a", "--low-bandwidth"), ("line", "tree", "a")),
        (("run", "--", "a", "--low-bandwidth"), ("line", "run", "--", "a", "--low-bandwidth")),
        ((), ("screen", None, None, False)),
        (("--low-bandwidth",), ("screen", None, None, True)),
        (("alpha", "r", "--bits", "4"), ("screen", AlphaWords("r", bits=4), False)),
        (("alpha", "--low-bandwidth", "r"), ("screen", AlphaWords("r"), True)),
        (("alpha", "r", "--json"), ("line", "alpha", "r", "--json")),
        (("alpha",), ("line", "alpha")),
    ],
)
def test_where_the_words_go(
    words: tuple[str, ...], expected: tuple[object, ...], calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["qinspect", *words])
    assert entry.main() == (7 if expected[0] == "screen" else 8)
    assert calls == [expected]


def test_without_a_terminal_it_is_the_command_line(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "is_terminal", lambda: False)
    monkeypatch.setattr(sys, "argv", ["qinspect", "a", "b", "--low-bandwidth"])
    assert entry.main() == 8
    assert calls == [("line", "a", "b")]


class Stream:
    def __init__(self, tty: bool) -> None:
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


@pytest.mark.parametrize("missing", ["", "stdin", "stdout", "stderr", "TERM", "dumb", "closed"])
def test_what_a_terminal_is(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, Stream(name != missing))
    if missing == "closed":
        monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setenv("TERM", {"TERM": "", "dumb": "dumb"}.get(missing, "xterm-256color"))
    assert entry.is_terminal() is (missing == "")


@pytest.mark.parametrize("name", ["SSH_CONNECTION", "SSH_TTY", ""])
def test_ssh_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name:
        monkeypatch.setenv(name, "x")
    assert over_ssh() is bool(name)


def test_a_path_that_is_the_name_of_a_command_can_be_written(tmp_path: Path) -> None:
    assert not entry.ScreenWords.of(["diff"]).wants_screen
    assert entry.ScreenWords.of([str(tmp_path / "diff")]).wants_screen
