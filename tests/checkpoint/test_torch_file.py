from __future__ import annotations

import collections
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import (
    LEGACY_HEAD,
    MARK,
    PROTO,
    STOP,
    assert_one_line,
    global_,
    integer,
    opened,
    refused,
    sizes,
    state_dict,
    storage_id,
    survey,
    tensor,
    text,
    torch_legacy,
    torch_zip,
)

from qinspect.inspector.checkpoint import Checkpoint, Tensor, Value, open_checkpoint
from qinspect.inspector.checkpoint.tensor import MAX_EXPANDED_BYTES, Described
from qinspect.inspector.errors import BrokenFile, CannotOpen, CannotRead, QinspectError

DTYPES = (
    torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32, torch.uint64,
    torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
    torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz, torch.float8_e8m0fnu,
    torch.float4_e2m1fn_x2, torch.bits8, torch.bits16, torch.bits1x8, torch.bits2x4, torch.bits4x2,
)  # fmt: skip
both_kinds = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(path: Path, content: object, zipped: bool) -> Checkpoint:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return open_checkpoint(path)


def bits(t: torch.Tensor) -> bytes:
    """The elements in C order, as torch holds them."""
    made = torch.empty(t.shape, dtype=t.dtype)
    made.copy_(t)
    return bytes(torch.empty(0, dtype=torch.uint8).set_(made.untyped_storage()).tolist())


def loaded(path: Path, saved: torch.Tensor) -> torch.Tensor:
    """What torch.load gives for key `a`; of the legacy files that torch writes and cannot load, what was saved."""
    try:
        found = torch.load(path, weights_only=False)["a"]
    except AttributeError:  # UntypedStorage has no dtype
        return saved
    assert isinstance(found, torch.Tensor)
    return found


def tensor_of(checkpoint: Checkpoint, name: str) -> Tensor:
    entry = checkpoint[name]
    assert isinstance(entry, Tensor)
    return entry


# --- what it reads, against torch.load ---


@both_kinds
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_reads_to_the_bit(tmp_path: Path, dtype: torch.dtype, zipped: bool) -> None:
    raw = torch.tensor([(i * 37 + 11) % 256 for i in range(24 * dtype.itemsize)], dtype=torch.uint8)
    made = (raw % 2).view(dtype) if dtype is torch.bool else raw.view(dtype)
    made = made.reshape(4, 6)
    checkpoint = save(tmp_path / "m.bin", {"a": made}, zipped)
    truth = loaded(tmp_path / "m.bin", made)
    found = tensor_of(checkpoint, "a")
    assert found.dtype.name == str(truth.dtype).removeprefix("torch.")
    assert found.shape == tuple(truth.shape)
    assert found.read().tobytes() == bits(truth)
    assert found.read_bytes() == bits(truth)


@both_kinds
def test_complex32_is_shown_but_not_decoded(tmp_path: Path, zipped: bool) -> None:
    half = torch.arange(8, dtype=torch.float16).view(torch.complex32)
    found = tensor_of(save(tmp_path / "m.bin", {"a": half}, zipped), "a")
    assert (found.dtype.name, found.shape, found.nbytes) == ("complex32", (4,), 16)
    with pytest.raises(CannotRead, match="complex32 cannot be decoded"):
        found.read()


@both_kinds
@pytest.mark.parametrize("dtype", [torch.qint8, torch.quint8, torch.qint32], ids=str)
@pytest.mark.filterwarnings("ignore")
def test_quantized_storages_give_their_codes(tmp_path: Path, dtype: torch.dtype, zipped: bool) -> None:
    per_tensor = torch.quantize_per_tensor(torch.linspace(-1, 1, 12).reshape(3, 4), 0.02, 3, dtype)
    content = {"a": per_tensor}
    if dtype is torch.qint8:
        scales, zeros = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
        content["b"] = torch.quantize_per_channel(torch.ones(3, 4), scales, zeros, 0, dtype)
    checkpoint = save(tmp_path / "m.bin", content, zipped)
    for name, t in content.items():
        found = tensor_of(checkpoint, name)
        assert found.dtype.name == str(dtype).removeprefix("torch.")
        assert np.array_equal(found.read(), t.int_repr().numpy())


VIEWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "whole": lambda x: x,
    "transposed": lambda x: x.t(),
    "rows": lambda x: x[2:5],
    "columns": lambda x: x[:, 1:3],
    "steps": lambda x: x[::2, ::3],
    "one column": lambda x: x[:, 4],
    "scalar": lambda x: x[3, 3],
    "expanded": lambda x: x[:1].expand(7, 6),
    "expanded twice": lambda x: x[0, 0].expand(3, 4),
    "unsqueezed": lambda x: x.t()[None, :, None],
    "three": lambda x: x.reshape(2, 4, 6).permute(2, 0, 1),
    "flat overlap": lambda x: x.as_strided((5, 4), (1, 2), 3),
    "empty": lambda x: x[:0],
    "empty at the end": lambda x: x[8:],
    "empty columns": lambda x: x[:, :0].t(),
    "one element": lambda x: x[7:, 5:],
}


@both_kinds
@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int8, torch.bfloat16, torch.float8_e4m3fn], ids=str)
def test_views(tmp_path: Path, name: str, dtype: torch.dtype, zipped: bool) -> None:
    base = torch.arange(48, dtype=torch.float32).reshape(8, 6).to(dtype)
    checkpoint = save(tmp_path / "m.bin", {"a": VIEWS[name](base)}, zipped)
    truth = loaded(tmp_path / "m.bin", VIEWS[name](base))
    found = tensor_of(checkpoint, "a")
    assert found.shape == tuple(truth.shape)
    assert found.read().tobytes() == bits(truth)
    assert found.strides is None or found.strides == truth.stride()
    if truth.dim():
        assert found.read_rows(1, 3).tobytes() == bits(truth[1:3])
        back = found.transposed()
        assert back.read().tobytes() == bits(truth.permute(*reversed(range(truth.dim()))))
        assert back.transposed().read().tobytes() == bits(truth)


