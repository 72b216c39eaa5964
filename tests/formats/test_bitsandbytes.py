"""bitsandbytes' layouts, against what bitsandbytes makes of them and against packing by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import peer_truth
import pytest
from bitsandbytes_files import KEY, LEVELS, SAID, Array, four_bit, in_bytes, int8, of_key, opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peer_truth import agree, needs_fixtures, same_bits, truth
from safetensors.numpy import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.formats.bits import model_bits
from qinspect.inspector.formats.counts import parameter_counts

DATA = Path(__file__).parents[1] / "data"
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))
STATE = f"{KEY}.quant_state.bitsandbytes__nf4"


def only(fmt: Format) -> np.ndarray:
    (found,) = fmt.weights()
    return fmt.dequantize(found)


def by_name(fmt: Format) -> dict[str, np.ndarray]:
    return {w.name: fmt.dequantize(w) for w in fmt.weights()}


def agree_with_stacks(fmt: Format, expected: dict[str, np.ndarray]) -> int:
    """How many weights of the peer's were compared: of a stack, each expert with its rows of the stack."""
    found, n = by_name(fmt), 0
    for name, whole in expected.items():
        if whole.ndim == 2:
            assert same_bits(found[name], whole), name
            n += 1
            continue
        module, _, last = name.rpartition(".")
        halves = ["gate_proj", "up_proj"] if last == "gate_up_proj" else [last]
        for e, expert in enumerate(whole):
            for half, rows in zip(halves, np.split(expert, len(halves)), strict=True):
                assert same_bits(found[f"{module}.{e}.{half}.weight"], rows), (name, e, half)
                n += 1
    return n


# --- what bitsandbytes wrote ---


def test_weights_are_the_librarys_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """NF4 with scales that are quantized, FP4, rows of an odd number, codes in bfloat16, stacked experts, int8."""
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    fmt = peer_truth.opened("bnb_mixed")
    assert fmt.family == "bitsandbytes"
    assert fmt.problems() == ()
    assert agree_with_stacks(fmt, truth("bnb_mixed")) == len(fmt.weights()) == 14
    bare = open_checkpoint(DATA / "bnb_mixed" / "model" / "model.safetensors")
    bare.config = {}
    assert [w.name for w in format_of(bare).weights()] == [w.name for w in fmt.weights()]


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("bnb_nf4", "bitsandbytes NF4 g64"),
        ("bnb_fp4", "bitsandbytes FP4 g64"),
        ("bnb_int8", "bitsandbytes int8 (LLM.int8)"),
    ],
)
def test_whole_models_with_and_without_their_settings(name: str, description: str) -> None:
    fmt = agree(name, "bitsandbytes")
    assert (fmt.description, len(fmt.weights())) == (description, 7)
    assert not [note for note in fmt.notes() if "dynamically" not in note]
    assert fmt.declared_bits == ((8.0,) if name == "bnb_int8" else (4.0,))
    bare = open_checkpoint(peer_truth.folder(name) / "model")
    bare.config = {}
    alone = format_of(bare)
    assert (alone.family, alone.weights()) == ("bitsandbytes", fmt.weights())


@needs_fixtures
def test_fused_experts_are_weights_of_their_own() -> None:
    fmt = peer_truth.opened("bnb_nf4_fused_experts")
    assert agree_with_stacks(fmt, truth("bnb_nf4_fused_experts")) == 4  # the truth has down_proj alone
    assert len(fmt.weights()) == 12
    assert fmt.weights()[0].role == "layers.0.mlp.experts.0.gate_proj.weight"


# --- the formula ---


@_SETTINGS
@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.sampled_from([1, 2, 5, 32, 64, 4096]),
       st.sampled_from([0, 1, 3, 256]), st.integers(0, 2**31), st.integers(1, 9))  # fmt: skip
