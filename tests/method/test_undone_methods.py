"""Weights to which something was done before they were quantized: the method is that of the codes, not of what was
done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from qinspect.inspector.arguments import open_model
from qinspect.inspector.fidelity.pairs import all_pairs_of
from qinspect.inspector.method import report
from qinspect.inspector.method.answers import Look, Methods, methods_of
from qinspect.inspector.method.judge import Method
from qinspect.inspector.progress import unseen

DATA = Path(__file__).parents[1] / "data"
Array = NDArray[Any]
Model = dict[str, Array]
HIDDEN, INNER, HEADS, WORDS, LAYERS = 128, 192, 4, 160, 2
RNG = np.random.default_rng(11)
INPUT, POST = "layers.{}.input_layernorm.weight", "layers.{}.post_attention_layernorm.weight"


def llama(seed: int = 0) -> Model:
    rng = np.random.default_rng(seed)
    found = {"embed_tokens.weight": (WORDS, HIDDEN), "lm_head.weight": (WORDS, HIDDEN)}
    for i in range(LAYERS):
        found |= {f"layers.{i}.self_attn.{n}_proj.weight": (HIDDEN, HIDDEN) for n in "qkvo"}
        found |= {f"layers.{i}.mlp.{n}_proj.weight": (INNER, HIDDEN) for n in ("gate", "up")}
        found[f"layers.{i}.mlp.down_proj.weight"] = (HIDDEN, INNER)
    made = {k: (rng.standard_normal(shape) / 10).astype(np.float32) for k, shape in found.items()}
    norms = ["norm.weight", *(n.format(i) for n in (INPUT, POST) for i in range(LAYERS))]
    return made | {n: np.exp(rng.standard_normal(HIDDEN) / 3).astype(np.float32) for n in norms}


def sylvester(n: int) -> Array:
    h = np.ones((1, 1))
    while len(h) < n:
        h = np.block([[h, h], [h, -h]])
    return np.asarray(h / np.sqrt(n))


def folded(model: Model) -> Model:
    """Every norm in what reads it."""
    made = dict(model)
    for i in range(LAYERS):
        for norm, names in ((INPUT, "self_attn.q self_attn.k self_attn.v"), (POST, "mlp.gate mlp.up")):
            for name in names.split():
                made[f"layers.{i}.{name}_proj.weight"] = made[f"layers.{i}.{name}_proj.weight"] * made[norm.format(i)]
    made["lm_head.weight"] = made["lm_head.weight"] * made["norm.weight"]
    return {k: np.ones_like(v) if "norm" in k else v for k, v in made.items()}


def rotated(model: Model, q: Array) -> Model:
    """The residual stream by q, what o and down read by matrices of their own."""
    made = folded(model)
    for i in range(LAYERS):
        for name in ("self_attn.q", "self_attn.k", "self_attn.v", "mlp.gate", "mlp.up"):
            made[f"layers.{i}.{name}_proj.weight"] = made[f"layers.{i}.{name}_proj.weight"] @ q
        made[f"layers.{i}.self_attn.o_proj.weight"] = q.T @ made[f"layers.{i}.self_attn.o_proj.weight"]
        made[f"layers.{i}.mlp.down_proj.weight"] = q.T @ made[f"layers.{i}.mlp.down_proj.weight"]
    for name in ("embed_tokens.weight", "lm_head.weight"):
        made[name] = made[name] @ q
    return {k: v.astype(np.float32) for k, v in made.items()}


def in_codes(model: Model, moved: float = 0.0) -> Model:
    """LLM.int8()'s layout: rounded to nearest in rows, after codes were moved by up to a part of a step."""
    found: Model = {}
    for name, x in model.items():
        if not name.endswith("_proj.weight"):
            found[name] = x
            continue
        largest = np.abs(x).max(axis=1)
        by = x / (largest[:, None] / 127) + RNG.uniform(-moved, moved, x.shape)
        found[name] = np.clip(np.rint(by), -127, 127).astype(np.int8)
        found[f"{name.removesuffix('weight')}SCB"] = largest.astype(np.float32)
    return found


def written(folder: Path, model: Model) -> str:
    folder.mkdir(parents=True)
    save_file({f"model.{k}": np.ascontiguousarray(v) for k, v in model.items()}, folder / "model.safetensors")
    return str(folder)


def told(a: Model, b: Model, to: Path) -> Methods:
    return methods_of(open_model(written(to / "a", a)), open_model(written(to / "b", b)), unseen)


def of_codes(m: Methods) -> dict[str, tuple[Method, list[str]]]:
    """By role: the method and what was undone, of what is stored in codes."""
    return {
        w.role: (w.judged.method, [str(u.what) for u in w.undone]) for w in m.weights if w.role.endswith("_proj.weight")
    }


@pytest.mark.parametrize(("moved", "method"), [(0.0, Method.NEAREST), (0.5, Method.LEARNED)])
def test_a_rotated_model_is_judged_by_the_rotated_original(tmp_path: Path, moved: float, method: Method) -> None:
    a = llama()
    m = told(a, in_codes(rotated(a, sylvester(HIDDEN)), moved), tmp_path)
    found = of_codes(m)
    assert len(found) == 7 * LAYERS
    assert {of for of, _ in found.values()} == {method}
    assert found["layers.0.self_attn.q_proj.weight"][1] == ["norm", "rotation"]
    assert found["layers.0.mlp.down_proj.weight"][1] == ["rotation"]
    said = next(w.judged.said for w in m.weights if w.role == "layers.0.self_attn.q_proj.weight")
    assert "with that undone" in said
    assert "of codes are the nearest" in said
    plain = {w.role: w for w in m.weights if "norm" in w.role or "embed" in w.role}
    assert all(w.judged.method is Method.CHANGED and w.undone for w in plain.values())
    assert "rotated" in plain["embed_tokens.weight"].judged.said


