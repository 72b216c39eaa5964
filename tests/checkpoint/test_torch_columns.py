"""Tensors of torch files as rows of columns, against what torch itself loads."""

from __future__ import annotations

import gc
import io
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qinspect.inspector.checkpoint import Checkpoint, Tensor, Value, open_checkpoint
from qinspect.inspector.checkpoint.dtypes import DType
from qinspect.inspector.checkpoint.pickle_objects import Global, Record
from qinspect.inspector.checkpoint.pickle_walker import PickleWalker
from qinspect.inspector.checkpoint.source import Memory
from qinspect.inspector.checkpoint.torch_objects import KNOWN
from qinspect.inspector.checkpoint.torch_shortcut import TensorShortcut
from qinspect.inspector.checkpoint.torch_storage import Storage, TorchTensor, storage_from_id
from qinspect.inspector.errors import QinspectError

_SETTINGS = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
N_BEFORE = 60
"""Tensors before those that matter: the first of a file are written otherwise than all that follow."""
both_kinds = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def many(n: int = N_BEFORE) -> OrderedDict[str, Any]:
    return OrderedDict((f"layers.{i}.weight", torch.arange(i % 7 + 6.0).reshape(1, -1)) for i in range(n))


def save(path: Path, content: object, zipped: bool = True) -> Checkpoint:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return open_checkpoint(path)


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(node, (dict, list, tuple)):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        return {k: v for key, value in items for k, v in flat(value, f"{prefix}.{key}" if prefix else str(key)).items()}
    return {prefix: node}


def assert_as_torch_loads(checkpoint: Checkpoint) -> None:
    """Names in order, shapes, strides, values, ties: all as in what torch makes of the file."""
    truth = flat(torch.load(checkpoint.path, weights_only=True))
    assert list(checkpoint.entries) == list(truth)
    for name, made in truth.items():
        entry = checkpoint[name]
        if not isinstance(made, torch.Tensor):
            assert isinstance(entry, Value)
            assert entry.value == made
            continue
        assert isinstance(entry, Tensor)
        assert (entry.name, entry.dtype.name, entry.shape) == (name, str(made.dtype)[6:], tuple(made.shape))
        assert entry.strides == (None if made.is_contiguous() else made.stride())
        np.testing.assert_array_equal(entry.read(), made.detach().numpy())
    views: dict[tuple[object, ...], list[str]] = {}
    for name, t in truth.items():
        if isinstance(t, torch.Tensor) and t.numel():
            key = (t.untyped_storage().data_ptr(), t.storage_offset(), t.dtype, t.shape, t.stride())
            views.setdefault(key, []).append(name)
    assert checkpoint.tied() == [names for names in views.values() if len(names) > 1]
    assert checkpoint.nbytes == sum(t.numel() * t.element_size() for t in (truth[n[0]] for n in views.values()))


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """A state of tensors of all kinds, with plain values and containers among them."""
    whole = torch.arange(48.0).reshape(6, 8)
    codes = torch.arange(300, dtype=torch.int32)
    kinds: dict[str, Callable[[], Any]] = {
        "own": lambda: torch.arange(12.0).reshape(3, 4).clone(),
        "transposed": lambda: torch.arange(12.0).reshape(3, 4).t(),
        "rows": lambda: whole[2:4],
        "column": lambda: whole[:, 3],
        "whole": lambda: whole,
        "again": lambda: whole.view(6, 8),
        "flat": lambda: whole.view(-1),
        "codes": lambda: codes,
        "some codes": lambda: codes[256:],
        "number": lambda: torch.tensor(3),
        "empty": lambda: torch.zeros(0, 4),
        "expanded": lambda: torch.zeros(1).expand(5, 4),
        "four": lambda: torch.zeros(1, 2, 1, 2),
        "parameter": lambda: torch.nn.Parameter(torch.ones(2, 2)),
        "value": lambda: 0.25,
        "nested": lambda: {"exp_avg": torch.ones(3), "step": torch.tensor(1.0)},
        "list": lambda: [torch.zeros(2), 4, whole],
    }
    found = draw(st.lists(st.sampled_from(sorted(kinds)), max_size=40))
    return {**many(draw(st.sampled_from([0, 20, N_BEFORE]))), **{f"x{i}": kinds[k]() for i, k in enumerate(found)}}


