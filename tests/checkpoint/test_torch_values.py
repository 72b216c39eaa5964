"""Everything that torch's own safe loader takes, against what it gives."""

from __future__ import annotations

import collections
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import MARK, global_, refused, state_dict, storage_id, survey, text, torch_zip
from pickles import Plain, kinds, pickled, saved, shown, tensor_of, value_of

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.checkpoint.tensor import Described
from qinspect.inspector.errors import BrokenFile, CannotOpen, CannotRead
from qinspect.inspector.formats import format_of

both_kinds = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3, 4, 5])


@both_kinds
@PROTOCOLS
def test_plain_values_of_python(tmp_path: Path, zipped: bool, protocol: int) -> None:
    content = {
        "set": {"b", "a"}, "empty": set(), "frozen": frozenset({2, 1}), "of_pairs": {(1, 2)},
        "complex": 1 + 2j, "bytearray": bytearray(b"ab"), "no_bytes": bytearray(), "count": collections.Counter("aab"),
        "ordered": collections.OrderedDict(x=1), "default": collections.defaultdict(list, k=[1]), "w": torch.ones(1),
    }  # fmt: skip
    checkpoint = saved(tmp_path / "m.pt", content, zipped, protocol)
    assert shown(checkpoint) == {
        "set": {"a", "b"}, "empty": set(), "frozen": {1, 2}, "of_pairs.0.0": 1, "of_pairs.0.1": 2,
        "complex": 1 + 2j, "bytearray": bytearray(b"ab"), "no_bytes": bytearray(), "count.a": 2, "count.b": 1,
        "ordered.x": 1, "default.k.0": 1, "w": [1.0],
    }  # fmt: skip
    assert not checkpoint.notes


def test_what_the_safe_loader_takes_is_taken(tmp_path: Path) -> None:
    """The names in torch's own list: each is known here too, and none is opaque."""
    from torch import _weights_only_unpickler as safe

    from qinspect.inspector.checkpoint.torch_objects import KNOWN

    aliases = {"torch.half", "torch.float", "torch.double", "torch.cfloat", "torch.cdouble", "torch.chalf",
               "torch.short", "torch.int", "torch.long"}  # fmt: skip
    missing = [n for n in safe._get_allowed_globals() if n not in KNOWN and n not in aliases]
    backends = ("torch.cuda.", "torch.sparse.", "torch.cuda.sparse.", "torch.mtia.", "torch.xpu.", "torch.mps.")
    assert [n for n in missing if not n.startswith(backends)] == []


SPARSE = {
    "coo": lambda t: t.to_sparse(), "csr": lambda t: t.to_sparse_csr(), "csc": lambda t: t.to_sparse_csc(),
    "bsr": lambda t: t.to_sparse_bsr((2, 2)), "bsc": lambda t: t.to_sparse_bsc((2, 2)),
}  # fmt: skip
ACCESSORS = {
    "coo": ("_indices", "_values"), "csr": ("crow_indices", "col_indices", "values"),
    "csc": ("ccol_indices", "row_indices", "values"), "bsr": ("crow_indices", "col_indices", "values"),
    "bsc": ("ccol_indices", "row_indices", "values"),
}  # fmt: skip


@both_kinds
@pytest.mark.parametrize("layout", SPARSE)
@pytest.mark.filterwarnings("ignore")
def test_sparse_tensors_are_their_parts(tmp_path: Path, layout: str, zipped: bool) -> None:
    made = SPARSE[layout](torch.diag(torch.arange(1.0, 5.0)))
    checkpoint = saved(tmp_path / "m.pt", {"w": made, "dense": torch.ones(2)}, zipped)
    truth = torch.load(tmp_path / "m.pt", weights_only=True)["w"]
    for accessor in ACCESSORS[layout]:
        part = tensor_of(checkpoint, f"w.{accessor.lstrip('_')}")
        assert part.read().tolist() == getattr(truth, accessor)().tolist()
    assert kinds(checkpoint) == {"w": f"sparse_{layout} tensor"}
    assert str(value_of(checkpoint, "w")) == "[4, 4]"