def test_a_norm_that_was_folded_is_no_smoothing(tmp_path: Path) -> None:
    a = llama()
    m = told(a, in_codes(folded(a)), tmp_path)
    found = of_codes(m)
    assert {of for of, _ in found.values()} == {Method.NEAREST}
    assert found["layers.1.mlp.up_proj.weight"][1] == ["norm"]
    assert found["layers.1.mlp.down_proj.weight"][1] == []
    norm = next(w for w in m.weights if w.role == INPUT.format(0))
    assert "what it multiplied by is in" in norm.judged.said


def test_a_norm_that_was_divided_is_smoothing_still(tmp_path: Path) -> None:
    """Near it: a part of the norm alone went into the weights."""
    a = llama()
    b = dict(a)
    for i in range(LAYERS):
        factor = np.exp(np.random.default_rng(3).standard_normal(HIDDEN) / 3).astype(np.float32)
        for name in "qkv":
            b[f"layers.{i}.self_attn.{name}_proj.weight"] = a[f"layers.{i}.self_attn.{name}_proj.weight"] * factor
        b[INPUT.format(i)] = a[INPUT.format(i)] / factor
    m = told(a, in_codes(b), tmp_path)
    found = of_codes(m)
    assert found["layers.0.self_attn.q_proj.weight"] == (Method.SMOOTHED, [])
    assert found["layers.0.self_attn.o_proj.weight"] == (Method.NEAREST, [])
    assert {i.by for i in m.inverses} == {INPUT.format(i) for i in range(LAYERS)}


def test_channels_in_another_order(tmp_path: Path) -> None:
    a = llama()
    b = dict(a)
    for i in range(LAYERS):
        order = np.random.default_rng(i).permutation(INNER)
        for name in ("gate", "up"):
            b[f"layers.{i}.mlp.{name}_proj.weight"] = a[f"layers.{i}.mlp.{name}_proj.weight"][order]
        b[f"layers.{i}.mlp.down_proj.weight"] = a[f"layers.{i}.mlp.down_proj.weight"][:, order]
    found = of_codes(told(a, in_codes(b), tmp_path))
    assert {of for of, _ in found.values()} == {Method.NEAREST}
    assert {role.split(".")[-2] for role, (_, undone) in found.items() if undone == ["order"]} == {
        "gate_proj", "up_proj", "down_proj"
    }  # fmt: skip


def test_a_rotation_that_is_not_found_is_named_and_not_judged(tmp_path: Path) -> None:
    a = llama()
    q = np.linalg.qr(np.random.default_rng(1).standard_normal((HIDDEN, HIDDEN)))[0]
    m = told(a, in_codes(rotated(a, q)), tmp_path)
    assert {of for of, _ in of_codes(m).values()} == {Method.NOT_JUDGED}
    said = next(w.judged.said for w in m.weights if w.judged.method is Method.NOT_JUDGED)
    assert "by nothing that was tried" in said
    assert "of this base" not in report.headline(m)


def test_another_model_is_another_model_still(tmp_path: Path) -> None:
    m = told(llama(0), in_codes(llama(1)), tmp_path)
    assert {of for of, _ in of_codes(m).values()} == {Method.UNRELATED}
    assert "another model" in report.headline(m)


@pytest.mark.parametrize(("name", "of"), [("m1_w8a8_pa0.9995", "base_mamba1"), ("m2_w4a16", "base_mamba2")])
def test_what_a_library_rotated(name: str, of: str) -> None:
    """Quamba rounds to nearest, after rotations; its first kind keeps in_proj, x_proj and out_proj so."""
    folder = next(p for p in (DATA / "quamba" / name).iterdir() if p.is_dir())
    m = methods_of(open_model(str(DATA / "models" / of)), open_model(str(folder)), unseen)
    told = {w.role: w for w in m.weights}
    for last in ("in_proj", "out_proj"):
        w = told[f"layers.0.mixer.{last}.weight"]
        assert w.judged.method is Method.NEAREST
        assert "rotation" in [str(u.what) for u in w.undone]
    assert Method.UNRELATED not in {w.judged.method for w in m.weights}


def test_nothing_was_done(tmp_path: Path) -> None:
    a = llama()
    m = told(a, in_codes(a), tmp_path)
    assert all(not w.undone for w in m.weights)
    assert {of for of, _ in of_codes(m).values()} == {Method.NEAREST}


@pytest.mark.parametrize("change", [lambda a: rotated(a, sylvester(HIDDEN)), folded, lambda a: a])
def test_one_weight_alone_has_the_method_that_it_has_among_all(
    tmp_path: Path, change: Callable[[Model], Model]
) -> None:
    """As the screen asks, in any order."""
    a = llama()
    whole = told(a, in_codes(change(a)), tmp_path)
    first, second = (open_model(str(tmp_path / name)) for name in "ab")
    look = Look(first, second, all_pairs_of(first, second, lambda _: None))
    for w in reversed(whole.weights):
        found = look.of_role(w.role, unseen)
        assert w.role in found
        assert found[w.role].judged.method is w.judged.method, w.role
    assert look.of_role("no.such.weight", unseen) == {}
