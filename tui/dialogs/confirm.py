"""One question with two answers."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from qinspect.tui.dialogs.keys import ASK, dialog_bindings


class ConfirmScreen(ModalScreen[bool]):
    """Dismissed with True for y; every other way out is a no."""

    BINDINGS: ClassVar[list[BindingType]] = dialog_bindings(ASK)

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question

    def compose(self) -> ComposeResult:
        with Vertical(id="confirm-box"):
            yield Static(f"{self.question}\n\ny yes   n no", markup=False)
