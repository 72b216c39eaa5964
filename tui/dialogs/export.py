"""Which form a saved view has."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static


class ExportScreen(ModalScreen[str]):
    """Dismissed with svg, csv, json, md, or ""."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "dismiss('svg')", "SVG"),
        Binding("c", "dismiss('csv')", "CSV"),
        Binding("j", "dismiss('json')", "JSON"),
        Binding("m", "dismiss('md')", "Markdown"),
        Binding("escape,q", "dismiss('')", "close"),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(id="export-box"):
            yield Static(
                "Save to the current folder as\n\n"
                "  s  SVG, the screen as it is\n  c  CSV, the scales shown\n"
                "  j  JSON, the scales shown\n  m  Markdown, the scales shown\n\nescape closes",
                markup=False,
            )
