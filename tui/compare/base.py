"""What the compare screen is made of: panes, a session of two models, or of one, and what becomes known of them."""

from __future__ import annotations

from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.worker import get_current_worker

from qinspect.tui.actions import bindings
from qinspect.tui.compare.detail_pane import DetailPane
from qinspect.tui.compare.distributions import Distributions
from qinspect.tui.compare.evaluated import EvaluationFound, look_for_evaluation
from qinspect.tui.compare.filters import HINT
from qinspect.tui.compare.head import Headline, ModelLines
from qinspect.tui.compare.headline import said_beside, verdict_said
from qinspect.tui.compare.hints import doing, hints_for
from qinspect.tui.compare.measuring import MeasuredAll, MeasuredMore, Measuring, is_quick
from qinspect.tui.compare.methods import MethodFound, Methods, weight_role
from qinspect.tui.compare.overview_pane import OverviewPane
from qinspect.tui.compare.panes import OF_MODELS, SMALL_HEIGHT, Panes
from qinspect.tui.compare.rest import AfterRest
from qinspect.tui.compare.runs_pane import RunsPane
from qinspect.tui.compare.session import (
    DRAWING,
    Compared,
    Failed,
    Opened,
    Progressed,
    ScalesReady,
    Session,
    Surveyed,
    Weighed,
)
from qinspect.tui.compare.table import ScaleTable
from qinspect.tui.compare.table_pane import TablePane
from qinspect.tui.compare.tree_pane import TreePane
from qinspect.tui.filtering import Filtering
from qinspect.tui.glyphs import CHARTS, LEVELS, MAP, SCALES, Glyphs
from qinspect.tui.key_names import key
from qinspect.tui.pane import Pane
from qinspect.tui.runs.service import RunsService
from qinspect.tui.widgets.bars import HintBar
from qinspect.tui.widgets.typed_line import TypedLine


