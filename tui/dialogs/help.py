"""The help screen, made of the real bindings."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from qinspect.tui.actions import ACTIONS, Action, key_text
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.widgets.lines import Piece
from qinspect.tui.widgets.text_pane import TextPane


def compare_signs(g: Glyphs) -> tuple[tuple[str, str], ...]:
    """What the compare screen's signs mean."""
    return (
        (g.up, "B is larger"),
        (g.down, "B is smaller"),
        (g.same, "the same"),
        (g.different[0], "changed both ways"),
        (g.odd, "not comparable"),
        ("A B", "only in that model"),
        (g.broken, "unreadable"),
        (g.bookmark, "bookmark"),
    )


def _folded(name: str, meaning: str, width: int, room: int) -> list[list[Piece]]:
    """A name of `width` columns and what it means, behind it on as many lines as that takes."""
    first, *rest = textwrap.wrap(meaning, max(20, room - width - 2)) or [""]
    return [[(f"  {name:<{width}}", "name"), (first, "")], *([(" " * (width + 2), ""), (part, "")] for part in rest)]


WIDTH = 88
"""Columns of the box at most, as qinspect.tcss has it."""
CHROME = 7
"""Of those, what border, padding and scrollbar take."""


class HelpScreen(ModalScreen[None]):
    """Keys, and what they do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1,enter", "dismiss", "close"),
        Binding("j,down", "scroll(1)", "down", show=False),
        Binding("k,up", "scroll(-1)", "up", show=False),
        Binding("pagedown,space", "scroll(15)", "page", show=False),
        Binding("pageup", "scroll(-15)", "page", show=False),
    ]

    def __init__(
        self,
        glyphs: Glyphs,
        keys: dict[str, list[str]],
        actions: Sequence[Action] = ACTIONS,
        signs: Sequence[tuple[str, str]] | None = None,
    ) -> None:
        super().__init__()
        self.keys = keys
        self.actions = actions
        self.signs = compare_signs(glyphs) if signs is None else signs

    def compose(self) -> ComposeResult:
        with Vertical(id="help-box"):
            yield Static("Keys. escape closes.", classes="title active", markup=False)
            yield TextPane(id="help")

    def on_mount(self) -> None:
        self.on_resize()

    def on_resize(self) -> None:
        self.query_one(TextPane).show(self.lines(min(WIDTH, self.app.size.width) - CHROME))

    def lines(self, room: int = WIDTH) -> list[list[Piece]]:
        """One line an action, in groups; folded where `room` columns are too few."""
        shown = {name: ", ".join(map(key_text, keys)) for name, keys in self.keys.items()}
        width = max(map(len, shown.values())) + 1
        lines: list[list[Piece]] = []
        group = ""
        for action in self.actions:
            if action.group != group:
                group = action.group
                lines += [[], [(group, "accent")]]
            lines += _folded(shown[action.name], action.help, width, room)
        lines += [[], [("Signs", "accent")]]
        for sign, meaning in self.signs:
            lines += _folded(sign, meaning, width, room)
        return lines[1:]

    def action_scroll(self, rows: int) -> None:
        """Scroll the list."""
        self.query_one(TextPane).scroll_relative(y=rows, animate=False)
