"""What was done to the weights is found and undone: each kind against formulas, with one near miss beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from compressed_files import fp8, of_module, settings, written
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from peer_truth import folder, needs_fixtures
from safetensors.numpy import load_file, save_file

from qinspect.inspector.arguments import open_model
from qinspect.inspector.fidelity import measuring, undoing
from qinspect.inspector.fidelity.hadamard import Rotation, candidates, rotation_of, turned_alike
from qinspect.inspector.fidelity.measuring import measure_fidelity
from qinspect.inspector.fidelity.orders import NotUnique, order_of, parts_of
from qinspect.inspector.fidelity.pairs import NotCompared, Why
from qinspect.inspector.fidelity.results import Fidelity, WeightFidelity
from qinspect.inspector.fidelity.verdict import sentence

if TYPE_CHECKING:
    from conftest import Quamba

Array = NDArray[Any]
Model = dict[str, Array]
HIDDEN, INNER, HEADS, SIZE, WORDS, LAYERS = 128, 192, 4, 32, 80, 2
LAYER = "model.layers.{}."


def llama(seed: int = 0) -> Model:
    """A small Llama in float32."""
    rng = np.random.default_rng(seed)

    def matrix(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32) / 10

    def norm() -> Array:
        return np.exp(rng.standard_normal(HIDDEN) / 3).astype(np.float32)

    found = {"model.embed_tokens.weight": matrix(WORDS, HIDDEN)}
    for i in range(LAYERS):
        at = LAYER.format(i)
        shapes = dict.fromkeys("qkvo", (HIDDEN, HIDDEN))
        found |= {f"{at}self_attn.{n}_proj.weight": matrix(*s) for n, s in shapes.items()}
        found |= {f"{at}mlp.{n}_proj.weight": matrix(INNER, HIDDEN) for n in ("gate", "up")}
        found[f"{at}mlp.down_proj.weight"] = matrix(HIDDEN, INNER)
        found |= {f"{at}{n}_layernorm.weight": norm() for n in ("input", "post_attention")}
    return found | {"model.norm.weight": norm(), "lm_head.weight": matrix(WORDS, HIDDEN)}


def rounded(w: Array) -> Array:
    """With the noise of 4 bits, a scale a row."""
    step = np.abs(w).max(axis=-1, keepdims=True) / 7
    made: Array = (np.rint(w / step) * step).astype(np.float32)
    return made


def quantized(model: Model) -> Model:
    return {k: rounded(v) if v.ndim > 1 else v for k, v in model.items()}


def measured(a: Model, b: Model, to: Path, config: dict[str, Any] | None = None) -> Fidelity:
    for name, model in (("a", a), ("b", b)):
        (to / name).mkdir(parents=True, exist_ok=True)
        save_file({k: np.array(v, order="C") for k, v in model.items()}, to / name / "model.safetensors")
        (to / name / "config.json").write_text(json.dumps(config or {"model_type": "llama"}), encoding="utf-8")
    return measure_fidelity(open_model(str(to / "a")), open_model(str(to / "b")))


def by_role(found: Fidelity) -> dict[str, WeightFidelity]:
    return {w.role: w for w in found.weights}


def others(found: Fidelity) -> dict[str, NotCompared]:
    return {o.role: o for o in found.not_compared}


def db(a: Array, b: Array) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(10 * np.log10((a**2).sum() / ((b - a) ** 2).sum()))


def kinds(w: WeightFidelity) -> list[tuple[str, str]]:
    return [(str(u.what), u.axis) for u in w.undone]


def check(found: Fidelity, made: Model, stored: Model, undone: dict[str, list[tuple[str, str]]]) -> None:
    """Each matrix: the distance from what was made of A before rounding, and what was undone."""
    weights = by_role(found)
    for name, w in made.items():
        if w.ndim > 1:
            role = name.removeprefix("model.")
            assert weights[role].sums.sqnr == pytest.approx(db(w, stored[name]), abs=0.01), role
            kind = role.removesuffix(".weight").rpartition(".")[2]
            assert kinds(weights[role]) == undone.get(kind, []), role


def sylvester(n: int) -> Array:
    h = np.ones((1, 1))
    while len(h) < n:
        h = np.block([[h, h], [h, -h]])
    return np.asarray(h / np.sqrt(n))


def paley(order: int) -> Array:
    """A Hadamard matrix of `order` = q + 1, q a prime that leaves 3 when divided by 4."""
    q = order - 1
    squares = {x * x % q for x in range(1, q)}
    jacobsthal = np.array([[0 if i == j else 1 if (i - j) % q in squares else -1 for j in range(q)] for i in range(q)])
    s = np.zeros((order, order))
    s[0, 1:], s[1:, 0], s[1:, 1:] = 1, -1, jacobsthal
    h: Array = (np.eye(order) + s) / np.sqrt(order)
    assert np.allclose(h @ h.T, np.eye(order))
    return h


# --- rotations ---


def in_place(model: Model, change: Callable[[str, Array], Array]) -> Model:
    return {k: change(k, v).astype(np.float32) for k, v in model.items()}


def rotated(model: Model, q: Array, heads: Array, online: Array) -> Model:
    """As QuaRot does: norms folded, the residual stream by q, v by heads, o and down against their online rotations."""
    made = dict(model)
    for i in range(LAYERS):
        at = LAYER.format(i)
        norms = {n: model[f"{at}{n}_layernorm.weight"] for n in ("input", "post_attention")}
        for n in "qkv":
            made[f"{at}self_attn.{n}_proj.weight"] = model[f"{at}self_attn.{n}_proj.weight"] * norms["input"] @ q
        for n in ("gate", "up"):
            made[f"{at}mlp.{n}_proj.weight"] = model[f"{at}mlp.{n}_proj.weight"] * norms["post_attention"] @ q
        made[f"{at}self_attn.v_proj.weight"] = heads @ made[f"{at}self_attn.v_proj.weight"]
        made[f"{at}self_attn.o_proj.weight"] = q.T @ model[f"{at}self_attn.o_proj.weight"] @ sylvester(HIDDEN)
        made[f"{at}mlp.down_proj.weight"] = q.T @ model[f"{at}mlp.down_proj.weight"] @ online
        made |= {f"{at}{n}_layernorm.weight": np.ones(HIDDEN) for n in norms}
    made["model.embed_tokens.weight"] = model["model.embed_tokens.weight"] @ q
    made["lm_head.weight"] = model["lm_head.weight"] * model["model.norm.weight"] @ q
    made["model.norm.weight"] = np.ones(HIDDEN)
    return in_place(made, lambda _, v: v)


ROTATED = {
    **{n: [("norm", "input"), ("rotation", "input")] for n in ("q_proj", "k_proj", "gate_proj", "up_proj", "lm_head")},
    "v_proj": [("norm", "input"), ("rotation", "input"), ("rotation", "output")],
    "o_proj": [("rotation", "input"), ("rotation", "output")],
    "down_proj": [("rotation", "input"), ("rotation", "output")],
    "embed_tokens": [("rotation", "input")],
}


@pytest.mark.parametrize("signs", ["none", "random"])
def test_every_rotation_of_a_model_is_found(signs: str, tmp_path: Path) -> None:
    a = llama()
    s = np.random.default_rng(5).choice([-1, 1], HIDDEN) if signs == "random" else np.ones(HIDDEN)
    q = np.diag(s) @ sylvester(HIDDEN)
    heads = np.kron(np.eye(HEADS), sylvester(SIZE))
    made = rotated(a, q, heads, np.kron(paley(12), sylvester(16)))
    b = quantized(made)
    found = measured(a, b, tmp_path)
    check(found, made, b, ROTATED)
    assert not found.not_compared
    assert "undone before comparing: norms" in sentence(found)
    assert "Hadamard rotations (16 weights)" in sentence(found)
    said = " ".join(u.said for w in found.weights for u in w.undone)
    assert ("sign of its own" in said) == (signs == "random")
    assert "Hadamard matrices of 32 along the diagonal" in said
    assert "Hadamard matrix of 192 (12 x 16)" in said
    norms = [w for w in found.weights if "norm" in w.role]
    assert all(w.undone and w.sums.sqnr > 120 for w in norms)
    assert all(w.as_stored is not None and w.as_stored < 3 for w in found.weights if "proj" in w.role)


def test_a_rotation_that_is_no_hadamard_matrix_is_named_and_not_measured(tmp_path: Path) -> None:
    a = llama()
    q = np.linalg.qr(np.random.default_rng(1).standard_normal((HIDDEN, HIDDEN)))[0]
    b = quantized(in_place(a, lambda k, v: v @ q if "q_proj" in k or "embed" in k else v))
    found = others(measured(a, b, tmp_path))
    assert {o.why for o in found.values()} == {Why.ROTATED}
    assert found.keys() == {"embed_tokens.weight", *(f"layers.{i}.self_attn.q_proj.weight" for i in range(LAYERS))}
    assert all("by nothing that was tried" in o.said for o in found.values())


def test_two_models_are_unrelated_still(tmp_path: Path) -> None:
    found = others(measured(llama(0), llama(1), tmp_path))
    assert len(found) == 7 * LAYERS + 2
    assert {o.why for o in found.values()} == {Why.UNRELATED}


def test_what_was_done_besides_a_rotation_is_not_taken_for_quantization(tmp_path: Path) -> None:
    """Half of a Hadamard's blocks rotated: neither whole nor as it was."""
    a = llama()
    half = np.eye(HIDDEN)
    half[: HIDDEN // 2, : HIDDEN // 2] = sylvester(HIDDEN // 2)
    name = "model.layers.0.self_attn.q_proj.weight"
    found = measured({name: a[name]}, {name: a[name] @ half.astype(np.float32)}, tmp_path)
    for w in found.weights:  # what is measured has its note
        assert not w.undone
    assert found.weights or others(found)


def test_both_were_rotated_alike(tmp_path: Path) -> None:
    a = llama()
    q = sylvester(HIDDEN)
    first = in_place(a, lambda k, v: v @ q if "embed" in k else v)
    found = measured(first, quantized(first), tmp_path)
    assert not [w for w in found.weights if w.undone]


@given(st.sampled_from([16, 48, 64, 160, 256]), st.integers(0, 2**31), st.booleans())
def test_a_rotation_and_back(n: int, seed: int, signed: bool) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((5, n)).astype(np.float32)
    for plain in candidates(n):
        signs = rng.choice([-1, 1], n).astype(np.float32) if signed else None
        r = Rotation(n, plain.factors, signs, "")
        y = r.of(x)
        assert np.linalg.norm(y) == pytest.approx(np.linalg.norm(x), rel=1e-5)
        assert np.allclose(r.back(y), x, atol=1e-5)
        assert np.allclose(
            r.of(np.eye(n, dtype=np.float32)) @ r.of(np.eye(n, dtype=np.float32)).T, np.eye(n), atol=1e-5
        )


@given(st.integers(0, 2**31))
def test_no_rotation_is_found_in_noise(seed: int) -> None:
    x, y = np.random.default_rng(seed).standard_normal((2, 64, 96)).astype(np.float32)
    assert rotation_of(x, y) is None
    assert not turned_alike(x[:40], y[:40])


@needs_fixtures
def test_the_rotation_of_blocks_that_a_real_library_wrote(tmp_path: Path) -> None:
    """Codes times scales, as they are stored, against the original; and the library's own values of the weight."""
    at = folder("comfy_int8_convrot")
    truth = load_file(at / "expected.safetensors")
    stored = load_file(next((at / "model").rglob("*.safetensors")) if (at / "model").is_dir() else at / "model")
    original = load_file(at / "original.safetensors")
    names = [k for k in truth if k in original]
    a = {k: original[k].astype(np.float32) for k in names}
    b = {k: stored[k].astype(np.float32) * stored[f"{k}_scale"] for k in names}
    found = by_role(measured(a, b, tmp_path))
    assert len(found) == len(names) > 1
    for role, w in found.items():
        (name,) = (k for k in names if k.endswith(role))
        assert kinds(w) == [("rotation", "input")], role
        assert "regular Hadamard matri" in w.undone[0].said
        assert w.sums.sqnr == pytest.approx(db(a[name], truth[name]), abs=0.01)


# --- orders ---


def reordered(model: Model, at: str, index: Array, names: tuple[str, ...] = ("gate", "up", "down")) -> Model:
    made = dict(model)
    for n in names:
        w = model[f"{at}mlp.{n}_proj.weight"]
        made[f"{at}mlp.{n}_proj.weight"] = w[:, index] if n == "down" else w[index]
    return made


def test_neurons_in_another_order_are_put_back(tmp_path: Path) -> None:
    a = llama() | {
        f"model.layers.0.mlp.{n}_proj.bias": np.random.default_rng(3).standard_normal(INNER).astype(np.float32)
        for n in ("gate", "up")
    }
    index = np.random.default_rng(1).permutation(INNER)
    made = reordered(a, LAYER.format(0), index)
    made |= {k: v[index] for k, v in a.items() if k.endswith("bias")}
    b = quantized(made)
    found = measured(a, b, tmp_path)
    weights = by_role(found)
    assert not found.not_compared
    for n, axis in (("gate", "output"), ("up", "output"), ("down", "input")):
        w = weights[f"layers.0.mlp.{n}_proj.weight"]
        assert kinds(w) == [("order", axis)]
        assert w.sums.sqnr == pytest.approx(db(made[w.a], b[w.a]), abs=0.01)
    said = weights["layers.0.mlp.gate_proj.weight"].undone[0].said
    n_moved = int((index != np.arange(INNER)).sum())
    assert said.startswith(f"{n_moved} of {INNER} rows in another order, as ")
    assert "up_proj" in said
    assert "columns of down_proj" in said
    for n in ("gate", "up"):
        bias = weights[f"layers.0.mlp.{n}_proj.bias"]
        assert kinds(bias) == [("order", "")]
        assert bias.sums.exact
    assert not [w for role, w in weights.items() if role.startswith("layers.1.") and w.undone]


def test_two_orders_are_not_said_to_be_one(tmp_path: Path) -> None:
    a = llama()
    rng = np.random.default_rng(1)
    b = reordered(a, LAYER.format(0), rng.permutation(INNER), ("gate",))
    b = reordered(b, LAYER.format(0), rng.permutation(INNER), ("up",))
    weights = by_role(measured(a, b, tmp_path))
    for n in ("gate", "up"):
        (fact,) = weights[f"layers.0.mlp.{n}_proj.weight"].undone
        assert ", as " not in fact.said


def test_two_neurons_that_changed_places_are_found(tmp_path: Path) -> None:
    a = llama()
    index = np.arange(INNER)
    index[[3, 170]] = 170, 3
    b = quantized(reordered(a, LAYER.format(1), index))
    weights = by_role(measured(a, b, tmp_path))
    for n in ("gate", "up", "down"):
        (fact,) = weights[f"layers.1.mlp.{n}_proj.weight"].undone
        assert fact.said.startswith(f"2 of {INNER} ")


def test_heads_in_another_order(tmp_path: Path) -> None:
    a = llama()
    index = (np.array([2, 0, 3, 1])[:, None] * SIZE + np.arange(SIZE)).reshape(-1)
    made = dict(a)
    for n in "qkvo":
        x = a[f"model.layers.0.self_attn.{n}_proj.weight"]
        made[f"model.layers.0.self_attn.{n}_proj.weight"] = x[:, index] if n == "o" else x[index]
    b = quantized(made)
    weights = by_role(measured(a, b, tmp_path))
    for n in "qkvo":
        w = weights[f"layers.0.self_attn.{n}_proj.weight"]
        assert kinds(w) == [("order", "input" if n == "o" else "output")]
        assert w.sums.sqnr == pytest.approx(db(made[w.a], b[w.a]), abs=0.01)


def test_the_residual_stream_in_another_order_besides_neurons_and_a_norm(tmp_path: Path) -> None:
    a = llama()
    rng = np.random.default_rng(1)
    stream = rng.permutation(HIDDEN)
    made = reordered(folded(a), LAYER.format(0), rng.permutation(INNER))
    for k, v in made.items():
        outputs = k.endswith(("o_proj.weight", "down_proj.weight"))
        made[k] = v[stream] if outputs or v.ndim == 1 else v[:, stream]
    b = quantized(made)
    found = measured(a, b, tmp_path)
    assert not found.not_compared
    weights = by_role(found)
    for name, w in made.items():
        if w.ndim > 1:
            assert weights[name.removeprefix("model.")].sums.sqnr == pytest.approx(db(w, b[name]), abs=0.01), name
    assert kinds(weights["layers.0.mlp.gate_proj.weight"]) == [("order", "input"), ("order", "output")]
    assert kinds(weights["layers.0.self_attn.q_proj.weight"]) == [("norm", "input"), ("order", "input")]
    for role in ("layers.1.input_layernorm.weight", "norm.weight"):
        assert weights[role].sums.exact, role
        assert kinds(weights[role]) == [("order", "")]


def test_rows_that_are_alike_have_no_order(tmp_path: Path) -> None:
    a = llama()
    name = "model.layers.0.mlp.gate_proj.weight"
    a[name][7] = a[name][5]
    index = np.random.default_rng(1).permutation(INNER)
    (other,) = measured({name: a[name]}, {name: a[name][index]}, tmp_path).not_compared
    assert other.why is Why.PERMUTED
    assert "do not tell which is which" in other.said


def test_rows_that_were_changed_are_said_to_be_others(tmp_path: Path) -> None:
    a = llama()
    name = "model.layers.0.mlp.gate_proj.weight"
    b = a[name].copy()
    b[[4, 9]] = np.random.default_rng(8).standard_normal((2, HIDDEN)) / 10
    (w,) = measured({name: a[name]}, {name: b}, tmp_path).weights
    assert not w.undone
    assert f"2 of {INNER} rows have nothing in common with A's, first 4" in w.note


@given(st.integers(0, 2**31), st.integers(1, 60))
def test_any_order_is_found(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 64)).astype(np.float32)
    index = rng.permutation(n)
    found = order_of(x, rounded(x[index]))
    assert found is not None
    assert (found == index).all()
    assert order_of(x, rng.standard_normal((n, 64)).astype(np.float32)) is None
    if n > 2:
        x[1] = x[0]
        with pytest.raises(NotUnique):
            order_of(x, x[index])


