"""The GPU body against numpy. It needs a CUDA device and cuda-core; the CPU bodies are tested everywhere."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

from qinspect.kernels import magnitude_counts, segmented_magnitude_counts, signed_counts


def _why_not() -> str:
    if importlib.util.find_spec("cuda") is None:
        return "cuda-core is not installed"
    import torch

    return "" if torch.cuda.is_available() else "there is no CUDA device"


WHY_NOT = _why_not()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "there is one")


def expected(x: Any, signed: bool) -> Any:
    import torch

    patterns = x.detach().reshape(-1).view(torch.int16).cpu().numpy().view(np.uint16)
    mask, bins = (0xFFFF, 65_536) if signed else (0x7FFF, 32_768)
    return np.bincount(patterns & mask, minlength=bins)


@pytest.fixture(params=["", "1"], ids=["whole table", "half tables"])
def body(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the body of cards with less shared memory."""
    monkeypatch.setenv("QINSPECT_SMALL_TABLES", request.param)


@pytest.mark.usefixtures("body")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("signed", [False, True])
def test_counts_are_numpys(dtype: str, signed: bool) -> None:
    import torch

    every = torch.arange(65_536, device="cuda").to(torch.int16).view(getattr(torch, dtype))
    x = torch.cat([every, torch.randn(1_000_001, device="cuda").to(every.dtype)])
    count = signed_counts if signed else magnitude_counts
    views = [x, x[:0], x[:1], x[:7], *(x[i : i + 70_003] for i in range(1, 9)), x[:1_000_000].view(1000, 1000).T]
    for view in (*views, x[:1_000_000].view(1000, 1000)[:, ::3]):
        np.testing.assert_array_equal(count(view).cpu().numpy(), expected(view, signed))
    together = segmented_magnitude_counts(views, signed=signed).cpu().numpy()
    for view, counts in zip(views, together, strict=True):
        np.testing.assert_array_equal(counts, expected(view, signed))


@pytest.mark.usefixtures("body")
def test_counts_add_up_in_out() -> None:
    import torch

    x = torch.randn(100_000, device="cuda").half()
    out = torch.zeros(32_768, dtype=torch.int64, device="cuda")
    for _ in range(3):
        magnitude_counts(x, out)
    np.testing.assert_array_equal(out.cpu().numpy(), 3 * expected(x, False))
