"""ComfyUI's layouts, against what its own library makes of them and against packing by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import peer_truth
import pytest
from comfy_files import FORMATS, LINEAR, Array, Made, made, of_module, opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peer_truth import agree, needs_fixtures, same_bits
from safetensors.numpy import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import compare
from qinspect.inspector.compare.results import Status
from qinspect.inspector.formats import Format, Quantity, format_of
from qinspect.inspector.formats.counts import parameter_counts
from qinspect.inspector.formats.records import Kind

DATA = Path(__file__).parents[1] / "data"
ROTATED = 4e-7
"""Of the largest magnitude: what the library's sum of products in float32 may be off by."""
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=list(HealthCheck))


def only(fmt: Format) -> Array:
    (found,) = fmt.weights()
    return fmt.dequantize(found)


def is_of(found: Array, made: Made, exact: bool = True) -> bool:
    expected = made.values.astype(np.float32)
    if exact:
        return same_bits(found, expected)
    return bool(np.abs(found - expected).max() <= ROTATED * np.abs(expected).max())


# --- what the library wrote ---


@pytest.mark.parametrize("name", ["comfy_nvfp4_ragged", "comfy_mxfp8", "comfy_int8_convrot", "comfy_asym_w4a8"])
def test_weights_are_the_librarys(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    _agree_but_for_filling(name, n_rotated=1 if "ragged" not in name and "mxfp8" not in name else 0)


def test_old_files_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    fmt = agree("comfy_scaled_fp8_old", "comfy")
    assert (fmt.description, fmt.notes()) == ("ComfyUI FP8 E4M3, scaled_fp8", ())
    assert [r.key.rpartition(".")[2] for r in fmt.scales()] == ["scale_weight"]
    assert {t.name.rpartition(".")[2] for t in fmt.other_tensors()} == {"bias"}


def _agree_but_for_filling(name: str, n_rotated: int) -> None:
    fmt = peer_truth.opened(name)
    assert fmt.family == "comfy"
    assert not fmt.problems()
    weights = {w.name: w for w in fmt.weights()}
    for key, expected in peer_truth.truth(name).items():
        found = fmt.dequantize(weights[key])
        rows, columns = expected.shape
        assert rows == len(found)
        assert not found[:, columns:].any()
        found = found[:, :columns]
        if n_rotated:
            assert np.abs(found - expected).max() <= ROTATED * np.abs(expected).max()
            assert weights[key].rotation is not None
        else:
            assert same_bits(found, expected)
    assert sum(w.rotation is not None for w in fmt.weights()) >= n_rotated


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "n_weights", "description", "bits"),
    [
        ("comfy_fp8_native", 5, "ComfyUI FP8 E4M3", (8.0,)),
        ("comfy_int8_tensorwise", 5, "ComfyUI int8_tensorwise", (8.0,)),
        ("comfy_scaled_fp8_old", 5, "ComfyUI FP8 E4M3, scaled_fp8", ()),
    ],
)
def test_whole_files_to_the_bit(name: str, n_weights: int, description: str, bits: tuple[float, ...]) -> None:
    fmt = agree(name, "comfy")
    assert (fmt.description, len(fmt.weights()), fmt.notes()) == (description, n_weights, ())
    assert fmt.declared_bits == bits


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "n_rotated", "n_weights"),
    [("comfy_nvfp4_ragged", 0, 7), ("comfy_mxfp8", 0, 7), ("comfy_int8_convrot", 5, 5), ("comfy_asym_w4a8", 3, 3)],
)
def test_whole_files(name: str, n_rotated: int, n_weights: int) -> None:
    _agree_but_for_filling(name, n_rotated)
    fmt = peer_truth.opened(name)
    assert len(fmt.weights()) == n_weights
    assert bool(fmt.notes()) == ("ragged" in name or "mxfp8" in name)


# --- the formulas ---

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in FORMATS if name != "convrot_w4a4"},
    "int8, a scale a row": ("int8_tensorwise", {"per_row": True}),
    "int8, rotated": ("int8_tensorwise", {"block": 16, "per_row": True}),
    "int8, one scale, rotated": ("int8_tensorwise", {"block": 4}),
    "int4, rotated": ("convrot_w4a4", {"block": 64}),
    "W4A8, rotated": ("asym_w4a8_int8", {"block": 16}),
    "W4A8 without a codebook": ("asym_w4a8_int8", {"codebook": False}),
    "W4A8 without a codebook, rotated": ("asym_w4a8_int8", {"codebook": False, "block": 4}),
    "6 bits": ("asym_w4a8_int8", {"bits": 6}),
    "6 bits, rotated": ("asym_w4a8_int8", {"bits": 6, "block": 16, "group": 32}),
    "W4A16 of other groups": ("awq_w4a16", {"group": 16}),
}