def test_orders_within_an_order() -> None:
    index = np.array([1, 0, 2, 5, 4, 3, 6, 7, 9, 8])
    assert [p.tolist() for p in parts_of(index, 2)] == [[1, 0]]
    assert [p.tolist() for p in parts_of(index, 3)] == [[1, 0, 2], [2, 1, 0], [0, 2, 1]]
    assert not list(parts_of(np.arange(6), 3))


# --- norms and factors ---


def folded(model: Model, parts: tuple[str, ...] = ("q", "k", "v")) -> Model:
    made = dict(model)
    norm = model["model.layers.0.input_layernorm.weight"]
    for n in parts:
        made[f"model.layers.0.self_attn.{n}_proj.weight"] = model[f"model.layers.0.self_attn.{n}_proj.weight"] * norm
    return made | {"model.layers.0.input_layernorm.weight": np.ones(HIDDEN, np.float32)}


def test_a_folded_norm_is_taken_out(tmp_path: Path) -> None:
    a = llama()
    made = folded(a)
    b = quantized(made)
    found = measured(a, b, tmp_path)
    weights = by_role(found)
    for n in "qkv":
        w = weights[f"layers.0.self_attn.{n}_proj.weight"]
        assert kinds(w) == [("norm", "input")]
        assert "layers.0.input_layernorm.weight, which multiplies by 1 in B" in w.undone[0].said
        assert w.sums.sqnr == pytest.approx(db(made[w.a], b[w.a]), abs=0.01)
        assert w.as_stored == pytest.approx(db(a[w.a], b[w.a]), abs=0.01)
    norm = weights["layers.0.input_layernorm.weight"]
    assert norm.undone[0].said == "what it multiplied by is in k_proj, q_proj, v_proj"
    assert not [w for role, w in weights.items() if "layers.1" in role and w.undone]


