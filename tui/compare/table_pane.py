"""The scales with their title, their column names and their keys: which rows, in which order, which of them differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.message import Message
from textual.timer import Timer
from textual.worker import get_current_worker

from qinspect.inspector.compare.measures import DIFFERENCE
from qinspect.inspector.compare.results import ScalePair, Status
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import columns, count, number, percent, visible
from qinspect.tui.compare.columns import names_of
from qinspect.tui.compare.fidelity import Measured, sqnr_text
from qinspect.tui.compare.filters import Schemes
from qinspect.tui.compare.rows import BY_VALUE, METHOD, ONE_MODEL, Selection, Values, cell, sorts
from qinspect.tui.compare.table import ScaleTable, TableHeader
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.key_names import key
from qinspect.tui.list_pane import MOVING, ListPane
from qinspect.tui.names import shown
from qinspect.tui.widgets.bars import TitleLine

SQNR = "SQNR"
"""The order, and the column, of fidelity."""
_SORT_SECONDS = 0.5
"""Between two sorts by methods, of which more are found."""
Read = Callable[[list[ScalePair], Callable[[], bool]], dict[str, Values]]
"""Values of scales by role; the second says whether they are wanted no longer."""


class TablePane(ListPane):
    """Where its cursor is, its list says by `LineList.Moved`."""

    ACTIONS: ClassVar[frozenset[str]] = MOVING
    EVERYWHERE: ClassVar[frozenset[str]] = frozenset({
        "only_changed", "sort", "reverse", "bookmark", "copy_row", "copy_key", "copy_value",
    })  # fmt: skip

    class Changed(Message):
        """Other rows, or another order, by a key or the mouse."""

    class Learned(Message):
        """Values were read."""

    class Unlimited(Message):
        """The filter that was typed is dropped: a scale that it hid was asked for."""

    def __init__(self, glyphs: Glyphs, two: bool) -> None:
        super().__init__(id="table-box")
        self.glyphs = glyphs
        self.scales = ScaleTable(glyphs, id="table")
        self.scales.two = two
        self.header = TableHeader(self.scales)
        self.selection = Selection()
        self._all: Sequence[ScalePair] = ()
        self._schemes: Callable[[], Schemes] = dict
        self._read: Read = lambda *_: {}
        self._paths: dict[str, str] = {}
        self._to_sort: Timer | None = None

    def compose(self) -> ComposeResult:
        yield TitleLine("2 scales", id="table-title")
        yield self.header
        yield self.scales

    # --- which rows ---

    def show(self, pairs: Sequence[ScalePair], two: bool, schemes: Callable[[], Schemes], read: Read) -> None:
        """All scales of the models, of which some are chosen. schemes: of the weights that they belong to. read: their
        values, which takes a while."""
        self._all, self._schemes, self._read = pairs, schemes, read
        self.scales.two = two
        methods = self.scales.names.methods
        self.scales.names = replace(names_of(pairs), measured=self.scales.measured.any_weight, methods=methods)
        self.refill()

    def of_fidelity(self, measured: Measured) -> None:
        """What is known of it, or more of it."""
        self.scales.measured = measured
        self.scales.names = replace(self.scales.names, measured=measured.any_weight)
        if self.selection.sort == SQNR:
            self.refill()
        else:
            self.scales.refresh_rows()
            self.header.refresh()

    def of_methods(self, can: bool, method_of: Callable[[ScalePair], str | None]) -> None:
        """Whether methods can be told, and what is known of them, or more of it."""
        self.scales.method_of = method_of
        if self.scales.names.methods is not can:
            self.scales.names = replace(self.scales.names, methods=can)
            self.header.refresh()
        self.scales.refresh_rows()
        self._sort_soon()

    def _sort_soon(self) -> None:
        if self.selection.sort == METHOD and self._to_sort is None:
            self._to_sort = self.set_timer(_SORT_SECONDS, self._sort_by_methods)

    def _sort_by_methods(self) -> None:
        """By those that are known, after asking for all others: not at once, since the key leads through all orders."""
        self._to_sort = None
        if self.selection.sort == METHOD:
            self.scales.ask_for_methods(self._all)
            self.refill()

    def forget(self) -> None:
        """The models are opened anew."""
        self._paths.clear()
        self.scales.forget_values()

    def refill(self) -> None:
        """Choose the rows again."""
        s = self.selection
        schemes = self._schemes() if s.text else {}
        known = self.scales.values, schemes, self.scales.measured, self.scales.method_of
        rows = s.choose(self._all, self.path_of, *known)
        self.scales.show(rows, self.scales.two)
        parts = [f"2 scales {count(len(rows))} of {count(len(self._all))}"]
        parts += [f"under {shown(s.under, 60)} ({key('close')}: all)"] if s.under else []
        parts += [f"of {shown(s.cell_name, 60)} ({key('close')}: overview)"] if s.cell else []
        parts += [f"matching {shown(s.text, 30)!r}"] if s.text else []
        parts += ["only changed"] if s.only_changed else []
        parts += [f"by {s.sort}{' reversed' if s.reverse else ''}"] if s.sort != "forward" or s.reverse else []
        self.title.update(f" {self.glyphs.dot} ".join(parts))
        self.header.sort = s.sort
        self.header.refresh()

    def path_of(self, pair: ScalePair) -> str:
        """Where a scale stands in the tree."""
        path = self._paths.get(pair.role)
        if path is None:
            path = self._paths[pair.role] = strip_root(pair.record.key)
        return path

    def show_under(self, path: str) -> None:
        """Only scales below a node of the tree, all for ""."""
        if path != self.selection.under:
            self.selection.under = path
            self.refill()

    def show_cell(self, roles: frozenset[str], name: str) -> None:
        """Only scales of a cell of the overview."""
        self.selection.cell, self.selection.cell_name = roles, name
        self.refill()

    def leave_cell(self) -> bool:
        """All scales again, not only those of a cell. Whether it was one."""
        was = bool(self.selection.cell)
        if was:
            self.show_cell(frozenset(), "")
        return was

    @on(ScaleTable.Wanted)
    def _on_wanted(self, event: ScaleTable.Wanted) -> None:
        event.stop()
        self._read_values(event.pairs)

    @work(thread=True, exit_on_error=False, group="values")
    def _read_values(self, pairs: list[ScalePair]) -> None:
        worker = get_current_worker()
        values = self._read(pairs, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.app.call_from_thread(self.learn, values)

    def learn(self, values: dict[str, Values]) -> None:
        """Values that were read."""
        self.scales.learn(values)
        if self.selection.sort in BY_VALUE:
            self.refill()
        self.post_message(self.Learned())

    # --- which row ---

    @property
    def pair(self) -> ScalePair | None:
        """The scale under the cursor."""
        return self.scales.pair

    def find(self, name: str) -> ScalePair | None:
        """The scale of a name, or of a place in the tree."""
        return next((p for p in self._all if p.role == name or self.path_of(p) == name), None)

    def select(self, role: str) -> None:
        """Put the cursor on a scale, whatever is filtered away now."""
        at = self._row_of(role)
        if at is None:
            s = self.selection
            if s.text:
                self.post_message(self.Unlimited())
            s.text, s.under, s.only_changed, s.cell = "", "", False, frozenset()
            self.refill()
            at = self._row_of(role)
        if at is not None:
            self.scales.move_to(at)

    def _row_of(self, role: str) -> int | None:
        return next((i for i, p in enumerate(self.scales.pairs) if p.role == role), None)

    def next_different(self, step: int, by_fidelity: bool = False) -> bool:
        """To the next (previous) of the rows in forward order that is not the same, from the selected one. Whether
        there is one. by_fidelity: of those whose weight has an error."""
        differs = self.scales.measured.has_error if by_fidelity else _differs
        found = self._here(differs)
        if not found:
            return False
        here = self.pair.order if self.pair else -1
        later = [p for p in found if (p.order > here if step > 0 else p.order < here)]
        self.say("" if later or here < 0 else f"once around{self._outside(differs)}")
        self.select((later or found)[0 if step > 0 else -1].role)
        return True

    def go_to_largest(self, by_fidelity: bool = False) -> bool:
        """To the row that differs most, or whose weight has the least SQNR. Whether any does."""
        if by_fidelity:
            return self._go_to_worst()
        found = self._here(lambda p: p.status is Status.DIFFERENT and p.difference is not None)
        if not found:
            return False
        worst = min(found, key=DIFFERENCE.order)
        self.select(worst.role)
        if worst.difference is not None:
            undefined = "n/a, for NaN, infinity or a zero in A"
            self.say(f"largest: {undefined if worst.difference.n_undefined else percent(worst.difference.largest)}")
        return True

    def _go_to_worst(self) -> bool:
        measured = self.scales.measured
        found = self._here(measured.has_error)
        if found:
            worst = min(found, key=lambda p: measured.order_of_scale(p.role))
            self.select(worst.role)
            self.say(f"worst: SQNR {sqnr_text(measured.sqnr_of_scale(worst.role))} dB")
        return bool(found)

    def next_bookmark(self) -> bool:
        """To the next scale with a bookmark, in forward order. Whether there is one."""
        marked = [p for p in self._all if p.role in self.scales.bookmarks]
        if not marked:
            self.say("no bookmark is set")
            return False
        here = self.pair.order if self.pair else -1
        self.select(next((p for p in marked if p.order > here), marked[0]).role)
        return True

    def _here(self, wanted: Callable[[ScalePair], bool]) -> list[ScalePair]:
        """Of the rows that filter and tree leave those that are wanted, in forward order. Says where none is."""
        if not self.scales.two:
            self.say(ONE_MODEL)
            return []
        found = sorted(filter(wanted, self.scales.pairs), key=lambda p: p.order)
        if not found:
            outside = self._outside(wanted)
            self.say(f"no difference{' here' if outside else ''}{outside}")
        return found

    def _outside(self, wanted: Callable[[ScalePair], bool]) -> str:
        """`; 12 outside of layers.3: escape leaves it`, empty where all that is wanted is in the table."""
        n = sum(map(wanted, self._all)) - sum(map(wanted, self.scales.pairs))
        s = self.selection
        limits = [shown(s.cell_name, 40)] * bool(s.cell) + [shown(s.under, 30)] * bool(s.under)
        limits += [repr(shown(s.text, 20))] * bool(s.text)
        return f"; {n:,} outside of {' and '.join(limits)}: {key('close')} leaves it" if n and limits else ""

    # --- keys ---

    def _change(self) -> None:
        self.refill()
        self.post_message(self.Changed())

    def action_only_changed(self) -> None:
        self.selection.only_changed = not self.selection.only_changed
        self._change()

    def action_sort(self) -> None:
        names = self._sorts
        at = names.index(self.selection.sort) if self.selection.sort in names else -1
        self._sort_by(names[(at + 1) % len(names)])

    @property
    def _sorts(self) -> tuple[str, ...]:
        return sorts(self.scales.two, self.scales.measured.any_weight, self.scales.names.methods)

    def _sort_by(self, name: str) -> None:
        self.selection.sort = name
        if name in BY_VALUE:
            self.scales.ask_for(self._all)
        self._sort_soon()
        self._change()

    @on(TableHeader.Clicked)
    def _on_header_clicked(self, event: TableHeader.Clicked) -> None:
        if event.column == self.selection.sort:
            self.action_reverse()
        elif event.column in self._sorts:
            self._sort_by(event.column)

    def action_reverse(self) -> None:
        self.selection.reverse = not self.selection.reverse
        self._change()

    def action_bookmark(self) -> None:
        if pair := self.pair:
            self.scales.bookmarks ^= {pair.role}
            self.scales.refresh_rows()

    def action_copy_row(self) -> None:
        if pair := self.pair:
            d = pair.difference
            cells = [pair.role, *([number(d.a), number(d.b), percent(d.largest)] if d else []), str(pair.status)]
            self.copy(columns(*cells))

    def action_copy_key(self) -> None:
        if pair := self.pair:
            self.copy(visible(pair.record.key))

    def action_copy_value(self) -> None:
        if pair := self.pair:
            d = pair.difference
            known = self.scales.values.get(pair.role, (None, None))
            self.copy(f"{d.a!r}\t{d.b!r}" if d else visible(cell(pair, "value", known)))


def _differs(pair: ScalePair) -> bool:
    return not pair.status.counts_as_same
