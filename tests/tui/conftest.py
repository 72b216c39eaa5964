"""What the screen's tests share: a home of their own for settings, and coroutines as tests."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_processes import kill_all
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet
from textual.css.types import CSSLocation

ENVIRONMENT = (
    "QINSPECT_STATE_DIR", "NO_COLOR", "COLORTERM", "TMUX", "SSH_CONNECTION", "SSH_TTY", "LC_ALL", "QINSPECT_ASCII",
)  # fmt: skip
"""Variables that change what the screen shows."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted}))
    return True


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Settings and runs are in a folder of this test, whose runs end with it; UTF-8, colours."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setattr("qinspect.tui.compare.rest.REST_S", 0.001)
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    yield home
    if (home / "state" / "qinspect" / "runs").exists():
        kill_all()


@pytest.fixture(autouse=True)
def in_fixtures(source_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder is the one of the fixtures, so that paths on the screen are the same everywhere."""
    place = source_root / "tests" / "data" / "quamba"
    monkeypatch.chdir(place)
    return place


@pytest.fixture(scope="session", autouse=True)
def _styles_parsed_once() -> Iterator[None]:
    """An app parses the styles of all its widgets, several times, and a session has hundreds of apps."""
    parse, known = Stylesheet._parse_rules, dict[tuple[object, ...], list[RuleSet]]()

    def parsed(self: Stylesheet, css: str, read_from: CSSLocation, *rest: Any, **named: Any) -> list[RuleSet]:
        key = (css, read_from, rest, *sorted(named.items()), *sorted(self._variables.items()))
        if key not in known:
            known[key] = parse(self, css, read_from, *rest, **named)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stylesheet, "_parse_rules", parsed)
        yield