@both_kinds
@_SETTINGS
@given(content=contents())
def test_a_file_is_what_torch_loads(tmp_path: Path, zipped: bool, content: dict[str, Any]) -> None:
    checkpoint = save(tmp_path / "x.bin", content, zipped)
    assert_as_torch_loads(checkpoint)
    checkpoint.close()


def test_an_optimizer_behind_its_model(tmp_path: Path) -> None:
    """Its keys are written once, and its parameters' numbers are keys."""
    model = torch.nn.Sequential(*[torch.nn.Linear(3, 3) for _ in range(40)])
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    path = tmp_path / "x.pt"
    assert_as_torch_loads(save(path, {"model": model.state_dict(), "optimizer": optimizer.state_dict()}))


@both_kinds
def test_no_handle_stays(tmp_path: Path, zipped: bool) -> None:
    checkpoint = save(tmp_path / "x.bin", many(), zipped)

    def handles() -> int:
        found = [o for o in gc.get_objects() if issubclass(type(o), (Tensor, Storage))]
        return sum(o.file is checkpoint.files[0] for o in found)

    assert handles() == 0
    held = checkpoint["layers.3.weight"]
    assert handles() == 2, held  # it and its storage
    del held
    assert handles() == 0


def test_tied_tensors_stay_tied_in_handles_made_anew(tmp_path: Path) -> None:
    state = many()
    state["head"] = state["layers.8.weight"].view(1, -1)
    checkpoint = save(tmp_path / "x.bin", state)
    a, b = checkpoint.tensor("head"), checkpoint.tensor("layers.8.weight")
    other = checkpoint.tensor("layers.9.weight")
    assert a is not None
    assert b is not None
    assert other is not None
    assert a.location == b.location != other.location


def test_a_damaged_storage_is_noted_whichever_handle_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    torch.save(many(), path)
    torch_reader: Any = torch._C.PyTorchFileReader(str(path))  # its stubs lack the method
    raw = bytearray(path.read_bytes())
    raw[torch_reader.get_record_offset("data/5")] ^= 1
    path.write_bytes(raw)
    checkpoint = open_checkpoint(path)
    assert not checkpoint.notes
    for _ in range(2):
        for tensor in checkpoint.tensors():
            tensor.read()
    assert checkpoint.notes == ("x.bin is damaged: the CRC of x/data/5 does not match its bytes",)
    assert len(checkpoint.files[0].notes) == 1


def large(first: float, sizes: int = 6) -> OrderedDict[str, torch.Tensor]:
    return OrderedDict((f"model.layers.{i}.mlp.weight", torch.full((2, sizes), first + i)) for i in range(600))


