"""KL along something, a panel for each model, beside each other on one axis: means of parts are steps of a curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from qinspect.inspector.evaluate.results import Part
from qinspect.tui.charts.curves import ACROSS, Curve, curves
from qinspect.tui.charts.frame import framed
from qinspect.tui.charts.ticks import Placed, fitted, linear
from qinspect.tui.evaluation.intervals import FAR_APART, heading
from qinspect.tui.labels import fill_name
from qinspect.tui.look import Line, Look
from qinspect.tui.marks import Canvas
from qinspect.tui.profile_view import LEFT, value_labels
from qinspect.tui.widgets.lines import Piece

LEAST_WIDTH, MOST_WIDTH = 16, 40
"""Of a panel."""
NEXT = 3
"""Cells before the panels behind the first: a gap, and their axis."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One model's parts, in order."""

    name: str
    parts: Sequence[Part]


def panel_lines(
    title: str, panels: Sequence[Panel], floor: float | None, rows: int, look: Look, cut: str, other_axis: bool
) -> list[Line]:
    """floor: a KL that is noise. rows: lines of a panel's cells. other_axis: linear where it would be logarithmic, and
    the other way round."""
    found = np.array([p.kl for of in panels for p in of.parts if math.isfinite(p.kl)], np.float64)
    if not found.size:
        return []
    low, high, log = _axis(found, floor, other_axis)
    line = floor if floor is not None and _is_drawn(floor, (low, high, log), rows, look) else None
    lines: list[Line] = [*heading(title, _legend(floor, line, log, look), look.width)]
    for some in _in_rows(panels, look.width):
        width = min(MOST_WIDTH, (look.width - LEFT - NEXT * (len(some) - 1)) // len(some))
        names = [(" " * (LEFT if i == 0 else NEXT) + fill_name(p.name, width, cut)) for i, p in enumerate(some)]
        lines.append([("".join(names).rstrip(), "name")])
        drawn = [_panel(p, i == 0, width, rows, (low, high), log, line, look) for i, p in enumerate(some)]
        lines += [_beside(texts) for texts in zip(*drawn, strict=True)]
    return lines


def _is_drawn(floor: float, axis: tuple[float, float, bool], rows: int, look: Look) -> bool:
    """Where letters tell curves apart, a line along the bottom would cost the other its dots, and say nothing."""
    low, high, log = axis
    if log:
        return floor > 0
    return (look.a is not None and not look.plain) or (floor - low) * rows >= high - low


def _legend(floor: float | None, line: float | None, log: bool, look: Look) -> list[Piece]:
    letters = look.plain or (look.a is None and line is not None)
    sign = "K:" if letters and line is not None else "*" if letters else "█" if look.a is not None else ""
    legend: list[Piece] = [(f"{sign} KL".strip(), "b")]
    if floor is not None:
        sign = "" if line is None else "N:" if letters else "█"
        legend.append((f"{sign} noise floor {floor:.2g}".strip(), "a" if line is not None else "dim"))
    return [*legend, *([("logarithmic", "dim")] if log else [])]


def _in_rows(panels: Sequence[Panel], width: int) -> list[Sequence[Panel]]:
    """As many beside each other as have room, in rows that are about as long."""
    most = max(1, (width - LEFT + NEXT) // (LEAST_WIDTH + NEXT))
    n_rows = -(-len(panels) // most)
    each = -(-len(panels) // n_rows)
    return [panels[i : i + each] for i in range(0, len(panels), each)]


def _axis(found: NDArray[np.float64], floor: float | None, other_axis: bool) -> tuple[float, float, bool]:
    """Its ends, and whether it is logarithmic: from 0 on a linear one."""
    positive = found[found > 0]
    log = bool(positive.size) and (float(positive.max()) > FAR_APART * float(positive.min())) != other_axis
    known = [*map(float, positive if log else found), *([floor] if floor is not None and floor > 0 else [])]
    low, high = (min(known) if log else 0.0), max(known)
    return (low, high, log) if low < high else (low / 2 if log else 0.0, high * 2 or 1.0, log)


def _panel(
    of: Panel, is_first: bool, width: int, rows: int, ends: tuple[float, float], log: bool, floor: float | None,
    look: Look,
) -> list[Text]:  # fmt: skip
    at = np.log10 if log else np.asarray
    start, stop = of.parts[0].start, of.parts[-1].stop
    with np.errstate(all="ignore"):
        drawn = [Curve(steps := at(_steps(of.parts, width * ACROSS)), steps, "b", "K")]
        if floor is not None and (floor > 0 or not log):
            drawn.append(Curve(line := np.full(width * ACROSS, at(floor)), line, "a", "N"))
    cells = curves(drawn, (float(at(ends[0])), float(at(ends[1]))), rows, look)
    left, labels = (LEFT, value_labels(*ends, log, rows)) if is_first else (NEXT, {})
    canvas = Canvas(left, width, start, stop)
    ticks: list[Placed] = fitted(linear(start, stop, width // 6), canvas.column, width)
    texts = framed(cells, left, labels, ticks, look)
    for text in texts:
        text.pad_right(left + width - text.cell_len)
    return texts


def _steps(parts: Sequence[Part], n: int) -> NDArray[np.float64]:
    """The mean of the part that each of n columns of dots lies in, nan where it has no token."""
    ends = np.array([p.start for p in parts] + [parts[-1].stop])
    at = ends[0] + (np.arange(n) + 0.5) / n * (ends[-1] - ends[0])
    values = np.array([p.kl if p.n else math.nan for p in parts])
    found: NDArray[np.float64] = values[np.clip(np.searchsorted(ends, at, side="right") - 1, 0, len(parts) - 1)]
    return found


def _beside(texts: Sequence[Text]) -> Text:
    line = Text("", no_wrap=True, end="")
    for text in texts:
        line.append_text(text)
    return line
