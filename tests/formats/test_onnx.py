"""ONNX: against the values that ONNX Runtime makes, and against the torch model that was exported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hostile import assert_clean
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_files import array_of, node, pair, part, tensor, write_model
from peer_truth import folder, needs_fixtures, same_bits
from safetensors.numpy import load_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.cli import main
from qinspect.inspector.compare import compare
from qinspect.inspector.compare.results import Status
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.formats.records import Kind, Quantity, QuantizedWeight

DATA = Path(__file__).parents[1] / "data"
EXPORTED = DATA / "onnx_of_torch"
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))


def opened(path: Path) -> Format:
    fmt = format_of(open_checkpoint(path))
    assert fmt.family == "onnx"
    return fmt


def by_name(fmt: Format) -> dict[str, QuantizedWeight]:
    return {w.name: w for w in fmt.weights()}


def as_stored(fmt: Format, weight: QuantizedWeight, shape: Sequence[int]) -> np.ndarray:
    """All values in the order of the initializer, after rows one by one gave the same."""
    found = fmt.dequantize(weight)
    rows = [fmt.dequantize(weight, i, i + 3) for i in range(0, weight.shape[0], 3)]
    assert same_bits(np.concatenate(rows), found)
    assert fmt.codes(weight, 1, 2).shape == (min(1, weight.shape[0] - 1), *weight.shape[1:])
    turned = fmt.checkpoint.tensor(weight.codes_key)
    assert turned is not None
    assert found.shape == weight.shape
    return found if found.shape == tuple(shape) else found.swapaxes(-1, -2)


# --- to the bit ---


@needs_fixtures
@pytest.mark.parametrize("name", ["onnx_qdq_per_channel", "onnx_qdq_per_tensor"])
def test_qdq_is_the_librarys_to_the_bit(name: str) -> None:
    fmt, truth = opened(folder(name) / "model" / "model.onnx"), load_file(folder(name) / "expected.safetensors")
    assert not fmt.problems()
    assert {w.codes_key for w in fmt.weights()} == set(truth)
    for weight in fmt.weights():
        assert same_bits(as_stored(fmt, weight, truth[weight.codes_key].shape), truth[weight.codes_key])
    assert {w.name: w.shape for w in fmt.weights() if len(w.shape) == 2} == {
        "fc1.weight": (256, 128), "fc2.weight": (128, 256), "head.weight": (64, 128)
    }  # fmt: skip


@needs_fixtures
@pytest.mark.parametrize("name", ["onnx_matmulnbits_asym", "onnx_matmulnbits_sym"])
def test_matmulnbits_is_the_librarys_to_a_rounding_of_its_product(name: str) -> None:
    """The truth is a product with the identity, [in, out]."""
    fmt, truth = opened(folder(name) / "model" / "model.onnx"), load_file(folder(name) / "expected.safetensors")
    assert {w.codes_key for w in fmt.weights()} == set(truth)
    for weight in fmt.weights():
        assert np.abs(fmt.dequantize(weight).T - truth[weight.codes_key]).max() <= 2e-7


def test_every_kind_of_qdq_is_the_librarys_to_the_bit() -> None:
    """Blocks of int4 along either axis, rows that share bytes, channels of Gemm, Conv and Gather, float16 scales that
    round what comes out, 16 and 32 bits, small floats, stacks: by onnxruntime's DequantizeLinear."""
    fmt, truth = (
        opened(DATA / "onnx_kinds" / "model" / "model.onnx"),
        load_file(DATA / "onnx_kinds/expected.safetensors"),
    )
    assert (fmt.problems(), {w.codes_key for w in fmt.weights()}) == ((), set(truth))
    for weight in fmt.weights():
        expected = truth[weight.codes_key]
        assert same_bits(as_stored(fmt, weight, expected.shape), expected), weight.name
    rows = {w.name: w.shape[0] for w in fmt.weights() if w.name.startswith("chan")}
    assert rows == {f"chan.{k}.weight": n for k, n in
                    {"int8_gemm": 6, "int8_gemmt": 6, "uint8_conv": 4, "uint8_gather": 9}.items()}  # fmt: skip


