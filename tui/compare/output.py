"""A model that a run made, on a compare screen over the runs."""

from __future__ import annotations

from qinspect.tui.compare.screen import CompareScreen


class OutputScreen(CompareScreen):
    """The same, but leaving leads back."""

    def action_quit(self) -> None:
        self.dismiss()

    def action_runs(self) -> None:
        self.dismiss()
