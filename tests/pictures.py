"""Pictures of the screen as they are compared."""

from __future__ import annotations

import re


def normalized(svg: str) -> str:
    """Without what depends on the run: the identifier that rich makes of the content."""
    return re.sub(r"terminal-\d+", "terminal", svg).replace("\u00a0", " ")


def text_of(svg: str) -> str:
    """The letters in a picture, for the message of a failure."""
    rows: dict[str, list[str]] = {}
    for y, text in re.findall(r'<text [^>]*y="([\d.]+)"[^>]*>([^<]*)</text>', svg):
        rows.setdefault(y, []).append(text.replace("&#160;", " "))
    return "\n".join("".join(parts) for parts in rows.values())
