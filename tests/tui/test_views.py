"""What the views draw: against numpy on the dequantized weights, and against the codes themselves."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pilots import ALPHA_A, ALPHA_B, GROUPED, PERMUTED, open_app
from rich.text import Text
from safetensors.numpy import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import ScalePair, Status
from qinspect.inspector.formats import format_of
from qinspect.inspector.text import dims, percent
from qinspect.inspector.values.clip_range import clip_of
from qinspect.inspector.values.histogram import code_counts, histogram, weight_chunks
from qinspect.tui.charts.histogram import histogram_chart
from qinspect.tui.compare.session import Session
from qinspect.tui.compare.weight_of import weight_of
from qinspect.tui.look import Line, Look, Options
from qinspect.tui.views import VIEWS

LOOK = Look(100, 20, (1, 2, 3), (4, 5, 6), (7, 8, 9))
FOUR_BITS = "m1_w4a8/quamba-small-w4a8"
HEADS, NO_HEADS = "m2_w4a8_gh_pa0.9995/quamba2-tiny-w4a8", "m2_w8a8_pa0.9995/quamba2-tiny-w8a8"
TENSOR_SCALE = "layers.0.mixer.x_proj.weight"


def no_check(done: int, total: int) -> None:
    assert 0 <= done <= total


def text(lines: list[Line]) -> str:
    return "\n".join(
        x if isinstance(x, str) else x.plain if isinstance(x, Text) else "".join(t for t, _ in x) for x in lines
    )


def compared(a: str, b: str | None = None) -> Session:
    session = Session(a, b)
    session.run(lambda message: None, lambda: False)
    assert session.pairs
    return session


@pytest.fixture(scope="module")
def sessions(request: pytest.FixtureRequest) -> dict[str, Session]:
    root = request.config.rootpath / "tests" / "data" / "quamba"
    return {
        "alpha": compared(str(root / ALPHA_A), str(root / ALPHA_B)),
        "permuted": compared(str(root / GROUPED), str(root / PERMUTED)),
        "four": compared(str(root / FOUR_BITS)),
        "heads": compared(str(root / HEADS), str(root / NO_HEADS)),
        "mixed": compared(str(root / ALPHA_A), str(root / FOUR_BITS)),
    }


def grouped(session: Session) -> ScalePair:
    """A scale of many values, in both models."""
    return next(p for p in session.pairs if p.a and p.b and len(p.a.shape) == 2 and min(p.a.shape) > 1)


def pair_of(session: Session, role: str) -> ScalePair:
    return next(p for p in session.pairs if p.role == role)


# --- the numbers ---


@pytest.mark.parametrize("name", [ALPHA_A, FOUR_BITS, GROUPED])
def test_counts_of_a_weight_are_numpys(name: str) -> None:
    fmt = format_of(open_checkpoint(name))
    for weight in fmt.weights():
        x = np.asarray(fmt.dequantize(weight), np.float32).reshape(-1)
        h = histogram(weight_chunks(fmt, weight, no_check), None, 64, False)
        counts, edges = np.histogram(x, bins=np.linspace(float(x.min()), float(x.max()), 65))
        assert h.a == tuple(counts.tolist())
        assert sum(h.a) == x.size
        np.testing.assert_allclose(h.edges, edges)
        assert h.absmax_a == np.abs(x).max()
        assert h.n_left_out == 0

        logs = np.log10(np.abs(x[x != 0]).astype(np.float32))
        h = histogram(weight_chunks(fmt, weight, no_check), None, 64, True)
        assert sum(h.a) == logs.size
        if logs.size:
            bins = np.linspace(float(logs.min()), float(logs.max()), 65)
            assert h.a == tuple(np.histogram(logs, bins=bins)[0].tolist())
        assert h.n_left_out == int((x == 0).sum())

        low, high = float(x.min()) * 0.1, float(x.max()) * 0.5
        h = histogram(weight_chunks(fmt, weight, no_check), None, 64, False, (low, high))
        assert sum(h.a) == int(((x >= np.float32(low)) & (x <= np.float32(high))).sum())


@pytest.mark.parametrize("name", [ALPHA_A, FOUR_BITS, GROUPED])
def test_counts_of_codes_are_numpys(name: str) -> None:
    fmt = format_of(open_checkpoint(name))
    for weight in fmt.weights():
        levels, counts = np.unique(np.asarray(fmt.codes(weight), np.int64), return_counts=True)
        expected = dict.fromkeys(range(-(1 << weight.bits - 1), 1 << weight.bits - 1), 0)
        expected.update(zip(levels.tolist(), counts.tolist(), strict=True))
        assert code_counts(fmt, weight, no_check) == expected


def test_two_streams_have_the_same_bins() -> None:
    a, b = np.arange(10, dtype=np.float32), np.arange(5, 25, dtype=np.float32)
    h = histogram(lambda: [a[:4], a[4:]], lambda: [b], 24, False)
    assert (h.edges[0], h.edges[-1]) == (0.0, 24.0)
    assert h.b is not None
    assert (sum(h.a), sum(h.b)) == (10, 20)
    assert (h.absmax_a, h.absmax_b) == (9.0, 24.0)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.0],
        [1.0] * 9,
        [math.nan] * 3,
        [math.inf, -math.inf],
        [math.nan, 1.0, math.inf],
        [-1.0, 0.0],
        [3e38, -3e38],
    ],
    ids=str,
)
@pytest.mark.parametrize("logarithmic", [False, True])
def test_numbers_that_cannot_be_drawn_are_counted(values: list[float], logarithmic: bool) -> None:
    x = np.array(values, np.float32)
    h = histogram(lambda: [x], lambda: [x], 20, logarithmic)
    usable = np.isfinite(x) & ((x != 0) | (not logarithmic))
    assert sum(h.a) == int(usable.sum())
    assert h.n_left_out == 2 * int((~usable).sum())
    assert all(map(math.isfinite, h.edges))
    for log_counts in (False, True):
        assert histogram_chart(h, LOOK, LOOK.height, log_counts)[0]


# --- the pictures ---


def test_a_weight_belongs_to_its_scale_and_to_the_points_of_its_layer(sessions: dict[str, Session]) -> None:
    s = sessions["alpha"]
    found = {p.role: w.role for p in s.pairs if (w := weight_of(s.a, p))}
    assert found["layers.0.mixer.x_proj.weight"] == "layers.0.mixer.x_proj.weight"
    assert found["layers.0.mixer.x_proj:input"] == "layers.0.mixer.x_proj.weight"
    assert found["layers.0.mixer.x_proj:output"] == "layers.0.mixer.x_proj.weight"
    assert "layers.0.mixer.ssm_state_act:input" not in found


@pytest.mark.parametrize("which", ["alpha", "permuted", "four", "mixed"])
def test_every_view_of_every_kind_of_scale_is_drawn(which: str, sessions: dict[str, Session]) -> None:
    s = sessions[which]
    kinds = {(p.status, p.record.kind, p.record.shape, p.a is None, weight_of(s.a, p) is None): p for p in s.pairs}
    for pair in kinds.values():
        for name, view in VIEWS.items():
            for options in (Options(), Options(log_counts=True, log_axis=True, cursor=0.9, zoom=0.25)):
                lines = view(s, pair, LOOK, options, no_check)
                assert lines
                if name not in ("codes", "values"):
                    assert len(lines) <= LOOK.height, (name, text(lines))


@pytest.mark.parametrize("width", [20, 47, 80, 199])
def test_plots_are_as_large_as_their_pane(width: int, sessions: dict[str, Session]) -> None:
    look = replace(LOOK, width=width, height=12)
    for name in ("weight", "profile", "histogram"):
        s = sessions["permuted"]
        lines = VIEWS[name](s, grouped(s), look, Options(), no_check)
        plots = [x for x in lines if isinstance(x, Text)]
        assert plots
        assert max(x.cell_len for x in plots) <= width


def test_a_weight_over_the_other_model(sessions: dict[str, Session]) -> None:
    s = sessions["alpha"]
    shown = text(VIEWS["weight"](s, pair_of(s, TENSOR_SCALE), LOOK, Options(), no_check))
    assert shown.splitlines()[0].startswith("  layers.0.mixer.x_proj.weight [44, 384], dequantized")
    assert s.a is not None
    weight = weight_of(s.a, pair_of(s, TENSOR_SCALE))
    assert weight is not None
    absmax = float(np.abs(s.a.dequantize(weight)).max())
    assert f"A = B in every bin, absmax {absmax:.6g}" in shown
    low, high = clip_of(s.a, weight) or (math.nan, math.nan)
    assert f"clip A, B {low:.6g}..{high:.6g}" in shown


# --- marks under the axis ---


def marks_of(lines: list[Line]) -> tuple[dict[str, str], str]:
    """Cells from the axis' first to its last, by label, and the axis."""
    shown = text(lines).splitlines()
    at = max(i for i, line in enumerate(shown) if re.fullmatch(r" *0?[└+][┬─+-]+", line))
    left = next(i for i, c in enumerate(shown[at]) if c in "└+") + 1
    found: dict[str, str] = {}
    for line in shown[at + 2 :]:
        label = line[:left].strip()
        if label not in ("A", "B", "AB") or line[left - 1] not in " B":
            break
        found[label] = line[left:].ljust(len(shown[at]) - left)
    return found, shown[at][left:]