@pytest.mark.parametrize("case", CASES)
def test_each_format(tmp_path: Path, case: str) -> None:
    name, how = CASES[case]
    m = made(name, **how)
    fmt = opened(tmp_path, of_module(m))
    (w,) = fmt.weights()
    assert (fmt.family, fmt.problems(), fmt.notes()) == ("comfy", (), ())
    assert (w.name, w.role, w.shape) == (f"{LINEAR}.weight", f"{LINEAR}.weight", m.values.shape)
    assert np.array_equal(fmt.codes(w), m.codes)
    assert is_of(fmt.dequantize(w), m, exact="rotated" not in case)
    assert (w.rotation is not None) == ("rotated" in case)
    assert not [t.name for t in fmt.other_tensors()]


@_SETTINGS
@given(st.sampled_from(list(CASES)), st.integers(1, 300), st.integers(1, 3), st.integers(1, 140), st.integers(0, 999))
def test_some_rows_are_those_of_all(
    tmp_path_factory: pytest.TempPathFactory, case: str, rows: int, n: int, step: int, seed: int
) -> None:
    name, how = CASES[case]
    m = made(name, (rows, 64 * n), seed, **how)
    fmt = opened(tmp_path_factory.mktemp("comfy"), of_module(m))
    (w,) = fmt.weights()
    whole = fmt.dequantize(w)
    assert is_of(whole, m, exact="rotated" not in case)
    parts = [fmt.dequantize(w, i, i + step) for i in range(0, rows, step)]
    assert same_bits(np.concatenate(parts), whole)
    codes = [fmt.codes(w, i, i + step) for i in range(0, rows, step)]
    assert np.array_equal(np.concatenate(codes), m.codes)


def test_a_rotation_without_a_size_is_of_256(tmp_path: Path) -> None:
    m = made("int8_tensorwise", (3, 512), block=256)
    del m.mark["convrot_groupsize"]
    assert is_of(only(opened(tmp_path / "said", of_module(m))), m, exact=False)
    four = made("convrot_w4a4", (3, 512))
    for key in ("convrot", "convrot_groupsize"):
        del four.mark[key]
    assert is_of(only(opened(tmp_path / "implied", of_module(four))), four, exact=False)


def test_large_rotations(tmp_path: Path) -> None:
    m = made("int8_tensorwise", (2, 1024), block=1024)
    assert is_of(only(opened(tmp_path, of_module(m))), m, exact=False)