@both_kinds
@pytest.mark.filterwarnings("ignore")
def test_meta_nested_and_subclasses(tmp_path: Path, zipped: bool) -> None:
    nested = torch.nested.nested_tensor([torch.ones(2), torch.zeros(3)])
    content = {"meta": torch.empty(2, 3, device="meta", dtype=torch.float16), "nested": nested}
    checkpoint = saved(tmp_path / "m.pt", content, zipped)
    assert value_of(checkpoint, "meta") == Described("meta tensor", "float16 [2, 3], without values")
    assert tensor_of(checkpoint, "nested.buffer").read().tolist() == [1, 1, 0, 0, 0]
    assert tensor_of(checkpoint, "nested.sizes").read().tolist() == [[2], [3]]


@both_kinds
def test_tensors_with_attributes(tmp_path: Path, zipped: bool) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.scale = torch.tensor(0.25)  # type: ignore[attr-defined]
    plain = torch.zeros(2)
    plain.note, plain.more = "x", [torch.ones(1)]  # type: ignore[attr-defined]
    checkpoint = saved(tmp_path / "m.pt", {"p": parameter, "t": plain}, zipped)
    assert shown(checkpoint) == {"p": [1.0, 1.0], "p.scale": 0.25, "t": [0.0, 0.0], "t.more.0": [1.0]}


@both_kinds
def test_bits_that_torch_conjugates_or_negates_are_not_taken_for_values(tmp_path: Path, zipped: bool) -> None:
    x = torch.tensor([1 + 2j, 3 - 4j])
    checkpoint = saved(tmp_path / "m.pt", {"x": x, "conj": x.conj(), "neg": torch._neg_view(torch.ones(2))}, zipped)
    assert tensor_of(checkpoint, "x").read().tolist() == x.tolist()
    for name, dtype in (("conj", "complex64 (conjugated)"), ("neg", "float32 (negated)")):
        found = tensor_of(checkpoint, name)
        assert found.dtype.name == dtype
        with pytest.raises(CannotRead, match=r"conjugated|negated"):
            found.read()


@both_kinds
def test_an_optimizer_has_dotted_names(tmp_path: Path, zipped: bool) -> None:
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    checkpoint = saved(tmp_path / "optimizer.pt", optimizer.state_dict(), zipped)
    truth = torch.load(tmp_path / "optimizer.pt", weights_only=True)
    for i in (0, 1):
        for name in ("step", "exp_avg", "exp_avg_sq"):
            assert tensor_of(checkpoint, f"state.{i}.{name}").read().tolist() == truth["state"][i][name].tolist()
    assert value_of(checkpoint, "param_groups.0.lr") == truth["param_groups"][0]["lr"]
    assert "is the state of a torch optimizer, not a model's weights" in checkpoint.notes


def test_states_of_a_trainer_are_named(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], 0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5)
    assert any("learning-rate scheduler" in n for n in saved(tmp_path / "s.pt", scheduler.state_dict()).notes)
    state = {"python": (3, tuple(range(625)), None), "numpy": ("MT19937", np.arange(624, dtype=np.uint32), 624, 0, 0.0),
             "cpu": torch.get_rng_state()}  # fmt: skip
    checkpoint = saved(tmp_path / "rng_state.pth", state)
    assert any("random number generators" in n for n in checkpoint.notes)
    assert list(checkpoint.entries) == [
        "python.0", "python.1", "python.2", "numpy.0", "numpy.1", "numpy.2", "numpy.3", "numpy.4", "cpu",
    ]  # fmt: skip
    assert tensor_of(checkpoint, "numpy.1").read().tolist() == list(range(624))


def test_one_object_without_tensors_says_what_it_is(tmp_path: Path) -> None:
    class TrainingArguments(Plain):
        """As transformers names its own."""

    TrainingArguments.__qualname__ = "TrainingArguments"
    globals()["TrainingArguments"] = TrainingArguments
    torch.save(TrainingArguments(learning_rate=1e-4), tmp_path / "training_args.bin")
    refused(
        tmp_path / "training_args.bin", CannotOpen, "is the arguments of a transformers Trainer",
        "test_torch_values.TrainingArguments", "no tensor in it", "Name the file of the weights",
    )  # fmt: skip


# --- numpy ---

ARRAYS: dict[str, Any] = {
    **{d: np.arange(6).reshape(2, 3).astype(d) for d in (
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
        "float64", "complex64", "complex128", ">i4", ">f8", ">c8", ">u2",
    )},
    "fortran": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)), "scalar": np.array(2.5), "empty": np.zeros((0, 4)),
    "strided": np.arange(10)[::2],
}  # fmt: skip


