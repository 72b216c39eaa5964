"""What was understood of the log, event by event."""

from __future__ import annotations

from qinspect.inspector.text import visible
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.list_pane import MOVING
from qinspect.tui.runs.lists import EventsList, event_text
from qinspect.tui.runs.shown_run import New
from qinspect.tui.runs.view import ListView


class EventsPane(ListView):
    """The journal."""

    NAME = "events"
    ACTIONS = MOVING | {"copy_line"}
    list: EventsList

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(glyphs)
        self.list = EventsList(glyphs, id=self.NAME)

    def fill(self, fresh: bool = False) -> None:
        self.list.show(self.shown.feed if self.shown else None, fresh)

    def more(self, new: New) -> None:
        if new.events:
            self.fill()

    @property
    def count(self) -> int:
        return self.shown.feed.n_events if self.shown else 0

    def action_copy_line(self) -> None:
        if self.list.event:
            self.copy(visible(event_text(self.list.event)))
        else:
            self.say("no event is there yet")