@pytest.mark.parametrize("dtype", ["uint8", "float8_e4m3fn"])
def test_scales_in_bytes_are_what_the_format_has(tmp_path: Path, dtype: str) -> None:
    for name in ("nvfp4", "mxfp8"):
        m = made(name, (130, 64))
        tensors = of_module(m) | {f"{LINEAR}.weight_scale": m.tensors["weight_scale"].view(np.uint8)}
        fmt = opened(tmp_path / name / dtype, tensors)
        assert is_of(only(fmt), m)
        assert fmt.values(fmt.scales()[0]).shape == (130, 64 // (16 if name == "nvfp4" else 32))


def test_a_weight_with_more_than_two_axes(tmp_path: Path) -> None:
    m = made("float8_e4m3fn", (6, 36))
    tensors = of_module(m) | {f"{LINEAR}.weight": m.tensors["weight"].reshape(6, 4, 3, 3)}
    fmt = opened(tmp_path, tensors)
    assert fmt.weights()[0].shape == (6, 4, 3, 3)
    assert same_bits(only(fmt), m.values.reshape(6, 4, 3, 3).astype(np.float32))
    assert same_bits(fmt.dequantize(fmt.weights()[0], 2, 4), only(fmt)[2:4])


# --- records ---


def test_records_of_nvfp4(tmp_path: Path) -> None:
    m = made("nvfp4", (130, 64))
    more = {f"{LINEAR}.input_scale": np.float32(0.5), f"{LINEAR}.pre_quant_scale": np.arange(64, dtype=np.float32)}
    fmt = opened(tmp_path, of_module(m) | {k: np.asarray(v) for k, v in more.items()})
    by_role = {r.role: r for r in fmt.scales()}
    assert list(by_role) == [
        f"{LINEAR}.weight",
        f"{LINEAR}.weight#global",
        f"{LINEAR}.weight#pre_quant",
        f"{LINEAR}:input",
    ]
    scale, whole, factor, of_input = by_role.values()
    assert (scale.grid.group_size, whole.quantity, factor.quantity) == (16, Quantity.GLOBAL_SCALE, Quantity.FACTOR)
    assert (of_input.kind, of_input.alpha_sensitive) == (Kind.ACTIVATION, None)
    assert not fmt.gives_as_stored(scale)
    assert fmt.gives_as_stored(whole)
    assert fmt.values(scale).shape == (130, 4)
    (w,) = fmt.weights()
    assert w.scale_roles == (scale.role, whole.role)
    assert is_of(fmt.dequantize(w), m)
    assert np.array_equal(fmt.effective(w), fmt.dequantize(w) * np.arange(64, dtype=np.float32))


def test_records_of_two_levels(tmp_path: Path) -> None:
    m = made("asym_w4a8_int8", block=16)
    fmt = opened(tmp_path, of_module(m))
    inner, outer = fmt.scales()
    assert (inner.role, outer.role) == (f"{LINEAR}.weight", f"{LINEAR}.weight#channel")
    assert inner.through == outer.through
    assert inner.rotation == fmt.weights()[0].rotation
    assert "rotated in blocks of 16" in inner.scheme
    assert fmt.values(inner).shape == (6, 4)
    assert f"{LINEAR}.weight_codebook" in inner.keys
    levels = fmt.weights()[0].element.levels
    assert np.array_equal(np.array(levels, np.float32), m.tensors["weight_codebook"])
    plain = opened(tmp_path / "plain", of_module(made("asym_w4a8_int8", codebook=False)))
    assert [r.quantity for r in plain.scales()] == [Quantity.SCALE, Quantity.GLOBAL_SCALE, Quantity.MINIMUM]
    assert plain.values(plain.scales()[2]).shape == (6, 4)


def test_records_of_w4a16_are_given_rows_first(tmp_path: Path) -> None:
    m = made("awq_w4a16", (6, 128))
    fmt = opened(tmp_path, of_module(m))
    scale, minimum = fmt.scales()
    assert np.array_equal(fmt.values(scale), m.tensors["weight_scale"].T)
    assert np.array_equal(fmt.values(minimum), m.tensors["weight_zeros"].T)
    assert minimum.role == f"{LINEAR}.weight#minimum"


def test_scales_of_a_rotated_weight_are_not_those_of_another(tmp_path: Path) -> None:
    plain, rotated = (
        opened(tmp_path / str(block), of_module(made("int8_tensorwise", block=block, per_row=True)))
        for block in (None, 16)
    )
    assert plain.scales()[0].convention != rotated.scales()[0].convention
    assert plain.weights()[0].convention != rotated.weights()[0].convention


def test_marks_and_scales_are_no_parameters(tmp_path: Path) -> None:
    m = made("asym_w4a8_int8", bits=6)
    fmt = opened(tmp_path, of_module(m) | {"m.comfy_attention.config": np.zeros(3, np.uint8)})
    assert sum(n or 0 for n in parameter_counts(fmt).values()) == m.values.size
    assert not fmt.other_tensors()


def test_the_same_numbers_in_modelopts_layout_are_equal(tmp_path: Path) -> None:
    """The same names, the halves of a byte and the scales in another order: where nothing is filled up, of the same
    shapes."""
    m = made("nvfp4", (128, 128))
    steps = np.empty((128, 8), m.tensors["weight_scale"].dtype)
    for r, c in np.ndindex(steps.shape):
        steps[r, c] = m.tensors["weight_scale"].reshape(-1)[c // 4 * 512 + r % 32 * 16 + r // 32 * 4 + c % 4]
    weight = m.tensors["weight"]
    theirs = m.tensors | {"weight": weight >> 4 | weight << 4, "weight_scale": steps}
    folder = tmp_path / "modelopt"
    folder.mkdir()
    said = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
    (folder / "config.json").write_text(json.dumps({"quantization_config": said}))
    save_file({f"{LINEAR}.{k}": np.asarray(t) for k, t in theirs.items()}, folder / "model.safetensors")
    found = compare(format_of(open_checkpoint(folder)), opened(tmp_path / "comfy", of_module(m)))
    assert (found.a.family, found.b.family) == ("modelopt", "comfy")
    assert len(found.scales) == 2
    assert {p.status for p in found.scales} | {p.status for p in found.weights} <= {Status.IDENTICAL, Status.EQUAL}
    weights = (found.a.dequantize(found.a.weights()[0]), found.b.dequantize(found.b.weights()[0]))
    assert np.array_equal(*weights)  # to the sign of zero, which ModelOpt has not


# --- which modules are marked, and how ---


@pytest.mark.parametrize("prefix", ["", "model.", "model.diffusion_model.", "diffusion_model.", "module."])
@pytest.mark.parametrize("listed", [False, True])
def test_names_do_not_depend_on_what_savers_put_in_front(tmp_path: Path, prefix: str, listed: bool) -> None:
    m = made("nvfp4")
    layers = {f"{prefix}{LINEAR}": m.mark} if listed else None
    fmt = opened(tmp_path, of_module(m, f"{prefix}{LINEAR}", marked=not listed), layers)
    assert [w.role for w in fmt.weights()] == [f"{LINEAR}.weight"]
    assert is_of(only(fmt), m)
    assert fmt.notes() == ()


def test_layers_that_are_listed_under_another_name_are_found_and_told(tmp_path: Path) -> None:
    """ComfyUI itself does not find them."""
    m = made("float8_e4m3fn")
    tensors = of_module(m, f"model.diffusion_model.{LINEAR}", marked=False)
    fmt = opened(tmp_path, tensors, {LINEAR: m.mark, "nowhere": m.mark})
    assert is_of(only(fmt), m)
    moved, absent = fmt.notes()
    assert LINEAR in moved
    assert "takes codes for values" in moved
    assert "nowhere" in absent


def test_a_module_without_a_mark_is_shown_as_it_is_stored(tmp_path: Path) -> None:
    m = made("float8_e4m3fn")
    fmt = opened(tmp_path, of_module(m) | of_module(m, "b.lin", marked=False) | {"c.weight": m.tensors["weight"]})
    assert [w.name for w in fmt.weights()] == [f"{LINEAR}.weight"]
    (problem,) = fmt.problems()
    assert problem.key == "b.lin.weight"
    assert "comfy_quant" in (problem.error.expected or "")
    assert {t.name for t in fmt.other_tensors()} == {"b.lin.weight", "b.lin.weight_scale", "c.weight"}


def test_a_mark_and_a_list_that_differ_are_a_note_with_both(tmp_path: Path) -> None:
    m = made("nvfp4")
    fmt = opened(tmp_path, of_module(m), {LINEAR: {"format": "mxfp8"}})
    assert is_of(only(fmt), m)
    assert any("mxfp8 and nvfp4" in note and "entries are nvfp4" in note for note in fmt.notes())


@pytest.mark.parametrize("said", ["float8_e5m2", "int8_tensorwise", "mxfp8"])
def test_codes_of_fp8_that_are_said_to_be_something_else(tmp_path: Path, said: str) -> None:
    m = made("float8_e4m3fn")
    m.mark["format"] = said
    fmt = opened(tmp_path, of_module(m))
    assert is_of(only(fmt), m)
    assert any(said in note and "float8_e4m3fn" in note for note in fmt.notes())


def test_a_format_of_later_is_a_problem_of_its_module_alone(tmp_path: Path) -> None:
    m = made("nvfp4")
    for name in FORMATS:  # whatever its entries look like
        later = made(name, block=64 if name == "convrot_w4a4" else None)
        later.mark["format"] = "later"
        fmt = opened(tmp_path / name, of_module(m) | of_module(later, "later"))
        assert [w.name for w in fmt.weights()] == [f"{LINEAR}.weight"]
        assert "found later" in str(fmt.problems()[0].error)
        assert fmt.problems()[0].key == "later.comfy_quant"


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"1", b'{"format": 3}', b"\xff\xfe", b'{"form": "nvfp4"}', b'"nvfp4"', b"[" * 4000]
)
def test_marks_that_are_none(tmp_path: Path, text: bytes) -> None:
    m = made("nvfp4")
    bad = of_module(m, "bad") | {"bad.comfy_quant": np.frombuffer(text, np.uint8)}
    fmt = opened(tmp_path, of_module(m) | bad)
    assert [w.name for w in fmt.weights()] == [f"{LINEAR}.weight"]
    assert fmt.problems()[0].key == "bad.comfy_quant"


