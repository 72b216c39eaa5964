"""BitNet: against transformers' unpacking, and against weights that are packed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import array_files
import ml_dtypes
import numpy as np
import peer_truth
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from peer_truth import agree, needs_fixtures, same_bits

from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats import Format
from qinspect.inspector.formats.counts import parameter_counts

Array = NDArray[Any]
DATA = Path(__file__).parents[1] / "data"
MODULE = "model.layers.0.self_attn.k_proj"
SAID = {"quant_method": "bitnet", "linear_class": "bitlinear", "quantization_mode": "offline"}
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))


def made(shape: tuple[int, int] = (8, 6), seed: int = 0, divided: bool = True) -> tuple[dict[str, Array], Array]:
    """Entries by their last names, and float32 values."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(-1, 2, shape)
    scale = rng.uniform(0.5, 40, 1).astype(ml_dtypes.bfloat16)
    quarter = shape[0] // 4
    packed = np.zeros((quarter, shape[1]), np.uint8)
    for row in range(shape[0]):
        packed[row % quarter] |= (weight[row] + 1).astype(np.uint8) << np.uint8(2 * (row // quarter))
    one = scale.astype(np.float32)
    return {"weight": packed, "weight_scale": scale}, weight.astype(np.float32) / one if divided else weight * one


def opened(folder: Path, modules: dict[str, dict[str, Array]], said: dict[str, Any] | None = SAID) -> Format:
    return array_files.opened(folder, array_files.of_modules(modules), said)


def test_values_are_the_librarys_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    assert agree("tf_bitnet", "bitnet").description == "BitNet b1.58 W1.58A8, bitlinear"


@needs_fixtures
def test_a_whole_model() -> None:
    fmt = agree("tf_bitnet", "bitnet")
    assert len(fmt.weights()) == len(fmt.dynamic()) == 7
    assert [n for n in fmt.notes() if "dynamically" not in n] == []


@_SETTINGS
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99), st.integers(1, 9), st.booleans())
def test_some_rows_are_those_of_all(
    tmp_path_factory: pytest.TempPathFactory, quarter: int, columns: int, seed: int, step: int, divided: bool
) -> None:
    entries, values = made((4 * quarter, columns), seed, divided)
    said = SAID | {"linear_class": "bitlinear" if divided else "autobitlinear"}
    fmt = opened(tmp_path_factory.mktemp("bitnet"), {MODULE: entries}, said)
    (w,) = fmt.weights()
    assert same_bits(fmt.dequantize(w), values.astype(np.float32))
    parts = [fmt.dequantize(w, i, i + step) for i in range(0, 4 * quarter, step)]
    assert same_bits(np.concatenate(parts), fmt.dequantize(w))
    (scale,) = fmt.scales()
    assert np.abs(fmt.dequantize(w)).max() in (0, fmt.values(scale).reshape(-1)[0])


@pytest.mark.parametrize("prefix", ["", "model.", "model.language_model.", "module."])
def test_names(tmp_path: Path, prefix: str) -> None:
    entries, values = made()
    name = f"{prefix}layers.0.mlp.up_proj"
    fmt = opened(tmp_path, {name: entries, f"{prefix}norm": {"weight": np.ones(6, np.float32)}})
    role = "layers.0.mlp.up_proj.weight"
    assert [(w.name, w.role) for w in fmt.weights()] == [(f"{name}.weight", role)]
    assert [r.role for r in fmt.scales()] == [role]
    assert sum(n or 0 for n in parameter_counts(fmt).values()) == values.size + 6


FINE, _ = made()
DAMAGES = {
    "no scale": {"weight": FINE["weight"]},
    "scales": {**FINE, "weight_scale": np.ones(8, np.float32)},
    "a scale that is an integer": {**FINE, "weight_scale": np.ones(1, np.int32)},
    "one axis": {**FINE, "weight": FINE["weight"].reshape(-1)},
    "no columns": {**FINE, "weight": np.ones((2, 0), np.uint8)},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_module_is_named_and_the_others_stay_understood(tmp_path: Path, damage: str) -> None:
    fmt = opened(tmp_path, {MODULE: DAMAGES[damage], "model.fine": FINE})
    array_files.check_one_is_damaged(fmt, MODULE)


def test_a_code_that_stands_for_nothing_is_found_when_it_is_read(tmp_path: Path) -> None:
    entries, _ = made()
    entries["weight"][1, 2] |= 3 << 4
    fmt = opened(tmp_path, {MODULE: entries})
    (w,) = fmt.weights()
    assert fmt.dequantize(w, 0, 4).shape == (4, 6)
    with pytest.raises(CannotDequantize, match="stands for no number"):
        fmt.dequantize(w)


def test_a_layer_that_is_not_known_is_refused(tmp_path: Path) -> None:
    fmt = opened(tmp_path, {MODULE: FINE}, SAID | {"linear_class": "later"})
    assert fmt.family == "plain"
    assert any("linear_class later" in note for note in fmt.notes())


def test_a_module_that_is_left_out_is_a_note_with_both(tmp_path: Path) -> None:
    fmt = opened(tmp_path, {MODULE: FINE}, SAID | {"modules_to_not_convert": ["layers.0.self_attn.k_proj", 3]})
    assert any("not converted" in note and "BitNet's" in note for note in fmt.notes())
    assert not [n for n in opened(tmp_path, {MODULE: FINE}).notes() if "not converted" in n]


def test_other_settings_claim_nothing(tmp_path: Path) -> None:
    assert opened(tmp_path / "bare", {MODULE: FINE}, None).family == "plain"
    assert opened(tmp_path / "other", {MODULE: FINE}, {"quant_method": "eetq"}).family == "plain"
    whole = {"weight": np.ones((4, 4), np.float32), "weight_scale": np.ones(1, np.float32)}
    assert opened(tmp_path / "online", {MODULE: whole}, SAID | {"quantization_mode": "online"}).family == "plain"


@pytest.mark.usefixtures("unread")
def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    assert len(opened(tmp_path, {MODULE: FINE}).weights()) == 1
