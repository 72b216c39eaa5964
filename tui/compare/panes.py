"""The panes beside each other: which of them has the keys, which fills the screen, and how large each is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message

from qinspect.inspector.compare.layer_map import layer_map
from qinspect.inspector.compare.results import ScalePair
from qinspect.tui.compare.detail_pane import DetailPane
from qinspect.tui.compare.overview_pane import OverviewPane
from qinspect.tui.compare.runs_pane import RunsPane
from qinspect.tui.compare.session import Session
from qinspect.tui.compare.table_pane import TablePane
from qinspect.tui.compare.trail import Trail
from qinspect.tui.compare.tree_pane import TreePane
from qinspect.tui.key_names import key
from qinspect.tui.pane import Pane

SMALL_HEIGHT = 30
"""Lines of a terminal under which a plot has to take its room from the verdict and the table."""
SMALL_TABLE = 5
"""Lines of the table there: its title, its header, and the scales around the cursor."""
OF_MODELS = ("tree", "table", "detail")
"""Panes that can fill the screen."""
NAMES = {"tree": "the layers are", "table": "the scales are", "detail": "the detail is"}
"""As sentences begin."""
LOOKING = frozenset({
    "view_detail", "view_histogram", "view_weight", "view_codes", "view_profile", "view_values", "view_error",
    "go_to_index",
})  # fmt: skip
"""Actions of the detail that bring it to the screen where another pane fills that."""


class Panes(Pane):
    """active, zoomed: names of panes; zoomed is "" where none fills the screen. chrome: lines of the screen that are no
    pane's."""

    EVERYWHERE: ClassVar[frozenset[str]] = frozenset({
        "next_pane", "previous_pane", "pane_overview", "pane_tree", "pane_table", "pane_detail", "pane_runs", "expand",
        "collapse", "zoom", "next_difference", "previous_difference", "largest_difference", "next_bookmark", "measure",
        "back", "forward",
    })  # fmt: skip

    class Arranged(Message):
        """Another pane is active, or they have other sizes."""

    def __init__(
        self, overview: OverviewPane, tree: TreePane, table: TablePane, detail: DetailPane, runs: RunsPane
    ) -> None:
        super().__init__(id="body")
        self.overview, self.layers_tree, self.table, self.detail, self.runs = overview, tree, table, detail, runs
        self.named: dict[str, Pane] = {
            "overview": overview, "tree": tree, "table": table, "detail": detail, "runs": runs,
        }  # fmt: skip
        self.active = "overview"
        self.zoomed = ""
        self.chrome = 0
        self.trail = Trail()

    def compose(self) -> ComposeResult:
        yield self.overview
        with Vertical(id="left"):
            yield self.layers_tree
            yield self.runs
        with Vertical(id="right"):
            yield self.table
            yield self.detail

    @property
    def active_pane(self) -> Pane:
        """The one that has the keys."""
        return self.named[self.active]

    def activate(self, name: str) -> None:
        """Let the keys work in this pane; it fills the screen where another one did.

        Not Textual's focus: that repaints both panes whole (40 kB); this repaints their titles and cursor lines. Only
        the filter has the focus while it is open.
        """
        if self.zoomed not in ("", name):
            self._zoom(name if name in OF_MODELS else "")
        self.active = name
        self._show_some()
        for known, pane in self.named.items():
            pane.set_active(known == name)
        self.screen.set_focus(None)
        self.post_message(self.Arranged())

    def zoom(self, name: str) -> None:
        """Let a pane fill the screen, "" for all of them again."""
        self._zoom(name)
        self.activate(name or self.active)

    def _zoom(self, name: str) -> None:
        self.zoomed = name
        self._show_some()
        self.fit()

    def _show_some(self) -> None:
        """By hand: a class of theirs would have the styles of all that is in them found again."""
        on_overview = self.active == "overview"
        self.overview.display = on_overview
        for known in OF_MODELS:
            self.named[known].display = self.zoomed in ("", known)
        self.query_one("#left").display = not on_overview and self.zoomed in ("", "tree")
        self.query_one("#right").display = not on_overview and self.zoomed != "tree"

    def fit(self) -> None:
        """Sizes for that of the terminal."""
        width, height = self.screen.size
        narrow = 30 if width < 100 else 38 if width < 160 else 56
        self.query_one("#left").styles.width = "1fr" if self.zoomed == "tree" else narrow
        given = 0 if self.zoomed else _detail_height(self.detail.view, height, self.chrome)
        self.detail.given = given
        self.detail.styles.height = given or "1fr"

    @on(Pane.Entered)
    def _on_entered(self, event: Pane.Entered) -> None:
        event.stop()
        self.activate(next(name for name, pane in self.named.items() if pane is event.pane))

    @on(RunsPane.Emptied)
    def _on_no_runs(self) -> None:
        if self.active == "runs":
            self.activate("tree")

    # --- what is in them ---

    def show_scales(self, s: Session) -> None:
        """The table and the overview of what is known now."""
        self.table.show(s.pairs, s.two, s.weight_schemes, s.read_values)
        tensors = s.comparison.weights if s.comparison else ()
        self.overview.show(layer_map(s.pairs, tensors, s.layer_kinds), s.two, self.table.scales.values)

    def pairs_seen(self, s: Session) -> Sequence[ScalePair]:
        """Rows of the table; all scales on the overview, where no filter is seen."""
        return s.pairs if self.active == "overview" else self.table.scales.pairs

    def enter_cell(self, cell: OverviewPane.Chosen, pairs: Sequence[ScalePair]) -> None:
        """The scales of a cell of the overview; the entry in the tree, where it has none."""
        table, held = self.table, _of_cell(cell, pairs)
        table.selection.under, table.selection.only_changed = "", False
        if held:
            table.show_cell(cell.roles, cell.name)
            table.select(_worth_seeing(held).role)
            self.activate("table")
        else:
            table.leave_cell()
            self.layers_tree.nodes.reveal(min(cell.roles).partition("#")[0])
            self.activate("tree")

    def look_into_cell(self, cell: OverviewPane.Chosen | None, pairs: Sequence[ScalePair]) -> None:
        """The scale of a cell in the table among all scales; the entry in the tree, where it has none."""
        held = _of_cell(cell, pairs) if cell is not None else []
        if cell is not None and not held:
            self.enter_cell(cell, pairs)
            return
        if held:
            self.table.select(_worth_seeing(held).role)
        self.activate("table")

    def go_to(self, name: str) -> None:
        """To a scale in the table, else to an entry in the tree."""
        pair = self.table.find(name)
        if pair is not None:
            self.table.select(pair.role)
            self.activate("table")
        else:
            self.layers_tree.nodes.reveal(name)
            self.activate("tree")

    # --- panes that are not seen ---

    def why_not(self, name: str, owner: object) -> str:
        """Why an action is not done: it would change a pane that is not seen. "" where it is done."""
        if self.active == "overview":
            return f"that is of one scale: {key('open')} shows those of the cell" if owner is self.table else ""
        found = next((n for n in OF_MODELS if self.named[n] is owner), "")
        if not found or self.zoomed in ("", found) or name in LOOKING:
            return ""
        return f"{NAMES[found]} not on the screen: {key('zoom')} shows all panes"

    def bring(self, name: str, owner: object) -> bool:
        """Before an action is done: the detail fills the screen where another pane did. Whether it did not before."""
        comes = owner is self.detail and self.zoomed not in ("", "detail") and name in LOOKING
        if comes:
            self.activate("detail")
        return comes

    # --- keys ---

    def action_next_difference(self) -> None:
        self._enter_table(self.table.next_different(1, self.overview.map.by_fidelity))

    def action_previous_difference(self) -> None:
        self._enter_table(self.table.next_different(-1, self.overview.map.by_fidelity))

    def action_largest_difference(self) -> None:
        self._enter_table(self.table.go_to_largest(self.overview.map.by_fidelity))

    def action_next_bookmark(self) -> None:
        self._enter_table(self.table.next_bookmark())

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
            self.table.select(role)
            if self.active == "overview" or self.zoomed == "tree":  # where neither it nor its detail is seen
                self.activate("table")

    def action_next_pane(self) -> None:
        self._go_beside(1)

    def action_previous_pane(self) -> None:
        self._go_beside(-1)

    def _go_beside(self, step: int) -> None:
        """From the overview to the first, or to the last."""
        names = [*OF_MODELS, *(["runs"] if self.runs.has_runs else [])]
        if self.active in names:
            self.activate(names[(names.index(self.active) + step) % len(names)])
        else:
            self.activate(OF_MODELS[0 if step > 0 else -1])

    def action_pane_overview(self) -> None:
        self.activate("overview")

    def action_pane_tree(self) -> None:
        self.activate("tree")

    def action_pane_table(self) -> None:
        self.activate("table")

    def action_pane_detail(self) -> None:
        self.activate("detail")

    def action_pane_runs(self) -> None:
        if self.runs.has_runs:
            self.activate("runs")
        else:
            self.say(f"no run is active: {key('runs')} opens the runs screen")

    def action_expand(self) -> None:
        """What the active pane has no use for leads to the one on the right."""
        self.activate("detail")

    def action_collapse(self) -> None:
        """The same to the left."""
        self.activate("table" if self.active == "detail" else "tree")

    def action_zoom(self) -> None:
        name = self.active if self.active in OF_MODELS else "table"
        self.zoom("" if self.zoomed else name)


def _of_cell(cell: OverviewPane.Chosen, pairs: Sequence[ScalePair]) -> list[ScalePair]:
    return [p for p in pairs if p.role in cell.roles]


def _worth_seeing(pairs: Sequence[ScalePair]) -> ScalePair:
    """The first that differs, else the first."""
    return next((p for p in pairs if not p.status.counts_as_same), pairs[0])


def _detail_height(view: str, height: int, chrome: int) -> int:
    """Lines of the detail pane and its title. It depends on the view alone, so that nothing jumps from scale to scale:
    a plot needs room for axes and legend, and gets it from the table and the verdict."""
    if view == "detail":
        return 7 if height < SMALL_HEIGHT else 15 if height < 50 else 24
    if height < SMALL_HEIGHT:
        return max(7, min(19, height - chrome - SMALL_TABLE))
    return 19 if height < 50 else 28
