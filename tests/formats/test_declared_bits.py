"""What settings say that a code has, and what the files take: sums by hand over the entries of a fixture."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_files import LLAMA, NUMBER, GgufFile, plain
from peer_truth import needs_fixtures, opened
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.formats.bits import model_bits

INT32 = torch.zeros(16, 64, dtype=torch.int32)
GPTQ = {"m.qweight": INT32, "m.scales": torch.ones(4, 64).half(), "m.qzeros": INT32[:4, :8]}
AWQ = {"m.qweight": torch.zeros(128, 8).int(), "m.scales": torch.ones(4, 64).half(), "m.qzeros": INT32[:4, :8]}
FP8 = {"m.weight": torch.ones(128, 128).to(torch.float8_e4m3fn), "m.weight_scale_inv": torch.ones(1, 1)}
PACKED = {"m.weight_packed": INT32, "m.weight_scale": torch.ones(16, 4), "m.weight_shape": torch.tensor([16, 512])}


def saved(where: Path, tensors: dict[str, torch.Tensor], settings: dict[str, Any]) -> Format:
    save_file({name: t.clone() for name, t in tensors.items()}, where / "model.safetensors")
    (where / "config.json").write_text(json.dumps({"quantization_config": settings}))
    return format_of(open_checkpoint(where))


def groups(*weights: dict[str, Any] | None) -> dict[str, Any]:
    of = {f"group_{n}": {"targets": ["Linear"], "weights": w} for n, w in enumerate(weights)}
    return {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": of}


@pytest.mark.parametrize(
    ("tensors", "settings", "bits"),
    [
        (GPTQ, {"quant_method": "gptq", "bits": 4, "group_size": 32}, (4,)),
        (GPTQ, {"quant_method": "gptq", "bits": 4, "dynamic": {"+:.*up.*": {"bits": 8}, "-:.*head": {}}}, (4, 8)),
        (GPTQ, {"quant_method": "gptq", "group_size": 32}, ()),
        (GPTQ, {"quant_method": "gptq", "bits": "4"}, ()),
        (
            GPTQ,
            {
                "quant_method": "auto-round", "packing_format": "auto_round:auto_gptq", "bits": 4,
                "extra_config": {"a": {"bits": 2}, "head": {"bits": 16}, "odd": 3},
            },
            (2, 4),
        ),
        (AWQ, {"quant_method": "awq", "bits": 4, "group_size": 32}, (4,)),
        (AWQ, {"quant_method": "awq", "w_bit": 4, "q_group_size": 32}, (4,)),
        (AWQ, {"quant_method": "awq"}, ()),
        (FP8, {"quant_method": "fp8", "weight_block_size": [128, 128]}, (8,)),
        (FP8, {"quant_method": "fp8", "weight_block_size": [128, 128], "expert_dtype": "fp4"}, (4, 8)),
        (PACKED, groups({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}), (4,)),
        (PACKED, groups({"num_bits": 4, "type": "int"}, {"num_bits": 8, "type": "int"}, {"num_bits": 4}), (4, 8)),
        (PACKED, groups({"num_bits": 4, "type": "int"}, None), (4,)),
    ],
)  # fmt: skip
def test_settings_say_how_many_bits_a_code_has(
    tmp_path: Path, tensors: dict[str, torch.Tensor], settings: dict[str, Any], bits: tuple[int, ...]
) -> None:
    fmt = saved(tmp_path, tensors, settings)
    assert fmt.family != "plain"
    assert fmt.declared_bits == bits


@pytest.mark.parametrize(
    ("number", "bits"), [(2, (4,)), (7, (8,)), (18, (6,)), (39, (4,)), (15, ()), (999, ()), (1, ())]
)
def test_a_gguf_file_says_it_where_it_is_meant_to_be_of_one_type(
    tmp_path: Path, number: int, bits: tuple[int, ...]
) -> None:
    """15 is Q4_K_M, a mixture; 1 is F16, of which there are no codes."""
    (tmp_path / "m.gguf").write_bytes(
        bytes(GgufFile([plain("output_norm.weight", [1.0])], {**LLAMA, "general.file_type": (NUMBER, number)}))
    )
    assert format_of(open_checkpoint(tmp_path / "m.gguf")).declared_bits == bits


def _of(*ends: str) -> Callable[[str], bool]:
    return lambda name: not name.endswith(ends)


@needs_fixtures
@pytest.mark.parametrize(
    ("fixture", "counted", "declared"),
    [
        ("modelopt_nvfp4", _of("input_scale", "k_scale", "v_scale"), (4,)),
        ("ct_w4a16_asym_g32", _of("input_scale"), (4,)),
        ("gptq_v1_descact_g32", _of(), (4,)),
        ("autoawq_gemm_g32", _of(), (4,)),
        ("tf_fp8_block128", _of("activation_scale", "input_scale"), (8,)),
        ("gguf_q4_0", _of("input_scale"), None),
    ],
)
def test_effective_bits_are_all_bytes_of_weights_over_their_elements(
    fixture: str, counted: Callable[[str], bool], declared: tuple[int, ...] | None
) -> None:
    """Codes, scales, zero points and indices of weights; elements by the shapes of the weights, and of the rest."""
    fmt = opened(fixture)
    nbytes = sum(t.nbytes for t in fmt.checkpoint.tensors() if counted(t.name))
    elements = sum(math.prod(w.shape) for w in fmt.weights())
    elements += sum(t.n_elements for t in fmt.other_tensors() if t.dtype.is_float)
    bits = model_bits(fmt)
    assert bits.effective == pytest.approx(8 * nbytes / elements, rel=1e-12)
    assert declared is None or bits.declared == declared