def test_scales_that_are_codes_themselves() -> None:
    """FP4 with FP8 scales that a DequantizeLinear of their own scales (NVFP4 of ModelOpt): by onnx's reference."""
    path = DATA / "onnx_two_level"
    fmt, truth = opened(path / "model" / "model.onnx"), load_file(path / "expected.safetensors")
    assert (fmt.description, fmt.problems(), fmt.other_tensors()) == ("ONNX QDQ: NVFP4", (), [])
    assert {w.codes_key for w in fmt.weights()} == set(truth)
    for weight in fmt.weights():
        assert same_bits(as_stored(fmt, weight, truth[weight.codes_key].shape), truth[weight.codes_key])
    assert [r.quantity for r in fmt.scales()] == [Quantity.SCALE, Quantity.GLOBAL_SCALE] * 2


def test_every_kind_of_blocks_is_the_librarys() -> None:
    """MatMulNBits of 2, 4 and 8 bits with a ragged last block, GatherBlockQuantized: by onnxruntime, of the first as a
    product with the identity, which rounds where zero points are fractions and where scales are float16."""
    path = DATA / "onnx_blocks"
    fmt, truth = opened(path / "model" / "model.onnx"), load_file(path / "expected.safetensors")
    assert (fmt.problems(), {w.codes_key for w in fmt.weights()}) == ((), set(truth))
    for weight in fmt.weights():
        found, expected = as_stored(fmt, weight, truth[weight.codes_key].shape), truth[weight.codes_key]
        if "half" in weight.name:
            found = found.astype(np.float16).astype(np.float32)
        if weight.name in ("nbits.b4_float_zero.weight", "nbits.b4_index.weight"):
            assert np.abs(found - expected).max() <= 1e-6
        else:
            assert np.array_equal(found, expected), weight.name
    zeros = [r for r in fmt.scales() if r.quantity is Quantity.ZERO_POINT and r.role.startswith("nbits.b4_zero_flat")]
    assert fmt.values(zeros[0]).shape == (6, 3)


# --- the model that was exported ---


@pytest.mark.parametrize("name", ["qdq", "qoperator", "dynamic"])
def test_weights_are_those_of_the_torch_model(name: str) -> None:
    """Named and turned as torch has them, within half a step: of ONNX Runtime's quantizers, over torch's exporter."""
    fmt, base = opened(EXPORTED / f"{name}.onnx"), load_file(EXPORTED / "base.safetensors")
    assert not fmt.problems()
    scales = {r.role: float(np.max(fmt.values(r))) for r in fmt.scales() if r.quantity is Quantity.SCALE}
    named = {w.name: w for w in fmt.weights() if not w.name.startswith("onnx::LSTM")}
    layers = {f"layers.{i}.{p}_proj.weight" for i in range(2) for p in "qko"}
    assert layers | {"embed.weight", "conv.0.weight", "conv.2.weight", "head.weight"} <= set(named) <= set(base)
    for key, weight in named.items():
        assert np.abs(fmt.dequantize(weight) - base[key]).max() <= 0.51 * scales[weight.role], key
    said = "6 weights that the file only numbers are called after the module that the node is from that uses it"
    assert any(note.startswith(said) for note in fmt.notes())


def test_a_dynamic_lstm_is_the_exported_one() -> None:
    """Its weights are stored the other way round than the LSTM has them."""
    fmt, plain = opened(EXPORTED / "dynamic.onnx"), open_checkpoint(EXPORTED / "float.onnx")
    found = {w.name: w for w in fmt.weights() if w.name.startswith("onnx::LSTM")}
    assert len(found) == 2
    for key, weight in found.items():
        original = plain.tensor(key)
        assert original is not None
        step = float(np.max(fmt.values(next(r for r in fmt.scales() if r.role == weight.role))))
        assert np.abs(fmt.dequantize(weight) - original.read()).max() <= 0.51 * step
    assert len(fmt.dynamic()) == 7


@pytest.mark.parametrize("name", ["float.onnx", "exported/model.onnx"])
def test_a_model_in_full_precision_pairs_with_the_torch_model(name: str) -> None:
    """By the older and the newer exporter of torch, the latter with its weights in a file of their own."""
    base, fmt = format_of(open_checkpoint(EXPORTED / "base.safetensors")), opened(EXPORTED / name)
    found = {w.role: w for w in compare(base, fmt).weights if w.a is not None and w.b is not None}
    assert {r for r in found if "lstm" not in r} >= {f"layers.{i}.{p}_proj.weight" for i in range(2) for p in "qko"}
    assert len(found) == 15
    assert {w.status for w in found.values()} <= {Status.IDENTICAL, Status.EQUAL}