@both_kinds
def test_tied_and_shared_storages(tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    content = {
        "embed": base,
        "head": base,
        "again": base.view(3, 4),
        "part": base[1:],
        "t": base.t(),
        "own": base.clone(),
    }
    checkpoint = save(tmp_path / "m.bin", content, zipped)
    assert checkpoint.tied() == [["embed", "head", "again"]]
    assert checkpoint.nbytes == 48 + 32 + 48 + 48
    for name, t in content.items():
        assert tensor_of(checkpoint, name).read().tobytes() == bits(t)


@both_kinds
def test_parameters_modules_and_what_is_no_tensor(tmp_path: Path, zipped: bool) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    content = {
        "model": module.state_dict(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "step": 7, "lr": 1e-3, "name": "x", "none": None, "flag": True, "raw": b"abc", "big": 10**30,
        "list": [1, [2.0, "y"], ()], "shape": torch.Size([2, 3]), "dtype": torch.bfloat16,
        "ordered": collections.OrderedDict([("z", 1), ("a", 2)]), 5: "integer key", "device": torch.device("cpu"),
        "storage": torch.ones(2).untyped_storage(),
    }  # fmt: skip
    checkpoint = save(tmp_path / "m.bin", content, zipped)
    values = {n: e.value for n, e in checkpoint.entries.items() if isinstance(e, Value)}
    assert values == {
        "step": 7, "lr": 1e-3, "name": "x", "none": None, "flag": True, "raw": b"abc", "big": 10**30, "list.0": 1,
        "list.1.0": 2.0, "list.1.1": "y", "list.2": (), "shape.0": 2, "shape.1": 3, "dtype": "torch.bfloat16",
        "ordered.z": 1, "ordered.a": 2, "5": "integer key", "device": Described("torch.device", "('cpu')"),
    }  # fmt: skip
    assert tensor_of(checkpoint, "storage").read().tobytes() == bits(torch.ones(2))
    for name, t in module.state_dict().items():
        assert tensor_of(checkpoint, f"model.{name}").read().tobytes() == bits(t)
    assert checkpoint.scalar("big") == 1e30
    assert checkpoint.scalar("flag") is None
    assert checkpoint.scalar("step") == 7.0


@both_kinds
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(tmp_path: Path, protocol: int, zipped: bool) -> None:
    content = {"a": torch.ones(2), "b": "\u00e4", "c": [b"x", 1.5]}
    torch.save(content, tmp_path / "m.bin", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    checkpoint = open_checkpoint(tmp_path / "m.bin")
    assert list(checkpoint.entries) == ["a", "b", "c.0", "c.1"]
    assert tensor_of(checkpoint, "a").read().tolist() == [1.0, 1.0]


@both_kinds
def test_one_tensor_or_a_list_at_the_root(tmp_path: Path, zipped: bool) -> None:
    assert list(save(tmp_path / "t.bin", torch.ones(2), zipped).entries) == ["tensor"]
    assert list(save(tmp_path / "l.bin", [torch.ones(2), 3], zipped).entries) == ["0", "1"]
    assert not save(tmp_path / "e.bin", {}, zipped).entries


@both_kinds
@pytest.mark.parametrize("content", [None, 5, "text", 1.5, True])
def test_a_root_that_is_no_container(tmp_path: Path, content: object, zipped: bool) -> None:
    torch.save(content, tmp_path / "m.bin", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "m.bin", BrokenFile, "no dictionary of tensors", "state_dict")


@both_kinds
def test_names_that_clash_when_joined(tmp_path: Path, zipped: bool) -> None:
    torch.save({"a.b": 1, "a": {"b": 2}}, tmp_path / "m.bin", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "m.bin", BrokenFile, "key a.b", "two entries have the same name")


@both_kinds
def test_every_truncation_is_one_error(tmp_path: Path, zipped: bool) -> None:
    save(tmp_path / "m.bin", {"a": torch.ones(3), "b": 1.5}, zipped)
    data = (tmp_path / "m.bin").read_bytes()
    damaged = tmp_path / "d.bin"
    for n in range(1, len(data), max(1, len(data) // 200)):
        damaged.write_bytes(data[:n])
        with pytest.raises(QinspectError) as caught:
            open_checkpoint(damaged)
        assert "d.bin" in assert_one_line(caught.value)


# --- tensors that do not fit their storage ---


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((5,), (1,), 0), ((4,), (1,), 1), ((4,), (2,), 0), ((2, 3), (3, 1), 0), ((2, 2), (2, 2), 0), ((1,), (1,), 4),
        ((), (), 4), ((1,), (1,), 1 << 62), ((1,), (1,), 1 << 200), ((1 << 62,), (1,), 0),
        ((1 << 40, 1 << 40), (0, 0), 0),
        ((1 << 600,), (0,), 0), ((2,), (1 << 600,), 0), ((0, 1 << 100), (1, 1), 0), ((0, 1 << 40), (1, 1), 0),
        ((-1,), (1,), 0), ((4,), (-1,), 3), ((4,), (1,), -1), ((4,), (), 0), ((), (1,), 0), ((1,) * 33, (1,) * 33, 0),
        ((1,), (1 << 60,), 0),
    ],
    ids=lambda x: str(x)[:40],
)  # fmt: skip
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_tensors_beyond_their_storage(
    tmp_path: Path, shape: tuple[int, ...], strides: tuple[int, ...], offset: int, zipped: bool
) -> None:
    pickled = state_dict(a=tensor(shape, strides, offset))
    path = tmp_path / "m.bin"
    if zipped:
        torch_zip(path, pickled, {"0": bytes(16)})
    else:
        torch_legacy(path, pickled, ["0"], struct.pack("<q", 4) + bytes(16))
    assert "m.bin" in refused(path, BrokenFile)


@pytest.mark.parametrize("part", ["shape", "strides"])
@pytest.mark.parametrize("value", [b"N", b"]", integer(4), text("4"), b"\x88\x85", text("4") + b"\x85", b"]\x85"])
def test_shapes_that_are_no_sizes(tmp_path: Path, part: str, value: bytes) -> None:
    shape, strides = (value, sizes(1)) if part == "shape" else (sizes(4), value)
    pickled = state_dict(
        a=global_("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + storage_id()
        + integer(0)
        + shape
        + strides
        + b"\x89NtR"
    )
    refused(torch_zip(tmp_path / "m.bin", pickled, {"0": bytes(16)}), BrokenFile, "makes no sense")


def test_a_stride_that_is_never_taken(tmp_path: Path) -> None:
    pickled = state_dict(a=tensor((1, 3), (1 << 55, 1)), b=tensor((1,), (1 << 55,), 3))
    checkpoint = open_checkpoint(torch_zip(tmp_path / "m.bin", pickled, {"0": struct.pack("<4f", 1, 2, 3, 4)}))
    assert [t.read().tolist() for t in checkpoint.tensors()] == [[[1.0, 2.0, 3.0]], [4.0]]


def test_an_empty_tensor_may_stand_behind_its_storage(tmp_path: Path) -> None:
    t = opened(torch_zip(tmp_path / "m.bin", state_dict(a=tensor((0, 3), (3, 1), 1 << 40)), {"0": bytes(16)}))
    assert t.read().shape == (0, 3)
    assert t.read_bytes() == b""


@pytest.mark.parametrize(
    ("shape", "strides"),
    [((MAX_EXPANDED_BYTES,), (0,)), ((1 << 20, 1 << 20), (0, 1 << 1)), ((1 << 24, 4), (0, 1)), ((4, 1 << 24), (1, 0))],
)
def test_expanded_views_are_not_materialised(tmp_path: Path, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    strides = tuple(min(s, 1) if d == 4 else 0 for d, s in zip(shape, strides, strict=True))
    checkpoint = open_checkpoint(torch_zip(tmp_path / "m.bin", state_dict(a=tensor(shape, strides)), {"0": bytes(16)}))
    t = tensor_of(checkpoint, "a")
    assert t.expanded
    assert checkpoint.tensor("a") is None
    for read in (t.read, lambda: t.read_rows(0, 1), lambda: t.transposed().read_rows(0, 1)):
        with pytest.raises(CannotRead, match="expanded view") as caught:
            read()
        assert_one_line(caught.value)
    assert survey(tmp_path / "m.bin")


def test_a_module_of_expanded_views_cannot_ask_for_memory(tmp_path: Path) -> None:
    huge = tensor((1 << 30, 1 << 20), (0, 0), storage=storage_id(kind="CharStorage"))
    one = tensor((), (), storage=storage_id("1", n=1))
    m = "backbone.layers.0.mixer."
    keys = {f"{m}{name}.weight": huge for name in ("in_proj", "conv1d", "x_proj", "dt_proj", "out_proj")}
    keys |= {f"{m}{name}.{part}": one for name in ("in_proj", "x_proj", "dt_proj", "out_proj") for part in "ab"}
    path = torch_zip(tmp_path / "m.bin", state_dict(**keys), {"0": bytes(16), "1": bytes(4)})
    assert survey(path)


def test_one_storage_with_two_types(tmp_path: Path) -> None:
    pickled = state_dict(a=tensor(), b=tensor(storage=storage_id(kind="IntStorage")))
    refused(torch_zip(tmp_path / "m.bin", pickled, {"0": bytes(16)}), BrokenFile, "storage 0", "two types")


# --- legacy files ---

LEGACY = state_dict(a=tensor())


@pytest.mark.parametrize("keys", [[], ["1"], ["0", "0"], ["0", "1"], [0], None, "0", {"0": 1}, [["0"]], [None]])
def test_legacy_storage_lists_that_do_not_match(tmp_path: Path, keys: object) -> None:
    path = torch_legacy(tmp_path / "m.bin", LEGACY, keys, struct.pack("<q", 4) + bytes(16))
    refused(path, BrokenFile, "list of storages does not match")


def test_legacy_storage_list_with_an_exponential_text(tmp_path: Path) -> None:
    laughs = PROTO + b"N" + b"q\x00h\x00\x86" * 100 + b"\x85" + STOP
    (tmp_path / "m.bin").write_bytes(LEGACY_HEAD + LEGACY + laughs)
    refused(tmp_path / "m.bin", BrokenFile, "list of storages does not match")


@pytest.mark.parametrize("n", [5, 1 << 40, -1, 1 << 62, -(1 << 63)])
def test_legacy_storage_sizes_that_lie(tmp_path: Path, n: int) -> None:
    path = torch_legacy(tmp_path / "m.bin", LEGACY, ["0"], struct.pack("<q", n) + bytes(16))
    refused(path, BrokenFile, "storage", "beyond the end of the file")


def test_legacy_storage_that_is_smaller_than_its_tensor(tmp_path: Path) -> None:
    path = torch_legacy(tmp_path / "m.bin", LEGACY, ["0"], struct.pack("<q", 3) + bytes(16))
    refused(path, BrokenFile, "storage 0", "shorter than the pickle says", "expected 16 bytes", "found 12 bytes")


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"a": 1}, 2), pickle.dumps(5, 2), pickle.dumps([1, 2], 5),
        pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1000, 2),
    ],
)  # fmt: skip
def test_pickles_that_torch_did_not_write(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.pt").write_bytes(data)
    refused(tmp_path / "m.pt", CannotOpen, "not one that torch.save wrote", "qinspect runs no pickle")


@pytest.mark.parametrize("system", [{"little_endian": False}, {}, None, [], {"little_endian": 1}])
def test_legacy_files_of_other_machines(tmp_path: Path, system: Any) -> None:
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps(system, 2)
    (tmp_path / "m.pt").write_bytes(head + LEGACY)
    refused(tmp_path / "m.pt", CannotOpen, "big-endian")


def view_of_storage(first: int, n: int) -> bytes:
    view = MARK + text("storage") + global_("torch", "FloatStorage") + text("0") + text("cpu") + integer(4)
    return view + text("1") + integer(first) + integer(n) + b"\x87tQ"


def test_legacy_views_of_storages(tmp_path: Path) -> None:
    """torch before 0.4 wrote what two tensors share as views of one storage. Newer ones read such a file or fail to
    resize its storage, so the truth is what was packed."""
    parts = {"a": tensor((2,), storage=view_of_storage(2, 2)), "b": tensor((4,), storage=view_of_storage(0, 4))}
    path = torch_legacy(tmp_path / "m.bin", state_dict(**parts), ["0"], struct.pack("<q4f", 4, 1, 2, 3, 4))
    checkpoint = open_checkpoint(path)
    found = {n: tensor_of(checkpoint, n).read().tolist() for n in "ab"}
    assert found == {"a": [3, 4], "b": [1, 2, 3, 4]}


@pytest.mark.parametrize(("first", "n"), [(3, 2), (0, 5), (-1, 2), (4, 1)])
def test_legacy_views_beyond_their_storage(tmp_path: Path, first: int, n: int) -> None:
    pickled = state_dict(a=tensor((1,), storage=view_of_storage(first, n)))
    path = torch_legacy(tmp_path / "m.bin", pickled, ["0"], struct.pack("<q", 4) + bytes(16))
    refused(path, BrokenFile, "view of a storage is malformed")


def test_a_legacy_view_of_a_storage_that_is_shorter_than_the_pickle_says(tmp_path: Path) -> None:
    pickled = state_dict(a=tensor((2,), storage=view_of_storage(2, 2)))
    path = torch_legacy(tmp_path / "m.bin", pickled, ["0"], struct.pack("<q", 2) + bytes(8))
    refused(path, BrokenFile, "storage 0", "shorter than the pickle says")


def test_integer_beyond_the_floats(tmp_path: Path) -> None:
    torch.save({"a.scale": 10**400, "b.scale": torch.tensor(1j), "c": 1}, tmp_path / "m.bin")
    checkpoint = open_checkpoint(tmp_path / "m.bin")
    assert checkpoint.scalar("a.scale") is None
    assert checkpoint.scalar("b.scale") is None
    assert survey(tmp_path / "m.bin")
