"""Weights that a format rotates before it rounds them, and rotates back itself: what is measured of them is of the
original's space, nothing is looked for, and rounding to nearest is that of the rotated weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfy_files import Made as MadeForComfy
from comfy_files import hadamard, of_module, unrotated
from comfy_files import made as comfy_module
from comfy_files import opened as comfy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from qinspect.inspector.arguments import open_model
from qinspect.inspector.fidelity import hadamard as found_rotations
from qinspect.inspector.fidelity.best import with_best
from qinspect.inspector.fidelity.measuring import measure_fidelity
from qinspect.inspector.fidelity.on_device import measured_on
from qinspect.inspector.fidelity.pairs import Why
from qinspect.inspector.fidelity.results import Fidelity, WeightFidelity
from qinspect.inspector.formats.hadamard_blocks import HadamardBlocks
from qinspect.inspector.method.answers import methods_of
from qinspect.inspector.method.judge import Method
from qinspect.inspector.progress import unseen
from qinspect.inspector.values.clip_range import clip_of
from qinspect.inspector.values.code_cells import weight_cells
from qinspect.inspector.values.levels import levels_of
from qinspect.inspector.values.stored_values import stored_scale, stored_values

Array = NDArray[Any]
DATA = Path(__file__).parents[1] / "data"
LINEAR = "double_blocks.0.img_attn.qkv"
SHAPE = (48, 256)


def db(a: Array, b: Array) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(10 * np.log10((a**2).sum() / ((b - a) ** 2).sum()))


def original(seed: int = 0) -> Array:
    """float32, with a few large channels, for which a rotation is made."""
    x = np.random.default_rng(seed).standard_normal(SHAPE)
    x[:, ::37] *= 20
    return x.astype(np.float32)


def rounded(x: Array, block: int, per_row: bool = True) -> MadeForComfy:
    """int8 of a rotated weight, to nearest with max scales."""
    turned = unrotated(x, block)
    most = np.abs(turned).max(axis=1, keepdims=True) if per_row else np.abs(turned).max().reshape(1, 1)
    scale = (most / 127.5).astype(np.float32)
    codes = np.clip(np.rint(turned.astype(np.float32) / scale), -128, 127)
    mark = {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": block}
    tensors = {"weight": codes.astype(np.int8), "weight_scale": scale if per_row else scale.reshape(())}
    return MadeForComfy(tensors, mark, codes, unrotated(codes * scale.astype(np.float64), block))


def models(tmp_path: Path, x: Array, made: MadeForComfy) -> tuple[Path, Path]:
    (tmp_path / "a").mkdir()
    save_file({f"{LINEAR}.weight": x}, tmp_path / "a" / "model.safetensors")
    comfy(tmp_path / "b", of_module(made))
    return tmp_path / "a", tmp_path / "b"


def measured(a: Path, b: Path, **how: Any) -> Fidelity:
    return measure_fidelity(open_model(str(a)), open_model(str(b)), **how)


def only(found: Fidelity) -> WeightFidelity:
    assert not found.not_compared
    (w,) = found.weights
    return w


@pytest.mark.parametrize("per_row", [True, False])
@pytest.mark.parametrize("block", [4, 16, 256])
def test_rounding_to_nearest_in_the_rotated_space_loses_nothing(tmp_path: Path, block: int, per_row: bool) -> None:
    x = original()
    made = rounded(x, block, per_row)
    w = only(measured(*models(tmp_path, x, made)))
    assert (w.undone, w.group) == ((), None)
    assert f"regular Hadamard matrices of {block} along the inputs, which is undone" in w.note
    assert w.sums.sqnr == pytest.approx(db(x, made.values), abs=1e-4)
    assert w.nearest is not None
    assert w.nearest.sqnr == pytest.approx(w.sums.sqnr, abs=0.02)
    assert "rotated" in w.nearest.said
    straight = np.rint(x / (np.abs(x).max(axis=1, keepdims=True) / 127.5)) * (
        np.abs(x).max(axis=1, keepdims=True) / 127.5
    )
    assert not per_row or block == 4 or w.sums.sqnr > db(x, straight) + 1  # that is what the rotation is for


@pytest.mark.parametrize("how", ["numpy", "device"])
def test_every_body_says_the_same(tmp_path: Path, how: str) -> None:
    x = original()
    x[3, 5] = np.nan if how == "numpy" else x[3, 5]
    a, b = models(tmp_path, x, rounded(np.nan_to_num(x), 64))
    compiled, other = (
        only(measured(a, b)),
        only(measured(a, b, **({"body": measured_on("cpu")} if how == "device" else {}))),
    )
    for w in (compiled, other):
        assert w.nearest is not None
        assert w.nearest.loss == pytest.approx(0, abs=0.05)
    assert compiled.sums.sqnr == pytest.approx(other.sums.sqnr, rel=1e-9)
    assert compiled.sums.n == x.size - (how == "numpy")


@pytest.mark.parametrize("per_row", [True, False])
def test_the_best_is_searched_in_the_rotated_space(tmp_path: Path, per_row: bool) -> None:
    x = original()
    found = only(with_best(measured(*models(tmp_path, x, rounded(x, 64, per_row))), everything=True))
    assert found.best is not None
    assert found.best.loss is not None
    assert 0 <= found.best.loss < 1


def test_what_the_library_wrote_is_as_far_from_the_original_as_its_own_values() -> None:
    at = DATA / "comfy_int8_convrot"
    found = measured(at / "original.safetensors", at / "model")
    truth, base = load_file(at / "expected.safetensors"), open_model(str(at / "original.safetensors")).checkpoint
    (w,) = [w for w in found.weights if w.b in truth]
    tensor = base.tensor(w.a)
    assert tensor is not None
    assert w.sums.sqnr == pytest.approx(db(tensor.read().astype(np.float32), truth[w.b]), abs=1e-4)
    assert w.undone == ()
    assert not found.not_compared


@pytest.mark.parametrize("name", ["exl3_mcg_4", "exl3_mul1_3"])
def test_rotations_of_both_sides_are_undone_too(name: str, tmp_path: Path) -> None:
    truth = load_file(DATA / name / "expected.safetensors")
    save_file(truth, tmp_path / "model.safetensors")
    w = only(measured(tmp_path, DATA / name / "model"))
    assert w.sums.sqnr > 80
    assert w.undone == ()
    assert "along the inputs and the outputs, which is undone" in w.note
    assert w.nearest is not None
    assert w.nearest.sqnr is None
    assert "both sides" in w.nearest.said


def test_two_rotated_models_are_compared_in_the_space_of_their_original(tmp_path: Path) -> None:
    x = original()
    for folder, made in (("a", rounded(x, 16)), ("b", rounded(x, 64))):
        comfy(tmp_path / folder, of_module(made))
    w = only(measured(tmp_path / "a", tmp_path / "b"))
    assert w.sums.sqnr == pytest.approx(db(rounded(x, 16).values, rounded(x, 64).values), abs=0.01)
    assert w.undone == ()


def test_codes_that_do_not_fit_what_is_said_of_them_are_not_measured(tmp_path: Path) -> None:
    """Numbers of FP8 without their scale are no weight."""
    made = comfy_module("float8_e4m3fn")
    comfy(tmp_path / "b", of_module(made) | of_module(made, "unmarked", marked=False))
    (tmp_path / "a").mkdir()
    save_file(
        {f"{m}.weight": made.values.astype(np.float32) for m in (LINEAR, "unmarked")}, tmp_path / "a" / "m.safetensors"
    )
    found = measured(tmp_path / "a", tmp_path / "b")
    assert [w.role for w in found.weights] == [f"{LINEAR}.weight"]
    assert found.weights[0].sums.exact
    (other,) = [n for n in found.not_compared if n.a is not None]
    assert (other.role, other.why) == ("unmarked.weight", Why.NOT_UNDERSTOOD)


def test_the_method_is_told_in_the_rotated_space(tmp_path: Path) -> None:
    x = original()
    a, b = models(tmp_path, x, rounded(x, 64))
    (w,) = methods_of(open_model(str(a)), open_model(str(b)), unseen).weights
    assert w.judged.method is Method.NEAREST
    trellis = methods_of(open_model(str(DATA / "exl3_mcg_4" / "expected.safetensors")),
                         open_model(str(DATA / "exl3_mcg_4" / "model")), unseen)  # fmt: skip
    assert not [w for w in trellis.weights if w.evidence is not None]


def test_scales_are_no_steps_of_what_was_rotated_back(tmp_path: Path) -> None:
    fmt = comfy(tmp_path, of_module(rounded(original(), 64, per_row=False)))
    (w,) = fmt.weights()
    assert clip_of(fmt, w) is None
    assert levels_of(fmt, w) is None
    assert weight_cells(fmt, w, lambda _done, _of: None) is None
    assert stored_scale(stored_values(fmt)[w.role], "A", lambda _done, _of: None) is None


@given(st.sampled_from([2, 4, 8, 64, 128, 256, 512, 1024]), st.booleans(), st.integers(0, 999))
def test_the_matrices_are_those_that_are_looked_for(size: int, regular: bool, seed: int) -> None:
    if regular and size.bit_length() % 2 == 0:
        return
    x = np.random.default_rng(seed).standard_normal((3, 2 * size)).astype(np.float64)
    ours = HadamardBlocks(size, regular)
    assert np.allclose(ours.of(ours.of(x)), x)
    theirs = found_rotations._plain(2 * size, size, regular)
    assert np.allclose(theirs.of(x.astype(np.float32)), ours.of(x), atol=1e-4)
    if regular:
        assert np.allclose(ours.of(x).reshape(-1, size), x.reshape(-1, size) @ hadamard(size))
    assert np.array_equal(ours.signed_sums(np.rint(x)), np.rint(ours.signed_sums(np.rint(x))))
