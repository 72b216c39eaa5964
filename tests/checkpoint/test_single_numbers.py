"""Numbers read in one sweep are those that are stored, and one that cannot be read costs no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.checkpoint.single_numbers import Located, single_numbers

NUMBERS = {
    "a": torch.tensor(0.1),
    "b": torch.tensor([float("nan")]),
    "c": torch.tensor(0.3, dtype=torch.bfloat16),
    "d": torch.tensor([[1e-3]], dtype=torch.float16),
    "e": torch.tensor(448.0).to(torch.float8_e4m3fn),
    "f": torch.tensor(-7, dtype=torch.int64),
}


@pytest.fixture
def located(tmp_path: Path) -> list[Located]:
    save_file(NUMBERS, tmp_path / "model.safetensors")
    places = open_checkpoint(tmp_path / "model.safetensors").entries.places(NUMBERS)
    return [(at[0], at[1], at[2][0]) for at in places if at is not None]


def test_numbers_of_several_dtypes(located: list[Located]) -> None:
    values, read = single_numbers(located)
    assert read.all()
    np.testing.assert_array_equal(values, [float(t.double().reshape(())) for t in NUMBERS.values()])


def test_one_that_is_beyond_the_end_of_its_file(located: list[Located]) -> None:
    source, _, dtype = located[0]
    values, read = single_numbers([*located, (source, 1 << 40, dtype)])
    assert read.tolist() == [True] * len(located) + [False]
    assert np.isnan(values[-1])


def test_none() -> None:
    values, read = single_numbers([])
    assert (values.size, read.size) == (0, 0)
