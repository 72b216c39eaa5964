"""The compare screen: tree, scales, detail. One model is the same screen without B."""

from __future__ import annotations

from textual import on, work
from textual.worker import get_current_worker

from qinspect.inspector.compare.layer_map import layer_map
from qinspect.inspector.compare.paired_tree import place_scales, place_weights
from qinspect.inspector.compare.results import ScalePair
from qinspect.inspector.text import size
from qinspect.tui.compare.finding import FindingKeys
from qinspect.tui.compare.looking import Looking
from qinspect.tui.compare.overview_pane import OverviewPane
from qinspect.tui.compare.rows import BY_VALUE, Values
from qinspect.tui.compare.runs_pane import WithRuns
from qinspect.tui.compare.session import DRAWING, Compared, Failed, Opened, Progressed, ScalesReady, Surveyed
from qinspect.tui.compare.table import ScaleTable
from qinspect.tui.compare.taking import Taking
from qinspect.tui.names import shown
from qinspect.tui.widgets.lines import LineList
from qinspect.tui.widgets.text_pane import TextPane

COMPARING_CODES = "comparing codes (esc skips them)"
PHASES = {"weights": COMPARING_CODES, "noise bands": "noise bands (esc skips them)"}


class CompareScreen(WithRuns, FindingKeys, Looking, Taking):
    """Everything about A and B, or about A: what the session and the lists have to say."""

    @on(Progressed)
    def _on_progress(self, event: Progressed) -> None:
        if event.phase == DRAWING and not self.drawing:
            return
        share = f" {100 * event.done // event.total} %" if event.total else ""
        phase = PHASES.get(event.phase, event.phase)
        self.hints.work(f"{phase}{share}")

    @on(Failed)
    def _on_failed(self, event: Failed) -> None:
        self.show_models()
        if event.model != "B":
            self.show_headline(event.error)
        self.hints.work("")

    @on(Opened)
    def _on_opened(self, event: Opened) -> None:
        self.paired = event.tree
        self.show_models()
        error = self.session.error_b
        self.show_headline(f"B cannot be opened: {error}" if error else "")
        self.layers_tree.show(event.tree, self.session.two and event.complete)

    @on(ScalesReady)
    def _on_scales(self, event: ScalesReady) -> None:
        self.show_models()
        if event.complete and self.session.two and self.paired:
            place_scales(self.paired, event.pairs)
            self.layers_tree.refresh_rows()
        self.refill()
        self.show_map()
        if event.complete and self.session.so_far and self.session.comparison is None:
            self.show_headline(f"{self.session.so_far}. Codes, noise bands and the verdict are on their way.")
        if event.complete:
            self.hints.work("" if not self.session.two else COMPARING_CODES)
        if self.history_at < 0:
            self.show_selected()

    @on(Surveyed)
    def _on_surveyed(self, event: Surveyed) -> None:
        self.hints.work("")
        self.table.ask_for(self.session.pairs)
        error = self.session.error_b
        said = [f"B cannot be opened: {error}"] if error else []
        self.show_headline(" ".join([*said, *([event.faults] if event.faults else [])]))
        if event.faults:
            self.refill()
            self.show_map()
            if self.history_at < 0:  # the detail was painted before the faults were known
                self.show_selected()

    @on(Compared)
    def _on_compared(self, event: Compared) -> None:
        from qinspect.inspector.compare.answer import answer

        c = event.comparison
        if self.paired:
            place_weights(self.paired, c.weights, c.copies)
        self.layers_tree.refresh_rows()
        self.hints.work("")
        self.answer = answer(c)
        self.show_map()
        said = [] if c.weights_compared else [f"weights: not compared ({size(c.weight_bytes)})"]
        said += (
            [f"noise bands by the run {'at hand ' * c.noise.at_hand}{shown(c.noise.run, 60)}"] if c.noise.run else []
        )
        self.hints.say("; ".join(said))
        problem = self.session.noise_problem
        self.show_headline(
            f"Noise: {problem}; the measured defaults are used. {c.headline.text}" if problem else c.headline.text
        )
        self.refill()
        self.show_selected()

    def show_map(self) -> None:
        """The overview of what is known now."""
        s = self.session
        tensors = s.comparison.weights if s.comparison else ()
        self.overview.show(layer_map(s.pairs, tensors), s.two, self.table.values)

    @on(OverviewPane.Chosen)
    def _on_cell_chosen(self, event: OverviewPane.Chosen) -> None:
        held = [p for p in self.session.pairs if p.role in event.roles]
        self.selection.under, self.selection.only_changed = "", False
        if held:
            self.selection.cell, self.selection.cell_name = event.roles, event.name
            self.refill()
            most = next((p for p in held if not p.status.counts_as_same), held[0])
            self.select(most.role)
            self.activate("table")
        else:
            self.leave_cell()
            self.layers_tree.reveal(min(event.roles).partition("#")[0])
            self.activate("tree")
        self.show_selected()

    @on(OverviewPane.Said)
    def _on_said(self, event: OverviewPane.Said) -> None:
        self.hints.say(event.text)

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
        self.table.learn(values)
        self.overview.map.show_values()
        if self.selection.sort in BY_VALUE:
            self.refill()

    @on(LineList.Moved)
    def _on_moved(self, event: LineList.Moved) -> None:
        if event.source is self.layers_tree:
            self.after_rest(self._follow_tree)
        elif event.source is self.table:
            self.after_rest(self.show_selected)

    def _follow_tree(self) -> None:
        node = self.layers_tree.node
        under = node.path if node else ""
        if under != self.selection.under:
            self.selection.under = under if node and node.parent is not None else ""
            self.refill()
        self.show_selected()

    @on(LineList.Clicked)
    def _on_clicked(self, event: LineList.Clicked) -> None:
        self.activate(self.pane_of(event.source))

    @on(TextPane.Clicked)
    def _on_detail_clicked(self) -> None:
        self.activate("detail")

    @on(TextPane.Resized)
    def _on_detail_resized(self) -> None:
        self.redraw()

    @on(LineList.Chosen)
    def _on_chosen(self, event: LineList.Chosen) -> None:
        if event.source is self.layers_tree:
            self.layers_tree.toggle()
        else:
            self.action_open()