def test_a_norm_that_counts_from_one(tmp_path: Path) -> None:
    a = llama()
    made = folded(a)
    name = "model.layers.0.input_layernorm.weight"
    b = quantized(made) | {k: v - 1 for k, v in made.items() if v.ndim == 1}
    a |= {k: v - 1 for k, v in a.items() if v.ndim == 1}
    assert not b[name].any()
    weights = by_role(measured(a, b, tmp_path, {"model_type": "gemma3"}))
    w = weights["layers.0.self_attn.q_proj.weight"]
    assert "which multiplies by 1 in B" in w.undone[0].said
    assert w.sums.sqnr == pytest.approx(db(made[w.a], b[w.a]), abs=0.01)


def test_the_original_as_b(tmp_path: Path) -> None:
    """What was done to A is done to B's values."""
    original = llama()
    at = "model.layers.0.self_attn."
    made = fp8("channel", shape=(HIDDEN, HIDDEN))
    norm = original["model.layers.0.input_layernorm.weight"]
    original[f"{at}q_proj.weight"] = (made.values / norm).astype(np.float32)
    b = written(tmp_path / "b", original, None)
    stored = {k: v for k, v in original.items() if k != f"{at}q_proj.weight"}
    stored |= {"model.layers.0.input_layernorm.weight": np.ones(HIDDEN, np.float32)} | of_module(made, f"{at}q_proj")
    weights = by_role(
        measure_fidelity(open_model(str(written(tmp_path / "a", stored, settings(made)))), open_model(str(b)))
    )
    w = weights["layers.0.self_attn.q_proj.weight"]
    assert "layers.0.input_layernorm.weight, which multiplies by 1 in A" in w.undone[0].said
    assert w.sums.sqnr > 120
    assert weights["layers.0.input_layernorm.weight"].sums.sqnr > 120