def column(at: float, low: float, high: float, width: int) -> int:
    return min(width - 1, math.floor(round(width * (at - low) / (high - low), 8)))


@pytest.mark.parametrize("plain", [False, True], ids=["unicode", "ascii"])
@pytest.mark.parametrize("options", [Options(), Options(log_counts=True), Options(log_axis=True)], ids=str)
def test_absmax_and_clip_are_marked(options: Options, plain: bool, sessions: dict[str, Session]) -> None:
    s = sessions["alpha"]
    pair = pair_of(s, TENSOR_SCALE)
    assert s.a is not None
    weight = weight_of(s.a, pair)
    assert weight is not None
    x = np.asarray(s.a.dequantize(weight), np.float64)
    (scale,) = (float(np.asarray(s.a.values(r)).reshape(())) for r in s.a.scales() if r.role == TENSOR_SCALE)
    low, high = -128 * scale, 127 * scale
    assert clip_of(s.a, weight) == (low, high)
    lines = VIEWS["weight"](s, pair, replace(LOOK, plain=plain), options, no_check)
    found, axis = marks_of(lines)
    assert set(found) == {"AB"}  # both models have this weight
    cells = found["AB"]
    if options.log_axis:
        first = math.log10(scale / 2)  # where the lowest level's step begins
        at = column(math.log10(float(np.abs(x).max())), first, math.log10(high + scale / 2), len(axis))
        assert cells[at] in "^#"
        assert cells[-1] in "]#"
        assert set(cells) <= set(" ^]#")
    else:
        end = float(x.min()) if -x.min() > x.max() else float(x.max())
        assert cells[column(end, low - scale / 2, high + scale / 2, len(axis))] in "^#"
        assert (cells[0], cells[-1]) in {("[", "]"), ("#", "]"), ("[", "#")}
        assert len(cells.replace(" ", "")) <= 3
    legend = next(line for line in text(lines).splitlines() if line.strip()[:1] in ("^", "[", "]", "#"))
    assert all(sign in legend for sign in set(cells) - {" "})
    assert legend.isascii()


