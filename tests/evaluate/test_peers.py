"""The executor's quantized forward against transformers' own quantized modules: tests/data/peer_logits has the logits.

Both compute in the same dtype in the same modules, so that all that can differ is what the numbers are and where they
are rounded. Logits are compared in units of their own spread.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peer_truth import folder, needs_fixtures, opened
from safetensors.torch import load_file
from torch import Tensor

from qinspect.inspector.evaluate.candidate import Activations, OfCheckpoint
from qinspect.inspector.evaluate.executor import Executor
from qinspect.inspector.models.load import open_model

pytestmark = needs_fixtures
PEER = load_file(Path(__file__).parent.parent / "data" / "peer_logits" / "logits.safetensors")
SAME = 1e-5
"""What another order of float32 sums makes; the peers' logits are equal to the last bit where they were made."""
FLIPS = 0.05
"""What codes on the edge make that another order of sums rounds to their neighbours."""
Rule = Callable[[Tensor], Tensor]


def _apart(base: str, name: str, dtype: str = "float32", rule: Rule | None = None, rounds: bool = True) -> float:
    """The largest difference of a logit. rule: in the place of the executor's own at each of its points."""
    model = open_model(str(folder(base)), False, torch.device("cpu"), dtype)
    executor = Executor(model)
    candidate = OfCheckpoint(str(folder(name)), opened(name))
    ids, peer = PEER["ids"], PEER[name]
    own = executor.activations(candidate, ids[0]) if rounds else Activations()
    used = own if rule is None else Activations(dict.fromkeys(own.quantizers, rule))
    with executor.running(candidate):
        found = model.head(executor.hidden(ids, used))[0, -len(peer) :].float()
    return float((found - peer).abs().max() / peer.std())


@pytest.mark.parametrize(
    ("base", "name", "limit"),
    [
        ("base_llama1", "ct_int8_w8a8_static", FLIPS), ("base_llama1", "ct_fp8_static", FLIPS),
        ("base_llama", "ct_fp8_dynamic", FLIPS), ("base_llama", "ct_w4a16_g128", SAME),
        ("base_llama", "ct_awq_w4a16_asym", SAME),
    ],
)  # fmt: skip
def test_logits_are_those_of_compressed_tensors(base: str, name: str, limit: float) -> None:
    assert _apart(base, name) <= limit


@pytest.mark.parametrize("name", ["ct_int8_w8a8_static", "ct_fp8_static"])
def test_without_rounding_of_activations_they_are_not(name: str) -> None:
    """So the test above sees them."""
    assert _apart("base_llama1", name, rounds=False) > 4 * FLIPS


def test_keys_and_values_of_a_cache_are_rounded_as_compressed_tensors_rounds_them() -> None:
    """By the scale of each head, after rotary; no other number of that checkpoint is quantized."""
    assert _apart("base_llama1", "ct_attn_head_kv") <= FLIPS
    assert _apart("base_llama1", "ct_attn_head_kv", rounds=False) > 2 * FLIPS


def test_weights_that_torchao_keeps_in_float8_are_the_same() -> None:
    assert _apart("base_llama1", "torchao_fp8wo", "bfloat16") <= FLIPS


def test_what_the_library_dequantizes_is_not_rounded_by_it() -> None:
    """Without a GPU, transformers holds dequantized weights for FP8 and rounds no activation."""
    assert _apart("base_llama1", "tf_mxfp8_u8", rounds=False) <= SAME
    assert _apart("base_llama1", "tf_mxfp8_u8") > 4 * FLIPS


def _by_half_the_range(x: Tensor) -> Tensor:
    """compressed-tensors' scale of a token: the largest |x| over half of the 255 steps from -128 to 127, where vLLM's
    kernel and this executor divide by 127."""
    scale = x.abs().amax(-1, keepdim=True) / 127.5
    return (x / scale).round().clamp(-128, 127) * scale


def test_int8_of_each_token_differs_by_the_rule_of_its_scale_alone() -> None:
    assert _apart("base_llama", "ct_int8_w8a8", rule=_by_half_the_range) <= FLIPS
    assert _apart("base_llama", "ct_int8_w8a8") > 2 * FLIPS


def _by_a_product(x: Tensor) -> Tensor:
    """BitLinear's codes: of x times the reciprocal of the scale, not of x over the scale."""
    steps = 127 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
    return (x * steps).round().clamp(-128, 127) / steps


def test_bitnet_differs_by_codes_on_the_edge_alone() -> None:
    assert _apart("base_llama1", "tf_bitnet", rule=_by_a_product) <= FLIPS
    assert _apart("base_llama1", "tf_bitnet") <= 4 * FLIPS
