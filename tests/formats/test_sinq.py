"""SINQ: against its own values, and against weights that are packed here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import array_files
import numpy as np
import peer_truth
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from peer_truth import agree, needs_fixtures, same_bits

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats import Format, Quantity, format_of
from qinspect.inspector.formats.counts import parameter_counts

Array = NDArray[Any]
DATA = Path(__file__).parents[1] / "data"
MODULE = "model.layers.0.self_attn.k_proj"
SIDE = "model.safetensors.index.json.meta.json"
NF4 = np.array([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
], np.float32)  # fmt: skip
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))


def made(
    bits: int = 4, shape: tuple[int, int] = (8, 32), group: int = 16, seed: int = 0, auxiliary: bool = False,
    method: str = "sinq",
) -> tuple[dict[str, Array], dict[str, Any], Array]:  # fmt: skip
    """Entries by their names in the module, what is said of it, and float32 values."""
    rng = np.random.default_rng(seed)
    n = shape[0] * shape[1] // group
    codes = rng.integers(0, 1 << bits, (n, group))
    dtype: Any
    per, dtype = (10, np.uint32) if bits == 3 else (8 // bits, np.uint8)
    rows = -(-n // per)
    filled: Array = np.concatenate([codes, np.zeros((rows * per - n, group), codes.dtype)]).astype(dtype)
    packed: Array = np.zeros((rows, group), dtype)
    for place in range(per):
        packed |= (filled[place * rows : (place + 1) * rows] << dtype((per - 1 - place) * bits)).astype(dtype)
    tensors: dict[str, Array] = {"W_q": packed.view(np.int32) if bits == 3 else packed}
    numbers = {}
    for part, most in (("scale", 0.1), ("zero", 7)):
        if auxiliary:
            x = rng.integers(0, 256, (n, 1) if part == "zero" else (n // 4, 4)).astype(np.uint8)
            s, m = (rng.uniform(1e-4, most / 300, (1, x.shape[1])).astype(np.float16) for _ in range(2))
            tensors |= {f"meta.{part}.x": x, f"meta.{part}.s": s, f"meta.{part}.m": m}
            numbers[part] = (x.astype(np.float32) * s.astype(np.float32) + m.astype(np.float32)).reshape(n, 1)
        else:
            tensors[f"meta.{part}"] = rng.uniform(0.001, most, (n, 1)).astype(np.float16)
            numbers[part] = tensors[f"meta.{part}"].astype(np.float32)
    second = rng.uniform(0.5, 1.5, (1, shape[1])).astype(np.float16)
    tensors["meta.scale2"] = second
    said = {
        "nbits": bits,
        "group_size": group,
        "shape": list(shape),
        "axis": 1,
        "method": method + "_quantAux" * auxiliary,
    }
    worth = NF4[codes] if "nf4" in method else codes.astype(np.float32)
    values = ((worth - numbers["zero"]) * numbers["scale"]).reshape(shape) * second.astype(np.float32)
    return tensors, said, values


def opened(folder: Path, modules: dict[str, dict[str, Array]], said: dict[str, Any] | None = None) -> Format:
    folder.mkdir(parents=True, exist_ok=True)
    if said is not None:
        (folder / SIDE).write_text(json.dumps({m: {"meta": of} for m, of in said.items()}))
    return array_files.opened(folder, array_files.of_modules(modules))


def test_values_are_the_librarys_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    assert agree("sinq_4bit_g64", "sinq").description == "SINQ int4 g64"


@needs_fixtures
def test_a_whole_model_with_and_without_what_is_said_of_it() -> None:
    fmt = agree("sinq_4bit_g64", "sinq")
    assert (fmt.notes(), fmt.declared_bits, len(fmt.weights())) == ((), (4.0,), 7)
    bare = open_checkpoint(peer_truth.folder("sinq_4bit_g64") / "model")
    bare.config = {}
    unsaid = format_of(bare)
    for a, b in zip(fmt.weights(), unsaid.weights(), strict=True):
        assert same_bits(unsaid.dequantize(b), fmt.dequantize(a))


@_SETTINGS
@given(
    st.sampled_from([1, 2, 3, 4, 8]), st.integers(1, 5), st.sampled_from([16, 24, 64]), st.integers(0, 99),
    st.integers(1, 9), st.booleans(), st.booleans(),
)  # fmt: skip
def test_some_rows_are_those_of_all(
    tmp_path_factory: pytest.TempPathFactory, bits: int, rows: int, columns: int, seed: int, step: int, auxiliary: bool,
    nf4: bool,
) -> None:  # fmt: skip
    rows *= 8
    nf4 = nf4 and bits == 4
    entries, said, values = made(bits, (rows, columns), 16, seed, auxiliary, "sinq_nf4" if nf4 else "sinq")
    fmt = opened(tmp_path_factory.mktemp("sinq"), {MODULE: entries}, {MODULE: said})
    assert (fmt.family, fmt.problems(), fmt.notes()) == ("sinq", (), ())
    (w,) = fmt.weights()
    assert (w.shape, w.bits) == ((rows, columns), bits)
    assert same_bits(fmt.dequantize(w), values)
    parts = [fmt.dequantize(w, i, i + step) for i in range(0, rows, step)]
    assert same_bits(np.concatenate(parts), values)
    assert np.array_equal(np.concatenate([fmt.codes(w, i, i + 1) for i in range(rows)]), fmt.codes(w))
    assert fmt.values(fmt.scales()[0]).size == rows * columns // 16


@pytest.mark.parametrize("prefix", ["", "model.", "model.language_model.", "module."])
def test_names(tmp_path: Path, prefix: str) -> None:
    entries, _, values = made(auxiliary=True)
    name = f"{prefix}layers.0.mlp.up_proj"
    fmt = opened(tmp_path, {name: {**entries, "bias": np.ones(8, np.float32)}})
    role = "layers.0.mlp.up_proj.weight"
    assert [(w.name, w.role) for w in fmt.weights()] == [(f"{name}.weight", role)]
    assert [(r.role, r.quantity) for r in fmt.scales()] == [
        (role, Quantity.SCALE), (f"{role}#zero_point", Quantity.ZERO_POINT), (f"{role}#pre_quant", Quantity.FACTOR)
    ]  # fmt: skip
    assert [t.name for t in fmt.other_tensors()] == [f"{name}.bias"]
    assert sum(n or 0 for n in parameter_counts(fmt).values()) == values.size + 8


FINE, SAID, _ = made()
_CHANGES: dict[str, tuple[dict[str, Array | None], dict[str, Any]]] = {
    "no scales": ({"meta.scale": None}, {}),
    "scales of others": ({"meta.scale": np.ones((5, 1), np.float16)}, {}),
    "scales that are integers": ({"meta.scale": np.ones((16, 1), np.int16)}, {}),
    "zero points of others": ({"meta.zero": np.ones((5, 1), np.float16)}, {}),
    "second scales of others": ({"meta.scale2": np.ones((1, 7), np.float16)}, {}),
    "codes of others": ({"W_q": np.ones((3, 16), np.uint8)}, {}),
    "codes that are floats": ({"W_q": np.ones((8, 16), np.float16)}, {}),
    "no codes": ({"W_q": np.ones((0, 16), np.uint8)}, {}),
    "tiles": ({}, {"scale.shape": [2, 2, 8]}),
    "another axis": ({}, {"axis": 0}),
    "nf3": ({}, {"method": "sinq_nf3"}),
    "words of five bits": ({"W_q": np.ones((2, 16), np.int32)}, {"packing": "5bit_32"}),
}  # fmt: skip


@pytest.mark.parametrize("damage", _CHANGES)
def test_a_damaged_module_is_named_and_the_others_stay_understood(tmp_path: Path, damage: str) -> None:
    changed, said = _CHANGES[damage]
    entries = {k: t for k, t in (FINE | changed).items() if t is not None}
    fmt = opened(tmp_path, {MODULE: entries, "model.fine": FINE}, {MODULE: SAID | said, "model.fine": SAID})
    array_files.check_one_is_damaged(fmt, MODULE)


def test_without_a_method_plain_scales_are_refused(tmp_path: Path) -> None:
    """Codes may be integers, or indices of NF4."""
    fmt = opened(tmp_path, {MODULE: FINE})
    assert fmt.family == "plain"
    assert any("method not said" in note for note in fmt.notes())


def test_scales_that_may_be_one_over_them_make_no_values(tmp_path: Path) -> None:
    entries = FINE | {"meta.scale": (1 / FINE["meta.scale"]).astype(np.float16)}
    fmt = opened(tmp_path, {MODULE: entries}, {MODULE: SAID})
    with pytest.raises(CannotDequantize, match="one over"):
        fmt.dequantize(fmt.weights()[0])
    assert fmt.codes(fmt.weights()[0]).shape == (8, 32)


def test_what_is_said_otherwise_is_a_note_with_both(tmp_path: Path) -> None:
    for i, (key, value) in enumerate([("nbits", 3), ("group_size", 64), ("shape", [32, 8])]):
        fmt = opened(tmp_path / str(i), {MODULE: FINE}, {MODULE: SAID | {key: value}})
        (note,) = fmt.notes()
        assert str(value) in note
        assert "believed" in note


def test_others_are_not_claimed(tmp_path: Path) -> None:
    hqq = {"W_q": FINE["W_q"], "scale": FINE["meta.scale"], "zero": FINE["meta.zero"]}
    assert opened(tmp_path / "a", {MODULE: hqq}).family != "sinq"
    one = {k: t for k, t in FINE.items() if k != "meta.scale2"}
    assert opened(tmp_path / "c", {MODULE: one}).family != "sinq"
    assert opened(tmp_path / "d", {MODULE: one}, {MODULE: SAID}).family == "sinq"
    assert opened(tmp_path / "b", {"x": {"meta.scale2": FINE["meta.scale2"]}}).family != "sinq"


@pytest.mark.usefixtures("unread")
def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    assert len(opened(tmp_path, {MODULE: FINE}, {MODULE: SAID}).weights()) == 1
