"""GPTQ's tensors, against what GPTQModel and AutoRound make of them and against packing by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import peer_truth
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packed_weights import LAYER, Tensors, gptq, in_parts, layer, opened, weight
from peer_truth import agree, needs_fixtures, same_bits
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import Status, compare
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats import Format, Quantity, format_of

DATA = Path(__file__).parents[1] / "data"
PLANES = {2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1), 8: (8,)}
V1 = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "checkpoint_format": "gptq"}
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))


def only(fmt: Format) -> np.ndarray:
    (found,) = fmt.weights()
    return fmt.dequantize(found)


# --- what the libraries wrote ---


@pytest.mark.parametrize("name", ["gptq_v1_asym_g32", "gptq_v1_3bit_g32", "gptq_v1_descact_g32"])
def test_weights_are_gptqmodels_to_the_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    assert agree(name, "gptq").notes() == ()


@needs_fixtures
@pytest.mark.parametrize(
    "name", ["gptq_v1_asym_g32", "gptq_v1_3bit_g32", "gptq_v1_descact_g32", "gptq_v1_sym_g32", "gptq_v2_asym_g128"]
)
def test_weights_of_whole_models_are_gptqmodels_to_the_bit(name: str) -> None:
    assert agree(name, "gptq").notes() == ()


@needs_fixtures
@pytest.mark.parametrize("name", ["autoround_gptq_g32", "autoround_w4a16_mixed"])
def test_weights_of_autoround(name: str) -> None:
    """The truth came through a product with the identity, which has no negative zero."""
    fmt, expected = peer_truth.opened(name), peer_truth.truth(name)
    by_name = {w.name: w for w in fmt.weights()}
    assert fmt.notes() == ()
    assert all(np.array_equal(fmt.dequantize(by_name[n]), values) for n, values in expected.items())
    scale = next(r for r in fmt.scales() if r.quantity is Quantity.SCALE)
    assert scale.signed
    assert (fmt.values(scale) < 0).any()


# --- packing ---


@_SETTINGS
@given(
    st.integers(2, 8), st.sampled_from(["gptq", "gptq_v2", "gptq_p"]), st.sampled_from([32, 64]),
    st.sampled_from([1, 3]), st.booleans(), st.integers(0, 2**31), st.integers(1, 40),
)  # fmt: skip
def test_codes_of_every_width_and_packing(
    tmp_path_factory: pytest.TempPathFactory, bits: int, version: str, n_out: int, runs: int, shuffled: bool, seed: int,
    step: int,
) -> None:  # fmt: skip
    if bits in (5, 6, 7):
        version = "gptq_p"
    w = weight(bits, n_out, 32 * runs, 32, seed, shuffled)
    planes = PLANES[bits] if version == "gptq_p" else ()
    tensors = layer(gptq(w, bits, version == "gptq", planes))
    said = {**V1, "bits": bits, "checkpoint_format": version, "desc_act": shuffled}
    fmt = opened(tmp_path_factory.mktemp("gptq"), tensors, said)
    (found,) = fmt.weights()
    assert (found.name, found.shape, found.bits) == (f"{LAYER}.weight", w.codes.shape, bits)
    assert np.array_equal(fmt.codes(found), w.codes)
    assert same_bits(fmt.dequantize(found), w.values)
    assert same_bits(in_parts(fmt, step), w.values)
    scale, zero = fmt.scales()
    assert np.array_equal(fmt.values(scale), w.scales)
    assert np.array_equal(fmt.values(zero), w.zeros)


@pytest.mark.parametrize("word_bits", [8, 16, 64])
def test_words_of_other_widths(tmp_path: Path, word_bits: int) -> None:
    w = weight(4, 64, 64, 32)
    assert same_bits(only(opened(tmp_path, layer(gptq(w, 4, True, word_bits=word_bits)), V1)), w.values)


def test_a_group_that_is_shorter_than_the_others(tmp_path: Path) -> None:
    w = weight(4, 32, 80, 32)
    assert same_bits(only(opened(tmp_path, layer(gptq(w, 4, True)), V1)), w.values)


def test_without_g_idx_groups_lie_in_a_row(tmp_path: Path) -> None:
    w = weight(4, 32, 80, 32)
    tensors = gptq(w, 4, True)
    del tensors["g_idx"]
    assert same_bits(only(opened(tmp_path, layer(tensors), V1)), w.values)


def test_equal_bytes_of_two_versions_are_two_zero_points(tmp_path: Path) -> None:
    tensors = layer(gptq(weight(4, 32, 64, 32), 4, True))
    a = opened(tmp_path / "a", tensors, V1)
    b = opened(tmp_path / "b", tensors, {**V1, "checkpoint_format": "gptq_v2"})
    statuses = {p.role: p.status for p in compare(a, b).scales}
    assert list(statuses.values()) == [Status.IDENTICAL, Status.DIFFERENT]
    assert compare(a, a).scales[1].status is Status.IDENTICAL


def test_groups_that_are_other_columns_are_not_compared_cell_by_cell(tmp_path: Path) -> None:
    a = opened(tmp_path / "a", layer(gptq(weight(4, 32, 128, 32), 4, True)), V1)
    shuffled = gptq(weight(4, 32, 128, 32, seed=1, shuffled=True), 4, True)
    b = opened(tmp_path / "b", layer(shuffled), {**V1, "desc_act": True})
    scale = compare(a, b).scales[0]
    assert scale.difference is not None
    assert scale.difference.sorted_cells
    assert any("g_idx puts columns into other groups" in r.text for r in compare(a, b).reasons)


def test_one_zero_point_everywhere_has_no_order(tmp_path: Path) -> None:
    """Equal ones are equal, and no sign that columns were moved."""
    a, b = weight(4, 32, 128, 32), weight(4, 32, 128, 32, seed=1, shuffled=True)
    a.zeros[:], b.zeros[:] = 8, 8
    fmt = opened(tmp_path / "a", layer(gptq(a, 4, True)), V1)
    c = compare(fmt, opened(tmp_path / "b", layer(gptq(b, 4, True)), {**V1, "desc_act": True}))
    assert c.scales[1].status is Status.EQUAL
    assert c.headline.rule != "reordered"


# --- what the settings say ---


@pytest.mark.parametrize(("packing", "one_less"), [("auto_round:auto_gptq", True), ("auto_round", False)])
def test_autoround_stores_zero_points_less_one_only_in_gptqs_own_packing(
    tmp_path: Path, packing: str, one_less: bool
) -> None:
    w = weight(4, 32, 64, 32)
    tensors = gptq(w, 4, one_less)
    del tensors["g_idx"]
    said = {"quant_method": "auto-round", "bits": 4, "group_size": 32, "sym": False, "packing_format": packing}
    assert same_bits(only(opened(tmp_path, layer(tensors), said)), w.values)


@pytest.mark.parametrize(("one_less", "said"), [(True, {}), (False, {"quant_method": "auto-round", "bits": 4})])
def test_zero_points_of_a_symmetric_model_say_themselves_how_they_are_stored(
    tmp_path: Path, one_less: bool, said: dict[str, Any]
) -> None:
    w = weight(4, 32, 64, 32)
    w.zeros[:] = 8
    fmt = opened(tmp_path, layer(gptq(w, 4, one_less)), said or None)
    assert same_bits(only(fmt), w.values)
    assert any("no setting says" in note for note in fmt.notes())


def test_zero_points_of_which_nothing_says_how_they_are_stored_are_not_guessed(tmp_path: Path) -> None:
    fmt = opened(tmp_path, layer(gptq(weight(4, 32, 64, 32), 4, True)))
    assert fmt.family == "gptq"
    (found,) = fmt.weights()
    assert fmt.codes(found).shape == (32, 64)
    with pytest.raises(CannotDequantize, match="less 1") as e:
        fmt.dequantize(found)
    assert e.value.key == f"{LAYER}.qzeros"


@pytest.mark.parametrize("where", ["config.json", "text_config", "quantize_config.json"])
def test_settings_are_found_wherever_tools_put_them(tmp_path: Path, where: str) -> None:
    w = weight(4, 32, 64, 32)
    v2 = {**V1, "checkpoint_format": "gptq_v2"}
    opened(tmp_path, layer(gptq(w, 4, False)))
    content = {"config.json": {"quantization_config": v2}, "text_config": {"text_config": {"quantization_config": v2}}}
    name = "quantize_config.json" if where.startswith("quantize") else "config.json"
    bare = {k: v for k, v in v2.items() if k != "quant_method"}
    (tmp_path / name).write_text(json.dumps(content.get(where, bare)))
    assert same_bits(only(format_of(open_checkpoint(tmp_path))), w.values)


@pytest.mark.parametrize(
    "override",
    [
        {"quant_method": "gptq", "dynamic": {r"-:.*o_proj": {}, r"+:.*\.q_proj": {"bits": 8, "group_size": 64}}},
        {"quant_method": "gptq", "dynamic": {r"model\.layers\.0\..*q_proj": {"bits": 8, "group_size": 64}}},
        {
            "quant_method": "auto-round", "packing_format": "auto_round:auto_gptq",
            "extra_config": {LAYER: {"bits": 8, "group_size": 64}},
        },
    ],
)  # fmt: skip
def test_a_module_may_have_settings_of_its_own(tmp_path: Path, override: dict[str, Any]) -> None:
    w = weight(8, 32, 128, 64)
    fmt = opened(tmp_path, layer(gptq(w, 8, True)), {**V1, **override})
    assert same_bits(only(fmt), w.values)
    assert fmt.weights()[0].grid.group_size == 64
    assert fmt.notes() == ()


def test_where_settings_and_tensors_differ_the_tensors_are_believed_and_both_are_said(tmp_path: Path) -> None:
    w = weight(8, 32, 128, 32)
    fmt = opened(tmp_path, layer(gptq(w, 8, True)), {**V1, "group_size": 64})
    assert same_bits(only(fmt), w.values)
    (note,) = fmt.notes()
    assert "says bits 4 and group_size 64" in note
    assert "bits 8 and group_size 32" in note


@pytest.mark.parametrize(
    "said",
    [
        {"group_size": 0}, {"group_size": -7}, {"group_size": "x"}, {"bits": None}, {"dynamic": {"(": {"bits": 2}}},
        {"dynamic": [1]}, {"bits": 2**70}, {"meta": 3},
    ],
)  # fmt: skip
def test_settings_that_are_none_stop_nothing(tmp_path: Path, said: dict[str, Any]) -> None:
    w = weight(4, 32, 64, 32)
    fmt = opened(tmp_path, layer(gptq(w, 4, True)), {**V1, **said})
    assert same_bits(only(fmt), w.values)
    assert fmt.description.startswith("GPTQ v1 W4, group 32")


def test_a_packing_that_is_not_known_is_not_decoded(tmp_path: Path) -> None:
    fmt = opened(tmp_path, layer(gptq(weight(4, 32, 64, 32), 4, True)), {**V1, "checkpoint_format": "bitblas"})
    assert fmt.weights() == ()
    assert any("bitblas" in note and "gptq_v2" in note for note in fmt.notes())
    assert "BitBLAS" in fmt.description


@pytest.mark.parametrize("method", ["bitblas", "gptq_bitblas"])
def test_bitblas_is_known_by_name(tmp_path: Path, method: str) -> None:
    tensors = {
        "qweight": torch.zeros(64, 32, dtype=torch.int8),
        "scales": torch.ones(64, 2),
        "zeros": torch.ones(64, 2),
    }
    fmt = opened(tmp_path, layer(tensors), {"quant_method": method, "bits": 4})
    assert fmt.weights() == ()
    assert "BitBLAS" in fmt.description


QQQ = Path(__file__).parents[1] / "data" / "quamba" / "m1_w4a8" / "quamba-small-w4a8"


def qqq() -> tuple[Tensors, np.ndarray]:
    """A layer that Quamba's packer, which is QQQ's, wrote, under QQQ's names, and its values."""
    fmt = format_of(open_checkpoint(QQQ))
    weight = next(w for w in fmt.weights() if w.name.endswith("out_proj.weight"))
    module = weight.name.removesuffix("weight")
    stored = {n: fmt.checkpoint.tensor(module + n) for n in ("weight", "s_channel", "s_group", "workspace")}
    tensors = {n: torch.from_numpy(t.read().copy()) for n, t in stored.items() if t is not None}
    return {"B" if n == "weight" else n: t for n, t in tensors.items()}, fmt.dequantize(weight)


