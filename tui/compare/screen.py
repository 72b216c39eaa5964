"""The compare screen: a session of two models, or of one, over panes that own their keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import on

from qinspect.tui.compare.base import CompareBase
from qinspect.tui.compare.commands import command_of
from qinspect.tui.compare.detail_pane import DetailPane
from qinspect.tui.compare.overview_pane import OverviewPane
from qinspect.tui.compare.table_pane import TablePane
from qinspect.tui.host import host_of
from qinspect.tui.outside import copy_to_terminal
from qinspect.tui.pane import Pane
from qinspect.tui.widgets.lines import LineList

if TYPE_CHECKING:
    from qinspect.inspector.table import Table

CANNOT_OPEN = 2
"""Exit code where A, or B, cannot be opened: the command line's."""


class CompareScreen(CompareBase):
    """Everything about A and B, or about A."""

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
        self.forget_text()

    @on(OverviewPane.Chosen)
    def _go_into(self, chosen: OverviewPane.Chosen) -> None:
        self.body.enter_cell(chosen, self.session.pairs)
        self.show_selected()

    @on(LineList.Moved)
    def _on_moved(self, event: LineList.Moved) -> None:
        follow = {self.tree_pane.nodes: self._follow_tree, self.table_pane.scales: self.show_selected}
        if event.source in follow:
            self._rest.ask(follow[event.source])

    @on(LineList.Chosen)
    def _on_chosen(self) -> None:
        self.act("open")

    def _follow_tree(self) -> None:
        self.table_pane.show_under(self.tree_pane.under)
        self.show_selected()

    def act(self, name: str) -> object:
        """On the overview a view is of the cell under the cursor; what would change a pane that is not seen is not
        done."""
        owner = self.owner_of(name)
        if why := self.body.why_not(name, owner):
            self.hints.say(why)
            return None
        comes = False
        if self.active != "overview":
            comes = self.body.bring(name, owner)
        elif owner is self.detail_pane or name == "distribution":
            self.body.look_into_cell(self.overview.chosen, self.session.pairs)
            self.show_selected()
            comes = True
        if comes and name == "view_error" and self.detail_pane.view == "error":
            return None  # it is seen by now: the next chart is for who saw this one
        return super().act(name)

    def action_open(self) -> None:
        """Large what is small, or into it."""
        if self.active != "overview":
            self.body.zoom("" if self.body.zoomed == "detail" else "detail")
        elif self.overview.chosen is not None:
            self._go_into(self.overview.chosen)

    # --- finding ---

    def names_to_jump_to(self) -> Sequence[str]:
        return self.session.names

    def jumped_to(self, name: str) -> None:
        self.body.go_to(name)

    def action_filter(self) -> None:
        """What is filtered is to be seen."""
        self.activate("table")
        super().action_filter()

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
        """Drop the filter, then the zoom, then a long comparison of codes or measuring, then the scope of the tree;
        then back to the overview."""
        if self.table_pane.selection.text:
            self.action_drop_text()
        elif self.body.zoomed:
            self.body.zoom("")
        elif self.session.two and self.session.comparison is None and not self.session.skip_codes:
            self.session.skip_codes = True
        elif self.measuring.going:
            self.hints.work("")
            self.hints.say(self.measuring.stop())
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
        found = {"evaluation": self.headline.of_evaluation, "fidelity": self.headline.of_fidelity}
        self.detail_pane.show_verdict(self.session.comparison, self.headline.text, found)

    def action_distribution(self) -> None:
        """The exact distribution of the tensor under the cursor."""
        leaf = self.tree_pane.leaf if self.active == "tree" else None
        self._distributions.open(self.session, leaf, self.table_pane.pair)

    def action_lint(self) -> None:
        """Imported now: it needs numpy."""
        formats = {label: f for label, f in (("A", self.session.a), ("B", self.session.b)) if f}
        if "A" not in formats:
            self.hints.say("A is not open yet" if not self.session.error_a else "A cannot be opened")
            return
        from qinspect.tui.lint.screen import LintScreen

        self.app.push_screen(LintScreen(formats, self.glyphs, self.jumped_to))

    def action_reload(self) -> None:
        """As if the program were started again; the view, the filter and the place in the table stay."""
        self.session = host_of(self).session = self.session.anew()
        self.models.of(self.session)
        self.table_pane.forget()
        self.measuring.forget()
        self.methods.forget()
        self.show_methods()
        self.headline.forget()
        self.show_fidelity()
        self.show_headline("opening")
        self.show_models()
        self.open_models()

    def action_runs(self) -> None:
        host_of(self).show_runs()

    # --- taking along ---

    @property
    def command_line(self) -> str:
        """The command that prints what is selected, or the whole comparison."""
        return command_of(self.session, self.body)

    def action_copy_command(self) -> None:
        self.hints.say(copy_to_terminal(self.app, self.command_line))

    def view_table(self) -> Table:
        from qinspect.inspector.compare.report import scale_table

        return scale_table(self.body.pairs_seen(self.session))

    def view_json(self) -> object:
        from qinspect.inspector.compare import payload

        return [payload.scale_pair(p) for p in self.body.pairs_seen(self.session)]

    def action_quit(self) -> None:
        self.app.exit(return_code=CANNOT_OPEN if self.session.error_a or self.session.error_b else 0)
