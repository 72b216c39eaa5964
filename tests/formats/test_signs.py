"""What is taken for a scale of quantization, by names that real models have, and what is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.formats.counts import parameter_counts

FLOAT = torch.ones(4)
BYTES, INT8, INT32 = (torch.ones(16, 16, dtype=t) for t in (torch.uint8, torch.int8, torch.int32))
FP8 = torch.ones(16, 16).to(torch.float8_e4m3fn)


def saved(folder: Path, tensors: dict[str, torch.Tensor]) -> Format:
    path = folder / "model.safetensors"
    save_file({name: t.clone() for name, t in tensors.items()}, path)
    return format_of(open_checkpoint(path))


@pytest.mark.parametrize(
    "name",
    [
        "double_blocks.0.img_attn.norm.query_norm.scale", "double_blocks.0.img_attn.norm.key_norm.scale",
        "model.layers.0.input_layernorm.scale", "encoder.block.0.layer.0.layer_norm.scale", "norm.scale",
        "encoder/layers_0/layer_norm/scale", "bn1.scale", "blocks.0.layer_scale", "layers.0.layer_scale_1",
        "convnext.stages.0.layers.0.layer_scale_parameter", "blocks.0.ls1.gamma", "layer.0.layer_scale1.lambda1",
        "logit_scale", "text_model.logit_scale", "unet.down.0.to_q.dora_scale", "lora_te.q_proj.lora_scale",
        "transformer.scale_shift_table", "embed_tokens.embed_scale", "attn.scale", "attn.rotary_emb.attention_scaling",
        "rope.rope_scale", "attn.residual_scale", "block.skip_scale", "self_attn.q_norm.scale", "time_scale",
        "per_dim_scale", "head.norm_scale", "upsample.scale_factor", "model.rescale",
    ],
)  # fmt: skip
def test_scales_that_are_something_else(tmp_path: Path, name: str) -> None:
    fmt = saved(tmp_path, {name: FLOAT, "model.layers.0.mlp.down_proj.weight": torch.ones(4, 4)})
    assert fmt.scales() == ()
    assert fmt.description == "float32, no scales"


@pytest.mark.parametrize("name", ["dora_scale", "layer_scale", "logit_scale"])
def test_they_are_something_else_beside_codes_too(tmp_path: Path, name: str) -> None:
    fmt = saved(tmp_path, {f"m.{name}": FLOAT, "m.weight": INT8, "m.weight_scale": FLOAT})
    assert [r.key for r in fmt.scales()] == ["m.weight_scale"]


@pytest.mark.parametrize(
    "last",
    [
        "weight_scale", "weight_scale_inv", "weight_scale_2", "weight_global_scale", "input_scale",
        "input_global_scale", "output_scale", "act_scale", "k_scale", "v_scale", "q_scale", "kv_scale",
        "scale_weight", "scale_input", "scales", "_scale", "_weight_scale", "down_proj_weight_scale_2",
        "gate_up_proj_scale_inv", "pre_quant_scale",
        "quantized_weight_scale_factors", "absmax", "SCB",
    ],
)  # fmt: skip
def test_names_that_only_quantization_gives(tmp_path: Path, last: str) -> None:
    """Codes may lie in another shard."""
    (record,) = saved(tmp_path, {f"model.layers.0.q_proj.{last}": FLOAT}).scales()
    assert record.key == f"model.layers.0.q_proj.{last}"
    assert not record.verified


@pytest.mark.parametrize("beside", ["weight", "W_q"])
@pytest.mark.parametrize("codes", [BYTES, INT8, INT32, FP8])
def test_another_scale_is_one_beside_codes(tmp_path: Path, beside: str, codes: torch.Tensor) -> None:
    tensors = {f"m.{beside}": codes, "m.scale": FLOAT, "norm.scale": FLOAT, "m.scale.x": FLOAT}
    assert [r.key for r in saved(tmp_path, tensors).scales()] == ["m.scale"]


def test_another_scale_is_one_beside_a_zero_point(tmp_path: Path) -> None:
    """As torch's own quantized modules and fake quantizers store them."""
    tensors = {"fc.scale": torch.tensor(0.1), "fc.zero_point": torch.tensor(3), "norm.scale": FLOAT}
    assert [r.key for r in saved(tmp_path, tensors).scales()] == ["fc.scale"]


def test_indices_are_no_codes(tmp_path: Path) -> None:
    tensors = {"attn.scale": FLOAT, "attn.relative_position_index": INT32, "attn.mask": BYTES}
    assert saved(tmp_path, tensors).scales() == ()


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (
            {"w": BYTES, "w.absmax": FLOAT, "w.quant_map": FLOAT},
            "uint8, looks quantized (absmax, quant_map beside uint8); not understood yet; sc",
        ),
        (
            {"m.trellis": torch.ones(4, 4, 4).short(), "m.suh": FLOAT.half()},
            "int16, looks quantized (suh, trellis beside int16); not understood yet",
        ),
        ({"m.qweight": BYTES}, "uint8, looks quantized (qweight beside uint8); not understood yet"),
        ({"m.qweight": INT32, "m.g_idx": INT32[0]}, "int32, looks quantized (g_idx, qweight beside int32); not under"),
        ({"m.weight": FP8}, "float8_e4m3fn, no scales"),
        ({"m.weight": torch.ones(4, 4)}, "float32, no scales"),
    ],
)  # fmt: skip
def test_what_looks_quantized_is_called_that(tmp_path: Path, tensors: dict[str, torch.Tensor], said: str) -> None:
    assert saved(tmp_path, tensors).description.startswith(said)