@pytest.mark.parametrize(
    "settings", [{"quant_method": "qqq", "wbits": 4, "group_size": 128},
                 {"quant_method": "gptq", "bits": 4, "checkpoint_format": "qqq"}, None],
)  # fmt: skip
def test_qqq_is_what_its_packer_was_given(settings: dict[str, Any] | None, tmp_path: Path) -> None:
    tensors, values = qqq()
    fmt = opened(tmp_path, layer(tensors), settings)
    assert fmt.family == "gptq"
    assert fmt.description.startswith("QQQ W4")
    assert not fmt.problems()
    assert same_bits(only(fmt)[: len(values)], values)
    (weight,) = fmt.weights()
    assert same_bits(fmt.dequantize(weight, 3, 70), only(fmt)[3:70])
    assert {r.role.partition("#")[2] for r in fmt.scales()} == {"", "channel"}
    assert fmt.other_tensors() == []


@pytest.mark.parametrize(
    ("last", "change", "words"),
    [
        ("s_group", lambda t: torch.empty(0, dtype=torch.float16), "in what order QQQ without groups keeps codes"),
        ("s_group", lambda t: t[:, :-1].contiguous(), "does not fit"),
        ("s_channel", lambda t: t[0], "does not fit"),
        ("B", lambda t: t[:, :-2].contiguous(), "cannot be codes in the order of QQQ's kernel"),
        ("B", lambda t: t.to(torch.int64), "cannot be codes in the order of QQQ's kernel"),
    ],
)
def test_qqq_that_does_not_fit_is_one_sentence(last: str, change: Any, words: str, tmp_path: Path) -> None:
    tensors, _ = qqq()
    other = {**tensors, last: change(tensors[last])}
    fmt = opened(tmp_path, {**layer(tensors), **layer(other, "model.layers.1.mlp.up_proj")}, {"quant_method": "qqq"})
    assert len(fmt.weights()) == 1
    (problem,) = fmt.problems()
    assert words in str(problem.error)