def test_marks_off_the_axis_are_signs_at_its_end(sessions: dict[str, Session]) -> None:
    s = sessions["alpha"]
    found, axis = marks_of(VIEWS["weight"](s, pair_of(s, TENSOR_SCALE), LOOK, Options(zoom=0.25), no_check))
    assert re.fullmatch("< +]", found["AB"].strip())
    assert found["AB"].index("]") >= len(axis) - 4  # in the middle of the last level


def test_two_models_have_marks_of_their_own(sessions: dict[str, Session]) -> None:
    s = sessions["mixed"]
    pair = next(p for p in s.pairs if p.a and p.b and p.role.endswith("dt_proj.weight"))
    lines = VIEWS["weight"](s, pair, LOOK, Options(), no_check)
    found, _ = marks_of(lines)
    assert list(found) == ["A", "B"]
    assert found["A"] != found["B"]
    assert "clip A -" in text(lines)
    assert "clip B -" in text(lines)


@pytest.mark.parametrize("log_axis", [False, True])
def test_ends_of_a_scale_are_marked(log_axis: bool, sessions: dict[str, Session]) -> None:
    s = sessions["permuted"]
    pair = grouped(s)
    lines = VIEWS["histogram"](s, pair, LOOK, Options(log_axis=log_axis), no_check)
    found, _ = marks_of(lines)
    cells = next(iter(found.values()))
    assert (cells[0], cells[-1]) == ("^", "^")
    assert "^ min, max" in text(lines)
    assert s.a is not None
    assert pair.a is not None
    x = np.asarray(s.a.values(pair.a), np.float64)
    assert f"{x.min():.6g}..{x.max():.6g}" in text(lines)


