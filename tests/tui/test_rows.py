"""Rows of the table and lines of the header: cells, signs, columns, filters and orders; names cut to their room."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from qinspect.inspector.compare import ScalePair, Status
from qinspect.inspector.compare.measures import band_place
from qinspect.inspector.compare.results import Difference
from qinspect.inspector.formats import Kind, ScaleRecord
from qinspect.inspector.formats.element import integer
from qinspect.inspector.formats.grid import PER_TENSOR, channels
from qinspect.inspector.formats.records import PERCENTILE
from qinspect.inspector.noise.band import REPEAT, SAMPLES, Band
from qinspect.tui.compare.columns import (
    LEAST_NAME,
    MOST_NAME,
    ONE_COLUMNS,
    TWO_COLUMNS,
    Names,
    common_prefix,
    layout,
    names_of,
)
from qinspect.tui.compare.rows import Selection, Values, cell, sign, sorts, value_text
from qinspect.tui.dialogs.jump import rank
from qinspect.tui.glyphs import ASCII, Glyphs
from qinspect.tui.labels import fill, fill_name, fit, short_paths
from qinspect.tui.widgets.lines import Piece

UNREAD: Values = (None, None)


def difference(largest: float, up: int = 1, down: int = 0, undefined: int = 0, n: int = 1) -> Difference:
    return Difference(n, up + down, up, down, largest, (), 1.0, 2.0, 1.0, 1.0, 1.0, n_undefined=undefined)


def pair(
    role: str, order: int = 0, status: Status = Status.IDENTICAL, found: Difference | None = None,
    kind: Kind = Kind.ACTIVATION,
) -> ScalePair:  # fmt: skip
    record = ScaleRecord(
        role, f"model.{role}", kind, "a point", integer(8), PER_TENSOR, "float32", (), reach=PERCENTILE
    )
    a = None if status is Status.ONLY_B else record
    return ScalePair(role, order, a, None if status is Status.ONLY_A else record, status, found)


# --- columns ---


@pytest.mark.parametrize("longest", [0, 20, 50, 10_000])
@pytest.mark.parametrize("two", [False, True])
def test_columns_fill_a_table_of_any_width(two: bool, longest: int) -> None:
    for width in range(30, 260):
        columns = layout(two, width, Names(longest=longest))
        assert columns[0][0].name == "scale"
        total = 2 + sum(w + 1 for _, w in columns) - 1
        assert total == width - 1 or columns[0][1] == LEAST_NAME, (width, total)
        assert {c.name for c, _ in columns} >= ({"B vs A"} if two else {"value"})


def test_a_wide_table_has_every_column() -> None:
    assert [c for c, _ in layout(True, 200)] == [c for c in TWO_COLUMNS if c.name not in ("SQNR", "method")]
    measured = layout(True, 200, Names(measured=True))
    assert [c for c, _ in measured] == [c for c in TWO_COLUMNS if c.name != "method"]
    assert [c for c, _ in layout(True, 200, Names(measured=True, methods=True))] == list(TWO_COLUMNS)
    assert [c for c, _ in layout(False, 200)] == list(ONE_COLUMNS)


@pytest.mark.parametrize("two", [False, True])
def test_a_column_gives_way_before_a_name_is_cut(two: bool) -> None:
    """And a wider table never shows less."""
    for longest in (12, 30, 46, MOST_NAME):
        names = Names(longest=longest)
        before = 0
        for width in range(30, 260):
            columns = layout(two, width, names)
            assert columns[0][1] >= longest or len(columns) == 2
            assert len(columns) >= before or columns[0][1] >= longest
            before = len(columns)


def test_both_models_have_a_column_or_neither() -> None:
    for width in range(20, 200):
        found = {c.name for c, _ in layout(True, width, Names(longest=20))}
        assert ("A" in found) is ("B" in found)


def test_columns_that_say_nothing_are_left_out() -> None:
    pairs = [pair("layers.0.x"), pair("layers.10.x")]
    assert names_of(pairs) == Names("layers.", 4, frozenset({"shape", "changed", "copies", "band"}))
    assert [c.name for c, _ in layout(True, 200, names_of(pairs))] == ["scale", "A", "B", "B vs A", "kind"]
    assert names_of([]) == Names()


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["layers.0.a", "layers.1.a"], "layers."),
        (["model.layers.0.a", "model.layers.0.b"], "model.layers."),
        (["layers.0.a", "norm.b"], ""),
        (["layers.0.a"], ""),
        (["a.b.c", "a.b.cd", "a.b"], "a."),
        (["a.", "a.b"], ""),
        (["same", "same"], ""),
        (["1.a", "1.b"], ""),
    ],
)
def test_what_all_names_begin_with_ends_before_a_number(names: list[str], prefix: str) -> None:
    assert common_prefix(names) == prefix
    assert all(n.removeprefix(prefix) for n in names)


@given(st.lists(st.text("a1.:é", min_size=1), min_size=1))
def test_nothing_is_lost_of_a_name_by_its_prefix(names: list[str]) -> None:
    prefix = common_prefix(names)
    assert all(n.startswith(prefix) for n in names)
    assert all(n != prefix for n in names)


@pytest.mark.parametrize(
    ("name", "width", "expected"),
    [
        ("layers.12.x", 12, "layers.12.x "),
        ("layers.12.mixer.x_proj:input", 24, "layers.12.….x_proj:input"),
        ("model.language_model.decoder.layers.12.self_attn.v_proj.weight", 34, "…layers.12…self_attn.v_proj.weight"),
        ("model.language_model.decoder.layers.12.self_attn.v_proj.weight", 12, "…12…j.weight"),
        ("127.mlp.experts.3.down_proj.weight_scale", 20, "127.…oj.weight_scale"),
        ("a_long_name_without_any_number", 11, "a_lon…umber"),
        ("layers.12345.x", 3, "12…"),
    ],
)
def test_a_name_is_cut_in_its_middle_and_keeps_its_layer(name: str, width: int, expected: str) -> None:
    assert fill_name(name, width, "…") == expected


@given(
    st.text("ab.\u4e2d\u0301", max_size=30),
    st.integers(0, 999),
    st.text("ab.:1\u4e2d", max_size=40),
    st.integers(8, 60),
)
def test_no_cut_name_loses_its_layer(before: str, layer: int, after: str, width: int) -> None:
    name = f"{before}.{layer}.{after}"
    cut = fill_name(name, width, "…")
    assert cell_len(cut) == width
    assert str(layer) in cut


# --- cells ---


def test_cells_of_a_difference() -> None:
    p = pair("x", status=Status.DIFFERENT, found=difference(100.0))
    assert [cell(p, c, UNREAD) for c in ("A", "B", "B vs A", "changed", "kind")] == [
        "1",
        "2",
        "+100.00 %",
        "",
        "activation",
    ]
    assert cell(p, "shape", UNREAD) == ""
    many = pair("x", status=Status.DIFFERENT, found=difference(100.0, n=2000))
    assert cell(many, "changed", UNREAD) == "1/2,000"


def test_the_shape_of_a_tensor_of_scales_is_said_once_or_of_each_model() -> None:
    p = pair("x")
    assert p.a is not None
    tensor, other = replace(p.a, shape=(4, 96)), replace(p.a, shape=(2, 96))
    assert cell(replace(p, a=tensor, b=tensor), "shape", UNREAD) == "[4, 96]"
    assert cell(replace(p, a=tensor, b=other), "shape", UNREAD) == "[4, 96] [2, 96]"
    assert cell(replace(p, a=None, b=other), "shape", UNREAD) == "[2, 96]"
    assert cell(replace(p, a=tensor, b=replace(p.a, shape=())), "shape", UNREAD) == "[4, 96] scalar"
    assert cell(replace(p, a=p.a, b=replace(p.a, shape=(1, 1))), "shape", UNREAD) == ""


def test_cells_without_a_partner() -> None:
    p = pair("x", status=Status.ONLY_B)
    assert [cell(p, c, (None, (1.0, 2.0, 0))) for c in ("A", "B", "B vs A")] == ["-", "1..2", "only in B"]
    p = pair("x", status=Status.ONLY_A)
    assert [cell(p, c, ((3.0, 3.0, 0), None)) for c in ("A", "B", "B vs A")] == ["3", "-", "only in A"]


def test_each_model_has_its_own_value_where_nothing_is_compared() -> None:
    p = pair("x", status=Status.SCHEME)
    assert [cell(p, c, ((1.0, 1.0, 0), (2.0, 4.0, 0))) for c in ("A", "B", "B vs A")] == ["1", "2..4", "other scheme"]


def test_a_difference_without_a_percentage() -> None:
    p = pair("x", status=Status.DIFFERENT, found=difference(math.nan, undefined=1))
    assert cell(p, "B vs A", UNREAD) == "n/a"
    assert band_place(p) == ""


def test_values() -> None:
    assert value_text(None) == ""
    assert value_text("truncated") == "unreadable"
    assert value_text((0.5, 0.5, 0)) == "0.5"
    assert value_text((math.nan, math.nan, 1)) == "nan"
    assert value_text((0.25, 0.5, 3)) == "0.25..0.5 !3"
    for low, high in itertools.combinations((-1e-38, -3.4e38, 0.0, 1e-45, 0.0123456, 3.4e38, math.inf), 2):
        assert len(value_text((min(low, high), max(low, high), 0))) <= 24


@pytest.mark.parametrize(
    ("largest", "expected"),
    [(0.001, "repeat noise"), (-0.5, "other samples"), (50.0, "beyond noise"), (-99.0, "beyond noise")],
)
def test_bands(largest: float, expected: str) -> None:
    p = replace(pair("x", status=Status.DIFFERENT, found=difference(largest)), bands=(REPEAT, SAMPLES))
    assert cell(p, "band", UNREAD) == band_place(p) == expected
    assert band_place(replace(p, bands=(SAMPLES, REPEAT))) == expected  # whichever applies
    assert band_place(replace(p, bands=())) == ""


def test_a_difference_that_another_order_makes() -> None:
    order = Band(-30.0, 40.0, "order", "resampled", 0.95, 64, 0.1)
    p = replace(pair("x", status=Status.DIFFERENT, found=difference(-29.0)), bands=(REPEAT, order, SAMPLES))
    assert band_place(p) == "other order"


@pytest.mark.parametrize("g", [Glyphs(), ASCII], ids=["unicode", "ascii"])
def test_every_meaning_has_a_sign_of_one_cell(g: Glyphs) -> None:
    shown: dict[str, Piece] = {
        "up": sign(pair("x", status=Status.DIFFERENT, found=difference(1.0)), True, g),
        "down": sign(pair("x", status=Status.DIFFERENT, found=difference(-1.0, 0, 1)), True, g),
        "mixed": sign(pair("x", status=Status.DIFFERENT, found=difference(-1.0, 1, 1)), True, g),
        **{s: sign(pair("x", status=s), True, g) for s in (Status.IDENTICAL, Status.ONLY_A, Status.ONLY_B)},
        **{s: sign(pair("x", status=s), True, g) for s in (Status.BROKEN, Status.SCHEME)},
    }
    signs = [text for text, _ in shown.values()]
    assert all(cell_len(s) == 1 for s in signs)
    assert len(set(signs)) == len(signs)
    assert all(
        cell_len(getattr(g, n)) == 1 for n in ("opened", "closed", "cut", "bookmark", "dot", "vertical", "alpha")
    )


# --- orders and filters ---

SCHEMES = {"layers.10.w": "W4A8"}

PAIRS = [
    pair("layers.0.b", 0, Status.DIFFERENT, difference(5.0)),
    pair("layers.0.a", 1),
    pair("layers.1.b", 2, Status.DIFFERENT, difference(-50.0, 0, 1)),
    pair("layers.10.w", 3, Status.ONLY_A, kind=Kind.WEIGHT),
    pair("layers.10.v", 4, Status.DIFFERENT, difference(math.nan, undefined=1)),
]


def roles(selection: Selection, values: dict[str, Values] | None = None) -> list[str]:
    return [p.role for p in selection.choose(PAIRS, lambda p: p.role, values or {}, SCHEMES)]


def test_all_rows_in_forward_order() -> None:
    assert roles(Selection()) == [p.role for p in PAIRS]
    assert roles(Selection(reverse=True)) == [p.role for p in PAIRS][::-1]


def test_the_largest_difference_first_and_before_it_what_no_number_tells() -> None:
    found = roles(Selection(sort="B vs A"))
    assert found[:4] == ["layers.10.w", "layers.10.v", "layers.1.b", "layers.0.b"]
    assert set(found) == {p.role for p in PAIRS}


@given(st.permutations(range(len(PAIRS))), st.sampled_from([*sorts(True), *sorts(False)]), st.booleans())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_an_order_is_one_whatever_stands_where(places: list[int], sort: str, reverse: bool) -> None:
    """Also with NaN among the differences, which compares with nothing."""
    selection = Selection(sort=sort, reverse=reverse)
    chosen = selection.choose([PAIRS[i] for i in places], lambda p: p.role, {}, {})
    expected = selection.choose(PAIRS, lambda p: p.role, {}, {})
    if sort != "forward" or reverse:
        assert [p.role for p in chosen] == [p.role for p in expected]


def test_filters() -> None:
    assert roles(Selection(text="layers.1")) == ["layers.1.b", "layers.10.w", "layers.10.v"]
    assert roles(Selection(text="ONLY in")) == ["layers.10.w"]
    assert roles(Selection(text="b different")) == ["layers.0.b", "layers.1.b"]
    assert roles(Selection(text="weight")) == ["layers.10.w"]
    assert roles(Selection(text="nothing of this name")) == []
    assert roles(Selection(only_changed=True)) == [p.role for p in PAIRS if p.status is not Status.IDENTICAL]
    assert roles(Selection(under="layers.1")) == ["layers.1.b"]
    assert roles(Selection(under="layers.0.a")) == ["layers.0.a"]
    assert roles(Selection(under="layers.0", only_changed=True, text="b")) == ["layers.0.b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("w4a8", ["layers.10.w"]),
        ("format:W4A8", ["layers.10.w"]),
        ("format:per-channel", ["both"]),  # of B's record: A's is per tensor
        ("per-channel", ["both"]),
        ("FLOAT8", ["both"]),
        ("dtype:float8", ["both"]),
        ("dtype:float8 dtype:float32", ["both"]),
        ("format:float8", []),
        ("dtype:per-channel", []),
        ("role:weight", ["layers.10.w", "both"]),
        ("role:point status:only", ["layers.10.w"]),
        ("status:different name:layers.0", ["layers.0.b"]),
        ("status:only", ["layers.10.w"]),
        ("status:layers", []),
        ("name:x_proj:input", ["x_proj:input"]),
        ("x_proj:input", ["x_proj:input"]),  # no key of ours: plain text
        ("proj:input", ["x_proj:input"]),
        ("color:red", []),
        ("name: status:", None),  # still being typed
        ("  ", None),
    ],
)  # fmt: skip
def test_filters_by_format_and_by_key(text: str, expected: list[str] | None) -> None:
    record = ScaleRecord("both", "both", Kind.WEIGHT, "a weight", integer(8), PER_TENSOR, "float32", ())
    other = replace(record, grid=channels(), dtype="float8_e4m3fn")
    pairs = [*PAIRS, ScalePair("both", 5, record, other, Status.SCHEME), pair("x_proj:input", 6)]
    found = [p.role for p in Selection(text=text).choose(pairs, lambda p: p.role, {}, SCHEMES)]
    assert found == ([p.role for p in pairs] if expected is None else expected)


# --- names and their room ---

LETTERS = st.text(st.sampled_from("ab/.中\u0301é"), max_size=60)


@given(LETTERS, st.integers(1, 40), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_cell_is_exactly_as_wide_as_its_column(text: str, width: int, right: bool, keep_end: bool) -> None:
    filled = fill(text, width, "…", right, keep_end)
    assert cell_len(filled) == width
    if cell_len(text) <= width:
        assert filled.strip(" ") == text.strip(" ")
    else:
        assert "…" in filled


@given(LETTERS, LETTERS, st.integers(20, 200))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_name_and_what_follows_fit(name: str, rest: str, width: int) -> None:
    line = fit(name, rest, width, "…")
    assert cell_len(line) <= width
    if cell_len(name) <= width:
        assert line.startswith(name)


def test_what_tells_two_paths_apart_stays() -> None:
    assert short_paths("runs/x/a/model", "runs/x/b/model") == ("a/model", "b/model")
    assert short_paths("a", "b") == ("a", "b")
    assert short_paths("runs/a", "runs/a/b") == ("a", "a/b")
    assert short_paths("same", "same") == ("same", "same")
    assert short_paths("one/of\x1b[31m", None) == ("one/of\\x1b[31m", "")


# --- the fuzzy jump ---


def test_jump_ranks_the_tight_and_the_late_first() -> None:
    names = ["layers.0.mixer.x_proj:input", "layers.1.mixer.x_proj:input", "layers.1.mixer.in_proj:input", "norm"]
    assert rank("1 x_proj", names)[0] == "layers.1.mixer.x_proj:input"
    assert rank("1xpi", names)[0] == "layers.1.mixer.x_proj:input"
    assert rank("", names) == names
    assert rank("zzz", names) == []
    assert rank("NORM", names)[0] == "norm"
    assert len(rank("", [str(i) for i in range(1000)])) == 200


@given(st.lists(st.text("abc.1", max_size=8), max_size=20, unique=True), st.text("abc.1", max_size=4))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_jump_finds_every_name_with_the_letters_in_order(names: list[str], query: str) -> None:
    def has(name: str) -> bool:
        letters: Iterator[str] = iter(name)
        return all(c in letters for c in query)

    assert sorted(rank(query, names)) == sorted(n for n in names if has(n))
