"""The error of blocks of rows and columns, against the formula."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from qinspect.inspector.arguments import open_model
from qinspect.inspector.fidelity import blocks
from qinspect.inspector.fidelity.error_map import ErrorMap, error_map
from qinspect.inspector.fidelity.pairs import pairs_of
from qinspect.inspector.progress import untold


def mapped(a: np.ndarray, b: np.ndarray, to: Path, rows: int, columns: int) -> ErrorMap | None:
    for name, values in (("a", a), ("b", b)):
        save_file({"w.weight": np.ascontiguousarray(values)}, to / f"{name}.safetensors")
    pairs, _ = pairs_of(open_model(str(to / "a.safetensors")), open_model(str(to / "b.safetensors")), lambda _: None)
    return error_map(pairs[0], rows, columns, untold)


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(1, 50), st.integers(1, 50), st.integers(0, 1 << 30)
)
def test_blocks_have_the_root_of_their_mean_square(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int], rows: int, columns: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, *shape)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "UNIT_ELEMENTS", 64)  # read in several pieces
        found = mapped(a, b, tmp_path_factory.mktemp("m"), rows, columns)
    assert found is not None
    assert found.rms.shape == (min(rows, shape[0]), min(columns, shape[1]))
    assert (found.row_ends[0], found.row_ends[-1], found.column_ends[-1]) == (0, *shape)
    d = b.astype(np.float64) - a
    for i, (top, bottom) in enumerate(zip(found.row_ends, found.row_ends[1:], strict=False)):
        for j, (left, right) in enumerate(zip(found.column_ends, found.column_ends[1:], strict=False)):
            block = (slice(top, bottom), slice(left, right))
            assert found.rms[i, j] == pytest.approx(np.sqrt((d[block] ** 2).mean()), rel=1e-12)
            assert found.signal[i, j] == pytest.approx(np.sqrt((a[block].astype(np.float64) ** 2).mean()), rel=1e-12)
    assert found.whole == pytest.approx(np.sqrt((d**2).mean()), rel=1e-12)


def test_what_is_not_finite_is_left_out(tmp_path: Path) -> None:
    a, b = np.ones((4, 4), np.float32), np.full((4, 4), 3, np.float32)
    a[:2, :2] = np.nan
    b[3, 3] = np.inf
    found = mapped(a, b, tmp_path, 2, 2)
    assert found is not None
    assert np.isnan(found.rms[0, 0])
    assert found.rms[1].tolist() == [2.0, 2.0]
    assert (found.whole, found.n_excluded) == (2.0, 5)


def test_a_vector_has_no_map(tmp_path: Path) -> None:
    assert mapped(np.ones(8, np.float32), np.zeros(8, np.float32), tmp_path, 2, 2) is None