def test_a_scale_per_group_has_no_clip_limit(sessions: dict[str, Session]) -> None:
    s = sessions["permuted"]
    pair = grouped(s)
    assert s.a is not None
    weight = weight_of(s.a, pair)
    assert weight is not None
    assert clip_of(s.a, weight) is None
    assert "clip" not in text(VIEWS["weight"](s, pair, LOOK, Options(), no_check))


def test_a_scale_of_b_alone_is_called_b(sessions: dict[str, Session]) -> None:
    s = sessions["mixed"]
    pair = next(p for p in s.pairs if p.b and not p.a and math.prod(p.b.shape) > 1)
    lines = VIEWS["histogram"](s, pair, LOOK, Options(), no_check)
    assert list(marks_of(lines)[0]) == ["B"]
    assert "B 0." in text(lines) or "B 1" in text(lines)


@pytest.mark.parametrize("plain", [False, True], ids=["unicode", "ascii"])
def test_the_cursor_is_seen_over_a_filled_curve(plain: bool, sessions: dict[str, Session]) -> None:
    s = sessions["alpha"]
    look = replace(LOOK, plain=plain)
    lines = VIEWS["weight"](s, pair_of(s, TENSOR_SCALE), look, Options(cursor=0.5), no_check)
    plotted = [x for x in lines if isinstance(x, Text)]
    axis = next(i for i, line in enumerate(plotted) if re.fullmatch(r" *0?[└+][┬─+-]+", line.plain))
    left = min(plotted[axis].plain.index(c) for c in "└+" if c in plotted[axis].plain) + 1
    at = left + column(0.5, 0, 1, len(plotted[axis].plain) - left)
    assert axis > 8
    for line in plotted[:axis]:
        assert line.plain[at] == ("|" if plain else "│")
        assert any(span.start <= at < span.end and "rgb(7,8,9)" in str(span.style) for span in line.spans)
    assert plotted[axis - 1].plain[at - 1] in "#█"  # in the middle of the filling


def test_the_cursor_reads_out_the_share_below(sessions: dict[str, Session]) -> None:
    s = sessions["alpha"]
    pair = pair_of(s, TENSOR_SCALE)
    assert s.a is not None
    weight = weight_of(s.a, pair)
    assert weight is not None
    x = np.asarray(s.a.dequantize(weight), np.float32)
    low, high = clip_of(s.a, weight) or (math.nan, math.nan)  # which the axis shows too
    assert low < x.min() < x.max() < high
    for at in (0.0, 0.25, 0.5, 0.9, 1.0):
        last = text(VIEWS["weight"](s, pair, LOOK, Options(cursor=at), no_check)).splitlines()[-1]
        half = (high - low) / 255 / 2  # the axis begins and ends between levels
        found = re.fullmatch(r"  cursor (\S+)   below: A ([\d.<>]+) %, B ([\d.<>]+) %", last)
        assert found, last
        value = low - half + (high - low + 2 * half) * at
        assert float(found[1]) == pytest.approx(value, rel=1e-4)
        assert float(found[2].strip("<>")) == pytest.approx(100 * float((x <= value).mean()), abs=1.5)
        assert found[2] == found[3]


def test_zoom_looks_into_the_upper_tail(sessions: dict[str, Session]) -> None:
    s = sessions["alpha"]
    pair = pair_of(s, TENSOR_SCALE)

    def axis(options: Options) -> list[float]:
        lines = text(VIEWS["weight"](s, pair, LOOK, options, no_check)).splitlines()
        at = next(i for i, line in enumerate(lines) if re.fullmatch(r" *0└[┬─]+", line))
        return [float(x) for x in lines[at + 1].split()]

    whole, tail = axis(Options()), axis(Options(zoom=0.25))
    assert whole[0] < 0 < whole[-1]
    assert 0 < tail[0] < tail[-1]
    assert whole[-1] <= tail[-1] < whole[-1] + (whole[1] - whole[0])


