"""What a screen asks of the program that it is in, besides what every Textual app has.

Screens call it at once, and post no message: over a slow line the next key may have come already, and is meant for what
this one led to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from textual.screen import Screen

if TYPE_CHECKING:
    from qinspect.inspector.runs import Run
    from qinspect.tui.compare.session import Session


class Host(Protocol):
    """has_models: whether the program was started with any. session: of these."""

    has_models: bool
    session: Session

    def show_runs(self, choose: str = "") -> object:
        """The runs screen, with the cursor on one of them."""

    def open_model(self, path: str, other: str | None = None) -> None:
        """One model, or two, over the screen that is seen."""

    def apply_alpha(self, run: Run, to: str, alpha: float | None = None) -> None:
        """The form that puts an alpha of a calibration into a checkpoint."""

    def repaint(self) -> None:
        """Write the whole screen again."""

    def suspend_to_shell(self) -> None:
        """What ctrl+z does everywhere."""


def host_of(screen: Screen[Any]) -> Host:
    """The program that a screen is in."""
    return cast(Host, screen.app)
