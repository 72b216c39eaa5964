"""A quantized head against a model that has none, its embedding being tied."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from gguf_files import ID, TEXT, GgufFile, Stored, plain
from modelopt_files import config as modelopt
from modelopt_files import int8
from safetensors.torch import save_file

from qinspect.inspector.arguments import open_model
from qinspect.inspector.compare import Comparison, Status, WeightPair, compare
from qinspect.inspector.compare.paired_tree import build_paired_tree, place_scales, place_weights
from qinspect.inspector.formats import Format

Tensors = dict[str, torch.Tensor]
ROWS, COLUMNS = 64, 32


def saved(to: Path, tensors: Mapping[str, torch.Tensor], config: Mapping[str, object]) -> Format:
    to.mkdir(parents=True)
    save_file({k: t.clone() for k, t in tensors.items()}, to / "model.safetensors")
    (to / "config.json").write_text(json.dumps(dict(config)))
    return open_model(str(to))


def codes(module: str, seed: int = 0, rows: int = ROWS) -> Tensors:
    return {f"{module}.{k}": t for k, t in int8(rows, COLUMNS, seed)[0].items() if k in ("weight", "weight_scale")}


def embedding() -> Tensors:
    g = torch.Generator().manual_seed(4)
    return {"model.embed_tokens.weight": torch.randn(ROWS, COLUMNS, generator=g).bfloat16()}


INT8 = modelopt("W8A8_SQ_PER_CHANNEL")
NORM = {"model.norm.weight": torch.ones(COLUMNS)}


def pair_of(c: Comparison, role: str) -> WeightPair:
    (found,) = [w for w in c.weights if w.role == role]
    return found


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("read", [True, False])
def test_codes_of_a_head_stand_beside_the_embedding(swapped: bool, read: bool, tmp_path: Path) -> None:
    quantized = saved(tmp_path / "q", {**embedding(), **codes("lm_head"), **NORM}, INT8)
    tied = saved(tmp_path / "t", {**embedding(), **NORM}, {"tie_word_embeddings": True})
    c = compare(*((tied, quantized) if swapped else (quantized, tied)), codes=read)
    head = pair_of(c, "lm_head.weight")
    model = "A" if swapped else "B"
    assert (head.status, head.tied) == (Status.SCHEME, model)
    assert {head.a, head.b} == {"lm_head.weight", "model.embed_tokens.weight"}
    note = f"tied: {model} has no head of its own, it is the embedding model.embed_tokens.weight"
    assert head.note.endswith(note)
    assert pair_of(c, "embed_tokens.weight").status in (Status.IDENTICAL, Status.NOT_COMPARED)
    assert c.headline.rule == "one-quantized"
    assert not [r for r in c.reasons if r.rule == "renamed"]


def test_the_embedding_keeps_its_own_place_in_the_tree(tmp_path: Path) -> None:
    quantized = saved(tmp_path / "q", {**embedding(), **codes("lm_head"), **NORM}, INT8)
    tied = saved(tmp_path / "t", {**embedding(), **NORM}, {})
    c = compare(quantized, tied)
    tree = build_paired_tree(quantized.checkpoint.entries.values(), tied.checkpoint.entries.values())
    place_scales(tree, c.scales)
    place_weights(tree, c.weights)
    assert "model.embed_tokens.weight" not in tree.findings
    assert tree.findings["lm_head.weight"] is pair_of(c, "lm_head.weight")
    assert tree.modules["lm_head"].badge is not None
    assert "embed_tokens" not in tree.modules or tree.modules["embed_tokens"].badge is None


@pytest.mark.parametrize("changed", [False, True])
def test_scales_too_where_both_are_quantized(changed: bool, tmp_path: Path) -> None:
    of_embedding = codes("model.embed_tokens")
    head = {k.replace("model.embed_tokens", "lm_head"): t.clone() for k, t in of_embedding.items()}
    if changed:
        head["lm_head.weight_scale"][3] *= 2
    a = saved(tmp_path / "a", {**of_embedding, **head, **NORM}, INT8)
    b = saved(tmp_path / "b", {**of_embedding, **NORM}, INT8)
    c = compare(a, b)
    (pair,) = [p for p in c.scales if p.role == "lm_head.weight"]
    assert (pair.tied, pair.status) == ("B", Status.DIFFERENT if changed else Status.IDENTICAL)
    assert "tied: B has no head of its own" in pair.note
    assert pair_of(c, "lm_head.weight").status is Status.IDENTICAL
    assert c.same is not changed


@pytest.mark.parametrize(
    ("config", "rows"),
    [({"tie_word_embeddings": False}, ROWS), ({"text_config": {"tie_word_embeddings": False}}, ROWS), ({}, ROWS + 2)],
)  # fmt: skip
def test_a_model_that_needs_a_head_of_its_own_or_one_of_another_size_lacks_it(
    config: dict[str, object], rows: int, tmp_path: Path
) -> None:
    quantized = saved(tmp_path / "q", {**embedding(), **codes("lm_head", rows=rows), **NORM}, INT8)
    c = compare(quantized, saved(tmp_path / "t", {**embedding(), **NORM}, config))
    assert pair_of(c, "lm_head.weight").status is Status.ONLY_A


def test_a_gguf_with_an_output_against_an_original_that_is_tied(tmp_path: Path) -> None:
    raw = bytes([0, 0x3C, *range(32)]) * ROWS
    numbers = embedding()["model.embed_tokens.weight"].float().reshape(-1).tolist()
    tensors = [
        plain("token_embd.weight", numbers, (ROWS, COLUMNS)),
        Stored("output.weight", ID["q8_0"], (ROWS, COLUMNS), raw), plain("output_norm.weight", [1.0] * COLUMNS),
    ]  # fmt: skip
    (tmp_path / "b.gguf").write_bytes(bytes(GgufFile(tensors, {"general.architecture": (TEXT, "qwen2")})))
    c = compare(saved(tmp_path / "a", {**embedding(), **NORM}, {}), open_model(str(tmp_path / "b.gguf")))
    head = pair_of(c, "lm_head.weight")
    assert (head.status, head.tied) == (Status.SCHEME, "A")
    assert [w for w in c.weights if w.status in (Status.ONLY_A, Status.ONLY_B)] == []
