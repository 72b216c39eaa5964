"""Adapters: what peft and LyCORIS merge of them themselves, and what is said of files of every dialect."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.contents.report import tree_lines
from qinspect.inspector.contents.tree import build_tree
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.formats.families.adapter import parts
from qinspect.inspector.formats.families.adapter.flat import branch_of, unfolded

DATA = Path(__file__).parents[1] / "data" / "adapters"
KOHYA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
PEFT = "base_model.model.model.layers.0.self_attn.q_proj"


def opened(path: Path) -> Format:
    fmt = format_of(open_checkpoint(path))
    assert fmt.family == "adapter"
    assert all(note.isprintable() for note in fmt.notes())
    return fmt


def written(folder: Path, tensors: dict[str, tuple[int, ...]], config: object = None, **metadata: str) -> Format:
    made = {name: torch.full(shape, 0.5) for name, shape in tensors.items()}
    save_file(made, folder / "adapter_model.safetensors", metadata or None)
    if config is not None:
        (folder / "adapter_config.json").write_text(json.dumps(config))
    return opened(folder)


def lora(stem: str, rank: int = 4, n_in: int = 6, n_out: int = 8) -> dict[str, tuple[int, ...]]:
    return {f"{stem}.lora_A.weight": (rank, n_in), f"{stem}.lora_B.weight": (n_out, rank)}


def kohya(stem: str, rank: int = 4) -> dict[str, tuple[int, ...]]:
    return {f"{stem}.alpha": (), f"{stem}.lora_down.weight": (rank, 6), f"{stem}.lora_up.weight": (8, rank)}


def merged_alike(fmt: Format, base: Path, expected: Path) -> int:
    """How many weights are those that the library merged itself, a few rows at a time."""
    before, after = open_checkpoint(base), open_checkpoint(expected)
    n = 0
    for module in fmt.adapts():
        if module.why_not:
            continue
        weight, truth = before[f"{module.module}.weight"].read(), after[f"{module.module}.weight"].read()  # type: ignore[union-attr]
        rows = weight.reshape(len(weight), -1)
        parts = [fmt.adapted_rows(module, rows[i : i + 3], i, min(i + 3, len(rows))) for i in range(0, len(rows), 3)]
        np.testing.assert_allclose(np.concatenate(parts), truth.reshape(rows.shape), rtol=1e-5, atol=1e-6)
        assert np.abs(truth - weight).max() > 0.01
        n += 1
    return n


@pytest.mark.parametrize(
    ("name", "n", "description"),
    [
        ("lora", 7, "LoRA adapter of 7 modules, rank 2 to 4, alpha 3 to 6"),
        ("dora", 6, "DoRA adapter of 6 modules, rank 3, alpha 6"),
        ("lokr", 6, "LoKr adapter of 6 modules, alpha 3"),
    ],
)
def test_what_peft_merges(name: str, n: int, description: str) -> None:
    fmt = opened(DATA / "peft" / name)
    assert fmt.description == description
    assert not any(m.why_not for m in fmt.adapts())
    assert (
        merged_alike(fmt, DATA / "peft" / "expected_base.safetensors", DATA / "peft" / name / "expected.safetensors")
        == n
    )


def test_what_lycoris_merges() -> None:
    """LoCon, LoHa and LoKr, flat and in Tucker form, DoRA, rank-stabilized; magnitudes of columns are not merged."""
    folder = DATA / "lycoris"
    fmt = opened(folder / "adapter.safetensors")
    assert merged_alike(fmt, folder / "expected_base.safetensors", folder / "expected.safetensors") == 30
    left = {m.why_not for m in fmt.adapts() if m.why_not}
    assert left == {"its magnitudes are not those of rows"}
    of_columns = next(m for m in fmt.adapts() if m.why_not)
    with pytest.raises(CannotDequantize, match="not those of rows"):
        fmt.adapted_rows(of_columns, np.zeros((8, 36)), 0, 8)


def test_flat_names_get_their_dots_back(tmp_path: Path) -> None:
    fmt = written(
        tmp_path, {**kohya(KOHYA), **kohya("lora_unet_zzz_0_q"), **kohya("lora_te_text_model_encoder_layers_3_mlp_fc1")}
    )
    path = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    assert fmt.tree_path(f"{KOHYA}.lora_up.weight") == f"lora_unet.{path}.lora_up.weight"
    assert fmt.tree_path("lora_unet_zzz_0_q.alpha") == "lora_unet_zzz_0_q.alpha"
    assert fmt.place_of(f"{KOHYA}.lora_up.weight") == f"{path}.lora_B"
    assert fmt.role_of("lora_te_text_model_encoder_layers_3_mlp_fc1.alpha").startswith(
        "text_encoder.text_model.encoder.layers.3"
    )
    assert "1 name could not be put back into parts and is shown as stored" in fmt.notes()
    assert "2 modules of the model itself, 1 module of text encoder" in fmt.notes()
    root = build_tree(fmt.checkpoint.entries.values(), path_of=fmt.tree_path)
    lines = list(tree_lines(root, None, True))
    assert any(line.split()[0] == "alpha" and line.endswith(f"key {KOHYA}.alpha") for line in lines)
    assert not any("key lora_unet_zzz" in line for line in lines)


DOTTED = (
    "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj", "up_blocks.1.resnets.0.time_emb_proj",
    "time_embedding.linear_1", "input_blocks.4.1.transformer_blocks.0.attn2.to_out.0",
    "double_blocks.11.img_attn.qkv", "single_blocks.3.linear1", "joint_blocks.7.context_block.attn.qkv",
    "single_transformer_blocks.0.proj_mlp", "transformer_blocks.5.norm1_context.linear",
    "text_model.encoder.layers.11.self_attn.q_proj", "encoder.block.0.layer.1.DenseReluDense.wi_0",
    "layers.2.mlp.gate_proj", "blocks.0.adaln_modulation_cross_attn.1", "layers.0.adaLN_modulation.1",
)  # fmt: skip
"""Modules of diffusers, transformers and the models' own code."""


