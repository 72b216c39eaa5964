"""Every number of the distance of two tensors, against plain formulas and what the makers of the fixtures measured."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from compressed_files import fp8, of_module, settings, written
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from peer_truth import ROOT, folder, needs_fixtures
from safetensors.numpy import save_file

from qinspect.inspector.arguments import open_model
from qinspect.inspector.errors import CannotDequantize, NothingInCommon
from qinspect.inspector.fidelity import blocks, piece
from qinspect.inspector.fidelity.measuring import measure_fidelity
from qinspect.inspector.fidelity.pairs import NotCompared, Why
from qinspect.inspector.fidelity.results import Fidelity, WeightFidelity
from qinspect.inspector.fidelity.sums import Cells, Sums, sums_of
from qinspect.inspector.fidelity.undoing import What

if TYPE_CHECKING:
    from conftest import Quamba

Array = NDArray[Any]
TRUTHS = sorted(p.parent.name for p in Path(ROOT).glob("*/fidelity.json")) if ROOT else []
rng = np.random.default_rng


def truth_of(name: str) -> Any:
    return json.loads((folder(name) / "fidelity.json").read_text(encoding="utf-8"))


def measured(a: dict[str, Array], b: dict[str, Array], to: Path) -> Fidelity:
    to.mkdir(parents=True, exist_ok=True)
    for model, tensors in (("a", a), ("b", b)):
        save_file({k: np.array(v, order="C") for k, v in tensors.items()}, to / f"{model}.safetensors")
    return measure_fidelity(open_model(str(to / "a.safetensors")), open_model(str(to / "b.safetensors")))


def only(found: Fidelity) -> WeightFidelity:
    (weight,) = found.weights
    return weight


def check(w: WeightFidelity, a: Array, b: Array) -> None:
    """All numbers of a weight, by the formulas as they are written in a book."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    good = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(good, x, 0), np.where(good, y, 0)
    d = y - x
    s = w.sums
    assert (s.n, s.n_excluded) == (good.sum(), good.size - good.sum())
    assert s.relative == pytest.approx(np.linalg.norm(d.ravel()) / np.linalg.norm(x.ravel()), rel=1e-12)
    assert s.sqnr == pytest.approx(10 * np.log10((x**2).sum() / (d**2).sum()), rel=1e-12)
    cosine = (x * y).sum() / np.linalg.norm(x.ravel()) / np.linalg.norm(y.ravel())
    assert s.cosine == pytest.approx(cosine, abs=1e-12)
    assert s.mean_shift == pytest.approx(d.sum() / good.sum(), abs=1e-12 * np.abs(d).max())
    assert s.largest == np.abs(d).max()
    assert abs(d[w.where]) == s.largest
    assert (s.a, s.b) == (x[w.where], y[w.where])
    if w.channels:
        rows = (d.reshape(len(d), -1) ** 2).sum(1)
        assert w.n_channels == len(d)
        assert [c.share for c in w.channels] == pytest.approx(np.sort(rows / rows.sum())[::-1][:3])
        worst = w.channels[0].where[0]
        assert rows[worst] == rows.max()
        signal = (x[worst] ** 2).sum()
        if signal and rows.max():
            assert w.channels[0].sqnr == pytest.approx(10 * np.log10(signal / rows.max()))


# --- against those who made the fixtures ---


@needs_fixtures
@pytest.mark.parametrize("name", TRUTHS)
def test_equal_to_what_the_makers_measured(name: str) -> None:
    truth = truth_of(name)
    found = measure_fidelity(open_model(str(folder(truth["base"]))), open_model(str(folder(name) / "model")))
    assert not [o for o in found.not_compared if o.why is not Why.ONLY_B]
    whole: dict[str, Sums] = {}
    for w in found.weights:
        whole.setdefault(w.a, Sums()).add(w.sums)  # experts of a stack have one name
    assert truth["weights"].keys() <= whole.keys()
    for weight, numbers in truth["weights"].items():
        assert whole[weight].relative == pytest.approx(numbers["rel_frobenius"], rel=1e-9), weight
        assert whole[weight].sqnr == pytest.approx(numbers["sqnr_db"], rel=1e-9), weight


