"""FP8 of transformers, DeepSeek and GPTQModel, against what these libraries and torch make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import peer_truth
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packed_weights import opened
from peer_truth import agree, needs_fixtures, same_bits
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats import Format, Kind, format_of

DATA = Path(__file__).parents[1] / "data"
M = "model.layers.0.self_attn.q_proj"
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [32, 64]}
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))


def codes(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float8_e4m3fn) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul(50).to(dtype)


def scales(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 0.01 + 1e-4


def spread(scale: torch.Tensor, shape: torch.Size, rows: int, columns: int) -> torch.Tensor:
    wide = scale.float().repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    return wide[: shape[0], : shape[1]]


def only(fmt: Format) -> np.ndarray:
    (found,) = fmt.weights()
    return fmt.dequantize(found)


# --- what the libraries wrote ---


@pytest.mark.parametrize("name", ["deepseek_fp8_ragged", "deepseek_v4_fp8_fp4", "gptqmodel_fp8_block"])
def test_weights_are_their_writers_to_the_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    agree(name, "fp8")


@needs_fixtures
@pytest.mark.parametrize(
    "name",
    [
        "tf_fp8_block128", "tf_fp8_bf16_scales", "tf_fp8_e8m0_scales", "tf_fp8_qwen3next", "tf_mxfp8_u8",
        "deepseek_fp8_ragged", "deepseek_v4_fp8_fp4", "gptqmodel_fp8_block",
    ],
)  # fmt: skip
def test_weights_of_whole_models_are_their_writers_to_the_bit(name: str) -> None:
    fmt = agree(name, "fp8")
    if name != "gptqmodel_fp8_block":  # the one that has to say what its scales are
        bare = open_checkpoint(peer_truth.folder(name) / "model")
        bare.config = {}
        guessed = format_of(bare)
        by_name = {w.name: w for w in guessed.weights()}
        assert by_name.keys() == {w.name for w in fmt.weights()}
        assert all(same_bits(guessed.dequantize(by_name[w.name]), fmt.dequantize(w)) for w in fmt.weights())


@needs_fixtures
def test_stacked_experts_are_transformers_to_the_bit() -> None:
    fmt, expected = peer_truth.opened("tf_fp8_fused3d"), peer_truth.truth("tf_fp8_fused3d")
    by_name = {w.name: fmt.dequantize(w) for w in fmt.weights()}
    experts = "model.layers.0.mlp.experts"
    fused = [np.concatenate([by_name[f"{experts}.{e}.{n}_proj.weight"] for n in ("gate", "up")]) for e in range(4)]
    down = [by_name[f"{experts}.{e}.down_proj.weight"] for e in range(4)]
    assert same_bits(np.stack(fused), expected[f"{experts}.gate_up_proj"])
    assert same_bits(np.stack(down), expected[f"{experts}.down_proj"])
    assert same_bits(
        by_name["model.layers.0.self_attn.k_proj.weight"], expected["model.layers.0.self_attn.k_proj.weight"]
    )


# --- scales ---


@_SETTINGS
@given(
    st.integers(1, 200), st.integers(1, 200), st.sampled_from([(128, 128), (64, 32), (1, 32), (16, 16)]),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float8_e8m0fnu, torch.uint8]),
    st.sampled_from([torch.float8_e4m3fn, torch.float8_e5m2]), st.sampled_from(["weight_scale_inv", "scale"]),
    st.booleans(), st.integers(1, 90),
)  # fmt: skip
def test_blocks_of_any_size_and_type(
    tmp_path_factory: pytest.TempPathFactory, n_out: int, n_in: int, block: tuple[int, int], of_scale: torch.dtype,
    of_codes: torch.dtype, name: str, inverted: bool, step: int,
) -> None:  # fmt: skip
    w, s = codes(n_out, n_in, dtype=of_codes), scales(-(-n_out // block[0]), -(-n_in // block[1]))
    if of_scale is torch.uint8:
        stored = s.to(torch.float8_e8m0fnu).view(torch.uint8)
        s = stored.view(torch.float8_e8m0fnu)
    else:
        stored = s = s.to(of_scale)
    wide = spread(s, w.shape, *block)
    expected = (w.float() / wide if inverted else w.float() * wide).numpy()
    said = {**FP8, "weight_block_size": list(block), **({"weight_scale_semantics": "inverse"} if inverted else {})}
    fmt = opened(tmp_path_factory.mktemp("fp8"), {f"{M}.weight": w, f"{M}.{name}": stored}, said)
    (found,) = fmt.weights()
    assert (fmt.family, found.shape) == ("fp8", (n_out, n_in))
    assert same_bits(fmt.dequantize(found), expected)
    parts = [fmt.dequantize(found, i, i + step) for i in range(0, n_out, step)]
    assert same_bits(np.concatenate(parts), expected)
    assert np.array_equal(fmt.codes(found), w.view(torch.uint8).numpy())
    (record,) = fmt.scales()
    numbers = (1 / s.float() if inverted else s.float()).numpy()
    assert same_bits(np.asarray(fmt.values(record), np.float32).reshape(numbers.shape), numbers)


@pytest.mark.parametrize("shape", [(), (1,), (48,), (48, 1)])
@pytest.mark.parametrize("name", ["weight_scale_inv", "weight_scale", "qscale_weight"])
def test_a_scale_of_the_whole_or_of_each_row(tmp_path: Path, shape: tuple[int, ...], name: str) -> None:
    w, s = codes(48, 80), scales(*shape)
    said = {"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None}
    fmt = opened(tmp_path, {f"{M}.weight": w, f"{M}.{name}": s, f"{M}.input_scale": scales()}, said)
    assert same_bits(only(fmt), (w.float() * s.reshape(-1, 1)).numpy())
    assert fmt.scales()[0].granularity == ("per-channel" if len(shape) and shape[0] > 1 else "per-tensor")
    assert "static activations" in fmt.description


def test_exponents_in_bytes_from_the_least_to_none(tmp_path: Path) -> None:
    stored = torch.tensor([[0, 1, 126, 127, 128, 254, 255]], dtype=torch.uint8)
    w = torch.ones(1, 7 * 32).to(torch.float8_e4m3fn)
    fmt = opened(tmp_path, {f"{M}.weight": w, f"{M}.weight_scale_inv": stored}, {**FP8, "weight_block_size": [1, 32]})
    expected = stored.view(torch.float8_e8m0fnu).float().repeat_interleave(32, 1).numpy()
    assert same_bits(only(fmt), expected)
    assert np.isnan(expected[0, -1])


def test_experts_of_fp4_have_two_numbers_a_byte(tmp_path: Path) -> None:
    packed = torch.arange(256, dtype=torch.uint8).repeat(2).reshape(8, 64).view(torch.int8)
    s = scales(8, 4).to(torch.float8_e8m0fnu)
    levels = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
    stored = packed.view(torch.uint8).numpy()
    values = np.stack([levels[stored & 15], levels[stored >> 4]], axis=-1).reshape(8, 128)
    name = "layers.0.ffn.experts.3.w1"
    fmt = opened(tmp_path, {f"{name}.weight": packed, f"{name}.scale": s}, FP8)
    assert same_bits(only(fmt), values * s.float().repeat_interleave(32, 1).numpy())
    assert fmt.weights()[0].grid.group_size == 32
    assert fmt.weights()[0].bits == 4


# --- activations ---


def test_scales_of_inputs_and_caches_are_records_of_their_own(tmp_path: Path) -> None:
    tensors = {
        f"{M}.weight": codes(32, 64), f"{M}.weight_scale_inv": scales(), f"{M}.activation_scale": scales().bfloat16(),
        "model.layers.0.self_attn.k_scale": scales(), "model.layers.0.self_attn.v_proj.v_scale": scales(),
        "model.layers.1.self_attn.attn.kv_scale": scales(), "model.layers.1.attn.q_scale": torch.ones(64),
        "model.layers.1.attn.weight": torch.ones(64),
    }  # fmt: skip
    fmt = opened(tmp_path, tensors, {"quant_method": "fp8", "activation_scheme": "static"})
    points = [r.role for r in fmt.scales() if r.kind is Kind.ACTIVATION]
    assert points == [
        "layers.0.self_attn:k_cache", "layers.0.self_attn.q_proj:input", "layers.0.self_attn:v_cache",
        "layers.1.self_attn:kv_cache",
    ]  # fmt: skip
    assert {"model.layers.1.attn.q_scale", "model.layers.1.attn.weight"} == {t.name for t in fmt.other_tensors()}
    assert "FP8 cache" in fmt.description


@pytest.mark.parametrize(
    ("said", "granularity"),
    [(FP8, "per-group"), ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, "per-channel")],
)  # fmt: skip
def test_activations_that_are_quantized_as_they_come(tmp_path: Path, said: dict[str, Any], granularity: str) -> None:
    fmt = opened(tmp_path, {f"{M}.weight": codes(32, 64), f"{M}.weight_scale": scales(32, 1)}, said)
    (point,) = fmt.dynamic()
    assert point.role == "layers.0.self_attn.q_proj:input"
    assert any(granularity in note for note in fmt.notes())
    assert same_bits(only(fmt), (codes(32, 64).float() * scales(32, 1)).numpy())


# --- experts in one tensor ---


def stack(n_rows: int, n_in: int, block: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Two experts, gate above up."""
    half = n_rows // 2
    return {
        "m.experts.gate_up_proj": codes(2, n_rows, n_in),
        "m.experts.gate_up_proj_scale_inv": scales(2, -(-n_rows // block[0]), -(-n_in // block[1])),
        "m.experts.down_proj": codes(2, n_in, half),
        "m.experts.down_proj_scale_inv": scales(2, -(-n_in // block[0]), -(-half // block[1])),
    }


@pytest.mark.parametrize("block", [(32, 64), (16, 16), (1, 32)])
@pytest.mark.parametrize("said", [True, False])
def test_gate_and_up_are_two_weights_where_no_block_is_in_both(
    tmp_path: Path, block: tuple[int, int], said: bool
) -> None:
    tensors = stack(128, 192, block)
    fmt = opened(tmp_path, tensors, {**FP8, "weight_block_size": list(block)} if said else None)
    by_role = {w.role: w for w in fmt.weights()}
    assert sorted(by_role) == sorted(f"m.experts.{e}.{n}_proj.weight" for e in (0, 1) for n in ("down", "gate", "up"))
    whole = tensors["m.experts.gate_up_proj"][1]
    expected = (whole.float() * spread(tensors["m.experts.gate_up_proj_scale_inv"][1], whole.shape, *block)).numpy()
    found = [fmt.dequantize(by_role[f"m.experts.1.{n}_proj.weight"]) for n in ("gate", "up")]
    assert same_bits(np.concatenate(found), expected)
    scale = next(r for r in fmt.scales() if r.role == "m.experts.1.up_proj.weight")
    stored = tensors["m.experts.gate_up_proj_scale_inv"][1].numpy()
    assert np.array_equal(fmt.values(scale), stored[len(stored) // 2 :])


def test_a_block_that_is_in_both_keeps_them_together(tmp_path: Path) -> None:
    tensors = stack(96, 64, (32, 64))
    fmt = opened(tmp_path, tensors, FP8)
    assert "m.experts.0.gate_up_proj.weight" in {w.role for w in fmt.weights()}
    whole = tensors["m.experts.gate_up_proj"][0]
    expected = whole.float() * spread(tensors["m.experts.gate_up_proj_scale_inv"][0], whole.shape, 32, 64)
    (found,) = [w for w in fmt.weights() if w.role == "m.experts.0.gate_up_proj.weight"]
    assert same_bits(fmt.dequantize(found), expected.numpy())


# --- settings ---


def test_blocks_that_the_settings_do_not_have_are_said(tmp_path: Path) -> None:
    w, s = codes(256, 256), scales(4, 4)
    fmt = opened(tmp_path, {f"{M}.weight": w, f"{M}.weight_scale_inv": s}, {**FP8, "weight_block_size": [128, 128]})
    assert same_bits(only(fmt), (w.float() * spread(s, w.shape, 64, 64)).numpy())
    assert any("blocks of 128x128" in note and "blocks of 64x64" in note for note in fmt.notes())


@pytest.mark.parametrize(("shape", "n"), [((256, 256), 1), ((128, 128), 0)])
def test_one_number_is_that_of_one_block(tmp_path: Path, shape: tuple[int, int], n: int) -> None:
    """A scale that lost all its blocks but one still fits a weight, as one number for all of it."""
    tensors = {f"{M}.weight": codes(*shape), f"{M}.weight_scale_inv": scales(1, 1)}
    fmt = opened(tmp_path, tensors, {**FP8, "weight_block_size": [128, 128]})
    assert [c.found for c in fmt.contradictions()] == ["per tensor"] * n


@pytest.mark.parametrize("block", [[0, 128], [-1, 2], [128], "x", [1.5, 2], [2**70, 2**70], {"a": 1}])
def test_settings_that_are_none_stop_nothing(tmp_path: Path, block: Any) -> None:
    w, s = codes(256, 256), scales(2, 2)
    fmt = opened(tmp_path, {f"{M}.weight": w, f"{M}.weight_scale_inv": s}, {**FP8, "weight_block_size": block})
    assert same_bits(only(fmt), (w.float() * spread(s, w.shape, 128, 128)).numpy())


def test_a_meaning_of_scales_that_is_not_known_is_not_guessed(tmp_path: Path) -> None:
    tensors = {f"{M}.weight": codes(32, 64), f"{M}.weight_scale_inv": scales(1, 1)}
    fmt = opened(tmp_path, tensors, {**FP8, "weight_scale_semantics": "logarithm"})
    assert fmt.weights() == ()
    assert any("logarithm" in note for note in fmt.notes())


def test_without_settings_reciprocals_are_not_multiplied(tmp_path: Path) -> None:
    tensors = {f"{M}.weight": codes(256, 256), f"{M}.weight_scale_inv": 1 / scales(2, 2)}
    fmt = opened(tmp_path, tensors)
    assert any("no setting says" in note for note in fmt.notes())
    with pytest.raises(CannotDequantize, match="reciprocals"):
        only(fmt)


@pytest.mark.parametrize("method", ["compressed-tensors", "modelopt", "quark", "torchao", "finegrained_next"])
def test_what_another_method_wrote_is_not_claimed(tmp_path: Path, method: str) -> None:
    tensors = {f"{M}.weight": codes(32, 64), f"{M}.weight_scale": scales(32, 1)}
    assert opened(tmp_path, tensors, {"quant_method": method}).family != "fp8"


def test_names_alone_are_not_enough(tmp_path: Path) -> None:
    """A norm's `scale` beside its weight, FP8 without a scale, FP8 with a scale that others write too."""
    for i, tensors in enumerate(
        [
            {"norm.weight": torch.ones(8), "norm.scale": torch.ones(8)},
            {"m.weight": codes(32, 64)},
            {"m.weight": codes(32, 64), "m.weight_scale": scales(32, 1)},
            {"m.weight": torch.ones(8, 8), "m.weight_scale_inv": scales(1, 1)},
        ]
    ):
        assert opened(tmp_path / str(i), tensors).family == "plain"


def test_what_is_left_out_is_plain_without_a_word(tmp_path: Path) -> None:
    tensors = {
        f"{M}.weight": codes(32, 64), f"{M}.weight_scale_inv": scales(1, 1), "lm_head.weight": torch.ones(8, 8),
        "norm.scale": torch.ones(8), "norm.weight": torch.ones(8),
    }  # fmt: skip
    fmt = opened(tmp_path, tensors, {**FP8, "modules_to_not_convert": ["lm_head"]})
    assert {t.name for t in fmt.other_tensors()} == {"lm_head.weight", "norm.scale", "norm.weight"}
    assert fmt.problems() == ()


@pytest.mark.parametrize("prefix", ["", "model.", "model.language_model.", "module."])
def test_roles_do_not_depend_on_what_savers_put_in_front(tmp_path: Path, prefix: str) -> None:
    name = f"{prefix}layers.0.mlp.experts.3.up_proj"
    fmt = opened(tmp_path, {f"{name}.weight": codes(32, 64), f"{name}.weight_scale_inv": scales(1, 1)}, FP8)
    assert [w.role for w in fmt.weights()] == ["layers.0.mlp.experts.3.up_proj.weight"]
    assert fmt.weights()[0].name == f"{name}.weight"


@pytest.mark.usefixtures("unread")
def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    fmt = opened(tmp_path, stack(64, 64, (32, 64)), FP8)
    assert len(fmt.weights()) == 6
    assert fmt.notes()


# --- damage ---

DAMAGES: dict[str, dict[str, torch.Tensor]] = {
    "no scale": {"weight": codes(32, 64)},
    "scales of no such blocks": {"weight": codes(32, 64), "weight_scale_inv": scales(5, 7)},
    "scales with an axis more": {"weight": codes(32, 64), "weight_scale_inv": scales(1, 1, 2)},
    "no scales": {"weight": codes(32, 64), "weight_scale_inv": scales(0, 1)},
    "scales that are integers": {"weight": codes(32, 64), "weight_scale_inv": torch.ones(1, 1).int()},
    "codes that are floats": {"weight": torch.ones(32, 64), "weight_scale_inv": scales(1, 1)},
    "codes in a row": {"weight": codes(32), "weight_scale_inv": scales(1, 1)},
    "bytes whose scales are none of FP4": {"weight": torch.ones(32, 64).char(), "weight_scale_inv": scales(1, 3)},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_module_is_named_and_the_others_stay_understood(tmp_path: Path, damage: str) -> None:
    w, s, other = codes(32, 64), scales(1, 1), "model.layers.0.self_attn.k_proj"
    broken = {f"{M}.{last}": t for last, t in DAMAGES[damage].items()}
    fmt = opened(tmp_path, {**broken, f"{other}.weight": w, f"{other}.weight_scale_inv": s}, FP8)
    assert [x.name for x in fmt.weights()] == [f"{other}.weight"]
    assert same_bits(only(fmt), (w.float() * s).numpy())
    (problem,) = fmt.problems()
    assert M in (problem.error.key or "")
    assert problem.error.expected
    assert problem.error.found


@pytest.mark.parametrize(
    "scale", [None, scales(3, 1, 1), scales(2, 1), scales(2, 5, 7), torch.ones(2, 1, 1).int()],
)  # fmt: skip
def test_a_damaged_stack_is_one_problem(tmp_path: Path, scale: torch.Tensor | None) -> None:
    tensors = stack(64, 64, (32, 64)) | {f"{M}.weight": codes(32, 64), f"{M}.weight_scale_inv": scales(1, 1)}
    if scale is None:
        tensors["m.experts.gate_up_proj"] = torch.ones(2, 64, 64)
    else:
        tensors["m.experts.gate_up_proj_scale_inv"] = scale
    fmt = opened(tmp_path, tensors, FP8)
    assert {w.role.rpartition(".experts.")[2] for w in fmt.weights()} == {
        "0.down_proj.weight", "1.down_proj.weight", "layers.0.self_attn.q_proj.weight"
    }  # fmt: skip
    (problem,) = fmt.problems()
    assert "gate_up_proj" in (problem.error.key or "")


@pytest.mark.parametrize("beside", [{}, {"m.experts.gate_up_proj_scale": scales(2, 1, 64)}])
def test_a_stack_whose_scales_are_not_known_is_a_problem(tmp_path: Path, beside: dict[str, torch.Tensor]) -> None:
    tensors = {"m.experts.gate_up_proj": codes(2, 64, 64), f"{M}.weight": codes(32, 64), f"{M}.weight_scale": scales(1)}
    fmt = opened(tmp_path, tensors | beside, {"quant_method": "fbgemm_fp8"})
    assert [w.name for w in fmt.weights()] == [f"{M}.weight"]
    (problem,) = fmt.problems()
    assert problem.key == "m.experts.gate_up_proj"
    assert problem.error.found == next(iter(beside), "nothing")


def test_a_matrix_under_a_name_of_its_own(tmp_path: Path) -> None:
    """As modules have them whose weights are parameters, with no layer around."""
    w, s = codes(32, 64), scales(1, 1)
    fmt = opened(tmp_path, {"m.out_proj": w, "m.out_proj_scale_inv": s}, FP8)
    assert fmt.weights()[0].name == "m.out_proj"
    assert same_bits(only(fmt), (w.float() * s).numpy())


def test_scales_may_lie_in_another_shard(tmp_path: Path) -> None:
    w, s = codes(32, 64), scales(1, 1)
    save_file({f"{M}.weight": w}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({f"{M}.weight_scale_inv": s}, tmp_path / "model-00002-of-00002.safetensors")
    where = {
        f"{M}.weight": "model-00001-of-00002.safetensors",
        f"{M}.weight_scale_inv": "model-00002-of-00002.safetensors",
    }
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": FP8}))
    assert same_bits(only(format_of(open_checkpoint(tmp_path))), (w.float() * s).numpy())


def test_a_scale_and_codes_that_are_no_numbers_are_the_files(tmp_path: Path) -> None:
    w = codes(2, 128)
    w.view(torch.uint8)[1, 3] = 0x7F
    s = torch.tensor([[1.0, float("nan")]])
    fmt = opened(tmp_path, {f"{M}.weight": w, f"{M}.weight_scale_inv": s}, FP8)
    found = only(fmt)
    assert np.isnan(found[:, 64:]).all()
    assert np.isnan(found[1, 3])
    assert np.isfinite(found[0, :64]).all()
