"""Numbers out of codes by torch are those of the compiled body, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from numpy.typing import NDArray
from packed_rows import by_numpy, packed_rows

from qinspect.inspector.fidelity.unpacking import numbers_of
from qinspect.kernels.packing import PackedRows

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.mark.parametrize("device", DEVICES)
@given(m=packed_rows())
def test_the_same_as_by_numpy(device: str, m: PackedRows) -> None:
    def move(values: NDArray[Any], _: str) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values).copy()).to(device)

    found, expected = numbers_of(m, move).cpu().numpy(), by_numpy(m)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    number = ~np.isnan(expected)
    assert np.array_equal(number, ~np.isnan(found))
    assert np.array_equal(found.view(np.uint32)[number], expected.view(np.uint32)[number])
