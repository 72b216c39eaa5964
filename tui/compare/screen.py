"""The compare screen: a session of two models, or of one, over panes that own their keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input
from textual.worker import get_current_worker

from qinspect.inspector.compare.layer_map import layer_map
from qinspect.inspector.compare.paired_tree import place_scales, place_weights
from qinspect.inspector.compare.results import ScalePair
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import size
from qinspect.tui.actions import bindings
from qinspect.tui.compare.commands import command_line
from qinspect.tui.compare.detail_pane import DetailPane
from qinspect.tui.compare.distributions import Distributions
from qinspect.tui.compare.filters import HINT
from qinspect.tui.compare.head import Headline, ModelLines
from qinspect.tui.compare.overview_pane import OverviewPane
from qinspect.tui.compare.panes import OF_MODELS, SMALL_HEIGHT, Panes
from qinspect.tui.compare.rest import AfterRest
from qinspect.tui.compare.rows import Values
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
from qinspect.tui.compare.trail import Trail
from qinspect.tui.compare.tree_pane import TreePane
from qinspect.tui.filtering import Filtering
from qinspect.tui.glyphs import CHARTS, LEVELS, MAP, SCALES, Glyphs
from qinspect.tui.host import host_of
from qinspect.tui.names import shown
from qinspect.tui.outside import copy_to_terminal
from qinspect.tui.pane import Pane
from qinspect.tui.runs.service import RunsService
from qinspect.tui.widgets.bars import HintBar
from qinspect.tui.widgets.lines import LineList
from qinspect.tui.widgets.typed_line import TypedLine

if TYPE_CHECKING:
    from qinspect.inspector.table import Table

CANNOT_OPEN = 2
"""Exit code where A, or B, cannot be opened: the command line's."""
COMPARING_CODES = "comparing codes (esc skips them)"
PHASES = {"weights": COMPARING_CODES, "noise bands": "noise bands (esc skips them)"}
TWO_MODELS = frozenset({"next_difference", "previous_difference", "largest_difference", "only_changed"})
"""Actions that need a B."""
OF_LISTS = frozenset({
    "open", "sort", "only_changed", "view_detail", "view_histogram", "view_weight", "view_codes", "view_profile",
    "view_values", "distribution", "zoom", "pane_overview", "export",
})  # fmt: skip
"""Actions that the overview does not offer in the bottom line."""