def test_any_shape_and_size_of_blocks_in_any_rows(
    tmp_path_factory: pytest.TempPathFactory, shape: list[int], block: int, nested: int, seed: int, step: int
) -> None:
    made = four_bit(tuple(shape), block, "nf4", nested, seed)
    fmt = opened(tmp_path_factory.mktemp("bnb"), of_key(made))
    assert fmt.family == "bitsandbytes"
    (w,) = fmt.weights()
    assert w.shape == made.values.shape
    assert np.array_equal(fmt.codes(w), made.codes)
    assert same_bits(fmt.dequantize(w), made.values)
    parts = [fmt.dequantize(w, i, i + step) for i in range(0, shape[0], step)]
    assert same_bits(np.concatenate(parts), made.values)
    (scale,) = fmt.scales()
    assert fmt.values(scale).size == -(-made.values.size // block)


@pytest.mark.parametrize("storage", [np.int8, np.float16, np.float32])
def test_bytes_of_codes_may_be_stored_as_something_else(tmp_path: Path, storage: Any) -> None:
    made = four_bit((4, 64), 32, storage=storage)
    assert same_bits(only(opened(tmp_path, of_key(made))), made.values)


def test_the_zero_of_fp4_with_a_sign_keeps_it(tmp_path: Path) -> None:
    """bitsandbytes' table has no sign there; what it dequantizes has one."""
    made = four_bit((2, 64), kind="fp4")
    levels = LEVELS.copy()
    levels[[0, 8]] = 0
    fmt = opened(tmp_path, of_key(made) | {f"{KEY}.quant_map": levels})
    found = only(fmt)
    assert np.signbit(found[made.codes == 8]).all()
    assert not np.signbit(found[made.codes == 0]).any()


def test_scales_lie_in_rows_where_blocks_do(tmp_path: Path) -> None:
    fmt = opened(tmp_path / "rows", of_key(four_bit((6, 128), nested=256)))
    (record,) = fmt.scales()
    assert fmt.values(record).shape == (6, 2)
    assert (record.granularity, record.group_size, record.role) == (
        "per-group", 64, "layers.0.self_attn.q_proj.weight"
    )  # fmt: skip
    assert set(record.keys) == {f"{KEY}.{end}" for end in (
        "absmax", "nested_absmax", "nested_quant_map", "quant_state.bitsandbytes__nf4")}  # fmt: skip
    (across,) = opened(tmp_path / "across", of_key(four_bit((6, 96)))).scales()
    assert across.granularity == "per-block of the flattened tensor"


def test_nothing_of_a_weight_is_taken_for_a_tensor_or_a_parameter(tmp_path: Path) -> None:
    tensors = of_key(four_bit(nested=256)) | int8() | {"norm.weight": np.ones(8, np.float32)}
    fmt = opened(tmp_path, tensors)
    assert [t.name for t in fmt.other_tensors()] == ["norm.weight"]
    counts = parameter_counts(fmt)
    assert {name: n for name, n in counts.items() if n} == {KEY: 6 * 128, "m.weight": 24, "norm.weight": 8}
    assert model_bits(fmt).effective is not None


def test_a_block_of_zeros_is_no_fault(tmp_path: Path) -> None:
    made = four_bit()
    made.tensors[".absmax"][3] = 0
    (record,) = opened(tmp_path, of_key(made)).scales()
    assert record.may_be_zero


# --- LLM.int8() ---


@pytest.mark.parametrize("order", [None, 0])
def test_int8(tmp_path: Path, order: int | None) -> None:
    tensors = int8("model.layers.0.mlp.up_proj", order=order)
    fmt = opened(tmp_path, tensors)
    (codes, largest, *_) = tensors.values()
    step = np.float32(1 / 127)
    assert same_bits(only(fmt), codes.astype(np.float32) * largest[:, None] * step)
    (record,) = fmt.scales()
    np.testing.assert_allclose(fmt.values(record), largest / 127, rtol=1e-6)
    assert (record.granularity, record.key) == ("per-channel", "model.layers.0.mlp.up_proj.SCB")
    assert [p.role for p in fmt.dynamic()] == ["layers.0.mlp.up_proj:input"]
    assert fmt.other_tensors() == []


@pytest.mark.parametrize(("order", "said"), [(1, "col32"), (3, "col_ampere"), (9, "9")])
def test_codes_in_the_order_of_a_kernel_are_not_read_as_rows(tmp_path: Path, order: int, said: str) -> None:
    fmt = opened(tmp_path, int8("m", order=order) | int8("n"))
    assert [w.name for w in fmt.weights()] == ["n.weight"]
    (problem,) = fmt.problems()
    assert problem.key == "m.weight_format"
    assert f"found {said}" in str(problem.error)


# --- names ---


@pytest.mark.parametrize("prefix", ["", "model.", "model.language_model.", "module.", "language_model.model."])
def test_names_do_not_depend_on_what_savers_put_in_front(tmp_path: Path, prefix: str) -> None:
    made = four_bit()
    fmt = opened(tmp_path, of_key(made, f"{prefix}layers.0.self_attn.q_proj.weight"), SAID)
    assert [w.role for w in fmt.weights()] == ["layers.0.self_attn.q_proj.weight"]
    assert same_bits(only(fmt), made.values)


def test_scales_and_states_may_be_in_another_shard(tmp_path: Path) -> None:
    made = four_bit()
    tensors = of_key(made)
    codes = {KEY: tensors.pop(KEY)}
    tmp_path.mkdir(exist_ok=True)
    names: dict[str, str] = {}
    for i, part in enumerate((codes, tensors)):
        file = f"model-0000{i + 1}-of-00002.safetensors"
        save_file({n: np.ascontiguousarray(t) for n, t in part.items()}, tmp_path / file)
        names |= dict.fromkeys(part, file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    assert same_bits(only(format_of(open_checkpoint(tmp_path))), made.values)


@pytest.mark.parametrize(
    ("gate_up", "down", "roles"),
    [
        ((3, 8, 64), (3, 64, 4), ["gate_proj", "up_proj"]),
        ((3, 8, 64), (3, 4, 64), ["gate_up_proj"]),  # another orientation: what is above what is not known
        ((3, 8, 64), None, ["gate_up_proj"]),
        ((3, 2, 32), (3, 32, 1), ["gate_up_proj"]),  # half a block each
    ],
)
def test_gate_and_up_of_a_stack_are_parted_where_the_shapes_prove_it(
    tmp_path: Path, gate_up: tuple[int, ...], down: tuple[int, ...] | None, roles: list[str]
) -> None:
    stack = "layers.0.mlp.experts.gate_up_proj"
    made = four_bit(gate_up)
    tensors = of_key(made, stack)
    if down:
        tensors |= of_key(four_bit(down, seed=1), "layers.0.mlp.experts.down_proj")
    fmt = opened(tmp_path, tensors)
    found = [w for w in fmt.weights() if w.codes_key == stack]
    assert [w.role for w in found] == [f"layers.0.mlp.experts.{e}.{r}.weight" for e in range(3) for r in roles]
    rows = np.split(made.values.reshape(-1, gate_up[2]), len(found))
    assert all(same_bits(fmt.dequantize(w), x) for w, x in zip(found, rows, strict=True))
    scales = {r.role: fmt.values(r) for r in fmt.scales()}
    np.testing.assert_array_equal(
        np.concatenate([scales[w.role].reshape(-1) for w in found]), made.tensors[".absmax"]
    )  # fmt: skip


def test_a_stack_whose_experts_share_blocks_is_one_weight(tmp_path: Path) -> None:
    made = four_bit((3, 5, 8))
    fmt = opened(tmp_path, of_key(made, "m.experts.up_proj"))
    (w,) = fmt.weights()
    assert (w.name, w.shape, w.slice) == ("m.experts.up_proj", (3, 5, 8), None)
    assert same_bits(fmt.dequantize(w), made.values)


# --- settings that say otherwise ---


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"bnb_4bit_quant_type": "fp4"}, ("says fp4", "nf4")),
        ({"bnb_4bit_use_double_quant": True}, ("second quantization", "has none")),
        ({"load_in_4bit": False, "load_in_8bit": True}, ("says 8 bits", "have 4")),
        ({"quant_method": "gptq"}, ("says gptq", "bitsandbytes")),
    ],
)
def test_what_the_tensors_do_not_have_is_a_note_with_both(
    tmp_path: Path, said: dict[str, Any], words: tuple[str, str]
) -> None:
    made = four_bit()
    fmt = opened(tmp_path, of_key(made), {**SAID, **said})
    assert same_bits(only(fmt), made.values)
    (note,) = fmt.notes()
    assert all(word in note for word in words)


