"""Actions of the group Copying and saving."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qinspect.inspector.text import columns, number, percent, shell_words, visible
from qinspect.tui.compare.base import CompareBase
from qinspect.tui.compare.rows import cell
from qinspect.tui.names import shown
from qinspect.tui.outside import copy_to_terminal

if TYPE_CHECKING:
    from qinspect.inspector.table import Table

CANNOT_OPEN = 2
"""Exit code where A, or B, cannot be opened: the command line's."""


class Taking(CompareBase):
    """Clipboard, saved views, leaving."""

    def action_copy_row(self) -> None:
        if pair := self.table.pair:
            d = pair.difference
            cells = [pair.role, *([number(d.a), number(d.b), percent(d.largest)] if d else []), str(pair.status)]
            self._copy(columns(*cells))

    def action_copy_key(self) -> None:
        if pair := self.table.pair:
            self._copy(visible(pair.record.key))

    def action_copy_value(self) -> None:
        if pair := self.table.pair:
            d = pair.difference
            known = self.table.values.get(pair.role, (None, None))
            self._copy(f"{d.a!r}\t{d.b!r}" if d else visible(cell(pair, "value", known)))

    def action_copy_command(self) -> None:
        self._copy(self.command_line())

    def command_line(self) -> str:
        """The command that prints what is selected, or the whole comparison."""
        pair = self.table.pair
        s = self.session
        if self.active == "tree" or pair is None:
            words = ["qinspect", "diff", s.path_a, s.path_b] if s.path_b else ["qinspect", "scales", s.path_a]
            words += ["--only", "changed"] if s.path_b and self.selection.only_changed else []
            words += ["--noise", *s.noise] if s.noise else []
            words += ["--run", s.noise_run] if s.noise_run else []
        else:
            words = ["qinspect", "show", s.path_a if pair.a else s.path_b or "", pair.record.key]
        return shell_words(words)

    def _copy(self, text: str) -> None:
        """OSC 52, which reaches the local clipboard through SSH, and through tmux where it allows passthrough."""
        copy_to_terminal(self.app, text)
        self.hints.say(f"sent to the terminal's clipboard: {shown(text, 40)}")

    def view_table(self) -> Table:
        from qinspect.inspector.compare.report import scale_table

        return scale_table(self.table.pairs)

    def view_json(self) -> object:
        from qinspect.inspector.compare import payload

        return [payload.scale_pair(p) for p in self.table.pairs]

    def action_quit(self) -> None:
        self.app.exit(return_code=CANNOT_OPEN if self.session.error_a or self.session.error_b else 0)