def test_inputs_and_outputs_of_modules_have_their_scales() -> None:
    for name in ("qdq", "qoperator"):
        fmt = opened(EXPORTED / f"{name}.onnx")
        points = {r.role for r in fmt.scales() if r.kind is Kind.ACTIVATION and r.quantity is Quantity.SCALE}
        inputs = {f"layers.{i}.{p}_proj:input" for i in range(2) for p in "qko"}
        assert inputs | {"conv.0:input", "head:input", "head:output", "/layers.0/Mul_output_0:value"} <= points


def test_commands_take_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(EXPORTED / "qdq.onnx")
    assert main(["scales", path]) == 0
    assert "layers.0.q_proj.weight" in capsys.readouterr().out
    assert main(["lint", path]) == 0
    assert "no finding" in capsys.readouterr().out
    assert main(["tree", path]) == 0
    assert "weight_scale" in capsys.readouterr().out
    assert main(["dequantize", path, str(tmp_path / "w.safetensors")]) == 0
    capsys.readouterr()
    written = load_file(tmp_path / "w.safetensors")
    assert written["layers.0.k_proj.weight"].shape == (8, 16)
    assert main(["diff", path, str(EXPORTED / "qoperator.onnx")]) in (0, 1)
    assert "Traceback" not in capsys.readouterr().out


# --- by the graph alone ---

CODES = np.arange(-12, 12, dtype=np.int8).reshape(4, 6)
PER_COLUMN = array_of("float32", [0.5, 1, 2, 4, 8, 16])


def qdq(path: Path, user: Sequence[bytes]) -> Format:
    back = node("DequantizeLinear", ["w_quantized", "s"], ["w"], axis=1)
    tensors = [tensor("w_quantized", CODES), tensor("s", PER_COLUMN)]
    return format_of(open_checkpoint(write_model(path, tensors, [back, *user])))


@pytest.mark.parametrize(
    ("user", "turned"),
    [
        ([node("MatMul", ["x", "w"], ["y"])], True),
        ([node("MatMul", ["w", "x"], ["y"])], False),
        ([node("Gemm", ["x", "w"], ["y"])], True),
        ([node("Gemm", ["x", "w"], ["y"], transB=1)], False),
        ([node("Cast", ["w"], ["c"], to=10), node("MatMul", ["x", "c"], ["y"])], True),
        ([node("Transpose", ["w"], ["t"], perm=[1, 0]), node("MatMul", ["x", "t"], ["y"])], False),
        ([node("Transpose", ["w"], ["t"], perm=[1, 0]), node("Gather", ["t", "i"], ["y"])], True),
        ([node("Gather", ["w", "i"], ["y"]), node("MatMul", ["x", "w"], ["z"])], False),
        ([], False),
    ],
    ids=["matmul", "first", "gemm", "gemm-t", "cast", "transposed", "gather-t", "two", "nobody"],
)
def test_rows_are_outputs_where_the_graph_says_so(tmp_path: Path, user: list[bytes], turned: bool) -> None:
    """Of two uses that do not agree, and of none, the tensor is as it is stored."""
    fmt = qdq(tmp_path / "m.onnx", user)
    (weight,) = fmt.weights()
    expected = CODES.astype(np.float32) * PER_COLUMN
    assert weight.shape == ((6, 4) if turned else (4, 6))
    assert same_bits(fmt.dequantize(weight), expected.T if turned else expected)
    assert weight.grid.axes == ((0,) if turned else (1,))
    assert np.array_equal(fmt.codes(weight), CODES.T if turned else CODES)