def test_a_scale_of_qqq_that_is_no_number_is_the_files(tmp_path: Path) -> None:
    tensors, _ = qqq()
    tensors["s_channel"] = torch.full_like(tensors["s_channel"], float("nan"))
    assert np.isnan(only(opened(tmp_path, layer(tensors), {"quant_method": "qqq"}))).all()


@pytest.mark.parametrize("method", ["compressed-tensors", "quark", "awq", "hqq"])
def test_what_another_method_wrote_is_not_claimed(tmp_path: Path, method: str) -> None:
    fmt = opened(tmp_path, layer(gptq(weight(4, 32, 64, 32), 4, True)), {**V1, "quant_method": method})
    assert fmt.family != "gptq"


# --- names ---


@pytest.mark.parametrize("prefix", ["", "model.", "model.language_model.", "module.model."])
def test_roles_do_not_depend_on_what_savers_put_in_front(tmp_path: Path, prefix: str) -> None:
    fmt = opened(tmp_path, layer(gptq(weight(4, 32, 64, 32), 4, True), f"{prefix}layers.0.mlp.experts.3.up_proj"), V1)
    role = "layers.0.mlp.experts.3.up_proj.weight"
    assert [r.role for r in fmt.scales()] == [role, f"{role}#zero_point"]
    assert fmt.weights()[0].scale_roles == (role, f"{role}#zero_point")


