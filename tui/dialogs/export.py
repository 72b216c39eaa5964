"""Which form a saved view has."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from qinspect.tui.dialogs.keys import SAVE, dialog_bindings

ROWS = (("c", "CSV"), ("j", "JSON"), ("m", "Markdown"))


class ExportScreen(ModalScreen[str]):
    """Dismissed with svg, txt, csv, json, md, or ""."""

    BINDINGS: ClassVar[list[BindingType]] = dialog_bindings(SAVE)

    def __init__(self, has_rows: bool) -> None:
        """has_rows: whether the view has a table besides its picture."""
        super().__init__()
        self.has_rows = has_rows

    def compose(self) -> ComposeResult:
        kinds = ["s  SVG, the screen as it is", "t  text, the screen as it is"]
        kinds += [f"{key}  {name}, the rows shown" for key, name in ROWS] if self.has_rows else []
        listed = "\n".join(f"  {kind}" for kind in kinds)
        with Vertical(id="export-box"):
            yield Static(f"Save to the current folder as\n\n{listed}\n\nescape closes", markup=False)

    def action_take(self, kind: str) -> None:
        """Only what was offered."""
        if self.has_rows or kind in ("svg", "txt"):
            self.dismiss(kind)
