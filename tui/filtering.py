"""The filter of a table: a line that is typed, and what its end means."""

from __future__ import annotations

from textual import on
from textual.widgets import Input

from qinspect.tui.action_screen import ActionScreen
from qinspect.tui.widgets.typed_line import TypedLine


class Filtering(ActionScreen):
    """A screen with a `TypedLine` called `filter`."""

    _filter_dropped = False

    def filter_typed(self, text: str) -> None:
        """Another text than before."""
        raise NotImplementedError

    def filter_closed(self) -> None:
        """Keys are keys again; the text stays."""
        raise NotImplementedError

    def filter_dropped(self) -> None:
        """The same, and nothing is filtered any more."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While the filter is open keys are its letters, but for its own enter and escape."""
        return self.query_one("#filter", TypedLine).allows(action)

    def action_filter(self) -> None:
        self._filter_dropped = False
        self.query_one("#filter", TypedLine).open()

    @on(Input.Changed, "#filter")
    def _on_filter_changed(self, event: Input.Changed) -> None:
        if self._filter_dropped:
            with self.prevent(Input.Changed):
                event.input.value = ""  # a letter that was typed before the escape and arrives after it
            return
        self.filter_typed(event.value)

    def forget_text(self) -> None:
        """Nothing is filtered any more, as who asks for this knows."""
        with self.prevent(Input.Changed):
            self.query_one("#filter", Input).value = ""

    def action_keep_text(self) -> None:
        self.query_one("#filter", TypedLine).close()
        self.filter_closed()

    def action_drop_text(self) -> None:
        box = self.query_one("#filter", TypedLine)
        self._filter_dropped = True
        box.value = ""
        box.close()
        self.filter_dropped()
