"""The error of a weight against the size of what it is an error of, and along its output channels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from qinspect.inspector.fidelity.measures import db
from qinspect.inspector.fidelity.profiles import ErrorProfiles, mean_by_size
from qinspect.inspector.fidelity.sums import sqnr_db
from qinspect.inspector.method.in_steps import ErrorInSteps
from qinspect.inspector.text import number
from qinspect.tui.charts.cells import Rows
from qinspect.tui.charts.curves import ACROSS, Curve, curve_of, curves
from qinspect.tui.charts.frame import AXES, framed
from qinspect.tui.charts.legend import Entry, legend_lines
from qinspect.tui.charts.ticks import fitted, logarithmic
from qinspect.tui.look import Line, Look, Options
from qinspect.tui.marks import Canvas
from qinspect.tui.profile_view import LEFT, index_ticks, value_labels

Numbers = NDArray[np.float64]

LEAST_ROWS = 3
BINS_SHOWN = 56
"""Fourteen octaves, up to the largest value."""
FEW = 8
"""Values of a size whose error does not stretch the axis."""
WORST, LEAST_WORST = 5, 3
"""Channels that are named: on a high chart, on a low one."""
BOTH_FROM = 19
"""Lines from which the channels of A and B have a chart beside that of their error."""
UNIFORM = math.sqrt(12)
"""What rounding to nearest leaves of a step, as a root mean square, is the step over this."""


# --- against magnitude ---


def magnitude_lines(found: ErrorProfiles, steps: ErrorInSteps | str, look: Look, height: int, o: Options) -> list[Line]:
    """The root mean square error of the values of each size, and what their steps alone would leave."""
    seen = np.flatnonzero(found.counts)
    if not seen.size:
        return ["  every value of A that is finite in both is zero"]
    last = int(seen[-1]) + 1
    first = max(int(seen[0]), last - BINS_SHOWN)
    with np.errstate(all="ignore"):
        error = np.sqrt(found.squares / found.counts)[first:last]
    expected = None
    if not isinstance(steps, str):
        expected = mean_by_size(steps.sizes, steps.steps)[first:last] / UNIFORM
    entries: list[Entry] = [("b", "B - A by |A|, root mean square")]
    if expected is not None:
        entries.append(("a", f"{'S: ' if look.a is None or look.plain else ''}step / sqrt 12, what rounding leaves"))
    entries += [("", steps)] if isinstance(steps, str) else []
    below = int(found.counts[:first].sum())
    entries += [("", f"{below:,} left of the axis")] if below else []
    entries += [("", f"{found.n_zero:,} zero: {_root(found.zero_squares, found.n_zero)}")] if found.n_zero else []
    key = legend_lines(entries, look)
    rows = max(LEAST_ROWS, height - AXES - len(key))
    width = max(8, look.width - LEFT)
    shown = [("b", error), *([("a", expected)] if expected is not None else [])]
    filled = error[(found.counts[first:last] >= FEW) & (error > 0)]  # the one largest value may have no error at all
    floor = float(filled.min()) / 2 if filled.size else 0.0
    made, ends, log = _chart(shown, rows, width, look, not o.log_counts, floor)
    low, high = float(found.edges[first]), float(found.edges[last])
    canvas = Canvas(LEFT, width, math.log10(low), math.log10(high))
    below_axis = fitted(logarithmic(low, high, width // 8), lambda x: canvas.column(math.log10(x)), width)
    return [*framed(made, LEFT, value_labels(*ends, log, rows), below_axis, look), *key]


def _root(squares: float, n: int) -> str:
    return f"error {number(math.sqrt(squares / n))}" if squares else "no error"


def _chart(
    shown: Sequence[tuple[str, Numbers]], rows: int, width: int, look: Look, log: bool, floor: float = 0.0
) -> tuple[Rows, tuple[float, float], bool]:
    """Curves by their pens, the ends of their axis, and whether that is logarithmic: where it can be. floor: what lies
    below it is no reason for a longer axis."""
    known = np.concatenate([x[np.isfinite(x)] for _, x in shown])
    positive = known[known > 0]
    log = log and positive.size > 0
    used = positive if log else known
    low, high = (float(used.min()), float(used.max())) if used.size else (0.0, 1.0)
    low = max(low, floor) if floor < high else low
    low = low if log else min(low, 0.0)
    if not low < high:
        low, high = (low / 2, high * 2) if log else (low, high + (abs(high) or 1.0))
    with np.errstate(all="ignore"):
        scaled = [(pen, np.log10(x) if log else x) for pen, x in shown]
    made = curves([_stretched(x, width, pen) for pen, x in scaled], _at((low, high), log), rows, look)
    return made, (low, high), log


def _at(ends: tuple[float, float], log: bool) -> tuple[float, float]:
    return (math.log10(ends[0]), math.log10(ends[1])) if log else ends


def _stretched(values: Numbers, width: int, pen: str) -> Curve:
    """A bin has the columns of dots that its part of the axis has; none where nothing is in it."""
    of_dot = np.arange(width * ACROSS) * values.size // (width * ACROSS)
    y = np.where(np.isfinite(values), values, np.nan)[of_dot]
    return Curve(y, y, pen, "S" if pen == "a" else "")


# --- along the channels ---


def channel_lines(found: ErrorProfiles, look: Look, height: int, o: Options) -> list[Line]:
    """SQNR of each output channel, the worst by name; the largest value of each in A and in B, where there is room."""
    n = found.noise.size
    if n < 2:
        return ["  no channels: it has no rows, or they are read in parts"]
    second = height // 2 if height >= BOTH_FROM else 0
    lines = _sqnr_lines(found, look, height - second)
    return [*lines, *(_largest_lines(found, look, second, o) if second else [])]


def _sqnr_lines(found: ErrorProfiles, look: Look, height: int) -> list[Line]:
    sqnr = found.sqnr
    finite = sqnr[np.isfinite(sqnr)]
    if not finite.size:
        return ["  no channel has an SQNR: every value is equal, or A is zero"]
    whole = sqnr_db(float(found.signal.sum()), float(found.noise.sum()))
    entries: list[Entry] = [("b", "SQNR of each output channel, dB"), ("", f"of all {db(whole)}")]
    n_equal = int(np.count_nonzero(np.isposinf(sqnr)))
    entries += [("", f"{n_equal:,} without error")] if n_equal else []
    worst = _worst(found, sqnr, LEAST_WORST if height < BOTH_FROM else WORST)
    key: list[Text] = legend_lines([*entries, *(("", said) for said in worst)], look)
    width = max(8, look.width - LEFT)
    rows = max(LEAST_ROWS, height - AXES - len(key))
    low, high = _apart(float(finite.min()), float(finite.max()))
    made = curves([curve_of(sqnr, width, "b")], (low, high), rows, look)
    return [*framed(made, LEFT, value_labels(low, high, False, rows), index_ticks(sqnr.size, 1, made), look), *key]


def _worst(found: ErrorProfiles, sqnr: Numbers, most: int) -> list[str]:
    """`worst 118: 3.21 dB, 61 % of the error`, `412: 4.2 dB, 32 %`."""
    total = float(found.noise.sum())
    ranked = [int(i) for i in np.argsort(np.where(np.isnan(sqnr), np.inf, sqnr), kind="stable")[:most]]
    named = [f"{i}: {db(float(sqnr[i]))} dB, {100 * float(found.noise[i]) / total:.3g} %" for i in ranked]
    return [f"worst {named[0]} of the error", *named[1:]]


def _apart(low: float, high: float) -> tuple[float, float]:
    return (low, high) if low < high else (low - 1.0, high + 1.0)


def _largest_lines(found: ErrorProfiles, look: Look, height: int, o: Options) -> list[Line]:
    a, b = found.largest_a, found.largest_b
    same = bool(np.array_equal(a, b))
    log = o.log_counts and float(min(a.min(), b.min())) > 0
    ends = float(min(a.min(), b.min())), float(max(a.max(), b.max()))
    ends = ends if ends[0] < ends[1] else (ends[0] / 2, ends[1] * 2 or 1.0)
    said = "largest |value| of each channel"
    entries: list[Entry] = [("both", f"A = B, {said}")] if same else [("a", "A"), ("b", "B"), ("both", f"both, {said}")]
    key = legend_lines(entries, look)
    width = max(8, look.width - LEFT)
    rows = max(LEAST_ROWS, height - AXES - len(key))
    at = np.log10 if log else np.asarray
    shown = [("both", a)] if same else [("a", a), ("b", b)]
    made = curves([curve_of(at(x), width, pen) for pen, x in shown], _at(ends, log), rows, look)
    return [*framed(made, LEFT, value_labels(*ends, log, rows), index_ticks(a.size, 1, made), look), *key]
