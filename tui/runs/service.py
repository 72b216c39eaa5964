"""Who watches the runs for the screens: in a thread, as often as somebody looks, and without the backend of runs where
there are none. Nothing of `inspector.runs` is imported before there is something to see."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from textual.app import App

from qinspect.inspector.places import state_folder
from qinspect.tui.later import Later
from qinspect.tui.outside import announce

if TYPE_CHECKING:
    from qinspect.tui.runs.watch import Looked, RunWatch

FIRST_LOOK_S = 1.0
"""After the first paint: opening the models comes first."""
LIVE_S, IDLE_S = 0.5, 3.0
"""Between two looks while the runs screen is shown: with live runs, and without."""
BESIDE_LIVE_S, BESIDE_IDLE_S = 1.0, 5.0
"""The same while it is not shown."""

Listener = Callable[["Looked"], None]


def any_runs() -> bool:
    """Whether there is a run at all. Costs one look into a folder, and no import."""
    try:
        with os.scandir(state_folder() / "runs") as found:
            return any(not entry.name.startswith(".") for entry in found)
    except OSError:
        return False


class RunsService:
    """Looks at the runs and tells those who listen, on the screen's thread."""

    def __init__(self, app: App[Any]) -> None:
        self.app = app
        self.looked: Looked | None = None
        self.problem = ""
        self.listeners: list[Listener] = []
        self.notify = "none"
        """How the end of a run is announced besides on the screen: see settings.NOTIFY."""
        self.shown = False
        """Whether the runs screen is on top."""
        self._watch: RunWatch | None = None
        self._next_look = Later(app, self._look)
        self._looking = self._again = self._stopped = False

    def start(self, after_s: float = FIRST_LOOK_S) -> None:
        """Begin to look."""
        self._next_look.ask(after_s)

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        self._next_look.stop()

    def look_now(self) -> None:
        """Something happened: do not wait for the next look."""
        self._next_look.stop()
        if self._looking:
            self._again = True
        else:
            self._look()

    @property
    def n_live(self) -> int:
        """Runs that go on, as of the last look."""
        return self.looked.n_live if self.looked else 0

    def _look(self) -> None:
        if self._stopped:
            return
        if self._watch is None and not self.shown and not any_runs():
            self._next_look.ask(BESIDE_IDLE_S)
            return
        self._looking = True
        self.app.run_worker(self._look_in_thread, thread=True, exit_on_error=False, group="runs")

    def _look_in_thread(self) -> None:
        from qinspect.tui.runs.watch import Looked, RunWatch

        self._watch = self._watch or RunWatch()
        problem = ""
        try:
            looked = self._watch.look()
        except Exception as e:  # whatever it is: the next look is to come
            looked, problem = Looked(), str(e) or type(e).__name__
        self.app.call_later(self._learn, looked, problem)

    def _learn(self, looked: Looked, problem: str) -> None:
        self._looking = False
        if not self.app.is_running:
            return  # the listeners' widgets are going
        self.looked, self.problem = looked, problem
        for listener in tuple(self.listeners):
            listener(looked)
        if looked.ended and self.notify != "none":
            from qinspect.tui.runs.run_list import outcome_line

            announce(self.app, self.notify, ", ".join(map(outcome_line, looked.ended)))
        if self._again:
            self._again = False
            self._look()
            return
        if not self._stopped:
            live, idle = (LIVE_S, IDLE_S) if self.shown else (BESIDE_LIVE_S, BESIDE_IDLE_S)
            self._next_look.ask(live if looked.n_live else idle)
