"""What was asked for, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qinspect.inspector.runs.show import Seen
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.runs.spec_lines import spec_lines
from qinspect.tui.runs.view import Lines, TextView


class SpecPane(TextView):
    """Command, settings, folder, variables; what changed since the last run of its name."""

    NAME = "spec"
    needs_log = True

    def __init__(self, glyphs: Glyphs, runs: Callable[[], Sequence[Seen]]) -> None:
        """runs: all that there are now."""
        super().__init__(glyphs)
        self._runs = runs

    def lines(self, width: int) -> Lines:
        run = self.shown
        return spec_lines(run.seen, self._runs(), run.facts, width) if run else [[("no run is chosen", "")]]
