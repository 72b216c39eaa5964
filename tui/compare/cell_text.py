"""Numbers and names in the few characters that a cell of the overview has."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qinspect.tui.widgets.lines import Piece


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


def short_kinds(kinds: Sequence[str]) -> list[str]:
    """Kinds without the parts that all of them begin with."""
    parts = [k.split(".") for k in kinds]
    same = 0
    while len(parts) > 1 and all(len(p) > same + 1 and p[same] == parts[0][same] for p in parts):
        same += 1
    return [".".join(p[same:]) for p in parts]


def legend(names: Sequence[str], width: int) -> list[list[Piece]]:
    """Names in columns of one width, as many as fit."""
    each = max(map(len, names)) + 2
    n = max(1, (width - 2) // each)
    rows = [names[i : i + n] for i in range(0, len(names), n)]
    return [[("  " + "".join(f"{name:<{each}}" for name in row).rstrip(), "dim")] for row in rows]
