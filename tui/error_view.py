"""Where the error of a weight is: in steps of its grid as a histogram, over rows and columns as a map; by the size of
the values, and along the channels, as further charts."""

from __future__ import annotations

import math
from textwrap import wrap

import numpy as np
from rich.text import Text

from qinspect.inspector.compare.results import ScalePair
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.fidelity.error_map import ErrorMap, error_map
from qinspect.inspector.fidelity.measures import db
from qinspect.inspector.fidelity.pairs import NotCompared, Pair
from qinspect.inspector.fidelity.profiles import error_profiles
from qinspect.inspector.fidelity.sums import sqnr_db
from qinspect.inspector.method.in_steps import HALF, ErrorInSteps, error_in_steps
from qinspect.inspector.method.sampling import scale_records
from qinspect.inspector.progress import Steps
from qinspect.inspector.text import number, share, some
from qinspect.inspector.values.histogram import Histogram
from qinspect.tui.charts.heat import heat_lines, ramp, rows_a_line
from qinspect.tui.charts.histogram import MIN_HEIGHT, histogram_chart, most_bins
from qinspect.tui.compare.session import Session
from qinspect.tui.error_charts import channel_lines, magnitude_lines
from qinspect.tui.labels import side_by_side
from qinspect.tui.look import Line, Look, Options, Picture

SEEN_OUTSIDE = 0.001
"""From this share of codes on that are off by more than half a step, the axis shows these too."""
FAR = 1.5
"""Steps that it then reaches to either side."""
OCTAVES = 2.0
"""From the middle to the end of the colours: a quarter of the mean error, and four times as much."""


ONE_LINE = 80
"""Cells in which what is at the cursor has room in one."""


def error_view(s: Session, pair: ScalePair, look: Look, o: Options, check: Steps) -> list[Line]:
    """Of the weight that a scale belongs to: its own, or for an observation point that of the layer it stands at."""
    role = pair.role.partition("#")[0]
    module, at_point, _ = role.rpartition(":")
    return error_of_weight(s, f"{module}.weight" if at_point else role, look, o, check)


def error_of_weight(s: Session, role: str, look: Look, o: Options, check: Steps) -> list[Line]:
    """A histogram of the error in steps, and a map of it; or another of the charts of it."""
    if s.a is None or s.b is None or not s.two:
        return ["  One model: there is no error."]
    if said := s.brought_over.get(role):
        return _wrapped(f"{said}: numbers are of what is left once that is undone; there is no picture of it.", look)
    check(0, 1)
    known = s.weight_pairs(lambda _: check(0, 1))
    found = known.get(role)
    if found is None:
        return ["  No weight of both models belongs to this."]
    if isinstance(found, NotCompared):
        return _wrapped(f"{found.why}, not compared: {found.said}", look)
    if found.only_equal:
        return _wrapped(f"rotated, not compared: {found.only_equal}", look)
    steps = s.views.get(("steps", role), lambda: error_in_steps(found, scale_records(found.b.fmt)))
    check(0, 1)
    if o.chart == 0:
        return _steps_and_map(s, found, steps, look, o, check)
    try:
        profiles = s.views.get(("profiles", role), lambda: error_profiles(found, check))
    except QinspectError as e:
        return [f"  cannot be read: {e}"]
    if not profiles.squares.any() and not profiles.zero_squares:
        return ["  every value is equal"]
    left_out = [f"  {some(profiles.n_excluded, 'value')} not finite, left out"] if profiles.n_excluded else []
    height = look.height - len(left_out)
    if o.chart == 1:
        rotated = found.b.weight is not None and found.b.weight.rotation is not None
        of_sizes = "steps are of the rotated weight, not of values of these sizes" if rotated else steps
        return [*left_out, *magnitude_lines(profiles, of_sizes, look, height, o)]
    return [*left_out, *channel_lines(profiles, look, height, o)]


def _wrapped(said: str, look: Look) -> list[Line]:
    return list(wrap(said, look.width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False))


