"""The error by size and by channel, against the formula."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from qinspect.inspector.arguments import open_model
from qinspect.inspector.fidelity import blocks
from qinspect.inspector.fidelity.pairs import pairs_of
from qinspect.inspector.fidelity.profiles import ErrorProfiles, error_profiles, mean_by_size
from qinspect.inspector.progress import untold


def profiled(a: np.ndarray, b: np.ndarray, to: Path) -> ErrorProfiles:
    for name, values in (("a", a), ("b", b)):
        save_file({"w.weight": np.ascontiguousarray(values)}, to / f"{name}.safetensors")
    pairs, _ = pairs_of(open_model(str(to / "a.safetensors")), open_model(str(to / "b.safetensors")), lambda _: None)
    return error_profiles(pairs[0], untold)


@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(0, 1 << 30))
def test_sums_by_size_and_by_channel(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a = (rng.standard_normal(shape) * 2.0 ** rng.integers(-20, 20, shape)).astype(np.float32)
    a[rng.random(shape) < 0.1] = 0.0
    b = (a * (1 + 0.1 * rng.standard_normal(shape)) + 0.1).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "UNIT_ELEMENTS", 64)  # read in several pieces
        found = profiled(a, b, tmp_path_factory.mktemp("m"))
    x, d = a.astype(np.float64), b.astype(np.float64) - a
    assert found.noise == pytest.approx((d**2).sum(axis=1), rel=1e-12)
    assert found.signal == pytest.approx((x**2).sum(axis=1), rel=1e-12)
    assert found.largest_a.tolist() == np.abs(x).max(axis=1).tolist()
    assert found.largest_b.tolist() == np.abs(b.astype(np.float64)).max(axis=1).tolist()
    assert found.n_zero == np.count_nonzero(a == 0)
    assert found.zero_squares == pytest.approx((d[a == 0] ** 2).sum(), rel=1e-12)
    assert found.counts.sum() == np.count_nonzero(a)
    assert found.squares.sum() == pytest.approx((d[a != 0] ** 2).sum(), rel=1e-12)
    for i in np.flatnonzero(found.counts):
        inside = (np.abs(x) >= found.edges[i] * (1 - 1e-12)) & (np.abs(x) < found.edges[i + 1] * (1 + 1e-12))
        assert np.count_nonzero(inside) >= found.counts[i]
    assert mean_by_size(np.abs(x[x != 0]), np.full(np.count_nonzero(x), 3.0))[found.counts > 0] == pytest.approx(3.0)


def test_what_is_not_finite_is_left_out(tmp_path: Path) -> None:
    a, b = np.ones((4, 4), np.float32), np.full((4, 4), 3, np.float32)
    a[0, 0], b[3, 3] = np.nan, np.inf
    found = profiled(a, b, tmp_path)
    assert (found.n_excluded, found.n_zero, found.counts.sum()) == (2, 0, 14)
    assert found.noise.tolist() == [12.0, 16.0, 16.0, 12.0]
    assert found.sqnr == pytest.approx(np.full(4, 10 * np.log10(1 / 4)))


def test_a_vector_has_no_channels(tmp_path: Path) -> None:
    found = profiled(np.ones(8, np.float32), np.zeros(8, np.float32), tmp_path)
    assert found.noise.size == 0
    assert found.squares.sum() == 8