@both_kinds
@PROTOCOLS
def test_numpy_arrays_are_tensors(tmp_path: Path, zipped: bool, protocol: int) -> None:
    checkpoint = saved(tmp_path / "m.pt", {"arrays": ARRAYS, "w": torch.ones(1)}, zipped, protocol)
    for name, array in ARRAYS.items():
        found = tensor_of(checkpoint, f"arrays.{name}")
        assert found.read().dtype == array.dtype.newbyteorder("=")
        assert np.array_equal(found.read(), array)
        assert found.read().shape == array.shape
        if array.ndim == 2:
            assert np.array_equal(found.read_rows(1, 2), array[1:2])
    assert survey(tmp_path / "m.pt")


def test_arrays_of_ml_dtypes(tmp_path: Path) -> None:
    import ml_dtypes

    array = np.arange(4).astype(ml_dtypes.bfloat16)
    checkpoint = saved(tmp_path / "m.pt", {"a": array})
    assert tensor_of(checkpoint, "a").dtype.name == "bfloat16"
    assert np.array_equal(tensor_of(checkpoint, "a").read(), array)


@PROTOCOLS
def test_numpy_scalars_are_their_value(tmp_path: Path, protocol: int) -> None:
    scalars = {d: np.dtype(d).type(3) for d in ("int8", "uint64", "float16", "float32", "float64", "bool", "complex64")}
    checkpoint = saved(tmp_path / "m.pt", {**scalars, "best": np.float64(0.8125)}, protocol=protocol)
    assert shown(checkpoint) == {**{d: v.item() for d, v in scalars.items()}, "best": 0.8125}
    assert kinds(checkpoint)["best"] == "numpy float64"
    assert checkpoint.scalar("best") == 0.8125


def test_arrays_without_plain_numbers_are_not_read(tmp_path: Path) -> None:
    content = {
        "text": np.array(["ab", "c"]), "dates": np.array(["2024-01-01"], dtype="M8[D]"), "w": torch.ones(1),
        "records": np.zeros(2, dtype=[("a", "f4"), ("b", "i8")]), "objects": np.array([{"a": 1}, None], dtype=object),
        "matrix": np.ma.masked_array([1.0, 2.0], [True, False]), "text_scalar": np.str_("x"),
    }  # fmt: skip
    checkpoint = saved(tmp_path / "m.pt", content)
    assert [t.name for t in checkpoint.tensors()] == ["w"]
    assert all("not read" in kind for kind in kinds(checkpoint).values())
    assert any("6 values were not read" in n for n in checkpoint.notes)


@pytest.mark.parametrize("changed", ["shape", "bytes"])
def test_arrays_whose_bytes_do_not_fit(tmp_path: Path, changed: str) -> None:
    data = pickle.dumps({"a": np.arange(4.0)}, 3)
    old, new = (b"K\x04\x85", b"K\x05\x85") if changed == "shape" else (b"C \x00\x00", b"C\x1f\x00")
    assert old in data
    refused(torch_zip(tmp_path / "m.pt", data.replace(old, new)), BrokenFile)


# --- pickles that torch.save did not write ---


