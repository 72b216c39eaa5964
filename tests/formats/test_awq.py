"""AWQ's tensors in each layout, against what AutoAWQ and GPTQModel make of them and against packing by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peer_truth
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packed_weights import (
    LAYER,
    Tensors,
    Weight,
    awq_gemm,
    awq_gemv,
    awq_gemv_fast,
    gptq,
    in_parts,
    layer,
    opened,
    weight,
)
from peer_truth import agree, needs_fixtures, same_bits

from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats import Format, Quantity

DATA = Path(__file__).parents[1] / "data"
GEMM = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=25, suppress_health_check=list(HealthCheck))


def only(fmt: Format) -> np.ndarray:
    (found,) = fmt.weights()
    return fmt.dequantize(found)


def test_weights_are_autoawqs_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    assert agree("autoawq_gemm_g32", "awq").notes() == ()


@needs_fixtures
@pytest.mark.parametrize("name", ["autoawq_gemm_g32", "awq_gemm_g128_bias"])
def test_weights_of_whole_models_are_their_writers_to_the_bit(name: str) -> None:
    assert agree(name, "awq").notes() == ()


def fast_values(w: Weight) -> np.ndarray:
    """scale * code + minimum: the zero point is stored times -scale, in float16."""
    minimum: np.ndarray = -(w.scales.astype(np.float32) * w.zeros).astype(np.float16).astype(np.float32)
    values: np.ndarray = w.codes.astype(np.float32) * w.scales.astype(np.float32)[:, w.group_of]
    values += minimum[:, w.group_of]
    return values


@_SETTINGS
@given(st.sampled_from(["gemm", "gemv", "gemv_fast"]), st.sampled_from([32, 64, 128]), st.integers(1, 4),
       st.integers(1, 5), st.integers(0, 2**31), st.integers(1, 40))  # fmt: skip
def test_each_layout(
    tmp_path_factory: pytest.TempPathFactory, layout: str, group: int, n_groups: int, eights: int, seed: int, step: int
) -> None:
    n_out, n_in = 8 * eights, group * n_groups * (2 if group == 32 else 1)
    w = weight(4, n_out, n_in, group, seed)
    room = {32: 32, 64: 16, 128: 8}[group]
    tensors = {
        "gemm": awq_gemm(w), "gemv": awq_gemv(w, room), "gemv_fast": awq_gemv_fast(w, room),
    }[layout]  # fmt: skip
    said = {**GEMM, "group_size": group, "version": layout}
    fmt = opened(tmp_path_factory.mktemp("awq"), layer(tensors), said)
    (found,) = fmt.weights()
    expected = fast_values(w) if layout == "gemv_fast" else w.values
    assert fmt.family == "awq"
    assert fmt.description == f"AWQ {layout.upper()} W4, group {group}"
    assert np.array_equal(fmt.codes(found), w.codes)
    assert same_bits(fmt.dequantize(found), expected)
    assert same_bits(in_parts(fmt, step), expected)
    scale, other = fmt.scales()
    assert np.array_equal(fmt.values(scale), w.scales)
    if layout == "gemv_fast":
        assert other.quantity is Quantity.MINIMUM
    else:
        assert np.array_equal(fmt.values(other), w.zeros)


@pytest.mark.parametrize("group", [128, 64, 32])
@pytest.mark.parametrize("layout", ["gemm", "gemv", "gemv_fast"])
def test_without_settings_the_layout_is_told_by_shapes_and_types(tmp_path: Path, layout: str, group: int) -> None:
    """As large as real layers: of small ones padding leaves several sizes of a group."""
    w = weight(4, 32, 4096, group)
    room = 4096 // group
    tensors = {
        "gemm": awq_gemm(w), "gemv": awq_gemv(w, room), "gemv_fast": awq_gemv_fast(w, room, "scaled_zeros"),
    }[layout]  # fmt: skip
    fmt = opened(tmp_path, layer(tensors))
    assert fmt.description == f"AWQ {layout.upper()} W4, group {group}"
    assert same_bits(only(fmt), fast_values(w) if layout == "gemv_fast" else w.values)


def test_without_settings_a_group_that_padding_hides_is_not_guessed(tmp_path: Path) -> None:
    fmt = opened(tmp_path, layer(awq_gemv(weight(4, 32, 256, 128), 8)))
    assert fmt.weights() == ()
    assert any("group_size" in note for note in fmt.notes())


@pytest.mark.parametrize(
    "said",
    [
        {"w_bit": 4, "q_group_size": 32, "version": "GEMM", "quant_method": "awq"},
        {"quant_method": "auto-round", "packing_format": "auto_round:auto_awq", "bits": 4},
    ],
)
def test_settings_of_other_writers(tmp_path: Path, said: dict[str, Any]) -> None:
    w = weight(4, 32, 64, 32)
    fmt = opened(tmp_path, layer(awq_gemm(w)), said)
    assert fmt.family == "awq"
    assert same_bits(only(fmt), w.values)


@pytest.mark.parametrize("n_in", [64, 256])
@pytest.mark.parametrize("said", [None, {"quant_method": "auto-round", "bits": 4, "packing_format": "auto_round"}])
def test_gptq_and_awq_are_not_mistaken_for_each_other(tmp_path: Path, n_in: int, said: dict[str, Any] | None) -> None:
    """Both call their tensors qweight, qzeros and scales, all int32 and float16."""
    w = weight(4, 64, n_in, 32)
    assert opened(tmp_path / "a", layer(awq_gemm(w)), said).family == "awq"
    packed = gptq(w, 4, False)
    del packed["g_idx"]
    assert opened(tmp_path / "g", layer(packed), said).family == "gptq"


def test_a_size_of_groups_that_the_tensors_do_not_have_is_said(tmp_path: Path) -> None:
    w = weight(4, 32, 128, 32)
    fmt = opened(tmp_path, layer(awq_gemm(w)), {**GEMM, "group_size": 128})
    assert same_bits(only(fmt), w.values)
    (note,) = fmt.notes()
    assert "says group_size 128" in note
    assert "groups of 32" in note


DAMAGES: dict[str, tuple[str, torch.Tensor | None]] = {
    "no scales": ("scales", None),
    "no zero points": ("qzeros", None),
    "scales of other outputs": ("scales", torch.ones(2, 33).half()),
    "scales of unequal groups": ("scales", torch.ones(3, 32).half()),
    "scales of no groups": ("scales", torch.ones(0, 32).half()),
    "scales that are integers": ("scales", torch.ones(2, 32).int()),
    "zero points of other groups": ("qzeros", torch.ones(3, 4).int()),
    "zero points that are floats": ("qzeros", torch.ones(2, 32).half()),
    "codes that are floats": ("qweight", torch.ones(64, 4)),
    "codes with an axis more": ("qweight", torch.ones(64, 4, 1).int()),
    "codes as GPTQ packs them": ("qweight", torch.ones(8, 32).int()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_module_is_named_and_the_others_stay_understood(tmp_path: Path, damage: str) -> None:
    w = weight(4, 32, 64, 32)
    last, found = DAMAGES[damage]
    broken: Tensors = {k: v for k, v in awq_gemm(w).items() if k != last}
    if found is not None:
        broken[last] = found
    other = "model.layers.0.self_attn.k_proj"
    fmt = opened(tmp_path, layer(broken) | layer(awq_gemm(w), other), GEMM)
    assert [x.name for x in fmt.weights()] == [f"{other}.weight"]
    assert same_bits(only(fmt), w.values)
    (problem,) = fmt.problems()
    assert isinstance(problem.error, CannotDequantize)
    assert LAYER in (problem.error.key or "")
    assert problem.error.expected
    assert problem.error.found


@pytest.mark.parametrize("n_groups", [1, 2])
def test_marlins_order_has_no_zero_points(tmp_path: Path, n_groups: int) -> None:
    """The order itself is tested with GPTQ's names. All codes of one output are alike here."""
    n_out, n_in = 64, 256
    tensors = {
        "qweight": torch.full((n_in // 16, 2 * n_out), 0x77777777).int(),
        "scales": torch.full((n_groups, n_out), 0.5).half(),
    }
    fmt = opened(tmp_path, layer(tensors), {**GEMM, "version": "marlin", "group_size": n_in // n_groups})
    assert fmt.description.startswith("AWQ Marlin W4")
    assert (only(fmt) == -0.5).all()
    assert only(fmt).shape == (n_out, n_in)
