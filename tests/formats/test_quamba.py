"""Quamba checkpoints against what Quamba's own code said of them before it packed them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quamba_files import (
    DATA,
    State,
    expected_folded,
    expected_hashes,
    folder_of,
    load_state,
    only_folder,
    save_state,
    sha256,
    whole_set,
)
from safetensors.numpy import load_file
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare.copies import check_copies
from qinspect.inspector.formats import Format, Kind, format_of
from qinspect.inspector.formats.families.quamba import QuambaFormat

NAMES = sorted(p.name for p in DATA.iterdir())
FOLD_TOLERANCE = 1e-6
NO_FIXTURES = "QINSPECT_FIXTURES is not set: the whole set of fixtures is elsewhere"


def open_format(folder: Path) -> Format:
    return format_of(open_checkpoint(folder))


def assert_dequantizes(fmt: Format, name: str, expected: Any) -> None:
    weight = next(w for w in fmt.weights() if w.name == name)
    values = fmt.dequantize(weight)
    assert values.shape == expected.shape
    assert values.dtype == np.float32
    assert np.abs(values - expected).max() <= FOLD_TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("name", NAMES)
def test_dequantized_weights_match_to_the_bit(name: str) -> None:
    fmt = open_format(folder_of(name))
    weights = {w.name: w for w in fmt.weights()}
    expected = expected_hashes(name)
    assert expected
    for key, truth in expected.items():
        values = fmt.dequantize(weights[key])
        assert list(values.shape) == truth["shape"], key
        assert sha256(values) == truth["sha256"], key


@pytest.mark.parametrize("name", [n for n in NAMES if expected_folded(n)])
def test_folded_weights_match_to_their_rounding(name: str) -> None:
    fmt = open_format(folder_of(name))
    for key, truth in expected_folded(name).items():
        assert_dequantizes(fmt, key, truth)


@pytest.mark.skipif(not whole_set(), reason=NO_FIXTURES)
@pytest.mark.parametrize("folder", whole_set(), ids=lambda p: str(getattr(p, "name", p)))
def test_whole_set(folder: Path) -> None:
    fmt = open_format(only_folder(folder))
    for key, truth in load_file(folder / "expected.safetensors").items():
        assert_dequantizes(fmt, key, truth)
    assert_scales(fmt, folder)
    assert check_copies("A", fmt) == []


def assert_scales(fmt: Format, folder: Path) -> int:
    """Every stored point equals the observer's scale, to the bit; returns how many there are."""
    truth = json.loads((folder / "expected_scales.json").read_text())
    records = {r.role: r for r in fmt.scales()}
    expected = {f"layers.{i}.mixer.{k}": v for i, layer in enumerate(truth["layers"]) for k, v in layer.items()}
    expected |= truth["lm_head"]
    points = [r for r in records.values() if r.kind is Kind.ACTIVATION]
    for r in points:
        of_observer = expected[r.role]
        numbers = of_observer["scales"] if isinstance(of_observer, dict) else of_observer
        stored = np.asarray(fmt.values(r), np.float32)
        assert np.array_equal(stored.reshape(-1), np.asarray(numbers, np.float32).reshape(-1)), r.role
    return len(points)


@pytest.mark.parametrize(
    ("name", "n_points", "n_sensitive"),
    [
        ("m1_w8a8_pa0.9995", 14, 4),
        ("m1_w8a8_pa0.99999", 14, 4),
        ("m1_w4a8", 7, 2),
        ("m2_w8a8_pa0.9995", 22, 4),
        ("m2_w8a8_gh", 23, 0),
        ("m2_w4a8_gh_pa0.9995", 23, 0),
        ("m2_w4a8_gh_perm", 23, 0),
        ("m2_w4a16", 0, 0),
    ],
)
def test_points_hold_the_observers_scales(name: str, n_points: int, n_sensitive: int) -> None:
    fmt = open_format(folder_of(name))
    assert assert_scales(fmt, DATA / name) == n_points
    assert sum(r.alpha_sensitive is True for r in fmt.scales()) == n_sensitive


@pytest.mark.parametrize("name", NAMES)
def test_all_stored_copies_agree(name: str) -> None:
    assert check_copies("A", open_format(folder_of(name))) == []


