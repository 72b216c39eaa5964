"""MXFP4 of gpt-oss, against what transformers makes of it and against a loop over its bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import peer_truth
import pytest
from array_files import opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from peer_truth import needs_fixtures, same_bits
from safetensors.numpy import load_file, save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.fidelity.measuring import measure_fidelity
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.formats.counts import parameter_counts

Array = NDArray[Any]
DATA = Path(__file__).parents[1] / "data"
STACK = "model.layers.0.mlp.experts.gate_up_proj"
LEVELS = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]
_SETTINGS = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))


def made(shape: tuple[int, ...] = (2, 6, 64), seed: int = 0) -> tuple[Array, Array, Array]:
    """Blocks, scales, and float32 values."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (*shape[:-1], shape[-1] // 32, 16), np.uint8)
    scales = rng.integers(100, 140, blocks.shape[:-1], np.uint8)
    values = np.empty(shape, np.float32)
    for at in np.ndindex(blocks.shape):
        *row, block, byte = at
        step = np.float32(2.0) ** np.float32(int(scales[at[:-1]]) - 127)
        for half in (0, 1):
            level = LEVELS[int(blocks[at]) >> 4 * half & 15]
            values[(*row, 32 * block + 2 * byte + half)] = np.float32(level) * step
    return blocks, scales, values


def stacked(fmt: Format) -> Array:
    return np.stack([fmt.dequantize(w) for w in fmt.weights()])


def _agrees(name: str) -> Format:
    fmt, truth = peer_truth.opened(name), peer_truth.truth(name)
    assert fmt.family == "mxfp4"
    assert (fmt.notes(), fmt.problems(), fmt.declared_bits) == ((), (), (4.0,))
    by_name = {w.name: w for w in fmt.weights()}
    assert len(by_name) == sum(len(x) for x in truth.values())
    for key, expected in truth.items():
        above, _, last = key.rpartition(".")
        for e, x in enumerate(expected):  # [in, out]
            assert same_bits(fmt.dequantize(by_name[f"{above}.{e}.{last}.weight"]), np.ascontiguousarray(x.T))
    return fmt


def test_experts_are_those_of_transformers_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_truth, "ROOT", str(DATA))
    assert _agrees("tf_mxfp4_gptoss").description == "MXFP4, 1 stack of experts"


@needs_fixtures
def test_a_whole_model_with_and_without_its_settings() -> None:
    fmt = _agrees("tf_mxfp4_gptoss")
    bare = open_checkpoint(peer_truth.folder("tf_mxfp4_gptoss") / "model")
    bare.config = {}
    assert [w.convention for w in format_of(bare).weights()] == [w.convention for w in fmt.weights()]


@_SETTINGS
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 3), st.integers(0, 99), st.integers(1, 5))
def test_some_rows_are_those_of_all(
    tmp_path_factory: pytest.TempPathFactory, experts: int, rows: int, n: int, seed: int, step: int
) -> None:
    blocks, scales, values = made((experts, rows, 32 * n), seed)
    fmt = opened(tmp_path_factory.mktemp("mxfp4"), {f"{STACK}_blocks": blocks, f"{STACK}_scales": scales})
    assert same_bits(stacked(fmt), values)
    for w in fmt.weights():
        parts = [fmt.dequantize(w, i, i + step) for i in range(0, rows, step)]
        assert same_bits(np.concatenate(parts), fmt.dequantize(w))
        assert fmt.codes(w, 0, 1).shape == (1, 32 * n)


@pytest.mark.parametrize("prefix", ["", "model.", "model.language_model.", "module."])
@pytest.mark.parametrize("dot", ["_", "."])
def test_names(tmp_path: Path, prefix: str, dot: str) -> None:
    blocks, scales, values = made()
    name = f"{prefix}layers.0.mlp.experts.down_proj"
    tensors = {f"{name}{dot}blocks": blocks, f"{name}{dot}scales": scales, f"{name}_bias": np.ones((2, 6), np.float32)}
    fmt = opened(tmp_path, tensors)
    assert [w.role for w in fmt.weights()] == [f"layers.0.mlp.experts.{e}.down_proj.weight" for e in (0, 1)]
    assert [w.name for w in fmt.weights()] == [f"{prefix}layers.0.mlp.experts.{e}.down_proj.weight" for e in (0, 1)]
    assert [r.role for r in fmt.scales()] == [w.role for w in fmt.weights()]
    assert same_bits(stacked(fmt), values)
    assert [t.name for t in fmt.other_tensors()] == [f"{name}_bias"]
    assert sum(n or 0 for n in parameter_counts(fmt).values()) == values.size + 12