# --- parameters ---


def test_parameters_are_counted_where_they_are_known(tmp_path: Path) -> None:
    state = torch.tensor(list(b'{"quant_type": "nf4", "shape": [8, 4]}'), dtype=torch.uint8)
    fmt = saved(
        tmp_path,
        {
            "a.weight": torch.ones(3, 5), "a.bias": torch.ones(3), "f.weight": FP8, "f.weight_scale": FLOAT,
            "w": torch.ones(16, 1, dtype=torch.uint8), "w.absmax": FLOAT, "w.quant_map": FLOAT,
            "w.quant_state.bitsandbytes__nf4": state,
            "p.weight_packed": INT32, "p.weight_shape": torch.tensor([4, 32]), "p.weight_zero_point": INT32,
            "q.qweight": INT32, "q.scales": FLOAT, "q.qzeros": INT32, "q.g_idx": INT32[0],
            "bn.num_batches_tracked": torch.tensor(3), "position_ids": torch.arange(4).reshape(1, 4),
        },
    )  # fmt: skip
    counts = parameter_counts(fmt)
    known = {name: n for name, n in counts.items() if n}
    assert known == {"a.weight": 15, "a.bias": 3, "f.weight": 256, "w": 32, "p.weight_packed": 128}
    assert [name for name, n in counts.items() if n is None] == ["q.qweight"]


@pytest.mark.parametrize("shape", [[4, 10**6], [0, 4], [-4, -4], [2**62, 2**62], []])
def test_a_shape_that_the_codes_have_no_room_for_is_not_believed(tmp_path: Path, shape: list[int]) -> None:
    stated = torch.tensor(shape, dtype=torch.int64)
    counts = parameter_counts(saved(tmp_path, {"p.weight_packed": INT32, "p.weight_shape": stated}))
    assert counts["p.weight_packed"] is None


@pytest.mark.parametrize("state", [b"", b"{", b"[1]", b'{"shape": 3}', b'{"shape": ["x", 1]}', b"[" * 5000])
def test_a_state_that_is_none_says_nothing(tmp_path: Path, state: bytes) -> None:
    told = torch.tensor(list(state), dtype=torch.uint8)
    counts = parameter_counts(saved(tmp_path, {"w": BYTES, "w.quant_state.bitsandbytes__nf4": told}))
    assert counts["w"] is None


# --- real checkpoints ---

FIXTURES = Path(os.environ.get("QINSPECT_FIXTURES", "nowhere"))


def fixtures() -> list[str]:
    if not FIXTURES.is_dir():
        return []
    found = [p for p in sorted(FIXTURES.iterdir()) if list(p.rglob("*.safetensors")) or list(p.rglob("*.bin"))]
    return [p.name for p in found if p.name not in ("observers", "quamba", "tokenizer_tiny")]


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="QINSPECT_FIXTURES names no folder of checkpoints")
@pytest.mark.parametrize("name", fixtures())
def test_no_real_checkpoint_is_taken_for_another(name: str) -> None:
    folder = FIXTURES / name
    from qinspect.inspector.errors import QinspectError

    try:
        fmt = format_of(open_checkpoint(folder / "model" if (folder / "model").is_dir() else folder))
    except QinspectError as e:
        pytest.skip(f"is not opened: {e.problem}")
    if name.startswith("base_") or name in ("gguf_bf16", "gguf_every_type", "onnx_qdq_per_channel"):
        # beside the last two is their original, and that is opened
        assert fmt.scales() == ()
        assert fmt.description.endswith(", no scales")
        return
    assert "no scales" not in fmt.description
    for record in fmt.scales():
        assert "norm" not in record.key.rpartition(".")[0].rpartition(".")[2]


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="QINSPECT_FIXTURES names no folder of checkpoints")
@pytest.mark.parametrize("name", ["bnb_nf4", "bnb_fp4", "ct_w4a16_g128", "ct_w4a16_asym_g32", "ct_fp8_block"])
def test_parameters_of_a_quantized_model_are_those_of_its_weights(name: str) -> None:
    """expected.safetensors holds what the library that wrote the model makes of its weights."""
    fmt = format_of(open_checkpoint(FIXTURES / name / "model"))
    expected = open_checkpoint(FIXTURES / name / "expected.safetensors")
    counts = parameter_counts(fmt)
    checked = 0
    for tensor in expected.tensors():
        keys = [tensor.name, tensor.name.removesuffix("weight") + "weight_packed"]
        found = [counts[k] for k in keys if k in counts]
        if found:
            assert found == [tensor.n_elements]
            checked += 1
    assert checked
