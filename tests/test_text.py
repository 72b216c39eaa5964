"""Names made safe, numbers made readable: the rules hold for every input."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qinspect.inspector.text import count, dims, natural_key, number, percent, share, size, times_text, visible

# Surrogates included: that is how bytes of a file name that are no UTF-8 arrive.
ANY_TEXT = st.text(st.characters())


@given(ANY_TEXT)
@example("\x1b[31mred\x1b[0m")
@example("a\nb\rc\td")
@example("\u202egnp.exe")
@example("\ud800")
def test_visible_text_is_one_printable_line(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")


@given(ANY_TEXT)
def test_visible_keeps_what_is_visible_and_changes_nothing_twice(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    if all(c.isascii() and c.isprintable() for c in text):
        assert shown == text


@given(ANY_TEXT, st.integers(16, 300))
def test_visible_shortens_only_what_is_longer_and_keeps_both_ends(text: str, limit: int) -> None:
    shown = visible(text, limit)
    if len(text) <= limit:
        assert shown == visible(text)
        return
    found = re.search(r"\.\.\.\((\d+) more\)\.\.\.", shown)
    assert found
    left_out = int(found[1])
    kept = (len(text) - left_out) // 2
    assert 0 < left_out < len(text)
    assert shown.startswith(visible(text[:kept]))
    assert shown.endswith(visible(text[-kept:]))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_percent_keeps_the_sign_and_three_digits(value: float) -> None:
    shown = percent(value)
    assert shown.endswith(" %")
    back = float(shown[:-2].replace(",", ""))
    if value == 0:
        assert shown == "0 %"
        return
    assert shown[0] == ("+" if value > 0 else "-")
    assert math.copysign(1, back) == math.copysign(1, value)
    relative = 0.051 if abs(value) < 1e-4 else 0.0051  # one decimal of mantissa for the tiny ones, three digits else
    assert math.isclose(back, value, rel_tol=relative)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.nan, "n/a"),
        (math.inf, "+inf %"),
        (-math.inf, "-inf %"),
        (-0.0, "0 %"),
        (103.5289, "+103.53 %"),
        (-0.0596, "-0.0596 %"),
        (0.0033, "+0.00330 %"),
        (3.2e-6, "+3.2e-06 %"),
        (123456.0, "+123,456 %"),
    ],
)
def test_percent_examples(value: float, shown: str) -> None:
    assert percent(value) == shown


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_share_says_0_and_100_only_where_it_is(x: int, y: int) -> None:
    part, whole = sorted((x, y))
    shown = share(part, whole)
    assert (shown == "0 %") == (part == 0)
    assert (shown == "100 %") == (part == whole > 0)
    if 0 < part < whole:
        back = float(shown.lstrip("<>").removesuffix(" %"))
        assert 0 < back < 100
        assert abs(back - 100 * part / whole) <= 0.051


@given(st.integers(0, 10**18))
@example(999)
@example(1000)
@example(999_499)
@example(999_500)
@example(999_999_999)
def test_size_is_within_half_a_percent_and_never_in_scientific_notation(n_bytes: int) -> None:
    shown, unit = size(n_bytes).split(" ")
    assert re.fullmatch(r"[0-9,]+(\.[0-9]+)?", shown)
    value = float(shown.replace(",", ""))
    assert value < 1000 or unit == "TB"
    factor = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}[unit]
    assert math.isclose(value * factor, n_bytes, rel_tol=0.0051)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_number_reads_back_to_six_digits(value: float) -> None:
    shown = number(value)
    assert math.isclose(float(shown), value, rel_tol=5.1e-6, abs_tol=1e-300)
    assert len(shown) <= 13


def test_ratios_have_no_more_digits_than_anybody_reads() -> None:
    assert [times_text(x) for x in (1.0, 47142.51, 6.51045e36)] == ["1.0x", "47,142.5x", "6.5e+36x"]


@given(st.integers())
def test_number_gives_integers_exactly_or_says_how_long_they_are(value: int) -> None:
    shown = number(value)
    assert shown == (str(value) if value.bit_length() <= 256 else f"an integer of {value.bit_length()} bits")


@given(st.integers(0))
def test_count_separates_thousands(n: int) -> None:
    shown = count(n)
    assert int(shown.replace(",", "")) == n
    assert all(len(group) == 3 for group in shown.split(",")[1:])


def test_dims() -> None:
    assert [dims(()), dims((3,)), dims((2, 0))] == ["scalar", "[3]", "[2, 0]"]


@given(st.lists(st.text("ab.0123456789é٣", max_size=12) | ANY_TEXT))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    ordered = sorted(names, key=natural_key)
    assert all(natural_key(x) <= natural_key(y) for x, y in pairwise(ordered))


@given(st.text("ab.", max_size=5), st.integers(0, 10**17), st.integers(0, 10**17), ANY_TEXT)
def test_layers_sort_by_their_number(prefix: str, i: int, j: int, rest: str) -> None:
    tail = f".{rest}"
    first, second = sorted((i, j))
    names = [f"{prefix}{second}{tail}", f"{prefix}{first}{tail}"]
    assert sorted(names, key=natural_key) == [f"{prefix}{first}{tail}", f"{prefix}{second}{tail}"]