def test_a_norm_that_only_some_took_is_said_to_be_in_these(tmp_path: Path) -> None:
    a = llama()
    found = by_role(measured(a, quantized(folded(a, ("q",))), tmp_path))
    assert found["layers.0.input_layernorm.weight"].undone[0].said == "what it multiplied by is in q_proj"
    assert not found["layers.0.self_attn.k_proj.weight"].undone


def test_a_norm_that_is_gone_was_folded(tmp_path: Path) -> None:
    a = llama()
    b = quantized(folded(a))
    del b["model.layers.0.input_layernorm.weight"]
    w = by_role(measured(a, b, tmp_path))["layers.0.self_attn.q_proj.weight"]
    assert "which B has not" in w.undone[0].said


def test_a_norm_that_was_trained_is_in_no_weight(tmp_path: Path) -> None:
    a = llama()
    b = quantized(a)
    b["model.layers.0.input_layernorm.weight"] = a["model.layers.0.input_layernorm.weight"] * np.exp(
        np.random.default_rng(2).standard_normal(HIDDEN) / 5
    ).astype(np.float32)
    found = measured(a, b, tmp_path)
    assert not [w for w in found.weights if w.undone]
    assert by_role(found)["layers.0.input_layernorm.weight"].sums.sqnr < 20


@pytest.mark.parametrize("given_back", [True, False])
def test_factors_between_two_weights(given_back: bool, tmp_path: Path) -> None:
    a = llama()
    f = np.exp(np.random.default_rng(3).uniform(-0.7, 0.7, INNER)).astype(np.float32)
    made = dict(a)
    down, up = (f"model.layers.0.mlp.{n}_proj.weight" for n in ("down", "up"))
    made[down] = a[down] * f
    if given_back:
        made[up] = a[up] / f[:, None]
    b = quantized(made)
    weights = by_role(measured(a, b, tmp_path))
    w = weights["layers.0.mlp.down_proj.weight"]
    if not given_back:
        assert not w.undone
        assert w.factors is not None
        return
    assert kinds(w) == [("factors", "input")]
    assert "by which outputs of up_proj are divided" in w.undone[0].said
    assert kinds(weights["layers.0.mlp.up_proj.weight"]) == [("factors", "output")]
    for name in (down, up):
        found = weights[name.removeprefix("model.")]
        assert found.sums.sqnr == pytest.approx(db(made[name], b[name]), abs=0.1)
        assert found.factors is None


