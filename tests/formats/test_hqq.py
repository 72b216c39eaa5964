"""HQQ's layouts, against what HQQ makes of them and against packing by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import peer_truth
import pytest
import torch
from hqq_files import MODULE, Array, Made, hqq, of_module, opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peer_truth import agree, needs_fixtures, same_bits
from safetensors.numpy import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, Quantity, format_of
from qinspect.inspector.formats.counts import parameter_counts
from qinspect.inspector.values.inspection import inspect_entry

DATA = Path(__file__).parents[1] / "data"
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=list(HealthCheck))


def only(fmt: Format) -> np.ndarray:
    (found,) = fmt.weights()
    return fmt.dequantize(found)


# --- what HQQ wrote ---


@pytest.mark.parametrize(
    ("name", "n_weights"),
    [("hqq_mixed", 13), ("hqq_meta", 3)],  # every width, both axes; scales and zero points that are quantized
)
def test_weights_are_hqqs_to_the_bit(name: str, n_weights: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    fmt = agree(name, "hqq")
    assert fmt.notes() == ()
    assert len(fmt.weights()) == n_weights
    assert fmt.other_tensors() == []


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "n_weights", "description"),
    [
        ("hqq_qmodel_4bit_g64", 14, "HQQ 4-bit g64"),
        ("hqq_safetensors_2bit_g32", 7, "HQQ 2-bit g32"),
        ("hqq_safetensors_4bit_g64_axis0", 7, "HQQ 4-bit g64 axis 0, 4-bit per channel axis 0"),
        ("hqq_safetensors_8bit_g128", 7, "HQQ 8-bit g128"),
    ],
)
def test_whole_models(name: str, n_weights: int, description: str) -> None:
    fmt = agree(name, "hqq")
    assert (fmt.description, len(fmt.weights()), fmt.notes()) == (description, n_weights, ())
    assert all(t.name.endswith((".weight", ".bias")) for t in fmt.other_tensors())
    counts = parameter_counts(fmt)
    assert None not in counts.values()
    whole = {n for n, count in counts.items() if count}
    assert whole == {w.codes_key for w in fmt.weights()} | {t.name for t in fmt.other_tensors()}


# --- the formula ---


def _fitting(bits: int, group: int | None, axis: int, shape: tuple[int, int]) -> bool:
    """Whether HQQ packs that: rows of codes in equal runs, but of 3 bits."""
    if group is not None and shape[0] * shape[1] % group:
        return False
    rows = shape[0] if group is None else shape[0] * shape[1] // group if axis else group
    return bits == 3 or rows % (8 // bits) == 0


@_SETTINGS
@given(st.sampled_from([1, 2, 3, 4, 8]), st.sampled_from([None, 8, 16, 24, 64]), st.sampled_from([0, 1]),
       st.integers(1, 8), st.sampled_from([8, 16, 24, 40, 64, 128]), st.integers(0, 2**31), st.integers(1, 9),
       st.sampled_from([ml_dtypes.bfloat16, np.float16, np.float32]))  # fmt: skip
def test_each_width_group_and_axis_in_any_rows(
    tmp_path_factory: pytest.TempPathFactory, bits: int, group: int | None, axis: int, eighths: int, n_in: int,
    seed: int, step: int, dtype: Any,
) -> None:  # fmt: skip
    shape = (8 * eighths, n_in)
    if not _fitting(bits, group, axis, shape):
        return
    made = hqq(bits, shape, group, axis, seed, dtype)
    fmt = opened(tmp_path_factory.mktemp("hqq"), of_module(made))
    assert fmt.family == "hqq"
    (w,) = fmt.weights()
    assert (w.bits, w.shape) == (bits, shape)
    assert np.array_equal(fmt.codes(w), made.codes)
    assert same_bits(fmt.dequantize(w), made.values)
    parts = [fmt.dequantize(w, i, i + step) for i in range(0, shape[0], step)]
    assert same_bits(np.concatenate(parts), made.values)
    scale, zero = fmt.scales()
    assert fmt.values(scale).size == made.tensors["scale"].size
    assert fmt.values(zero).shape == fmt.values(scale).shape
    assert fmt.notes() == ()


def test_the_compiled_body_and_plain_arithmetic_agree(tmp_path: Path) -> None:
    for axis, group, shape in ((1, 64, (8, 128)), (0, 4, (8, 32)), (1, None, (8, 32)), (0, None, (8, 32))):
        made = hqq(4, shape, group, axis)
        fmt = opened(tmp_path / f"{axis}{group}", of_module(made))
        (w,) = fmt.weights()
        rows = fmt.packed(w, 2, 7)
        assert rows is not None
        assert rows.shape == (5, shape[1])
        assert rows.zeros is not None
        across = np.repeat(np.stack(np.broadcast_arrays(rows.scales, rows.zeros)), rows.width, -1)[..., : shape[1]]
        found = (rows.levels[rows.codes] - across[1]) * across[0]
        assert same_bits(np.asarray(found, np.float32), made.values[2:7])


@pytest.mark.parametrize(
    ("group", "axis", "shape", "granularity", "of_values"),
    [
        (64, 1, (6, 128), "per-group", (6, 2)),
        (None, 1, (6, 128), "per-channel", (6,)),
        (48, 1, (6, 128), "per-block of the flattened tensor", (16,)),
        (768, 1, (6, 128), "per-tensor", ()),
        (None, 0, (6, 128), "per-channel along axis 1", (128,)),
        (6, 0, (6, 128), "per-channel along axis 1", (128,)),
        (2, 0, (6, 128), "per set of rows and column", (3, 128)),
        (4, 0, (6, 32), "per set of elements", (48,)),
    ],
)
def test_where_groups_lie(
    tmp_path: Path, group: int | None, axis: int, shape: tuple[int, int], granularity: str, of_values: tuple[int, ...]
) -> None:
    made = hqq(8, shape, group, axis)
    fmt = opened(tmp_path, of_module(made))
    scale, zero = fmt.scales()
    assert (scale.granularity, fmt.values(scale).shape) == (granularity, of_values)
    assert (zero.granularity, fmt.values(zero).shape) == (granularity, of_values)
    assert same_bits(only(fmt), made.values)


def test_sets_of_rows_take_turns(tmp_path: Path) -> None:
    """Axis 0: rows 0, 3 of six in groups of two, not 0, 1."""
    made = hqq(8, (6, 8), 2, 0)
    made.tensors["zero"][:] = 0
    fmt = opened(tmp_path, of_module(made))
    (w,), (scale, _) = fmt.weights(), fmt.scales()
    sets = fmt.values(scale).astype(np.float32)
    codes = fmt.codes(w)
    assert same_bits(fmt.dequantize(w), codes.astype(np.float32) * sets[[0, 1, 2, 0, 1, 2]])


def test_records(tmp_path: Path) -> None:
    fmt = opened(tmp_path, of_module(hqq()))
    scale, zero = fmt.scales()
    assert [scale.role, zero.role] == [f"layers.0.self_attn.q_proj.weight{end}" for end in ("", "#zero_point")]
    assert [scale.key, zero.key] == [f"{MODULE}.scale", f"{MODULE}.zero"]
    assert zero.quantity is Quantity.ZERO_POINT
    assert scale.scheme == "uint4, group 64, with zero points"
    assert fmt.weights()[0].name == f"{MODULE}.weight"
    assert fmt.weights()[0].scale_roles == (scale.role, zero.role)
    assert inspect_entry(fmt, f"{MODULE}.W_q").problem == ""


def test_one_zero_point_for_all_groups(tmp_path: Path) -> None:
    made = hqq()
    made.tensors["zero"] = np.array([3.5], np.float32)
    fmt = opened(tmp_path, of_module(made))
    scale = made.tensors["scale"].astype(np.float32).reshape(6, 2).repeat(64, 1)
    assert same_bits(only(fmt), (made.codes.astype(np.float32) - np.float32(3.5)) * scale)
    zero = fmt.scales()[1]
    assert (zero.granularity, fmt.values(zero).shape) == ("per-tensor", ())


@pytest.mark.parametrize("floats", [np.float16, np.float32])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_codes_that_are_stored_as_floats(tmp_path: Path, floats: Any, bits: int) -> None:
    made = hqq(bits, (16, 64), 64)
    made.tensors["W_q"] = made.tensors["W_q"].view(floats)
    assert same_bits(only(opened(tmp_path, of_module(made))), made.values)


def test_zero_points_and_scales_in_one_entry(tmp_path: Path) -> None:
    made = hqq()
    tensors = of_module(made)
    tensors[f"{MODULE}.zero_scale"] = np.stack([tensors.pop(f"{MODULE}.zero"), tensors.pop(f"{MODULE}.scale")])
    fmt = opened(tmp_path, tensors)
    assert same_bits(only(fmt), made.values)
    assert [r.key for r in fmt.scales()] == [f"{MODULE}.zero_scale"] * 2


@pytest.mark.parametrize(("nbits", "stored", "bits"), [(5, 8, 5), (6, 8, 6), (1.58, 2, 2)])
def test_widths_that_are_stored_in_more(tmp_path: Path, nbits: float, stored: int, bits: int) -> None:
    made = hqq(stored, (8, 64))
    small = Made({**made.tensors, "nbits": np.array(nbits, np.float32)}, made.codes, made.values)
    fmt = opened(tmp_path, of_module(small))
    assert fmt.weights()[0].bits == bits
    assert fmt.notes() == ()
    assert same_bits(only(fmt), made.values)


# --- where it is stored ---


def _of_torch(made: Made) -> dict[str, Any]:
    """As HQQ keeps a module in memory, and pickles it."""
    t = made.tensors
    return {
        "W_q": torch.from_numpy(t["W_q"].copy()), "scale": torch.from_numpy(t["scale"].astype(np.float32)),
        "zero": torch.from_numpy(t["zero"].astype(np.float32)), "nbits": int(t["nbits"]), "axis": int(t["axis"]),
        "group_size": int(t["group_size"]), "shape": torch.Size(t["shape"].tolist()), "packing": "4bit_u8",
        "quant_zero": False, "quant_scale": False, "compute_dtype": torch.float16,
    }  # fmt: skip


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_of_modules(tmp_path: Path, old: bool) -> None:
    """Old ones keep what belongs to codes in `meta`."""
    made = hqq(dtype=np.float32)
    found = _of_torch(made)
    if old:
        found = {"W_q": found.pop("W_q"), "meta": found, "bias": None}
    torch.save({MODULE: found, "lm_head": {"weight": torch.ones(4, 4)}}, tmp_path / "qmodel.pt")
    fmt = format_of(open_checkpoint(tmp_path))
    assert same_bits(only(fmt), made.values)
    assert fmt.weights()[0].role == "layers.0.self_attn.q_proj.weight"
    assert [t.name for t in fmt.other_tensors()] == ["lm_head.weight"]


@pytest.mark.parametrize("prefix", ["", "model.", "model.language_model.", "module.", "language_model.model."])
def test_names_do_not_depend_on_what_savers_put_in_front(tmp_path: Path, prefix: str) -> None:
    made = hqq()
    fmt = opened(tmp_path, of_module(made, f"{prefix}layers.0.self_attn.q_proj"))
    assert [w.role for w in fmt.weights()] == ["layers.0.self_attn.q_proj.weight"]
    assert same_bits(only(fmt), made.values)


def test_scales_may_be_in_another_shard(tmp_path: Path) -> None:
    made = hqq()
    tensors = of_module(made)
    parts = [{n: t for n, t in tensors.items() if n.endswith(("scale", "shape")) == second} for second in (0, 1)]
    names: dict[str, str] = {}
    for i, part in enumerate(parts):
        file = f"model-0000{i + 1}-of-00002.safetensors"
        save_file({n: np.ascontiguousarray(t) for n, t in part.items()}, tmp_path / file)
        names |= dict.fromkeys(part, file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    assert same_bits(only(format_of(open_checkpoint(tmp_path))), made.values)


# --- what is said otherwise ---


@pytest.mark.parametrize(
    ("last", "value", "words"),
    [
        ("nbits", np.array(8, np.int32), ("says 8 bits", "4 bits")),
        ("group_size", np.array(32, np.int32), ("says groups of 32", "groups of 64")),
        ("axis", np.array(0, np.int32), ("says axis 0", "axis 1")),
    ],
)
def test_what_shapes_do_not_have_is_a_note_with_both(
    tmp_path: Path, last: str, value: Array, words: tuple[str, str]
) -> None:
    made = hqq()
    fmt = opened(tmp_path, of_module(made) | {f"{MODULE}.{last}": value})
    assert same_bits(only(fmt), made.values)
    (note,) = fmt.notes()
    assert all(word in note for word in words)
    assert f"{MODULE}.{last}" in note


def test_settings_are_held_against_the_shapes(tmp_path: Path) -> None:
    made = hqq()
    said: dict[str, Any] = {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 8, "axis": 1}}}
    fmt = opened(tmp_path, of_module(made), said)
    assert fmt.declared_bits == (8.0,)
    assert any("config.json says 8 bits" in note and "4 bits" in note for note in fmt.notes())
    said["quant_config"] = {"self_attn.q_proj": {"nbits": 4}, "mlp.up_proj": {"weight_quant_params": {"nbits": 8}}}
    assert opened(tmp_path / "two", of_module(made), said).notes() == ()


@pytest.mark.parametrize("left_out", ["nbits", "group_size", "axis", "packing"])
def test_what_shapes_tell_need_not_be_said(tmp_path: Path, left_out: str) -> None:
    made = hqq()
    del made.tensors[left_out]
    assert same_bits(only(opened(tmp_path, of_module(made))), made.values)


# --- what is damaged ---


@pytest.mark.parametrize(
    ("last", "value"),
    [
        ("scale", None),
        ("zero", None),
        ("shape", None),
        ("shape", np.array([6, -128], np.int64)),
        ("shape", np.array([6, 128, 1], np.int64)),
        ("shape", np.array([2**62, 2**62], np.int64)),
        ("shape", np.array([6.5, 128], np.float32)),
        ("W_q", np.zeros((7, 64), np.uint8)),
        ("W_q", np.zeros((6, 64), np.int64)),
        ("scale", np.ones((5, 1), np.float16)),
        ("scale", np.ones((0, 1), np.float16)),
        ("scale", np.ones((3, 4), np.float16)),
        ("scale", np.ones((12, 1), np.int32)),
        ("zero", np.ones((1, 12), np.float16)),
        ("zero", np.ones((12, 1), np.uint8)),
    ],
)
def test_a_damaged_module_is_a_problem_and_the_others_are_read(tmp_path: Path, last: str, value: Array | None) -> None:
    fine, odd = hqq(seed=3), of_module(hqq(), "m")
    odd.pop(f"m.{last}")
    if value is not None:
        odd[f"m.{last}"] = value
    fmt = opened(tmp_path, of_module(fine) | odd)
    assert same_bits(only(fmt), fine.values)
    (problem,) = fmt.problems()
    assert problem.key in (f"m.{last}", "m.W_q")
    assert "expected" in str(problem.error)
    assert "found" in str(problem.error)


def test_numbers_that_are_not_finite_are_the_files(tmp_path: Path) -> None:
    made = hqq()
    made.tensors["scale"][0] = np.nan
    found = only(opened(tmp_path, of_module(made)))
    assert np.isnan(found[0, :64]).all()
    assert same_bits(found[1:], made.values[1:])


@pytest.mark.parametrize(
    "tensors",
    [
        {"m.W_q": np.ones((4, 4), np.float32), "m.W_k": np.ones((4, 4), np.float32)},
        {"m.W_q": np.ones((4, 4), np.uint8), "m.shape": np.ones(2, np.int64)},
        {"m.W_q": np.ones((4, 4), np.uint8), "n.scale": np.ones((4, 1), np.float32), "n.shape": np.ones(2, np.int64)},
        {"m.W_q": np.ones((4, 4), np.uint8), "m.meta.scale": np.ones((4, 1), np.float16),
         "m.meta.zero": np.ones((4, 1), np.float16), "m.meta.scale2": np.ones((1, 4), np.float16)},
    ],
)  # fmt: skip
def test_names_alone_are_not_enough(tmp_path: Path, tensors: dict[str, Array]) -> None:
    assert opened(tmp_path, tensors).family == "plain"


def test_what_another_method_wrote_is_not_claimed(tmp_path: Path) -> None:
    assert opened(tmp_path, of_module(hqq()), {"quant_method": "sinq"}).family == "plain"


@needs_fixtures
def test_no_other_librarys_files_are_taken() -> None:
    for folder in sorted(Path(peer_truth.ROOT).iterdir()):
        if not (folder / "model").is_dir() or folder.name.startswith(("hqq_", "onnx_")):
            continue
        checkpoint = open_checkpoint(folder / "model")
        checkpoint.config = {}
        assert format_of(checkpoint).family != "hqq", folder.name
