"""Rules of codes, of zero points and of copies: each fires where it happened, and is silent beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from broken_codes import (
    DATA,
    FP8,
    GPTQ,
    INT4,
    MODELOPT,
    ROWS,
    Tensors,
    edited,
    found_by,
    fp8,
    gptq,
    int4,
    linted,
    model,
    normal,
    nvfp4,
    opened,
    saved,
)
from hqq_files import hqq, of_module
from hqq_files import opened as hqq_opened
from peer_truth import ROOT, needs_fixtures
from quamba_files import folder_of, load_state, save_state

from qinspect.inspector.finding import Severity
from qinspect.inspector.lint.code_facts import read_codes
from qinspect.inspector.lint.code_reference import group_of
from qinspect.inspector.lint.code_shape import entropy_bits
from qinspect.inspector.lint.identical import same_codes
from qinspect.inspector.lint.report import lint_text
from qinspect.inspector.lint.rules.codes import few_effective_bits

UP, DOWN = "model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj"
SOUND: dict[str, tuple[Callable[[torch.Tensor], Tensors], dict[str, Any]]] = {
    "nvfp4": (nvfp4, MODELOPT),
    "int4": (int4, INT4),
    "fp8": (fp8, FP8),
    "gptq": (gptq, GPTQ),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_checkpoints_have_no_finding(tmp_path: Path, name: str) -> None:
    found = linted(model(tmp_path, *SOUND[name]), "C", "H")
    assert [(f.rule.name, f.found.text) for f in found.findings] == []
    assert sum(o.checked is not None and o.checked.n > 0 for o in found.outcomes) >= 8


def test_with_fast_codes_are_not_read_and_that_is_said(tmp_path: Path) -> None:
    found = linted(model(tmp_path, nvfp4, MODELOPT), "C", fast=True)
    assert {o.skipped for o in found.outcomes if o.rule.code in ("C03", "C07", "C08", "C09", "C11")} == {
        "left out by --fast"
    }


# --- saturated codes ---


@pytest.mark.parametrize("name", ["nvfp4", "int4"])
def test_scales_half_of_the_right_ones(tmp_path: Path, name: str) -> None:
    make, config = {"nvfp4": nvfp4, "int4": int4}[name], SOUND[name][1]

    def one_in_two(tensors: Tensors) -> None:
        tensors.update({f"{UP}.{last}": t for last, t in make(normal(0), 0.5).items()})

    (finding,) = found_by(model(tmp_path, SOUND[name][0], config, change=one_in_two), "C03")
    assert finding.severity is Severity.WARNING
    assert [p.key for p in finding.places] == ["layers.0.mlp.up_proj.weight"]
    assert "1 weight of 8" in finding.found.text
    said = finding.places[0].text.rpartition("as if scales were ")[2]
    assert float(said.split()[0]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("clip", [0.8, 0.9])
def test_a_search_for_the_best_clip_is_no_fault(tmp_path: Path, clip: float) -> None:
    assert not found_by(model(tmp_path, lambda w: int4(w, clip), INT4), "C03")


# --- levels ---


def test_one_outlier_took_the_range(tmp_path: Path) -> None:
    def with_outlier(weight: torch.Tensor) -> Tensors:
        weight = weight.clone()
        weight[5, 9] = 200 * weight.abs().max()
        scale = weight.abs().max() / 127
        return {"weight": (weight / scale).round().to(torch.int8), "weight_scale": scale.reshape(1)}

    config = {
        "quant_method": "compressed-tensors", "format": "int-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
            "num_bits": 8, "type": "int", "symmetric": True, "strategy": "tensor"}}},
    }  # fmt: skip
    (finding,) = found_by(model(tmp_path / "outlier", with_outlier, config), "C04")
    assert finding.severity is Severity.NOTE
    assert len(finding.places) == 8
    assert all(p.value is not None and p.value < 2 for p in finding.places)

    def without(weight: torch.Tensor) -> Tensors:
        scale = weight.abs().max() / 127  # never -128
        return {"weight": (weight / scale).round().to(torch.int8), "weight_scale": scale.reshape(1)}

    sound = linted(model(tmp_path / "sound", without, config), "C")
    assert not sound.findings


def test_ternary_weights_have_all_the_bits_that_they_can() -> None:
    """Three of four levels at 1.58 bits: no fault, whichever library stores it."""
    assert entropy_bits(np.array([6000, 7200, 6000, 0])) > few_effective_bits.limits["share"] * 2


def test_numbers_that_were_on_a_coarser_grid_before(tmp_path: Path) -> None:
    def twice(weight: torch.Tensor) -> Tensors:
        step = weight.abs().amax(1, keepdim=True) / 7
        coarse = (weight / step).round() * step  # int4 before
        scale = coarse.abs().amax(1, keepdim=True) / 127
        return {"weight": (coarse / scale).round().to(torch.int8), "weight_scale": scale}

    config = {
        "quant_method": "compressed-tensors", "format": "int-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
            "num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}}},
    }  # fmt: skip
    (finding,) = found_by(model(tmp_path / "twice", twice, config), "C05")
    assert len(finding.places) == 8

    def once(weight: torch.Tensor) -> Tensors:
        scale = weight.abs().amax(1, keepdim=True) / 127
        return {"weight": (weight / scale).round().to(torch.int8), "weight_scale": scale}

    assert not found_by(model(tmp_path / "once", once, config), "C05")


def test_the_sixteenth_level(tmp_path: Path) -> None:
    def narrow(weight: torch.Tensor) -> Tensors:
        return int4(weight, 7.5 / 7 + 1e-4)

    (finding,) = found_by(model(tmp_path / "narrow", narrow, INT4), "C06")
    assert finding.severity is Severity.NOTE
    assert not found_by(model(tmp_path / "wide", int4, INT4), "C06")


# --- groups and words ---


def test_codes_that_were_never_written(tmp_path: Path) -> None:
    """0x88888888 with scales of real numbers."""

    def lost(tensors: Tensors) -> None:
        tensors[f"{UP}.weight_packed"][:] = -0x77777778
        tensors[f"{DOWN}.weight_packed"][:20] = -0x77777778

    folder = model(tmp_path, int4, INT4, change=lost)
    (groups,) = found_by(folder, "C07")
    assert groups.severity is Severity.WARNING
    assert [(p.key, p.text.partition(",")[0]) for p in groups.places] == [
        ("layers.0.mlp.up_proj.weight", "128 of 128 groups"),
        ("layers.0.mlp.down_proj.weight", "40 of 128 groups"),
    ]
    error, warning = found_by(folder, "C08")
    assert (error.severity, warning.severity) == (Severity.ERROR, Severity.WARNING)
    assert error.places[0].text.startswith("0x88888888, 8 codes, is 100 % of 2,048 words")
    assert warning.places[0].text.startswith("0x88888888, 8 codes, is 31.")


def test_padding_and_dead_channels_are_a_note(tmp_path: Path) -> None:
    """Groups that were zero have one default for their scale."""

    def padded(weight: torch.Tensor) -> Tensors:
        made = int4(weight)
        made["weight_packed"][50:] = -0x77777778
        made["weight_scale"][50:] = 1.0
        return made

    folder = model(tmp_path, padded, INT4)
    (finding,) = found_by(folder, "C07")
    assert finding.severity is Severity.NOTE
    assert finding.places[0].text == "28 of 128 groups, scale 1"
    assert not found_by(folder, "C08")


def test_one_group_of_zeros_under_a_scale_like_the_others(tmp_path: Path) -> None:
    """Of one group nothing shows a default: its scale is like those of groups with numbers, so there were some."""

    def edit(tensors: Tensors) -> None:
        tensors[f"{UP}.weight_packed"][5, :16] = -0x77777778

    (finding,) = found_by(model(tmp_path, int4, INT4, change=edit), "C07")
    assert finding.severity is Severity.WARNING
    assert "has scales like those of other groups" in finding.found.text

    def default(tensors: Tensors) -> None:
        edit(tensors)
        tensors[f"{UP}.weight_scale"][5, 0] = 1.0

    (finding,) = found_by(model(tmp_path / "default", int4, INT4, change=default), "C07")
    assert finding.severity is Severity.NOTE


def test_groups_of_zeros_under_a_scale_of_zero_are_nothing(tmp_path: Path) -> None:
    def dead(weight: torch.Tensor) -> Tensors:
        weight = weight.clone()
        weight[10:12] = 0
        return nvfp4(weight)

    assert not linted(model(tmp_path, dead, MODELOPT), "C07", "C08", "C11").findings


def test_codes_under_a_scale_that_became_zero(tmp_path: Path) -> None:
    """An outer scale that is far too large leaves block scales below what float8 holds."""

    def underflow(weight: torch.Tensor) -> Tensors:
        made = nvfp4(weight)
        small = made["weight_scale"].float()
        small[7, 3] = 0
        return {**made, "weight_scale": small.to(torch.float8_e4m3fn)}

    (finding,) = found_by(model(tmp_path, underflow, MODELOPT), "C11")
    assert finding.severity is Severity.WARNING
    assert {p.index for p in finding.places} == {(7, 3)}
    assert "8 groups in 8 weights" in finding.found.text


def test_codes_of_nan(tmp_path: Path) -> None:
    def broken(tensors: Tensors) -> None:
        tensors[f"{UP}.weight"].view(torch.uint8)[3, 4] = 0x7F
        tensors[f"{UP}.weight"].view(torch.uint8)[3, 5] = 0xFF
        tensors[f"{DOWN}.weight"].view(torch.uint8)[0, 0] = 0x7E  # 448, the largest

    (finding,) = found_by(model(tmp_path, fp8, FP8, change=broken), "C12")
    assert [(p.key, p.text) for p in finding.places] == [("layers.0.mlp.up_proj.weight", "2 of 16,384 codes")]


# --- the same numbers twice ---


def test_a_layer_that_was_written_over_another(tmp_path: Path) -> None:
    def copied(tensors: Tensors) -> None:
        tensors["model.layers.2.mlp.up_proj.weight"] = tensors[f"{UP}.weight"]

    (finding,) = found_by(model(tmp_path, nvfp4, MODELOPT, change=copied), "C09")
    assert finding.severity is Severity.WARNING
    assert finding.places[0].key == "layers.0.mlp.up_proj.weight"
    assert "layers.2.mlp.up_proj.weight" in finding.places[0].text


def test_a_tensor_under_two_names_is_no_copy(tmp_path: Path) -> None:
    def copied(tensors: Tensors) -> None:
        tensors["model.layers.2.mlp.up_proj.weight"] = tensors[f"{UP}.weight"]

    fmt = opened(model(tmp_path, nvfp4, MODELOPT, change=copied))
    facts = read_codes(fmt).facts
    again = [replace(f, weight=replace(f.weight, role=f"other.{f.weight.role}")) for f in facts]
    (group,) = same_codes(fmt, [*facts, *again])
    assert [w.role for w in group] == ["layers.0.mlp.up_proj.weight", "layers.2.mlp.up_proj.weight"]


def test_tied_weights_stored_twice_are_a_note(tmp_path: Path) -> None:
    table = normal(99, 512, 64).to(torch.bfloat16)
    plain = {
        "model.embed_tokens.weight": table,
        "lm_head.weight": table.clone(),
        "model.layers.0.input_layernorm.weight": torch.ones(2048, dtype=torch.bfloat16),
        "model.layers.1.input_layernorm.weight": torch.ones(2048, dtype=torch.bfloat16),
        "model.layers.0.attn.bias": torch.tril(torch.ones(1, 1, 64, 64)),  # a mask
        "model.layers.1.attn.bias": torch.tril(torch.ones(1, 1, 64, 64)),
    }
    (finding,) = found_by(model(tmp_path, nvfp4, MODELOPT, plain=plain), "C09")
    assert finding.severity is Severity.NOTE
    assert [p.key for p in finding.places] == ["lm_head.weight"] or [p.key for p in finding.places] == [
        "embed_tokens.weight"
    ]


def test_of_a_model_in_full_precision_nothing_is_asked(tmp_path: Path) -> None:
    table = normal(99, 512, 64)
    folder = saved(tmp_path, {"embed_tokens.weight": table, "lm_head.weight": table.clone()}, {})
    found = linted(folder, "C", "H")
    assert not found.findings
    assert found.n_looked == 0


def test_one_number_apart_is_not_the_same(tmp_path: Path) -> None:
    first, second = normal(99, 512, 64), normal(99, 512, 64)
    second[300, 17] += 1
    plain = {"a.0.x.weight": first, "a.1.x.weight": second}

    def nearly(tensors: Tensors) -> None:
        codes = tensors[f"{UP}.weight"].clone()
        codes[[3, 4]] = codes[[4, 3]]  # the same counts
        tensors["model.layers.2.mlp.up_proj.weight"] = codes

    assert not found_by(model(tmp_path, nvfp4, MODELOPT, change=nearly, plain=plain), "C09")


def test_copies_that_disagree(tmp_path: Path) -> None:
    name = "m2_w8a8_pa0.9995"
    state, config = load_state(name)
    (finding,) = found_by(save_state(tmp_path / "x", _halved(state), config), "C10")
    assert finding.severity is Severity.WARNING
    assert finding.places
    assert not found_by(folder_of(name), "C10")


def _halved(state: dict[str, Any]) -> dict[str, Any]:
    """The first number that is a copy of another."""
    from qinspect.inspector.checkpoint import open_checkpoint
    from qinspect.inspector.formats import format_of

    fmt = format_of(open_checkpoint(folder_of("m2_w8a8_pa0.9995")))
    copy = next(c for r in fmt.scales() for c in r.copies if c.exact)
    return {**state, copy.key: state[copy.key] / 2}


# --- zero points ---


def test_a_zero_point_that_wrapped_around(tmp_path: Path) -> None:
    """Stored one an element, beside codes of four bits."""

    def with_points(weight: torch.Tensor) -> Tensors:
        return {**int4(weight), "weight_zero_point": torch.zeros(ROWS, 2, dtype=torch.int8)}

    def wrapped(tensors: Tensors) -> None:
        tensors[f"{UP}.weight_zero_point"][5, 1] = 8

    asymmetric = json.loads(json.dumps(INT4).replace('"symmetric": true', '"symmetric": false'))
    (finding,) = found_by(model(tmp_path / "x", with_points, asymmetric, change=wrapped), "C01")
    assert finding.severity is Severity.ERROR
    (place,) = finding.places
    assert (place.key, place.index, place.value) == ("layers.0.mlp.up_proj.weight#zero_point", (5, 1), 16.0)
    assert place.text == "1 of 128 numbers not of 0 to 15"
    assert not found_by(model(tmp_path / "sound", with_points, asymmetric), "C01")
    assert not found_by(model(tmp_path / "packed", gptq, GPTQ), "C01")


def test_zero_points_less_one_against_zero_points(tmp_path: Path) -> None:
    """The same tensors under `gptq` and under `gptq_v2`."""
    v1 = model(tmp_path / "v1", gptq, GPTQ)
    v2 = model(tmp_path / "v2", gptq, {**GPTQ, "checkpoint_format": "gptq_v2"})
    (finding,) = found_by(v1, "C02", other=v2)
    assert finding.severity is Severity.ERROR
    assert finding.found.text == "in B all zero points of 8 weights of 8 are smaller by 1"
    same = model(tmp_path / "same", lambda w: gptq(w, one_less=False), {**GPTQ, "checkpoint_format": "gptq_v2"})
    assert not found_by(v1, "C02", other=same)


@pytest.mark.parametrize("axis", [0, 1])
def test_zero_points_that_are_numbers_like_others(tmp_path: Path, axis: int) -> None:
    """HQQ moves them to where the error is least: fractions, and beyond the codes of a group of one sign. Stored in
    bfloat16 most of those of eight bits are whole all the same."""
    made = hqq(8, (64, 128), 64, axis)
    zeros = np.full(made.tensors["zero"].shape, 200.0, np.float32)
    zeros.reshape(-1)[:3] = 116.5, -40, 300
    made.tensors["zero"] = zeros.astype(ml_dtypes.bfloat16)
    hqq_opened(tmp_path, of_module(made), {"quant_method": "hqq"})
    assert not linted(tmp_path, "C01").findings


def test_groups_that_are_neither_rows_nor_columns_have_no_usual_share(tmp_path: Path) -> None:
    made = hqq(4, (64, 128), 16, 0)  # codes of equal frequency: 12.5 % at the ends, of groups of 16
    fmt = hqq_opened(tmp_path, of_module(made), {"quant_method": "hqq"})
    assert group_of(fmt.weights()[0]) is None
    assert not linted(tmp_path, "C03").findings


# --- checkpoints of libraries ---


@pytest.mark.parametrize(
    "folder", sorted(p.parent for p in DATA.glob("*/model/config.json")), ids=lambda p: p.parent.name
)
def test_no_error_and_no_warning_in_what_libraries_wrote(folder: Path) -> None:
    found = linted(folder, "C", "H").at_least(Severity.WARNING)
    assert [f.found.text for f in found if f.rule.code != "H10"] == []  # they are parts, with the config of the whole


@pytest.mark.parametrize("group", [-5, 2])
def test_a_group_that_is_not_there(group: int, tmp_path: Path) -> None:
    def edit(tensors: Tensors) -> None:
        tensors["model.layers.1.mlp.up_proj.g_idx"][7] = group

    folder = model(tmp_path, gptq, {**GPTQ, "desc_act": True}, change=edit)
    (finding,) = found_by(folder, "C13")
    assert finding.severity is Severity.ERROR
    assert finding.found.text == "1 weight of 8 has numbers that are not possible"
    assert [p.key for p in finding.places] == ["model.layers.1.mlp.up_proj.g_idx"]
    left = [
        line for line in lint_text(linted(folder, "C"), False, 400).splitlines() if "1 weight not looked at" in line
    ]
    assert len(left) == 1  # of all rules that need it together


def test_zero_points_of_which_nothing_says_how_they_are_stored(tmp_path: Path) -> None:
    """It may be sound: the file does not say what it is."""
    (finding,) = found_by(model(tmp_path, gptq, {}), "C13")
    assert finding.severity is Severity.WARNING
    assert finding.found.text == "8 weights of 8 cannot be read"


@needs_fixtures
def test_none_in_the_whole_set() -> None:
    from qinspect.inspector.errors import QinspectError

    worse, n = [], 0
    for folder in sorted(Path(ROOT).glob("*/model")):
        try:
            found = linted(folder, "C", "H")
        except QinspectError:
            continue
        n += 1
        worse += [(folder.parent.name, f.rule.code, f.found.text) for f in found.at_least(Severity.WARNING)]
    assert n > 80
    # one tensor of each type, by the program that writes no scale over those of NVFP4
    assert [(name, code) for name, code, _ in worse] == [("gguf_every_type_2026", "H05")]


def test_edited_and_saved_are_checkpoints(tmp_path: Path) -> None:
    """The builders' own check: an edit that changes nothing changes no finding."""
    source = DATA / "ct_mixed_three" / "model"
    same = edited(source, tmp_path / "same", lambda _: None)
    assert [f.found.text for f in linted(same, "C", "H").findings] == [
        f.found.text for f in linted(source, "C", "H").findings
    ]
    assert saved(tmp_path / "x", {"a": torch.zeros(2)}, {}).is_dir()