# --- shapes, ties, parts ---


@pytest.mark.parametrize("which", ["a", "b"])
def test_a_padded_vocabulary(which: str, tmp_path: Path) -> None:
    models = {"a": llama(), "b": quantized(llama())}
    for k in ("model.embed_tokens.weight", "lm_head.weight"):
        models[which][k] = np.concatenate([models[which][k], np.zeros((16, HIDDEN), np.float32)])
    found = measured(models["a"], models["b"], tmp_path)
    assert not found.not_compared
    w = by_role(found)["embed_tokens.weight"]
    assert w.shape == (WORDS, HIDDEN)
    assert [u.said for u in w.undone] == [f"{which.upper()} has 16 more rows, all zero"]
    name = "model.embed_tokens.weight"
    assert w.sums.sqnr == pytest.approx(db(models["a"][name][:WORDS], models["b"][name][:WORDS]), abs=1e-6)


def test_padded_columns(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.down_proj.weight"
    a = {name: llama()[name]}
    b = {name: np.pad(rounded(a[name]), ((0, 8), (0, 24)))}
    (w,) = measured(a, b, tmp_path).weights
    assert w.undone[0].said == "B has 8 more rows and 24 more columns, all zero"
    assert w.sums.sqnr == pytest.approx(db(a[name], rounded(a[name])), abs=1e-6)


def test_rows_that_are_not_zero_are_no_padding(tmp_path: Path) -> None:
    a = llama()
    b = quantized(a)
    b["lm_head.weight"] = np.concatenate([b["lm_head.weight"], np.full((1, HIDDEN), 1e-3, np.float32)])
    other = others(measured(a, b, tmp_path))["lm_head.weight"]
    assert other.why is Why.SHAPE
    assert "not all zero" in other.said


def test_axes_of_one_position(tmp_path: Path) -> None:
    a = np.random.default_rng(0).standard_normal((24, 1, 4)).astype(np.float32)
    (w,) = measured({"conv1d.weight": a}, {"conv1d.weight": a[:, 0] * np.float32(1.01)}, tmp_path).weights
    assert w.shape == (24, 4)
    assert not w.undone
    assert w.sums.sqnr == pytest.approx(40, abs=0.01)


@pytest.mark.parametrize("case", ["tied", "says it is not", "another head"])
def test_a_head_against_the_embedding_that_stands_for_it(case: str, tmp_path: Path) -> None:
    a = llama()
    b = quantized(a)
    del b["lm_head.weight"]
    if case != "another head":
        a["lm_head.weight"] = a["model.embed_tokens.weight"]
    config = {"model_type": "llama", "tie_word_embeddings": case != "says it is not"}
    found = measured(a, b, tmp_path, config)
    if case != "tied":
        assert others(found)["lm_head.weight"].why is Why.ONLY_A
        return
    w = by_role(found)["lm_head.weight"]
    assert (w.b, kinds(w)) == ("model.embed_tokens.weight", [("tied", "")])
    assert "B has no head of its own" in w.undone[0].said


def test_a_fused_weight_with_a_folded_norm(tmp_path: Path) -> None:
    a = llama()
    b = quantized(folded(a))
    at = "model.layers.0.self_attn."
    b[f"{at}qkv_proj.weight"] = np.concatenate([b.pop(f"{at}{n}_proj.weight") for n in "qkv"])
    config = {"model_type": "llama", "num_attention_heads": HEADS, "hidden_size": HIDDEN, "num_key_value_heads": HEADS}
    found = by_role(measured(a, b, tmp_path, config))
    for n in "qkv":
        w = found[f"layers.0.self_attn.{n}_proj.weight"]
        assert kinds(w) == [("norm", "input")]
        assert "of model.layers.0.self_attn.qkv_proj.weight" in w.note


# --- checkpoints of a real library ---


def truth_of(name: str) -> tuple[Path, dict[str, Array], Any]:
    at = folder("quamba") / name
    orders = json.loads((at / "permutation.json").read_text("utf-8")) if (at / "permutation.json").exists() else None
    return next(p for p in at.iterdir() if p.is_dir()), load_file(at / "expected.safetensors"), orders


@needs_fixtures
@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("base_mamba1", "m1_w8a8_pa0.9995"), ("base_mamba1_d256", "m1_w4a8"), ("base_mamba2", "m2_w8a8_pa0.9995"),
        ("base_mamba2", "m2_w8a8_gh"), ("base_mamba2", "m2_w4a8_gh_pa0.9995"), ("base_mamba2", "m2_w4a8_gh_perm"),
        ("base_mamba2", "m2_w4a8_gh_gptq"), ("base_mamba2", "m2_w4a16"),
    ],
)  # fmt: skip
def test_quamba_against_its_original(base: str, name: str) -> None:
    """Hadamard in and out, norms folded, heads and channels reordered: against the values and orders that its makers
    wrote down."""
    (original,) = (folder("quamba") / base).iterdir()
    made, truth, orders = truth_of(name)
    a = open_model(str(original))
    found = measure_fidelity(a, open_model(str(made)))
    weights = by_role(found)
    assert {o.why for o in found.not_compared} <= {Why.ONLY_B, Why.NOT_UNDERSTOOD}
    checked = 0
    for key, y in truth.items():
        tensor = a.checkpoint.tensor(key)
        if tensor is None or "in_proj" not in key:
            continue
        layer = int(key.split(".")[2])
        norm = a.checkpoint.tensor(f"backbone.layers.{layer}.norm.weight")
        assert norm is not None
        x = tensor.read().astype(np.float64) * norm.read().astype(np.float64)
        w = weights[key.removeprefix("backbone.")]
        # row norms survive a rotation of the inputs: what was matched is told by them alone
        if orders:
            heads = orders["layers"][layer] if isinstance(orders, dict) and "layers" in orders else orders[layer]
            channels = np.array(heads["channel_index"]).reshape(-1)
            d = channels.size
            said = next(u.said for u in w.undone if u.what == "order")
            moved = 2 * int((channels != np.arange(d)).sum()) + int(
                (np.array(heads["head_index"]).reshape(-1) != np.arange(np.size(heads["head_index"]))).sum()
            )
            assert said.startswith(f"{moved:,} of {len(y):,} rows")
            index = np.concatenate([channels, d + channels, np.arange(2 * d, len(y))])
            tail = np.size(heads["head_index"])
            index[len(y) - tail :] = len(y) - tail + np.array(heads["head_index"]).reshape(-1)
            x = x[index]
        assert np.linalg.norm(x, axis=1) == pytest.approx(np.linalg.norm(y, axis=1), rel=0.2)
        assert w.sums.aa == pytest.approx((x**2).sum(), rel=1e-4)
        checked += 1
    assert checked
    floor = 28 if "w8" in name else 14.5
    for role, w in weights.items():
        assert w.sums.sqnr > floor, role
        if role.endswith("in_proj.weight"):
            assert ("norm", "input") in kinds(w)
            assert ("rotation", "input") in kinds(w)
            assert (("order", "output") in kinds(w)) == (orders is not None)
        if role.endswith("out_proj.weight"):
            assert [k for k in kinds(w) if k[0] == "rotation"] == [("rotation", "input"), ("rotation", "output")]
            assert (("order", "input") in kinds(w)) == (orders is not None)