def test_metadata_that_are_none_claim_nothing(tmp_path: Path) -> None:
    tensors = {"a.weight": np.ones((4, 4), np.float32), "a.weight_scale": np.ones(1, np.float32)}
    for text in ("", "{", "[]", '{"layers": []}', '{"layers": {}}'):
        save_file(tensors, tmp_path / "model.safetensors", {"_quantization_metadata": text})
        assert format_of(open_checkpoint(tmp_path)).family == "plain"


# --- files from before ---


def old(dtype: str = "float8_e4m3fn", prefix: str = "model.diffusion_model.", mark: int | None = 0) -> dict[str, Array]:
    m = made(dtype)
    tensors = {
        f"{prefix}{LINEAR}.weight": m.tensors["weight"],
        f"{prefix}{LINEAR}.scale_weight": m.tensors["weight_scale"],
    }
    if mark is not None:
        tensors[f"{prefix}scaled_fp8"] = m.tensors["weight"].reshape(-1)[:mark]
    return {name: np.asarray(t) for name, t in tensors.items()}


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("mark", [0, 2])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_old_files(tmp_path: Path, prefix: str, mark: int, shape: tuple[int, ...]) -> None:
    tensors = old(prefix=prefix, mark=mark)
    scale = f"{prefix}{LINEAR}.scale_weight"
    tensors |= {scale: tensors[scale].reshape(shape), f"{prefix}{LINEAR}.scale_input": np.asarray(np.float32(1))}
    fmt = opened(tmp_path, tensors)
    assert is_of(only(fmt), made("float8_e4m3fn"))
    assert [r.role for r in fmt.scales()] == [f"{LINEAR}.weight", f"{LINEAR}:input"]
    assert ("full-precision products" in fmt.description) == (mark == 2)
    assert (fmt.notes(), fmt.other_tensors()) == ((), [])


