"""The runs screen: the list of runs, the one that is shown, the GPUs; where the keys work, and what is where."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal

from qinspect.inspector.calibration.layout import RESULT, calibration_folder
from qinspect.tui.action_screen import ActionScreen
from qinspect.tui.actions import RUN_ACTIONS, bindings
from qinspect.tui.glyphs import OF_FIGURES, OF_RUNS, Glyphs
from qinspect.tui.later import REST_S, Later, is_going
from qinspect.tui.names import shown
from qinspect.tui.pane import Hint, Pane
from qinspect.tui.runs.effect_pane import FormWanted
from qinspect.tui.runs.evaluation_pane import EvaluationPane
from qinspect.tui.runs.gpu_lines import gpu_line
from qinspect.tui.runs.gpus_pane import GpusPane
from qinspect.tui.runs.run_list import outcome_line
from qinspect.tui.runs.run_list_pane import RunListPane
from qinspect.tui.runs.run_pane import RunPane
from qinspect.tui.runs.service import RunsService
from qinspect.tui.runs.view import View
from qinspect.tui.widgets.bars import HintBar, TitleLine
from qinspect.tui.widgets.lines import LineList
from qinspect.tui.widgets.typed_line import TypedLine

if TYPE_CHECKING:
    from qinspect.inspector.runs import Run
    from qinspect.inspector.table import Table
    from qinspect.tui.runs.watch import Looked

WIDE = 110
"""From this width on the list stands beside the run, not over it."""

OF_CALIBRATION: tuple[Hint, ...] = (("distribution", "values"), ("explore", "alphas"), ("apply_alpha", "apply"))
"""What a calibration is looked at for."""
OF_EVALUATION: tuple[Hint, ...] = (("view_figures", "figures"),)
"""What an evaluation is."""


class RunsScreen(ActionScreen):
    """Panes own their keys; here is what they have in common."""

    BINDINGS: ClassVar[list[BindingType]] = bindings(RUN_ACTIONS)  # type: ignore[assignment]
    AUTO_FOCUS = ""
    actions = RUN_ACTIONS
    SIGNS = (OF_RUNS, OF_FIGURES)
    LABELLED = ("list", "view")

    def __init__(
        self, service: RunsService, glyphs: Glyphs, is_root: bool = False, choose: str = "", notice: str = ""
    ) -> None:
        super().__init__()
        self.service = service
        self.glyphs = glyphs
        self.is_root = is_root
        self.notice = notice
        self.list_pane = RunListPane(glyphs, choose)
        self.run_pane = RunPane(service, glyphs, lambda: self.list_pane.list.runs)
        self.active = "list"
        self.zoomed = False
        self._is_filled = False
        """Whether what is beside the list was chosen by a look at the runs, and is there still."""
        self._left = False
        self._rested = Later(self, self._show_run)

    @property
    def is_closed(self) -> bool:
        """Whether it is left, or being taken away."""
        return self._left or is_going(self)

    @property
    def waits(self) -> bool:
        """Whether the cursor has to rest before what it is on is shown."""
        return self._rested.comes

    def leave(self) -> None:
        """Back to what was there before."""
        self._left = True
        self.run_pane.leave()
        self.service.shown = False
        self.dismiss()

    def compose(self) -> ComposeResult:
        """Chrome only: nothing is looked at here."""
        with Horizontal(id="runs-body"):
            yield self.list_pane
            yield self.run_pane
        yield TitleLine("GPU", id="gpu-line")
        yield TypedLine(id="find", placeholder="a text in the log; enter finds it, escape closes", compact=True)
        yield HintBar()

    def on_mount(self) -> None:
        self.hints = self.query_one(HintBar)
        self.hints.say(shown(self.notice))
        self.fit_panes()
        self.activate("list")
        self.service.listeners.append(self._on_looked)

    def on_unmount(self) -> None:
        if self._on_looked in self.service.listeners:
            self.service.listeners.remove(self._on_looked)
        self._rested.stop()

    def on_screen_resume(self) -> None:
        self.service.shown = True
        self.service.look_now()

    def on_screen_suspend(self) -> None:
        self.service.shown = self.app.screen is self

    # --- the runs ---

    def _on_looked(self, looked: Looked) -> None:
        """The runs as they are now."""
        if self.is_closed:
            return
        self.list_pane.show(looked, self.service.problem)
        if looked.ended:
            self.hints.say(", ".join(map(outcome_line, looked.ended)))
        before, now = self.run_pane.shown, self.list_pane.seen
        if not self._is_filled or (before.seen.run.id if before else None) != (now.run.id if now else None):
            self._is_filled = True
            self._show_run()
        else:
            self.run_pane.update(now)
            self._fit_hints()

    def _show_run(self) -> None:
        """What is beside the list is of the run under the cursor now."""
        before, now = self.run_pane.shown, self.list_pane.seen
        if not self.is_closed and not (before and now and before.seen.run.id == now.run.id):
            self.run_pane.show(now)
        self._fit_hints()

    def _fit_hints(self) -> None:
        """A calibration is looked at for its alphas, an evaluation for its figures: they stand before what any run
        has."""
        run = self.run_pane.shown
        folder = calibration_folder(run.seen.run) if run is not None else None
        has_alphas = folder is not None and (folder / RESULT).exists()
        has_figures = run is not None and self.run_pane.evaluation_pane.is_of(run)
        first = OF_CALIBRATION if has_alphas else OF_EVALUATION if has_figures else ()
        self.hints.show_for(first, frozenset(name for names, _ in first for name in names.split()))

    @on(LineList.Moved)
    def _on_moved(self, event: LineList.Moved) -> None:
        if event.source is self.list_pane.list:
            self._rested.ask(REST_S)

    @on(RunListPane.Changed)
    def _on_changed(self, event: RunListPane.Changed) -> None:
        if self.is_closed:
            return
        run = self.run_pane.shown
        if event.gone and run and run.seen.run.id == event.gone:
            self.run_pane.close()
            self._is_filled = False
        self.service.look_now()

    @on(FormWanted)
    def _on_form_wanted(self, event: FormWanted) -> None:
        self.list_pane.open_form(event.filled)

    def ask_to_apply(self, run: Run, alpha: float | None = None, to: str = "") -> None:
        """The form of `apply` for a run, whatever is shown."""
        self.run_pane.effect_pane.ask_to_apply(run, alpha, to)

    # --- what is said ---

    @on(Pane.Said)
    def _on_said(self, event: Pane.Said) -> None:
        if not self.is_closed:
            self.hints.say(event.text)

    @on(Pane.Working)
    def _on_working(self, event: Pane.Working) -> None:
        if not self.is_closed:
            self.hints.work(event.text)

    @on(GpusPane.Sampled)
    def show_gpus(self) -> None:
        """The line at the bottom."""
        if not self.is_closed:
            spec = self.run_pane.shown.seen.run.spec if self.run_pane.shown else None
            text = gpu_line(self.run_pane.gpus_pane.sample, spec, max(20, self.size.width - 2))
            self.query_one("#gpu-line", TitleLine).update(text)

    # --- where the keys work ---

    @property
    def active_pane(self) -> Pane:
        return self.list_pane if self.active == "list" else self.run_pane.seen

    @property
    def panes(self) -> tuple[Pane, ...]:
        return self.list_pane, self.run_pane, *self.run_pane.views

    def act(self, name: str) -> object:
        """What changes a view is seen, and a view that is asked for comes where the list fills the screen."""
        owner = self.owner_of(name)
        if isinstance(owner, View) and name in owner.FRONT and owner is not self.run_pane.seen:
            self.run_pane.show_view(owner)
        if self.zoomed and self.active == "list" and self._is_of_view(owner, name):
            self.activate("view")
        return super().act(name)

    def _is_of_view(self, owner: object, name: str) -> bool:
        """Whether what an action does is seen beside the list only."""
        return name == "find" or name.startswith("view_") or (isinstance(owner, View) and name in owner.FRONT)

    def activate(self, name: str) -> None:
        """Let the moving keys work in this pane. Not Textual's focus, which paints both panes anew."""
        self.active = name
        self.set_focus(None)
        self.list_pane.set_active(name == "list")
        self.run_pane.set_active(name == "view")
        if self.zoomed:
            self.fit_panes()

    @on(Pane.Entered)
    def _on_entered(self, event: Pane.Entered) -> None:
        self.activate("list" if event.pane is self.list_pane else "view")

    def action_next_pane(self) -> None:
        self.activate("view" if self.active == "list" else "list")

    def action_previous_pane(self) -> None:
        self.action_next_pane()

    def action_pane_list(self) -> None:
        self.activate("list")

    def action_pane_view(self) -> None:
        self.activate("view")

    def action_show_run(self) -> None:
        if self.active == "list":
            self.activate("view")
        else:
            self.action_zoom()

    # --- the line in which a text to find is typed ---

    def action_find(self) -> None:
        self.run_pane.show_view(self.run_pane.log_pane)
        if self.run_pane.log_pane.source:
            box = self.query_one("#find", TypedLine)
            box.cursor_blink = False
            box.open()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While a text is typed keys are its letters, but for its own enter and escape."""
        return self.query_one("#find", TypedLine).allows(action)

    def action_keep_text(self) -> None:
        box = self.query_one("#find", TypedLine)
        box.close()
        self.activate("view")
        self.run_pane.log_pane.find(box.value)

    def action_drop_text(self) -> None:
        self.query_one("#find", TypedLine).close()
        self.set_focus(None)

    # --- what is where ---

    def on_resize(self) -> None:
        self.fit_panes()
        self.show_gpus()

    def action_zoom(self) -> None:
        self.zoomed = not self.zoomed
        self.fit_panes()

    def fit_panes(self) -> None:
        """Panes by the size of the terminal: side by side where it is wide."""
        width, height = self.size
        left, right = self.list_pane, self.run_pane
        wide = width >= WIDE
        self.set_class(wide and not self.zoomed, "wide")
        left.set_class(self.zoomed and self.active == "view", "hidden")
        right.set_class(self.zoomed and self.active == "list", "hidden")
        self.query_one("#runs-body").styles.layout = "horizontal" if wide else "vertical"
        left.styles.width = (width * 2 // 5 if width < 180 else 74) if wide and not self.zoomed else "1fr"
        left.styles.height = "1fr" if wide or self.zoomed else max(4, height // 4)
        right.show_head()

    # --- the rest ---

    def names_to_jump_to(self) -> list[str]:
        return self.list_pane.names

    def jumped_to(self, name: str) -> None:
        self.list_pane.choose(name)
        self.activate("list")

    @property
    def _figures(self) -> EvaluationPane | None:
        """The figures of an evaluation, where these are what is saved."""
        pane = self.run_pane.evaluation_pane
        return pane if self.active_pane is pane and pane.table is not None else None

    def view_table(self) -> Table:
        return (self._figures and self._figures.table) or self.list_pane.table

    def view_json(self) -> object:
        return self._figures.content if self._figures else super().view_json()

    def action_quit(self) -> None:
        if self.is_root:
            self.app.exit()
        else:
            self.leave()

    def action_close_runs(self) -> None:
        if not self.run_pane.log_pane.end_search() and not self.run_pane.effect_pane.end() and not self.is_root:
            self.leave()
