"""Setting up before Textual is imported: it reads its environment variables at import."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import TYPE_CHECKING

from qinspect.tui.remote import over_ssh

if TYPE_CHECKING:
    from qinspect.tui.alpha.alpha_words import AlphaWords


def run(
    path_a: str | None,
    path_b: str | None,
    low_bandwidth: bool = False,
    noise: tuple[str, ...] = (),
    noise_run: str | None = None,
    wanted: AlphaWords | None = None,
) -> int:
    """Show the screen until the user leaves; returns the exit code. Without models: the alpha explorer for what is
    `wanted`, else the runs screen.

    Over SSH: fewer frames a second, no animation, no smooth scrolling. Colours stay what the terminal announces;
    `low_bandwidth` takes the terminal's own sixteen, whose sequences are a third as long.
    """
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    os.environ.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")
    if over_ssh() or low_bandwidth:
        os.environ.setdefault("TEXTUAL_FPS", "15")
    # Opening makes hundreds of thousands of objects that live on: the collector would walk them again and again.
    gc.set_threshold(200_000, 20, 50)
    # A key takes the interpreter's lock a dozen times; while a plot is made in a thread, each time waits this long.
    sys.setswitchinterval(0.002)
    # Textual waits this many milliseconds after an escape for the rest of a sequence; terminals send those in one go.
    os.environ.setdefault("ESCDELAY", "50" if over_ssh() else "20")
    from qinspect.tui.app import QinspectApp
    from qinspect.tui.glyphs import ASCII, glyphs_for_locale
    from qinspect.tui.widgets.bars import use_plain_scrollbars

    if glyphs_for_locale() is ASCII:
        use_plain_scrollbars()
    app = QinspectApp(path_a, path_b, "qinspect-ansi" if low_bandwidth else None, noise, noise_run, wanted)
    app.run()
    code = app.return_code or 0
    if code < 128:  # else the terminal may be gone
        say_what_goes_on()
    return code


def say_what_goes_on() -> None:
    """Leaving kills no run: say so, on the screen that is back now."""
    from qinspect.tui.runs.service import any_runs

    if not any_runs():
        return
    from qinspect.inspector.errors import QinspectError
    from qinspect.inspector.runs import list_runs

    try:
        live = [r for r in list_runs() if r.state().state.is_live]
    except (QinspectError, OSError):
        return
    if live:
        from qinspect.inspector.printing import narrate

        goes = "1 run is still running" if len(live) == 1 else f"{len(live):,} runs are still running"
        with contextlib.suppress(OSError):
            narrate(f"{goes}. `qinspect runs` lists them, `qinspect` shows them.")