def test_old_files_of_e5m2_are_read_as_they_are_with_a_note(tmp_path: Path) -> None:
    fmt = opened(tmp_path, old("float8_e5m2"))
    assert is_of(only(fmt), made("float8_e5m2"))
    (note,) = fmt.notes()
    assert "nothing above 448" in note


def test_an_old_mark_that_stands_elsewhere_is_told(tmp_path: Path) -> None:
    for i, tensors in enumerate((old(mark=None), old(mark=None) | {"other.scaled_fp8": np.zeros(0, np.uint8)})):
        fmt = opened(tmp_path / str(i), tensors)
        assert is_of(only(fmt), made("float8_e4m3fn"))
        assert any("without their scale" in note for note in fmt.notes())


# --- filled up rows ---


@pytest.mark.parametrize(("name", "size"), [("nvfp4", 16), ("mxfp8", 32)])
def test_filling_of_rows_is_left_out_where_a_bias_tells(tmp_path: Path, name: str, size: int) -> None:
    m = made(name, (2 * size, 64))
    fmt = opened(tmp_path, of_module(m) | {f"{LINEAR}.bias": np.ones(size + 3, np.float32)})
    assert fmt.weights()[0].shape == (size + 3, 64)
    assert same_bits(only(fmt), m.values[: size + 3].astype(np.float32))
    assert fmt.values(fmt.scales()[0]).shape[0] == size + 3
    assert any(f"{size + 3} of {2 * size}" in note for note in fmt.notes())
    for n in (size, 2 * size + 1):  # a bias that is no length of it
        other = opened(tmp_path / str(n), of_module(m) | {f"{LINEAR}.bias": np.ones(n, np.float32)})
        assert other.weights()[0].shape == (2 * size, 64)


# --- what is broken ---


def _damaged(name: str, last: str, value: Array | None, **how: Any) -> dict[str, Array]:
    m = made(name, **how)
    tensors = {k: t for k, t in of_module(m).items() if k != f"{LINEAR}.{last}"}
    return tensors | ({f"{LINEAR}.{last}": value} if value is not None else {})