@needs_fixtures
def test_there_are_truths() -> None:
    assert len(TRUTHS) >= 6


# --- the sums ---

REALS = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, math.nan, math.inf, -math.inf])


@given(
    hnp.arrays(np.float64, (4, 6), elements=REALS), hnp.arrays(np.float64, (4, 6), elements=REALS), st.integers(1, 3)
)
def test_sums_of_pieces_are_those_of_the_whole(a: Array, b: Array, cut: int) -> None:
    whole = sums_of(a.copy(), b.copy(), 0)
    parts = Sums()
    for rows in (slice(0, cut), slice(cut, 4)):
        parts.add(sums_of(a[rows].copy(), b[rows].copy(), 6 * rows.start).sums)
    s = whole.sums
    assert (parts.n, parts.n_bad_a, parts.n_bad_b, parts.at, parts.largest) == (
        s.n, s.n_bad_a, s.n_bad_b, s.at, s.largest,
    )  # fmt: skip
    for field in ("aa", "bb", "ab", "dd", "d"):
        assert getattr(parts, field) == pytest.approx(getattr(s, field), rel=1e-12, abs=1e-6)
    bad = ~(np.isfinite(a) & np.isfinite(b))
    assert s.n_excluded == bad.sum()
    x, y = np.where(bad, 0, a), np.where(bad, 0, b)
    assert s.dd == pytest.approx(float(((y - x) ** 2).sum()), rel=1e-12)
    assert s.largest == np.abs(y - x).max()


@pytest.mark.parametrize("cells", [Cells(1, 4), Cells(1, 5), Cells(2, 3), Cells(3, 100), Cells(1, 1)])
def test_the_group_with_the_most_error(cells: Cells) -> None:
    a, d = rng(0).standard_normal((2, 6, 12))
    found = sums_of(a.copy(), a + d, 0, cells).cell
    by_hand = {
        (r, c): [(x[r : r + cells.rows, c : c + cells.columns] ** 2).sum() for x in (d, a)]
        for r in range(0, 6, cells.rows)
        for c in range(0, 12, cells.columns)
    }
    where = max(by_hand, key=lambda at: by_hand[at][0])
    assert found is not None
    assert found[2:] == where
    assert found[:2] == pytest.approx(by_hand[where])


def test_nothing_differs_and_nothing_is_there() -> None:
    same = sums_of(np.ones((2, 2)), np.ones((2, 2)), 0).sums
    assert same.exact
    assert (same.sqnr, same.relative, same.cosine) == (math.inf, 0, 1)
    zero = sums_of(np.zeros((2, 2)), np.ones((2, 2)), 0).sums
    assert (zero.sqnr, zero.relative) == (-math.inf, math.inf)
    assert math.isnan(zero.cosine)
    nothing = sums_of(np.full((1, 2), np.nan), np.ones((1, 2)), 0).sums
    assert (nothing.n, nothing.n_bad_a, nothing.n_bad_b, nothing.exact) == (0, 2, 0, False)
    assert all(map(math.isnan, (nothing.sqnr, nothing.relative, nothing.mean_shift)))


# --- plain against plain ---