class CompareBase(Filtering):
    """Panes and state. view: of the detail that it begins with."""

    BINDINGS: ClassVar[list[BindingType]] = bindings()  # type: ignore[assignment]
    AUTO_FOCUS = ""
    SIGNS = (SCALES, MAP, CHARTS, LEVELS)
    JUMP_HINT = "letters of a scale's or tensor's name"
    LABELLED = ("overview", *OF_MODELS, "runs")

    def __init__(
        self, session: Session, glyphs: Glyphs, service: RunsService, notice: str = "", view: str = "detail"
    ) -> None:
        super().__init__()
        self.session = session
        self.glyphs = glyphs
        self.overview = OverviewPane(glyphs)
        self.tree_pane = TreePane(glyphs)
        self.table_pane = TablePane(glyphs, session.path_b is not None)
        self.detail_pane = DetailPane(glyphs, view)
        self.runs_pane = RunsPane(glyphs, service)
        self.body = Panes(self.overview, self.tree_pane, self.table_pane, self.detail_pane, self.runs_pane)
        self.models, self.headline = ModelLines(session, notice, glyphs.cut), Headline(glyphs.cut)
        self.hints = HintBar()
        self._service = service
        self._fitted_for = view
        self._rest = AfterRest(self, self.show_selected)
        self._distributions = Distributions(self, self.hints, glyphs)
        self.measuring = Measuring(self)
        self.methods = Methods(self)

    def compose(self) -> ComposeResult:
        """Chrome only: nothing is opened here."""
        yield self.models
        yield self.headline
        yield self.body
        yield TypedLine(id="filter", placeholder=HINT, compact=True)
        yield self.hints

    def on_mount(self) -> None:
        self.show_models()
        self.show_headline("opening")
        self.activate("overview")
        self.call_after_refresh(self.open_models)

    def on_screen_resume(self) -> None:
        self._service.shown = False

    # --- the session ---

    @work(thread=True, exclusive=True, exit_on_error=False, group="session")
    def open_models(self) -> None:
        """Open and compare in a thread; results arrive as messages."""
        worker = get_current_worker()
        self.session.run(self.post_message, lambda: worker.is_cancelled)

    @on(Progressed)
    def _on_progress(self, event: Progressed) -> None:
        if event.phase == DRAWING and not self.detail_pane.drawing:
            return
        self.hints.work(doing(event.phase, event.share))

    @on(Failed)
    def _on_failed(self, event: Failed) -> None:
        self.show_models()
        if event.model != "B":
            self.show_headline(event.error)
        self.hints.work("")

    @on(Opened)
    def _on_opened(self, event: Opened) -> None:
        self.show_models()
        self.show_headline(self.session.b_missing)
        self.tree_pane.show(event.tree, self.session.two and event.complete)

    @on(ScalesReady)
    def _on_scales(self, event: ScalesReady) -> None:
        self.show_models()
        if event.complete and self.session.two:
            self.tree_pane.place_scales(event.pairs)
        self.show_scales()
        if event.complete and self.session.so_far and self.session.comparison is None:
            self.show_headline(f"{self.session.so_far}. Codes, noise bands and the verdict are on their way.")
        if event.complete:
            self.hints.work(doing("weights") if self.session.two else "")
        if not self.body.trail:
            self.show_selected()

    @on(Surveyed)
    def _on_surveyed(self, event: Surveyed) -> None:
        self.hints.work("")
        self.table_pane.scales.ask_for(self.session.pairs)
        self.show_headline(" ".join(filter(None, (self.session.b_missing, event.faults))))
        if event.faults:
            self.show_scales()
            self.show_selected()  # the detail may have been painted before the faults were known

    @on(Compared)
    def _on_compared(self, event: Compared) -> None:
        from qinspect.inspector.compare.answer import answer

        c = event.comparison
        self.tree_pane.place_weights(c)
        self.hints.work("")
        self.headline.answer = answer(c)
        self.hints.say(said_beside(c))
        self.show_headline(verdict_said(c, self.session.noise_problem))
        self.methods.of(self.session)
        self.show_methods()
        self.show_scales()
        self.show_selected()
        look_for_evaluation(self, self.session)
        if self.overview.map.by_fidelity or is_quick(self.session):
            self.measuring.ask(self.session)

    @on(EvaluationFound)
    def _on_evaluation_found(self, event: EvaluationFound) -> None:
        if event.session is self.session:
            self.headline.evaluated, self.headline.of_evaluation = event.found.short, event.found.said
            self._fit_headline()

    @on(Weighed)
    def _on_weighed(self) -> None:
        self.hints.work("")
        self.show_models()
        self.tree_pane.nodes.learn(self.session.bits_a, self.session.bits_b, self.session.layer_kinds)
        if any(self.session.segments):
            self.show_selected()

    @on(ModelLines.FilesChanged)
    def _on_files_changed(self, event: ModelLines.FilesChanged) -> None:
        self.show_models()
        self.hints.say(f"{event.letters} changed on disk: {key('reload')} opens again" if event.letters else "")

    # --- fidelity ---

    @on(OverviewPane.FidelityWanted)
    def _on_fidelity_wanted(self) -> None:
        self.show_fidelity()
        self.measuring.ask(self.session)

    @on(MeasuredMore)
    def _on_measured_more(self, event: MeasuredMore) -> None:
        if self.measuring.learn(event):
            self.session.brought_over |= {w.role: w.brought_over for w in event.weights if w.brought_over}
            self.hints.work(event.doing)
            if event.weights or event.others:
                self.show_fidelity()

    @on(MeasuredAll)
    def _on_measured_all(self, event: MeasuredAll) -> None:
        if self.measuring.finish(event):
            self.hints.work("")
            if event.answer:
                self.headline.answer = event.answer
                self._fit_headline()
            else:
                self.hints.say(event.said)
            self.headline.of_fidelity = "" if event.failed else event.said
            self.show_fidelity()
            self._tell_more()

    def _tell_more(self) -> None:
        """In the detail, where that has words of its own: charts and the verdict stay as they are."""
        if self.detail_pane.view == "detail" and not self.detail_pane.on_verdict:
            self.show_selected()

    def show_fidelity(self) -> None:
        """As much of it as is known."""
        self.overview.of_fidelity(self.measuring.found)
        self.table_pane.of_fidelity(self.measuring.found)
        self.tree_pane.of_fidelity(self.measuring.found)

    # --- methods ---

    @on(ScaleTable.MethodsWanted)
    def _on_methods_wanted(self, event: ScaleTable.MethodsWanted) -> None:
        self.methods.ask(weight_role(p) for p in event.pairs)

    @on(MethodFound)
    def _on_method_found(self, event: MethodFound) -> None:
        if self.methods.learn(event):
            self.show_methods()
            if event.role == self._role_in_detail:
                self._tell_more()
            if event.problem:
                self.hints.say(event.problem)

    def show_methods(self) -> None:
        """As many of them as are known."""
        self.table_pane.of_methods(bool(self.methods), self.methods.short)

    @property
    def _role_in_detail(self) -> str:
        """The weight that is told of beside the table or the tree."""
        pair = self.table_pane.pair
        return weight_role(pair) if pair is not None else self.session.role_of(self.tree_pane.node)

    def _method_said(self) -> list[tuple[str, str]]:
        """Of that weight; asked for where it is not known."""
        role = self._role_in_detail
        self.methods.ask([role])
        return self.methods.said_of(role)

    @on(TablePane.Learned)
    def _on_learned(self) -> None:
        self.overview.map.show_values()

    # --- what is shown of it ---

    def show_models(self) -> None:
        self.models.show(self.size.width)

    def show_headline(self, text: str) -> None:
        """The verdict, or why there is none, in a few lines; `t` shows all of it."""
        self.headline.say(text)
        self._fit_headline()

    def _fit_headline(self) -> None:
        most = 1 if self.detail_pane.view != "detail" and self.size.height < SMALL_HEIGHT else 3
        self.headline.show(self.size.width, most, self.session.two)

    def show_scales(self) -> None:
        """The table and the overview of what is known now."""
        self.body.show_scales(self.session)

    def show_selected(self) -> None:
        """The detail of the scale under the cursor; of the node, where there is none."""
        pair = self.table_pane.pair
        if pair is None:
            node = self.tree_pane.node
            role = self.session.role_of(node) if self.detail_pane.view == "error" else ""
            if role:
                if self._fitted_for == "detail":
                    self.fit_panes()
                self.detail_pane.show_error_of(self.session, role)
                return
            said = self.session.segments_said(node.a, node.b) if node is not None else []
            fields = [*self.measuring.found.said_of_node(node), *self._method_said()]
            said += [f"  {name:<12}{text}" for name, text in fields]
            self.detail_pane.show_node(node, self.tree_pane.paired, said)
            return
        self._fit_hints()
        if (self._fitted_for == "detail") != (self.detail_pane.view == "detail"):
            self.fit_panes()
        self.body.trail.add(pair.role)
        fields = self.measuring.found.said_of_scale(pair)
        fields += self._method_said() if self.detail_pane.view == "detail" else []
        self.detail_pane.show(self.session, pair, fields)

    def theme_changed(self) -> None:
        self.show_selected()

    @property
    def waits(self) -> bool:
        """Whether the cursor has to rest before what it is on is shown."""
        return self._rest.comes

    # --- panes ---

    @property
    def active(self) -> str:
        """The name of the pane that has the keys."""
        return self.body.active

    @property
    def active_pane(self) -> Pane:
        return self.body.active_pane

    @property
    def panes(self) -> tuple[Pane, ...]:
        return (self.tree_pane, self.table_pane, self.detail_pane, self.body)

    def activate(self, name: str) -> None:
        """Let the keys work in this pane."""
        self.body.activate(name)

    @on(Panes.Arranged)
    def _on_arranged(self) -> None:
        if self.has_class("zoomed") is not bool(self.body.zoomed):
            self.set_class(bool(self.body.zoomed), "zoomed")
            self.fit_panes()
        self._fit_hints()

    def on_resize(self) -> None:
        self.fit_panes()

    def fit_panes(self) -> None:
        """Panes by the size of the terminal, and the lines over them."""
        self.body.chrome = self.models.n + 2  # a line of verdict, hints
        self._fitted_for = self.detail_pane.view
        self.body.fit()
        self.show_models()
        self._fit_headline()

    def _fit_hints(self) -> None:
        self.hints.show_for(*hints_for(self.body, self.session.two))