def test_codes_say_levels_unused_and_saturated(sessions: dict[str, Session]) -> None:
    s = sessions["alpha"]
    pair = pair_of(s, TENSOR_SCALE)
    assert s.a is not None
    weight = weight_of(s.a, pair)
    assert weight is not None
    counts = code_counts(s.a, weight, no_check)
    lines = text(VIEWS["codes"](s, pair, LOOK, Options(), no_check)).splitlines()
    unused = sum(n == 0 for n in counts.values())
    assert lines[0].startswith(f"  A = B [44, 384], 256 levels   {unused} unused   saturated -128:")
    assert lines[LOOK.height] == ""  # the list is under the chart, which fills the pane
    assert len(lines) == LOOK.height + 1 + 256
    for line in lines[LOOK.height + 1 :]:
        level, _, n = line.split()[:3]
        assert counts[int(level)] == int(n.replace(",", ""))
    assert lines[-1].endswith("saturated") == bool(counts[127])
    assert sum("unused" in line for line in lines[LOOK.height + 1 :]) == unused


def test_four_bits_against_eight(sessions: dict[str, Session]) -> None:
    s = sessions["mixed"]
    pair = next(p for p in s.pairs if p.a and p.b and (w := weight_of(s.b, p)) and w.bits == 4 and weight_of(s.a, p))
    lines = text(VIEWS["codes"](s, pair, LOOK, Options(), no_check)).splitlines()
    assert "256 levels" in lines[0]
    assert "16 levels" in lines[1]
    bars = lines[lines.index("") + 1 :]
    assert sum(" A " in bar for bar in bars) == sum(" B " in bar for bar in bars) == 256
    assert sum("absent" in bar for bar in bars) == 256 - 16


def of_two_shapes(s: Session) -> ScalePair:
    """A scale of many values, of another shape in B."""
    (a, b) = (s.a, s.b)
    assert a is not None
    assert b is not None
    return next(
        p for p in s.pairs
        if p.a and p.b and np.size(a.values(p.a)) > 1 and np.shape(a.values(p.a)) != np.shape(b.values(p.b))
    )  # fmt: skip


def test_codes_of_another_shape_are_drawn_as_shares_with_both_shapes(sessions: dict[str, Session]) -> None:
    s = sessions["mixed"]
    pair = pair_of(s, "layers.0.mixer.dt_proj.weight")
    for fmt, label in ((s.a, "A"), (s.b, "B")):
        weight = weight_of(fmt, pair)
        assert fmt is not None
        assert weight is not None
        counts = code_counts(fmt, weight, no_check)
        shown = text(VIEWS["codes"](s, pair, LOOK, Options(), no_check)).splitlines()
        assert any(line.startswith(f"  {label} {list(weight.shape)}, 256 levels") for line in shown)
        found = [line for line in shown[shown.index("") + 1 :] if re.match(rf" *-?\d* +{label} ", line)]
        assert [int(line.split(f" {label} ")[1].split()[0].replace(",", "")) for line in found] == list(counts.values())
        longest = max(line.count("█") for line in shown[shown.index("") + 1 :])
        most = max(range(256), key=lambda i: found[i].count("█"))
        assert found[most].count("█") > longest // 3  # neither is flat beside the other, however many codes it has


def test_values_of_another_shape_have_their_own_index(sessions: dict[str, Session]) -> None:
    s = sessions["heads"]
    pair = of_two_shapes(s)
    assert s.a is not None
    assert s.b is not None
    assert pair.a is not None
    assert pair.b is not None
    a, b = np.asarray(s.a.values(pair.a)), np.asarray(s.b.values(pair.b))
    heading, columns, *rows = text(VIEWS["values"](s, pair, LOOK, Options(), no_check)).splitlines()
    assert heading.startswith(f"  A {dims(a.shape)}   B {dims(b.shape)}   other shapes")
    assert columns.split() == ["index", "A", "index", "B"]
    assert len(rows) == max(a.size, b.size)
    for x, at in ((a, 0), (b, 1)):
        cells = [re.findall(r"\[([\d, ]+)\] +(\S+)", row) for row in rows[: x.size]]
        for index, row in zip(np.ndindex(x.shape), cells, strict=True):
            where, value = row[min(at, len(row) - 1)]
            assert where == ", ".join(map(str, index))
            assert float(value) == pytest.approx(float(x[index]), rel=1e-5)