def test_a_weight_alone(tmp_path: Path) -> None:
    blocks, scales, values = made((6, 64))
    fmt = opened(tmp_path, {"lm_head_blocks": blocks, "lm_head_scales": scales})
    assert [w.name for w in fmt.weights()] == ["lm_head.weight"]
    assert same_bits(stacked(fmt)[0], values)
    assert fmt.values(fmt.scales()[0]).shape == (6, 2)


def test_the_exponent_of_a_nan_and_the_least_one(tmp_path: Path) -> None:
    blocks, scales, _ = made((1, 2, 64))
    scales[0, 0, 0], scales[0, 1, 0] = 255, 0
    found = stacked(opened(tmp_path, {f"{STACK}_blocks": blocks, f"{STACK}_scales": scales}))
    assert np.isnan(found[0, 0, :32]).all()
    assert np.isfinite(found[0, 0, 32:]).all()
    assert np.abs(found[0, 1, :32]).max() == np.float32(2.0**-127) * max(
        abs(LEVELS[b >> s & 15]) for b in blocks[0, 1, 0].tolist() for s in (0, 4)
    )


def test_settings_that_leave_a_parameter_out_are_a_note_with_both(tmp_path: Path) -> None:
    blocks, scales, values = made()
    tensors = {f"{STACK}_blocks": blocks, f"{STACK}_scales": scales}
    for i, left_out in enumerate(("model.layers.*.mlp", STACK, "model.layers.0.mlp.experts")):
        fmt = opened(tmp_path / str(i), tensors, {"quant_method": "mxfp4", "modules_to_not_convert": [left_out, 3]})
        assert same_bits(stacked(fmt), values)
        (note,) = fmt.notes()
        assert "not converted" in note
        assert STACK in note
    other = opened(tmp_path / "other", tensors, {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})
    assert other.notes() == ()
    assert opened(tmp_path / "quark", tensors, {"quant_method": "quark"}).family == "plain"


FINE = dict(zip(("m.fine_blocks", "m.fine_scales"), made(), strict=False))
BLOCKS, SCALES, _ = made()
DAMAGES: dict[str, dict[str, Array]] = {
    "scales of others": {"_blocks": BLOCKS, "_scales": SCALES[:, :5]},
    "scales that are floats": {"_blocks": BLOCKS, "_scales": SCALES.astype(np.float32)},
    "blocks of 8": {"_blocks": BLOCKS[..., :8], "_scales": SCALES},
    "blocks that are floats": {"_blocks": BLOCKS.astype(np.float32), "_scales": SCALES},
    "no rows": {"_blocks": BLOCKS[:, :0], "_scales": SCALES[:, :0]},
    "two axes": {"_blocks": BLOCKS.reshape(-1, 16), "_scales": SCALES},
    "too many experts": {"_blocks": np.zeros((5000, 1, 1, 16), np.uint8), "_scales": np.zeros((5000, 1, 1), np.uint8)},
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_stack_is_named_and_the_others_stay_understood(tmp_path: Path, damage: str) -> None:
    tensors = {f"{STACK}{end}": np.ascontiguousarray(t) for end, t in DAMAGES[damage].items()}
    fmt = opened(tmp_path, FINE | tensors)
    assert [w.role for w in fmt.weights()] == ["m.0.fine.weight", "m.1.fine.weight"]
    (problem,) = fmt.problems()
    assert STACK in (problem.error.key or "")
    assert problem.error.expected
    assert problem.error.found


@pytest.mark.parametrize("names", [("a_blocks",), ("a_scales",), ("a_blocks", "b_scales"), ("_blocks", "_scales")])
def test_what_is_no_pair_is_claimed_by_nobody(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert opened(tmp_path, dict(zip(names, (BLOCKS, SCALES), strict=False))).family == "plain"


@pytest.mark.usefixtures("unread")
def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    assert len(opened(tmp_path, FINE, {"quant_method": "mxfp4"}).weights()) == 2


def test_experts_are_compared_with_the_transposed_stacks_of_the_original(tmp_path: Path) -> None:
    truth = load_file(DATA / "tf_mxfp4_gptoss" / "expected.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt_oss"}))
    save_file(truth, tmp_path / "model.safetensors")
    found = measure_fidelity(format_of(open_checkpoint(tmp_path)),
                             format_of(open_checkpoint(DATA / "tf_mxfp4_gptoss" / "model")))  # fmt: skip
    assert [w.sums.exact for w in found.weights] == [True, True]
    assert not [n for n in found.not_compared if n.a is not None]
