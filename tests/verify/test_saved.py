"""Activations out of files: every kind gives the same values, and what gives none is one error."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from safetensors.torch import save_file

from qinspect.inspector.errors import BrokenFile, CannotOpen, CannotRead, QinspectError, UnknownKey
from qinspect.inspector.verify import saved
from qinspect.inspector.verify.activations import Activations, count_on_cpu
from qinspect.inspector.verify.npy import open_npy
from qinspect.inspector.verify.saved import read_saved, tensors_of

X = np.random.default_rng(5).standard_normal((3, 7, 11)).astype(np.float32)


def read(path: Path, key: str | None = None, **options: Any) -> Activations:
    return read_saved(str(path), tensors_of(str(path), key), count_on_cpu(0), **options)


def values(found: Activations) -> list[list[float]]:
    """Magnitudes of each sample, ascending."""
    return [t.values().tolist() for t in found.tables]


def magnitudes(samples: Any) -> list[list[float]]:
    return [np.sort(np.abs(np.asarray(x, np.float32)).reshape(-1)).tolist() for x in samples]


def npy(dtype: Any, order: Callable[[NDArray[Any]], NDArray[Any]] = np.ascontiguousarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.save(folder / "x.npy", order(X.astype(dtype)))
        return folder / "x.npy"

    return write


def torch_file(make: Callable[[torch.Tensor], Any], name: str = "x.pt") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        made = make(torch.from_numpy(X))
        if name.endswith(".safetensors"):
            save_file(made, folder / name)
        else:
            torch.save(made, folder / name)
        return folder / name

    return write


@pytest.mark.parametrize(
    "write",
    [
        npy(np.float32), npy(np.float64), npy(np.float32, np.asfortranarray),
        torch_file(lambda t: t), torch_file(lambda t: {"act": t, "n": 3}), torch_file(lambda t: t.double()),
        torch_file(lambda t: t.transpose(0, 2).contiguous().transpose(0, 2)),
        torch_file(lambda t: {"act": t}, "x.safetensors"),
    ],
)  # fmt: skip
def test_every_kind_of_file_has_the_same_samples(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path)
    assert values(read(path)) == magnitudes(X)
    found = read(path, one_sample=True)
    assert values(found) == magnitudes([X])
    assert sorted(np.abs(found.first).tolist()) == magnitudes([X])[0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_small_types_are_counted_exactly(dtype: str, tmp_path: Path) -> None:
    path = torch_file(lambda t: {"act": t.to(getattr(torch, dtype))}, "x.safetensors")(tmp_path)
    found = read(path)
    assert found.exact
    assert found.dtype == dtype
    assert values(found) == magnitudes(X.astype(getattr(ml_dtypes, dtype, np.float16)))


def test_one_dimension_is_one_sample(tmp_path: Path) -> None:
    for x in (X[0, 0], np.float32(-3.5)):
        np.save(tmp_path / "x.npy", x)
        assert values(read(tmp_path / "x.npy")) == magnitudes([x])


def test_bits_that_numpy_cannot_name_are_told(tmp_path: Path) -> None:
    path = npy(ml_dtypes.bfloat16)(tmp_path)
    with pytest.raises(CannotRead, match=r"not activations.*raw 16 bits.*--dtype bfloat16"):
        read(path)
    assert values(read(path, raw="bfloat16")) == magnitudes(X.astype(ml_dtypes.bfloat16))
    raw = torch_file(lambda t: {"act": t.half().view(torch.int16)}, "x.safetensors")(tmp_path)
    assert values(read(raw, raw="float16")) == magnitudes(X.astype(np.float16))
    with pytest.raises(CannotRead, match=r"says what its values are.*Leave --dtype out"):
        read(npy(np.float32)(tmp_path), raw="bfloat16")


def test_tensors_that_match_are_samples_in_natural_order(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({f"call.{i}": torch.full((i + 1,), float(i)) for i in (10, 2, 1)}, path)
    found = read(path, "call.*")
    assert values(found) == [[1.0] * 2, [2.0] * 3, [10.0] * 11]
    assert found.keys == ("call.1", "call.2", "call.10")
    assert values(read(path, "call.2")) == [[2.0] * 3]
    assert values(read(path, "call.*", one_sample=True)) == [[1.0] * 2 + [2.0] * 3 + [10.0] * 11]
    with pytest.raises(UnknownKey, match=r"no key was given.*found 3 tensors: call.1, call.2, call.10"):
        read(path)
    with pytest.raises(UnknownKey, match="no tensor matches"):
        read(path, "other*")
    with pytest.raises(UnknownKey, match=r"the nearest call.2"):
        read(path, "call.3")


def test_large_samples_are_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "CHUNK_VALUES", 10)
    found = read(npy(np.float32)(tmp_path))
    assert values(found) == magnitudes(X)
    assert found.first.size == 10


def test_more_values_than_torch_takes_have_numpys_quantile(tmp_path: Path) -> None:
    n = (1 << 24) + 3
    x = np.random.default_rng(0).integers(0, 0x7C00, n, dtype=np.uint16).view(np.float16)
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(RuntimeError, match="too large"):
        torch.quantile(torch.from_numpy(x.astype(np.float32)), 0.5)
    found = read(tmp_path / "x.npy")
    alphas = [0.5, 0.99999, 1.0]
    assert found.exact
    np.testing.assert_array_equal(found.pooled.quantile(alphas, "float64"), np.quantile(x.astype(np.float64), alphas))


def test_a_float64_beyond_float32_is_infinite_and_said(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([1.0, 1e300]))
    found = read(tmp_path / "x.npy")
    assert (found.pooled.n_inf, found.pooled.n_finite) == (1, 1)
    assert "rounded to float32" in found.notes[0]


Refused = tuple[str, Callable[[Path], object], type[QinspectError], str]
REFUSED: list[Refused] = [
    ("x.npy", lambda p: np.save(p, np.arange(3)), CannotRead, "not activations; expected float16.*found int64"),
    ("x.npy", lambda p: np.save(p, np.ones(2, np.complex64)), CannotRead, "found complex64"),
    ("x.npy", lambda p: np.save(p, np.array([True])), CannotRead, "found bool"),
    ("x.npy", lambda p: np.save(p, np.array(["a"])), CannotRead, "not numbers; expected floats"),
    ("x.npy", lambda p: np.save(p, np.zeros((0, 4))), CannotRead, r"no values.*found shape \[0, 4\]"),
    ("x.npy", lambda p: np.save(p, np.zeros((4, 0))), CannotRead, "no values"),
    ("x.npy", lambda p: np.save(p, np.zeros((70_000, 1))), CannotRead, "too many samples.*found 70,000.*--one-sample"),
    ("x.npy", lambda p: np.save(p, X.astype(">f4")), CannotRead, "big-endian.*newbyteorder"),
    ("x.npy", lambda p: np.save(p, np.zeros(2, [("a", "f4")])), CannotRead, "holds structures"),
    ("x.npy", lambda p: np.save(p, np.array([{}], object)), CannotRead, "Python objects.*runs no pickle"),
    ("x.npy", lambda p: p.write_bytes(b""), BrokenFile, "header is damaged"),
    ("x.npy", lambda p: p.write_bytes(b"hello"), BrokenFile, "header is damaged"),
    ("x.npy", lambda p: p.write_bytes(b"\x93NUMPY\x03\x00" + b" " * 99), BrokenFile, "version 3.0"),
    ("x.npz", lambda p: np.savez(p, a=X), CannotOpen, "is an .npz archive"),
    ("x.pt", lambda p: torch.save({"a": 3}, p), CannotOpen, "holds no tensor"),
    ("x.pt", lambda p: torch.save({"a": torch.ones(2, dtype=torch.int8)}, p), CannotRead, "key a: .*found int8"),
    ("x.pt", lambda p: p.write_bytes(b"\x80\x02cos\nsystem\n."), QinspectError, "x.pt"),
    ("x.safetensors", lambda p: p.write_bytes(b"\xff" * 20), BrokenFile, "x.safetensors"),
]


@pytest.mark.parametrize(("name", "write", "error", "says"), REFUSED)
def test_what_holds_no_activation_is_one_error(
    name: str, write: Callable[[Path], object], error: type[QinspectError], says: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(error, match=says) as e:
        read(tmp_path / name)
    assert e.value.file == str(tmp_path / name)


def test_a_key_that_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(UnknownKey, match="no name"):
        read(npy(np.float32)(tmp_path), "x")
    path = torch_file(lambda t: {"act": t, "n": 3})(tmp_path)
    with pytest.raises(UnknownKey, match="key n: is not a tensor; expected a tensor; found python int"):
        read(path, "n")
    with pytest.raises(CannotOpen, match="no such file"):
        read(tmp_path / "none.npy")


@given(
    st.sampled_from(["float16", "float32", "float64"]).flatmap(
        lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5), elements=st.just(1))
    ),
    st.booleans(),
)
def test_npy_handles_are_what_numpy_saved(
    tmp_path_factory: pytest.TempPathFactory, x: NDArray[Any], fortran: bool
) -> None:
    x = np.arange(x.size).reshape(x.shape).astype(x.dtype)
    path = tmp_path_factory.mktemp("npy") / "x.npy"
    np.save(path, np.asfortranarray(x) if fortran else x)
    found = open_npy(path).read()
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found, x)


def _saved(x: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, x)
    return stream.getvalue()


HEADERS = [_saved(X), _saved(np.asfortranarray(X.astype(np.float16)))]


@given(st.sampled_from(HEADERS), st.lists(st.tuples(st.integers(0, 140), st.integers(0, 255)), max_size=4), st.data())
def test_a_damaged_npy_is_an_answer_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, changes: list[tuple[int, int]], data: st.DataObject
) -> None:
    damaged = bytearray(whole)
    for at, byte in changes:
        damaged[at] = byte
    path = tmp_path_factory.mktemp("npy") / "x.npy"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))])
    try:
        n = read(path).pooled.n
    except QinspectError as e:  # no other kind may come
        n = 0
        where = e.file
    else:
        where = str(path)
    assert where == str(path)
    assert n <= path.stat().st_size
