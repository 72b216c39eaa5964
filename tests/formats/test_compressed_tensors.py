"""Checkpoints of compressed-tensors against what its own library makes of them."""

from __future__ import annotations

import pytest
from formats.peer_truth import agree, needs_fixtures

FAMILY = "compressed-tensors"
EXACT = (
    "autoround_mxfp4", "autoround_nvfp4", "ct_awq_w4a16_asym", "ct_fp8_block", "ct_fp8_dynamic", "ct_fp8_static",
    "ct_int8_w8a8", "ct_int8_w8a8_static", "ct_kimi_int4_g32", "ct_mamba2_fp8", "ct_mixed_three",
    "ct_model_free_nvfp4a16", "ct_mxfp4", "ct_mxfp4_moe", "ct_mxfp8", "ct_nvfp4", "ct_nvfp4_unfused_globals",
    "ct_qwen3moe_fp8_block", "ct_qwen3moe_no_input_scale", "ct_qwen3moe_nvfp4", "ct_qwen3moe_nvfp4_cold_experts",
    "ct_w4a16_asym_g32", "ct_w4a16_channel", "ct_w4a16_g128", "ct_w8a16_g128",
)  # fmt: skip


@needs_fixtures
@pytest.mark.parametrize("name", EXACT)
def test_weights_are_the_librarys_to_the_bit(name: str) -> None:
    agree(name, FAMILY)
