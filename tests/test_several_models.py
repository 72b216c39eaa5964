"""Files with several models: which, by their names, and where their entries stand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.contents.report import tree_lines
from qinspect.inspector.contents.tree import build_tree
from qinspect.inspector.several_models import models_in, place_in_file, said_of

SD1 = ("model.diffusion_model.out.2.bias", "first_stage_model.a.w", "first_stage_model.b.w", "cond_stage_model.t.w")
SDXL = (
    "model.diffusion_model.a.w",
    "conditioner.embedders.0.t.w",
    "conditioner.embedders.1.m.w",
    "first_stage_model.w",
)
SD3 = ("model.diffusion_model.x.w", "text_encoders.clip_l.t.w", "text_encoders.t5xxl.t.w", "vae.e.w")


@pytest.mark.parametrize(
    ("names", "prefixes"),
    [
        (SD1, ["model.diffusion_model", "first_stage_model", "cond_stage_model"]),
        (SDXL, ["model.diffusion_model", "conditioner.embedders.0", "conditioner.embedders.1", "first_stage_model"]),
        (SD3, ["model.diffusion_model", "text_encoders.clip_l", "text_encoders.t5xxl", "vae"]),
        (("model.layers.0.w", "vae.e.w"), []),
        (("model.layers.0.w", "lm_head.weight"), []),
        (("model.diffusion_model.a.w", "betas"), []),
        (("vae", "text_encoders.x", "model.diffusion_model"), []),
    ],
)
def test_models_of_a_file(names: tuple[str, ...], prefixes: list[str]) -> None:
    assert [m.prefix for m in models_in(names)] == prefixes


def test_they_are_said_in_a_note_and_in_the_tree(tmp_path: Path) -> None:
    save_file({name: torch.ones(2, 2) for name in SD1}, tmp_path / "m.safetensors")
    checkpoint = open_checkpoint(tmp_path / "m.safetensors")
    models = models_in(checkpoint.entries)
    assert checkpoint.notes == (said_of(models),)
    assert "3 models in one file: " in said_of(models)
    assert "the VAE (first_stage_model, 2 entries)" in said_of(models)
    lines = list(tree_lines(build_tree(checkpoint.entries.values()), 2, False, models=models))
    assert [line.split("  ")[0] for line in lines if "(the" in line and line[0] != " "] == [
        "cond_stage_model (the text encoder)", "first_stage_model (the VAE)",
    ]  # fmt: skip
    assert any(line.startswith("  diffusion_model (the diffusion model)") for line in lines)


def test_a_model_keeps_its_branch() -> None:
    prefixes = frozenset(m.prefix for m in models_in(SDXL))
    assert place_in_file(SDXL[0], prefixes) == "diffusion_model.a.w"
    assert place_in_file(SDXL[1], prefixes) == SDXL[1]
    assert place_in_file("model.other.w", prefixes) == "other.w"


@given(st.lists(st.text("model.diffusion_vae\x1b0") | st.sampled_from([*SD1, *SDXL, *SD3]), max_size=8))
def test_any_names(names: list[str]) -> None:
    found = models_in(names)
    assert len(found) != 1
    assert sum(m.n_entries for m in found) <= len(names)
    assert said_of(found).isprintable()