FLOATS = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("shape", [(7,), (16, 24), (6, 1, 4), (5, 3, 2, 2)], ids=str)
def test_every_dtype_against_float32(dtype: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    a = rng(1).standard_normal(shape).astype(np.float32)
    b = (a * 1.01).astype(dtype)
    check(only(measured({"w.weight": a}, {"w.weight": b}, tmp_path)), a, b)


def test_what_is_not_finite_is_left_out_and_counted(tmp_path: Path) -> None:
    a = rng(2).standard_normal((8, 40)).astype(np.float32)
    b = a + np.float32(0.01)
    a[0, 0], a[3, 5], b[3, 5], b[7, 1] = np.nan, np.inf, np.inf, -np.inf
    w = only(measured({"w": a}, {"w": b}, tmp_path))
    check(w, a, b)
    assert (w.sums.n_bad_a, w.sums.n_bad_b, w.sums.n_excluded) == (2, 2, 3)


def test_a_number(tmp_path: Path) -> None:
    w = only(measured({"s": np.array(2, np.float32)}, {"s": np.array(3, np.float32)}, tmp_path))
    assert (w.shape, w.where, w.sums.largest, w.channels) == ((), (), 1.0, ())


@pytest.mark.parametrize("elements", [1, 7, 50, 1000])
def test_pieces_of_any_size_give_the_same(elements: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "UNIT_ELEMENTS", elements)
    monkeypatch.setattr(blocks, "MOST_OF_A_ROW", elements)
    monkeypatch.setattr(piece, "AT_ONCE_ELEMENTS", max(1, elements // 3))
    a = {
        n: rng(i).standard_normal(s).astype(np.float32)
        for i, (n, s) in enumerate((("m", (9, 33)), ("v", (101,)), ("c", (4, 5, 6))))
    }
    b = {n: x + rng(9).standard_normal(x.shape).astype(np.float32) / 9 for n, x in a.items()}
    found = measured(a, b, tmp_path)
    for w in found.weights:
        check(w, a[w.a], b[w.a])
    assert len(found.weights) == 3


def test_experts_of_two_stacks_are_weights_of_their_own(tmp_path: Path) -> None:
    a = rng(3).standard_normal((3, 8, 16)).astype(np.float32)
    b = a + rng(4).standard_normal(a.shape).astype(np.float32) / 10
    name = "model.layers.0.mlp.experts.down_proj"
    found = measured({name: a}, {name: b}, tmp_path)
    assert [w.role for w in found.weights] == [f"layers.0.mlp.experts.{e}.down_proj.weight" for e in range(3)]
    for e, w in enumerate(found.weights):
        check(w, a[e], b[e])


def test_a_strided_tensor(tmp_path: Path) -> None:
    import torch

    a = torch.randn(12, 20, generator=torch.Generator().manual_seed(0))
    b = a.t().contiguous().t() * 1.5
    for name, t in (("a", a), ("b", b)):
        torch.save({"w": t}, tmp_path / f"{name}.bin")
    w = only(measure_fidelity(open_model(str(tmp_path / "a.bin")), open_model(str(tmp_path / "b.bin"))))
    check(w, a.numpy(), b.numpy())


# --- what is not compared, and why ---


def reasons(found: Fidelity) -> dict[str, Why]:
    return {o.role: o.why for o in found.not_compared}


def test_only_weights_of_one_shape_and_meaning(tmp_path: Path) -> None:
    a: dict[str, Array] = {
        "same": np.ones(3, np.float32), "shape": np.ones((2, 3), np.float32), "a": np.ones(2, np.float32),
        "codes": np.ones((2, 3), np.float32), "counter": np.ones(1, np.int64), "empty": np.ones((0, 3), np.float32),
        "nan": np.full(3, np.nan, np.float32), "w.weight": np.ones((2, 2), np.float32),
    }  # fmt: skip
    b = a | {
        "shape": np.ones((3, 2), np.float32), "b": np.ones(2, np.float32), "codes": np.ones((2, 3), np.uint8),
        "w.weight": np.ones((2, 2), ml_dtypes.float8_e4m3fn), "w.weight_scale_of_something": np.ones(1, np.float32),
    }  # fmt: skip
    del b["a"]
    found = measured(a, b, tmp_path)
    assert [w.role for w in found.weights] == ["same"]
    why = reasons(found)
    assert why.pop("w.weight") is Why.NOT_UNDERSTOOD
    assert why.pop("codes") is Why.NOT_UNDERSTOOD
    assert {role: w for role, w in why.items() if "scale" not in role} == {
        "shape": Why.SHAPE, "a": Why.ONLY_A, "b": Why.ONLY_B, "empty": Why.EMPTY, "nan": Why.EMPTY,
    }  # fmt: skip


def test_two_models_of_one_shape_are_not_one_model(tmp_path: Path) -> None:
    a, b = rng(5).standard_normal((2, 64, 64)).astype(np.float32)
    found = measured({"w": a, "n": np.ones(4, np.float32)}, {"w": b, "n": np.ones(4, np.float32)}, tmp_path)
    (other,) = found.not_compared
    assert (other.why, other.role) == (Why.UNRELATED, "w")
    assert "cosine" in other.said


def test_nothing_in_common(tmp_path: Path) -> None:
    with pytest.raises(NothingInCommon, match=r"no weight of A has a partner of its shape in B.*1 others, such as y"):
        measured({"x": np.ones(3, np.float32)}, {"y": np.ones((4, 4), np.float32)}, tmp_path)


def test_two_rotated_alike_are_compared(quamba: Quamba) -> None:
    a, b = (open_model(str(quamba(n))) for n in ("m1_w8a8_pa0.9995", "m1_w8a8_pa0.99999"))
    found = measure_fidelity(a, b)
    assert found.weights
    assert all(w.sums.exact for w in found.weights)
    assert not found.not_compared


def test_what_cannot_be_read_is_named_and_the_rest_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Array] = blocks.read

    def read(item: Any, unit: Any, shape: Any) -> Array:
        if item.name == "bad":
            raise CannotDequantize("codes are damaged", key="bad")
        return real(item, unit, shape)

    monkeypatch.setattr(blocks, "read", read)
    found = measured(
        {n: np.ones(3, np.float32) for n in ("bad", "good")},
        {n: np.ones(3, np.float32) for n in ("bad", "good")},
        tmp_path,
    )
    assert [w.role for w in found.weights] == ["good"]
    (other,) = found.not_compared
    assert isinstance(other, NotCompared)
    assert (other.why, "codes are damaged" in other.said) == (Why.BROKEN, True)


def test_a_file_that_changes_is_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file({"w": np.ones((2, 2), np.float32)}, tmp_path / f"{name}.safetensors")
    a, b = (open_model(str(tmp_path / f"{n}.safetensors")) for n in ("a", "b"))
    save_file({"w": np.zeros((2, 2), np.float32)}, tmp_path / "new")
    (tmp_path / "new").replace(tmp_path / "b.safetensors")
    found = measure_fidelity(a, b)
    assert found.changed == (str(tmp_path / "b.safetensors"),)


# --- work ---


def test_progress_counts_all_bytes_of_both(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    x = rng(0).standard_normal((64, 64)).astype(np.float32)
    for name in ("a", "b"):
        save_file({"w": x, "v": x[0].copy()}, tmp_path / f"{name}.safetensors")
    a, b = (open_model(str(tmp_path / f"{n}.safetensors")) for n in ("a", "b"))
    measure_fidelity(a, b, lambda phase, done, total: calls.append((phase, done, total)))
    assert calls[-1][1:] == (2 * 4 * (64 * 64 + 64),) * 2
    done = [c[1] for c in calls if c[0] == "reading weights"]
    assert done == sorted(done)


def test_it_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class StopError(Exception):
        pass

    def stop(phase: str, done: int, total: int) -> None:
        raise StopError

    monkeypatch.setattr(blocks, "UNIT_ELEMENTS", 64)
    x = rng(0).standard_normal((64, 64)).astype(np.float32)
    for name in ("a", "b"):
        save_file({"w": x}, tmp_path / f"{name}.safetensors")
    a, b = (open_model(str(tmp_path / f"{n}.safetensors")) for n in ("a", "b"))
    with pytest.raises(StopError):
        measure_fidelity(a, b, stop)
    assert not [t for t in threading.enumerate() if t.name.startswith("fidelity")]


# --- channels that were multiplied ---


def noisy(a: Array, db: float, seed: int = 7) -> Array:
    noise = rng(seed).standard_normal(a.shape)
    made: Array = a + noise * np.linalg.norm(a) / np.linalg.norm(noise) * 10 ** (-db / 20)
    return made


@pytest.mark.parametrize(("axis", "index"), [("input", 1), ("output", 0)])
def test_factors_of_channels_are_found(axis: str, index: int, tmp_path: Path) -> None:
    a = rng(1).standard_normal((48, 64))
    factor = np.exp(rng(2).uniform(-0.5, 0.5, a.shape[index]))
    factor = factor if index else factor[:, None]
    b = noisy(a, 25) * factor
    w = only(measured({"w": a.astype(np.float32)}, {"w": b.astype(np.float32)}, tmp_path))
    assert w.factors is not None
    assert w.factors.axis == axis
    assert (w.factors.least, w.factors.largest) == pytest.approx((factor.min(), factor.max()), rel=0.03)
    assert w.factors.sqnr == pytest.approx(25, abs=0.2)
    assert w.sums.sqnr < 15


def test_exact_factors_leave_nothing(tmp_path: Path) -> None:
    a = rng(1).standard_normal((32, 32)).astype(np.float32)
    w = only(measured({"w": a}, {"w": a * np.float32(2) ** np.arange(32, dtype=np.float32)}, tmp_path))
    assert w.factors is not None
    assert (w.factors.least, w.factors.largest, w.factors.sqnr) == (1, 2.0**31, math.inf)


@pytest.mark.parametrize("change", ["noise", "one factor for all", "a channel lost", "a channel negated", "few rows"])
def test_what_is_no_factor_of_channels(change: str, tmp_path: Path) -> None:
    a = rng(1).standard_normal((8 if change == "few rows" else 48, 64))
    b = noisy(a, 12)
    if change == "one factor for all":
        b = a * 0.8
    elif change == "a channel lost":
        b[:, 3] = 0
    elif change == "a channel negated":
        b[:, 3] *= -1
    w = only(measured({"w": a.astype(np.float32)}, {"w": b.astype(np.float32)}, tmp_path))
    assert w.factors is None


@needs_fixtures
def test_smoothing_of_real_checkpoints_is_seen() -> None:
    found = measure_fidelity(
        open_model(str(folder("base_llama1"))), open_model(str(folder("modelopt_nvfp4_awq") / "model"))
    )
    seen = {w.role.rpartition(".")[0].rpartition(".")[2]: {u.what for u in w.undone} for w in found.weights}
    assert all(seen[n] == {What.NORM} for n in ("q_proj", "k_proj", "v_proj", "gate_proj"))
    assert seen["up_proj"] == {What.NORM, What.FACTORS}
    assert seen["down_proj"] == {What.FACTORS}
    assert all(w.nearest is None or abs(w.nearest.loss or 9) < 0.2 for w in found.weights)
    assert not [w for w in found.weights if w.factors]
    plain = measure_fidelity(
        open_model(str(folder("base_llama"))), open_model(str(folder("gptq_v1_sym_g32") / "model"))
    )
    assert not [w for w in plain.weights if w.factors or w.undone]


# --- parts of what is stored as one ---


@pytest.mark.parametrize("rows_of_a_block", [5, 8])
def test_parts_of_a_fused_weight(rows_of_a_block: int, tmp_path: Path) -> None:
    made = fp8("block", shape=(20, 40), block=(rows_of_a_block, 16))
    fused = of_module(made, "model.layers.0.mlp.gate_up_proj")
    base = noisy(made.values.astype(np.float64), 30).astype(np.float32)
    names = ("gate_proj", "up_proj")
    parts = {f"model.layers.0.mlp.{n}.weight": base[10 * i : 10 * i + 10] for i, n in enumerate(names)}
    a, b = written(tmp_path / "a", parts, None), written(tmp_path / "b", fused, settings(made))
    found = {w.a: w for w in measure_fidelity(open_model(str(a)), open_model(str(b))).weights}
    assert found.keys() == parts.keys()
    for i, w in enumerate(found.values()):
        check(w, base[10 * i : 10 * i + 10], made.values[10 * i : 10 * i + 10])
        assert "rows" in w.note
        assert w.nearest is not None
        whole_cells = i == 0 or rows_of_a_block == 5
        assert (w.nearest.sqnr is not None) == bool(w.group) == whole_cells
