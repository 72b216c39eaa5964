"""The list of findings, with a cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.message import Message

from qinspect.inspector.finding import Severity
from qinspect.inspector.lint.check import Lint
from qinspect.inspector.text import some
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.key_names import key
from qinspect.tui.lint.rows import LEVELS, FindingKey, Row, row_pieces, rows_of
from qinspect.tui.list_pane import MOVING, ListPane
from qinspect.tui.widgets.bars import TitleLine
from qinspect.tui.widgets.lines import LineList, Piece


class FindingList(LineList):
    """Rows of findings and places."""

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id="findings")
        self._glyphs = glyphs
        self.rows: Sequence[Row] = ()
        self.opened: set[FindingKey] = set()
        """By their keys."""
        self.two = False

    def show(self, rows: Sequence[Row]) -> None:
        """Other rows."""
        self.rows = rows
        self.set_rows(len(rows))

    @property
    def row(self) -> Row | None:
        """That under the cursor."""
        return self.rows[self.cursor] if self.rows else None

    def line(self, row: int, width: int) -> Sequence[Piece]:
        shown = self.rows[row]
        return row_pieces(shown, width, self._glyphs, shown.finding_key in self.opened, self.two)


class FindingsPane(ListPane):
    """The left of the screen, or its top."""

    ACTIONS: ClassVar[frozenset[str]] = MOVING | {"expand", "collapse", "fold_all", "fold_one_more"}
    EVERYWHERE: ClassVar[frozenset[str]] = frozenset(
        {"next_finding", "previous_finding", "largest_finding", "level", "copy_key", "copy_row"}
    )

    class Wanted(Message):
        """The place under the cursor is to be looked at among the scales."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    class Changed(Message):
        """Other rows are there, or the cursor is on another one."""

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id="lint-left")
        self.list = FindingList(glyphs)
        self.found: Lint | None = None
        self.least = Severity.NOTE

    def compose(self) -> ComposeResult:
        yield TitleLine("1 findings", id="findings-title")
        yield self.list

    def show(self, found: Lint) -> None:
        """What was found so far: what was open stays so, and the cursor where it was."""
        before = self.list.row
        self.found = found
        self.list.two = len(found.models) > 1
        self.list.opened &= {f.key for f in found.findings}
        self._fill(before)

    def _fill(self, keep: Row | None) -> None:
        if self.found is None:
            return
        rows = rows_of(self.found, self.list.opened, self.least)
        self.list.show(rows)
        if keep is not None and keep.finding is not None:
            self.list.move_to(_nearest(rows, keep), tell=False, again=False)
        self.title.update(f"1 findings: {findings_counted(self.found)}{self._limited}")
        self.post_message(self.Changed())

    @property
    def _limited(self) -> str:
        return {Severity.WARNING: ", without notes", Severity.ERROR: ", errors only"}.get(self.least, "")

    # --- keys ---

    def action_open(self) -> None:
        """Open or close a finding; of a place, its scale."""
        row = self.list.row
        if row is None or row.finding is None:
            return
        if row.place is not None:
            self.post_message(self.Wanted(row.place.key))
        elif row.finding.places:
            self.list.opened ^= {row.finding.key}
            self._fill(row)
        else:
            self.say("this finding is of no single place")

    def action_expand(self) -> None:
        row = self.list.row
        if row is not None and row.finding is not None and not (row.place or row.finding.key in self.list.opened):
            self.action_open()
        else:
            self.action_down()

    def action_collapse(self) -> None:
        row = self.list.row
        if row is not None and row.finding is not None and row.finding.key in self.list.opened:
            self.list.opened -= {row.finding.key}
            self._fill(Row(row.finding))

    def action_fold_all(self) -> None:
        row = self.list.row
        self.list.opened.clear()
        self._fill(None if row is None else Row(row.finding))

    def action_fold_one_more(self) -> None:
        row = self.list.row
        self.list.opened |= {f.key for f in (self.found.findings if self.found else ()) if f.places}
        self._fill(row)

    def action_next_finding(self) -> None:
        self._step(1)

    def action_previous_finding(self) -> None:
        self._step(-1)

    def action_largest_finding(self) -> None:
        """The first: the worst are first."""
        self.list.move_to(0)

    def go_to(self, code: str) -> bool:
        """The cursor to the first finding of a rule; False where none is listed."""
        found = (i for i, r in enumerate(self.list.rows) if r.finding is not None and r.finding.rule.code == code)
        at = next(found, None)
        if at is not None:
            self.list.move_to(at)
        return at is not None

    def _step(self, by: int) -> None:
        """To the next row that is a finding, not a place of one."""
        at = self.list.cursor + by
        while 0 <= at < len(self.list.rows):
            row = self.list.rows[at]
            if row.finding is not None and row.place is None and not row.text:
                self.list.move_to(at)
                return
            at += by
        self.say("no finding after this one" if by > 0 else "no finding before this one")

    def action_level(self) -> None:
        """All, without notes, errors alone."""
        row = self.list.row
        self.least = LEVELS[(LEVELS.index(self.least) + 1) % len(LEVELS)]
        self._fill(row)
        self.say(f"{key('level')}: {'all' if self.least is Severity.NOTE else f'from {self.least} on'}")

    def action_copy_key(self) -> None:
        row = self.list.row
        if row is not None and row.place is not None:
            self.copy(row.place.key)
        else:
            self.say(f"no place: {key('open')} lists those of a finding")

    def action_copy_row(self) -> None:
        row = self.list.row
        if row is not None:
            self.copy("".join(text for text, _ in self.list.line(self.list.cursor, 400)).strip())


def _nearest(rows: Sequence[Row], wanted: Row) -> int:
    """Where a row is again, or its finding."""
    of_finding = [i for i, r in enumerate(rows) if r.finding_key == wanted.finding_key]
    same = (i for i in of_finding if (rows[i].place, rows[i].text) == (wanted.place, wanted.text))
    return next(same, of_finding[0] if of_finding else 0)


def findings_counted(found: Lint) -> str:
    """`2 errors, 1 warning`, `no finding`."""
    order = (Severity.ERROR, Severity.WARNING, Severity.NOTE)
    counts = [(sum(f.severity is s for f in found.findings), s.value) for s in order]
    return ", ".join(some(n, word) for n, word in counts if n) or "no finding"