def _steps_and_map(
    s: Session, found: Pair, steps: ErrorInSteps | str, look: Look, o: Options, check: Steps
) -> list[Line]:
    has_map = len(found.shape) > 1
    chart = look.height if not has_map else look.height - max(3, look.height // 2)
    lines = _in_steps(steps, look, chart, o)
    drawn, cells = _map(s, found, look, look.height - len(lines), o, check) if has_map else ([], (0, 0))
    return Picture([*lines, *drawn], cells)


# --- in steps ---


def _in_steps(found: ErrorInSteps | str, look: Look, height: int, o: Options) -> list[Line]:
    if isinstance(found, str):
        return _wrapped(f"no error in steps: {found}", look)
    n = found.errors.size
    if not n:
        return ["  no error in steps: no scale shows its step"]
    wide = found.n_outside > SEEN_OUTSIDE * n
    end = FAR if wide else HALF
    inside = found.errors[np.abs(found.errors) <= end]
    counts, edges = np.histogram(inside, _bins(most_bins(look), wide), (-end, end))
    h = Histogram(
        tuple(edges.tolist()), tuple(counts.tolist()), None, 0.0, 0.0, (-end, end), (1.0, -1.0), n - inside.size, False
    )
    words = ["(A - B) / step", f"{share(found.n_outside, n)} beyond half a step"]
    words += [f"{share(found.n_clipped, n)} clipped"] if found.n_clipped else []
    words += [f"{share(n - inside.size, n)} off the axis"] if inside.size < n else []
    words += [f"{found.n_unknown:,} without a step"] if found.n_unknown else []
    words += [f"{found.rows:,} of {found.rows_of:,} rows"] if found.rows < found.rows_of else []
    below = side_by_side(words, look.width)
    plotted, _ = histogram_chart(h, look, max(MIN_HEIGHT, height - len(below)), o.log_counts, "both")
    return [*plotted, *below]


def _bins(most: int, wide: bool) -> int:
    """So many that half a step is a whole number of them, to either side."""
    of_half = most // (6 if wide else 2)
    return max(1, min(of_half, 60)) * (6 if wide else 2)


# --- the map ---


def _map(
    s: Session, pair: Pair, look: Look, height: int, o: Options, check: Steps
) -> tuple[list[Line], tuple[int, int]]:
    """With a heading, and what is at the cursor."""
    lines = max(1, height - (3 if look.width < ONE_LINE else 2))  # the heading, and what is at the cursor
    try:
        most = lines * rows_a_line(look), max(8, look.width - 2)
        found = s.views.get(("map", pair.role, *most), lambda: error_map(pair, *most, check))
    except QinspectError as e:
        return [f"  no map: {e}"], (0, 0)
    if found is None:
        return [], (0, 0)
    if not found.whole:
        return ["  every value is equal"], (0, 0)
    with np.errstate(all="ignore"):
        place = np.clip(np.log2(found.rms / found.whole) / OCTAVES, -1.0, 1.0)
    rows, columns = place.shape
    cursor = None if o.cell is None else (min(o.cell[0], rows - 1), min(o.cell[1], columns - 1))
    drawn: list[Line] = [_key(pair, found, look), *heat_lines(place.tolist(), look, cursor)]
    if cursor is not None:
        drawn += side_by_side(_at(found, cursor), look.width)
    return drawn, (rows, columns)


def _key(pair: Pair, found: ErrorMap, look: Look) -> Text:
    """What the map is of, and its colours between what they end at: as many words as have room beside that."""
    scale, least, most = ramp(look), f"1/{2**OCTAVES:.0f} ", f" {2**OCTAVES:.0f} x"
    mean = number(found.whole)
    full = f"  rms of B - A, {pair.shape[0]:,} x {math.prod(pair.shape[1:]):,}  "
    words = ((full, f" the mean {mean}"), ("  rms of B - A  ", f" the mean {mean}"), ("  rms  ", f" mean {mean}"))
    for before, after in words:
        key = Text(before + least, no_wrap=True, end="").append_text(scale).append(most + after)
        if key.cell_len <= look.width:
            return key
    return Text("  " + least, no_wrap=True, end="").append_text(scale).append(most)


def _at(found: ErrorMap, cursor: tuple[int, int]) -> list[str]:
    """What stands at the cursor."""
    row, column = cursor
    rms, signal = float(found.rms[cursor]), float(found.signal[cursor])
    top, bottom = found.row_ends[row], found.row_ends[row + 1] - 1
    left, right = found.column_ends[column], found.column_ends[column + 1] - 1
    where = f"rows {top}..{bottom}, columns {left}..{right}"
    if math.isnan(rms):
        return [where, "nothing finite in both"]
    sqnr = sqnr_db(signal**2, rms**2)
    return [where, f"{rms / found.whole:.3g} x the mean, SQNR {db(sqnr)} dB"]
