"""What a forward shows against plain counts of the same tensors."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import Tensor

from qinspect.inspector.calibrate.counting import Counter
from qinspect.inspector.distribution import MagnitudeTable
from qinspect.inspector.errors import CannotRead


def values_of(table: MagnitudeTable) -> list[float]:
    return np.repeat(table.magnitudes, table.counts).tolist()


def magnitudes(*tensors: Tensor) -> list[float]:
    found: list[float] = sorted(torch.cat([x.float().abs().flatten() for x in tensors]).tolist())
    return found


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_counts_are_those_of_bincount(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 40, 30).to(dtype)
    counter = Counter({"p": str(dtype).removeprefix("torch.")}, frozenset({"p"}))
    counter.observe("p", x.mT)  # any strides
    (pending,) = counter.finish()
    assert values_of(pending()["p"]) == values_of(counter.pooled()["p"]) == magnitudes(x)
    if dtype != torch.float32:
        bits = x.contiguous().view(torch.int16).numpy().view(np.uint16) & 0x7FFF
        expected = np.bincount(bits.ravel(), minlength=1 << 15)
        kind = np.float16 if dtype == torch.float16 else ml_dtypes.bfloat16
        table = counter.pooled()["p"]
        patterns = table.magnitudes.astype(kind).view(np.uint16)
        assert np.array_equal(expected[patterns], table.counts)
        assert table.counts.sum() == expected.sum()


def test_a_module_that_runs_again_is_counted_again() -> None:
    a, b, c = torch.randn(2, 3, 4), torch.randn(2, 3, 4), torch.randn(2, 3, 4).float()
    counter = Counter({"kept": "float16", "pooled": "float16", "wide": "float32"}, frozenset({"kept", "wide"}))
    counter.n_batch = 2
    for x in (a, b):
        counter.observe("kept", x.half())
        counter.observe("pooled", x.half())
        counter.observe("wide", c + x)
    samples = [p() for p in counter.finish()]
    for i, tables in enumerate(samples):
        assert values_of(tables["kept"]) == magnitudes(a[i].half(), b[i].half())
        assert values_of(tables["wide"]) == magnitudes(c[i] + a[i], c[i] + b[i])
        assert "pooled" not in tables
    pooled = counter.pooled()
    assert values_of(pooled["pooled"]) == values_of(pooled["kept"]) == magnitudes(a.half(), b.half())


def test_one_sample_is_all_that_was_shown_of_it() -> None:
    """Experts and poolers take rows, without an axis of samples."""
    rows = torch.randn(7, 5).half()
    counter = Counter({"expert": "float16"}, frozenset({"expert"}))
    counter.observe("expert", rows)
    (pending,) = counter.finish()
    assert values_of(pending()["expert"]) == magnitudes(rows)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rows_of_several_samples_are_not_parted_by_guess(dtype: str) -> None:
    counter = Counter({"expert": dtype, "other": dtype}, frozenset({"expert"}))
    counter.n_batch = 2
    counter.observe("other", torch.zeros(2, 5, dtype=getattr(torch, dtype)))  # pooled: nobody asks whose rows
    with pytest.raises(CannotRead, match=r"expert: no table of each sample.*--batch"):
        counter.observe("expert", torch.zeros(2, 5, dtype=getattr(torch, dtype)))


def test_what_is_overwritten_later_was_counted() -> None:
    x = torch.ones(1, 2, 2).half()
    counter = Counter({"p": "float16"}, frozenset())
    counter.observe("p", x)
    x.mul_(3)
    counter.finish()
    assert values_of(counter.pooled()["p"]) == [1.0] * 4


def test_nothing_is_nothing() -> None:
    counter = Counter({"p": "float16", "never": "float16"}, frozenset({"p"}))
    counter.observe("p", torch.zeros(0, 4).half())
    counter.observe("stranger", torch.ones(1, 4).half())
    (pending,) = counter.finish()
    assert pending() == counter.pooled() == {}
