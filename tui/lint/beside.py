"""What is beside the list of findings: the rule, what engines do, the experts. One of them is seen."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical

from qinspect.tui.glyphs import Glyphs
from qinspect.tui.lint.engines_pane import EnginesPane
from qinspect.tui.lint.experts_pane import ExpertsPane
from qinspect.tui.lint.rule_pane import RulePane
from qinspect.tui.pane import Pane


class Beside(Vertical):
    """The right of the screen, or its bottom."""

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id="lint-right")
        self.rule, self.engines, self.experts = RulePane(), EnginesPane(), ExpertsPane(glyphs)
        self.named: dict[str, Pane] = {"rule": self.rule, "engines": self.engines, "experts": self.experts}
        self.seen = "rule"

    def compose(self) -> ComposeResult:
        yield from self.named.values()

    def on_mount(self) -> None:
        self.show("rule")

    def show(self, name: str) -> None:
        """This one is seen."""
        self.seen = name
        for other, pane in self.named.items():
            pane.set_class(other != name, "hidden")

    def set_active(self, active: bool) -> None:
        """Whether the keys work in the one that is seen."""
        for name, pane in self.named.items():
            pane.set_active(active and name == self.seen)