@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_pickle_of_arrays_opens(tmp_path: Path, protocol: int) -> None:
    """As model zoos keep weights in .pkl files."""
    weights = {"conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "conv.bias": np.zeros(2, np.float32)}
    checkpoint = open_checkpoint(pickled(tmp_path / "m.pkl", {"model": weights, "__author__": "x"}, protocol))
    assert checkpoint.kind == "pickle"
    for name, array in weights.items():
        assert np.array_equal(tensor_of(checkpoint, f"model.{name}").read(), array)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.filterwarnings("ignore")
def test_a_plain_pickle_of_tensors_opens(tmp_path: Path, protocol: int) -> None:
    """Each tensor's storage is a file of torch within the pickle."""
    base = torch.arange(12.0).reshape(3, 4)
    content = {"a": base, "t": base.t(), "half": torch.ones(3).half(), "p": torch.nn.Parameter(torch.ones(1))}
    checkpoint = open_checkpoint(pickled(tmp_path / "m.pkl", content, protocol))
    assert set(checkpoint.entries) == set(content)
    for name, t in content.items():
        assert tensor_of(checkpoint, name).read().tolist() == t.tolist()
    assert survey(tmp_path / "m.pkl")


@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_pickle_without_tensors_says_what_it_holds(tmp_path: Path, protocol: int) -> None:
    path = pickled(tmp_path / "m.pkl", {"vocab": {"a": 1}, "merges": [1.5, "x", None]}, protocol)
    refused(path, CannotOpen, "is a pickle, but not one that torch.save wrote", "a dictionary of 2: vocab, merges")
    refused(pickled(tmp_path / "l.pkl", [1, 2], protocol), CannotOpen, "is a pickle", "a list of 2")


@pytest.mark.parametrize("content", [b"(hello)\n", b"checkpoint\n", b"{}\n", b"c\n\n", b"(1, 2)\n", b"]", b"(dp0"])
def test_text_is_not_taken_for_an_old_pickle(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.pt").write_bytes(content)
    message = refused(tmp_path / "m.pt", CannotOpen)
    assert "is a pickle" not in message


# --- TorchScript ---


class Half(torch.nn.Module):
    """A module that compiles."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)
        self.register_buffer("scale", torch.tensor(0.5))
        self.steps = [1, 2]
        self.constant = torch.arange(3.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x) * self.scale + len(self.steps)  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore")
def test_torchscript_shows_its_tensors(tmp_path: Path) -> None:
    script = torch.jit.script(Half())
    script.save(str(tmp_path / "m.pt"))  # type: ignore[no-untyped-call]
    checkpoint = open_checkpoint(tmp_path / "m.pt")
    state = script.state_dict()
    for name, t in state.items():
        assert tensor_of(checkpoint, name).read().tolist() == t.tolist()
    assert any("TorchScript" in n for n in checkpoint.notes)
    assert survey(tmp_path / "m.pt")


@pytest.mark.filterwarnings("ignore")
def test_torchscript_shows_its_constants(tmp_path: Path) -> None:
    table = torch.arange(5.0)
    traced = torch.jit.trace(lambda x: x + table, torch.ones(5))  # type: ignore[no-untyped-call]
    traced.save(str(tmp_path / "m.pt"))
    checkpoint = open_checkpoint(tmp_path / "m.pt")
    assert tensor_of(checkpoint, "CONSTANTS.0").read().tolist() == table.tolist()


class Quantizable(torch.nn.Module):
    """A linear module and a convolution behind a stub."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.conv = torch.ao.quantization.QuantStub(), torch.nn.Conv2d(2, 3, 1)
        self.fc, self.dequant = torch.nn.Linear(4, 3), torch.ao.quantization.DeQuantStub()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(self.fc(self.conv(self.quant(x))))  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore")
def test_quantized_torchscript_has_the_scales_of_its_modules(tmp_path: Path) -> None:
    """Of weights and of outputs, as the module's state_dict has them; a dynamic module has none of its output."""
    ao: Any = torch.ao.quantization
    model = Quantizable().eval()
    model.qconfig = ao.get_default_qconfig("fbgemm")
    prepared = ao.prepare(model)
    prepared(torch.randn(2, 2, 4, 4))
    static = ao.convert(prepared)
    torch.jit.script(static).save(str(tmp_path / "static.pt"))
    fmt = format_of(open_checkpoint(tmp_path / "static.pt"))
    truth = {f"{name}:output": float(getattr(static, name).scale) for name in ("quant", "conv", "fc")}
    truth |= {f"{name}.weight": 0.0 for name in ("conv", "fc")}
    assert {r.role for r in fmt.scales()} == truth.keys()
    for record in fmt.scales():
        if record.role.endswith(":output"):
            assert float(fmt.values(record).reshape(-1)[0]) == pytest.approx(truth[record.role], rel=1e-7)
    for weight in fmt.weights():
        module = getattr(static, weight.role.removesuffix(".weight"))
        assert fmt.dequantize(weight).tolist() == module.weight().dequantize().tolist()
    assert fmt.checkpoint.scalar("conv.zero_point") == static.conv.zero_point
    dynamic = ao.quantize_dynamic(Half().eval(), {torch.nn.Linear}, dtype=torch.qint8)
    torch.jit.script(dynamic).save(str(tmp_path / "dynamic.pt"))
    fmt = format_of(open_checkpoint(tmp_path / "dynamic.pt"))
    assert [r.role for r in fmt.scales()] == ["fc.weight"]
    assert fmt.checkpoint.notes == (
        "is a TorchScript program: the tensors of its modules are shown, its code is not read",
    )
    assert survey(tmp_path / "static.pt")


# --- checksums ---


def damaged(path: Path, inside: bytes) -> Path:
    """The file with one bit of `inside`, which occurs once in it, changed."""
    data = bytearray(path.read_bytes())
    assert data.count(inside) == 1
    data[data.index(inside)] ^= 1
    path.write_bytes(data)
    return path


def test_a_storage_with_a_wrong_checksum_is_noted_when_it_was_read(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(1000.0, 1010.0), "b": torch.ones(3)}, tmp_path / "m.pt")
    damaged(tmp_path / "m.pt", torch.arange(1000.0, 1010.0).numpy().tobytes())
    checkpoint = open_checkpoint(tmp_path / "m.pt")
    assert not checkpoint.notes
    assert tensor_of(checkpoint, "b").read().tolist() == [1, 1, 1]
    assert not checkpoint.notes
    assert torch.load(tmp_path / "m.pt", weights_only=True)["a"].tolist() == tensor_of(checkpoint, "a").read().tolist()
    tensor_of(checkpoint, "a").read_range(0, 10)
    assert list(checkpoint.notes) == ["m.pt is damaged: the CRC of m/data/0 does not match its bytes"]


def test_a_pickle_with_a_wrong_checksum_is_noted(tmp_path: Path) -> None:
    torch.save({"first": torch.ones(3)}, tmp_path / "m.pt")
    checkpoint = open_checkpoint(damaged(tmp_path / "m.pt", b"first"))
    assert list(checkpoint.notes) == ["m.pt is damaged: the CRC of m/data.pkl does not match its bytes"]


def test_files_without_checksums_are_not_called_damaged(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.ones(3)}, tmp_path / "m.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    checkpoint = open_checkpoint(tmp_path / "m.pt")
    assert tensor_of(checkpoint, "a").read().tolist() == [1, 1, 1]
    assert not checkpoint.notes


def test_a_compressed_storage_is_named(tmp_path: Path) -> None:
    import zipfile

    from hostile import tensor

    with zipfile.ZipFile(tmp_path / "m.pt", "w") as z:
        z.writestr("x/data.pkl", state_dict(a=tensor()))
        z.writestr("x/code/net.py", "x" * 100, compress_type=zipfile.ZIP_DEFLATED)
        z.writestr("x/data/0", bytes(16), compress_type=zipfile.ZIP_DEFLATED)
    refused(tmp_path / "m.pt", BrokenFile, "x/data/0", "a member is compressed", "zip -0")


# --- what makes no sense ---


@pytest.mark.parametrize(
    "made",
    [
        global_("torch._utils", "_rebuild_sparse_tensor") + b"N)\x86R",
        global_("torch._utils", "_rebuild_sparse_tensor") + text("torch.sparse_coo") + b")\x86R",
        global_("torch._utils", "_rebuild_meta_tensor_no_storage") + b"N)\x86R",
        global_("torch._tensor", "_rebuild_from_type_v2") + b"NN)N" + b"(tR"[:0] + b"0000N",
        global_("torch._tensor", "_rebuild_from_type_v2") + MARK + b"NNNNtR",
        global_("builtins", "set") + b"N\x85R", global_("builtins", "complex") + text("x") + b"\x85R",
        global_("builtins", "bytearray") + b"N\x85R", global_("collections", "Counter") + b"N]\x86R",
        global_("numpy.core.multiarray", "scalar") + b"NN\x86R",
        global_("numpy", "dtype") + text("f8") + b"\x85RNb",
        global_("numpy.core.multiarray", "_reconstruct") + global_("numpy", "ndarray") + b")NNt"[:0] + b"\x85RNb",
        global_("torch.storage", "_load_from_bytes") + b"N\x85R",
        global_("torch.storage", "_load_from_bytes") + b"C\x01.\x85R",
        global_("torch", "FloatTensor") + b")RNb", global_("torch", "FloatTensor") + b")R" + b"(NNNNtb",
    ],
)  # fmt: skip
def test_known_names_with_arguments_that_make_no_sense(tmp_path: Path, made: bytes) -> None:
    path = torch_zip(tmp_path / "m.pt", state_dict(a=made))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        survey(path)


def test_old_tensors_are_their_state(tmp_path: Path) -> None:
    """torch before 0.2: a class, and the arguments of `set_`."""
    old = global_("torch", "FloatTensor") + b")\x81" + MARK + storage_id(n=4) + b"K\x01K\x03\x85K\x01\x85tb"
    path = torch_zip(tmp_path / "m.pt", state_dict(a=old), {"0": np.arange(4, dtype=np.float32).tobytes()})
    assert shown(open_checkpoint(path)) == {"a": [1.0, 2.0, 3.0]}