@pytest.mark.parametrize(
    ("name", "scopes", "module"),
    [
        ("/model/layers.0/q_proj/MatMul", "", "layers.0.q_proj"),
        ("/layer1/layer1.0/conv1/Conv_quant", "", "layer1.0.conv1"),
        ("node_linear", "['', 'layers.0', 'layers.0.q_proj', 'linear']", "layers.0.q_proj"),
        ("node_linear", "['', __import__('os')]", ""),
        ("/MatMul", "", ""),
        ("", "", ""),
    ],
)
@pytest.mark.parametrize("key", ["onnx::MatMul_12", "val_7"])
def test_a_number_for_a_name(tmp_path: Path, key: str, name: str, scopes: str, module: str) -> None:
    nodes = [
        node("DequantizeLinear", [f"{key}_quantized", "s"], ["w"]),
        node("MatMul", ["x", "w"], ["y"], name=name, scopes=scopes),
    ]
    tensors = [tensor(f"{key}_quantized", CODES), tensor("s", np.float32(2))]
    fmt = opened(write_model(tmp_path / "m.onnx", tensors, nodes))
    (weight,) = fmt.weights()
    assert weight.role == (f"{module}.weight" if module else key)
    assert any("only numbers" in note for note in fmt.notes()) == bool(module)


def test_weights_that_differ_in_their_root_are_two(tmp_path: Path) -> None:
    nodes, tensors = [], [tensor("s", np.float32(2))]
    for name in ("model.fc", "fc"):
        nodes += [node("DequantizeLinear", [f"{name}.weight_quantized", "s"], [name])]
        tensors += [tensor(f"{name}.weight_quantized", CODES)]
    fmt = opened(write_model(tmp_path / "m.onnx", tensors, nodes))
    assert [w.role for w in fmt.weights()] == ["model.fc.weight", "fc.weight"]


def test_two_weights_of_one_module_keep_their_numbers(tmp_path: Path) -> None:
    nodes, tensors = [], [tensor("s", np.float32(2))]
    for i in range(2):
        nodes += [node("DequantizeLinear", [f"onnx::MatMul_{i}_quantized", "s"], [f"w{i}"])]
        nodes += [node("MatMul", ["x", f"w{i}"], [f"y{i}"], name="/attn/MatMul")]
        tensors += [tensor(f"onnx::MatMul_{i}_quantized", CODES)]
    fmt = opened(write_model(tmp_path / "m.onnx", tensors, nodes))
    assert [w.role for w in fmt.weights()] == ["onnx::MatMul_0", "onnx::MatMul_1"]


@pytest.mark.parametrize(
    ("scale", "zero", "words"),
    [
        (tensor("s", np.ones(5, np.float32)), None, "scales of axis 1"),
        (tensor("s", np.ones((4, 6), np.float32)), None, "scales of axis 1"),
        (tensor("s", np.ones(6, np.int32)), None, "floats"),
        (None, None, "scales that the graph calculates"),
        (tensor("s", PER_COLUMN), tensor("z", np.zeros(4, np.int8)), "zero points of shape [6]"),
    ],
    ids=["too few", "two axes", "integers", "stripped", "zero points"],
)
def test_what_does_not_fit_is_a_problem(tmp_path: Path, scale: bytes | None, zero: bytes | None, words: str) -> None:
    """And the module beside it is understood."""
    tensors = [tensor("w_quantized", CODES), tensor("v_quantized", CODES), tensor("t", PER_COLUMN)]
    tensors += [t for t in (scale, zero) if t is not None]
    nodes = [
        node("DequantizeLinear", ["w_quantized", "s", *(["z"] if zero else [])], ["w"]),
        node("DequantizeLinear", ["v_quantized", "t"], ["v"]),
    ]
    fmt = opened(write_model(tmp_path / "m.onnx", tensors, nodes))
    (problem,) = fmt.problems()
    assert words in str(problem.error)
    assert [w.name for w in fmt.weights()] == ["v"]


@pytest.mark.parametrize("attributes", [{"bits": 9}, {"block_size": 0}, {"N": -1}, {"K": 1 << 40}, {"bits": 1}])
def test_attributes_that_no_weight_can_have(tmp_path: Path, attributes: dict[str, int]) -> None:
    said: dict[str, Any] = {"K": 32, "N": 4, "bits": 4, "block_size": 16, **attributes}
    nodes = [
        node("MatMulNBits", ["x", "w_Q4", "s"], ["y"], domain="com.microsoft", **said),
        node("DequantizeLinear", ["v_quantized", "t"], ["v"]),
    ]
    tensors = [
        tensor("w_Q4", np.zeros((4, 2, 8), np.uint8)), tensor("s", np.ones((4, 2), np.float32)),
        tensor("v_quantized", CODES), tensor("t", PER_COLUMN),
    ]  # fmt: skip
    fmt = opened(write_model(tmp_path / "m.onnx", tensors, nodes))
    assert [p.key for p in fmt.problems()] == ["w_Q4"]


