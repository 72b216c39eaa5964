"""What the bottom line offers on the compare screen: the keys that matter to the pane that has them, and none that find
nothing."""

from __future__ import annotations

from qinspect.tui.compare.detail_pane import LOG_AXES, NEXT_CHART
from qinspect.tui.compare.panes import Panes
from qinspect.tui.key_names import key
from qinspect.tui.pane import Hint

TWO_MODELS = frozenset({"next_difference", "previous_difference", "largest_difference", "only_changed"})
"""Actions that need a B."""
OF_LISTS = frozenset({
    "open", "sort", "only_changed", "view_detail", "view_histogram", "view_weight", "view_codes", "view_profile",
    "view_values", "view_error", "distribution", "zoom", "pane_overview", "export",
})  # fmt: skip
"""Actions that the overview does not offer."""

TO_THE_CAUSE: Hint = ("distribution", "alpha")
"""Of a scale: before what is of any list, since it is what a scale is looked at for."""
SKIPPED = {"weights": "comparing codes", "noise bands": "noise bands"}
"""What an escape skips, by the phase."""


def doing(phase: str, share: str = "") -> str:
    """What is being done, for the right end of the line."""
    return f"{SKIPPED[phase]} ({key('close')} skips them){share}" if phase in SKIPPED else f"{phase}{share}"


def hints_for(panes: Panes, two: bool) -> tuple[tuple[Hint, ...], frozenset[str]]:
    """What works just here, and the actions that are left out. two: whether there is a B."""
    hidden = OF_LISTS if panes.active == "overview" else frozenset()
    of_plot = (LOG_AXES,) if panes.detail.on_plot else (NEXT_CHART,) if _has_charts(panes) else ()
    first = panes.active_pane.hints or of_plot  # that is shown beside the active pane
    if panes.active == "table" and panes.table.pair is not None:
        first, hidden = (*first, TO_THE_CAUSE), frozenset({"distribution"})
    return first, hidden | (frozenset() if two else TWO_MODELS)


def _has_charts(panes: Panes) -> bool:
    """Whether one of several charts is on the screen."""
    return panes.detail.view == "error" and panes.zoomed in ("", "detail")