def test_copies_cover_the_table_of_copies_that_must_agree() -> None:
    records = {r.role: r for r in open_format(folder_of("m1_w8a8_pa0.9995")).scales()}
    keys = {c.key.removeprefix("backbone.layers.0.mixer.") for c in records["layers.0.mixer.x_proj:input"].copies}
    assert keys == {"selective_scan.u_scale", "x_proj.a", "x_proj.alpha"}
    keys = {c.key.removeprefix("backbone.layers.0.mixer.") for c in records["layers.0.mixer.x_proj:output"].copies}
    assert keys == {"selective_scan.C_scale", "dt_proj.a", "dt_proj.alpha"}
    records = {r.role: r for r in open_format(folder_of("m2_w4a8_gh_pa0.9995")).scales()}
    assert [c.key for c in records["lm_head:input"].copies] == ["lm_head.input_scale"]


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_with_scale_in_its_name_is_accounted_for(name: str) -> None:
    """Nothing named a scale escapes: it is a record, a copy, or None (a norm that does not quantize)."""
    fmt = open_format(folder_of(name))
    known = {r.key for r in fmt.scales()} | {c.key for r in fmt.scales() for c in r.copies}
    named = [e for e in fmt.checkpoint.entries if "scale" in e.rpartition(".")[2]]
    missing = [e for e in named if e not in known and getattr(fmt.checkpoint[e], "value", 0) is not None]
    assert missing == []


