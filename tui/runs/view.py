"""What the panes of the runs screen have in common: rows up and down, what they say, where their keys work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.message import Message

from qinspect.tui.glyphs import Glyphs
from qinspect.tui.names import shown
from qinspect.tui.outside import copy_to_terminal
from qinspect.tui.pane import Pane
from qinspect.tui.runs.shown_run import New, ShownRun
from qinspect.tui.widgets.lines import LineList, Piece, text_width
from qinspect.tui.widgets.text_pane import TextPane

Lines = Sequence[Sequence[Piece]]


class Said(Message):
    """A word for the bottom line."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class Working(Message):
    """What goes on, for the bottom line; "" at its end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class RunsPane(Pane):
    """A part of the runs screen."""

    ANYWHERE: ClassVar[frozenset[str]] = frozenset()
    """Of its actions, those that it serves wherever the moving keys are."""

    def say(self, text: str) -> None:
        """Tell the bottom line."""
        self.post_message(Said(text))

    def copy(self, text: str) -> None:
        """Into the terminal's clipboard."""
        copy_to_terminal(self.app, text)
        self.say(f"sent to the terminal's clipboard: {shown(text, 40)}")


class MovingPane(RunsPane):
    """One in which there are rows."""

    ACTIONS = frozenset({"down", "up", "page_down", "page_up", "top", "bottom"})

    def move(self, rows: int) -> None:
        """Down, or up."""
        raise NotImplementedError

    @property
    def page(self) -> int:
        """Rows that fit, less one."""
        raise NotImplementedError

    def set_active(self, active: bool) -> None:
        """Whether the moving keys work here."""

    def action_down(self) -> None:
        self.move(1)

    def action_up(self) -> None:
        self.move(-1)

    def action_page_down(self) -> None:
        self.move(self.page)

    def action_page_up(self) -> None:
        self.move(-self.page)

    def action_top(self) -> None:
        self.move(-(1 << 40))

    def action_bottom(self) -> None:
        self.move(1 << 40)


class View(MovingPane):
    """A tab beside the list of runs: one thing about the run that is shown."""

    NAME: ClassVar[str]
    """Its tab, and the id of what shows it."""
    FRONT: ClassVar[frozenset[str]] = frozenset()
    """Actions that bring it to the front where another tab is seen."""
    needs_log: ClassVar[bool] = False
    """Whether it shows what the log says as a whole."""
    shown: ShownRun | None = None

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id=f"{self.NAME}-view")
        self.glyphs = glyphs

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


class ListView(View):
    """A list with a cursor."""

    list: LineList

    def compose(self) -> ComposeResult:
        yield self.list

    def move(self, rows: int) -> None:
        self.list.move_by(rows)

    @property
    def page(self) -> int:
        return self.list.page

    def set_active(self, active: bool) -> None:
        self.list.set_active(active)


class TextView(View):
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

    def on_text_pane_resized(self) -> None:
        if self.display:
            self.fill()

    def move(self, rows: int) -> None:
        self.text.scroll_relative(y=rows, animate=False)

    @property
    def page(self) -> int:
        return max(1, self.size.height - 1)

    def scroll_columns(self, columns: int) -> None:
        self.text.scroll_relative(x=columns, animate=False)
