"""EXL3, against what exllamav3 makes of its own files and against decoding bit by bit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import peer_truth
import pytest
from array_files import opened
from exl3_files import LINEAR, Array, Made, made, of_module, value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peer_truth import needs_fixtures, same_bits
from safetensors.numpy import load_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats import Format, Quantity, format_of
from qinspect.inspector.formats.counts import parameter_counts
from qinspect.inspector.formats.families.exl3.linear import TrellisWeight

DATA = Path(__file__).parents[1] / "data"
TOLERANCE = 7e-4
"""Of the largest magnitude: the library rounds to float16 four times, and adds up in an order of its own."""
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=30, suppress_health_check=list(HealthCheck))


def only(fmt: Format) -> Array:
    (found,) = fmt.weights()
    return fmt.dequantize(found)


def inner(fmt: Format, role: str, rows: int) -> Array:
    """float16 of the rotated weight."""
    module = fmt._modules[role]  # type: ignore[attr-defined]
    assert isinstance(module, TrellisWeight)
    return module.inner(0, rows)


# --- what the library wrote ---


@pytest.mark.parametrize("name", ["exl3_mcg_4", "exl3_mul1_3"])
def test_the_values_of_the_trellis_are_the_librarys_to_the_bit(name: str) -> None:
    fmt = format_of(open_checkpoint(DATA / name / "model"))
    expected = json.loads((DATA / name / "inner_sha256.json").read_text())
    assert fmt.family == "exl3"
    for w in fmt.weights():
        found = inner(fmt, w.role, w.shape[0])
        assert hashlib.sha256(np.ascontiguousarray(found).tobytes()).hexdigest() == expected[w.name]


@pytest.mark.parametrize("name", ["exl3_mcg_4", "exl3_mul1_3"])
def test_weights_are_the_librarys_but_for_its_order_of_sums(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    _are_close(name)


def _are_close(name: str) -> Format:
    fmt = peer_truth.opened(name)
    weights = {w.name: w for w in fmt.weights()}
    expected = peer_truth.truth(name)
    assert weights.keys() == expected.keys()
    for key, stored in expected.items():
        found, theirs = fmt.dequantize(weights[key]), stored.astype(np.float32)
        assert np.abs(found - theirs).max() <= TOLERANCE * np.abs(theirs).max()
        assert (found == theirs).mean() > 0.98
    return fmt


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "description", "bits"),
    [
        ("exl3_mcg_4", "EXL3 4-bit mcg, 6-bit mcg, exllamav3 1.6.5", (4.0, 6.0)),
        ("exl3_mul1_3", "EXL3 3-bit mul1, 6-bit mul1, exllamav3 1.6.5", (3.0, 6.0)),
    ],
)
def test_whole_models_with_and_without_their_settings(name: str, description: str, bits: tuple[float, ...]) -> None:
    fmt = _are_close(name)
    assert (fmt.description, fmt.declared_bits, fmt.notes()) == (description, bits, ())
    truth = load_file(peer_truth.folder(name) / "inner.safetensors")
    for w in fmt.weights():
        expected = truth[w.name.replace(".weight", ".inner")]
        assert np.array_equal(inner(fmt, w.role, w.shape[0]).view(np.uint16), expected.view(np.uint16))
    bare = open_checkpoint(peer_truth.folder(name) / "model")
    bare.config = {}
    alone = format_of(bare)
    assert alone.family == "exl3"
    assert [w.convention for w in alone.weights()] == [w.convention for w in fmt.weights()]
    assert alone.declared_bits == ()


# --- the formula ---


@pytest.mark.parametrize("codebook", ["", "mcg", "mul1"])
@pytest.mark.parametrize("bits", range(1, 9))
def test_each_width_and_codebook(tmp_path: Path, bits: int, codebook: str) -> None:
    m = made(bits, codebook=codebook, few=True, seed=bits)
    fmt = opened(tmp_path, of_module(m))
    (w,) = fmt.weights()
    assert (w.bits, w.shape, w.row_step, fmt.notes()) == (bits, (128, 128), 128, ())
    assert np.array_equal(fmt.codes(w), m.states % (1 << bits))
    expected = np.vectorize(lambda s: value(int(s), codebook), otypes=[np.float16])(m.states)
    assert np.array_equal(inner(fmt, w.role, 128).view(np.uint16), expected.view(np.uint16))


def test_the_rotation_is_undone_in_the_order_of_the_library(tmp_path: Path) -> None:
    m = made(3, (8, 16), codebook="mul1")
    fmt = opened(tmp_path, of_module(m))
    (w,) = fmt.weights()
    x = inner(fmt, w.role, 256).astype(np.float64)
    h = np.array([[(-1) ** bin(i & j).count("1") for j in range(128)] for i in range(128)]) / np.sqrt(128)
    x = x @ h * m.tensors["suh"].astype(np.float64)
    x = np.concatenate([h @ x[:128], h @ x[128:]]) * m.tensors["svh"].astype(np.float64)[:, None]
    assert np.abs(fmt.dequantize(w) - x).max() <= TOLERANCE * np.abs(x).max()
    assert same_bits(fmt.effective(w), fmt.dequantize(w))
    assert (fmt.dequantize(w).astype(np.float16) == fmt.dequantize(w)).all()


@_SETTINGS
@given(
    st.integers(1, 8), st.integers(1, 2), st.integers(1, 3), st.integers(0, 99), st.sampled_from(["", "mcg", "mul1"])
)
def test_some_rows_are_those_of_all(
    tmp_path_factory: pytest.TempPathFactory, bits: int, down: int, across: int, seed: int, codebook: str
) -> None:
    m = made(bits, (8 * down, 8 * across), seed, codebook, few=True)
    fmt = opened(tmp_path_factory.mktemp("exl3"), of_module(m))
    (w,) = fmt.weights()
    whole = fmt.dequantize(w)
    parts = [fmt.dequantize(w, i, i + w.row_step) for i in range(0, w.shape[0], w.row_step)]
    assert same_bits(np.concatenate(parts), whole)
    assert same_bits(fmt.dequantize(w, 0, 5), whole[:5])
    codes = [fmt.codes(w, i, i + w.row_step) for i in range(0, w.shape[0], w.row_step)]
    assert np.array_equal(np.concatenate(codes), fmt.codes(w))


# --- records, names, settings ---


def test_factors_of_both_sides_are_records(tmp_path: Path) -> None:
    m = made(few=True)
    fmt = opened(tmp_path, of_module(m) | {f"{LINEAR}.bias": np.ones(128, np.float16)})
    inputs, outputs = fmt.scales()
    role = "layers.0.self_attn.q_proj.weight"
    assert [inputs.role, outputs.role] == [f"{role}#suh", f"{role}#svh"]
    assert [(r.quantity, r.grid.axes, r.signed) for r in (inputs, outputs)] == [
        (Quantity.FACTOR, (1,), True), (Quantity.FACTOR, (0,), True),
    ]  # fmt: skip
    assert np.array_equal(fmt.values(outputs), m.tensors["svh"])
    (w,) = fmt.weights()
    assert (w.name, w.role, w.codes_key) == (f"{LINEAR}.weight", role, f"{LINEAR}.trellis")
    assert w.rotation is not None
    assert w.rotation.outputs
    assert [t.name for t in fmt.other_tensors()] == [f"{LINEAR}.bias"]
    assert sum(n or 0 for n in parameter_counts(fmt).values()) == 128 * 128 + 128


@pytest.mark.parametrize("prefix", ["", "model.", "model.language_model.", "module.", "language_model.model."])
def test_names_do_not_depend_on_what_savers_put_in_front(tmp_path: Path, prefix: str) -> None:
    fmt = opened(tmp_path, of_module(made(few=True), f"{prefix}layers.0.self_attn.q_proj"))
    assert [w.role for w in fmt.weights()] == ["layers.0.self_attn.q_proj.weight"]


def test_settings_that_the_entries_do_not_have_are_a_note_with_both(tmp_path: Path) -> None:
    m = made(4, few=True)
    said = {"quant_method": "exl3", "codebook": "mul1", "tensor_storage": {LINEAR: {"bits_per_weight": 3}}}
    fmt = opened(tmp_path, of_module(m), said)
    (note,) = fmt.notes()
    assert "codebook mul1" in note
    assert "mcg" in note
    assert same_bits(only(fmt), only(opened(tmp_path / "bare", of_module(m))))


def test_settings_of_another_library_are_believed(tmp_path: Path) -> None:
    assert opened(tmp_path, of_module(made(few=True)), {"quant_method": "quip"}).family == "plain"


def test_experts_are_modules_like_others(tmp_path: Path) -> None:
    modules = [f"model.layers.0.mlp.experts.{e}.up_proj" for e in range(3)]
    fmt = opened(
        tmp_path, {k: t for i, m in enumerate(modules) for k, t in of_module(made(2, few=True, seed=i), m).items()}
    )
    assert [w.name for w in fmt.weights()] == [f"{m}.weight" for m in modules]


# --- what is broken ---

FINE = made(2, few=True)
DAMAGES: dict[str, dict[str, Array]] = {
    "no factors of inputs": {k: t for k, t in FINE.tensors.items() if k != "suh"},
    "no factors of outputs": {k: t for k, t in FINE.tensors.items() if k != "svh"},
    "factors of others": {**FINE.tensors, "suh": np.ones(256, np.float16)},
    "factors that are integers": {**FINE.tensors, "svh": np.ones(128, np.int16)},
    "half a bit": {**FINE.tensors, "trellis": FINE.tensors["trellis"][..., :24]},
    "nine bits": {**FINE.tensors, "trellis": np.ones((8, 8, 144), np.int16)},
    "no bits": {**FINE.tensors, "trellis": np.ones((8, 8, 0), np.int16)},
    "two axes": {**FINE.tensors, "trellis": np.ones((64, 32), np.int16)},
    "words of 32 bits": {**FINE.tensors, "trellis": np.ones((8, 8, 32), np.int32)},
    "inputs in no blocks": {**FINE.tensors, "trellis": np.ones((7, 8, 32), np.int16), "suh": np.ones(112, np.float16)},
    "two codebooks": {**FINE.tensors, "mul1": np.array(1, np.int32)},
    "a codebook of many": {**FINE.tensors, "mcg": np.ones(3, np.int32)},
    "signs in bits": {"trellis": FINE.tensors["trellis"], "su": np.ones(8, np.int16), "sv": np.ones(8, np.int16)},
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_module_is_named_and_the_others_stay_understood(tmp_path: Path, damage: str) -> None:
    tensors = of_module(Made(DAMAGES[damage], np.empty(0))) | of_module(FINE, "m.fine")
    fmt = opened(tmp_path, tensors)
    assert [w.name for w in fmt.weights()] == ["m.fine.weight"]
    (problem,) = fmt.problems()
    assert LINEAR in (problem.error.key or "")
    assert problem.error.expected
    assert problem.error.found
    assert only(fmt).shape == (128, 128)


def test_a_multiplier_that_is_not_known_is_told_when_values_are_asked_for(tmp_path: Path) -> None:
    fmt = opened(tmp_path, of_module(Made({**FINE.tensors, "mcg": np.array(5, np.int32)}, np.empty(0))))
    (w,) = fmt.weights()
    assert fmt.codes(w).shape == (128, 128)
    with pytest.raises(CannotDequantize, match=r"0xcbac1fed.*0x5"):
        fmt.dequantize(w)


def test_factors_that_are_not_finite_are_the_files(tmp_path: Path) -> None:
    fmt = opened(tmp_path, of_module(Made({**FINE.tensors, "svh": np.full(128, np.inf, np.float16)}, np.empty(0))))
    assert not np.isfinite(only(fmt)).any()


@pytest.mark.usefixtures("unread")
def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    said: dict[str, Any] = {"quant_method": "exl3", "bits": 2.0}
    fmt = opened(tmp_path, of_module(FINE), said)
    assert len(fmt.weights()) == 1
    assert fmt.notes() == ()
