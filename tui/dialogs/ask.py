"""One line of input."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from qinspect.tui.dialogs.keys import TYPED, dialog_bindings
from qinspect.tui.widgets.text_input import TextInput


class AskScreen(ModalScreen[str]):
    """Dismissed with what was typed, or with ""."""

    BINDINGS: ClassVar[list[BindingType]] = dialog_bindings(TYPED)[:1]

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question

    def compose(self) -> ComposeResult:
        with Vertical(id="ask-box"):
            yield TextInput(placeholder=self.question, id="ask-input", compact=True)

    def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = False

    @on(Input.Submitted)
    def _on_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)
