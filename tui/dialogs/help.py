"""The help screen: the keys as they are bound now, those of the focused pane first, and what signs mean."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from qinspect.tui.actions import ACTIONS, Action, key_text
from qinspect.tui.dialogs.keys import HELP, dialog_bindings
from qinspect.tui.glyphs import SIGNS, Glyphs
from qinspect.tui.key_names import with_keys
from qinspect.tui.widgets.lines import Piece
from qinspect.tui.widgets.text_pane import TextPane


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

    BINDINGS: ClassVar[list[BindingType]] = dialog_bindings(HELP)

    def __init__(
        self,
        glyphs: Glyphs,
        keys: dict[str, list[str]],
        actions: Sequence[Action] = ACTIONS,
        of_pane: Mapping[str, str] = MappingProxyType({}),
        signs: Collection[str] = (),
    ) -> None:
        """of_pane: the actions of the pane that has the keys, which come first, and what they do there, "" where that
        is what they do anywhere. signs: the tables of `SIGNS` that are the screen's, before all others."""
        super().__init__()
        self.glyphs = glyphs
        self.keys = keys
        self.actions = actions
        self.of_pane = of_pane
        self.signs = signs

    def compose(self) -> ComposeResult:
        with Vertical(id="help-box"):
            yield Static("Keys. escape closes.", classes="title active", markup=False)
            yield TextPane(id="help")

    def on_mount(self) -> None:
        self.on_resize()

    def on_resize(self) -> None:
        self.query_one(TextPane).show(self.lines(min(WIDTH, self.app.size.width) - CHROME))

    def lines(self, room: int = WIDTH) -> list[list[Piece]]:
        """One line an action: those of the pane, of the screen, of all screens; then what signs mean. Folded where
        `room` columns are too few."""
        shown = {name: ", ".join(map(key_text, keys)) for name, keys in self.keys.items()}
        width = max(map(len, shown.values())) + 1
        lines: list[list[Piece]] = []
        for heading, actions in self._groups().items():
            lines += [[], [(heading, "accent")]]
            for action in actions:
                said = with_keys(self.of_pane.get(action.name) or action.help)
                lines += _folded(shown[action.name], said, width, room)
        return [*lines[1:], *self._signs(room)]

    def _groups(self) -> dict[str, list[Action]]:
        """Headings and what stands below them. A group's own name where it is the screen's alone."""
        groups: dict[str, list[Action]] = {"In this pane": [a for a in self.actions if a.name in self.of_pane]}
        others = [a for a in self.actions if a.name not in self.of_pane]
        for action in (a for a in others if not a.is_everywhere):
            groups.setdefault(action.group, []).append(action)
        for action in (a for a in others if a.is_everywhere):
            groups.setdefault(f"{action.group}, on every screen", []).append(action)
        return {heading: actions for heading, actions in groups.items() if actions}

    def _signs(self, room: int) -> list[list[Piece]]:
        """The legend: of every sign anywhere, those of this screen first."""
        tables = [*self.signs, *(s.where for s in SIGNS if s.where not in self.signs)]
        width = max(len(s.of(self.glyphs)) for s in SIGNS) + 1
        lines: list[list[Piece]] = []
        for where in dict.fromkeys(tables):
            lines += [[], [(f"Signs: {where[0].lower()}{where[1:]}", "accent")]]
            for sign in (s for s in SIGNS if s.where == where):
                lines += _folded(sign.of(self.glyphs), sign.meaning, width, room)
        return lines

    def action_scroll(self, rows: int) -> None:
        """Scroll the list."""
        self.query_one(TextPane).scroll_relative(y=rows, animate=False)
