"""What a rule looks for, what it found, why that matters and what to do: beside the list of findings."""

from __future__ import annotations

from textwrap import wrap
from typing import ClassVar

from textual import on
from textual.app import ComposeResult

from qinspect.inspector.lint.check import Lint
from qinspect.inspector.lint.report import place_text
from qinspect.inspector.text import count, some
from qinspect.tui.lint.rows import Row
from qinspect.tui.list_pane import MOVING
from qinspect.tui.look import Line
from qinspect.tui.names import shown
from qinspect.tui.pane import Pane
from qinspect.tui.widgets.bars import TitleLine
from qinspect.tui.widgets.lines import text_width
from qinspect.tui.widgets.text_pane import TextPane

PLACES_SHOWN = 12


class RulePane(Pane):
    """Of the finding under the cursor; of all rules, where there is none."""

    ACTIONS: ClassVar[frozenset[str]] = MOVING

    def __init__(self) -> None:
        super().__init__(id="lint-rule")
        self._said: tuple[Row | None, Lint | None] = (None, None)

    def compose(self) -> ComposeResult:
        yield TitleLine("2 the rule", id="rule-title")
        yield TextPane(id="rule-text")

    @property
    def text(self) -> TextPane:
        """The lines."""
        return self.query_one(TextPane)

    def set_active(self, active: bool) -> None:
        self.query_one(TitleLine).set_class(active, "active")

    def show(self, row: Row | None, found: Lint | None) -> None:
        """What there is to say of a row."""
        self._said = row, found
        width = max(20, text_width(self.text) - 1)
        self.text.show(rule_lines(row, found, width))

    @on(TextPane.Resized)
    def _on_resized(self) -> None:
        self.show(*self._said)

    @on(TextPane.Clicked)
    def _on_clicked(self) -> None:
        self.post_message(self.Entered(self))

    # --- keys ---

    def action_down(self) -> None:
        self._scroll(self.text.scroll_offset.y + 1)

    def action_up(self) -> None:
        self._scroll(self.text.scroll_offset.y - 1)

    def action_page_down(self) -> None:
        self._scroll(self.text.scroll_offset.y + self._page)

    def action_page_up(self) -> None:
        self._scroll(self.text.scroll_offset.y - self._page)

    def action_top(self) -> None:
        self._scroll(0)

    def action_bottom(self) -> None:
        self._scroll(len(self.text.plain))

    @property
    def _page(self) -> int:
        return max(1, self.text.scrollable_content_region.height - 1)

    def _scroll(self, line: int) -> None:
        last = max(0, len(self.text.plain) - self._page - 1)
        self.text.scroll_to(y=max(0, min(line, last)), animate=False, force=True)


def rule_lines(row: Row | None, found: Lint | None, width: int) -> list[Line]:
    """A rule and what it found; without one, what was looked at."""
    if found is None:
        return list(wrap("The rules look at the files. What they find stands here.", width))
    if row is None or row.finding is None:
        return _looked_at(found, width)
    finding = row.finding
    rule = finding.rule
    lines: list[Line] = [[(f"{rule.code} {rule.name}", "name"), (f"  {finding.severity}", "accent")], ""]
    lines += wrap(shown(finding.found.text), width)
    parts = [("next", finding.finding.next), ("why", rule.why), ("looks for", rule.summary)]
    if rule.threads:
        parts.append(("reported", ", ".join(rule.threads)))
    for label, text in parts:
        lines += ["", [(label, "dim")], *wrap(shown(text), width)]
    if finding.places:
        lines += ["", [(f"places, {count(len(finding.places))}", "dim")]]
        lines += [shown(place_text(p), 400) for p in finding.places[:PLACES_SHOWN]]
    return lines


def _looked_at(found: Lint, width: int) -> list[Line]:
    """What each rule looked at."""
    lines: list[Line] = [[("what was looked at", "name")], ""]
    for o in found.outcomes:
        if o.checked is None:
            text = f"not checked: {o.skipped}"
        elif not o.checked.n:
            text = "nothing to look at"
        else:
            text = some(o.checked.n, o.checked.of) + (
                f", {count(o.checked.n_left)} left out" if o.checked.n_left else ""
            )
        model = f"{o.model} " if len(found.models) > 1 else ""
        lines.append([(f"{model}{o.rule.code} ", "name"), (shown(f"{o.rule.name}: {text}", 400)[: width + 200], "")])
    return lines