def test_two_orders_of_heads_and_channels(quamba: Quamba) -> None:
    a, b = (open_model(str(quamba(n))) for n in ("m2_w4a8_gh_pa0.9995", "m2_w4a8_gh_perm"))
    found = measure_fidelity(a, b)
    weights = by_role(found)
    for i in (0, 1):
        assert weights[f"layers.{i}.mixer.in_proj.weight"].sums.sqnr > 100
        assert weights[f"layers.{i}.mixer.conv1d.weight"].sums.exact
        assert weights[f"layers.{i}.mixer.norm.weight"].sums.exact
        out = weights[f"layers.{i}.mixer.out_proj.weight"]  # rounded in two orders
        assert 15 < out.sums.sqnr < 20
        assert "before both were rotated" in out.undone[0].said


# --- cost ---


def test_a_pair_that_needs_none_of_it_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = llama()

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(measuring, "Recognition", never)
    found = measured(a, quantized(a), tmp_path)
    assert len(found.weights) == len(a)


def test_channels_so_small_that_rounding_makes_others_of_them_are_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = llama()
    name = "model.layers.0.mlp.gate_proj.weight"
    a[name][:, 3:30:4] *= 0.1
    b = quantized(a)
    x, y = a[name][:, 3:30:4], b[name][:, 3:30:4]
    cosine = (x * y).sum(0) / np.linalg.norm(x, axis=0) / np.linalg.norm(y, axis=0)
    assert (cosine < 0.5).sum() > 1

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(measuring, "Recognition", never)
    assert len(measured(a, b, tmp_path).weights) == len(a)


