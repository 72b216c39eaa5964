"""The user's config file, the remembered state, and crash reports: where they are and how they are read.

The config file maps actions to keys: a table `[keys]` with lines such as `quit = "ctrl+x"`. `[runs] notify` says how a
run's end is announced besides on the screen.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from textual.keys import _character_to_key

from qinspect.inspector.config import config_path
from qinspect.inspector.places import state_folder
from qinspect.inspector.whole_file import replacing
from qinspect.tui.actions import ALL_ACTIONS, BY_NAME, key_text

VIEWS = ("detail", "histogram", "weight", "codes", "profile", "values")


class BadConfig(Exception):
    """The config file cannot be used; the message says why and where."""


MOST_PAIRS = 50
"""Pairs of models whose view is remembered: the last ones."""


MANY_COLORS, FEW_COLORS, NO_COLORS = "many", "sixteen", "none"
"""Kinds of terminals, of which each has a theme of its own that is remembered."""


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered from one time to the next. themes: the theme of each kind of terminal, by how many colours it
    has; what was chosen for one says nothing of another. views: the view of a pair of models, the last one at the end;
    what one pair was looked at by says nothing of another."""

    themes: Mapping[str, str] = field(default_factory=dict)
    views: Mapping[str, str] = field(default_factory=dict)

    def view_of(self, a: str, b: str | None) -> str:
        """The view that these models were left with."""
        return self.views.get(_pair(a, b), VIEWS[0])

    def with_theme(self, colors: str, theme: str) -> State:
        """The same, and terminals with so many colours have a theme."""
        return replace(self, themes={**self.themes, colors: theme})

    def with_view(self, a: str, b: str | None, view: str) -> State:
        """The same, and these models are left with a view."""
        pair = _pair(a, b)
        kept = {p: v for p, v in self.views.items() if p != pair} | ({pair: view} if view != VIEWS[0] else {})
        return replace(self, views=dict(list(kept.items())[-MOST_PAIRS:]))


def _pair(a: str, b: str | None) -> str:
    """Paths as they are everywhere on this machine; the name of a model of a hub as it is."""
    return "\n".join(os.path.abspath(p) if os.path.exists(p) else p for p in (a, b) if p is not None)


def state_path() -> Path:
    """`screen.json` in the user's state folder."""
    return state_folder() / "screen.json"


NOTIFY = ("none", "bell", "osc9")


def _content(consequence: str) -> dict[str, Any]:
    """The config file, {} where there is none. Raises BadConfig where it cannot be read."""
    path = config_path()
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise BadConfig(f"{path}: {e}; {consequence}") from e


def load_notify() -> str:
    """How a run's end is announced besides on the screen, one of NOTIFY. Raises BadConfig for anything else."""
    table = _content("nothing is announced").get("runs", {})
    how = table.get("notify", "none") if isinstance(table, dict) else None
    if how not in NOTIFY:
        raise BadConfig(f"{config_path()}: [runs] notify must be one of {', '.join(NOTIFY)}; nothing is announced")
    return str(how)


def load_keys() -> dict[str, str]:
    """Action name to keys, "" lists joined by commas. Raises BadConfig for an unreadable file or an unknown action."""
    path, content = config_path(), _content("the built-in keys are used")
    keys = content.get("keys", {})
    if not isinstance(keys, dict):
        raise BadConfig(f"{path}: [keys] must be a table of action = key; the built-in keys are used")
    made = {}
    for name, value in keys.items():
        if name not in BY_NAME:
            raise BadConfig(f"{path}: there is no action {name!r}; `?` lists them")
        listed = value if isinstance(value, list) else [value]
        if not listed or not all(isinstance(v, str) and v.strip() for v in listed):
            raise BadConfig(f"{path}: {name} must be a key, or a list of keys; the built-in keys are used")
        made[name] = ",".join(v if len(v) == 1 else v.lower() for v in listed)  # F3 and Ctrl+X, as people write them
    return made


def clashing_keys(keys: Mapping[str, str]) -> str:
    """What is wrong where the config file maps two actions to one key, "" where it does not: only one can have it."""
    actions: dict[str, list[str]] = {}
    for name, listed in keys.items():
        for key in dict.fromkeys(map(_one_spelling, listed.split(","))):
            actions.setdefault(key, []).append(name)
    found: dict[str, None] = {}
    for key, everywhere in actions.items():
        for screen in ALL_ACTIONS:
            names = [a.name for a in screen if a.name in everywhere]
            if len(names) < 2:
                continue
            *others, last = sorted(names, key=everywhere.index)
            found[f"{', '.join(others)} and {last} have one key, {key_text(key)}: it does {names[0]}"] = None
    return f"{config_path()}: {'; '.join(found)}" if found else ""


def _one_spelling(key: str) -> str:
    """`/` and `slash` are one key."""
    key = key.strip()
    return _character_to_key(key) if len(key) == 1 else key


def load_state() -> State:
    """What was remembered; the default where there is nothing usable."""
    try:
        content = json.loads(state_path().read_text())
        views, themes = content.get("views", {}), content.get("themes", {})
        before = {MANY_COLORS: content["theme"]} if "theme" in content else {}  # as it was when there was one for all
        known = {str(k): str(t) for k, t in {**before, **themes}.items()}
        return State(known, {p: v for p, v in views.items() if v in VIEWS})
    except (OSError, ValueError, AttributeError, TypeError):
        return State()


def save_state(state: State) -> None:
    """Remember; a folder that cannot be written is no reason to complain while leaving."""
    try:
        path = state_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as f:
            f.write(json.dumps(asdict(state)).encode())
    except OSError:
        return


def write_crash_report(text: str) -> Path | None:
    """Save a traceback; None where nowhere can be written."""
    name = f"qinspect-crash-{time.strftime('%Y%m%d-%H%M%S')}-"
    for folder in (state_path().parent, Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, path = tempfile.mkstemp(dir=folder, prefix=name, suffix=".txt")  # never another's file
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as f:
                f.write(text)
        except OSError:
            continue
        return Path(path)
    return None