@pytest.mark.parametrize("name", DOTTED)
def test_names_of_modules_that_are_known(name: str) -> None:
    assert unfolded(name.replace(".", "_")) == name


@given(
    st.text("ab_0.é", max_size=80) | st.lists(st.sampled_from(["attn", "q", "proj", "0", "12", "zz", ""])).map("_".join)
)
def test_no_letter_is_lost(flat: str) -> None:
    found = unfolded(flat)
    assert found is None or found.replace(".", "_") == flat.replace(".", "_")
    assert branch_of(flat)[1] in flat


def test_who_wrote_it_makes_no_difference_to_roles(tmp_path: Path) -> None:
    dialects: dict[str, dict[str, tuple[int, ...]]] = {
        "peft": lora("base_model.model.blocks.0.attn.to_q"),
        "diffusers": lora("transformer.blocks.0.attn.to_q"),
        "comfy": lora("diffusion_model.blocks.0.attn.to_q"),
        "kohya": {k: s for k, s in kohya("lora_unet_blocks_0_attn_to_q").items() if s},
        "old": {"unet.blocks.0.attn.processor.to_q_lora.down.weight": (4, 6),
                "unet.blocks.0.attn.processor.to_q_lora.up.weight": (8, 4)},
        "named": {"blocks.0.attn.to_q.lora_A.default.weight": (4, 6),
                  "blocks.0.attn.to_q.lora_B.default.weight": (8, 4)},
    }  # fmt: skip
    for name, tensors in dialects.items():
        (tmp_path / name).mkdir()
        fmt = written(tmp_path / name, tensors)
        roles = sorted(fmt.role_of(key) for key in tensors)
        assert roles == ["blocks.0.attn.to_q.lora_A", "blocks.0.attn.to_q.lora_B"], name
        (module,) = fmt.adapts()
        assert (module.method, module.rank, module.shape, module.factor) == ("LoRA", 4, (8, 6), None)


def test_mlx_has_its_factors_the_other_way_round(tmp_path: Path) -> None:
    tensors: dict[str, tuple[int, ...]] = {"layers.0.q_proj.lora_a": (6, 4), "layers.0.q_proj.lora_b": (4, 8)}
    fmt = written(tmp_path, tensors, {"lora_parameters": {"rank": 4, "scale": 20.0}, "model": "acme/base"})
    (module,) = fmt.adapts()
    assert (module.rank, module.shape, module.factor) == (4, (8, 6), 20.0)
    rows = fmt.adapted_rows(module, np.zeros((8, 6)), 0, 8)
    np.testing.assert_array_equal(rows, np.full((8, 6), 20.0))  # 20 * 4 * 0.5 * 0.5
    assert "an adapter: the weights of its base, acme/base by adapter_config.json, are not in it" in fmt.notes()


