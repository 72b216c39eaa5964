"""Counts equal to the plain reference for every pattern, shape, stride, alignment and body."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from qinspect.kernels import N_PATTERNS, magnitude_counts, reference, segmented_magnitude_counts, signed_counts
from qinspect.kernels.compiled import library
from qinspect.kernels.cpu import BODY_VARIABLE, body_name

ALL = np.arange(N_PATTERNS, dtype=np.uint16)
BODIES = ("numpy", pytest.param("compiled", marks=pytest.mark.skipif(not library("counts.c"), reason="no C compiler")))


@pytest.fixture(params=BODIES, autouse=True)
def body(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(BODY_VARIABLE, request.param)
    return str(request.param)


def check(x: NDArray[Any]) -> None:
    assert np.array_equal(magnitude_counts(x), reference.magnitude_counts(x))
    assert np.array_equal(signed_counts(x), reference.signed_counts(x))


def test_the_body_is_the_one_that_was_asked_for(body: str) -> None:
    assert body_name() == body


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.uint16, np.int16])
def test_every_pattern_is_counted_once_with_its_sign_and_twice_without(dtype: Any) -> None:
    x = ALL.view(dtype)  # NaNs with all payloads, both infinities, both zeros, all subnormals
    assert (magnitude_counts(x) == 2).all()
    assert (signed_counts(x) == 1).all()


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 65_535, 65_536, 65_543, 131_073, 300_001])
def test_sizes_around_every_switch_between_ways(n: int) -> None:
    rng = np.random.default_rng(n)
    check(rng.integers(0, N_PATTERNS, n, np.uint16))
    check(np.where(rng.random(n) < 0.9, 0, rng.standard_normal(n)).astype(np.float16))
    check(np.full(n, -1.5, ml_dtypes.bfloat16))


VIEWS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "scalar": lambda x: x[0, 0, 0],
    "transposed": lambda x: x.T,
    "strided": lambda x: x[:, ::3, 1::2],
    "backwards": lambda x: x[::-1, :, ::-1],
    "broadcast": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "empty": lambda x: x[:, :0, ::2],
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_that_are_not_contiguous(name: str) -> None:
    x = np.random.default_rng(0).standard_normal((130, 50, 67)).astype(np.float16)
    check(np.asarray(VIEWS[name](x)))


@pytest.mark.parametrize("n", [1000, 100_000])
def test_views_that_are_not_aligned(n: int) -> None:
    raw = np.random.default_rng(1).integers(0, 256, 2 * n + 1, np.uint8)
    x = raw[1:].view(np.float16)
    assert not x.flags.aligned
    check(x)
    check(x[::-2])


@given(arrays(np.uint16, st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple)))
def test_any_array(x: NDArray[np.uint16]) -> None:
    check(x)
    check(x.T[..., ::2])


def test_counts_are_added_to_a_table_that_is_given() -> None:
    x = ALL.view(np.float16)
    out = magnitude_counts(x)
    assert magnitude_counts(x[:100], out) is out
    assert out.sum() == N_PATTERNS + 100
    assert out[0] == 3


def test_segments_give_a_table_each() -> None:
    rng = np.random.default_rng(2)
    x = rng.integers(0, N_PATTERNS, (40, 25), np.uint16)
    offsets = np.array([0, 0, 1, 400, 400, 1000])
    tables = segmented_magnitude_counts(x, offsets)
    parts = [x.reshape(-1)[a:b] for a, b in pairwise(offsets)]
    assert np.array_equal(tables, [reference.magnitude_counts(p) for p in parts])
    assert np.array_equal(segmented_magnitude_counts([p[::-1] for p in parts]), tables)
    assert segmented_magnitude_counts(parts, out=tables) is tables
    assert tables.sum() == 2 * x.size
    assert segmented_magnitude_counts([]).shape == (0, 32768)
    signed = segmented_magnitude_counts(x, offsets, signed=True)
    assert np.array_equal(signed, [reference.signed_counts(p) for p in parts])


@pytest.mark.parametrize("offsets", [[0, 5], [1, 10], [0, 7, 6, 10], [[0, 10]], []])
def test_offsets_that_do_not_cut_the_array_are_refused(offsets: Any) -> None:
    with pytest.raises(ValueError, match="lead from 0 to 10"):
        segmented_magnitude_counts(np.zeros(10, np.float16), offsets)


@pytest.mark.parametrize("x", [np.zeros(3, np.float32), np.zeros(2, np.int8), np.zeros(2, ">f2"), np.zeros(1, "S2")])
def test_other_elements_are_refused(x: NDArray[Any]) -> None:
    with pytest.raises(TypeError, match="counts are of"):
        magnitude_counts(x)


@pytest.mark.parametrize("out", [np.zeros(3, np.int64), np.zeros(32768, np.int32), np.zeros(65536, np.int64)[::2], [0]])
def test_tables_that_do_not_fit_are_refused(out: Any) -> None:
    with pytest.raises(ValueError, match="out must be"):
        magnitude_counts(np.zeros(1, np.float16), out)


def test_tensors_of_torch_on_the_cpu_are_counted() -> None:
    torch = pytest.importorskip("torch")
    x = torch.arange(-500, 500, dtype=torch.bfloat16).reshape(10, 100).T
    assert np.array_equal(magnitude_counts(x), reference.magnitude_counts(x.contiguous().view(torch.int16).numpy()))
    assert segmented_magnitude_counts([x, x[:0]])[:, :].sum() == 1000
    with pytest.raises(TypeError, match="float32"):
        magnitude_counts(x.float())


def test_cuda_tensors_go_to_the_gpu_body_with_their_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the GPU body is given; the body itself is tested where there is a GPU."""
    torch = pytest.importorskip("torch")
    from qinspect.kernels import counts, cuda_counts

    given: list[Any] = []
    monkeypatch.setattr(counts, "_is_cuda", lambda x: isinstance(x, torch.Tensor))
    monkeypatch.setattr(cuda_counts, "cuda_counts", lambda *arguments: given.append(arguments))
    monkeypatch.setattr(cuda_counts, "cuda_segmented_counts", lambda *arguments: given.append(arguments))
    x = torch.arange(12, dtype=torch.bfloat16).reshape(3, 4)
    magnitude_counts(x)
    signed_counts(x, "out")
    assert [(out, signed) for _, out, signed in given] == [(None, False), ("out", True)]
    segmented_magnitude_counts(x, [0, 5, 5, 12])
    segmented_magnitude_counts([x, x[:1]], signed=True)
    assert [signed for *_, signed in given] == [False, True, False, True]
    assert [[part.numel() for part in parts] for parts, _, _ in given[2:]] == [[5, 0, 7], [12, 4]]
    with pytest.raises(TypeError, match="float32"):
        magnitude_counts(x.float())
    with pytest.raises(TypeError, match="float32"):
        segmented_magnitude_counts([x, x.float()])


