"""Experts by the names of their modules."""

from __future__ import annotations

import pytest

from qinspect.inspector.siblings import Expert, all_experts, expert_of


@pytest.mark.parametrize(
    ("module", "expert", "fused"),
    [
        ("layers.3.mlp.experts.7.up_proj", Expert("layers.3.mlp", 7, "up_proj"), "layers.3.mlp.experts"),
        ("experts.0.down_proj", Expert("", 0, "down_proj"), "experts"),
    ],
)
def test_an_expert_is_one_wherever_its_layer_is(module: str, expert: Expert, fused: str) -> None:
    assert expert_of(module) == expert
    assert all_experts(module) == fused


@pytest.mark.parametrize("module", ["layers.3.mlp.up_proj", "my_experts.0.up_proj", "experts.up_proj", "experts"])
def test_what_has_no_number_behind_experts_is_none(module: str) -> None:
    assert expert_of(module) is None
    assert all_experts(module) == ""
