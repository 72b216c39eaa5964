"""Adapters and files with several models on the screen: the tree has modules, the pane the key that is stored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pilots import LARGE, open_app
from safetensors.torch import save_file

STEM = "lora_unet_mid_block_attentions_0_proj_in"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    save_file(
        {f"{STEM}.lora_down.weight": torch.ones(2, 6), f"{STEM}.lora_up.weight": torch.ones(4, 2)},
        tmp_path / "flat.safetensors",
    )
    return tmp_path / "flat.safetensors"


async def test_a_flat_name_stands_under_its_modules(adapter: Path) -> None:
    async with open_app(adapter, size=LARGE) as d:
        assert "LoRA adapter of 1 module, rank 2, alpha not stored" in d.rows()[0]
        d.screen.tree_pane.nodes.reveal("mid_block.attentions.0.proj_in.lora_A")
        d.screen.activate("tree")
        await d.settle()
        assert "mid_block" in " ".join(d.tree_paths)
        await d.until(lambda: f"{STEM}.lora_down.weight" in d.detail, "the key that is stored")


async def test_two_adapters_stand_beside_each_other(adapter: Path, tmp_path: Path) -> None:
    dotted = "unet.mid_block.attentions.0.proj_in"
    save_file(
        {f"{dotted}.lora_A.weight": torch.ones(2, 6), f"{dotted}.lora_B.weight": 2 * torch.ones(4, 2)},
        tmp_path / "dotted.safetensors",
    )
    async with open_app(adapter, tmp_path / "dotted.safetensors", size=LARGE) as d:
        d.screen.tree_pane.nodes.reveal("mid_block.attentions.0.proj_in.lora_B")
        d.screen.activate("tree")
        await d.settle()
        assert sum("lora_B" in path for path in d.tree_paths) == 1
        await d.until(lambda: f"{STEM}.lora_up.weight" in d.detail, "the key in A")
        assert f"{dotted}.lora_B.weight" in d.detail
        assert "relative error |B - A|/|A|  100.00 %" in d.detail


async def test_each_model_of_a_file_is_a_branch(tmp_path: Path) -> None:
    names = ("model.diffusion_model.input_blocks.0.0", "first_stage_model.encoder.conv_in", "text_encoders.clip_l.norm")
    save_file({f"{name}.weight": torch.ones(3, 3) for name in names}, tmp_path / "several.safetensors")
    async with open_app(tmp_path / "several.safetensors", size=LARGE) as d:
        await d.settle()
        assert {p.partition(".")[0] for p in d.tree_paths if p} == {
            "diffusion_model",
            "first_stage_model",
            "text_encoders",
        }
