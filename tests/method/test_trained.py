"""Methods of a trained model that other libraries quantized: what random weights and inputs do not show."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import format_of
from qinspect.inspector.method.answers import Methods, methods_of
from qinspect.inspector.method.evidence import Columns
from qinspect.inspector.method.judge import Method, judge
from qinspect.inspector.progress import unseen

DATA = Path(__file__).parents[1] / "data" / "llama_bytes"


@pytest.fixture(scope="module")
def told() -> dict[str, Methods]:
    def of(name: str) -> Methods:
        return methods_of(format_of(open_checkpoint(DATA / "model")), format_of(open_checkpoint(DATA / name)), unseen)

    return {name: of(name) for name in ("gptq", "awq", "autoround")}


def count(m: Methods) -> Counter[Method]:
    return Counter(w.judged.method for w in m.weights if w.evidence is not None)


def test_every_linear_layer_is_error_feedback(told: dict[str, Methods]) -> None:
    """Of two, all codes that are not the nearest are next to it, as learned rounding leaves them."""
    m = told["gptq"]
    assert count(m) == {Method.ERROR_FEEDBACK: 14}
    first = {w.role: w.evidence.columns.first for w in m.weights if w.evidence is not None}
    of_inputs = [{first[f"layers.1.self_attn.{x}_proj.weight"] for x in "qkv"}]
    of_inputs.append({first[f"layers.1.mlp.{x}_proj.weight"] for x in ("gate", "up")})
    assert of_inputs == [{43}, {43}]  # layers that read one input begin with one channel of it
    assert sum("all of input channel 43 are the nearest" in w.judged.said for w in m.weights) == 2


def test_learned_rounding_spares_no_channel(told: dict[str, Methods]) -> None:
    """And where few codes were moved it is not called rounding to nearest, nor error feedback."""
    found = count(told["autoround"])
    assert found == {Method.LEARNED: 6, Method.MOVED: 8}
    learned = {w.role for w in told["autoround"].weights if w.judged.method is Method.LEARNED}
    assert learned == {f"layers.{i}.mlp.{x}_proj.weight" for i in range(2) for x in ("gate", "up", "down")}


def test_a_channel_without_moved_codes_that_may_be_chance(told: dict[str, Methods]) -> None:
    of = next(w.evidence for w in told["gptq"].weights if w.role == "layers.1.mlp.gate_proj.weight")
    assert of is not None
    assert judge(of).method is Method.ERROR_FEEDBACK
    assert judge(replace(of, columns=Columns(3, 0, 2.5))).method is Method.MOVED
    assert judge(replace(of, columns=Columns(0, -1, 2.5))).method is Method.LEARNED


def test_factors_are_found_and_the_norms_that_took_them(told: dict[str, Methods]) -> None:
    m = told["awq"]
    assert count(m) == {Method.SMOOTHED: 12, Method.NEAREST: 2}
    nearest = {w.role.split(".", 2)[2] for w in m.weights if w.judged.method is Method.NEAREST}
    assert nearest == {"self_attn.o_proj.weight"}  # key and value heads are shared: there is nothing to fold into
    assert {i.by for i in m.inverses} == {
        "layers.0.post_attention_layernorm.weight",
        *(f"layers.1.{x}_layernorm.weight" for x in ("input", "post_attention")),
    }