@pytest.mark.parametrize(("bits", "zero"), [(2, False), (4, True), (8, False)])
def test_an_index_that_the_library_itself_reads_otherwise(tmp_path: Path, bits: int, zero: bool) -> None:
    said: dict[str, Any] = {"K": 32, "N": 4, "bits": bits, "block_size": 16}
    nodes = [
        node("MatMulNBits", ["x", "w_Q4", "s", "z" if zero else "", "g_idx"], ["y"], domain="com.microsoft", **said),
        node("DequantizeLinear", ["v_quantized", "t"], ["v"]),
    ]
    tensors = [
        tensor("w_Q4", np.zeros((4, 2, 2 * bits), np.uint8)), tensor("s", np.ones((4, 2), np.float32)),
        tensor("z", np.zeros((4, 1), np.uint8)), tensor("g_idx", np.zeros(32, np.int32)),
        tensor("v_quantized", CODES), tensor("t", PER_COLUMN),
    ]  # fmt: skip
    fmt = opened(write_model(tmp_path / "m.onnx", tensors, nodes))
    assert "CPU kernel" in str(fmt.problems()[0].error)


def test_a_weight_that_is_quantized_when_the_model_runs(tmp_path: Path) -> None:
    """Its scale is a scale of that weight, and it stays in full precision."""
    nodes = [
        node("QuantizeLinear", ["fc.weight", "s", "z"], ["q"], axis=1),
        node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1),
        node("MatMul", ["x", "w"], ["y"], name="fc"),
    ]
    values = CODES.astype(np.float32)
    tensors = [tensor("fc.weight", values), tensor("s", PER_COLUMN), tensor("z", np.zeros(6, np.int8))]
    fmt = opened(write_model(tmp_path / "m.onnx", tensors, nodes))
    assert not fmt.weights()
    assert next((r.role, r.kind, r.grid.axes) for r in fmt.scales()) == ("fc.weight", Kind.WEIGHT, (0,))
    (other,) = fmt.other_tensors()
    assert np.array_equal(other.read(), values.T)
    assert any("stored in full precision and quantized when the model runs" in note for note in fmt.notes())


def test_numbers_in_constants_are_scales_too(tmp_path: Path) -> None:
    """As torch's exporter of quantization-aware training writes them."""
    nodes = [
        node("Constant", [], ["s"], value=tensor("", np.float32(0.25))),
        node("Constant", [], ["t"], value_float=0.5),
        node("Identity", ["t"], ["u"]),
        node("DequantizeLinear", ["a_quantized", "s"], ["a"]),
        node("DequantizeLinear", ["b_quantized", "u"], ["b"]),
    ]
    fmt = opened(write_model(tmp_path / "m.onnx", [tensor(f"{n}_quantized", CODES) for n in "ab"], nodes))
    found = {w.name: fmt.dequantize(w) for w in fmt.weights()}
    assert same_bits(found["a"], CODES.astype(np.float32) * np.float32(0.25))
    assert same_bits(found["b"], CODES.astype(np.float32) * np.float32(0.5))


def test_what_others_quantize_in_the_graph_is_named(tmp_path: Path) -> None:
    nodes = [
        node("Quant", ["w", "s", "z", "bits"], ["q"], domain="qonnx.custom_op.general", signed=1),
        node("BipolarQuant", ["w", "s"], ["p"], domain="qonnx.custom_op.general"),
        node("MultiThreshold", ["x", "t"], ["y"], domain="finn.custom_op.general"),
        node("Quant", ["x"], ["r"], domain="somebody"),
    ]
    note = part(14, part(1, "w") + part(2, pair("finn_datatype", "INT2")))
    tensors = [tensor("w", np.ones((2, 2), np.float32)), tensor("s", np.float32(1))]
    fmt = opened(write_model(tmp_path / "m.onnx", tensors, nodes, note))
    said = "\n".join(fmt.notes())
    assert "QONNX quantizes in the graph (1 BipolarQuant, 1 Quant)" in said
    assert "FINN quantizes in the graph (1 MultiThreshold)" in said
    assert "1 value has annotations of a kind that FINN and QONNX write (1 finn_datatype INT2)" in said
    assert not fmt.scales()