@pytest.mark.parametrize("name", NAMES)
def test_rows_in_blocks_are_the_rows_of_the_whole(name: str) -> None:
    fmt = open_format(folder_of(name))
    for weight in fmt.weights():
        step = max(weight.row_step, 100 // weight.row_step * weight.row_step)
        starts = range(0, weight.shape[0], step)
        values = np.concatenate([fmt.dequantize(weight, s, s + step) for s in starts])
        codes = np.concatenate([fmt.codes(weight, s, s + step) for s in starts])
        assert np.array_equal(values, fmt.dequantize(weight))
        assert np.array_equal(codes, fmt.codes(weight))
        low, high = -(1 << (weight.bits - 1)), (1 << (weight.bits - 1)) - 1
        assert low <= codes.min() <= codes.max() <= high


def test_forward_order_follows_the_data() -> None:
    roles = [r.role for r in open_format(folder_of("m2_w4a8_gh_pa0.9995")).scales()]
    landmarks = [
        "embedding.weight",
        "layers.0.mixer.in_proj:input",
        "layers.0.mixer.in_proj.weight",
        "layers.0.mixer.x_conv_in:input",
        "layers.0.mixer.conv1d.weight#x",
        "layers.0.mixer.x_conv_out:input",
        "layers.0.mixer.ssm_state_act:input",
        "layers.0.mixer.out_proj:input",
        "layers.0.mixer.out_proj.weight",
        "layers.1.mixer.in_proj:input",
        "lm_head:input",
        "lm_head.weight",
    ]
    positions = [roles.index(r) for r in landmarks]
    assert positions == sorted(positions)


def test_a_config_that_claims_a_quantized_norm_is_tolerated_and_noted() -> None:
    assert any("QRMSNorm" in n for n in open_format(folder_of("m1_w8a8_pa0.9995")).notes())
    assert not any("QRMSNorm" in n for n in open_format(folder_of("m2_w8a8_gh")).notes())


# --- variants that are made here out of the real layers ---


def hybrid_state(both: bool) -> State:
    """Layer 0 in W4A8 and layer 1 in W4A16, or (`both`) layer 0 in both under the doubled names."""
    w4a8, _ = load_state("m2_w4a8_gh_pa0.9995")
    w4a16, _ = load_state("m2_w4a16")
    prefix = "W4A" if both else ""
    state = {k: v for k, v in w4a8.items() if ".layers." not in k}
    for source, variant, layer in ((w4a8, "W4A8", 0), (w4a16, "W4A16", 0 if both else 1)):
        for k, v in source.items():
            head, _, rest = k.partition(f"layers.{layer}.")
            if rest:
                module, _, leaf = rest.partition(".")
                state[f"{head}layers.{layer}.{module}s.{prefix}{variant}.{leaf}"] = v
    return state


def hybrid_config() -> dict[str, Any]:
    _, config = load_state("m2_w4a8_gh_pa0.9995")
    layers = [{"W4A8": "W4A8QMamba2"}, {"W4A16": "W4A16QMamba2"}]
    norms = [{"W4A8": "QRMSNorm"}]
    return dict(config) | {"is_hybrid": True, "ssm_cfg": {"layer": layers}, "norm_cfg": {"norm": norms}}


def test_hybrid_layers(tmp_path: Path) -> None:
    fmt = open_format(save_state(tmp_path, hybrid_state(both=False), hybrid_config()))
    assert isinstance(fmt, QuambaFormat)
    assert "hybrid 1 W4A8 + 1 W4A16" in fmt.description
    weights = {w.name: w for w in fmt.weights()}
    in_proj = "backbone.layers.0.mixers.W4A8.in_proj.weight"
    assert_dequantizes(fmt, in_proj, expected_folded("m2_w4a8_gh_pa0.9995")["backbone.layers.0.mixer.in_proj.weight"])
    w4a16 = open_format(folder_of("m2_w4a16"))
    other = next(w for w in w4a16.weights() if w.name == "backbone.layers.1.mixer.out_proj.weight")
    mine = weights["backbone.layers.1.mixers.W4A16.out_proj.weight"]
    assert np.array_equal(fmt.dequantize(mine), w4a16.dequantize(other))
    roles = {r.role for r in fmt.scales()}
    assert "layers.0.mixer.in_proj:input" in roles  # one mixer a layer: the role is that of any other model
    assert not any(r.startswith("layers.1.") and ":" in r for r in roles)  # A16 stores no activation scale
    assert check_copies("A", fmt) == []


def test_hybrid_layers_with_both_mixers_under_doubled_names(tmp_path: Path) -> None:
    fmt = open_format(save_state(tmp_path, hybrid_state(both=True)))
    roles = {r.role for r in fmt.scales()}
    assert {"layers.0.mixer[W4AW4A8].in_proj.weight", "layers.0.mixer[W4AW4A16].in_proj.weight"} <= roles
    assert "layers.0.mixer[W4AW4A8].in_proj:input" in roles
    assert len(roles) == len(fmt.scales())


def test_two_ssd_groups(tmp_path: Path) -> None:
    """Scales of [2, 4, 4], as the 8B model has [8, 4, 4]."""
    state, config = load_state("m2_w4a8_gh_pa0.9995")
    for key, value in list(state.items()):
        if key.rpartition(".")[2] in (
            "x_out_scales",
            "x_scales",
            "ssm_state_scale",
            "x_head_group_range",
            "x_dim_group_range",
            "B_out_scales",
            "C_out_scales",
        ) or key.endswith(("qchunk_scan.B_scale", "qchunk_scan.C_scale")):
            state[key] = torch.cat([value, value])
    fmt = open_format(save_state(tmp_path, state, config))
    by_role = {r.role: r for r in fmt.scales()}
    assert by_role["layers.0.mixer.x_conv_out:input"].shape == (2, 4, 4)
    assert by_role["layers.0.mixer.ssm_state_act:input"].shape == (2, 4, 4, 128)
    assert by_role["layers.0.mixer.B_conv_out:input"].shape == (2,)
    assert check_copies("A", fmt) == []


def pack_w4a16(codes: Any) -> Any:
    """Codes 0..15 [in, out] to words, nibble by nibble: the inverse of the slow decoder in test_marlin."""
    n_in, n_out = codes.shape
    words = np.zeros((n_in // 16, 2 * n_out), np.uint32)
    for at in range(2 * n_out):
        run, inside = divmod(at, 128)
        lane, tile = divmod(inside, 4)
        rows = [2 * (lane % 4) + r for r in (0, 1, 8, 9)]
        places = [(r, lane // 4) for r in rows] + [(r, lane // 4 + 8) for r in rows]
        for nibble, source in enumerate((0, 2, 4, 6, 1, 3, 5, 7)):
            row, col = places[source]
            words[:, at] |= codes[row::16, run * 64 + tile * 16 + col].astype(np.uint32) << np.uint32(4 * nibble)
    return torch.from_numpy(words.view(np.int32))


def test_mamba1_w4a16_drops_the_padding_of_x_proj(tmp_path: Path) -> None:
    """x_proj has dt_rank + 2 d_state = 48 outputs, padded to 256; dt_proj stays in fp16 and gives dt_rank."""
    rng = np.random.default_rng(5)
    state, config = load_state("m1_w4a8")
    m = "backbone.layers.0.mixer."
    kept = {k: v for k, v in state.items() if m not in k and "output_scale" not in k}
    codes = rng.integers(0, 16, (512, 256))
    scales = (rng.random((4, 256)) + 0.5).astype(np.float16)
    permuted = scales.reshape(4, 4, 8, 8).transpose(0, 1, 3, 2).reshape(4, 256)
    kept |= {
        f"{m}x_proj.weight": pack_w4a16(codes),
        f"{m}x_proj.scale": torch.from_numpy(permuted.copy()),
        f"{m}x_proj.workspace": torch.zeros(64, dtype=torch.int32),
        f"{m}in_proj.weight": pack_w4a16(rng.integers(0, 16, (256, 1024))),
        f"{m}in_proj.scale": torch.ones(2, 1024, dtype=torch.float16),
        f"{m}out_proj.weight": pack_w4a16(rng.integers(0, 16, (512, 256))),
        f"{m}out_proj.scale": torch.ones(4, 256, dtype=torch.float16),
        f"{m}dt_proj.weight": torch.zeros(512, 16, dtype=torch.float16),
        f"{m}dt_proj_bias": torch.zeros(512),
        f"{m}conv1d.weight": torch.zeros(512, 1, 4, dtype=torch.float16),
        f"{m}conv1d.bias": torch.zeros(512, dtype=torch.float16),
        f"{m}A_log": torch.zeros(512, 16),
        f"{m}D": torch.zeros(512),
    }
    fmt = open_format(save_state(tmp_path, kept, config))
    assert fmt.description == "Quamba W4A16, 1 layer"
    assert [r for r in fmt.scales() if r.kind is Kind.ACTIVATION] == []
    weight = next(w for w in fmt.weights() if w.name == f"{m}x_proj.weight")
    assert weight.shape == (48, 512)
    steps = np.repeat(scales.astype(np.float32), 128, axis=0)
    expected = ((codes.astype(np.float32) - 8) * steps).T[:48]
    assert np.array_equal(fmt.dequantize(weight), expected)


def test_converted_to_safetensors_it_is_the_same_model(tmp_path: Path) -> None:
    """Floats become 0-dimensional tensors, None is dropped, int8 weights become contiguous."""
    state, _ = load_state("m1_w8a8_pa0.9995")
    tensors = {
        k: v.contiguous().clone() if isinstance(v, torch.Tensor) else torch.tensor(v)
        for k, v in state.items()
        if v is not None
    }
    save_file(tensors, tmp_path / "model.safetensors")
    fmt = open_format(tmp_path)
    for key, truth in expected_hashes("m1_w8a8_pa0.9995").items():
        weight = next(w for w in fmt.weights() if w.name == key)
        assert sha256(fmt.dequantize(weight)) == truth["sha256"], key
    assert assert_scales(fmt, DATA / "m1_w8a8_pa0.9995") == 14


def test_under_another_prefix_it_is_still_quamba(tmp_path: Path) -> None:
    state, config = load_state("m2_w8a8_gh")
    fmt = open_format(save_state(tmp_path, {f"model.{k}": v for k, v in state.items()}, config))
    assert isinstance(fmt, QuambaFormat)
    original = open_format(folder_of("m2_w8a8_gh"))
    assert [r.role for r in fmt.scales()] == [r.role for r in original.scales()]
    assert "quantized lm_head" in fmt.description


def test_a_layer_without_its_convolution_leaves_the_others(tmp_path: Path) -> None:
    state, config = load_state("m1_w8a8_pa0.9995")
    sound = {r.role for r in open_format(folder_of("m1_w8a8_pa0.9995")).scales()}
    del state["backbone.layers.1.mixer.conv1d.weight"]
    fmt = open_format(save_state(tmp_path, state, config))
    assert fmt.family == "quamba"
    assert {r.role for r in fmt.scales()} == {role for role in sound if not role.startswith("layers.1.")}
    (problem,) = fmt.problems()
    assert problem.key == "backbone.layers.1.mixer"
    assert any("backbone.layers.1.mixer.conv1d.weight" in note for note in fmt.notes())
    assert "backbone.layers.1.mixer.in_proj.weight" in {t.name for t in fmt.other_tensors()}


def test_without_any_convolution_nobody_claims_it(tmp_path: Path) -> None:
    state, config = load_state("m1_w8a8_pa0.9995")
    state = {k: v for k, v in state.items() if not k.endswith("conv1d.weight")}
    fmt = open_format(save_state(tmp_path, state, config))
    assert fmt.family == "plain"
    (note,) = fmt.notes()
    assert note.startswith("looks like quamba, but ")
    assert "backbone.layers.0.mixer.conv1d.weight" in note


def test_full_precision_mamba_is_not_quamba(tmp_path: Path) -> None:
    state = {
        "backbone.layers.0.mixer.in_proj.weight": torch.zeros(8, 4, dtype=torch.float16),
        "backbone.layers.0.mixer.conv1d.weight": torch.zeros(4, 1, 4),
    }
    assert open_format(save_state(tmp_path, state, {"ssm_cfg": {"layer": "Mamba2"}})).family == "plain"
