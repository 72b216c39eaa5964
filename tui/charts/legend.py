"""Which colour is whose, in words with a sample before them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from qinspect.tui.charts.cells import full, pen_of
from qinspect.tui.look import Look

Entry = tuple[str, str]
"""(pen, words); "" for words alone."""


def legend_lines(entries: Sequence[Entry], look: Look) -> list[Text]:
    """Entries beside each other, on as many lines as they need. Without colours a model is its letter, which the words
    begin with; what both have in common is a block."""
    lines: list[Text] = []
    for pen, words in entries:
        sample = f"{full(look)} " if pen and (look.a is not None or pen == "both") else ""
        if lines and lines[-1].cell_len + 3 + cell_len(sample + words) <= look.width:
            lines[-1].append("   ")
        else:
            lines.append(Text("  ", no_wrap=True, end=""))
        lines[-1].append(sample, pen_of(pen, look))
        lines[-1].append(words)
    for line in lines:
        line.truncate(look.width)
    return lines
