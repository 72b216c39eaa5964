"""torchao: safetensors and pickles against its own values, and against weights that are packed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peer_truth
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from peer_truth import agree, needs_fixtures, same_bits
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torchao_files import KINDS, Made, entries, made, opened, pickled

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats import Format, Quantity, format_of
from qinspect.inspector.formats.counts import parameter_counts

Array = NDArray[Any]
DATA = Path(__file__).parents[1] / "data"
NAME = "model.layers.0.mlp.up_proj.weight"
FIXTURES = {
    "torchao_int8wo": "torchao int8",
    "torchao_int8dyn": "torchao int8, dynamic int8 inputs",
    "torchao_int8dyn_int4w": "torchao int4 g32, dynamic int8 inputs",
    "torchao_intx_int4_g32": "torchao int4 g32",
    "torchao_fp8wo": "torchao FP8 ch",
    "torchao_mxfp8": "torchao MXFP8, dynamic float8_e4m3fn inputs",
    "torchao_int8wo_pickle": "torchao int8",
    "torchao013_int8wo_pickle": "torchao int8",
    "torchao013_int4wo_cpu_pickle": "torchao int4 g32",
}
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", ["torchao_mxfp8", "torchao_int8dyn_int4w"])
def test_values_are_the_librarys_to_the_bit(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    assert agree(name, "torchao").description == FIXTURES[name]


@needs_fixtures
@pytest.mark.parametrize("name", FIXTURES)
def test_whole_models_with_and_without_their_settings(name: str) -> None:
    fmt = agree(name, "torchao")
    assert fmt.description == FIXTURES[name]
    assert len(fmt.weights()) == 14 if name == "torchao_int8wo" else 7
    bare = open_checkpoint(peer_truth.folder(name) / "model")
    bare.config = {}
    assert [w.convention for w in format_of(bare).weights()] == [w.convention for w in fmt.weights()]


@_SETTINGS
@given(
    st.sampled_from(KINDS),
    st.integers(1, 150),
    st.integers(1, 5),
    st.integers(0, 99),
    st.integers(1, 70),
    st.booleans(),
)
def test_some_rows_are_those_of_all(
    tmp_path_factory: pytest.TempPathFactory, kind: str, rows: int, n: int, seed: int, step: int, said: bool
) -> None:
    rows += rows % 2
    weight = made(kind, (rows, 64 * n), seed)
    fmt = opened(tmp_path_factory.mktemp("torchao"), {NAME: weight}, metadata=said or kind == "int4 g32")
    assert fmt.problems() == ()
    (w,) = fmt.weights()
    assert same_bits(fmt.dequantize(w), weight.values)
    assert np.array_equal(fmt.codes(w), weight.codes)
    parts = [fmt.dequantize(w, i, i + step) for i in range(0, rows, step)]
    assert same_bits(np.concatenate(parts), weight.values)
    whole = fmt._modules[w.role].dequantize(0, rows)  # type: ignore[attr-defined]  # the body without C
    assert same_bits(whole, weight.values)
    for record in fmt.scales():
        assert fmt.values(record).size in (1, rows, *(rows * 64 * n // g for g in (16, 32)), 2 * (rows // 2))


@pytest.mark.parametrize("prefix", ["", "model.", "model.language_model.", "module."])
@pytest.mark.parametrize("metadata", [True, False])
def test_names_and_roles(tmp_path: Path, prefix: str, metadata: bool) -> None:
    weight = made("int8")
    bias = {f"{prefix}layers.0.self_attn.q_proj.bias": np.ones(6, np.float32)}
    fmt = opened(tmp_path, {f"{prefix}layers.0.self_attn.q_proj.weight": weight}, bias, metadata)
    role = "layers.0.self_attn.q_proj.weight"
    assert [(w.name, w.role) for w in fmt.weights()] == [(prefix + role, role)]
    assert [(r.role, r.quantity) for r in fmt.scales()] == [
        (role, Quantity.SCALE), (f"{role}#zero_point", Quantity.ZERO_POINT)
    ]  # fmt: skip
    assert [t.name for t in fmt.other_tensors()] == list(bias)
    assert sum(n or 0 for n in parameter_counts(fmt).values()) == weight.values.size + 6


def test_metadata_under_the_names_before_a_wrapper(tmp_path: Path) -> None:
    """Bits are said in the metadata alone; a wrapper renames the tensors."""
    weight = made("int4 g32")
    opened(tmp_path, {NAME: weight})
    with safe_open(tmp_path / "model.safetensors", "np") as f:
        said = f.metadata()
    save_file({f"module.{k}": t for k, t in load_file(tmp_path / "model.safetensors").items()},
              tmp_path / "model.safetensors", said)  # fmt: skip
    (w,) = format_of(open_checkpoint(tmp_path)).weights()
    assert w.bits == 4


def test_experts_of_a_stack(tmp_path: Path) -> None:
    both = [made("int8", seed=i) for i in (1, 2)]
    stack = Made({k: np.stack([w.parts[k] for w in both]) for k in both[0].parts}, "Int8Tensor",
                 {"block_size": [1, 1, 64]}, both[0].values)  # fmt: skip
    fmt = opened(tmp_path, {"model.layers.0.mlp.experts.up_proj": stack})
    assert [w.role for w in fmt.weights()] == [f"layers.0.mlp.experts.{e}.up_proj.weight" for e in (0, 1)]
    for w, one in zip(fmt.weights(), both, strict=True):
        assert same_bits(fmt.dequantize(w), one.values)
    assert fmt.notes() == ()


def test_factors_of_inputs_and_static_scales(tmp_path: Path) -> None:
    weight, factor = made("int8"), np.linspace(0.5, 2, 64).astype(np.float32)
    weight.parts |= {"act_pre_scale": factor, "act_quant_scale": np.array([[0.5]], np.float32)}
    fmt = opened(tmp_path, {NAME: weight})
    (w,) = fmt.weights()
    assert same_bits(fmt.dequantize(w), weight.values)
    assert same_bits(fmt.effective(w), weight.values * factor)
    assert fmt.effective(w, 2, 5).shape == (3, 64)
    base = "layers.0.mlp.up_proj"
    assert [r.role for r in fmt.scales()][2:] == [f"{base}.weight#pre_quant", f"{base}:input"]
    assert fmt.dynamic() == ()


def test_inputs_that_are_quantized_as_they_come(tmp_path: Path) -> None:
    for i, (kind, said, element) in enumerate([
        ("int8", {"_type": "QuantizeTensorToInt8Kwargs", "_data": {"mapping_type": {"_data": "SYMMETRIC"}}}, "int8"),
        ("fp8", {"_type": "QuantizeTensorToFloat8Kwargs",
                 "_data": {"float8_dtype": {"_data": "float8_e4m3fn"}, "granularity": {"_type": "PerTensor"}}},
         "float8_e4m3fn"),
        ("nvfp4", {"_type": "QuantizeTensorToNVFP4Kwargs", "_data": {"block_size": 16}}, "float4_e2m1fn"),
    ]):  # fmt: skip
        weight = made(kind)
        weight.data["act_quant_kwargs"] = said
        (point,) = opened(tmp_path / str(i), {NAME: weight}).dynamic()
        assert (point.role, point.element.name) == ("layers.0.mlp.up_proj:input", element)


# --- pickles ---


def _plain(seed: int = 0) -> tuple[dict[str, object], Array]:
    weight = made("int8", seed=seed)
    parts: dict[str, object] = {
        "int_data": torch.tensor(weight.parts["qdata"]), "scale": torch.tensor(weight.parts["scale"][:, 0]),
        "zero_point": torch.tensor(weight.parts["zero_point"][:, 0].astype(np.int64)),
    }  # fmt: skip
    return parts, weight.values


@pytest.mark.parametrize("around", ["", "LinearActivationQuantizedTensor"])
def test_old_classes_inside_of_each_other(tmp_path: Path, around: str) -> None:
    parts, values = _plain()
    attributes: dict[str, object] = {"tensor_impl": parts, "block_size": (1, 64)}
    fmt = pickled(
        tmp_path, "torchao.dtypes.affine_quantized_tensor", "AffineQuantizedTensor", (6, 64), attributes, around
    )
    (w,) = fmt.weights()
    assert (fmt.family, w.name, w.role) == ("torchao", NAME, NAME.removeprefix("model."))
    assert same_bits(fmt.dequantize(w), values)
    assert any("by a function that the file only names" in note for note in fmt.notes()) == bool(around)


def test_zero_points_that_are_floats_are_refused(tmp_path: Path) -> None:
    """What they are added to depends on attributes that are no tensors."""
    parts, _ = _plain()
    parts["zero_point"] = torch.ones(6)
    fmt = pickled(tmp_path, "torchao.dtypes.affine_quantized_tensor", "AffineQuantizedTensor", (6, 64),
                  {"tensor_impl": parts})  # fmt: skip
    assert fmt.family == "plain"
    assert any("looks like torchao" in note and "zero_point" in note for note in fmt.notes())


def in_kernel_order(codes: Array, rows: int, apart: bool) -> Array:
    """uint8[out, in / 2]: of each block of rows its columns one after another, of each column two rows a byte."""
    out = []
    for at in range(0, len(codes), rows):
        block = codes[at : at + rows]
        half = len(block) // 2
        whole = apart and len(block) == rows
        low, high = (block[:half], block[half:]) if whole else (block[::2], block[1::2])
        out.append((low | high << 4).T.reshape(-1))
    return np.concatenate(out).reshape(len(codes), -1)


@pytest.mark.parametrize(("rows", "apart"), [(32, True), (64, True), (32, False), (16, False)])
@pytest.mark.parametrize("n", [96, 256])
def test_the_kernel_that_packed_a_weight_is_told_by_its_codes(tmp_path: Path, rows: int, apart: bool, n: int) -> None:
    weight = np.random.default_rng(n).normal(0, 0.1, (n, 4, 32)).astype(np.float32)
    low, high = weight.min(axis=2), weight.max(axis=2)
    scale = torch.tensor((high - low) / 15).bfloat16()
    zero = torch.tensor(low + 8 * (high - low) / 15).bfloat16()
    step, least = scale.float().numpy()[..., None], (zero.float() - 8 * scale.float()).numpy()[..., None]
    codes = np.clip(np.rint((weight - least) / step), 0, 15).astype(np.uint8).reshape(n, 128)
    parts: dict[str, object] = {
        "packed_weight": torch.tensor(in_kernel_order(codes, rows, apart)),
        "scale_and_zero": torch.stack((scale.T, zero.T), dim=2),
    }
    fmt = pickled(tmp_path, "torchao.dtypes.x", "AffineQuantizedTensor", (n, 128), {"tensor_impl": parts})
    (w,) = fmt.weights()
    assert np.array_equal(fmt.codes(w), codes)
    assert np.array_equal(fmt.codes(w, 70, 90), codes[70:90])
    expected = (codes.reshape(n, 4, 32).astype(np.float32) - 8) * step + zero.float().numpy()[..., None]
    assert same_bits(fmt.dequantize(w), expected.reshape(n, 128))
    assert same_bits(fmt.values(fmt.scales()[0]), scale.float().numpy())
    parts["packed_weight"] = torch.randint(0, 256, (n, 64)).byte()
    noise = pickled(tmp_path / "noise", "torchao.dtypes.x", "AffineQuantizedTensor", (n, 128), {"tensor_impl": parts})
    with pytest.raises(CannotDequantize, match="order of the kernel"):
        noise.dequantize(noise.weights()[0])


# --- what does not fit ---


FINE = {"model.fine.weight": made("int8", seed=9)}


def _changed(kind: str, part: str, tensor: Array | None, cls: str = "", **data: Any) -> Made:
    weight = made(kind)
    if tensor is not None:
        weight.parts[part] = tensor
    elif part:
        del weight.parts[part]
    return Made(weight.parts, cls or weight.kind, weight.data | data, weight.values)


DAMAGES = {
    "scales of others": _changed("int8", "scale", np.ones((5, 1), np.float32)),
    "scales that are integers": _changed("int8", "scale", np.ones((6, 1), np.int32)),
    "no scales": _changed("int8", "scale", None),
    "zero points of others": _changed("int8", "zero_point", np.ones((6, 2), np.int8)),
    "a class that is not known": _changed("int8", "", None, "Int4TilePackedTo4dTensor"),
    "integers that are not known": _changed("int4 g32", "", None, target_dtype="uint9"),
    "codes that are floats": _changed("int8", "qdata", np.ones((6, 64), np.float32)),
    "no rows": _changed("int8", "qdata", np.ones((0, 64), np.int8)),
    "tiles of others": _changed("mxfp8", "scale", made("mxfp8").parts["scale"][:16]),
    "a group of 48": _changed("mxfp8", "", None, block_size=48),
    "a factor of others": _changed("int8", "act_pre_scale", np.ones(9, np.float32)),
    "minima of others": _changed("int4 pairs", "zero_point", np.ones((6, 2), np.float32)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_weight_is_named_and_the_others_stay_understood(tmp_path: Path, damage: str) -> None:
    fmt = opened(tmp_path, {NAME: DAMAGES[damage], **FINE})
    assert [w.role for w in fmt.weights()] == ["fine.weight"]
    (problem,) = fmt.problems()
    assert "up_proj" in (problem.error.key or "")
    assert problem.error.expected
    assert problem.error.found


def test_a_code_that_is_too_large_is_found_when_it_is_read(tmp_path: Path) -> None:
    weight = made("int4 g32")
    weight.parts["qdata"][3, 3] = 8
    fmt = opened(tmp_path, {NAME: weight})
    (w,) = fmt.weights()
    assert fmt.dequantize(w, 0, 3).shape == (3, 64)
    with pytest.raises(CannotDequantize, match="no code of 4 bits"):
        fmt.dequantize(w)


def test_another_block_than_is_said_is_a_note_with_both(tmp_path: Path) -> None:
    weight = made("int4 g32")
    weight.data["block_size"] = [1, 64]
    fmt = opened(tmp_path, {NAME: weight})
    assert same_bits(fmt.dequantize(fmt.weights()[0]), weight.values)
    (note,) = [n for n in fmt.notes() if "believed" in n]
    assert "1x64" in note
    assert "1x32" in note


@pytest.mark.parametrize("said", ["[1", '{"_type": 3}', '{"_type": "Int8Tensor", "_data": [1]}', "null", "[" * 9999])
def test_metadata_that_make_no_sense_say_nothing(tmp_path: Path, said: str) -> None:
    weight = made("int8")
    save_file(entries(NAME, weight), tmp_path / "model.safetensors", {NAME: said})
    fmt: Format = format_of(open_checkpoint(tmp_path))
    assert same_bits(fmt.dequantize(fmt.weights()[0]), weight.values)


def test_settings_of_others_and_names_alone_claim_nothing(tmp_path: Path) -> None:
    assert opened(tmp_path / "a", {NAME: made("int8")}, said={"quant_method": "quanto"}).family != "torchao"
    assert opened(tmp_path / "b", {NAME: made("int8")}, said={"quant_method": "torchao"}).family == "torchao"
    alone: dict[str, Array] = {
        "model._weight_qdata": np.ones((4, 4), np.int8),
        "x.qdata": np.ones(4, np.int8),
        "x.scale": np.ones(4),
    }
    assert opened(tmp_path / "c", {}, alone).family == "plain"


@pytest.mark.usefixtures("unread")
def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    assert len(opened(tmp_path, {f"m{i}.weight": made(k) for i, k in enumerate(KINDS)}).weights()) == len(KINDS)