def test_nothing_that_belongs_to_codes_is_another_tensor(tmp_path: Path) -> None:
    tensors = layer(gptq(weight(4, 32, 64, 32), 4, True)) | {f"{LAYER}.bias": torch.ones(32)}
    for desc_act in (True, False):
        fmt = opened(tmp_path / str(desc_act), tensors, {**V1, "desc_act": desc_act})
        assert [t.name for t in fmt.other_tensors()] == [f"{LAYER}.bias"]


@pytest.mark.usefixtures("unread")
def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    fmt = opened(tmp_path, layer(gptq(weight(4, 32, 64, 32), 4, True)), V1)
    assert fmt.description
    assert fmt.notes() == ()


# --- damage ---

DAMAGES: dict[str, tuple[str, torch.Tensor | None]] = {
    "no scales": ("scales", None),
    "no zero points": ("qzeros", None),
    "scales of other outputs": ("scales", torch.ones(2, 31).half()),
    "scales of no groups": ("scales", torch.ones(0, 32).half()),
    "scales that are integers": ("scales", torch.ones(2, 32).int()),
    "scales with an axis more": ("scales", torch.ones(2, 32, 1).half()),
    "zero points of other groups": ("qzeros", torch.ones(3, 4).int()),
    "zero points that are floats": ("qzeros", torch.ones(2, 4)),
    "codes that are floats": ("qweight", torch.ones(8, 32)),
    "codes in a row": ("qweight", torch.ones(8).int()),
    "an index that is no list": ("g_idx", torch.ones(64, 1).int()),
    "an index of other inputs": ("g_idx", torch.zeros(50).int()),
    "an index of floats": ("g_idx", torch.zeros(64)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_module_is_named_and_the_others_stay_understood(tmp_path: Path, damage: str) -> None:
    w = weight(4, 32, 64, 32)
    last, found = DAMAGES[damage]
    broken: Tensors = {k: v for k, v in gptq(w, 4, True).items() if k != last}
    if found is not None:
        broken[last] = found
    other = "model.layers.0.self_attn.k_proj"
    fmt = opened(tmp_path, layer(broken) | layer(gptq(w, 4, True), other), V1)
    assert [x.name for x in fmt.weights()] == [f"{other}.weight"]
    assert same_bits(only(fmt), w.values)
    (problem,) = fmt.problems()
    assert LAYER in (problem.error.key or "")
    assert problem.error.expected
    assert problem.error.found
    assert any(LAYER in note for note in fmt.notes())


@pytest.mark.parametrize("wrong", [-1, 2, 2**31 - 1])
def test_an_index_beyond_the_groups_is_refused_when_it_is_read(tmp_path: Path, wrong: int) -> None:
    tensors = gptq(weight(4, 32, 64, 32), 4, True)
    tensors["g_idx"][5] = wrong
    fmt = opened(tmp_path, layer(tensors), V1)
    with pytest.raises(CannotDequantize, match="which group") as e:
        only(fmt)
    assert e.value.key == f"{LAYER}.g_idx"


def test_activation_order_without_an_index_is_refused(tmp_path: Path) -> None:
    tensors = gptq(weight(4, 32, 64, 32), 4, True)
    del tensors["g_idx"]
    fmt = opened(tmp_path, layer(tensors), {**V1, "desc_act": True})
    assert fmt.weights() == ()
    assert any("g_idx" in note and "desc_act" in note for note in fmt.notes())


def test_scales_may_lie_in_another_shard(tmp_path: Path) -> None:
    w = weight(4, 32, 64, 32)
    tensors = layer(gptq(w, 4, True))
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    where = {key: names[key.endswith(("scales", "g_idx"))] for key in tensors}
    for name in names:
        save_file({k: t for k, t in tensors.items() if where[k] == name}, tmp_path / name)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": V1}))
    assert same_bits(only(format_of(open_checkpoint(tmp_path))), w.values)


def test_a_scale_that_is_no_number_is_the_files(tmp_path: Path) -> None:
    w = weight(4, 32, 64, 32)
    w.scales[3, 1] = np.nan
    found = only(opened(tmp_path, layer(gptq(w, 4, True)), V1))
    assert np.isnan(found[3, 32:]).all()
    assert np.isfinite(found[:3]).all()


# --- Marlin ---


@pytest.mark.parametrize("n_groups", [1, 2])
@pytest.mark.parametrize("said", [{"checkpoint_format": "marlin"}, {"is_marlin_format": True}, None])
def test_marlins_order_is_undone(tmp_path: Path, n_groups: int, said: dict[str, Any] | None) -> None:
    """Packed code by code: of each run of four tiles, a lane takes rows 2l, 2l + 1, 2l + 8, 2l + 9 of two columns."""
    n_out, n_in = 128, 256
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 16, (n_in, n_out))
    scales = (rng.random((n_groups, n_out)) * 0.1).astype(np.float16)
    rows = []
    for tile_row in range(n_in // 16):
        packed: list[int] = []
        for run in range(n_out // 64):
            for lane in range(32):
                for tile in range(4):
                    at = [
                        (16 * tile_row + 2 * (lane % 4) + row, 64 * run + 16 * tile + lane // 4 + 8 * block)
                        for block in (0, 1)
                        for row in (0, 1, 8, 9)
                    ]
                    packed.append(sum(int(codes[at[i]]) << (4 * n) for n, i in enumerate((0, 2, 4, 6, 1, 3, 5, 7))))
        rows.append(packed)
    if n_groups == 1:
        order = [2 * i + j for i in range(4) for j in (0, 1, 8, 9, 16, 17, 24, 25)]
        stored = scales.reshape(-1, 32)[:, order].reshape(1, n_out)
    else:
        stored = scales.reshape(n_groups, -1, 64)[..., [i + 8 * j for i in range(8) for j in range(8)]]
        stored = stored.reshape(n_groups, n_out)
    words = torch.from_numpy(np.array(rows, np.uint32).view(np.int32))
    tensors = {"B": words, "s": torch.from_numpy(stored.copy()), "workspace": torch.zeros(16).int()}
    fmt = opened(tmp_path, layer(tensors), None if said is None else {"quant_method": "gptq", "bits": 4, **said})
    step = scales.astype(np.float32).T.repeat(n_in // n_groups, axis=1)
    expected = (codes.T.astype(np.float32) - 8) * step
    assert fmt.family == "gptq"
    assert same_bits(only(fmt), expected)
    assert same_bits(in_parts(fmt, 50), expected)
    assert fmt.other_tensors() == []
