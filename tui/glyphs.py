"""Signs that the screen uses: every meaning has a sign besides its colour, and an ASCII form for plain locales."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Glyphs:
    """All one cell wide in every terminal."""

    opened: str = "▾"
    closed: str = "▸"
    different: str = "≠"
    same: str = "="
    only: str = "only "
    odd: str = "≁"
    broken: str = "✗"
    up: str = "▲"
    down: str = "▼"
    cut: str = "…"
    bookmark: str = "●"
    dot: str = "·"
    vertical: str = "│"
    alpha: str = "\N{GREEK SMALL LETTER ALPHA}"
    blocks: str = " ▁▂▃▄▅▆▇█"
    half: str = "▀"
    live: str = "●"
    done: str = "✓"
    stopped: str = "■"
    lost: str = "?"
    bar: str = "█"
    bar_rest: str = "░"


ASCII = Glyphs(
    opened="v", closed=">", different="!=", same="=", odd="~", broken="x", up="^", down="v", cut="~", bookmark="*",
    dot=".", vertical="|", alpha="a", blocks=" .:-=+*%#", half="#",
    live="*", done="+", stopped="-", lost="?", bar="#", bar_rest=".",
)  # fmt: skip


def glyphs_for_locale() -> Glyphs:
    """Unicode where the locale can show it, else ASCII (LANG=C is common on GPU boxes)."""
    if os.environ.get("QINSPECT_ASCII"):
        return ASCII
    # Python coerces LC_CTYPE to C.UTF-8 in a C locale, so only what the user set counts.
    named = os.environ.get("LC_ALL") or os.environ.get("LANG") or "utf-8"
    return Glyphs() if "utf8" in named.lower().replace("-", "") else ASCII