DAMAGES = {
    "no weight": _damaged("nvfp4", "weight", None),
    "no scale of int8": _damaged("int8_tensorwise", "weight_scale", None),
    "no scale of FP8": _damaged("float8_e4m3fn", "weight_scale", None),
    "no scale of groups": _damaged("nvfp4", "weight_scale", None),
    "no second scale": _damaged("nvfp4", "weight_scale_2", None),
    "scales in rows": _damaged("nvfp4", "weight_scale", np.ones((6, 4), np.uint8)),
    "scales of other groups": _damaged("mxfp8", "weight_scale", np.ones((128, 8), np.uint8)),
    "scales of too many rows": _damaged("int8_tensorwise", "weight_scale", np.ones(7, np.float32)),
    "scales that are integers": _damaged("int8_tensorwise", "weight_scale", np.ones(1, np.int32)),
    "FP4 in floats": _damaged("nvfp4", "weight", np.ones((6, 32), np.float32)),
    "codes in a row": _damaged("nvfp4", "weight", np.ones(6, np.uint8)),
    "no codes": _damaged("nvfp4", "weight", np.ones((0, 32), np.uint8)),
    "columns that are no groups": _damaged("nvfp4", "weight", np.ones((6, 9), np.uint8)),
    "rotations that do not fit": _damaged("int8_tensorwise", "weight", np.ones((6, 60), np.int8), block=16),
    "no scales of rows": _damaged("asym_w4a8_int8", "weight_s_channel", None),
    "no inner scales": _damaged("asym_w4a8_int8", "weight_s_rel", None),
    "inner scales of other groups": _damaged("asym_w4a8_int8", "weight_s_rel", np.ones((6, 7), np.float32)),
    "a codebook of 15": _damaged("asym_w4a8_int8", "weight_codebook", np.ones(15, np.float32)),
    "a codebook that is none": _damaged("asym_w4a8_int8", "weight_codebook", np.full(16, np.nan, np.float32)),
    "no minima": _damaged("awq_w4a16", "weight_zeros", None),
    "scales rows first": _damaged("awq_w4a16", "weight_scale", np.ones((6, 1), np.float32)),
    "factors of other channels": _damaged("nvfp4", "pre_quant_scale", np.ones(9, np.float32)),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_module_is_named_and_the_others_stay_understood(tmp_path: Path, damage: str) -> None:
    fine = made("mxfp8")
    fmt = opened(tmp_path, DAMAGES[damage] | of_module(fine, "m.fine"))
    assert [w.name for w in fmt.weights()] == ["m.fine.weight"]
    assert is_of(only(fmt), fine)
    (problem,) = fmt.problems()
    assert LINEAR in (problem.error.key or "")
    assert problem.error.expected
    assert problem.error.found


@pytest.mark.parametrize("size", [0, -4, 2, 8, 12, 48, "16", 1.5, True])
def test_sizes_of_rotations_that_are_none(tmp_path: Path, size: Any) -> None:
    m = made("int8_tensorwise", block=16)
    m.mark["convrot_groupsize"] = size
    fmt = opened(tmp_path, of_module(m) | of_module(made("nvfp4"), "fine"))
    assert [w.name for w in fmt.weights()] == ["fine.weight"]
    assert str(size) in str(fmt.problems()[0].error)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "nvfp4", "mxfp8", "awq_w4a16"])
def test_rotations_of_which_nothing_is_known_are_not_passed_over(tmp_path: Path, name: str) -> None:
    m = made(name)
    m.mark["convrot"] = True
    fmt = opened(tmp_path, of_module(m) | of_module(made("nvfp4"), "fine"))
    assert [w.name for w in fmt.weights()] == ["fine.weight"]
    assert "convrot" in str(fmt.problems()[0].error)


def test_numbers_that_are_not_finite_are_the_files(tmp_path: Path) -> None:
    for name in ("float8_e4m3fn", "int8_tensorwise", "nvfp4", "asym_w4a8_int8"):
        m = made(name)
        last = next(k for k in ("weight_s_channel", "weight_scale_2", "weight_scale") if k in m.tensors)
        m.tensors[last] = np.full_like(m.tensors[last], np.nan)
        assert not np.isfinite(only(opened(tmp_path / name, of_module(m)))).any()


def test_shards_may_part_a_module(tmp_path: Path) -> None:
    m = made("nvfp4")
    tensors = of_module(m)
    parts = {"one.safetensors": list(tensors)[:2], "two.safetensors": list(tensors)[2:]}
    for file, names in parts.items():
        save_file({n: np.ascontiguousarray(tensors[n]).reshape(tensors[n].shape) for n in names}, tmp_path / file)
    index = {"weight_map": {n: file for file, names in parts.items() for n in names}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    fmt = format_of(open_checkpoint(tmp_path))
    assert fmt.family == "comfy"
    assert is_of(only(fmt), m)
