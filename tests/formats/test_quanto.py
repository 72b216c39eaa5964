"""quanto: against its own values, and against weights that are put together here row by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import peer_truth
import pytest
import torch
from array_files import check_one_is_damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from peer_truth import agree, needs_fixtures, same_bits
from quanto_files import bits_of, bytes_of, opened

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.formats.counts import parameter_counts
from qinspect.inspector.formats.records import Kind, Quantity

Array = NDArray[Any]
DATA = Path(__file__).parents[1] / "data"
MODULE = "model.layers.0.mlp.up_proj"
NAME = f"{MODULE}.weight"
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> Format:
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    return agree("quanto_mixed", "quanto")


def test_values_are_the_librarys_to_the_bit(ours: Format) -> None:
    assert ours.description == "quanto int4, int4 g32, int2 g32, ..., int8 activations"
    assert (ours.declared_bits, ours.notes(), ours.contradictions()) == ((2.0, 4.0, 8.0), (), ())
    groups = {w.role.removeprefix("layers.0."): w.grid.group_size for w in ours.weights() if w.grid.group_size}
    assert groups == {"self_attn.q_proj.weight": 32, "mlp.up_proj.weight": 32, "mlp.down_proj.weight": 96}


def test_activations_are_those_that_the_map_names(ours: Format) -> None:
    points = [r for r in ours.scales() if r.kind is Kind.ACTIVATION]
    base = "layers.0."
    assert [r.role for r in points] == [f"{base}input_layernorm:output", f"{base}fp8:input", f"{base}fp8:output"]
    assert {r.scheme for r in points} == {"int8, symmetric"}
    assert not [t.name for t in ours.other_tensors() if t.name.endswith("put_scale")]


@needs_fixtures
@pytest.mark.parametrize(
    ("fixture", "said"),
    [
        ("quanto_qint8", "quanto int8"),
        ("quanto_qint4", "quanto int4, int4 g128"),
        ("quanto_qfloat8_act", "quanto FP8 ch, float8_e4m3fn activations"),
    ],
)
def test_whole_models_with_and_without_what_is_said_of_them(fixture: str, said: str) -> None:
    fmt = agree(fixture, "quanto")
    assert (fmt.description, fmt.notes()) == (said, ())
    bare = open_checkpoint(peer_truth.folder(fixture) / "model")
    bare.config = {}
    found = format_of(bare)
    assert [(w.shape, w.convention) for w in found.weights()] == [(w.shape, w.convention) for w in fmt.weights()]
    points = [r for r in found.scales() if r.kind is Kind.ACTIVATION]
    assert len(points) == 2 * len(found.weights())
    assert {r.scheme for r in points} == {"8 bits, of a type that nothing says"}
    assert all(found.on_purpose(r, 1.0) and not found.on_purpose(r, 0.5) for r in points)


@_SETTINGS
@given(
    st.sampled_from([2, 4]), st.integers(1, 9), st.sampled_from([1, 5, 32, 128, 129, 160, 192, 256, 320]),
    st.integers(0, 99), st.integers(1, 7), st.booleans(),
)  # fmt: skip
def test_some_rows_are_those_of_all(
    tmp_path_factory: pytest.TempPathFactory, bits: int, rows: int, columns: int, seed: int, step: int, zeros: bool
) -> None:
    entries, values = bits_of(bits, (rows, columns), seed, zeros)
    said = {MODULE: {"weights": f"qint{bits}", "activations": "none"}}
    bias = {f"{MODULE}.bias": np.ones(rows, np.float16)}
    fmt = opened(tmp_path_factory.mktemp("quanto"), {MODULE: entries}, said, bias)
    (w,) = fmt.weights()
    assert (fmt.notes(), w.shape, w.bits) == ((), values.shape, bits)
    assert same_bits(fmt.dequantize(w), values)
    parts = [fmt.dequantize(w, i, i + step) for i in range(0, rows, step)]
    assert same_bits(np.concatenate(parts), values)
    scale, shift = (fmt.values(r).astype(np.float32).repeat(columns // fmt.values(r).shape[1], 1) for r in fmt.scales())
    codes = fmt.codes(w).astype(np.float32)
    assert same_bits((codes - shift) * scale if zeros else codes * scale + shift, values)
    assert fmt.scales()[1].quantity is (Quantity.ZERO_POINT if zeros else Quantity.MINIMUM)
    assert sum(n or 0 for n in parameter_counts(fmt).values()) == values.size + rows


@pytest.mark.parametrize("dtype", ["int8", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz"])
def test_codes_of_a_byte(tmp_path: Path, dtype: str) -> None:
    own = np.int8 if dtype == "int8" else getattr(ml_dtypes, dtype)
    values = (np.arange(60).reshape(5, 12) - 30).astype(np.float32).astype(own)
    scale = np.linspace(0.5, 1, 5, dtype=np.float16).reshape(5, 1)
    save = {f"{NAME}._data": torch.from_numpy(values.view(np.uint8)).view(getattr(torch, dtype)),
            f"{NAME}._scale": torch.from_numpy(scale)}  # fmt: skip
    torch.save(save, tmp_path / "model.pt")
    fmt = format_of(open_checkpoint(tmp_path / "model.pt"))
    (w,) = fmt.weights()
    assert w.element.name == dtype
    assert same_bits(fmt.dequantize(w, 1, 4), (values.astype(np.float32) * scale.astype(np.float32))[1:4])


@pytest.mark.parametrize("shape", [(), (1,)])
def test_one_scale_for_all(tmp_path: Path, shape: tuple[int, ...]) -> None:
    entries, _ = bytes_of()
    fmt = opened(tmp_path, {MODULE: {**entries, "._scale": np.full(shape, 0.5, np.float32)}})
    assert same_bits(fmt.dequantize(fmt.weights()[0]), entries["._data"].astype(np.float32) / 2)
    assert fmt.scales()[0].granularity == "per-tensor"


@pytest.mark.parametrize("prefix", ["", "model.", "model.language_model.", "module."])
def test_names(tmp_path: Path, prefix: str) -> None:
    entries, values = bytes_of()
    name = f"{prefix}layers.0.mlp.up_proj"
    fmt = opened(tmp_path, {name: entries}, {name: {"weights": "qint8", "activations": "none"}})
    role = "layers.0.mlp.up_proj.weight"
    assert [(w.name, w.role) for w in fmt.weights()] == [(f"{name}.weight", role)]
    assert [r.role for r in fmt.scales()] == [role]
    assert same_bits(fmt.dequantize(fmt.weights()[0]), values)
    assert fmt.notes() == ()
    asked = (name, f"{name}.weight", f"{name}.weight._data", "other")  # entries of codes are named so
    assert [fmt.says_quantized(module) for module in asked] == [True, True, True, False]


# --- the shape of a weight in groups ---


def _norm(width: int) -> dict[str, Array]:
    return {"model.layers.0.input_layernorm.weight": np.ones(width, np.float16)}


@pytest.mark.parametrize(("last", "shape"), [("up_proj", (3, 256)), ("down_proj", (256, 384))])
def test_the_norm_in_front_tells_it(tmp_path: Path, last: str, shape: tuple[int, int]) -> None:
    entries, values = bits_of(4, shape)
    module = f"model.layers.0.mlp.{last}"
    fmt = opened(tmp_path / "norm", {module: entries}, None, _norm(256))
    assert (fmt.weights()[0].shape, fmt.notes()) == (shape, ())
    assert same_bits(fmt.dequantize(fmt.weights()[0]), values)
    other = {"model.embed_tokens.weight": np.ones((4, 128), np.float16)}  # of models whose norm is of more than that
    assert opened(tmp_path / "wider", {module: entries}, None, {**_norm(256), **other}).weights()[0].shape != shape


@pytest.mark.parametrize(
    ("module", "beside"),
    [
        ("model.layers.0.mlp.up_proj", {}),
        ("model.layers.0.mlp.up_proj", _norm(100)),  # no whole groups
        ("model.layers.0.mlp.up_proj", _norm(160)),  # quanto would have cut other groups
        ("model.layers.0.mlp.other", _norm(256)),
        ("conv", {"conv.bias": np.ones(3, np.float16)}),
    ],
)
def test_where_nothing_tells_it_a_row_is_a_group_and_a_note_says_so(
    tmp_path: Path, module: str, beside: dict[str, Array]
) -> None:
    entries, values = bits_of(4, (3, 256))
    fmt = opened(tmp_path, {module: entries}, None, beside)
    (w,) = fmt.weights()
    assert w.shape == (6, 128)
    assert same_bits(fmt.dequantize(w).reshape(3, 256), values)
    (note,) = fmt.notes()
    assert "nothing tells how many" in note
    assert module in note


# --- what is said otherwise ---


def test_what_the_map_says_otherwise_is_a_note_with_both(tmp_path: Path) -> None:
    entries, values = bytes_of()
    said = {MODULE: {"weights": "qint4", "activations": "none"}, "lm_head": {"weights": "qint8", "activations": "none"}}
    fmt = opened(tmp_path / "other", {MODULE: entries}, said)
    (note,) = fmt.notes()
    assert f"quantization_map.json says of {MODULE}: qint4; its entries are qint8" in note
    (found,) = fmt.contradictions()
    assert (found.said, found.found, found.modules) == ("qint4", "qint8", (MODULE,))
    assert same_bits(fmt.dequantize(fmt.weights()[0]), values)
    (note,) = opened(tmp_path / "unnamed", {MODULE: entries}, {"lm_head": said["lm_head"]}).notes()
    assert f"says of {MODULE}: not quantized" in note


def test_transformers_settings(tmp_path: Path) -> None:
    entries, _ = bytes_of()
    tmp_path.joinpath("config.json").write_text(
        json.dumps({"quantization_config": {"quant_method": "quanto", "weights": "int8", "activations": None}})
    )
    scale = {f"{MODULE}.input_scale": np.ones((), np.float16)}
    fmt = opened(tmp_path, {MODULE: entries}, None, scale)
    assert (fmt.declared_bits, fmt.notes(), len(fmt.scales())) == ((8.0,), (), 1)


@pytest.mark.parametrize("said", [{MODULE: 3}, {MODULE: {"weights": 4}}, {MODULE: {"weights": "qint3"}}, {"": {}}])
def test_a_map_that_makes_no_sense_changes_no_value(tmp_path: Path, said: dict[str, Any]) -> None:
    entries, values = bits_of(4, (6, 40))
    fmt = opened(tmp_path, {MODULE: entries}, said)
    assert fmt.declared_bits == ()
    assert same_bits(fmt.dequantize(fmt.weights()[0]), values)


# --- what is damaged ---

BYTES, _ = bytes_of()
BITS, _ = bits_of(4, (6, 40))
DAMAGES: dict[str, dict[str, Array]] = {
    "a scale of codes that is an integer": {**BYTES, "._scale": np.ones((5, 1), np.int32)},
    "a scale a column": {**BYTES, "._scale": np.ones((1, 12), np.float16)},
    "codes of another type": {**BYTES, "._data": np.ones((5, 12), np.int16)},
    "codes of one axis": {**BYTES, "._data": np.ones(5, np.int8)},
    "no codes": {**BYTES, "._data": np.ones((0, 12), np.int8)},
    "no shift": {end: t for end, t in BITS.items() if end != "._shift"},
    "a shift for all": {**BITS, "._shift": np.ones((1, 1), np.float16)},
    "a shift of words": {**BITS, "._shift": np.ones((6, 1), np.int64)},
    "scales of other rows": {**BITS, "._scale": np.ones((9, 1), np.float16)},
    "scales without a second axis": {**BITS, "._scale": np.ones(6, np.float16)},
    "signed bytes": {**BITS, "._data._data": BITS["._data._data"].view(np.int8)},
    "one row, of 4 or 2 bits": bits_of(4, (1, 40))[0],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_module_is_named_and_the_others_stay_understood(tmp_path: Path, damage: str) -> None:
    fmt = opened(tmp_path, {MODULE: DAMAGES[damage], "model.fine": BYTES})
    check_one_is_damaged(fmt, MODULE)


def test_others_are_not_claimed(tmp_path: Path) -> None:
    assert opened(tmp_path / "alone", {MODULE: {"._data": BYTES["._data"]}}).family == "plain"
    elsewhere = {MODULE: {"._data": BYTES["._data"]}, "n": {"._scale": BYTES["._scale"]}}
    assert opened(tmp_path / "elsewhere", elsewhere).family == "plain"
    named = tmp_path / "named"
    named.mkdir()
    (named / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "hqq"}}))
    assert opened(named, {MODULE: BYTES}).family == "plain"


@pytest.mark.usefixtures("unread")
def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    assert len(opened(tmp_path, {MODULE: BITS, "m": BYTES}).weights()) == 2