def test_names_that_hide_are_shown(tmp_path: Path) -> None:
    note = part(14, part(1, "w") + part(2, pair("\x1b[31m", "x")))
    tensors = [tensor("onnx::M\x1b_quantized", CODES), tensor("s", PER_COLUMN)]
    nodes = [
        node("DequantizeLinear", ["onnx::M\x1b_quantized", "s"], ["w"]),
        node("MatMul", ["x", "w"], ["y"], name="/\x1b[31m/MatMul"),
        node("QuantizeLinear", ["\x1b[31mx", "s"], ["q"]),
    ]
    fmt = opened(write_model(tmp_path / "m.onnx", tensors, nodes, note))
    assert len(fmt.notes()) == 1
    assert_clean("\n".join((*fmt.notes(), fmt.description)))


@st.composite
def blocks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, int, int, bool]:
    """(codes, scales, zero points, axis, block size, whether a MatMul takes them in) of a matrix."""
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    axis, block = draw(st.integers(0, 1)), draw(st.sampled_from([1, 2, 3, 8]))
    seed = np.random.default_rng(draw(st.integers(0, 1 << 16)))
    of = tuple(-(-d // block) if i == axis else d for i, d in enumerate(shape))
    codes, zeros = seed.integers(-128, 128, shape, np.int8), seed.integers(-128, 128, of, np.int8)
    return codes, seed.random(of, np.float32), zeros if draw(st.booleans()) else None, axis, block, draw(st.booleans())


@given(blocks())
@_SETTINGS
def test_any_blocks(tmp_path_factory: pytest.TempPathFactory, made: tuple[np.ndarray, ...]) -> None:
    """float32 of each element by the formula of the standard, element by element."""
    codes, scales, zeros, axis, block, turned = made
    tensors = [tensor("w_quantized", codes), tensor("s", scales)]
    tensors += [tensor("z", zeros)] if zeros is not None else []
    inputs = ["w_quantized", "s", *(["z"] if zeros is not None else [])]
    nodes = [node("DequantizeLinear", inputs, ["w"], axis=int(axis), block_size=int(block))]
    nodes += [node("MatMul", ["x", "w"], ["y"])] if turned else []
    fmt = opened(write_model(tmp_path_factory.getbasetemp() / "blocks.onnx", tensors, nodes))
    (weight,) = fmt.weights()
    expected = np.empty(codes.shape, np.float32)
    for i, j in np.ndindex(*codes.shape):
        at = (i // block, j) if axis == 0 else (i, j // block)
        zero = int(zeros[at]) if zeros is not None else 0
        expected[i, j] = np.float32(int(codes[i, j]) - zero) * scales[at]
    expected = expected.T if turned else expected
    assert same_bits(fmt.dequantize(weight), expected)
    step = weight.row_step
    parts = [fmt.dequantize(weight, i, i + step) for i in range(0, weight.shape[0], step)]
    assert same_bits(np.concatenate(parts), expected)


def test_a_small_float_has_no_zero_point_to_take_off(tmp_path: Path) -> None:
    codes = array_of("float32", [[1, -2, 448, 0.5]]).astype(ml_dtypes.float8_e4m3fn)
    nodes = [node("DequantizeLinear", ["w_quantized", "s", "z"], ["w"])]
    tensors = [
        tensor("w_quantized", data_type=17, dims=(1, 4), raw=codes.tobytes()), tensor("s", np.float32(2)),
        tensor("z", data_type=17, dims=(), raw=b"\0"),
    ]  # fmt: skip
    fmt = opened(write_model(tmp_path / "m.onnx", tensors, nodes))
    (weight,) = fmt.weights()
    assert fmt.dequantize(weight).tolist() == [[2, -4, 896, 1]]
    assert "z" not in {t.name for t in fmt.other_tensors()}
