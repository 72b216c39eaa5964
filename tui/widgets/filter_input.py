"""The line in which a filter is typed."""

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