def test_without_a_compiler_or_a_place_of_its_own_numpy_counts(tmp_path: Path, body: str) -> None:
    """Each in a fresh process: no compiler and an empty cache, one that others may write to, one with a broken file."""
    shared = tmp_path / "shared"
    (shared / "kernels").mkdir(parents=True)
    os.chmod(shared / "kernels", 0o777)
    program = (
        "import numpy as np\n"
        "from qinspect.kernels import magnitude_counts\nfrom qinspect.kernels.cpu import body_name\n"
        "assert magnitude_counts(np.ones(9, np.float16)).sum() == 9; print(body_name())"
    )
    found = {}
    own, path = tmp_path / "own", os.environ["PATH"]
    cases = (("bare", "", tmp_path / "empty"), ("shared", path, shared), ("own", path, own), ("broken", path, own))
    for name, path, cache in cases:
        if name == "broken":
            for kept in (own / "kernels").glob("*.so"):
                kept.write_bytes(b"")
        environment = {**os.environ, "PATH": path, "QINSPECT_CACHE_DIR": str(cache)}
        environment.pop(BODY_VARIABLE)
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        found[name] = done.stdout.strip()
    assert found["bare"] == "numpy"
    assert found["shared"] == found["own"] == found["broken"] == ("compiled" if library("counts.c") else "numpy")
    assert not list((shared / "kernels").iterdir())
