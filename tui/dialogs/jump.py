"""Fuzzy jump to any scale or tensor: ranked in a thread, at most a screenful shown."""

from __future__ import annotations

from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input
from textual.worker import get_current_worker

from qinspect.tui.dialogs.keys import TYPED, dialog_bindings
from qinspect.tui.glyphs import glyphs_for_locale
from qinspect.tui.labels import fill
from qinspect.tui.names import shown
from qinspect.tui.widgets.lines import LineList, Piece
from qinspect.tui.widgets.text_input import TextInput

SHOWN = 200


def rank(query: str, names: list[str], limit: int = SHOWN) -> list[str]:
    """Names in which the letters of `query` occur in order; the tighter and the later, the better."""
    q = query.lower().replace(" ", "")
    if not q:
        return names[:limit]
    scored = []
    for i, name in enumerate(names):
        low = name.lower()
        at = low.rfind(q)
        if at >= 0:
            scored.append((len(low) - at - len(q), len(low), i, name))
            continue
        end = len(low)
        for c in reversed(q):
            end = low.rfind(c, 0, end)
            if end < 0:
                break
        else:
            scored.append((1000 + len(low) - end, len(low), i, name))
    scored.sort()
    return [name for *_, name in scored[:limit]]


class Found(LineList):
    """The ranked names."""

    def __init__(self) -> None:
        super().__init__(id="found")
        self.names: list[str] = []
        self.can_focus = False

    def line(self, row: int, width: int) -> list[Piece]:
        return [(" " + fill(shown(self.names[row], 200), width - 1, glyphs_for_locale().cut, keep_end=True), "")]


class JumpScreen(ModalScreen[str]):
    """Dismissed with the chosen name, or with ""."""

    BINDINGS: ClassVar[list[BindingType]] = dialog_bindings(TYPED)

    def __init__(self, names: list[str], hint: str) -> None:
        super().__init__()
        self.names = names
        self.hint = hint
        self._shown_for = ""

    def compose(self) -> ComposeResult:
        with Vertical(id="jump-box"):
            yield TextInput(placeholder=self.hint, id="jump-input", compact=True)
            yield Found()

    def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = False
        self._show(self.names[:SHOWN])

    def _show(self, names: list[str]) -> None:
        found = self.query_one(Found)
        found.names = names
        found.cursor = 0
        found.set_rows(len(names))

    @on(Input.Changed)
    def _on_changed(self, event: Input.Changed) -> None:
        self._rank(event.value)

    @work(thread=True, exclusive=True, exit_on_error=False, group="rank")
    def _rank(self, query: str) -> None:
        worker = get_current_worker()
        names = rank(query, self.names)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._show_for, query, names)

    def _show_for(self, query: str, names: list[str]) -> None:
        if self.is_mounted and self.query_one(Input).value == query:  # a late answer is dropped
            self._shown_for = query
            self._show(names)

    @on(Input.Submitted)
    def _on_submitted(self, event: Input.Submitted) -> None:
        if event.value != self._shown_for:  # typed faster than ranked
            self._show(rank(event.value, self.names))
        self._choose()

    @on(LineList.Chosen)
    def _choose(self) -> None:
        found = self.query_one(Found)
        self.dismiss(found.names[found.cursor] if found.names else "")

    def action_move(self, rows: int) -> None:
        """Move the choice."""
        self.query_one(Found).move_by(rows)
