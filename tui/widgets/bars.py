"""One-line widgets: the hint bar, the titles of panes."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.scrollbar import ScrollBar, ScrollBarRender
from textual.strip import Strip
from textual.widget import Widget

from qinspect.tui.actions import Action, actions_of, key_text, keys_now
from qinspect.tui.labels import fill
from qinspect.tui.names import in_locale


class HintBar(Widget):
    """The keys that matter, and on the right what is going on. Not Textual's Footer: that repaints 17-26 KB whenever
    the focus moves."""

    def __init__(self) -> None:
        super().__init__(id="hints")
        self._said = self._doing = ""
        self.first: tuple[tuple[str, str], ...] = ()
        self._places: list[tuple[range, str]] = []
        """The cells of each hint, and its action."""
        self.hidden: frozenset[str] = frozenset()

    def show_for(self, first: tuple[tuple[str, str], ...], hidden: frozenset[str]) -> None:
        """first: (names of actions, label) of what works just here. hidden: actions that do nothing just here."""
        if (first, hidden) != (self.first, self.hidden):
            self.first, self.hidden = first, hidden
            self.refresh()

    def _is_shown(self, action: Action, keys: dict[str, list[str]]) -> bool:
        return bool(action.label and keys[action.name]) and action.name not in self.hidden

    @property
    def status(self) -> str:
        """What stands at the right end."""
        return in_locale(self._doing or self._said)

    def say(self, text: str) -> None:
        """Show `text` at the right end, until something else is said."""
        if text != self._said:
            self._said = text
            self.refresh()

    def fade(self) -> None:
        """What was said is gone with the next key: it takes the room of the hints."""
        self.say("")

    def work(self, text: str) -> None:
        """What is being done: shown over what was said for as long as it lasts, "" at its end."""
        if text != self._doing:
            self._doing = text
            self.refresh()

    def on_click(self, event: events.Click) -> None:
        """A hint does what its key does."""
        x = event.x - self.styles.padding.left
        action = next((action for cells, action in self._places if x in cells), "")
        if action:
            self.screen.act(action)  # type: ignore[attr-defined]

    def render_line(self, y: int) -> Strip:
        """The one line."""
        style = self.rich_style
        bold = style + self.app.console.get_style("bold")
        keys = keys_now(self.screen)
        known = actions_of(self.screen)
        hints = [_hint(names.split(), label, keys) for names, label in self.first]
        hints = [hint for hint in hints if hint[0]]
        hints += [(key_text(keys[a.name][0]), a.label, a.name) for a in known if self._is_shown(a, keys)]
        # However narrow it is, the last two stay: how to get help and how to leave.
        shown, always = [], hints[-2:]
        used = sum(len(key) + len(label) + 3 for key, label, _ in always)
        most = max(0, self.size.width - used - 1)
        status = self.status if cell_len(self.status) <= most else fill(self.status, most, "...")
        room = self.size.width - cell_len(status) - 2
        for hint in hints[:-2]:
            n = len(hint[0]) + len(hint[1]) + 3
            if used + n > room:
                break
            shown.append(hint)
            used += n
        segments, at = [], 0
        self._places = []
        for key, label, action in (*shown, *always):
            segments += [Segment(key, bold), Segment(f" {label}  ", style)]
            self._places.append((range(at, at + len(key) + 1 + len(label)), action))
            at += len(key) + len(label) + 3
        segments.append(Segment(" " * (self.size.width - used - cell_len(status)), style))
        segments.append(Segment(status, bold))
        return Strip(segments).adjust_cell_length(self.size.width, style)


def _hint(names: list[str], label: str, keys: dict[str, list[str]]) -> tuple[str, str, str]:
    """What works just here: the keys of its actions, its label, and what a click does where it is one action."""
    found = " ".join(key_text(keys[n][0]) for n in names if keys[n])
    return found, label, names[0] if len(names) == 1 else ""


class TitleLine(Widget):
    """A pane's title. Not a Static: updating one lays the screen out anew, which repaints every scrollbar."""

    def __init__(self, text: str, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes="title")
        self.text = text

    def update(self, text: str) -> None:
        """Show another text."""
        if text != self.text:
            self.text = text
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """The one line."""
        return Strip([Segment(self.text[: self.size.width], self.rich_style)]).adjust_cell_length(
            self.size.width, self.rich_style
        )


class PlainScrollBar(ScrollBarRender):
    """A scrollbar of whole cells, which are spaces on a colour."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "] * 8
    HORIZONTAL_BARS: ClassVar[list[str]] = [" "] * 8


def use_plain_scrollbars() -> None:
    """In all of this process: for a locale that has no block characters."""
    ScrollBar.renderer = PlainScrollBar
