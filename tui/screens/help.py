"""The help screen, made of the real bindings."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from qinspect.tui.actions import ACTIONS, Action, key_text
from qinspect.tui.widgets.lines import Piece
from qinspect.tui.widgets.text_pane import TextPane

SIGNS = (
    "▲ B larger   ▼ B smaller   = same   ≠ changed both ways   ≁ not comparable   A B only in that model   ✗ unreadable"
)


class HelpScreen(ModalScreen[None]):
    """Keys, and what they do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1,enter", "dismiss", "close"),
        Binding("j,down", "scroll(1)", "down", show=False),
        Binding("k,up", "scroll(-1)", "up", show=False),
        Binding("pagedown,space", "scroll(15)", "page", show=False),
        Binding("pageup", "scroll(-15)", "page", show=False),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(id="help-box"):
            yield Static("Keys. escape closes.", classes="title active", markup=False)
            yield TextPane(id="help")

    def on_mount(self) -> None:
        self.query_one(TextPane).show(self.lines())

    def lines(self) -> list[list[Piece]]:
        """One line an action, in groups."""
        lines: list[list[Piece]] = []
        group = ""
        for action in ACTIONS:
            if action.group != group:
                group = action.group
                lines += [[], [(group, "accent")]]
            keys = [key_text(k) for k in self.keys_of(action)]
            lines.append([(f"  {', '.join(keys):<18}", "name"), (action.help, "")])
        return [*lines[1:], [], [("Signs", "accent")], [(f"  {SIGNS}", "")]]

    def keys_of(self, action: Action) -> list[str]:
        """The keys that are bound to it now, remapped ones included."""
        below = self.app.screen_stack[-2] if len(self.app.screen_stack) > 1 else self
        found = [
            key for key, bound in below._bindings.key_to_bindings.items() if any(b.id == action.name for b in bound)
        ]
        return found or list(action.keys)

    def action_scroll(self, rows: int) -> None:
        """Scroll the list."""
        self.query_one(TextPane).scroll_relative(y=rows, animate=False)
