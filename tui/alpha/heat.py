"""The whole model at one alpha: layers by kinds of points, coloured by what is clipped or lost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from rich.text import Text

from qinspect.inspector.alpha.sweep.kinds import Matrix, matrix
from qinspect.inspector.alpha.sweep.wording import decibels
from qinspect.tui.alpha.state import Explorer
from qinspect.tui.charts.heat import rows_a_line
from qinspect.tui.charts.inks import ground, of_share, style
from qinspect.tui.glyphs import ASCII, Glyphs
from qinspect.tui.kinds import kind_legend, short_kinds
from qinspect.tui.look import Line, Look, Rgb

LOST, CLIPPED = "lost", "clipped"
QUANTITIES = (LOST, CLIPPED)
LEFT = 6
"""Cells of the layer's number before a row."""
WIDEST, NARROWEST = 7, 2
LEAST_RATIO = 10.0
"""Shares are coloured by their logarithm, from the least but 0 to the greatest, which are at least so far apart."""
LEAST_TOP_DB = 1.0
"""The colours end at what is lost most, but not below this."""
SIGNS = " .:-=+*%#"
"""Where there are no colours and no room for numbers, from nothing to most."""


def heat_lines(x: Explorer, point: int | None, quantity: str, look: Look) -> list[Line]:
    """The map, the point at the cursor in brackets, in `look.height` lines."""
    values = (x.numbers.loss_db if quantity == LOST else x.numbers.clipped)[x.b]
    m = matrix(x.grid.names, values)
    shares, ends = _of_decibels(m.values) if quantity == LOST else _of_shares(m.values)
    names = _legend(m, look)
    room = look.height - 3 - len(names)
    width = min(WIDEST, (look.width - LEFT) // max(1, len(m.kinds)))
    at = next(((r, c) for r, c in np.argwhere(m.points == point).tolist()), (-1, -1))
    page = _Page(m, shares, quantity, max(NARROWEST, width), at)
    has_room = len(m.layers) <= room and width >= 5
    body = _numbered(page, look) if has_room else (_halves if rows_a_line(look) > 1 else _signs)(page)[:room]
    return [
        _title(x, quantity, ends, look),
        _heads(page),
        *body,
        [("", "")],
        *([(line, "dim")] for line in names),
    ]


@dataclass(frozen=True, eq=False)
class _Page:
    """width: cells of a column. at: row and column of the point at the cursor."""

    m: Matrix
    shares: NDArray[np.float64]
    quantity: str
    width: int
    at: tuple[int, int]


def _of_decibels(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Shares of the colours, and what their ends stand for."""
    known = values[np.isfinite(values)]
    top = max(LEAST_TOP_DB, float(known.max(initial=0.0)))
    return np.clip(values / top, 0.0, 1.0), ("0 dB", f"{top:.1f} dB")


@np.errstate(divide="ignore", invalid="ignore")
def _of_shares(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """The same by the logarithm; 0 has the colour of the least."""
    known = values[values > 0]
    top = float(known.max(initial=0.0)) or 1.0
    low = min(float(known.min(initial=top)), top / LEAST_RATIO)
    shares = np.where(values > 0, np.log(values / low) / math.log(top / low), np.where(values == 0, 0.0, np.nan))
    return np.clip(shares, 0.0, 1.0), (f"{100 * low:.2g} %", f"{100 * top:.2g} %, log")


def _title(x: Explorer, quantity: str, ends: tuple[str, str], look: Look) -> Text:
    what = f"lost against the optimum, {x.chosen.bits} bits" if quantity == LOST else f"% clipped, {x.chosen.bits} bits"
    line = Text(f"{what}   {ends[0]} ", no_wrap=True, end="")
    for i in range(12):
        color = _color(i / 11, look)
        line.append(" " if color else SIGNS[round(i / 11 * (len(SIGNS) - 1))], ground(color))
    line.append(f" {ends[1]}")
    line.truncate(look.width)
    return line


def _heads(page: _Page) -> Line:
    heads = "".join(f"{i + 1:>{page.width}}" for i in range(len(page.m.kinds)))
    return [(f"{'layer':<{LEFT}}"[:LEFT], "dim"), (heads, "dim")]


def _legend(m: Matrix, look: Look) -> list[str]:
    """The kinds by their numbers, without what all begin with."""
    repeated = [k for k, of_kind in zip(m.kinds, m.points.T, strict=True) if (of_kind >= 0).sum() > 1]
    cut = (ASCII if look.plain else Glyphs()).cut
    return kind_legend(short_kinds(m.kinds, repeated), 1, look.width, len(m.kinds), cut)


def _numbered(page: _Page, look: Look) -> list[Text]:
    """A line a layer, each cell with its number."""
    lines = []
    for r, layer in enumerate(page.m.layers):
        line = Text(_layer(layer), no_wrap=True, end="")
        for c in range(len(page.m.kinds)):
            text = _number(page, r, c)
            cell = f"[{text}]" if (r, c) == page.at else f" {text} "
            color = _color(float(page.shares[r, c]), look)
            line.append(f"{cell:>{page.width}}", ground(color, bold=(r, c) == page.at))
        lines.append(line)
    return lines


def _number(page: _Page, r: int, c: int) -> str:
    """At most five cells; of shares, percent."""
    value = float(page.m.values[r, c])
    if page.m.points[r, c] < 0 or math.isnan(value):
        return ""
    if page.quantity == LOST:
        return decibels(value)[: page.width - 2] if value < 100 else ">99"
    if value == 0:
        return "0"
    return f"{100 * value:.3f}"[: page.width - 2] if value >= 5e-6 else "<.001"


def _halves(page: _Page) -> list[Text]:
    """Two layers a line, without numbers; before the point at the cursor an arrow."""
    lines = []
    for r in range(0, len(page.m.layers), 2):
        line = Text(_layer(page.m.layers[r]), no_wrap=True, end="")
        for c in range(len(page.m.kinds)):
            upper, lower = (_shade(page, row, c) for row in (r, r + 1))
            line.append(">" if page.at in ((r, c), (r + 1, c)) else " ", Style(bold=True))
            line.append(("▀" if upper else " ") * (page.width - 1), style(upper, lower))
        lines.append(line)
    return lines


def _signs(page: _Page) -> list[Text]:
    """A line a layer, a sign a cell: where there are no colours."""
    lines = []
    for r, layer in enumerate(page.m.layers):
        line = Text(_layer(layer), no_wrap=True, end="")
        for c, t in enumerate(page.shares[r].tolist()):
            sign = " " if math.isnan(t) else SIGNS[round(t * (len(SIGNS) - 1))]
            line.append(f"{'>' if page.at == (r, c) else ''}{sign}".rjust(page.width))
        lines.append(line)
    return lines


def _shade(page: _Page, r: int, c: int) -> Rgb | None:
    return of_share(float(page.shares[r, c])) if r < len(page.m.layers) else None


def _color(share: float, look: Look) -> Rgb | None:
    """Of a cell with text, None on a terminal without such colours."""
    return of_share(share) if isinstance(look.a, tuple) else None


def _layer(layer: int | None) -> str:
    return f"{'-' if layer is None else layer:>{LEFT - 2}}  "
