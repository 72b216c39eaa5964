"""Colours of charts, by what the terminal has: any colour, 256, its own sixteen, or none.

Ramps are made of colours of the 256-colour palette, so that a step is the same colour in 256 as in any, and neighbours
stay apart. tmux without COLORTERM is the usual case.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.color import Color
from rich.style import Style

from qinspect.tui.glyphs import ASCII, Glyphs
from qinspect.tui.look import Ink, Look

if TYPE_CHECKING:
    from textual.app import App

GREY = (138, 138, 138)
"""Of what A and B have in common: as far from black as from white."""
DOWN = ((0, 95, 135), (0, 135, 175), (95, 175, 215), (175, 215, 255))
UP = ((135, 95, 0), (215, 95, 0), (255, 175, 95), (255, 215, 175))
"""From a little to most: blue is down, orange is up, to every kind of colour vision."""
EQUAL, NOTHING = (38, 38, 38), (88, 88, 88)
"""Of no difference, and of no number."""
STEPS = len(UP)
"""Of a ramp, in each direction."""


SIXTEEN = ("cyan", "yellow", "magenta")
"""Of A, of B, of marks, where there are no others. Their common colour is the dark grey."""


def look_of(app: App[object], width: int, height: int, glyphs: Glyphs) -> Look:
    """A chart of a size, in the colours of an app: by its theme, and by what its terminal shows."""
    theme, plain = app.current_theme, glyphs is ASCII
    if app.no_color or app.console.color_system is None:
        return Look(width, height, None, None, None, plain, None)
    if theme.ansi or app.console.color_system in ("standard", "windows"):
        return Look(width, height, *SIXTEEN, plain, "bright_black")
    a, b, mark = (Color.parse(theme.variables[k]).get_truecolor() for k in ("down", "up", "mark"))
    return Look(width, height, a, b, mark, plain, GREY)


@lru_cache(maxsize=256)
def style(ink: Ink, ground: Ink = None, bold: bool = False) -> Style:
    """A pen."""
    return Style(color=_name(ink), bgcolor=_name(ground), bold=bold or None)


def ground(color: tuple[int, int, int] | None, bold: bool = False) -> Style:
    """Text that can be read on a colour."""
    if color is None:
        return Style(bold=bold)
    light = 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2] > 120
    return style((18, 18, 18) if light else (238, 238, 238), color, bold)


def _name(ink: Ink) -> str | None:
    return f"rgb({ink[0]},{ink[1]},{ink[2]})" if isinstance(ink, tuple) else ink


def step_of(x: float) -> int:
    """The step of a number in -1..1: 0 for 0 alone, -STEPS and STEPS for the ends."""
    return 0 if x == 0 else max(1, min(STEPS, -int(-abs(x) * STEPS // 1))) * (1 if x > 0 else -1)


def of_step(step: int) -> tuple[int, int, int]:
    """The colour of a step."""
    return EQUAL if step == 0 else UP[step - 1] if step > 0 else DOWN[-step - 1]


_SHARES = (EQUAL, (95, 0, 0), *UP)
"""Of shares, from nothing to most."""


def of_share(share: float) -> tuple[int, int, int] | None:
    """The colour of a number from 0 to 1; None for nan. 0 alone has the first."""
    if math.isnan(share):
        return None
    return _SHARES[0] if share <= 0 else _SHARES[max(1, min(len(_SHARES) - 1, round(share * (len(_SHARES) - 1))))]
