"""The error in steps of the grid: known by construction, and of what other libraries rounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compressed_files import LINEAR, fp4, int8, integers, of_module, opened, settings, written
from peer_truth import folder, needs_fixtures
from peer_truth import opened as opened_fixture

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.fidelity.pairs import Pair, pairs_of
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.method.in_steps import ErrorInSteps, error_in_steps
from qinspect.inspector.method.sampling import scale_records


def quantized_pair(a: Format, b: Format) -> Pair:
    pairs, _ = pairs_of(a, b, lambda _: None)
    return next(p for p in pairs if p.b.weight is not None)


def found(a: Format, b: Format) -> ErrorInSteps:
    made = error_in_steps(quantized_pair(a, b), scale_records(b))
    assert isinstance(made, ErrorInSteps)
    return made


def test_of_integers_it_is_what_was_added(tmp_path: Path) -> None:
    """A is B's values plus a known part of a step."""
    made = int8(shape=(32, 48))
    step = made.tensors["weight_scale"].astype(np.float64)
    codes = made.tensors["weight"]
    u = np.random.default_rng(1).uniform(-0.49, 0.49, codes.shape)
    u[0, :5] = 0.8, -0.9, 1.4, -3.0, 0.6
    codes[0, :5] = 3, 3, 3, 3, 127  # the last one is the highest: beyond it there is none
    original = (codes.astype(np.float64) + u) * step
    b = opened(written(tmp_path / "b", of_module(made), settings(made)))
    a = opened(written(tmp_path / "a", {f"{LINEAR}.weight": original.astype(np.float32)}, None))
    seen = found(a, b)
    assert seen.errors == pytest.approx(u.reshape(-1), abs=1e-4)
    assert (seen.n_outside, seen.n_clipped, seen.n_unknown) == (5, 1, 0)
    assert (seen.rows, seen.rows_of) == (32, 32)


def test_of_a_float_the_step_is_the_one_on_the_side_of_the_error(tmp_path: Path) -> None:
    """Levels 4 and 6 are two apart, 4 and 3 one: 4.5 and 3.75 are a quarter of a step off, 5 and 3.5 half of one."""
    made = fp4("nvfp4", (4, 64))
    values = made.values.astype(np.float64)
    levels = values / np.repeat(np.abs(values).reshape(4, 4, 16).max(axis=2), 16, axis=1) * 6
    scale = np.divide(values, levels, out=np.ones_like(values), where=levels != 0)
    fours = np.argwhere(np.isclose(levels, 4.0))
    assert len(fours) > 3
    original = values.copy()
    for (row, column), level in zip(fours, (4.5, 3.75, 4.98, 3.51), strict=False):
        original[row, column] = level * scale[row, column]
    b = opened(written(tmp_path / "b", of_module(made), settings(made)))
    a = opened(written(tmp_path / "a", {f"{LINEAR}.weight": original.astype(np.float32)}, None))
    seen = found(a, b)
    at = [int(row * 64 + column) for row, column in fours[:4]]
    known = seen.errors if not seen.n_unknown else np.zeros(0)
    assert known[at] == pytest.approx([0.25, -0.25, 0.49, -0.49], abs=1e-3)
    others = np.delete(known, at)
    assert np.abs(others).max() < 1e-3
    assert seen.n_outside == 0


def test_why_there_is_none_is_said(tmp_path: Path) -> None:
    made = integers(4, (12, 64), 32)
    b = opened(written(tmp_path / "b", of_module(made), settings(made)))
    a = opened(written(tmp_path / "a", {f"{LINEAR}.weight": made.values}, None))
    for x, y, why in ((b, a, "B is not quantized"), (b, b, "A is quantized itself")):
        pairs, _ = pairs_of(x, y, lambda _: None)
        said = error_in_steps(pairs[0], scale_records(y))
        assert isinstance(said, str)
        assert why in said


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "of", "outside"),
    [
        ("ct_w4a16_g128", "base_llama", (0.001, 0.02)),  # divided in bfloat16
        ("ct_int8_w8a8", "base_llama", (0.01, 0.3)),  # the same, with sixteen times as many levels
        ("ct_mxfp4", "base_llama1", (0, 0)),
        ("modelopt_nvfp4_4o6", "base_llama", (0, 0)),
        ("gptq_v1_sym_g32", "base_llama", (0.1, 0.3)),
        ("gptq_v1_descact_g32", "base_llama", (0.1, 0.3)),
    ],
)
def test_rounding_to_nearest_stays_within_half_a_step(name: str, of: str, outside: tuple[float, float]) -> None:
    seen = found(format_of(open_checkpoint(folder(of))), opened_fixture(name))
    assert outside[0] <= seen.n_outside / seen.errors.size <= outside[1]


def test_the_step_is_that_of_the_value(tmp_path: Path) -> None:
    """Of integers with a scale for each row, it is that scale."""
    made = int8(shape=(8, 32))
    step = np.broadcast_to(made.tensors["weight_scale"].astype(np.float64), (8, 32))
    original = (made.tensors["weight"] + 0.25) * step
    b = opened(written(tmp_path / "b", of_module(made), settings(made)))
    a = opened(written(tmp_path / "a", {f"{LINEAR}.weight": original.astype(np.float32)}, None))
    seen = found(a, b)
    assert seen.steps == pytest.approx(np.abs(step.reshape(-1)), rel=1e-6)
    assert seen.sizes == pytest.approx(np.abs(original.reshape(-1)), rel=1e-6)
