"""Plots as text: a facade over plotext, and bars and heat maps of our own.

plotext 5.3 rather than 6.1, by measurement: import 0.05 s against 0.22 s, a filled curve of 100 bins 11 ms in both; 6.x
has another interface. Its figure is one global object, so every plot is built under one lock, and cached by what it
shows.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from rich.style import Style
from rich.text import Text

from qinspect.inspector.text import number
from qinspect.inspector.values.histogram import Histogram
from qinspect.tui.look import Look, Rgb
from qinspect.tui.marks import Canvas

MIN_HEIGHT = 6
"""Lines: less is no plot, with two axes and a line of ticks among them."""

_LOCK = threading.Lock()
_ASCII = str.maketrans(
    {"┌": "+", "┐": "+", "└": "+", "┘": "+", "─": "-", "│": "|", "┤": "+", "├": "+", "┬": "+", "┴": "+", "┼": "+"}
)


@dataclass(frozen=True, slots=True)
class Curve:
    """One series. filled: down to zero."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    color: Rgb | None
    filled: bool


Ticks = tuple[tuple[float, str], ...]


def _in_order(data: Iterable[Any]) -> list[Any]:
    """For plotext's own, which goes through a set: which of two ticks in one cell is seen changed from run to run."""
    return list(dict.fromkeys(data))


@lru_cache(maxsize=64)
def plot(
    curves: tuple[Curve, ...], look: Look, height: int, axis: tuple[float, float], x_ticks: Ticks, y_ticks: Ticks
) -> tuple[Text, ...]:
    """Lines of a plot: `height` of them, `look.width` wide. axis: ends of the horizontal one."""
    with _LOCK:
        import plotext as plt
        from plotext import _utility

        _utility.no_duplicates = _in_order
        plt.clear_figure()
        plt.limit_size(False, False)  # not by what it takes for the terminal
        plt.theme("clear")
        plt.plot_size(max(20, look.width), max(MIN_HEIGHT, height))
        for curve in curves:
            marker = ("#" if curve.filled else "*") if look.plain else ("hd" if curve.filled else "braille")
            plt.plot(curve.x, curve.y, color=curve.color or "default", marker=marker, fillx=curve.filled)
        plt.xlim(*axis)
        plt.xticks([at for at, _ in x_ticks], [label for _, label in x_ticks])
        plt.yticks([at for at, _ in y_ticks], [label for _, label in y_ticks])
        built: str = plt.build()
    if look.plain:
        built = built.translate(_ASCII)
    lines = tuple(Text.from_ansi(line) for line in built.splitlines())
    for line in lines:
        line.truncate(max(20, look.width))  # the line of the ticks is a cell longer
    return lines if look.a else tuple(Text(line.plain) for line in lines)


def canvas_of(lines: Sequence[Text], low: float, high: float) -> Canvas | None:
    """Where a plot has its points, from its axis line; None where it has no room for one."""
    axis = lines[-2].plain if len(lines) >= 3 else ""
    left = next((axis.index(c) for c in "\N{BOX DRAWINGS LIGHT UP AND RIGHT}+" if c in axis), -1)
    right = max(axis.rfind(c) for c in "\N{BOX DRAWINGS LIGHT UP AND LEFT}+")
    return Canvas(left + 1, right - left - 1, low, high) if 0 <= left < right - 1 else None


def with_cursor(lines: Sequence[Text], canvas: Canvas, at: float, look: Look) -> tuple[Text, ...]:
    """A vertical line over the points. Not plotext's own: that one is under them, and a filled curve hides it."""
    column = canvas.left + min(canvas.width - 1, max(0, canvas.column(at)))
    sign = "|" if look.plain else "│"
    bar = Text(sign, Style(color=None if look.mark is None else f"rgb{_css(look.mark)}", bold=True))
    inner = (line[:column] + bar + line[column + 1 :] for line in lines[1:-2])
    return (lines[0], *inner, *lines[-2:])


def histogram_lines(h: Histogram, look: Look, height: int, log_counts: bool) -> tuple[Text, ...]:
    """A histogram, A filled, B as a line over it."""
    middles = tuple((x + y) / 2 for x, y in pairwise(h.edges))
    curves = [Curve(middles, _heights(h.a, log_counts), look.a, True)]
    if h.b is not None:
        curves.append(Curve(middles, _heights(h.b, log_counts), look.b, False))
    top = max(max(c.y) for c in curves)
    if log_counts:
        y_ticks = [(math.log10(10**p + 1) if p else 0.0, f"1e{p}" if p else "0") for p in range(math.ceil(top) + 1)]
    else:
        y_ticks = [(top * i / 3, f"{top * i / 3:,.0f}") for i in range(4)]
    low, high = h.edges[0], h.edges[-1]
    at = [low + (high - low) * i / 4 for i in range(5)]
    x_ticks = [(x, f"{10**x if h.logarithmic else x:.3g}") for x in at]
    return plot(tuple(curves), look, height, (low, high), tuple(x_ticks), tuple(y_ticks))


def _heights(counts: Sequence[int], log_counts: bool) -> tuple[float, ...]:
    return tuple(math.log10(c + 1) if log_counts else float(c) for c in counts)


def profile_lines(
    a: Sequence[float], b: Sequence[float] | None, n: int | None, look: Look, height: int
) -> tuple[Text, ...]:
    """A's (and B's) values in ascending order; they stand for `n` values, or for two numbers of them if None."""
    curves = [Curve(_along(len(a)), tuple(a), look.a, True)]
    if b is not None:
        curves.append(Curve(_along(len(b)), tuple(b), look.b, False))
    low = min(min(c.y, default=0.0) for c in curves)
    top = max(max(c.y, default=0.0) for c in curves)
    x_ticks = tuple((i / 4, f"{25 * i} %" if n is None else f"{round((n - 1) * i / 4):,}") for i in range(5))
    y_ticks = tuple((y, number(y)) for y in (low + (top - low) * i / 3 for i in range(4)))
    return plot(tuple(curves), look, height, (0.0, 1.0), x_ticks, y_ticks)


def _along(n: int) -> tuple[float, ...]:
    """Places of `n` points from 0 to 1."""
    return tuple(i / (n - 1) for i in range(n)) if n > 1 else (0.0,)


def heat_lines(rows: Sequence[Sequence[float]], look: Look) -> list[Text]:
    """Numbers in -1..1 (NaN: none) as colours, two rows a line; as signs where there are no colours."""
    lines = []
    if look.a is None or look.plain:
        signs = "=-.+#"  # far down, down, equal, up, far up
        return [Text("".join(" " if math.isnan(x) else signs[round(2 * x) + 2] for x in row)) for row in rows]
    for upper, lower in zip(rows[::2], [*rows[1::2], None][: (len(rows) + 1) // 2], strict=False):
        line = Text()
        for i, x in enumerate(upper):
            below = None if lower is None else f"rgb{_css(diverging(lower[i]))}"
            line.append("▀", Style.parse(f"rgb{_css(diverging(x))}" + (f" on {below}" if below else "")))
        lines.append(line)
    return lines


def _css(color: Rgb) -> str:
    return f"({color[0]},{color[1]},{color[2]})"


def diverging(x: float) -> Rgb:
    """Blue for -1, near black for 0, orange for +1: told apart with every kind of colour vision."""
    if math.isnan(x):
        return (70, 70, 70)
    end = (90, 169, 230) if x < 0 else (242, 153, 74)
    t = abs(x) ** 0.7
    return (int(30 + (end[0] - 30) * t), int(34 + (end[1] - 34) * t), int(40 + (end[2] - 40) * t))