def test_a_weight_too_large_to_be_held_is_told_by_some_of_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undoing, "MOST_ELEMENTS", 1000)
    a = llama()
    q = sylvester(HIDDEN)
    made = in_place(a, lambda k, v: v @ q if "embed" in k else v)
    index = np.random.default_rng(0).permutation(INNER)
    made["model.layers.0.mlp.up_proj.weight"] = made["model.layers.0.mlp.up_proj.weight"][index]
    b = quantized(made)
    found = measured(a, b, tmp_path)
    w = by_role(found)["embed_tokens.weight"]
    assert kinds(w) == [("rotation", "input")]
    assert w.sums.sqnr == pytest.approx(db(made[w.a], b[w.a]), abs=0.01)
    assert others(found)["layers.0.mlp.up_proj.weight"].why is Why.ROTATED


# --- codes and scales ---


def in_fp8(made: Any, a: Array, to: Path) -> Fidelity:
    """Codes and scales of one weight against an original of it."""
    at = "model.layers.0.mlp.down_proj"
    stored = written(to / "b", of_module(made, at), settings(made))
    original = written(to / "a", {f"{at}.weight": a.astype(np.float32)}, None)
    return measure_fidelity(open_model(str(original)), open_model(str(stored)))


def test_what_is_left_of_a_rotation_is_held_against_rounding(tmp_path: Path) -> None:
    made = fp8("channel", shape=(96, 64))
    a = made.values.astype(np.float64) @ sylvester(64).T
    a *= 1 + np.random.default_rng(0).standard_normal(a.shape) / 1000
    (w,) = in_fp8(made, a, tmp_path / "exact").weights
    assert kinds(w) == [("rotation", "input")]
    assert w.sums.sqnr > 55
    a += np.random.default_rng(1).standard_normal(a.shape) * a.std(axis=1, keepdims=True) / 2
    (other,) = in_fp8(made, a, tmp_path / "more").not_compared
    assert other.why is Why.ROTATED
    assert "inputs rotated by a Hadamard matrix of 64 undone, the SQNR is 7.0 dB" in other.said
    assert "something else was done to it" in other.said


def test_a_padded_original_of_codes(tmp_path: Path) -> None:
    made = fp8("channel", shape=(96, 64))
    a = np.pad(made.values, ((0, 4), (0, 0)))
    (w,) = in_fp8(made, a, tmp_path).weights
    assert w.undone[0].said == "A has 4 more rows, all zero"
    assert w.sums.exact
