"""The lines in which a filter, or a text to find, is typed."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Input


class FilterInput(Input):
    """Enter and escape are served before the next key is looked at: that one is no letter of the filter any more."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "screen.keep_filter", show=False, priority=True),
        Binding("escape", "screen.drop_filter", show=False, priority=True),
    ]


class FindInput(Input):
    """The same for a text that is looked for in a log."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "screen.keep_find", show=False, priority=True),
        Binding("escape", "screen.drop_find", show=False, priority=True),
    ]
