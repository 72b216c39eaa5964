"""The map of a comparison, and the answer in one line, against what the pairs say."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hybrid_files import exported, original
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import Comparison, compare
from qinspect.inspector.compare.answer import answer
from qinspect.inspector.compare.layer_map import MEASURES, columns_for, first_measure, folded, layer_map, worth_of
from qinspect.inspector.compare.measures import DIFFERENCE, STORED
from qinspect.inspector.compare.results import Status, WeightPair
from qinspect.inspector.formats import format_of

DATA = Path(__file__).parents[1] / "data" / "quamba"
MODELS = sorted(next(d for d in p.iterdir() if d.is_dir()) for p in DATA.iterdir() if p.is_dir())


def compared(a: Path, b: Path) -> Comparison:
    return compare(format_of(open_checkpoint(a)), format_of(open_checkpoint(b)))


def made(folder: Path, name: str, **tensors: np.ndarray) -> Path:
    (folder / name).mkdir()
    save_file({k.replace("__", "."): v for k, v in tensors.items()}, folder / name / "model.safetensors")
    return folder / name


@pytest.mark.parametrize(("a", "b"), list(combinations(MODELS, 2)), ids=lambda p: p.parent.name)
def test_every_pair_stands_in_one_cell_and_a_cell_shows_the_largest_difference(a: Path, b: Path) -> None:
    c = compared(a, b)
    m = layer_map(c.scales, c.weights)
    held = [p for cell in m.cells.values() for p in cell.items]
    assert sorted(p.role for p in held) == sorted([p.role for p in c.scales] + [w.role for w in c.weights])
    for cell in m.cells.values():
        sizes = [abs(p.difference.largest) for p in cell.scales if p.difference and not p.difference.n_undefined]
        worth = worth_of(cell, MEASURES[0])
        if sizes and worth.value not in (None, float("inf")):
            assert abs(worth.value or 0.0) == max(sizes)
        assert bool(cell.differing) == any(not p.status.counts_as_same for p in cell.items)


@given(st.integers(1, 300), st.integers(1, 80))
def test_folding_loses_no_pair_and_keeps_the_lines_that_are_no_layers(n_layers: int, n_lines: int) -> None:
    c = compared(MODELS[1], MODELS[2])
    scale = next(p for p in c.scales if p.role.startswith("layers.0."))
    scales = [replace(scale, role=f"layers.{i}.mixer.x:input", order=i) for i in range(n_layers)]
    whole = layer_map([*scales, replace(scale, role="lm_head:input", order=n_layers)], [])
    m = folded(whole, n_lines)
    assert m.rows[-1] == "lm_head"
    assert len(m.rows) <= max(2, n_lines)
    assert sum(len(cell.scales) for cell in m.cells.values()) == n_layers + 1
    assert m.name_of(0, 0).startswith("layers 0-" if len(m.cells[0, 0].scales) > 1 else "layer 0,")


def test_experts_of_a_layer_are_one_cell_and_two_stacks_have_their_own_lines(tmp_path: Path) -> None:
    names = [f"encoder__layers__0__mlp__experts__{e}__up__weight_scale" for e in range(128)]
    names += ["decoder__layers__0__mlp__up__weight_scale", "decoder__layers__1__mlp__up__weight_scale"]
    same = {n: np.ones(3, np.float32) for n in names}
    other = same | {names[7]: np.full(3, 1.5, np.float32)}
    c = compared(made(tmp_path, "a", **same), made(tmp_path, "b", **other))
    m = layer_map(c.scales, c.weights)
    assert m.rows == ("decoder 0", "decoder 1", "encoder 0") or m.rows == ("encoder 0", "decoder 0", "decoder 1")
    experts = m.cells[m.rows.index("encoder 0"), m.kinds.index("mlp.experts.*.up.weight_scale")]
    assert len(experts.scales) == 128
    assert experts.differing == 1
    worth = worth_of(experts, MEASURES[0])
    assert worth.value == pytest.approx(50.0)
    assert worth.item.role.endswith("experts.7.up.weight_scale")


def test_codes_that_differ_under_equal_scales_are_seen_by_a_measure_of_scales(tmp_path: Path) -> None:
    scale = np.ones((4, 1), np.float32)
    codes = np.zeros((4, 8), np.int8)
    a = made(tmp_path, "a", layers__0__q__weight=codes, layers__0__q__weight_scale=scale)
    b = made(tmp_path, "b", layers__0__q__weight=codes + 1, layers__0__q__weight_scale=scale)
    m = layer_map((c := compared(a, b)).scales, c.weights)
    of_codes = m.cells[0, m.kinds.index("q.weight")]
    assert worth_of(of_codes, MEASURES[0]).of_others
    assert worth_of(of_codes, MEASURES[0]).sign is Status.DIFFERENT
    assert worth_of(m.cells[0, m.kinds.index("q.weight_scale")], MEASURES[0]).sign is Status.IDENTICAL
    assert len(columns_for(m, MEASURES[0])) == 2
    assert answer(c) == "DIFFERENT: 1 of 1 other entry"


def test_the_answer_says_what_alpha_did_with_its_numbers() -> None:
    by_name = {m.parent.name: m for m in MODELS}
    pair = by_name["m1_w8a8_pa0.9995"], by_name["m1_w8a8_pa0.99999"]
    assert answer(compared(*pair)) == (
        "ALPHA TOOK EFFECT: 4 of 4 points, +35.46 ... +139.67 %, beyond noise; 10 of 10 min-max points the same"
    )
    assert answer(compared(pair[0], pair[0])) == "NO DIFFERENCE: 32 scales compared, 23 other entries"
    assert answer(compared(by_name["m1_w8a8_pa0.9995"], by_name["m2_w4a16"])).startswith("DIFFERENT: 4 of 4 scales")


def test_the_answer_names_broken_scales_first(tmp_path: Path) -> None:
    good, bad = np.ones(4, np.float32), np.array([1, np.nan, 1, 1], np.float32)
    a, b = made(tmp_path, "a", layers__0__q__weight_scale=good), made(tmp_path, "b", layers__0__q__weight_scale=bad)
    assert answer(compared(a, b)).startswith("BROKEN SCALES: B has 1 scale")


def test_an_original_against_its_copy_is_shown_by_what_weights_are_stored_as(tmp_path: Path) -> None:
    a, b = original(tmp_path / "a"), exported(tmp_path / "b")
    c = compared(a, b)
    m = layer_map(c.scales, c.weights, ("Mamba", "MoE", "attention", "MLP"))
    assert first_measure(m) is STORED
    shown = columns_for(m, STORED)
    assert not any(":" in m.kinds[i] or "#" in m.kinds[i] or m.kinds[i].endswith("A_log") for i in shown)
    texts = {}
    for place, cell in m.cells.items():
        item = worth_of(cell, STORED).item
        if isinstance(item, WeightPair):
            texts[m.name_of(*place)] = STORED.text(item)
    assert texts["layer 0 Mamba, mixer.in_proj.weight"] == "BF16 > FP8"
    assert texts["layer 0 Mamba, mixer.conv1d.weight"] == "BF16"
    assert texts["layer 1 MoE, mixer.experts.*.up_proj.weight"] == "BF16 > NVFP4"
    assert texts["layer 2 attention, mixer.q_proj.weight"] == "BF16"
    back = compared(b, a)
    assert first_measure(layer_map(back.scales, back.weights)) is STORED
    for same in (compared(b, b), compared(a, a)):
        assert first_measure(layer_map(same.scales, same.weights)) is DIFFERENCE


def test_two_models_in_full_precision_are_shown_by_their_difference(tmp_path: Path) -> None:
    x = np.ones((4, 4), np.float32)
    c = compared(
        made(tmp_path, "a", layers__0__q__weight=x), made(tmp_path, "b", layers__0__q__weight=x.astype(np.float16))
    )
    assert first_measure(layer_map(c.scales, c.weights)) is DIFFERENCE


def test_a_cell_is_worth_the_tensor_that_lost_most_bits(tmp_path: Path) -> None:
    c = compared(original(tmp_path / "a"), exported(tmp_path / "b"))
    experts = [w for w in c.weights if ".experts." in w.role]
    plain = next(w for w in c.weights if w.role == "layers.2.mixer.q_proj.weight")
    moved = replace(plain, role="layers.1.mixer.experts.9.up_proj.weight")
    m = layer_map([], [moved, *experts])
    worth = worth_of(m.cells[0, m.kinds.index("mixer.experts.*.up_proj.weight")], STORED)
    assert (worth.value, worth.sign, worth.of_others) == (-12.0, Status.DIFFERENT, False)


def test_layers_that_share_a_line_have_a_kind_where_all_are_one() -> None:
    c = compared(MODELS[1], MODELS[2])
    scale = next(p for p in c.scales if p.role.startswith("layers.0."))
    scales = [replace(scale, role=f"layers.{i}.mixer.x:input", order=i) for i in range(8)]
    whole = layer_map(scales, [], (*["Mamba"] * 4, *["Mamba", "attention"] * 2))
    assert [whole.label(row) for row in range(8)][4:6] == ["4 Mamba", "5 attention"]
    assert [folded(whole, 2).label(row) for row in range(2)] == ["0-3 Mamba", "4-7"]
    assert layer_map(scales, []).label(3) == "3"
