"""Quark: against its own values, and against weights that are packed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import array_files
import ml_dtypes
import numpy as np
import peer_truth
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from peer_truth import agree, needs_fixtures, same_bits

from qinspect.inspector.formats import Format

Array = NDArray[Any]
DATA = Path(__file__).parents[1] / "data"
MODULE = "model.layers.0.self_attn.k_proj"
FIXTURES = {
    "quark_int8": "Quark 0.13 int8",
    "quark_uint4_g128": "Quark 0.13 int4 g128",
    "quark_mxfp4": "Quark 0.13 MXFP4, dynamic float4_e2m1fn inputs",
    "quark_mxfp6_e2m3": "Quark 0.13 FP6 e2m3fn g32, dynamic float6_e2m3fn inputs",
}
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))
KINDS = ("int8", "int8 rows", "fp8", "int4", "uint4", "uint4 order", "fp4", "fp6_e2m3", "fp6_e3m2")
_PLACES = [0, 4, 1, 5, 2, 6, 3, 7]
"""Of the outputs of a word in the order of AWQ: where each lies."""


def _words(codes: Array, reordered: bool) -> Array:
    """int32[inputs, outputs / 8] of [outputs, inputs], a loop over the eight."""
    found = np.zeros((codes.shape[1], codes.shape[0] // 8), np.uint32)
    for output in range(codes.shape[0]):
        place = _PLACES[output % 8] if reordered else output % 8
        found[:, output // 8] |= (codes[output].astype(np.uint32) & 15) << np.uint32(4 * place)
    return found.view(np.int32)


def _six(codes: Array) -> Array:
    """uint8[rows, 3 / 4 of the columns]: one stream of bits a row, the first in the low ones."""
    out = np.zeros((codes.shape[0], codes.shape[1] * 3 // 4), np.uint8)
    for row, column in np.ndindex(codes.shape):
        for bit in range(6):
            if codes[row, column] >> bit & 1:
                at = 6 * column + bit
                out[row, at // 8] |= 1 << at % 8
    return out


def made(kind: str, shape: tuple[int, int] = (16, 64), seed: int = 0) -> tuple[dict[str, Array], dict[str, Any], Array]:
    """Entries by their last names, what is said of the weight, and float32 values."""
    rng = np.random.default_rng(seed)
    rows, columns = shape
    codes: Array
    zeros: Array
    said: dict[str, Any] = {"dtype": kind.split()[0], "group_size": None, "symmetric": False}
    if kind.startswith(("int8", "fp8")):
        n = rows if kind.endswith("rows") else 1
        scale = rng.uniform(0.01, 1, (n,) if n > 1 else ()).astype(np.float32)
        if kind == "fp8":
            floats = rng.normal(0, 9, shape).astype(ml_dtypes.float8_e4m3fn)
            return (
                {"weight": floats, "weight_scale": scale},
                said | {"dtype": "fp8_e4m3"},
                floats.astype(np.float32) * scale,
            )
        codes, zeros = rng.integers(-128, 128, shape).astype(np.int8), rng.integers(-9, 9, scale.shape).astype(np.int8)
        values = (codes.astype(np.float32) - zeros.astype(np.float32).reshape(-1, 1)) * scale.reshape(-1, 1)
        return {"weight": codes, "weight_scale": scale, "weight_zero_point": np.asarray(zeros)}, said, values
    if kind.startswith(("int4", "uint4")):
        low = -8 if kind == "int4" else 0
        codes, zeros = (rng.integers(low, low + 16, s) for s in (shape, (rows, columns // 32)))
        scale = rng.uniform(0.01, 1, zeros.shape).astype(ml_dtypes.bfloat16)
        reordered = not kind.endswith("order")
        less, steps = (np.repeat(x.astype(np.float32), 32, axis=1) for x in (zeros, scale))
        entries = {"weight": _words(codes, reordered), "weight_scale": np.ascontiguousarray(scale.T),
                   "weight_zero_point": _words(zeros, reordered)}  # fmt: skip
        return entries, said | {"group_size": 32}, (codes.astype(np.float32) - less) * steps
    exponents = rng.integers(100, 140, (rows, columns // 32)).astype(np.uint8)
    dtype = {"fp4": ml_dtypes.float4_e2m1fn, "fp6_e2m3": ml_dtypes.float6_e2m3fn, "fp6_e3m2": ml_dtypes.float6_e3m2fn}[
        kind
    ]
    codes = rng.integers(0, 16 if kind == "fp4" else 64, shape).astype(np.uint8)
    packed = codes[:, ::2] | codes[:, 1::2] << 4 if kind == "fp4" else _six(codes)
    steps = np.repeat(np.float32(2) ** (exponents.astype(np.float32) - 127), 32, axis=1)
    return ({"weight": packed, "weight_scale": exponents}, said | {"group_size": 32},
            codes.view(dtype).astype(np.float32) * steps)  # fmt: skip


def config(said: dict[str, Any], kind: str = "", **more: Any) -> dict[str, Any]:
    export = {"pack_method": "order" if kind.endswith("order") else "reorder"}
    return {
        "quant_method": "quark",
        "global_quant_config": {"weight": said},
        "export": export,
        "exclude": ["lm_head"],
        **more,
    }


def opened(folder: Path, modules: dict[str, dict[str, Array]], said: dict[str, Any] | None) -> Format:
    return array_files.opened(folder, array_files.of_modules(modules), said)


@pytest.mark.parametrize("name", ["quark_int8", "quark_uint4_g128", "quark_mxfp6_e2m3"])
def test_values_are_the_librarys_to_the_bit(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    assert agree(name, "quark").description == FIXTURES[name]


@needs_fixtures
@pytest.mark.parametrize("name", FIXTURES)
def test_whole_models(name: str) -> None:
    fmt = agree(name, "quark")
    assert fmt.description == FIXTURES[name]
    assert len(fmt.weights()) == 7
    assert not [n for n in fmt.notes() if "dynamically" not in n]


@_SETTINGS
@given(st.sampled_from(KINDS), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99), st.integers(1, 40))
def test_some_rows_are_those_of_all(
    tmp_path_factory: pytest.TempPathFactory, kind: str, rows: int, n: int, seed: int, step: int
) -> None:
    rows *= 8
    entries, said, values = made(kind, (rows, 32 * n), seed)
    fmt = opened(tmp_path_factory.mktemp("quark"), {MODULE: entries}, config(said, kind))
    assert (fmt.family, fmt.problems()) == ("quark", ())
    (w,) = fmt.weights()
    assert same_bits(fmt.dequantize(w), values)
    assert same_bits(fmt._modules[w.role].dequantize(0, rows), values)  # type: ignore[attr-defined]  # without C
    parts = [fmt.dequantize(w, i, i + step) for i in range(0, rows, step)]
    assert same_bits(np.concatenate(parts), values)
    assert fmt.codes(w, 1, 2).shape == (1, 32 * n)
    for record in fmt.scales():
        assert fmt.values(record).size in (1, rows, rows * n)


def test_words_with_a_scale_and_a_zero_point_for_each_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    codes, zeros, scale = rng.integers(0, 16, (16, 24)), rng.integers(0, 16, (16, 1)), rng.uniform(0.1, 1, 16)
    entries = {"weight": _words(codes, True), "weight_scale": scale.astype(np.float32),
               "weight_zero_point": _words(zeros, True).reshape(-1)}  # fmt: skip
    fmt = opened(tmp_path, {MODULE: entries}, config({"dtype": "uint4", "qscheme": "per_channel", "ch_axis": 0}))
    (w,) = fmt.weights()
    values = (codes - zeros).astype(np.float32) * scale.astype(np.float32)[:, None]
    assert same_bits(fmt.dequantize(w), values)
    assert same_bits(fmt.dequantize(w, 3, 13), values[3:13])


@pytest.mark.parametrize("prefix", ["", "model.", "model.language_model.", "module."])
def test_names_roles_and_points(tmp_path: Path, prefix: str) -> None:
    entries, said, _ = made("fp8")
    one = np.array(0.5, np.float32)
    modules = {
        f"{prefix}layers.0.self_attn.{m}": {**entries, "input_scale": one, "output_scale": one}
        for m in ("q_proj", "k_proj", "v_proj", "o_proj")
    }
    cache = {"*k_proj": {"output_tensors": {"dtype": "fp8_e4m3"}}}
    fmt = opened(tmp_path, modules, config(said, kv_cache_quant_config=cache))
    attention = "layers.0.self_attn"
    assert [r.role for r in fmt.scales() if ":" in r.role] == [
        f"{attention}.q_proj:input", f"{attention}:q", f"{attention}.k_proj:input", f"{attention}:k_cache",
        f"{attention}.v_proj:input", f"{attention}:v_cache", f"{attention}.o_proj:input", f"{attention}.o_proj:output",
    ]  # fmt: skip
    assert {r.role: r.element.name for r in fmt.scales()}[f"{attention}:k_cache"] == "float8_e4m3fn"
    assert [w.name for w in fmt.weights()] == [f"{m}.weight" for m in modules]


def test_what_is_said_of_some_modules_and_of_those_left_out(tmp_path: Path) -> None:
    four, said4, _ = made("fp4")
    six, said6, values = made("fp6_e3m2")
    modules = {"model.layers.0.mlp.up_proj": four, "model.layers.0.mlp.down_proj": six}
    fmt = opened(tmp_path, modules, config(said4, layer_quant_config={"*down_proj": {"weight": said6}}))
    assert [w.element.name for w in fmt.weights()] == ["float4_e2m1fn", "float6_e3m2fn"]
    assert same_bits(fmt.dequantize(fmt.weights()[1]), values)
    assert fmt.notes() == ()
    left = opened(
        tmp_path / "left", {"model.layers.0.mlp.up_proj": four}, config(said4, exclude=["layers.0.mlp.up_proj"])
    )
    (note,) = left.notes()
    assert "left out" in note
    assert "float4_e2m1fn" in note
    other = opened(tmp_path / "other", {"model.layers.0.mlp.up_proj": four}, config(said6))
    assert other.weights()[0].element.name == "float4_e2m1fn"
    assert "fp6_e3m2" in other.notes()[0]


FINE, SAID, _ = made("int8")
MORE = {k: np.ones(s, np.uint8) for k, s in (("weight", (16, 32)), ("weight_scale", (16, 2)))}
DAMAGES: dict[str, tuple[dict[str, Array], dict[str, Any]]] = {
    "no scale": ({"weight": FINE["weight"]}, SAID),
    "scales of others": ({**FINE, "weight_scale": np.ones(3, np.float32)}, SAID),
    "zero points of others": ({**FINE, "weight_zero_point": np.ones(3, np.int8)}, SAID),
    "words of what is not said": (made("int4")[0], {"dtype": "int3"}),
    "words without zero points": ({k: t for k, t in made("uint4")[0].items() if "zero" not in k}, {"dtype": "uint4"}),
    "a group of 48": (MORE, {"dtype": "fp4", "group_size": 48}),
    "exponents of others": ({**MORE, "weight_scale": np.ones((9, 2), np.uint8)}, {"dtype": "fp4"}),
    "six bits of what is not said": (made("fp6_e2m3")[0], {"dtype": "fp4"}),
    "no rows": ({**FINE, "weight": np.ones((0, 4), np.int8)}, SAID),
    "a stack": ({**FINE, "weight": np.ones((2, 4, 4), np.int8)}, SAID),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_module_is_named_and_the_others_stay_understood(tmp_path: Path, damage: str) -> None:
    entries, said = DAMAGES[damage]
    several = config(SAID, layer_quant_config={"*k_proj": {"weight": said}})
    fmt = opened(tmp_path, {MODULE: entries, "model.fine": FINE}, several)
    array_files.check_one_is_damaged(fmt, MODULE)


def test_steps_of_quantization_are_not_decoded(tmp_path: Path) -> None:
    fmt = opened(tmp_path, {MODULE: FINE}, config([SAID, {"dtype": "int4"}]))  # type: ignore[arg-type]
    assert fmt.family == "plain"
    assert any("several steps" in note for note in fmt.notes())


def test_other_settings_claim_nothing(tmp_path: Path) -> None:
    entries, said, _ = made("int4")
    assert opened(tmp_path / "bare", {MODULE: entries}, None).family == "plain"
    assert opened(tmp_path / "other", {MODULE: entries}, {**config(said), "quant_method": "quanto"}).family == "plain"
    whole = {"weight": np.ones((4, 4), np.float32), "weight_scale": np.ones((), np.float32)}
    assert opened(tmp_path / "whole", {MODULE: whole}, config(said)).family == "plain"


def test_static_inputs_without_a_scale_are_absent(tmp_path: Path) -> None:
    said = config(SAID)
    said["global_quant_config"]["input_tensors"] = {"dtype": "int8", "is_dynamic": False}
    assert opened(tmp_path, {MODULE: FINE}, said).absent_scales() == ("layers.0.self_attn.k_proj:input",)


@pytest.mark.usefixtures("unread")
def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    assert len(opened(tmp_path, {MODULE: FINE}, config(SAID)).weights()) == 1
