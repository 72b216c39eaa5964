"""Numbers in the few characters that a cell of the overview has."""

from __future__ import annotations

import math


def short_percent(value: float, signed: bool = True) -> str:
    """At most six characters: `+140%`, `-0.07%`, `1e-6%`."""
    size = abs(value)
    if size and size < 0.005:
        text = f"{size:.0e}".replace("e-0", "e-")
    else:
        text = f"{size:.2f}" if size < 1 else f"{size:.1f}" if size < 10 else f"{size:.0f}" if size < 10_000 else ">1e4"
    sign = ("+" if value > 0 else "-" if value < 0 else "") if signed else ""
    return f"{sign}{text}%"


def short_number(value: float) -> str:
    """At most five characters: `.0354`, `12.3`, `3e-5`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 1e-3 <= abs(value) < 1e4:
        digits = max(0, min(4, 2 - math.floor(math.log10(abs(value)))))
        return f"{value:.{digits}f}".replace("0.", ".", 1)[:5]
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
