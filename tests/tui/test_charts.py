"""Charts against counts that numpy makes: areas, ticks, bins along levels, maps, in every kind of colours."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.color import Color, ColorSystem

from qinspect.inspector.distribution import MagnitudeTable, log_histogram
from qinspect.inspector.values.histogram import histogram, levels_together
from qinspect.inspector.values.levels import Levels
from qinspect.tui.charts.area import PARTS, area
from qinspect.tui.charts.cells import Rows
from qinspect.tui.charts.curves import curve_of, curves
from qinspect.tui.charts.heat import SIGNS, heat_lines, shrunk
from qinspect.tui.charts.histogram import histogram_chart, most_bins
from qinspect.tui.charts.inks import DOWN, EQUAL, NOTHING, STEPS, UP, of_step, step_of
from qinspect.tui.charts.ticks import GAP, beside, fitted, linear, logarithmic
from qinspect.tui.distribution.axis import Axis
from qinspect.tui.look import Look

COLORS = Look(80, 18, (90, 169, 230), (242, 153, 74), (242, 193, 78))
NONE = replace(COLORS, a=None, b=None, mark=None)
ASCII = replace(NONE, plain=True)
SIXTEEN = replace(COLORS, a="cyan", b="yellow", mark="magenta", both="bright_black")
LOOKS = {"colors": COLORS, "none": NONE, "ascii": ASCII, "sixteen": SIXTEEN}
RNG = np.random.default_rng(7)
NORMAL = RNG.normal(0, 1, 40_000).astype(np.float32)
PAIRS = {
    "skewed": (RNG.lognormal(0, 0.8, 50_000), RNG.lognormal(0.2, 0.6, 50_000)),
    "spiky": (np.concatenate([NORMAL, np.zeros(19_293)]), RNG.normal(0, 1, 59_293)),
    "equal": (NORMAL, NORMAL),
    "disjoint": (RNG.normal(-3, 0.5, 50_000), RNG.normal(3, 0.8, 50_000)),
}


def drawn_heights(rows: Rows, pens: tuple[str, ...]) -> list[int]:
    """In eighths of a cell, the top of what these pens draw in each column."""
    found = []
    for column in zip(*rows, strict=True):
        height = 0
        for i, (character, pen) in enumerate(reversed(column)):
            level = " ▁▂▃▄▅▆▇█".index(character)
            ink, _, ground = pen.partition(" on ")
            if level and (ground in pens or ink in pens):
                height = i * PARTS + (PARTS if ground in pens else level)
        found.append(height)
    return found


# --- areas ---


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("size", [(49, 8), (71, 12), (135, 26)])
def test_both_areas_are_as_high_as_their_counts(name: str, size: tuple[int, int]) -> None:
    width, rows = size
    a, b = (np.asarray(x, np.float32) for x in PAIRS[name])
    edges = np.linspace(min(a.min(), b.min()), max(a.max(), b.max()), width + 1)
    counts = [np.histogram(x, edges)[0] for x in (a, b)]
    top = max(int(c.max()) for c in counts)
    made = area(counts[0] / top, counts[1] / top, rows, COLORS)
    for count, pens in zip(counts, (("a", "both"), ("b", "both")), strict=True):
        wanted = count / top * rows * PARTS
        found = np.array(drawn_heights(made, pens))
        assert np.all((found > 0) | (count == 0) | (np.maximum(*counts) > count))  # what is not 0 is seen
        assert np.all(np.abs(found - wanted) <= PARTS / 2 + 1)  # a cell has two colours: half a cell may give way
        seen = np.where(count > 0, np.maximum(wanted, 1), 0)
        assert found.sum() == pytest.approx(seen.sum(), rel=0.1)


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_spike_of_zeros_is_seen(look: Look) -> None:
    a, b = (np.asarray(x, np.float32) for x in PAIRS["spiky"])
    h = histogram(lambda: [a], lambda: [b], most_bins(look), False)
    lines, canvas = histogram_chart(h, look, 14, False)
    column = canvas.left + canvas.column(0.0)
    for line in lines[1:8]:  # far above what B has there
        assert line.plain[column] in "█A"
        if look.a is not None:
            (style,) = {str(s.style) for s in line.spans if s.start <= column < s.end}
            assert style.split(" on ")[-1] == (look.a if isinstance(look.a, str) else "rgb(90,169,230)")
        else:
            assert line.plain[column] == "A"


@pytest.mark.parametrize("look", [NONE, ASCII], ids=["none", "ascii"])
def test_without_colours_letters_tell_two_apart(look: Look) -> None:
    a, b = np.array([1.0, 0.5, 0.5, 0.0, 0.01]), np.array([0.5, 1.0, 0.5, 0.0, 0.0])
    full = "#" if look.plain else "█"
    rows = ["".join(c for c, _ in row) for row in area(a, b, 4, look)]
    assert rows == ["AB   ", "AB   ", full * 3 + "  ", full * 3 + " a"]


def test_equal_areas_have_one_pen() -> None:
    x = np.linspace(0, 1, 20)
    assert {pen for row in area(x, x, 6, COLORS) for _, pen in row} == {"", "both"}


# --- bins along levels ---


def uniform(low: int, high: int, scale: float) -> NDArray[np.float32]:
    return (np.repeat(np.arange(low, high + 1), 50) * np.float32(scale)).astype(np.float32)


@pytest.mark.parametrize("bins", [16, 41, 71, 111, 190, 300])
@pytest.mark.parametrize(("low", "high"), [(-128, 127), (-127, 127), (-8, 7), (-7, 7), (0, 15)])
def test_uniform_codes_make_no_comb(low: int, high: int, bins: int) -> None:
    x = uniform(low, high, 0.00163746)
    h = histogram(lambda: [x], None, bins, False, levels=[Levels(float(np.float32(0.00163746)))])
    assert len(h.a) <= bins
    assert sum(h.a) == x.size
    inside = h.a if (high - low + 1) % h.levels_a_bin == 0 else h.a[:-1]
    assert set(inside) == {50 * h.levels_a_bin}
    if high - low + 1 in (16, 256):
        assert inside is h.a  # no bin has fewer


@pytest.mark.parametrize("logarithmic", [False, True])
def test_levels_of_two_steps_make_no_comb(logarithmic: bool) -> None:
    x, y = uniform(-127, 127, 0.01), uniform(-127, 127, 0.0093)
    h = histogram(
        lambda: [x],
        lambda: [y],
        71,
        logarithmic,
        levels=[Levels(float(np.float32(0.01))), Levels(float(np.float32(0.0093)))],
    )
    assert h.b is not None
    assert h.spread
    lost = 100 if logarithmic else 0  # the zeros
    assert (sum(h.a), sum(h.b)) == (x.size - lost // 2, y.size - lost // 2)
    for counts in (h.a, h.b):
        density = np.diff(10.0 ** np.array(h.edges)) if logarithmic else np.diff(h.edges)
        flat = (np.array(counts) / density)[2:-4]
        assert flat.max() <= 1.1 * flat.min() or logarithmic


def test_values_that_stand_on_no_level_are_binned_as_they_are() -> None:
    h = histogram(lambda: [NORMAL], None, 40, False, levels=[Levels(0.1)])
    assert h.step == 0
    assert h.a == tuple(np.histogram(NORMAL, np.linspace(float(NORMAL.min()), float(NORMAL.max()), 41))[0].tolist())


@given(st.integers(1, 70_000), st.integers(1, 300))
def test_bins_of_levels_have_room(n: int, most: int) -> None:
    together = levels_together(n, most)
    assert math.ceil(n / together) <= most or together >= n
    assert together <= 2 * math.ceil(n / most)


# --- ticks ---

numbers = st.floats(-1e12, 1e12).filter(lambda x: x == 0 or abs(x) > 1e-12)


def is_round(x: float) -> bool:
    """Whether it is a multiple of 1, 2, 2.5 or 5 times a power of ten, with at most twelve digits."""
    return x == 0 or len(f"{abs(x):.12e}".split("e")[0].rstrip("0").rstrip(".").replace(".", "")) <= 12


@given(numbers, numbers, st.integers(8, 200))
def test_ticks_are_round_and_their_labels_apart(x: float, y: float, width: int) -> None:
    low, high = sorted((x, y))
    if not high - low > 1e-6 * max(abs(low), abs(high)):
        return

    def column(at: float) -> int:
        return min(width - 1, int((at - low) / (high - low) * width))

    for ticks in linear(low, high, max(1, width // 4)):
        steps = [b.at - a.at for a, b in pairwise(ticks)]
        for step in steps:
            assert step == pytest.approx(steps[0], rel=1e-6)
        for tick in ticks:
            assert low <= tick.at <= high
            assert float(tick.label) == pytest.approx(tick.at, rel=1e-12)
        if steps:
            mantissa = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9)
            assert any(mantissa == pytest.approx(m, rel=1e-4) for m in (1, 2, 2.5, 5, 10))
        break
    placed = fitted(linear(low, high, max(1, width // 4)), column, width)
    for p in placed:
        assert p.start >= 0
        assert p.start + len(p.label) <= width
        assert p.start - 1 <= p.column <= p.start + len(p.label)
    assert all(a.start + len(a.label) + GAP <= b.start for a, b in pairwise(placed))


@given(st.floats(-30, 30), st.floats(0.01, 40))
def test_ticks_of_a_logarithmic_axis_are_round(low: float, span: float) -> None:
    """1, 2 and 5 times powers of ten from a decade on, and where they have no room the powers alone."""
    candidates = list(logarithmic(10.0**low, 10.0 ** (low + span), 20))
    for ticks in candidates:
        assert all(float(t.label) == t.at for t in ticks)
        assert all(10.0**low <= t.at <= 10.0 ** (low + span) for t in ticks)
        if span > 1:
            mantissas = {float(f"{t.at:e}".split("e")[0]) for t in ticks}
            assert mantissas <= {1.0, 2.0, 5.0}
            assert mantissas == {1.0} or ticks == candidates[0]


@pytest.mark.parametrize("width", [30, 71, 111, 191])
@given(low=st.floats(-40, 20), span=st.floats(0.2, 60))
def test_the_axis_of_a_distribution_has_round_numbers_where_they_are(width: int, low: float, span: float) -> None:
    axis = Axis(9, width, low, low + span)
    ((_, _), (line, _)) = axis.tick_line("scale", 127.0, False)
    assert len(line) == width
    ticks = [(m.start(), float(m.group(1))) for m in re.finditer(r"┴([\d.e-]*\d)", line)]
    for column, number in ticks:
        assert axis.column_of(number * 127.0) == column
    if span > 4:  # more than a decade
        assert all(float(f"{n:e}".split("e")[0]) in (1, 2, 5) for _, n in ticks)
    if span > 7:
        assert ticks


@pytest.mark.parametrize("width", [40, 71, 191])
def test_levels_on_a_logarithmic_axis_of_magnitudes_make_no_comb(width: int) -> None:
    """As many codes of each level: as many between two edges as the axis is long there."""
    step = 0.25
    codes = np.repeat(np.arange(-128, 128), 1000).astype(np.float32)
    low, high = step / 2, step * 127.5
    found = log_histogram(MagnitudeTable.of(codes * step), width, low, high, step)
    assert found is not None
    assert (found.n_zero, found.n_below) == (1000, 0)
    assert (found.counts.sum(), found.n_above) == (254_000, 1000)  # the level -128 begins at the end
    assert found.counts == pytest.approx(2000 * np.diff(found.edges) / step, abs=1)


@given(st.integers(1, 10**9), st.integers(1, 60))
def test_labels_beside_rows_are_apart(top: int, rows: int) -> None:
    found = beside(
        linear(0, top, max(1, rows // 2)), lambda x: -1 if x == 0 else min(rows - 1, int(x / top * rows)), rows, 12
    )
    assert all(b - a >= 2 for a, b in pairwise(sorted(found)))
    assert all(-1 <= row < rows for row in found)


# --- curves ---


@given(st.integers(2, 3000), st.integers(0, 2999))
def test_no_peak_of_a_curve_is_lost(n: int, at: int) -> None:
    x = np.zeros(n)
    x[at % n] = 1.0
    made = curves([curve_of(x, 40, "a")], (0.0, 1.0), 6, COLORS)
    assert any(c != " " for c, _ in made[0]) or n < 80  # of few values the dots are between them
    assert any(c != " " for c, _ in made[-1])


# --- maps ---


def test_neighbouring_steps_stay_apart_in_256_colours() -> None:
    steps = [of_step(i) for i in range(-STEPS, STEPS + 1)]
    for colors in (steps, [EQUAL, *UP], [EQUAL, *DOWN], [*steps, NOTHING]):
        reduced = [Color.from_rgb(*c).downgrade(ColorSystem.EIGHT_BIT) for c in colors]
        assert len({c.number for c in reduced}) == len(colors)
        assert [tuple(c.get_truecolor()) for c in reduced] == list(colors) or EQUAL in colors
    assert [step_of(x) for x in (-1, -0.3, 0, 1e-9, 0.5, 1)] == [-4, -2, 0, 1, 2, 4]


def test_steps_are_told_apart_in_16_and_in_no_colours() -> None:
    row = [[i / STEPS for i in range(-STEPS, STEPS + 1)]]
    (line,) = heat_lines(row, SIXTEEN)
    pens = [str(next((s.style for s in line.spans if s.start <= i < s.end), "")) for i in range(2 * STEPS + 1)]
    assert len(set(zip(line.plain, pens, strict=True))) == 2 * STEPS + 1
    (line,) = heat_lines([[i / 3 for i in range(-3, 4)]], NONE)
    assert line.plain == SIGNS
    (line,) = heat_lines([[0.0, math.nan, 1.0]], ASCII, (0, 2))
    assert line.plain == ".?@"


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (40, 90)])
def test_a_cell_of_a_map_shows_the_furthest_of_its_block(size: tuple[int, int]) -> None:
    grid = RNG.normal(0, 1, (24, 70))
    small = shrunk(grid, *size)
    assert small.values.shape == (min(24, size[0]), min(70, size[1]))
    for r, c in np.ndindex(small.values.shape):
        block = grid[small.row_ends[r] : small.row_ends[r + 1], small.column_ends[c] : small.column_ends[c + 1]]
        assert abs(small.values[r, c]) == np.abs(block).max()
        assert grid[small.rows[r, c], small.columns[r, c]] == small.values[r, c]
    grid[3, 4] = math.nan
    assert math.isnan(shrunk(grid, 1, 1).values[0, 0])