class CompareScreen(Filtering):
    """Everything about A and B, or about A. view: of the detail that it begins with."""

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
        self.trail = Trail()
        self._service = service
        self._fitted_for = view
        self._rest = AfterRest(self, self.show_selected)
        self._distributions = Distributions(self, self.hints, glyphs)

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
        share = f" {100 * event.done // event.total} %" if event.total else ""
        self.hints.work(f"{PHASES.get(event.phase, event.phase)}{share}")

    @on(Failed)
    def _on_failed(self, event: Failed) -> None:
        self.show_models()
        if event.model != "B":
            self.show_headline(event.error)
        self.hints.work("")

    @on(Opened)
    def _on_opened(self, event: Opened) -> None:
        self.show_models()
        error = self.session.error_b
        self.show_headline(f"B cannot be opened: {error}" if error else "")
        self.tree_pane.show(event.tree, self.session.two and event.complete)

    @on(ScalesReady)
    def _on_scales(self, event: ScalesReady) -> None:
        self.show_models()
        if event.complete and self.session.two and self.tree_pane.paired:
            place_scales(self.tree_pane.paired, event.pairs)
            self.tree_pane.nodes.refresh_rows()
        self.show_scales()
        if event.complete and self.session.so_far and self.session.comparison is None:
            self.show_headline(f"{self.session.so_far}. Codes, noise bands and the verdict are on their way.")
        if event.complete:
            self.hints.work("" if not self.session.two else COMPARING_CODES)
        if not self.trail:
            self.show_selected()

    @on(Surveyed)
    def _on_surveyed(self, event: Surveyed) -> None:
        self.hints.work("")
        self.table_pane.scales.ask_for(self.session.pairs)
        error = self.session.error_b
        said = [f"B cannot be opened: {error}"] if error else []
        self.show_headline(" ".join([*said, *([event.faults] if event.faults else [])]))
        if event.faults:
            self.show_scales()
            self.show_selected()  # the detail may have been painted before the faults were known

    @on(Compared)
    def _on_compared(self, event: Compared) -> None:
        from qinspect.inspector.compare.answer import answer

        c = event.comparison
        if self.tree_pane.paired:
            place_weights(self.tree_pane.paired, c.weights, c.copies)
        self.tree_pane.nodes.refresh_rows()
        self.hints.work("")
        self.headline.answer = answer(c)
        said = [] if c.weights_compared else [f"weights: not compared ({size(c.weight_bytes)})"]
        said += (
            [f"noise bands by the run {'at hand ' * c.noise.at_hand}{shown(c.noise.run, 60)}"] if c.noise.run else []
        )
        self.hints.say("; ".join(said))
        problem = self.session.noise_problem
        self.show_headline(
            f"Noise: {problem}; the measured defaults are used. {c.headline.text}" if problem else c.headline.text
        )
        self.show_scales()
        self.show_selected()

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
        self.hints.say(f"{event.letters} changed on disk: ctrl+r opens again" if event.letters else "")

    @on(ScaleTable.Wanted)
    def _on_wanted(self, event: ScaleTable.Wanted) -> None:
        self._read_values(event.pairs)

    @work(thread=True, exit_on_error=False, group="values")
    def _read_values(self, pairs: list[ScalePair]) -> None:
        worker = get_current_worker()
        values = self.session.read_values(pairs, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._learn, values)

    def _learn(self, values: dict[str, Values]) -> None:
        self.table_pane.learn(values)
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
        s = self.session
        self.table_pane.show(s.pairs, s.two, s.weight_schemes)
        tensors = s.comparison.weights if s.comparison else ()
        found = layer_map(s.pairs, tensors, s.layer_kinds)
        self.overview.show(found, s.two, self.table_pane.scales.values)

    def show_selected(self) -> None:
        """The detail of the scale under the cursor; of the node, where there is none."""
        pair = self.table_pane.pair
        if pair is None:
            node = self.tree_pane.node
            said = self.session.segments_said(node.a, node.b) if node is not None else ()
            self.detail_pane.show_node(node, self.tree_pane.paired, said)
            return
        self._fit_hints()
        if (self._fitted_for == "detail") != (self.detail_pane.view == "detail"):
            self.fit_panes()
        self.trail.add(pair.role)
        self.detail_pane.show(self.session, pair)

    def theme_changed(self) -> None:
        self.show_selected()

    @property
    def waits(self) -> bool:
        """Whether the cursor has to rest before what it is on is shown."""
        return self._rest.comes

    # --- what the panes say ---

    @on(Pane.Said)
    def _on_said(self, event: Pane.Said) -> None:
        self.hints.say(event.text)

    @on(Pane.Working)
    def _on_working(self, event: Pane.Working) -> None:
        self.hints.work(event.text)
        self._fit_hints()  # a map has keys once it is drawn

    @on(DetailPane.Changed)
    def _on_detail_changed(self, event: DetailPane.Changed) -> None:
        if event.at_rest:
            self._rest.ask(self.show_selected)
        else:
            self.show_selected()

    @on(TablePane.Changed)
    def _on_rows_changed(self) -> None:
        self.show_selected()

    @on(TablePane.Unlimited)
    def _on_unlimited(self) -> None:
        with self.prevent(Input.Changed):
            self.query_one("#filter", Input).value = ""

    @on(OverviewPane.Chosen)
    def _on_cell_chosen(self, event: OverviewPane.Chosen) -> None:
        self._go_into(event)

    @on(LineList.Moved)
    def _on_moved(self, event: LineList.Moved) -> None:
        if event.source is self.tree_pane.nodes:
            self._rest.ask(self._follow_tree)
        elif event.source is self.table_pane.scales:
            self._rest.ask(self.show_selected)

    @on(LineList.Chosen)
    def _on_chosen(self) -> None:
        self.act("open")

    def _follow_tree(self) -> None:
        self.table_pane.show_under(self.tree_pane.under)
        self.show_selected()

    def _go_into(self, chosen: OverviewPane.Chosen) -> None:
        """The scales of a cell of the overview; the entry in the tree, where it has none."""
        table = self.table_pane
        held = [p for p in self.session.pairs if p.role in chosen.roles]
        table.selection.under, table.selection.only_changed = "", False
        if held:
            table.show_cell(chosen.roles, chosen.name)
            table.select(_worth_seeing(held).role)
            self.activate("table")
        else:
            table.leave_cell()
            self.tree_pane.nodes.reveal(min(chosen.roles).partition("#")[0])
            self.activate("tree")
        self.show_selected()

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
        """The keys that matter here: those of the pane, and none that find nothing."""
        hidden = OF_LISTS if self.active == "overview" else frozenset()
        of_plot = (("x y", "log"),) if self.detail_pane.on_plot else ()  # that is shown beside the active pane
        first = self.active_pane.hints or of_plot
        self.hints.show_for(first, hidden | (frozenset() if self.session.two else TWO_MODELS))

    def act(self, name: str) -> object:
        """On the overview a view is of the cell under the cursor, and what is of a row of the table finds none."""
        if self.active == "overview":
            owner = self.owner_of(name)
            if owner is self.table_pane:
                self.hints.say("that is of one scale: enter shows those of the cell")
                return None
            if owner is self.detail_pane or name == "distribution":
                self._show_cell()
        return super().act(name)

    def _show_cell(self) -> None:
        """In the table, among all scales; in the tree, where the cell has none."""
        chosen = self.overview.chosen
        held = [p for p in self.session.pairs if p.role in chosen.roles] if chosen is not None else []
        if chosen is not None and not held:
            self._go_into(chosen)
            return
        if held:
            self.table_pane.select(_worth_seeing(held).role)
        self.activate("table")

    def action_open(self) -> None:
        """Large what is small, or into it."""
        if self.active != "overview":
            self.body.zoom("" if self.body.zoomed == "detail" else "detail")
        elif self.overview.chosen is not None:
            self._go_into(self.overview.chosen)

    # --- finding ---

    def action_next_difference(self) -> None:
        self._enter_table(self.table_pane.next_different(1))

    def action_previous_difference(self) -> None:
        self._enter_table(self.table_pane.next_different(-1))

    def action_largest_difference(self) -> None:
        self._enter_table(self.table_pane.go_to_largest())

    def action_next_bookmark(self) -> None:
        self._enter_table(self.table_pane.next_bookmark())

    def _enter_table(self, found: bool) -> None:
        if found:
            self.activate("table")

    def action_measure(self) -> None:
        self.activate("overview")
        self.overview.action_measure()

    def action_back(self) -> None:
        self._travel(-1)

    def action_forward(self) -> None:
        self._travel(1)

    def _travel(self, step: int) -> None:
        role = self.trail.step(step)
        if role is not None:
            self.table_pane.select(role)

    def names_to_jump_to(self) -> Sequence[str]:
        names = dict.fromkeys(p.role for p in self.session.pairs)
        for checkpoint in (self.session.checkpoint_a, self.session.checkpoint_b):
            names |= dict.fromkeys(map(strip_root, checkpoint.entries if checkpoint else ()))
        return list(names)

    def jumped_to(self, name: str) -> None:
        pair = self.table_pane.find(name)
        if pair is not None:
            self.table_pane.select(pair.role)
            self.activate("table")
        else:
            self.tree_pane.nodes.reveal(name)
            self.activate("tree")

    def filter_typed(self, text: str) -> None:
        self.table_pane.selection.text = text
        self._rest.ask(self._filter_now)

    def _filter_now(self) -> None:
        self.table_pane.refill()
        self.show_selected()

    def filter_closed(self) -> None:
        self.activate("table")

    def filter_dropped(self) -> None:
        self.table_pane.selection.text = ""
        self.activate("table")
        self._filter_now()

    def action_close(self) -> None:
        """Drop the filter, then the zoom, then a long comparison of codes, then the scope of the tree; then back to the
        overview."""
        if self.table_pane.selection.text:
            self.action_drop_text()
        elif self.body.zoomed:
            self.body.zoom("")
        elif self.session.two and self.session.comparison is None and not self.session.skip_codes:
            self.session.skip_codes = True
        elif self.table_pane.selection.under:
            self.tree_pane.nodes.move_to(0)
        elif self.active != "overview":
            if self.table_pane.leave_cell():
                self.show_selected()
            self.activate("overview")

    # --- looking ---

    def action_verdict(self) -> None:
        if not self.headline.text:
            self.hints.say("no comparison yet" if self.session.two else "one model: no verdict")
            return
        self.activate("detail")
        self.detail_pane.show_verdict(self.session.comparison, self.headline.text)

    def action_distribution(self) -> None:
        """The exact distribution of the tensor under the cursor."""
        if self.session.a is None:
            return
        node = self.tree_pane.node
        leaf = node if self.active == "tree" and node is not None and node.is_leaf else None
        self._distributions.open(self.session, leaf, self.table_pane.pair)

    def action_reload(self) -> None:
        """As if the program were started again; the view, the filter and the place in the table stay."""
        old = self.session
        self.session = Session(old.path_a, old.path_b, old.noise, old.noise_run)
        host_of(self).session = self.session
        self.models.of(self.session)
        self.table_pane.forget()
        self.show_headline("opening")
        self.show_models()
        self.open_models()

    def action_runs(self) -> None:
        host_of(self).show_runs()

    # --- taking along ---

    @property
    def command_line(self) -> str:
        """The command that prints what is selected, or the whole comparison."""
        pair = None if self.active == "tree" else self.table_pane.pair
        return command_line(self.session, pair, self.table_pane.selection.only_changed)

    def action_copy_command(self) -> None:
        self.hints.say(copy_to_terminal(self.app, self.command_line))

    def view_table(self) -> Table:
        from qinspect.inspector.compare.report import scale_table

        return scale_table(self.table_pane.scales.pairs)

    def view_json(self) -> object:
        from qinspect.inspector.compare import payload

        return [payload.scale_pair(p) for p in self.table_pane.scales.pairs]

    def action_quit(self) -> None:
        self.app.exit(return_code=CANNOT_OPEN if self.session.error_a or self.session.error_b else 0)


def _worth_seeing(pairs: Sequence[ScalePair]) -> ScalePair:
    """The first that differs, else the first."""
    return next((p for p in pairs if not p.status.counts_as_same), pairs[0])
