"""Points that the log names, and how they went."""

from __future__ import annotations

from qinspect.tui.glyphs import Glyphs
from qinspect.tui.list_pane import MOVING
from qinspect.tui.runs.lists import PointsList
from qinspect.tui.runs.shown_run import New
from qinspect.tui.runs.view import ListView


class PointsPane(ListView):
    """Rows by name; `enter` unfolds one."""

    NAME = "points"
    ACTIONS = MOVING | {"show_run"}
    list: PointsList

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(glyphs)
        self.list = PointsList(glyphs, id=self.NAME)

    def fill(self, fresh: bool = False) -> None:
        self.list.show(self.shown.feed if self.shown else None)

    def more(self, new: New) -> None:
        if new.events:
            self.fill()

    @property
    def count(self) -> int:
        return self.shown.feed.n_points if self.shown else 0

    @property
    def chosen(self) -> str:
        """The name of the point under the cursor, without its kind; "" where there is none."""
        return self.list.point.name.rpartition(" ")[2] if self.list.point else ""

    def action_show_run(self) -> None:
        self.list.turn()