def test_a_second_file_with_the_same_pickle_has_its_own_bytes(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a.bin", large(0)), save(tmp_path / "b.bin", large(1000))
    assert_as_torch_loads(a)
    assert_as_torch_loads(b)
    assert a.entries.blocks[0].names is b.entries.blocks[0].names


def test_a_second_file_with_the_same_pickle_and_less_in_it_is_damaged(tmp_path: Path) -> None:
    whole, short = tmp_path / "a.bin", tmp_path / "b.bin"
    torch.save(large(0), whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(short, "w") as made:
        for name in source.namelist():
            content = source.read(name)
            made.writestr(name, content[:-4] if name == "a/data/300" else content)
    a = open_checkpoint(whole)
    with pytest.raises(QinspectError, match="storage is shorter than the pickle says"):
        open_checkpoint(short)
    a.close()


# --- With and without the shortcut ---


def pickled(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))


def walked(raw: bytes, fast: bool, known: Mapping[str, Global] = KNOWN) -> str:
    """All of what a pickle holds, or the error."""
    storages: dict[str, Storage] = {}
    file = Memory(b"", Path("x.bin"))

    def find(key: str, dtype: DType, n: int) -> Storage:
        return Storage(key, dtype, dtype.nbytes(n), file, 0, lambda *_: 0)

    walker = PickleWalker(
        raw, file.path, known, lambda pid: storage_from_id(pid, find, file, storages),
        shortcut=TensorShortcut(find, storages) if fast else None,
    )  # fmt: skip
    try:
        return f"{told(walker.load())} {walker.position} {list(walker.calls.globals)}"
    except QinspectError as e:
        return f"{type(e).__name__} {e}"


def told(node: Any, depth: int = 0) -> object:
    if depth > 20:
        return "..."
    if isinstance(node, dict):
        return {repr(k): told(v, depth + 1) for k, v in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(told(x, depth + 1) for x in node)
    if isinstance(node, TorchTensor):
        return "tensor", node.storage.key, node.dtype.name, node.shape, node.strides, node._start, node.storage.nbytes
    if isinstance(node, Storage):
        return "storage", node.key
    if isinstance(node, Global):
        return node.name
    return (node.name, told(node.args, depth + 1), told(node.state, depth + 1)) if isinstance(node, Record) else node


SHARED = torch.arange(30.0)
ONE = torch.ones(3)
RAW = pickled(
    {**many(), "a": SHARED[3:], "b": SHARED.reshape(5, 6), "c": ONE, "d": {"e": ONE}, "f": torch.zeros(2).half()}
)


def test_the_shortcut_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    build = KNOWN["torch._utils._rebuild_tensor_v2"].build
    assert build is not None

    def counting(*args: object) -> object:
        made.append(args)
        return build(*args)

    counted = Global("torch._utils._rebuild_tensor_v2", counting)
    monkeypatch.setattr("qinspect.inspector.checkpoint.torch_shortcut._NEW", counted)
    assert "layers.59.weight" in walked(RAW, True, {**KNOWN, counted.name: counted})
    assert 0 < len(made) < 40


@settings(_SETTINGS, max_examples=400)
@given(st.data())
def test_damage_is_told_alike_with_the_shortcut(data: st.DataObject) -> None:
    raw = bytearray(RAW)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from(list(b"()tqrhjKMJXR.u\x85\x86\x94"))))
    assert walked(bytes(raw), fast=True) == walked(bytes(raw), fast=False)


@settings(_SETTINGS, max_examples=300)
@given(st.data())
def test_what_was_passed_over_can_be_referred_to(data: st.DataObject) -> None:
    """An entry more at the end, which is whatever the opcodes before have numbered; and numbers given a second time."""
    raw = RAW
    for _ in range(data.draw(st.integers(1, 4))):
        number, other = (struct.pack("<I", data.draw(st.integers(0, 560))) for _ in range(2))
        put = data.draw(st.sampled_from([b"", b"r" + other]))
        raw = raw[:-2] + b"X\x01\0\0\0zj" + number + put + raw[-2:]
    assert walked(raw, fast=True) == walked(raw, fast=False)


def test_a_number_given_twice_is_no_other_tensor() -> None:
    """The shape of one tensor under the number that another's name has: a later reference means the shape."""
    name = RAW.index(b"layers.50.weightr") + len(b"layers.50.weightr")
    shape = RAW.index(b"K\x06\x86r", name) + 4
    raw = RAW[:shape] + RAW[name : name + 4] + RAW[shape + 4 : -2] + b"X\x01\0\0\0zj" + RAW[name : name + 4] + b"u."
    found = walked(raw, fast=True)
    assert found == walked(raw, fast=False)
    assert "(1, " in found.rpartition("'z'")[2]
