"""fouroversix: against its own values, and against weights that are packed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import array_files
import ml_dtypes
import numpy as np
import peer_truth
import pytest
from comfy_files import in_tiles
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from peer_truth import agree, needs_fixtures, same_bits

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats import Format, Quantity, format_of

Array = NDArray[Any]
DATA = Path(__file__).parents[1] / "data"
MODULE = "model.layers.0.self_attn.k_proj"
LEVELS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
SAID = {"quant_method": "fouroversix", "dtype": "nvfp4", "scale_rule": "mse", "modules_to_not_convert": ["lm_head"]}
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))


def made(
    shape: tuple[int, int] = (5, 20), seed: int = 0, tiled: bool = True, top: int = 256
) -> tuple[dict[str, Array], Array]:
    """Entries by their last names, and float32 values."""
    rng = np.random.default_rng(seed)
    full, across = -(-shape[0] // 128) * 128, -(-shape[1] // 64) * 64
    codes = rng.integers(0, 16, (full, across)).astype(np.uint8)
    scales = rng.uniform(1, 190, (full, across // 16)).astype(ml_dtypes.float8_e4m3fn)
    scales[0, 0] = top
    amax = np.float32(rng.uniform(0.1, 2))
    values = LEVELS[codes] * np.repeat(scales.astype(np.float32), 16, axis=1)
    values = (values * amax) / np.float32(6 * top)
    stored = in_tiles(scales.view(np.uint8)).view(scales.dtype) if tiled else scales
    return {
        "quantized_weight_values": codes[:, ::2] | codes[:, 1::2] << 4,
        "quantized_weight_scale_factors": stored.reshape(-1), "quantized_weight_amax": np.array(amax),
        "quantized_weight_metadata": np.array([*shape, full, across, 1, tiled], np.int64),
    }, np.ascontiguousarray(values[: shape[0], : shape[1]])  # fmt: skip


def opened(folder: Path, modules: dict[str, dict[str, Array]], said: dict[str, Any] | None = SAID) -> Format:
    return array_files.opened(folder, array_files.of_modules(modules), said)


def test_values_are_the_librarys_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    assert agree("fouroversix_nvfp4", "fouroversix").description == "fouroversix NVFP4 mse, scales in tiles"


@needs_fixtures
def test_a_whole_model_with_and_without_its_settings() -> None:
    fmt = agree("fouroversix_nvfp4", "fouroversix")
    assert fmt.notes() == ()
    bare = open_checkpoint(peer_truth.folder("fouroversix_nvfp4") / "model")
    bare.config = {}
    unsaid = format_of(bare)
    for a, b in zip(fmt.weights(), unsaid.weights(), strict=True):
        assert same_bits(unsaid.dequantize(b), fmt.dequantize(a))


@_SETTINGS
@given(
    st.integers(1, 140), st.integers(1, 5), st.integers(0, 99), st.integers(1, 70), st.booleans(),
    st.sampled_from([("mse", 256), ("static_6", 448), ("", 256), ("", 448)]),
)  # fmt: skip
def test_some_rows_are_those_of_all(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    n: int,
    seed: int,
    step: int,
    tiled: bool,
    rule: tuple[str, int],
) -> None:
    entries, values = made((rows, 20 * n), seed, tiled, rule[1])
    said = SAID | {"scale_rule": rule[0]} if rule[0] else None
    fmt = opened(tmp_path_factory.mktemp("fouroversix"), {MODULE: entries}, said)
    assert (fmt.family, fmt.problems()) == ("fouroversix", ())
    (w,) = fmt.weights()
    assert same_bits(fmt.dequantize(w), values)
    parts = [fmt.dequantize(w, i, i + step) for i in range(0, rows, step)]
    assert same_bits(np.concatenate(parts), values)
    assert fmt.codes(w, 0, 1).shape == (1, 20 * n)
    assert fmt.values(fmt.scales()[0]).shape == (rows, -(-20 * n // 16))


@pytest.mark.parametrize("prefix", ["", "model.", "model.language_model.", "module."])
def test_names_and_a_copy_in_full_precision(tmp_path: Path, prefix: str) -> None:
    entries, _ = made()
    name = f"{prefix}layers.0.mlp.up_proj"
    fmt = opened(tmp_path, {name: entries})
    role = "layers.0.mlp.up_proj.weight"
    assert [(w.name, w.role) for w in fmt.weights()] == [(f"{name}.weight", role)]
    assert [(r.role, r.quantity) for r in fmt.scales()] == [
        (role, Quantity.SCALE), (f"{role}#global", Quantity.GLOBAL_SCALE)
    ]  # fmt: skip
    assert fmt.other_tensors() == []
    kept = opened(tmp_path / "kept", {name: {**entries, "weight": np.ones((5, 20), np.float32)}})
    assert [w.role for w in kept.weights()] == ["layers.0.mlp.up_proj.quantized_weight"]
    assert [t.name for t in kept.other_tensors()] == [f"{name}.weight"]


FINE, _ = made()


def _changed(last: str, tensor: Array | None) -> dict[str, Array]:
    return {k: t for k, t in {**FINE, last: tensor}.items() if t is not None}


DAMAGES = {
    "no shapes": _changed("quantized_weight_metadata", None),
    "shapes of four numbers": _changed("quantized_weight_metadata", np.arange(4)),
    "negative rows": _changed("quantized_weight_metadata", np.array([-5, 20, 128, 64, 1, 1])),
    "more columns than with filling": _changed("quantized_weight_metadata", np.array([5, 99, 128, 64, 1, 1])),
    "an endless shape": _changed("quantized_weight_metadata", np.array([5, 20, 1 << 62, 64, 1, 1])),
    "values of others": _changed("quantized_weight_values", np.ones((64, 32), np.uint8)),
    "scales of others": _changed("quantized_weight_scale_factors", np.ones(9, ml_dtypes.float8_e4m3fn)),
    "scales that are floats": _changed("quantized_weight_scale_factors", np.ones(512, np.float32)),
    "no largest magnitude": _changed("quantized_weight_amax", None),
    "largest magnitudes": _changed("quantized_weight_amax", np.ones(3, np.float32)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_module_is_named_and_the_others_stay_understood(tmp_path: Path, damage: str) -> None:
    fmt = opened(tmp_path, {MODULE: DAMAGES[damage], "model.fine": FINE})
    array_files.check_one_is_damaged(fmt, MODULE)


@pytest.mark.parametrize("said", [{"dtype": "if4"}, {"scale_rule": "static_9"}, {"weight_scale_rule": "later"}])
def test_kinds_that_are_not_known_are_refused(tmp_path: Path, said: dict[str, str]) -> None:
    fmt = opened(tmp_path, {MODULE: FINE}, SAID | said)
    assert fmt.family == "plain"
    assert any("of a kind that is not known" in note for note in fmt.notes())


def test_without_a_rule_small_scales_make_no_values(tmp_path: Path) -> None:
    entries, _ = made()
    entries["quantized_weight_scale_factors"] = np.ones(512, ml_dtypes.float8_e4m3fn)
    fmt = opened(tmp_path, {MODULE: entries}, None)
    with pytest.raises(CannotDequantize, match="neither a rule"):
        fmt.dequantize(fmt.weights()[0])
    assert fmt.values(fmt.scales()[0]).shape == (5, 2)


def test_settings_of_others_claim_nothing(tmp_path: Path) -> None:
    assert opened(tmp_path, {MODULE: FINE}, {"quant_method": "quark"}).family != "fouroversix"
