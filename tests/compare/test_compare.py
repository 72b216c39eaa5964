"""What a comparison says of real checkpoints, and of real checkpoints with one thing changed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quamba_files import State, folder_of, load_state, save_state, set_point_mamba1
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import Comparison, Difference, ScalePair, Status, WeightPair, compare
from qinspect.inspector.formats import format_of


def compared(a: Path, b: Path, codes: bool | None = None) -> Comparison:
    return compare(format_of(open_checkpoint(a)), format_of(open_checkpoint(b)), codes)


def of(c: Comparison, role: str) -> ScalePair:
    return next(p for p in c.scales if p.role == role)


def tensor_of(c: Comparison, role: str) -> WeightPair:
    return next(w for w in c.weights if w.role == role)


def difference_of(c: Comparison, role: str) -> Difference:
    difference = of(c, role).difference
    assert difference is not None
    return difference


def rules(c: Comparison) -> set[str]:
    return {c.headline.rule} | {r.rule for r in c.reasons}


def reason(c: Comparison, rule: str) -> str:
    return next(r.text for r in (c.headline, *c.reasons) if r.rule == rule)


def changed_copy(tmp_path: Path, name: str, change: Any) -> Path:
    """A fixture with `change(state)` applied, saved as torch saves."""
    state, config = load_state(name)
    change(state)
    return save_state(tmp_path / "changed", state, config)


A, B = folder_of("m1_w8a8_pa0.9995"), folder_of("m1_w8a8_pa0.99999")


def test_a_change_of_alpha_is_told_with_its_sizes() -> None:
    c = compared(A, B)
    # The sizes are those that the fixture's makers measured on their observers.
    expected = {
        "layers.0.mixer.x_proj:input": 103.5,
        "layers.0.mixer.ssm_state_act:input": 139.7,
        "layers.1.mixer.x_proj:input": 35.5,
        "layers.1.mixer.ssm_state_act:input": 47.7,
    }
    assert {p.role for p in c.scales if p.status is not Status.IDENTICAL} == set(expected)
    for role, percent in expected.items():
        d = difference_of(c, role)
        assert d.largest == pytest.approx(percent, abs=0.05)
        assert d.log2_ratio == pytest.approx(math.log2(1 + d.largest / 100))
    assert c.headline.rule == "alpha-signature"
    assert "B's alpha is the larger" in c.headline.text
    assert "claim-agrees" in rules(c)
    assert not c.same
    assert all(w.status is Status.IDENTICAL for w in c.weights)
    s = c.summary
    assert (s.n_pairs, s.n_same, s.n_different, s.sign_pattern) == (32, 28, 4, "all up")
    assert s.first_role == "layers.0.mixer.x_proj:input"
    assert s.largest_role == "layers.0.mixer.ssm_state_act:input"
    assert sum(n for _, n in s.histogram) == 32


def test_the_base_is_a() -> None:
    there, back = compared(A, B), compared(B, A)
    role = "layers.0.mixer.x_proj:input"
    up, down = difference_of(there, role), difference_of(back, role)
    assert (1 + up.largest / 100) * (1 + down.largest / 100) == pytest.approx(1)
    assert up.log2_ratio == pytest.approx(-down.log2_ratio)
    assert back.summary.sign_pattern == "all down"
    assert "B's alpha is the smaller" in back.headline.text


def test_with_head_groups_alpha_is_dead(tmp_path: Path) -> None:
    state, config = load_state("m2_w4a8_gh_pa0.9995")
    one = save_state(tmp_path / "pa0.9995", state, config)
    two = save_state(tmp_path / "pa0.5", state, config)
    c = compared(one, two)
    assert c.same
    assert c.headline.rule == "bit-identical"
    assert {"dead-parameter", "alpha-is-dead"} <= rules(c)


def test_the_same_file_is_called_that(tmp_path: Path) -> None:
    link = tmp_path / "linked"
    link.symlink_to(A)
    assert compared(A, link).headline.rule == "same-file"


def test_mixed_signs_cannot_come_from_alpha(tmp_path: Path) -> None:
    def change(state: State) -> None:
        set_point_mamba1(state, 0, "x_proj:input", 1.02)
        set_point_mamba1(state, 1, "x_proj:input", 0.98)

    c = compared(A, changed_copy(tmp_path, "m1_w8a8_pa0.9995", change))
    assert c.copies == ()
    assert c.headline.rule == "mixed-signs"
    assert c.summary.sign_pattern == "mixed"


def test_a_difference_within_the_repeat_band_is_noise(tmp_path: Path) -> None:
    def change(state: State) -> None:
        set_point_mamba1(state, 0, "ssm_state_act:input", 1.00002)

    assert compared(A, changed_copy(tmp_path, "m1_w8a8_pa0.9995", change)).headline.rule == "repeat-noise"


def test_other_data_move_min_max_points_and_then_alpha_cannot_be_told(tmp_path: Path) -> None:
    def change(state: State) -> None:
        set_point_mamba1(state, 0, "x_proj:input", 1.004)
        set_point_mamba1(state, 1, "out_proj:input", 1.005)

    c = compared(A, changed_copy(tmp_path, "m1_w8a8_pa0.9995", change))
    assert c.copies == ()
    assert "alpha-signature" not in rules(c)
    assert "cannot be separated" in reason(c, "data-differ")


def test_one_edited_copy_is_corruption_or_a_hand_edit(tmp_path: Path) -> None:
    def change(state: State) -> None:
        state["backbone.layers.0.mixer.selective_scan.u_scale"] *= 1.5

    c = compared(A, changed_copy(tmp_path, "m1_w8a8_pa0.9995", change))
    assert c.headline.rule == "copies-disagree"
    (problem,) = c.copies
    assert problem.model == "B"
    assert problem.copy_key == "backbone.layers.0.mixer.selective_scan.u_scale"
    assert problem.found == pytest.approx(1.5 * problem.expected)


def test_an_edited_derived_value_is_found_too(tmp_path: Path) -> None:
    def change(state: State) -> None:
        state["backbone.layers.1.mixer.x_proj.alpha"] *= 1.001

    c = compared(A, changed_copy(tmp_path, "m1_w8a8_pa0.9995", change))
    assert [p.copy_key for p in c.copies] == ["backbone.layers.1.mixer.x_proj.alpha"]


def test_a_claim_that_the_signs_contradict(tmp_path: Path) -> None:
    state, config = load_state("m1_w8a8_pa0.9995")
    set_point_mamba1(state, 0, "ssm_state_act:input", 0.5)
    low = save_state(tmp_path / "pa-0.99999", state, config)
    assert "claim-contradicted" in rules(compared(A, low))


def test_head_order_is_recognised_and_cells_are_sorted() -> None:
    c = compared(folder_of("m2_w4a8_gh_pa0.9995"), folder_of("m2_w4a8_gh_perm"))
    assert c.headline.rule == "reordered"
    for layer in (0, 1):  # the makers found the sorted x scales equal, and the state scales within 0.5 %
        pair = of(c, f"layers.{layer}.mixer.x_conv_out:input")
        assert pair.status is Status.PERMUTED
        assert pair.difference is not None
        assert pair.difference.sorted_cells
        assert pair.difference.n_changed == 0
        state = difference_of(c, f"layers.{layer}.mixer.ssm_state_act:input")
        assert abs(state.largest) <= 0.5
    assert tensor_of(c, "layers.0.mixer.in_proj.weight").status is Status.PERMUTED
    assert tensor_of(c, "layers.0.mixer.in_proj.weight").n_changed is None
    assert not c.same


def test_four_bits_against_eight_line_up_by_role() -> None:
    c = compared(folder_of("m2_w4a8_gh_pa0.9995"), folder_of("m2_w8a8_gh"))
    assert c.headline.rule == "two-schemes"
    points = [p for p in c.scales if ":" in p.role]
    assert len(points) == 23
    assert all(p.status is Status.IDENTICAL for p in points)
    assert of(c, "layers.0.mixer.in_proj.weight").status is Status.SCHEME
    assert tensor_of(c, "layers.0.mixer.in_proj.weight").status is Status.SCHEME
    assert not [p for p in c.scales if p.status in (Status.ONLY_A, Status.ONLY_B)]


def test_bin_against_safetensors_and_a_renamed_prefix(tmp_path: Path) -> None:
    state, _ = load_state("m1_w8a8_pa0.9995")
    tensors = {
        f"model.{k}": v.contiguous().clone() if isinstance(v, torch.Tensor) else torch.tensor(v)
        for k, v in state.items()
        if v is not None
    }
    save_file(tensors, tmp_path / "model.safetensors")
    c = compared(A, tmp_path)
    assert len(c.scales) == 32
    assert {p.status for p in c.scales} <= {Status.IDENTICAL, Status.EQUAL}
    assert {w.status for w in c.weights} <= {Status.IDENTICAL, Status.EQUAL}
    assert c.same


def test_any_one_prefix_may_be_replaced(tmp_path: Path) -> None:
    names = [f"layers.{i}.mlp.{leaf}" for i in range(3) for leaf in ("weight", "weight_scale")]
    for folder, prefix in (("a", "encoder.core."), ("b", "net.")):
        (tmp_path / folder).mkdir()
        save_file({prefix + n: torch.ones(3) for n in names}, tmp_path / folder / "model.safetensors")
    c = compared(tmp_path / "a", tmp_path / "b")
    assert len(c.scales) == 3
    assert c.same


def test_codes_that_differ_are_counted_exactly(tmp_path: Path) -> None:
    key = "backbone.layers.0.mixer.out_proj.weight"

    def change(state: State) -> None:
        codes = state[key]
        codes[3, 5] ^= 1
        codes[100, :7] ^= 1

    c = compared(A, changed_copy(tmp_path, "m1_w8a8_pa0.9995", change))
    pair = tensor_of(c, "layers.0.mixer.out_proj.weight")
    assert (pair.status, pair.n_changed, pair.n) == (Status.DIFFERENT, 8, 192 * 384)
    assert c.headline.rule == "only-weights"
    assert not c.same


def test_packed_codes_that_differ_are_counted_as_codes_and_padding_is_not(tmp_path: Path) -> None:
    key = "backbone.layers.0.mixer.in_proj.weight"

    def flip_one_nibble(state: State) -> None:
        state[key][0, 0] ^= 0b0011_0000  # one of eight codes in the word

    c = compared(folder_of("m2_w4a16"), changed_copy(tmp_path, "m2_w4a16", flip_one_nibble))
    assert tensor_of(c, "layers.0.mixer.in_proj.weight").n_changed == 1

    def only_padding(state: State) -> None:
        state[key][:, -2:] ^= 1  # columns beyond the 1,288 outputs

    c = compared(folder_of("m2_w4a16"), changed_copy(tmp_path, "m2_w4a16", only_padding))
    assert tensor_of(c, "layers.0.mixer.in_proj.weight").status is Status.EQUAL


def test_an_alpha_setting_cannot_change_weights(tmp_path: Path) -> None:
    def change(state: State) -> None:
        set_point_mamba1(state, 0, "x_proj:input", 2)
        state["backbone.layers.0.mixer.out_proj.weight"][0, 0] ^= 1

    c = compared(A, changed_copy(tmp_path, "m1_w8a8_pa0.9995", change))
    assert c.headline.rule == "several-differences"
    assert "alpha-signature" in rules(c)
    assert "cannot do this" in reason(c, "weights-differ")


def test_what_is_not_read_is_not_called_identical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import qinspect.inspector.compare as module

    monkeypatch.setattr(module, "CODES_LIMIT_BYTES", 1)
    c = compared(A, A)
    assert not c.weights_compared
    assert {w.status for w in c.weights} == {Status.NOT_COMPARED}
    assert compared(A, A, codes=True).weights_compared
    other = compared(A, folder_of("m1_w8a8_pa0.99999"))
    assert "weights-not-compared" in rules(other)
    state, config = load_state("m1_w8a8_pa0.9995")
    again = compared(A, save_state(tmp_path, state, config))
    assert again.headline.rule == "no-difference-read"
    assert again.same


def test_two_different_models_have_no_partner(tmp_path: Path) -> None:
    save_file({"net.weight_scale": torch.ones(2)}, tmp_path / "x.safetensors")
    save_file({"other.bias": torch.ones(2)}, tmp_path / "y.safetensors")
    assert compared(tmp_path / "x.safetensors", tmp_path / "y.safetensors").headline.rule == "no-common-roles"


def test_shape_mismatch_dtype_mismatch_and_missing(tmp_path: Path) -> None:
    ones = torch.ones(4)
    a = {
        f"l.{name}": ones.clone()
        for name in ("shape_k_scale", "dtype_k_scale", "value_k_scale", "gone_k_scale", "weight")
    }
    b = {
        "l.shape_k_scale": torch.ones(5),
        "l.dtype_k_scale": ones.half(),
        "l.value_k_scale": ones.half() * 2,
        "l.new_k_scale": ones,
        "l.weight": ones.half(),
    }
    save_file(a, tmp_path / "a.safetensors")
    save_file(b, tmp_path / "b.safetensors")
    c = compared(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    statuses = {p.role: p.status for p in c.scales}
    assert statuses == {
        "l.shape_k_scale": Status.SHAPE,
        "l.dtype_k_scale": Status.EQUAL,
        "l.value_k_scale": Status.DIFFERENT,
        "l.gone_k_scale": Status.ONLY_A,
        "l.new_k_scale": Status.ONLY_B,
    }
    assert difference_of(c, "l.value_k_scale").largest == 100
    weight = tensor_of(c, "l.weight")
    assert (weight.status, weight.n_changed) == (Status.EQUAL, 0)
    assert not c.same
    unread = tensor_of(compared(tmp_path / "a.safetensors", tmp_path / "b.safetensors", codes=False), "l.weight")
    assert unread.status is Status.DTYPE


def test_plain_values_are_compared_too(tmp_path: Path) -> None:
    def change(state: State) -> None:
        state["step"] = 7
        state["note"] = "b"

    state, config = load_state("m1_w8a8_pa0.9995")
    state |= {"step": 7, "note": "a", "only": True}
    c = compared(save_state(tmp_path / "a", state, config), changed_copy(tmp_path, "m1_w8a8_pa0.9995", change))
    found = {w.role: w.status for w in c.weights if w.role in ("step", "note", "only")}
    assert found == {"step": Status.IDENTICAL, "note": Status.DIFFERENT, "only": Status.ONLY_A}


def test_broken_numbers_are_differences_without_a_percentage(tmp_path: Path) -> None:
    a = torch.tensor([0.0, 1.0, math.nan, math.inf, -2.0])
    b = torch.tensor([1.0, math.nan, math.nan, 5.0, -3.0])
    save_file({"l.scales": a}, tmp_path / "a.safetensors")
    save_file({"l.scales": b}, tmp_path / "b.safetensors")
    d = difference_of(compared(tmp_path / "a.safetensors", tmp_path / "b.safetensors"), "l.scales")
    assert (d.n, d.n_changed, d.n_undefined) == (5, 4, 3)
    assert d.largest == pytest.approx(-50)  # of |A|: -2 became -3
    assert d.where == (4,)
    assert (d.n_up, d.n_down) == (1, 2)


def test_large_scale_tensors_in_parts_say_the_same_as_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import qinspect.inspector.compare.difference as counting
    import qinspect.inspector.compare.scales as module

    rng = np.random.default_rng(0)
    a = torch.from_numpy(rng.random((700, 31), np.float32) + 0.5)
    b = a.clone()
    b[600, 7] *= 3
    b[1, 1] *= 0.9
    save_file({"l.scales": a}, tmp_path / "a.safetensors")
    save_file({"l.scales": b}, tmp_path / "b.safetensors")
    whole = difference_of(compared(tmp_path / "a.safetensors", tmp_path / "b.safetensors"), "l.scales")
    monkeypatch.setattr(module, "SAMPLE_ELEMENTS", 1 << 12)
    monkeypatch.setattr(counting, "SAMPLE_ELEMENTS", 1 << 12)
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 1000)
    parts = difference_of(compared(tmp_path / "a.safetensors", tmp_path / "b.safetensors"), "l.scales")
    assert (parts.n_changed, parts.where, parts.largest) == (2, (600, 7), whole.largest)
    assert parts.mean == pytest.approx(whole.mean)
    assert parts.sampled
    assert not whole.sampled


def test_progress_can_cancel() -> None:
    class Stop(Exception):
        pass

    def stop(phase: str, done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        compare(format_of(open_checkpoint(A)), format_of(open_checkpoint(B)), None, stop)


def test_layers_of_other_numbers_are_never_a_renamed_prefix(tmp_path: Path) -> None:
    for folder, layers in (("a", (0, 1, 5)), ("b", (0, 1, 3))):
        (tmp_path / folder).mkdir()
        tensors = {f"model.layers.{i}.mlp.{leaf}": torch.ones(3) for i in layers for leaf in ("weight", "weight_scale")}
        save_file(tensors, tmp_path / folder / "model.safetensors")
    c = compared(tmp_path / "a", tmp_path / "b")
    assert of(c, "layers.5.mlp.weight_scale").status is Status.ONLY_A
    assert of(c, "layers.3.mlp.weight_scale").status is Status.ONLY_B
    assert not c.same


@pytest.mark.parametrize("key", ["conv1d.output_scale", "selective_scan.u_scale"])
@pytest.mark.parametrize("how", ["deleted", "None"])
def test_a_copy_that_is_not_there_is_missed(tmp_path: Path, key: str, how: str) -> None:
    def change(state: State) -> None:
        if how == "deleted":
            del state[f"backbone.layers.0.mixer.{key}"]
        else:
            state[f"backbone.layers.0.mixer.{key}"] = None

    c = compared(A, changed_copy(tmp_path, "m1_w8a8_pa0.9995", change))
    assert c.headline.rule == "copies-missing"
    assert key in c.headline.text
    assert not c.same


def test_copies_that_disagree_otherwise_in_each_model(tmp_path: Path) -> None:
    paths = []
    for factor in (1.5, 2.0):
        state, config = load_state("m1_w8a8_pa0.9995")
        state["backbone.layers.0.mixer.selective_scan.u_scale"] *= factor
        paths.append(save_state(tmp_path / str(factor), state, config))
    c = compared(paths[0], paths[1])
    assert c.headline.rule == "copies-disagree"
    assert not c.same
    assert compared(paths[0], paths[0]).same  # alike in both: a convention, not a difference


def test_a_wrong_factor_is_blamed_and_not_the_products_made_of_it(tmp_path: Path) -> None:
    def change(state: State) -> None:
        state["backbone.layers.0.mixer.conv1d.input_scale"] *= 1.01

    c = compared(A, changed_copy(tmp_path, "m1_w8a8_pa0.9995", change))
    assert [p.copy_key for p in c.copies] == ["backbone.layers.0.mixer.selective_scan.z_scale"]


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -0.009])
def test_a_number_that_no_scale_can_be_is_no_change_of_alpha(tmp_path: Path, value: float) -> None:
    def change(state: State) -> None:
        state["backbone.layers.0.mixer.selective_scan.ssm_state_scale"].fill_(value)

    c = compared(A, changed_copy(tmp_path, "m1_w8a8_pa0.9995", change))
    assert c.headline.rule == "broken-scale"
    assert not rules(c) & {"alpha-signature", "repeat-noise", "noise-bands"}
    assert "B" in c.headline.text


def test_equal_numbers_of_other_bytes_are_not_called_identical(tmp_path: Path) -> None:
    for name, zero in (("a", 0.0), ("b", -0.0)):
        x = torch.tensor([zero, 1.0])
        save_file({"l.scales": x, "l.bias": x.clone()}, tmp_path / f"{name}.safetensors")
    c = compared(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert of(c, "l.scales").status is Status.EQUAL
    assert tensor_of(c, "l.bias").status is Status.EQUAL
    assert c.same
    assert c.headline.rule == "broken-scale"  # zero is no scale, in whatever form


def test_integers_beyond_float_precision_are_told_apart(tmp_path: Path) -> None:
    save_file({"l.scales": torch.tensor([1 << 53])}, tmp_path / "a.safetensors")
    save_file({"l.scales": torch.tensor([(1 << 53) + 1])}, tmp_path / "b.safetensors")
    assert difference_of(compared(tmp_path / "a.safetensors", tmp_path / "b.safetensors"), "l.scales").n_changed == 1


def test_one_edited_channel_is_no_reordering(tmp_path: Path) -> None:
    def change(state: State) -> None:
        state["backbone.layers.0.mixer.norm.weight"][3] += 0.5

    c = compared(folder_of("m2_w4a8_gh_pa0.9995"), changed_copy(tmp_path, "m2_w4a8_gh_pa0.9995", change))
    assert not rules(c) & {"reordered", "head-order-differs"}
    pair = tensor_of(c, "layers.0.mixer.norm.weight")
    assert (pair.status, pair.n_changed) == (Status.DIFFERENT, 1)


def test_codes_of_a_reordered_layer_are_checked_to_be_the_same_values(tmp_path: Path) -> None:
    def change(state: State) -> None:
        state["backbone.layers.0.mixer.conv1d.weight"][:] = 1
        state["backbone.layers.0.norm.weight"] += 1

    c = compared(folder_of("m2_w4a8_gh_pa0.9995"), changed_copy(tmp_path, "m2_w4a8_gh_perm", change))
    assert tensor_of(c, "layers.0.mixer.in_proj.weight").status is Status.PERMUTED
    assert tensor_of(c, "layers.0.mixer.conv1d.weight").status is Status.INCOMPARABLE
    assert tensor_of(c, "layers.0.norm.weight").status is Status.DIFFERENT  # of d_model: no head moved it
    assert tensor_of(c, "layers.0.mixer.out_proj.weight").status is Status.INCOMPARABLE  # rotated


def test_grouped_against_plain_is_recognised_as_reordered() -> None:
    c = compared(folder_of("m2_w8a8_pa0.9995"), folder_of("m2_w8a8_gh"))
    assert tensor_of(c, "layers.0.mixer.in_proj.weight").status is Status.PERMUTED
    assert "dead-parameter" not in rules(c)


def test_parameters_of_the_scan_line_up_whatever_is_quantized() -> None:
    c = compared(folder_of("m2_w8a8_gh"), folder_of("m2_w4a16"))
    for leaf in ("A_log", "D", "dt_bias"):
        pair = tensor_of(c, f"layers.0.mixer.{leaf}")
        assert pair.a is not None
        assert pair.b is not None


def test_only_the_quantizer_of_weights_differs(tmp_path: Path) -> None:
    def change(state: State) -> None:
        state["backbone.layers.0.mixer.out_proj.b"] *= 1.1
        state["backbone.layers.0.mixer.out_proj.alpha"] *= 1.1
        state["backbone.layers.0.mixer.out_proj.weight"][0, :9] ^= 1

    c = compared(A, changed_copy(tmp_path, "m1_w8a8_pa0.9995", change))
    assert c.headline.rule == "only-weights"
    assert "the calibration is the same" in c.headline.text


def test_a_config_that_differs_is_said(tmp_path: Path) -> None:
    state, config = load_state("m1_w8a8_pa0.9995")
    c = compared(A, save_state(tmp_path, state, config | {"d_model": 7}))
    assert "d_model" in reason(c, "config-differs")
