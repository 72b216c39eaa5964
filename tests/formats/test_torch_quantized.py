"""torch's own quantized tensors, against what torch loads and dequantizes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import MARK, global_, integer, refused, sizes, state_dict, storage_id, survey, torch_zip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pickles import Plain

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import Status, compare
from qinspect.inspector.errors import BrokenFile
from qinspect.inspector.formats import Format, Kind, format_of
from qinspect.inspector.formats.families.torch_quantized import TorchQuantizedFormat
from qinspect.inspector.values.inspection import inspect_entry

pytestmark = pytest.mark.filterwarnings("ignore")
both_kinds = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
_SETTINGS = settings(
    deadline=None, derandomize=True, database=None, max_examples=60, suppress_health_check=list(HealthCheck)
)


def saved(path: Path, content: Any, zipped: bool = True) -> Format:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return format_of(open_checkpoint(path))


def per_tensor(dtype: torch.dtype, shape: tuple[int, ...], scale: float, zero: int, seed: int = 0) -> torch.Tensor:
    """Codes over the whole range, extremes among them."""
    plain = {torch.qint8: torch.int8, torch.quint8: torch.uint8, torch.qint32: torch.int32}[dtype]
    info = torch.iinfo(plain)
    g = torch.Generator().manual_seed(seed)
    codes = torch.randint(info.min, info.max + 1, shape, generator=g, dtype=torch.int64).to(plain)
    return torch._make_per_tensor_quantized_tensor(codes, scale, zero)


def per_channel(shape: tuple[int, ...], axis: int, dtype: torch.dtype = torch.qint8, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    scales = torch.rand(shape[axis], generator=g, dtype=torch.float64) * 0.1 + 1e-3
    zeros = torch.randint(0, 9, (shape[axis],), generator=g)
    return torch.quantize_per_channel(torch.randn(shape, generator=g), scales, zeros, axis, dtype)


def float_qparams(shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    scales, zeros = torch.rand(shape[0], generator=g) * 0.1 + 0.01, torch.rand(shape[0], generator=g) * 3
    return torch.quantize_per_channel(torch.randn(shape, generator=g), scales, zeros, 0, dtype)


TENSORS: dict[str, Callable[[], torch.Tensor]] = {
    **{f"{d}_{z}": partial(per_tensor, getattr(torch, d), (5, 7), 0.0123, z) for d, z in (
        ("qint8", 0), ("qint8", -128), ("qint8", 127), ("quint8", 0), ("quint8", 255), ("quint8", 7), ("qint32", 0),
        ("qint32", 12345), ("qint32", (1 << 31) - 1), ("qint32", -(1 << 31)),
    )},
    "conv": lambda: per_tensor(torch.qint8, (3, 4, 2, 2), 0.5, 1),
    "scalar": lambda: per_tensor(torch.qint8, (), 0.5, 1),
    "vector": lambda: per_tensor(torch.quint8, (9,), 1e-3, 100),
    "empty": lambda: per_tensor(torch.qint8, (0, 3), 0.5, 0),
    "channel0": lambda: per_channel((5, 7), 0), "channel1": lambda: per_channel((5, 7), 1),
    "conv0": lambda: per_channel((3, 4, 2, 2), 0), "conv3": lambda: per_channel((2, 3, 4, 5), 3),
    "quint8": lambda: per_channel((5, 7), 0, torch.quint8), "qint32": lambda: per_channel((5, 7), 0, torch.qint32),
    "float8": lambda: float_qparams((5, 7), torch.quint8), "float4": lambda: float_qparams((5, 7), torch.quint4x2),
    "float2": lambda: float_qparams((5, 7), torch.quint2x4),
    "transposed": lambda: per_tensor(torch.qint8, (5, 7), 0.1, 3).t(),
    "last": lambda: per_channel((3, 4, 2, 2), 0).contiguous(memory_format=torch.channels_last),
}  # fmt: skip


@both_kinds
@pytest.mark.parametrize("name", TENSORS)
def test_codes_scales_and_values_are_those_of_torch(tmp_path: Path, name: str, zipped: bool) -> None:
    content = {"m": {"weight": TENSORS[name]()}}
    fmt = saved(tmp_path / "m.pt", content, zipped)
    truth = torch.load(tmp_path / "m.pt", weights_only=True)["m"]["weight"]
    assert isinstance(fmt, TorchQuantizedFormat)
    (weight,) = fmt.weights()
    (record,) = fmt.scales()
    assert (weight.name, weight.role, weight.shape) == ("m.weight", "m.weight", tuple(truth.shape) or (1,))
    assert (record.role, record.kind) == ("m.weight", Kind.WEIGHT)
    axis = None if truth.qscheme() == torch.per_tensor_affine else truth.q_per_channel_axis()
    assert record.axis == axis
    scales = torch.tensor(truth.q_scale(), dtype=torch.float64) if axis is None else truth.q_per_channel_scales()
    assert np.array_equal(fmt.values(record), scales.numpy())
    zero = fmt.checkpoint[f"m.weight.q_{'zero_point' if axis is None else 'per_channel_zero_points'}"]
    if axis is None:
        assert zero.value == truth.q_zero_point()  # type: ignore[union-attr]
    else:
        assert np.array_equal(zero.read(), truth.q_per_channel_zero_points().numpy())  # type: ignore[union-attr]
    values = truth.dequantize().numpy().reshape(weight.shape)
    assert fmt.dequantize(weight).dtype == np.float32
    assert fmt.dequantize(weight).tobytes() == values.tobytes()
    assert fmt.dequantize(weight, 1, 3).tobytes() == values[1:3].tobytes()
    if "x" not in str(truth.dtype):  # where two share a byte, torch gives the bytes
        assert np.array_equal(fmt.codes(weight), truth.int_repr().numpy().reshape(weight.shape))
    assert survey(tmp_path / "m.pt")


@_SETTINGS
@given(
    dtype=st.sampled_from([torch.qint8, torch.quint8]), scale=st.floats(1e-30, 1e30), zero=st.integers(-128, 255),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_any_scale_dequantizes_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, dtype: torch.dtype, scale: float, zero: int, seed: int
) -> None:
    low, high = (-128, 127) if dtype is torch.qint8 else (0, 255)
    made = per_tensor(dtype, (4, 33), scale, min(max(zero, low), high), seed)
    fmt = saved(tmp_path_factory.mktemp("q") / "m.pt", {"w": made})
    (weight,) = fmt.weights()
    assert fmt.dequantize(weight).tobytes() == made.dequantize().numpy().tobytes()


class Small(torch.nn.Module):
    """What torch.ao quantizes."""

    def __init__(self) -> None:
        super().__init__()
        self.quant = torch.ao.quantization.QuantStub()
        self.conv = torch.nn.Conv2d(2, 3, 3)
        self.fc = torch.nn.Linear(12, 5)
        self.dequant = torch.ao.quantization.DeQuantStub()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(self.quant(x)).flatten(1)
        return self.dequant(self.fc(x))  # type: ignore[no-any-return]


def static_model(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = Small().eval()
    engine = "fbgemm" if "fbgemm" in torch.backends.quantized.supported_engines else "qnnpack"
    torch.backends.quantized.engine = engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.qconfig = torch.ao.quantization.get_default_qconfig(engine)  # type: ignore[no-untyped-call]
        prepared = torch.ao.quantization.prepare(model)  # type: ignore[no-untyped-call]
        prepared(torch.randn(4, 2, 4, 4))
        converted: torch.nn.Module = torch.ao.quantization.convert(prepared)  # type: ignore[no-untyped-call]
    return converted


@both_kinds
def test_a_model_of_torch_ao(tmp_path: Path, zipped: bool) -> None:
    model = static_model()
    fmt = saved(tmp_path / "m.pt", model.state_dict(), zipped)
    records = {r.role: r for r in fmt.scales()}
    assert set(records) == {"quant:output", "conv.weight", "conv:output", "fc.weight", "fc:output"}
    modules = dict(model.named_modules())
    for name in ("conv", "fc"):
        module: Any = modules[name]
        (weight,) = [w for w in fmt.weights() if w.role == f"{name}.weight"]
        assert fmt.dequantize(weight).tobytes() == module.weight().dequantize().numpy().tobytes()
        assert records[f"{name}:output"].kind is Kind.ACTIVATION
        assert fmt.values(records[f"{name}:output"]) == np.float32(module.scale)
    assert fmt.role_of("fc._packed_params._packed_params.1") == "fc.bias"
    assert [t.name for t in fmt.other_tensors() if "scale" in t.name] == []
    assert "2 activation" not in fmt.description
    assert "3 activation scales" in fmt.description


def test_the_names_of_a_module_and_of_its_weight_find_the_same(tmp_path: Path) -> None:
    fmt = saved(tmp_path / "m.pt", static_model().state_dict())
    by_role = inspect_entry(fmt, "fc.weight")
    assert by_role.key == "fc._packed_params._packed_params.0"
    assert by_role.codes is not None
    assert sum(by_role.codes.values()) == 60
    assert by_role.dequantized is not None
    assert by_role.dequantized.n == 60
    assert inspect_entry(fmt, "conv.weight").dequantized.n == 54  # type: ignore[union-attr]


@pytest.mark.parametrize("whole", [False, True])
def test_a_dynamic_model_and_its_state_have_the_same_names(tmp_path: Path, whole: bool) -> None:
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
            torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU()), {torch.nn.Linear}, torch.qint8
        )
    fmt = saved(tmp_path / "m.pt", model if whole else model.state_dict())
    (weight,) = fmt.weights()
    assert (weight.role, weight.name) == ("0.weight", "0.weight")
    assert fmt.dequantize(weight).tobytes() == model[0].weight().dequantize().numpy().tobytes()
    assert [t.name for t in fmt.other_tensors() if fmt.role_of(t.name) == "0.bias"]


def test_quantized_tensors_in_an_object_keep_their_quantizer(tmp_path: Path) -> None:
    content = {"o": Plain(w=per_tensor(torch.qint8, (2, 3), 0.5, 1), c=per_channel((5, 7), 0))}
    fmt = saved(tmp_path / "m.pt", content)
    assert [r.role for r in fmt.scales()] == ["o.w", "o.c"]
    for weight, truth in zip(fmt.weights(), (content["o"].w, content["o"].c), strict=True):  # type: ignore[attr-defined]
        assert fmt.dequantize(weight).tobytes() == truth.dequantize().numpy().tobytes()


def test_two_files_whose_weight_scale_differs_are_different(tmp_path: Path) -> None:
    made = per_tensor(torch.qint8, (4, 6), 0.5, 0)
    double = torch._make_per_tensor_quantized_tensor(made.int_repr(), 1.0, 0)
    a, b = saved(tmp_path / "a.pt", {"fc.weight": made}), saved(tmp_path / "b.pt", {"fc.weight": double})
    result = compare(a, b, codes=True)
    (pair,) = result.scales
    assert (pair.role, pair.status) == ("fc.weight", Status.DIFFERENT)
    assert pair.difference is not None
    assert pair.difference.largest == 100.0


def test_two_files_whose_zero_point_differs_are_different(tmp_path: Path) -> None:
    made = per_tensor(torch.qint8, (4, 6), 0.5, 0)
    moved = torch._make_per_tensor_quantized_tensor(made.int_repr(), 0.5, 3)
    a, b = saved(tmp_path / "a.pt", {"fc.weight": made}), saved(tmp_path / "b.pt", {"fc.weight": moved})
    statuses = {p.role: p.status for p in compare(a, b, codes=True).weights}
    assert statuses["fc.weight.q_zero_point"] is Status.DIFFERENT
    channel = per_channel((5, 7), 0), per_channel((5, 7), 0, seed=4)
    a, b = (saved(tmp_path / f"{n}.pt", {"fc.weight": t}) for n, t in zip("cd", channel, strict=True))
    result = compare(a, b, codes=True)
    assert result.scales[0].status is Status.DIFFERENT
    statuses = {p.role: p.status for p in result.weights}
    assert statuses["fc.weight.q_per_channel_zero_points"] is Status.DIFFERENT


def test_other_schemes_are_not_compared_number_by_number(tmp_path: Path) -> None:
    a = saved(tmp_path / "a.pt", {"w": per_tensor(torch.qint8, (5, 7), 0.5, 0)})
    b = saved(tmp_path / "b.pt", {"w": per_channel((5, 7), 0)})
    assert compare(a, b, codes=True).scales[0].difference is None


def test_a_scale_without_a_zero_point_is_no_output_scale(tmp_path: Path) -> None:
    content = {
        "a.weight": per_tensor(torch.qint8, (2, 2), 0.5, 0),
        "norm.scale": torch.ones(4),
        "x.scale": torch.ones(1),
    }
    assert [r.role for r in saved(tmp_path / "m.pt", content).scales()] == ["a.weight"]


# --- quantizers that make no sense ---

CODES = storage_id(kind="QInt8Storage") + integer(0) + sizes(2, 2) + sizes(2, 1)


def quantized(quantizer: bytes) -> bytes:
    return global_("torch._utils", "_rebuild_qtensor") + MARK + CODES + quantizer + b"\x89NtR"


@pytest.mark.parametrize(
    "quantizer",
    [
        b"N", b")", global_("torch", "per_tensor_affine") + b"\x85",
        MARK + global_("torch", "per_tensor_affine") + b"NK\x00t",
        MARK + global_("torch", "per_tensor_affine") + b"G" + b"?" * 8 + b"Nt",
        MARK + global_("torch", "per_channel_affine") + b"]]K\x00t",
        MARK + global_("torch", "per_channel_affine") + b"](NNe](NNeK\x00t",
        MARK + global_("torch", "per_channel_affine") + b"](K\x01K\x01e](K\x01K\x01eK\x02t",
        MARK + global_("m", "other_scheme") + b"K\x01K\x00t",
    ],
)  # fmt: skip
def test_quantizers_that_make_no_sense(tmp_path: Path, quantizer: bytes) -> None:
    path = torch_zip(tmp_path / "m.pt", state_dict(a=quantized(quantizer)), {"0": bytes(4)})
    refused(path, BrokenFile, "makes no sense")


def test_lists_of_scales_as_old_torch_wrote_them(tmp_path: Path) -> None:
    one = b"](G?\xe0\x00\x00\x00\x00\x00\x00G?\xd0\x00\x00\x00\x00\x00\x00e](K\x01K\x02eK\x00t"
    quantizer = MARK + global_("torch", "per_channel_affine") + one
    path = torch_zip(tmp_path / "m.pt", state_dict(a=quantized(quantizer)), {"0": bytes([5, 6, 7, 8])})
    fmt = format_of(open_checkpoint(path))
    (weight,) = fmt.weights()
    assert fmt.dequantize(weight).tolist() == [[2.0, 2.5], [1.25, 1.5]]