def test_settings_that_agree_are_no_note(tmp_path: Path) -> None:
    said = {**SAID, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    assert opened(tmp_path, of_key(four_bit(nested=256)), said).notes() == ()


# --- what is damaged ---


def _state(**more: object) -> Array:
    return in_bytes({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [6, 128], **more})


@pytest.mark.parametrize(
    ("end", "value", "key_end"),
    [
        (".quant_state.bitsandbytes__nf4", np.frombuffer(b"{nonsense", np.uint8), ".quant_state.bitsandbytes__nf4"),
        (".quant_state.bitsandbytes__nf4", in_bytes([1]), ".quant_state.bitsandbytes__nf4"),
        (".quant_state.bitsandbytes__nf4", _state(shape=[6, -128]), ".quant_state.bitsandbytes__nf4"),
        (".quant_state.bitsandbytes__nf4", _state(shape=[6, 2**60]), ".quant_state.bitsandbytes__nf4"),
        (".quant_state.bitsandbytes__nf4", _state(shape="6, 128"), ".quant_state.bitsandbytes__nf4"),
        (".quant_state.bitsandbytes__nf4", _state(blocksize=0), ".quant_state.bitsandbytes__nf4"),
        (".quant_state.bitsandbytes__nf4", _state(blocksize=True), ".quant_state.bitsandbytes__nf4"),
        (".quant_state.bitsandbytes__nf4", _state(quant_type="nf3"), ".quant_state.bitsandbytes__nf4"),
        (".quant_state.bitsandbytes__nf4", _state(nested_offset="0"), ".quant_state.bitsandbytes__nf4"),
        (".quant_state.bitsandbytes__nf4", _state(nested_blocksize=256, nested_offset=1e300),
         ".quant_state.bitsandbytes__nf4"),
        (".quant_state.bitsandbytes__nf4", _state(shape=[6, 130]), ""),
        (".quant_state.bitsandbytes__nf4", _state(blocksize=32), ".absmax"),
        (".quant_state.bitsandbytes__nf4", _state(nested_blocksize=256, nested_offset=0.5), ".absmax"),
        (".quant_state.bitsandbytes__nf4", None, ".quant_state.bitsandbytes__nf4"),
        (".absmax", np.ones(12, np.int32), ".absmax"),
        (".absmax", np.ones(11, np.float32), ".absmax"),
        (".quant_map", None, ".quant_map"),
        (".quant_map", np.ones(15, np.float32), ".quant_map"),
        (".quant_map", np.full(16, np.nan, np.float32), ".quant_map"),
        ("", np.zeros((384, 1), np.int32), ""),
        ("", None, ""),
    ],
)  # fmt: skip
def test_a_damaged_module_is_a_problem_and_the_others_are_read(
    tmp_path: Path, end: str, value: Array | None, key_end: str
) -> None:
    fine, odd = four_bit(seed=3), of_key(four_bit(), "m.weight")
    odd.pop(f"m.weight{end}")
    if value is not None:
        odd[f"m.weight{end}"] = value
    fmt = opened(tmp_path, of_key(fine) | odd)
    assert same_bits(only(fmt), fine.values)
    (problem,) = fmt.problems()
    assert problem.key == f"m.weight{key_end}"
    assert "expected" in str(problem.error)
    assert "found" in str(problem.error)
    assert any("do not fit" in note or "does not fit" in note for note in fmt.notes())


@pytest.mark.parametrize("missing", ["nested_absmax", "nested_quant_map"])
def test_scales_of_scales_that_are_missing(tmp_path: Path, missing: str) -> None:
    odd = of_key(four_bit(nested=256), "m.weight")
    del odd[f"m.weight.{missing}"]
    fmt = opened(tmp_path, of_key(four_bit()) | odd)
    (problem,) = fmt.problems()
    assert problem.key == f"m.weight.{missing}"


@pytest.mark.parametrize("size", [2**40, 2**47])
def test_a_block_that_is_larger_than_all_memory_costs_none(tmp_path: Path, size: int) -> None:
    made = four_bit((2, 64), 128)
    made.tensors[".quant_state.bitsandbytes__nf4"] = _state(shape=[2, 64], blocksize=size)
    assert same_bits(only(opened(tmp_path, of_key(made))), made.values)
    nested = four_bit((2, 64), 64, nested=256)
    state = _state(shape=[2, 64], nested_blocksize=size, nested_offset=0.25)
    nested.tensors[".quant_state.bitsandbytes__nf4"] = state
    assert same_bits(only(opened(tmp_path / "nested", of_key(nested))), nested.values)


def test_numbers_that_are_not_finite_are_the_files(tmp_path: Path) -> None:
    made = four_bit()
    made.tensors[".absmax"][0] = np.nan
    found = only(opened(tmp_path, of_key(made)))
    assert np.isnan(found[0, :64]).all()
    assert same_bits(found[1:], made.values[1:])


@pytest.mark.parametrize(
    "tensors",
    [
        {"m.weight": np.ones((4, 4), np.int8), "n.SCB": np.ones(4, np.float32)},
        {"m.weight": np.ones((4, 4), np.float32), "m.SCB": np.ones(4, np.float32)},
        {"m.weight": np.ones((4, 1), np.uint8), "m.weight.absmax": np.ones(4, np.float32)},
        {"m.quant_state.bitsandbytes__nf4": np.ones(4, np.uint8)},
        {"m.absmax": np.ones(4, np.float32), "m.quant_state.bitsandbytes__int8": np.ones(4, np.uint8)},
    ],
)
def test_names_alone_are_not_enough(tmp_path: Path, tensors: dict[str, Array]) -> None:
    assert opened(tmp_path, tensors).family == "plain"


@needs_fixtures
def test_no_other_librarys_files_are_taken() -> None:
    for folder in sorted(Path(peer_truth.ROOT).iterdir()):
        if not (folder / "model").is_dir() or folder.name.startswith(("bnb_", "onnx_")):
            continue
        checkpoint = open_checkpoint(folder / "model")
        checkpoint.config = {}
        assert format_of(checkpoint).family != "bitsandbytes", folder.name