@pytest.mark.parametrize("plain", [False, True], ids=["unicode", "ascii"])
def test_a_profile_of_another_shape_has_both_curves_and_says_both_shapes(
    plain: bool, sessions: dict[str, Session]
) -> None:
    s = sessions["heads"]
    lines = VIEWS["profile"](s, of_two_shapes(s), replace(LOOK, plain=plain), Options(), no_check)
    shown = text(lines)
    assert re.match(r"  A \S+.*   B \S+.*   other shapes", shown)
    assert "100 %" in shown
    assert "B/A" not in shown
    plotted = "".join(x.plain for x in lines if isinstance(x, Text))
    assert re.search("A.*B" if plain else "[\u2801-\u28ff]", plotted)
    assert len(lines) == LOOK.height


def test_values_are_those_of_both_models(sessions: dict[str, Session]) -> None:
    s = sessions["permuted"]
    pair = pair_of(s, "lm_head.weight")
    assert s.a is not None
    assert s.b is not None
    assert pair.a is not None
    assert pair.b is not None
    a, b = np.asarray(s.a.values(pair.a)), np.asarray(s.b.values(pair.b))
    lines = text(VIEWS["values"](s, pair, LOOK, Options(), no_check)).splitlines()
    assert lines[0].split() == ["index", "A", "B", "B", "vs", "A"]
    assert len(lines) == 1 + a.size
    for index, line in zip(np.ndindex(a.shape), lines[1:], strict=True):
        shown = line.split("]")[1].split()
        assert line.split("]")[0].strip() == "[" + ", ".join(map(str, index))
        assert float(shown[0]) == pytest.approx(float(a[index]), rel=1e-5)
        assert a.shape == b.shape
        assert float(shown[1]) == pytest.approx(float(b[index]), rel=1e-5)


def test_a_profile_is_sorted_and_has_a_heat_map(sessions: dict[str, Session]) -> None:
    s = sessions["permuted"]
    shown = text(VIEWS["profile"](s, pair_of(s, "lm_head.weight"), LOOK, Options(), no_check))
    assert "B vs A per cell" in shown
    assert "▀" in shown


def test_drawing_can_be_cancelled(sessions: dict[str, Session]) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Stop

    s = sessions["alpha"]
    for name in ("weight", "codes"):
        with pytest.raises(Stop):
            VIEWS[name](s, pair_of(s, TENSOR_SCALE), LOOK, Options(), stop)


async def test_the_cursor_and_the_zoom_of_a_histogram_by_keys() -> None:
    async with open_app(ALPHA_A, ALPHA_B) as d:
        d.screen.table_pane.select(TENSOR_SCALE)
        await d.press("w", "3", "l")
        assert d.screen.detail_pane.options.cursor == pytest.approx(0.51)
        assert "cursor 0.00" in d.detail
        assert "below: A 5" in d.detail
        await d.press("h", "h")
        assert d.screen.detail_pane.options.cursor == pytest.approx(0.49)
        await d.press("plus", "plus", "minus")
        assert d.screen.detail_pane.options.zoom == 0.5
        await d.press("minus", "minus", "minus")
        assert d.screen.detail_pane.options.zoom == 1.0
        assert "layers.0.mixer" not in d.tree_paths  # the tree was left alone


async def test_an_index_of_the_values_is_found() -> None:
    async with open_app(GROUPED, PERMUTED) as d:
        d.screen.table_pane.select("layers.0.mixer.in_proj.weight")
        for typed, expected in (("700,1", "[700, 1]"), ("5 0", "[5, 0]"), ("1001", "[500, 1]"), ("0", "[0, 0]")):
            await d.press("number_sign")
            await d.type(typed)
            await d.press("enter")
            top = "".join(s.text for s in d.screen.detail_pane.text.render_line(0))
            assert top.split("]")[0].strip() + "]" == expected
            assert d.screen.active == "detail"


