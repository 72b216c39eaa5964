"""Actions of the group Finding."""

from __future__ import annotations

from collections.abc import Callable

from textual import on

from qinspect.inspector.compare.measures import DIFFERENCE
from qinspect.inspector.compare.results import ScalePair, Status
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import percent
from qinspect.tui.compare.base import CompareBase
from qinspect.tui.compare.rows import BY_VALUE, sorts
from qinspect.tui.compare.table import TableHeader
from qinspect.tui.dialogs.ask import AskScreen
from qinspect.tui.dialogs.jump import JumpScreen
from qinspect.tui.filtering import Filtering
from qinspect.tui.names import shown


def _differs(pair: ScalePair) -> bool:
    return not pair.status.counts_as_same


class FindingKeys(Filtering, CompareBase):
    """Differences, filter, jump, sort, bookmarks."""

    def action_measure(self) -> None:
        self.activate("overview")
        self.overview.action_measure()

    def leave_cell(self) -> None:
        """All scales again, not only those of a cell of the overview."""
        if self.selection.cell:
            self.selection.cell = frozenset()
            self.refill_and_show()

    def _step_difference(self, step: int) -> None:
        """To the next (previous) of the rows in forward order that is not the same, from the selected one."""
        if not self.session.two:
            self.hints.say("one model: nothing to differ from")
            return
        found = self._here(_differs)
        if not found:
            return
        here = self.table.pair.order if self.table.pair else -1
        later = [p for p in found if (p.order > here if step > 0 else p.order < here)]
        target = (later or found)[0 if step > 0 else -1]
        self.hints.say("" if later or here < 0 else f"once around{self._outside(_differs)}")
        self.select(target.role)
        self.activate("table")

    def _here(self, wanted: Callable[[ScalePair], bool]) -> list[ScalePair]:
        """Of the rows that filter and tree leave those that are wanted, in forward order. Says where none is."""
        found = sorted(filter(wanted, self.table.pairs), key=lambda p: p.order)
        if not found:
            outside = self._outside(wanted)
            self.hints.say(f"no difference{' here' if outside else ''}{outside}")
        return found

    def _outside(self, wanted: Callable[[ScalePair], bool]) -> str:
        """`; 12 outside of layers.3: escape leaves it`, empty where all that is wanted is in the table."""
        n = sum(map(wanted, self.session.pairs)) - sum(map(wanted, self.table.pairs))
        s = self.selection
        limits = [shown(s.cell_name, 40)] * bool(s.cell) + [shown(s.under, 30)] * bool(s.under)
        limits += [repr(shown(s.text, 20))] * bool(s.text)
        return f"; {n:,} outside of {' and '.join(limits)}: escape leaves it" if n and limits else ""

    def action_next_difference(self) -> None:
        self._step_difference(1)

    def action_previous_difference(self) -> None:
        self._step_difference(-1)

    def action_largest_difference(self) -> None:
        found = self._here(lambda p: p.status is Status.DIFFERENT and p.difference is not None)
        if not found:
            return
        worst = min(found, key=DIFFERENCE.order)
        self.select(worst.role)
        self.activate("table")
        d = worst.difference
        if d is not None:
            undefined = "n/a, for NaN, infinity or a zero in A"
            self.hints.say(f"largest: {undefined if d.n_undefined else percent(d.largest)}")

    def filter_typed(self, text: str) -> None:
        self.selection.text = text
        self.after_rest(self.refill_and_show)

    def filter_closed(self) -> None:
        self.activate("table")

    def filter_dropped(self) -> None:
        self.selection.text = ""
        self.activate("table")
        self.refill_and_show()

    def action_close(self) -> None:
        """Drop the filter, then the zoom, then a long comparison of codes, then the scope of the tree; then back to the
        overview."""
        if self.selection.text:
            self.action_drop_text()
        elif self.zoomed:
            self.zoom_pane("")
        elif self.session.two and self.session.comparison is None and not self.session.skip_codes:
            self.session.skip_codes = True
        elif self.selection.under:
            self.layers_tree.move_to(0)
        elif self.active != "overview":
            self.leave_cell()
            self.activate("overview")

    def action_jump(self) -> None:
        names = [p.role for p in self.session.pairs]
        known = set(names)
        for checkpoint in (self.session.checkpoint_a, self.session.checkpoint_b):
            for name in checkpoint.entries if checkpoint else ():
                path = strip_root(name)
                if path not in known:
                    known.add(path)
                    names.append(path)
        self.app.push_screen(JumpScreen(names), self._jumped)

    def _jumped(self, name: str | None) -> None:
        if not name:
            return
        pair = next((p for p in self.session.pairs if p.role == name or self.path_of(p) == name), None)
        if pair is not None:
            self.select(pair.role)
            self.activate("table")
        else:
            self.layers_tree.reveal(name)
            self.activate("tree")

    def action_go_to_index(self) -> None:
        """Show the values from an index on."""
        if self.view != "values":
            self.view = "values"
            self.show_selected()
        self.app.push_screen(AskScreen("index, such as 17 or 3,17"), self._go_to)

    def _go_to(self, text: str | None) -> None:
        if not text:
            self.hints.say("")
            return
        from qinspect.tui.views import row_of_index  # needs numpy

        row = row_of_index(text, self.detail.plain)
        if row is None:
            self.hints.say(f"there is no index {shown(text, 20)}")
            return
        self.activate("detail")
        self.detail.scroll_to(0, row, animate=False, force=True, immediate=True)

    def action_only_changed(self) -> None:
        self.selection.only_changed = not self.selection.only_changed
        self.refill_and_show()

    def action_sort(self) -> None:
        names = sorts(self.session.two)
        at = names.index(self.selection.sort) if self.selection.sort in names else -1
        self._sort_by(names[(at + 1) % len(names)])

    def _sort_by(self, name: str) -> None:
        self.selection.sort = name
        if name in BY_VALUE:
            self.table.ask_for(self.session.pairs)
        self.refill_and_show()

    @on(TableHeader.Clicked)
    def _on_header_clicked(self, event: TableHeader.Clicked) -> None:
        if event.column == self.selection.sort:
            self.action_reverse()
        else:
            self._sort_by(event.column)

    def action_reverse(self) -> None:
        self.selection.reverse = not self.selection.reverse
        self.refill_and_show()

    def action_bookmark(self) -> None:
        if pair := self.table.pair:
            self.table.bookmarks ^= {pair.role}
            self.table.refresh_rows()

    def action_next_bookmark(self) -> None:
        marked = [p for p in self.session.pairs if p.role in self.table.bookmarks]
        if marked:
            here = self.table.pair.order if self.table.pair else -1
            self.select(next((p for p in marked if p.order > here), marked[0]).role)
