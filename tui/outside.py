"""What leaves the screen: the clipboard, saved views."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import App

from qinspect.inspector.text import visible, visible_lines
from qinspect.tui.names import shown

if TYPE_CHECKING:
    from qinspect.tui.action_screen import ActionScreen

MAX_CLIPBOARD_BYTES = 74_000
"""Terminals drop longer OSC 52 sequences."""


def osc52(text: str, tmux: bool) -> str:
    """The sequence that puts `text` on the terminal's clipboard; wrapped where tmux would swallow it."""
    data = base64.b64encode(text.encode()[:MAX_CLIPBOARD_BYTES]).decode()
    sequence = f"\x1b]52;c;{data}\a"
    return f"\x1bPtmux;{sequence.replace(chr(27), chr(27) * 2)}\x1b\\" if tmux else sequence


def osc9(text: str, tmux: bool) -> str:
    """The sequence by which a terminal notifies its user; wrapped where tmux would swallow it."""
    sequence = f"\x1b]9;{visible(text, 200)}\a"
    return f"\x1bPtmux;{sequence.replace(chr(27), chr(27) * 2)}\x1b\\" if tmux else sequence


def announce(app: App[None], how: str, text: str) -> None:
    """Ring, or notify, as the config file says."""
    if app._driver is None:
        return
    if how == "bell":
        app._driver.write("\a")
    elif how == "osc9":
        app._driver.write(osc9(text, tmux=bool(os.environ.get("TMUX"))))


def copy_to_terminal(app: App[None], text: str) -> str:
    """Put `text` on the clipboard of the terminal in front of the user; returns what to say of it.

    It may be pasted into a shell: what goes out has line ends and tabs of ours (`columns`, `shell_words`) and nothing
    else that a terminal obeys.
    """
    text = "\t".join(map(visible_lines, text.split("\t")))
    app._clipboard = text
    if app._driver is not None:
        app._driver.write(osc52(text, tmux=bool(os.environ.get("TMUX"))))
    return f"sent to the terminal's clipboard: {shown(text, 40)}"


def write_view(kind: str, screen: ActionScreen) -> Path:
    """Save what is shown as `qinspect-view.KIND` (numbered, nothing is overwritten). Raises OSError."""
    content = _view(kind, screen)
    n = 0
    while True:
        path = Path.cwd() / f"qinspect-view{f'-{n}' if n else ''}.{kind}"
        try:
            with path.open("x", encoding="utf-8") as f:
                f.write(content)
        except FileExistsError:
            n += 1
            continue
        return path


def _view(kind: str, screen: ActionScreen) -> str:
    if kind == "svg":
        return screen.app.export_screenshot(title="qinspect")
    if kind == "txt":
        lines = ("".join(s.text for s in strip).rstrip() for strip in screen._compositor.render_strips())
        return "\n".join(lines) + "\n"
    if kind == "json":
        return json.dumps(screen.view_json(), indent=1, allow_nan=False)
    table = screen.view_table()
    return "" if table is None else table.csv() if kind == "csv" else table.markdown() + "\n"