@pytest.mark.parametrize("shape", [(2048, 1), (1, 2048), (2048,), (2, 1024)])
async def test_a_single_number_is_the_place_among_all_values(shape: tuple[int, ...], tmp_path: Path) -> None:
    scale = np.arange(1, 2049, dtype=np.float32).reshape(shape)
    for name in "ab":
        file = tmp_path / f"{name}.safetensors"
        save_file({"l.weight": np.zeros((2, 4), np.int8), "l.weight_scale": scale * len(file.name)}, file)
    async with open_app(tmp_path / "a.safetensors", tmp_path / "b.safetensors") as d:
        d.screen.table_pane.select("l.weight_scale")
        for typed, expected in (("1000", 1000), ("2047", 2047)):
            await d.press("number_sign")
            await d.type(typed)
            await d.press("enter")
            top = "".join(
                s.text for s in d.screen.detail_pane.text.render_line(d.screen.detail_pane.text.scroll_offset.y)
            )
            line = d.screen.detail_pane.text.plain[1 + expected]
            assert line.split("]")[0].strip("[ ") == ", ".join(map(str, np.unravel_index(expected, shape)))
            assert line in d.detail
            assert (
                d.screen.detail_pane.text.scroll_offset.y
                <= 1 + expected
                < d.screen.detail_pane.text.scroll_offset.y + 40
            ), top
        for typed in ("2048", "99999999999999999999", "3,3,3,3", "x", "-1", "²"):
            await d.press("number_sign")
            await d.type(typed)
            await d.press("enter")
            assert "there is no index" in d.screen.hints.status


def test_one_percentage_where_cells_are_in_another_order(sessions: dict[str, Session]) -> None:
    """Values, heat map, table and tree of one scale: only that of the sorted cells is a difference."""
    s = sessions["permuted"]
    sorted_pairs = [p for p in s.pairs if p.difference and p.difference.sorted_cells]
    assert {p.status for p in sorted_pairs} == {Status.PERMUTED, Status.DIFFERENT}
    for pair in sorted_pairs:
        assert pair.difference
        for view in ("values", "profile"):
            shown = text(VIEWS[view](s, pair, LOOK, Options(), no_check))
            found = set(re.findall(r"[-+]?\d[\d.]*(?:e-\d+)? %", shown))
            assert found == {percent(pair.difference.largest)}, (pair.role, view)
            assert "cells are in another order" in shown
            if view == "values":
                assert re.search(r"^  index +A +index +B$", shown, re.MULTILINE)


def test_no_percentage_of_two_schemes(sessions: dict[str, Session]) -> None:
    s = sessions["mixed"]
    found = [p for p in s.pairs if p.status is Status.SCHEME]
    assert found
    for pair in found:
        for view in ("values", "profile"):
            shown = text(VIEWS[view](s, pair, LOOK, Options(), no_check))
            assert not re.search(r"[-+][\d.]+ %", shown), (pair.role, view)


def test_the_brightest_cell_is_the_largest_difference_of_the_table(tmp_path: Path) -> None:
    a = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]], np.float32)
    for i, factors in enumerate(([[2.0, 1, 1], [1, 1, 0.4]], [[1.3, 1, 1], [1, 1, 0.6]])):
        for name, x in (("a", a), ("b", a * np.array(factors, np.float32))):
            codes = np.zeros((2, 3), np.int8)
            save_file({"l.weight": codes, "l.weight_scale": x}, tmp_path / f"{name}{i}.safetensors")
        s = compared(str(tmp_path / f"a{i}.safetensors"), str(tmp_path / f"b{i}.safetensors"))
        pair = pair_of(s, "l.weight_scale")
        assert pair.difference
        shown = text(VIEWS["profile"](s, pair, LOOK, Options(), no_check))
        ends = [percent(end * abs(pair.difference.largest)) for end in (-1, 1)]
        assert re.search(
            rf"B vs A per cell, 2 x 3   {re.escape(ends[0])} \S* *\S* {re.escape(ends[1])}$", shown, re.MULTILINE
        )


async def test_sorted_by_a_models_values_the_largest_is_first() -> None:
    """Also of rows that were never on the screen, whose values are not known before."""
    async with open_app(ALPHA_A, ALPHA_B, (120, 24)) as d:
        while d.screen.table_pane.selection.sort != "A":
            await d.press("s")
        assert d.screen.session.a is not None
        found = [float(np.max(d.screen.session.a.values(p.a))) for p in d.screen.table_pane.scales.pairs if p.a]
        assert found == sorted(found, reverse=True)