def test_alpha_is_read_and_never_made_up(tmp_path: Path) -> None:
    fmt = written(tmp_path, lora(PEFT))
    assert fmt.description == "LoRA adapter of 1 module, rank 4, alpha not stored"
    assert any("is not known: no alpha is stored, and no settings" in note for note in fmt.notes())
    (module,) = fmt.adapts()
    assert (module.alpha, module.factor, module.why_not) == (None, None, "alpha is not known")
    fmt = written(tmp_path, kohya(KOHYA), ss_network_dim="32", ss_sd_model_name="a\x1b.ckpt")
    assert fmt.description == "LoRA adapter of 1 module, rank 4, alpha 0.5"
    assert "ss_network_dim says rank 32, and the shapes say 4" in fmt.notes()
    assert "the product of the factors is multiplied by 0.125 (alpha / rank)" in fmt.notes()


@pytest.mark.parametrize(
    ("config", "factor"),
    [
        ({"r": 4, "lora_alpha": 8}, 2.0),
        ({"r": 4, "lora_alpha": 8, "use_rslora": True}, 4.0),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {"q_proj": 4}}, 1.0),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {"^q_proj": 4}}, 2.0),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {"layers.(0|1).self_attn.q_proj": 4}}, None),
        ({"r": 4, "lora_alpha": float("nan")}, None),
        ({"r": 4, "lora_alpha": "8"}, None),
        ({}, None),
    ],
)
def test_settings_of_peft(tmp_path: Path, config: object, factor: float | None) -> None:
    (module,) = written(tmp_path, lora(PEFT), config).adapts()
    assert module.factor == factor


def test_what_takes_from_the_base_is_not_merged(tmp_path: Path) -> None:
    (module,) = written(tmp_path, lora(PEFT), {"r": 4, "lora_alpha": 8, "init_lora_weights": "pissa"}).adapts()
    assert module.why_not == "the settings say init_lora_weights pissa, and that is not calculated"


def test_factors_that_do_not_fit(tmp_path: Path) -> None:
    alone = {f"{PEFT}.lora_A.weight": (4, 6)}
    other = {"b.lora_A.weight": (4, 6), "b.lora_B.weight": (8, 3)}
    fmt = written(tmp_path, {**alone, **other, **lora("c")}, {"r": 4, "lora_alpha": 8})
    assert [m.shape for m in fmt.adapts()] == [None, None, (8, 6)]
    assert any("2 modules whose factors are incomplete or do not fit" in note for note in fmt.notes())


@pytest.mark.parametrize(
    ("end", "method"),
    [("oft_R.weight", "OFT"), ("vera_lambda_b", "VeRA"), ("ia3_l", "IA3"), ("boft_R", "BOFT"), ("hra_u", "HRA")],
)
def test_methods_that_are_named_only(tmp_path: Path, end: str, method: str) -> None:
    fmt = written(tmp_path, {f"{PEFT}.{end}": (4, 4)})
    (module,) = fmt.adapts()
    assert (module.method, module.why_not) == (method, f"what {method} adds is not calculated")


def test_every_factor_is_spoken_of() -> None:
    for part in parts._METHODS.keys() - parts._SHARED.keys():
        assert parts.may_hold([f"a.{part}.weight"]), part


def test_what_is_no_adapter(tmp_path: Path) -> None:
    """A model whose layers still have their adapter beside them, one with an alpha of its own, and layers so called."""
    for tensors in (
        {**lora("a.q_proj"), "a.q_proj.base_layer.weight": (8, 6)},
        {**lora("a.q_proj"), "a.q_proj.weight": (8, 6)},
        {"act.alpha": (4,), "w.weight": (3, 3)},
        {"exploration.lora.weight": (3,), "unet.dora_scale": (3,)},
    ):
        save_file({k: torch.ones(s) for k, s in tensors.items()}, tmp_path / "m.safetensors")
        assert format_of(open_checkpoint(tmp_path / "m.safetensors")).family == "plain"
