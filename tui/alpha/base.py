"""What the alpha explorer is made of: opening a run, panes, and what they show."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import wrap
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.geometry import Region
from textual.message import Message
from textual.worker import get_current_worker

from qinspect.inspector.alpha.sweep.grid_file import opened
from qinspect.inspector.alpha.sweep.one import ExactPoint
from qinspect.inspector.alpha.sweep.rules import BITS
from qinspect.inspector.alpha.sweep.stored_scales import stored_scales
from qinspect.inspector.alpha.sweep.wording import alpha_text, decibels
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import format_of
from qinspect.inspector.progress import Progress, steps_of
from qinspect.inspector.text import some
from qinspect.tui.action_screen import ActionScreen
from qinspect.tui.actions import EXPLORE_ACTIONS, bindings
from qinspect.tui.alpha.alpha_words import AlphaWords
from qinspect.tui.alpha.curve import curve_lines
from qinspect.tui.alpha.heat import LOST, heat_lines
from qinspect.tui.alpha.state import Explorer, chosen_for
from qinspect.tui.alpha.table import PointTable
from qinspect.tui.charts.inks import look_of
from qinspect.tui.compare.session import Cancelled, Progressed
from qinspect.tui.compare.table import TableHeader
from qinspect.tui.glyphs import OF_ALPHA, Glyphs
from qinspect.tui.key_names import key
from qinspect.tui.labels import fill
from qinspect.tui.later import REST_S, Later, is_going
from qinspect.tui.look import Look
from qinspect.tui.names import shown
from qinspect.tui.widgets.bars import HintBar, TitleLine
from qinspect.tui.widgets.lines import LineList
from qinspect.tui.widgets.text_pane import TextPane
from qinspect.tui.widgets.typed_line import TypedLine

WIDE = 150
"""From this width on the point stands beside the table, not under it."""


class Loaded(Message):
    """The grid is there, or why it is not. note: that it could not be stored."""

    def __init__(self, explorer: Explorer | None, problem: str, note: str = "") -> None:
        super().__init__()
        self.explorer, self.problem, self.note = explorer, problem, note


class Exact(Message):
    """A point was computed between the alphas of the grid."""

    def __init__(self, problem: str = "") -> None:
        super().__init__()
        self.problem = problem


class ExploreBase(ActionScreen):
    """Panes and state."""

    BINDINGS: ClassVar[list[BindingType]] = bindings(EXPLORE_ACTIONS)  # type: ignore[assignment]
    AUTO_FOCUS = ""
    actions = EXPLORE_ACTIONS
    SIGNS = (OF_ALPHA,)

    def __init__(
        self,
        open_run: Callable[[], Calibration],
        wanted: AlphaWords,
        glyphs: Glyphs,
        is_root: bool = False,
        apply: Callable[[Calibration, float], None] | None = None,
    ) -> None:
        """open_run: called in a thread. apply: asks for a checkpoint that an alpha shall be put into; None where there
        is no screen of runs to start that on."""
        super().__init__()
        self.apply = apply
        self.open_run, self.wanted, self.glyphs, self.is_root = open_run, wanted, glyphs, is_root
        self.explorer: Explorer | None = None
        self.problem = ""
        self.shows_map = False
        self.quantity = LOST
        self.active = "list"
        self.zoomed = False
        self._rested = Later(self, self._read_exactly)
        self._exact_point: ExactPoint | None = None

    @property
    def waits(self) -> bool:
        """Whether the cursor has to rest before the point is computed exactly."""
        return self._rested.comes

    def compose(self) -> ComposeResult:
        """Chrome only: nothing is opened here."""
        yield TitleLine("", id="explore-title")
        yield TitleLine("", id="explore-best")
        with Horizontal(id="explore-body"):
            with Vertical(id="explore-left"):
                table = PointTable(self.glyphs, id="explore-points")
                yield TableHeader(table, id="explore-header")
                yield table
            yield TextPane(id="explore-view")
        yield TypedLine(id="filter", placeholder="words in a point's name; escape clears", compact=True)
        yield HintBar()

    def on_mount(self) -> None:
        self.table = self.query_one(PointTable)
        self.header = self.query_one(TableHeader)
        self.view = self.query_one("#explore-view", TextPane)
        self.hints = self.query_one(HintBar)
        self.query_one("#explore-title").add_class("active")
        self.table.set_active(True)
        self.show_heads()
        self.fit_panes()
        self.hints.work("opening")
        self.call_after_refresh(self._load)

    def on_unmount(self) -> None:
        self._rested.stop()
        if self.explorer is not None:
            self.explorer.calibration.close()

    # --- opening ---

    @work(thread=True, exclusive=True, exit_on_error=False, group="explore")
    def _load(self) -> None:
        """Open the run, and compute what is not stored yet."""
        worker = get_current_worker()

        def check(phase: str, done: int, total: int) -> None:
            if worker.is_cancelled:
                raise Cancelled
            self.post_message(Progressed(phase, done, total))

        calibration = None
        try:
            calibration = self.open_run()
            answer = self._opened(calibration, check)
        except Cancelled:
            answer = None
        except Exception as e:  # whatever a run has in store is this screen's problem, not the program's
            answer = Loaded(None, str(e) or type(e).__name__)
        if calibration is not None and (answer is None or answer.explorer is None):
            calibration.close()
        if answer is not None:
            self.post_message(answer)

    def _opened(self, calibration: Calibration, check: Progress) -> Loaded:
        wanted, stored = self.wanted, None
        if wanted.checkpoint is not None:
            fmt = format_of(open_checkpoint(wanted.checkpoint, steps_of(check, "opening the checkpoint")))
            stored = stored_scales(calibration, fmt)
        check("every alpha of every point", 0, len(calibration.points))
        found = opened(calibration, steps_of(check, "every alpha of every point"))
        chosen = chosen_for(calibration, wanted.alpha, wanted.rule, wanted.bits)
        return Loaded(Explorer(calibration, found.grid, stored, chosen), "", found.problem)

    @on(Progressed)
    def _on_progress(self, event: Progressed) -> None:
        event.stop()
        if self.explorer is None and not is_going(self):
            self.hints.work(f"{event.phase}{event.share} ({key('close')} ends it)")

    @on(Loaded)
    def _on_loaded(self, event: Loaded) -> None:
        if is_going(self):
            if event.explorer is not None:
                event.explorer.calibration.close()
            return
        self.hints.work("")
        self.explorer, self.problem = event.explorer, event.problem
        if event.note:
            self.hints.say(shown(event.note, 200))
        self.refill()

    # --- what is shown ---

    def moved(self) -> None:
        """Another alpha, rule, or bits: every number is looked up anew."""
        x = self.explorer
        if x is not None:
            self.table.refresh_rows()
            if x.is_between and not self._is_known(x):
                self._rested.ask(REST_S)
        self.show_heads()
        self.show_view()

    def refill(self) -> None:
        """Other rows, or in another order."""
        if self.explorer is not None:
            self.table.show(self.explorer)
            self.header.sort = self.explorer.chosen.sort
            self.header.refresh()
        self.moved()

    def show_heads(self) -> None:
        """What is chosen, and the best alphas."""
        x, dot = self.explorer, f" {self.glyphs.dot} "
        title, line = self.query_one("#explore-title", TitleLine), self.query_one("#explore-best", TitleLine)
        if x is None:
            title.update(f"every alpha of {shown(self.wanted.run, 120)}")
            return
        at = f"{self.glyphs.alpha} {alpha_text(x.chosen.alpha)}" if x.has_alpha else f"no {self.glyphs.alpha}"
        n, total = len(self.table.points), len(x.grid.points)
        parts = [x.chosen.rule, at, f"{x.chosen.bits} bits", some(total, "point") if n == total else f"{n} of {total}"]
        parts += ["* the pooled rule answers"] if x.numbers.instead.any() else []
        parts += [shown(self.wanted.run, 60)]
        title.update(fill(dot.join(parts), max(1, self.size.width - 2), self.glyphs.cut))
        line.update(fill(self._best_text(x), max(1, self.size.width - 2), self.glyphs.cut))

    def _best_text(self, x: Explorer) -> str:
        found, dot = x.best(x.chosen.rule, x.chosen.bits), f" {self.glyphs.dot} "
        if not x.has_alpha:
            own = next((f for f in found if f.label == x.chosen.rule), None)
            if own is None:
                return ""
            mean, worst = decibels(own.mean_db), decibels(own.worst_db)
            return f"loses {mean} dB on average, at most {worst} at {shown(own.worst, 80)}"
        names = {"all": "all", "reached": "recipe's points", "point": "each its own"}
        told = []
        for f in found:
            alphas = [alpha_text(f.alpha)] if f.alpha is not None else []
            told += [" ".join([names[f.what], *alphas, decibels(f.mean_db)])] if f.what in names else []
        return f"best {self.glyphs.alpha}, mean dB lost: {dot.join(told)}" if told else ""

    def show_view(self) -> None:
        """The point under the cursor, or the whole model."""
        x, look = self.explorer, self._look()
        if x is None:
            self.view.show([fill(line, look.width, "") for line in wrap(shown(self.problem, 600), look.width)])
            return
        point = self.table.point
        if self.shows_map:
            self.view.show(heat_lines(x, point, self.quantity, look))
        elif point is None:
            self.view.show(["no point has this name"])
        else:
            self.view.show(curve_lines(x, point, look, self.glyphs))

    def _look(self) -> Look:
        """The pane as a plot sees it."""
        area = self.view.content_region
        return look_of(self.app, max(20, area.width - 1), max(6, area.height), self.glyphs)

    @on(LineList.Moved)
    def _on_moved(self, event: LineList.Moved) -> None:
        self.moved()

    @on(TextPane.Resized)
    def _on_resized(self) -> None:
        self.show_view()

    def theme_changed(self) -> None:
        self.show_view()

    # --- between the alphas of the grid ---

    def _is_known(self, x: Explorer) -> bool:
        point = self.table.point
        return point is None or (point, x.chosen.rule, x.chosen.alpha) in x.exact

    def _read_exactly(self) -> None:
        if self.explorer is not None and self.table.point is not None and not is_going(self):
            self._compute(self.explorer, self.table.point, self.explorer.chosen.rule, self.explorer.chosen.alpha)

    @work(thread=True, exclusive=True, exit_on_error=False, group="exact")
    def _compute(self, x: Explorer, point: int, rule: str, alpha: float) -> None:
        """The tables of the last point are kept: an alpha after another is asked of it."""
        info, problem = x.grid.points[point], ""
        try:
            if self._exact_point is None or self._exact_point.info is not info:
                self._exact_point = ExactPoint.read(x.calibration, info)
            x.exact[point, rule, alpha] = tuple(self._exact_point.at(rule, alpha, bits) for bits in BITS)
        except Exception as e:  # a file that went away is said, and the numbers of the grid stay
            problem = str(e) or type(e).__name__
        self.post_message(Exact(problem))

    @on(Exact)
    def _on_exact(self, event: Exact) -> None:
        if is_going(self):
            return
        if event.problem:
            self.hints.say(shown(event.problem, 300))
        self.table.refresh_rows()
        self.show_view()

    # --- what is where ---

    def activate(self, name: str) -> None:
        """The pane that fills the screen when one is to; at once where the other one did."""
        self.active = name
        self.set_focus(None)
        self.table.set_active(name == "list")
        if self.zoomed:
            self.fit_panes()

    def places_to_label(self) -> dict[str, Region]:
        places = {"list": self.header.region, "view": self.view.region}
        return {name: region for name, region in places.items() if region}

    @on(LineList.Clicked)
    def _on_list_clicked(self) -> None:
        self.activate("list")

    @on(TextPane.Clicked)
    def _on_view_clicked(self) -> None:
        self.activate("view")

    def on_resize(self) -> None:
        self.fit_panes()

    def fit_panes(self) -> None:
        """Panes by the size of the terminal: side by side where it is wide."""
        width, height = self.size
        wide = width >= WIDE
        self.set_class(wide and not self.zoomed, "wide")
        left = self.query_one("#explore-left")
        left.set_class(self.zoomed and self.active == "view", "hidden")
        self.view.set_class(self.zoomed and self.active == "list", "hidden")
        self.query_one("#explore-body").styles.layout = "horizontal" if wide else "vertical"
        left.styles.width = width * 3 // 5 if wide and not self.zoomed else "1fr"
        left.styles.height = "1fr" if wide or self.zoomed else max(5, (height - 3) * 2 // 5)
        self.show_heads()
