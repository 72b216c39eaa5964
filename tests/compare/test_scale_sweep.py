"""Scales that are read in sweeps: what is said of them is what a look at each says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from qinspect.inspector.arguments import open_model
from qinspect.inspector.compare import FIRST_SCREENFUL, Comparison, ScalePair, Status, compare, sweep
from qinspect.inspector.compare.difference import difference_of, differences_of_rows
from qinspect.inspector.formats import Format

DTYPES = (np.float16, np.float32, np.float64, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn)
SHAPES = ((), (1,), (48, 1), (6, 9), (0,), (3000,))


def scales(dtype: Any, shape: tuple[int, ...], n: int = 60) -> list[NDArray[Any]]:
    rng = np.random.default_rng(7)
    return [rng.uniform(0.5, 4, shape).astype(dtype) for _ in range(n)]


def model(folder: Path, values: list[NDArray[Any]], n_files: int = 1) -> Format:
    """A model with these scales, and one number more for every third."""
    folder.mkdir()
    files: list[dict[str, NDArray[Any]]] = [{} for _ in range(n_files)]
    for i, scale in enumerate(values):
        module = f"model.layers.{i // 4}.mlp.experts.{i % 4}.up_proj"
        file = files[i % n_files]
        file[f"{module}.weight"] = np.full((4, 2), i, np.int32)
        file[f"{module}.weight_scale"] = scale
        if i % 3 == 0:
            file[f"{module}.input_scale"] = np.array(1 + i, np.float32)
    for number, file in enumerate(files, 1):
        save_file(file, folder / f"model-{number:05}-of-{n_files:05}.safetensors")
    return open_model(str(folder))


def one_by_one(a: Format, b: Format, patch: pytest.MonkeyPatch) -> Comparison:
    with patch.context() as patched:
        patched.setattr(sweep, "shared_records", lambda *_: None)
        return compare(a, b, codes=False)


def changed(values: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """All kinds of differences: up, down, both, NaN, zero, a negative number, infinity, everywhere, none."""
    made = []
    for i, old in enumerate(values):
        new = old.copy()
        cells = new.reshape(-1)
        if cells.size:
            how = i % 11
            cell = cells[i % cells.size : i % cells.size + 1]
            if how == 1:
                cell[:] = cell * cell.dtype.type(2)
            elif how == 2:
                cells[:] = cells * cells.dtype.type(0.5)
            elif how == 3:
                cells[::2] = cells[::2] * cells.dtype.type(0.5)
                cells[1::2] = cells[1::2] * cells.dtype.type(2)
            elif how < 8 and how > 3:
                cell[:] = (np.nan, 0.0, -1.0, np.inf)[how - 4]
        made.append(new)
    return made


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # float8 has no infinity
def test_as_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: Any, shape: tuple[int, ...]) -> None:
    values = scales(dtype, shape)
    a, b = model(tmp_path / "a", values), model(tmp_path / "b", changed(values))
    for pair in ((a, b), (b, a), (b, b)):
        quick, slow = compare(*pair, codes=False), one_by_one(*pair, monkeypatch)
        assert list(map(repr, quick.scales)) == list(map(repr, slow.scales))  # NaN is not equal to itself
        assert (repr(quick.summary), quick.headline, quick.reasons) == (repr(slow.summary), slow.headline, slow.reasons)
        assert quick.same == slow.same
        assert len(quick.scales) == 80


def test_files_cut_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = scales(np.float16, (48, 1))
    a, b = model(tmp_path / "a", values, 3), model(tmp_path / "b", changed(values), 3)
    assert sweep.shared_records(a, b) is not None
    quick, slow = compare(a, b, codes=False), one_by_one(a, b, monkeypatch)
    assert list(map(repr, quick.scales)) == list(map(repr, slow.scales))
    assert {p.status for p in quick.scales} == {Status.IDENTICAL, Status.DIFFERENT}


def test_a_file_that_became_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = scales(np.float16, (48, 1))
    a, b = model(tmp_path / "a", values), model(tmp_path / "b", values)
    file = next((tmp_path / "b").iterdir())
    file.write_bytes(file.read_bytes()[:-900])
    quick, slow = compare(a, b, codes=False), one_by_one(a, b, monkeypatch)
    assert list(map(repr, quick.scales)) == list(map(repr, slow.scales))
    broken = [p for p in quick.scales if p.status is Status.BROKEN]
    assert 0 < len(broken) < 20
    assert "became shorter" in broken[0].note


def test_the_first_screenful_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = scales(np.float16, (8,), 400)
    a, b = model(tmp_path / "a", values), model(tmp_path / "b", changed(values))
    got: list[tuple[list[ScalePair], bool]] = []
    done: list[int] = []

    def progress(_: str, n: int, of: int) -> None:
        done.append(n)
        assert of == 534

    found = compare(a, b, False, progress, lambda pairs, complete: got.append((pairs, complete)))
    assert [(len(pairs), complete) for pairs, complete in got] == [(FIRST_SCREENFUL, False), (534, True)]
    slow = one_by_one(a, b, monkeypatch)
    assert [p.status for p in got[0][0]] == [p.status for p in slow.scales[:FIRST_SCREENFUL]]
    assert got[1][0] == list(found.scales)
    assert done[:2] == [0, FIRST_SCREENFUL]


@given(
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.lists(st.lists(st.integers(0, 2**16 - 1), min_size=6, max_size=6), min_size=1, max_size=5),
    st.integers(0, 5),
)
def test_differences_of_rows(dtype: Any, bits: list[list[int]], at: int) -> None:
    """Any bits at all: the same as of each pair alone."""
    width = np.dtype(dtype).itemsize
    a = (np.array(bits, np.uint64) << np.uint64(8 * width - 16)).astype(f"u{width}").view(dtype)
    b = a.copy()
    b.view(f"u{width}")[:, at] ^= 1
    expected = [difference_of([(x, y)], (2, 3), False) for x, y in zip(a, b, strict=True)]
    assert list(map(repr, differences_of_rows(a, b, (2, 3)))) == list(map(repr, expected))
