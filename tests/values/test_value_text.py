"""Stored values as text read back as what torch and numpy hold, and tell one from another."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qinspect.inspector.text import number
from qinspect.inspector.values.value_text import array_texts, value_text

SMALL = ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"]


def read_back(texts: list[str], dtype: Any) -> np.ndarray[Any, Any]:
    with np.errstate(all="ignore"):
        return np.array([float(t) for t in texts], np.float64).astype(dtype)


@pytest.mark.parametrize("name", [*SMALL, "float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn", "bfloat16"])
def test_every_number_of_a_small_type_has_a_text_of_its_own(name: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name))
    n = 1 << {"float4_e2m1fn": 4, "bfloat16": 16}.get(name, 6 if "float6" in name else 8)
    values = np.arange(n, dtype=np.uint16 if n > 256 else np.uint8).view(dtype)
    texts = array_texts(values)
    with np.errstate(all="ignore"):  # of signalling NaN
        wide = values.astype(np.float64)
    np.testing.assert_array_equal(read_back(texts, dtype).astype(np.float64), wide)
    finite = {t for t, v in zip(texts, wide, strict=True) if not math.isnan(v)}
    assert len(finite) == len(set(zip(wide[~np.isnan(wide)], np.signbit(wide[~np.isnan(wide)]), strict=True)))


@settings(max_examples=300)
@given(arrays(np.float32, st.integers(0, 5), elements=st.floats(width=32)))
def test_float32_reads_back_to_the_bit(x: np.ndarray[Any, Any]) -> None:
    found = read_back(array_texts(x), np.float32)
    np.testing.assert_array_equal(np.signbit(found[~np.isnan(found)]), np.signbit(x[~np.isnan(x)]))
    np.testing.assert_array_equal(found, x)


@given(st.floats())
def test_a_python_float_reads_back_to_the_bit(x: float) -> None:
    assert math.isnan(x) or math.copysign(1, float(value_text(x))) == math.copysign(1, x)
    assert math.isnan(x) or float(value_text(x)) == x


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_it_begins_as_all_numbers_do(x: float) -> None:
    """What six digits tell from its neighbours is printed as everywhere else."""
    if float(number(x)) == x:
        assert value_text(x) == number(x)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1))
def test_integers_have_all_their_digits(signed: int, unsigned: int) -> None:
    assert array_texts(np.array([signed], np.int64)) == [str(signed)]
    assert array_texts(np.array([unsigned], np.uint64)) == [str(unsigned)]
    assert value_text(signed) == str(signed)


@given(st.complex_numbers(width=64))
def test_complex_numbers_read_back(z: complex) -> None:
    (text,) = array_texts(np.array([z], np.complex64))
    found = np.complex64(complex(text))
    np.testing.assert_array_equal(found, np.complex64(z))


def test_what_is_no_number() -> None:
    assert array_texts(np.array([True, False])) == ["true", "false"]
    assert array_texts(np.array(7)) == ["7"]
    assert array_texts(np.zeros((0, 3))) == []
    assert [value_text(x) for x in (True, None, 1 + 2j, -1j, np.float32(0.1), np.int64(3), np.bool_(True))] == [
        "true", "None", "1+2j", "-0-1j", "0.1", "3", "true",
    ]  # fmt: skip
    assert value_text([1, 2.5, None, True]) == "[1, 2.5, None, true]"
    assert value_text({"a": 1}) == "{'a': 1}"
    assert value_text({3, 5}) in ("[3, 5]", "[5, 3]")


def test_what_is_long_is_cut_and_says_how_long_it_is() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested, nested]
    for value, said in (
        (bytes(1 << 20), "(1,048,576 bytes)"), (list(range(1000)), "(1,000 items)"), ("x" * 10_000, "more)"),
        (2**100_000, "an integer of 100001 bits"), (nested, "a list of 2"), ({i: i for i in range(99)}, "(99 items)"),
        ({"k\x1b": "\x1b[31m"}, "\\x1b"), (object(), "object"),
    ):  # fmt: skip
        text = value_text(value)
        assert said in text
        assert len(text) < 300
        assert "\x1b" not in text
    while nested:  # without recursion
        nested = nested[0]  # type: ignore[assignment]


def test_what_is_told_in_words_is_shown_in_these(tmp_path: Path) -> None:
    import argparse

    import torch

    from qinspect.inspector.checkpoint import Value, open_checkpoint

    torch.save(
        {"m": torch.empty(3, device="meta"), "args": argparse.Namespace(lr=1), "w": torch.ones(2)}, tmp_path / "a.pt"
    )
    entries = open_checkpoint(tmp_path / "a.pt").entries
    texts = {name: value_text(e.value) for name, e in entries.items() if isinstance(e, Value)}
    assert texts["m"] == "float32 [3], without values"
    assert texts["args"].startswith("content sha256 ")
