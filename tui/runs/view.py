"""The views of the run that is shown: what they have in common, and the two ways in which they have rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult

from qinspect.tui.glyphs import Glyphs
from qinspect.tui.list_pane import ListPane
from qinspect.tui.look import Line
from qinspect.tui.pane import Pane
from qinspect.tui.runs.shown_run import New, ShownRun
from qinspect.tui.scrolled_pane import ScrolledPane
from qinspect.tui.widgets.lines import LineList, text_width
from qinspect.tui.widgets.text_pane import TextPane

Lines = Sequence[Line]


class View(Pane):
    """A tab beside the list of runs: one thing about the run that is shown."""

    NAME: ClassVar[str]
    """Its tab, and the id of what shows it."""
    FRONT: ClassVar[frozenset[str]] = frozenset()
    """Of what it serves from everywhere, that which brings it to the front where another tab is seen."""
    needs_log: ClassVar[bool] = False
    """Whether it shows what the log says as a whole."""
    shown: ShownRun | None = None

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id=f"{self.NAME}-view")
        self.glyphs = glyphs

    def is_of(self, run: ShownRun | None) -> bool:
        """Whether a run has what it shows: else its tab is not there."""
        return True

    def show_run(self, run: ShownRun | None) -> None:
        """Another run. It is filled when it is seen."""
        self.shown = run

    def fill(self, fresh: bool = False) -> None:
        """Show what is known now. fresh: of another run, or after another tab."""
        raise NotImplementedError

    def more(self, new: New) -> None:
        """A look found this, and what is shown may be more. Of the view that is seen."""

    def scroll_columns(self, columns: int) -> None:
        """To the right, or left, where lines go on."""

    @property
    def count(self) -> int:
        """What stands beside the name of its tab, where there are any."""
        return 0

    @property
    def said(self) -> list[str]:
        """What stands behind the tabs."""
        return []


class ListView(View, ListPane):
    """A list with a cursor; its title is that of all views."""

    list: LineList

    def compose(self) -> ComposeResult:
        yield self.list

    def set_active(self, active: bool) -> None:
        self.list.set_active(active)


class ScrolledView(View, ScrolledPane):
    """Rows without a cursor."""


class TextView(ScrolledView):
    """Lines that scroll."""

    def compose(self) -> ComposeResult:
        self.text = TextPane(id=self.NAME)
        yield self.text

    def lines(self, width: int) -> Lines:
        """What is known now, in so many cells."""
        raise NotImplementedError

    def fill(self, fresh: bool = False) -> None:
        at = self.text.scroll_offset
        self.text.show(self.lines(max(20, text_width(self.text))))
        if not fresh and at.y:  # what comes by itself does not take one away from where one reads
            self.text.scroll_to(at.x, at.y, animate=False, force=True, immediate=True)

    @on(TextPane.Resized)
    def _on_resized(self, event: TextPane.Resized) -> None:
        event.stop()
        if self.display:
            self.fill()

    @on(TextPane.Clicked)
    def _on_clicked(self, event: TextPane.Clicked) -> None:
        event.stop()
        self.post_message(self.Entered(self))

    def move(self, rows: int) -> None:
        self.text.scroll_relative(y=rows, animate=False)

    @property
    def page(self) -> int:
        return max(1, self.size.height - 1)

    def scroll_columns(self, columns: int) -> None:
        self.text.scroll_relative(x=columns, animate=False)
