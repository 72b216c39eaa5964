"""What an evaluation found, and what it has found so far while it goes on."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.message import Message

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.evaluate.layout import LIVE, RESULT, evaluation_folder
from qinspect.inspector.printing import folded
from qinspect.tui.charts.inks import look_of
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.key_names import key
from qinspect.tui.look import Line, Look
from qinspect.tui.names import shown
from qinspect.tui.runs.shown_run import New, ShownRun
from qinspect.tui.runs.view import TextView

if TYPE_CHECKING:
    from qinspect.inspector.table import Table

APART_S = 2.0
"""Clocks of a file system and of a host may be so far apart."""
Mark = tuple[str, int, int, bool]
"""Of which file something was read: name, nanoseconds, size, whether the run went on. Another one is read again."""
Draw = Callable[[Look, Glyphs, bool], list[Line]]


@dataclass(frozen=True)
class Found:
    """What a file says. draw: in lines; table, content: to be saved. problem: why there is nothing."""

    draw: Draw | None = None
    table: Table | None = None
    content: Any = None
    problem: str = ""


class Loaded(Message):
    """A file was read."""

    def __init__(self, run: ShownRun, mark: Mark, found: Found) -> None:
        super().__init__()
        self.run, self.mark, self.found = run, mark, found


class EvaluationPane(TextView):
    """Read in a thread when it is looked at, and again when there is more."""

    NAME = "figures"
    EVERYWHERE: ClassVar[frozenset[str]] = frozenset({"log_scale"})

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(glyphs)
        self.found: Found | None = None
        self.other_axis = False
        """Whether axes are linear that would be logarithmic, and the other way round."""
        self._mark: Mark | None = None
        self._asked: Mark | None = None
        self._was_live = False

    def is_of(self, run: ShownRun | None) -> bool:
        return run is not None and evaluation_folder(run.seen.run) is not None

    def show_run(self, run: ShownRun | None) -> None:
        super().show_run(run)
        self.found = self._mark = self._asked = None

    def more(self, new: New) -> None:
        self._read_if_new()
        if self.shown is not None and self.found is None and self.shown.is_live != self._was_live:
            super().fill()  # nothing comes any more

    def fill(self, fresh: bool = False) -> None:
        self._read_if_new()
        super().fill(fresh)

    # --- reading ---

    def _read_if_new(self) -> None:
        run = self.shown
        mark = _mark_of(run) if run is not None else None
        if run is not None and mark is not None and mark not in (self._mark, self._asked):
            self._asked = mark
            self._read(run, mark)

    @work(thread=True, exclusive=True, exit_on_error=False, group="figures")
    def _read(self, run: ShownRun, mark: Mark) -> None:
        try:
            found = _found_in(Path(mark[0]), mark[-1])
        except QinspectError as e:
            found = Found(problem=str(e))
        except Exception as e:  # whatever it is: the view says so
            found = Found(problem=str(e) or type(e).__name__)
        self.post_message(Loaded(run, mark, found))

    @on(Loaded)
    def _on_loaded(self, event: Loaded) -> None:
        event.stop()
        if event.run is not self.shown or event.mark != self._asked:
            return
        self._mark, self._asked, self.found = event.mark, None, event.found
        if self.display:
            super().fill()

    # --- what is seen ---

    def lines(self, width: int) -> Sequence[Line]:
        if self.shown is None:
            return ["no run is chosen"]
        self._was_live = self.shown.is_live
        if not self.is_of(self.shown):
            return _folded("This run is no evaluation: `qinspect evaluate` makes one.", width)
        if self.found is None:
            waits = self.shown.is_live or self._asked
            return [[("not known yet: the reference runs first" if waits else "nothing was measured", "dim")]]
        if self.found.draw is None:
            return _folded(f"Not known: {self.found.problem}", width)
        height = max(10, self.size.height)
        try:
            return self.found.draw(look_of(self.app, width, height, self.glyphs), self.glyphs, self.other_axis)
        except Exception as e:  # whatever a file led to: the rest works
            return _folded(f"These figures cannot be shown: {type(e).__name__}: {e}", width)

    @property
    def table(self) -> Table | None:
        """The rows that are shown."""
        return self.found.table if self.found else None

    @property
    def content(self) -> object:
        """The file that they are of."""
        return self.found.content if self.found else None

    def action_log_scale(self) -> None:
        if not self.display:
            self.say(f"the figures are not on the screen: {key('view_figures')} shows them")
            return
        self.other_axis = not self.other_axis
        self.fill()


def _mark_of(run: ShownRun) -> Mark | None:
    """The file to be read: the result, else the figures so far; none of an earlier or a later run, as in a folder that
    the user named there may be."""
    folder, result = evaluation_folder(run.seen.run), run.seen.state.result
    end = result.ended if result is not None and result.ended else math.inf
    for path in (folder / RESULT, folder / LIVE) if folder is not None else ():
        try:
            stat = os.stat(path)
        except OSError:
            continue
        if run.seen.run.spec.created - APART_S <= stat.st_mtime <= end + APART_S:
            return str(path), stat.st_mtime_ns, stat.st_size, run.is_live
    return None


def _found_in(path: Path, is_live: bool) -> Found:
    """Imported now: it needs numpy, and most who watch runs never look at it. Raises as the readers do."""
    from qinspect.inspector.evaluate.layout import LIVE_SCHEMA, SCHEMA
    from qinspect.inspector.evaluate.stored import content_of, figures_so_far, stored_answers, stored_evaluation
    from qinspect.tui.evaluation.page import page_of, page_so_far
    from qinspect.tui.evaluation.table import table_of

    if path.name == RESULT:
        whole, answers = stored_evaluation(path.parent), stored_answers(path.parent)
        return Found(lambda *how: page_of(whole, answers, *how), table_of(whole), content_of(path, SCHEMA))
    so_far = figures_so_far(path.parent)
    content = content_of(path, LIVE_SCHEMA)
    return Found(lambda *how: page_so_far(so_far, is_live, *how), table_of(so_far), content)


def _folded(text: str, width: int) -> list[Line]:
    return [[(line, "")] for line in folded("", shown(text, 4000), width)]
