"""Projections in one tensor whose rows take turns, against the same in tensors of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf_files import NUMBER, TEXT, GgufFile, plain
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_files import affine, of_module
from mlx_files import opened as mlx_opened
from paired_models import LAYER, Tensors, alone, compared, randn, saved
from peer_truth import folder, needs_fixtures

from qinspect.inspector.arguments import open_model
from qinspect.inspector.checkpoint import Tensor, open_checkpoint
from qinspect.inspector.compare import Status, compare
from qinspect.inspector.compare.turns import gate_and_up, parts_of
from qinspect.inspector.fidelity.measuring import measure_fidelity
from qinspect.inspector.formats.records import Slice, part_of
from qinspect.inspector.formats.runs import Run, Runs

H = 32
LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 4, "linear_value_head_dim": 8}
ATTENTION = {"num_attention_heads": 6, "num_key_value_heads": 2, "hidden_size": 24, "head_dim": 4}


def qkvz() -> tuple[torch.Tensor, Tensors]:
    """As transformers' Qwen3-Next takes it apart: of each key head q, k, the v and the z of its value heads."""
    whole = randn(2 * (4 + 4 + 16 + 16), H)
    q, k, v, z = torch.split(whole.view(2, 40, H), [4, 4, 16, 16], dim=1)
    flat = [t.reshape(-1, H) for t in (q, k, v, z)]
    return whole, {"in_proj_qkv": torch.cat(flat[:3]), "in_proj_z": flat[3]}


def ba() -> tuple[torch.Tensor, Tensors]:
    whole = randn(8, H, seed=1)
    b, a = torch.split(whole.view(2, 4, H), [2, 2], dim=1)
    return whole, {"in_proj_b": b.reshape(-1, H), "in_proj_a": a.reshape(-1, H)}


def wqkv() -> tuple[torch.Tensor, Tensors]:
    """As InternLM2 takes it apart: of each key head the queries, the key, the value."""
    whole = randn(40, H, seed=2)
    groups = whole.view(2, 5, 4, H)
    parts = {"q_proj": groups[:, :3], "k_proj": groups[:, 3], "v_proj": groups[:, 4]}
    return whole, {n: t.reshape(-1, H) for n, t in parts.items()}


def linear(config: dict[str, Any] | None, tmp: Path, wrong: bool = False) -> Any:
    at = f"{LAYER}.linear_attn"
    wholes: Tensors = {}
    parts: Tensors = {}
    for name, (whole, split) in {"in_proj_qkvz": qkvz(), "in_proj_ba": ba()}.items():
        wholes[f"{at}.{name}.weight"] = whole
        parts |= {f"{at}.{n}.weight": t.contiguous() for n, t in split.items()}
    if wrong:
        parts[f"{at}.in_proj_z.weight"][17] += 1
    return compared(tmp, wholes, parts, config)


def test_qwen3_nexts_projections_in_one_pair_with_those_apart(tmp_path: Path) -> None:
    c = linear(LINEAR, tmp_path)
    assert alone(c) == []
    assert {w.role.rpartition(".linear_attn.")[2]: w.status for w in c.weights} == dict.fromkeys(
        ("in_proj_qkv.weight", "in_proj_z.weight", "in_proj_b.weight", "in_proj_a.weight"), Status.EQUAL
    )
    z = next(w for w in c.weights if "in_proj_z" in w.role)
    assert "A: rows 24 to 40 of every 40 of model.layers.0.linear_attn.in_proj_qkvz.weight" in z.note


def test_a_row_that_differs_is_one_of_its_own_part(tmp_path: Path) -> None:
    c = linear(LINEAR, tmp_path, wrong=True)
    different = [w for w in c.weights if w.status is Status.DIFFERENT]
    assert [w.role for w in different] == ["layers.0.linear_attn.in_proj_z.weight"]
    assert different[0].n_changed == H
    assert different[0].deviation is not None
    assert different[0].deviation.where[0] == 17


@pytest.mark.parametrize(
    "config",
    [None, {**LINEAR, "linear_num_key_heads": 4}, {**LINEAR, "linear_num_key_heads": 3},
     {**LINEAR, "linear_key_head_dim": 5}, {**LINEAR, "linear_num_value_heads": "4"},
     {**LINEAR, "linear_num_key_heads": 0}],
)  # fmt: skip
def test_where_config_does_not_say_how_heads_lie_nothing_is_cut(config: dict[str, Any] | None, tmp_path: Path) -> None:
    c = linear(config, tmp_path)
    assert "layers.0.linear_attn.in_proj_qkvz.weight" in alone(c)
    assert not [w for w in c.weights if w.status is Status.EQUAL and "in_proj_qkv" in w.role]


@pytest.mark.parametrize("nested", [False, True])
def test_the_text_model_may_say_it(nested: bool, tmp_path: Path) -> None:
    assert alone(linear({"text_config": LINEAR} if nested else LINEAR, tmp_path)) == []


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("module", ["attention", "self_attn"])
def test_internlm2_pairs_with_itself_as_llama(bias: bool, module: str, tmp_path: Path) -> None:
    """The names of all else differ too."""
    whole, split = wqkv()
    names = {
        "model.tok_embeddings": "model.embed_tokens", "output": "lm_head", "model.norm": "model.norm",
        f"{LAYER}.attention.wo": f"{LAYER}.self_attn.o_proj", f"{LAYER}.attention_norm": f"{LAYER}.input_layernorm",
        f"{LAYER}.ffn_norm": f"{LAYER}.post_attention_layernorm",
        **{f"{LAYER}.feed_forward.w{i}": f"{LAYER}.mlp.{n}_proj" for i, n in ((1, "gate"), (2, "down"), (3, "up"))},
    }  # fmt: skip
    a, b = ({f"{name}.weight": randn(8, H, seed=i) for i, name in enumerate(side)} for side in (names, names.values()))
    a[f"{LAYER}.attention.wqkv.weight"] = whole
    b |= {f"{LAYER}.{module}.{n}.weight": t.contiguous() for n, t in split.items()}
    if bias:
        a[f"{LAYER}.attention.wqkv.bias"] = whole[:, 0].contiguous()
        b |= {f"{LAYER}.{module}.{n}.bias": t[:, 0].contiguous() for n, t in split.items()}
    c = compared(tmp_path, a, b, ATTENTION)
    assert alone(c) == []
    assert {w.status for w in c.weights} <= {Status.EQUAL, Status.IDENTICAL}
    back = compared(tmp_path / "back", b, a, ATTENTION)
    assert alone(back) == []
    assert {w.status for w in back.weights} <= {Status.EQUAL, Status.IDENTICAL}


def test_internlm2_in_gguf_pairs_with_its_original(tmp_path: Path) -> None:
    """llama.cpp's converter takes wqkv apart, and interleaves the halves of each head of q and k."""
    whole, split = wqkv()
    stored = []
    for name, heads in (("q_proj", 6), ("k_proj", 2), ("v_proj", 0)):
        t = split[name].float()
        rows = t.view(heads, 2, -1, H).transpose(1, 2).reshape(t.shape) if heads else t
        stored.append(plain(f"blk.0.attn_{name[0]}.weight", rows.reshape(-1).tolist(), tuple(t.shape)))
    counts = {"internlm2.attention.head_count": (NUMBER, 6), "internlm2.attention.head_count_kv": (NUMBER, 2)}
    facts = {"general.architecture": (TEXT, "internlm2"), **counts}
    (tmp_path / "b.gguf").write_bytes(bytes(GgufFile(stored, facts)))
    a = saved({f"{LAYER}.attention.wqkv.weight": whole}, tmp_path / "a", ATTENTION)
    c = compare(a, open_model(str(tmp_path / "b.gguf")))
    assert {w.role.split(".")[-2]: w.status for w in c.weights} == dict.fromkeys(("wq", "wk", "wv"), Status.EQUAL)


def test_wqkv_stays_whole_where_heads_are_not_said(tmp_path: Path) -> None:
    whole, split = wqkv()
    parts = {f"{LAYER}.attention.{n}.weight": t.contiguous() for n, t in split.items()}
    for i, config in enumerate([None, {"num_attention_heads": 6}, {**ATTENTION, "head_dim": 5}]):
        c = compared(tmp_path / str(i), {f"{LAYER}.attention.wqkv.weight": whole}, parts, config)
        assert len(alone(c)) == 4


def test_codes_in_turns_are_those_of_each_part(tmp_path: Path) -> None:
    """Values and scales: a whole of MLX against its parts, cut by hand."""
    made = affine(4, (80, 64), 32)
    at = f"{LAYER}.linear_attn"
    said = {"bits": 4, "group_size": 32}
    a = mlx_opened(tmp_path / "a", of_module(made, f"{at}.in_proj_qkvz"), said, **LINEAR)
    (parts,) = parts_of("in_proj_qkvz", LINEAR, 80)
    split: dict[str, Any] = {}
    for name, runs in parts:
        split |= {f"{LAYER}.{name}.{last}": t[runs.places()] for last, t in made.tensors.items()}
    b = mlx_opened(tmp_path / "b", split, said, **LINEAR)
    for x, y in ((a, b), (b, a)):
        c = compare(x, y)
        assert alone(c) == []
        assert {w.status for w in c.weights} == {Status.EQUAL}
        assert {s.status for s in c.scales} == {Status.EQUAL}
    assert any("rows 24 to 40 of every 40 of the scale of" in s.note for s in compare(a, b).scales)
    split[f"{at}.in_proj_z.scales"][17] *= 2
    changed = compare(a, mlx_opened(tmp_path / "c", split, said, **LINEAR))
    assert [s.role for s in changed.scales if s.status is Status.DIFFERENT] == ["layers.0.linear_attn.in_proj_z.weight"]


def test_the_error_of_each_part_is_its_own(tmp_path: Path) -> None:
    """Plain projections in turns against quantized ones apart, held against numpy."""
    tensors: dict[str, Any] = {}
    original, values = np.zeros((40, 64), np.float32), {}
    (parts,) = [p for p in parts_of("wqkv", ATTENTION, 40) if p[0][0] == "self_attn.q_proj"]
    for i, (name, runs) in enumerate(parts):
        codes = affine(8, (runs.n_rows, 64), 32, seed=i)
        values[name] = codes.values
        tensors |= of_module(codes, f"{LAYER}.{name}")
        noise = np.random.default_rng(i).normal(0, 0.01 * 10**i, codes.values.shape)
        original[runs.places()] = codes.values + noise.astype(np.float32)
    b = mlx_opened(tmp_path / "b", tensors, {"bits": 8, "group_size": 32})
    a = saved({f"{LAYER}.attention.wqkv.weight": torch.from_numpy(original)}, tmp_path / "a", ATTENTION)
    for one, other in ((a, b), (b, a)):
        found = {w.role: w for w in measure_fidelity(one, other).weights}
        assert len(found) == 3
        for name, runs in parts:
            x, y = original[runs.places()].astype(np.float64), values[name]
            error = np.linalg.norm(y - x) / np.linalg.norm(x if one is a else y)
            assert found[f"layers.0.{name}.weight"].sums.relative == pytest.approx(error, rel=1e-6)


# --- gate and up of gpt-oss ---


def codes_in_turns(tmp: Path, config: dict[str, Any], bias: bool = False) -> tuple[Any, Any]:
    """Experts of MLX whose gate and up take turns, and the same experts apart."""
    at, made = f"{LAYER}.mlp.experts", affine(4, (3, 16, 64), 32)
    whole = of_module(made, f"{at}.gate_up_proj")
    if bias:
        whole[f"{at}.gate_up_proj_bias"] = np.zeros((3, 16), np.float32)
    parts: dict[str, Any] = {}
    for e in range(3):
        for name, first in (("gate_proj", 0), ("up_proj", 1)):
            parts |= {f"{at}.{e}.{name}.{k}": t[e, first::2] for k, t in made.tensors.items()}
    said = {"bits": 4, "group_size": 32}
    return mlx_opened(tmp / "a", whole, said, **config), mlx_opened(tmp / "b", parts, said)


def test_codes_of_gate_and_up_in_turns(tmp_path: Path) -> None:
    a, b = codes_in_turns(tmp_path, {"model_type": "gpt_oss"})
    for c in (compare(a, b), compare(b, a)):
        assert alone(c) == []
        assert {w.status for w in c.weights} == {Status.EQUAL}
        assert {s.status for s in c.scales} == {Status.EQUAL}


def test_without_config_what_has_gpt_osss_biases_is_not_cut_in_halves(tmp_path: Path) -> None:
    a, b = codes_in_turns(tmp_path, {}, bias=True)
    assert {w.status for w in compare(a, b).weights} == {Status.ONLY_A, Status.ONLY_B}


@needs_fixtures
def test_a_quantized_gpt_oss_against_gate_and_up_apart(tmp_path: Path) -> None:
    """ModelOpt's stacks in turns, against the original's rows that are gate's and up's."""
    original = open_checkpoint(folder("base_gptoss"))
    tensors: Tensors = {}
    for t in original.tensors():
        stack = torch.from_numpy(t.read().astype(np.float32))
        if t.name.endswith("gate_up_proj"):
            for name, first in (("gate_proj", 0), ("up_proj", 1)):
                at = t.name.removesuffix("gate_up_proj")
                rows = stack.transpose(1, 2)[:, first::2]
                tensors |= {f"{at}{e}.{name}.weight": x.contiguous() for e, x in enumerate(rows)}
    a, b = saved(tensors, tmp_path / "a"), open_model(str(folder("modelopt_gptoss_nvfp4") / "model"))
    found = [w for w in measure_fidelity(a, b).weights if w.role in {n.removeprefix("model.") for n in tensors}]
    assert len(found) == len(tensors)
    assert all(w.sums.relative < 0.15 for w in found)


# --- rows in runs ---


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(0, 12), st.integers(1, 7), st.data())
def test_runs_are_the_rows_that_indices_name(
    tmp_path_factory: pytest.TempPathFactory, groups: int, a: int, b: int, start: int, step: int, data: st.DataObject
) -> None:
    whole = randn(groups * (a + b), 6)
    order = data.draw(st.permutations([Run(0, a, a + b, groups), Run(a, b, a + b, groups)]))
    runs = Runs(tuple(order[: data.draw(st.integers(1, 2))]))
    apart = whole.view(groups, a + b, 6)
    expected = torch.cat([apart[:, r.first : r.first + r.length].reshape(-1, 6) for r in runs.runs]).float().numpy()
    to = tmp_path_factory.mktemp("runs")
    fmt = saved({"w": whole, "bias": whole[:, 0].contiguous()}, to / "m")
    stored = fmt.checkpoint.tensor("w")
    assert isinstance(stored, Tensor)
    found = part_of(stored, Slice(runs=runs))
    assert np.array_equal(found.read().astype(np.float32), expected)
    start = min(start, runs.n_rows)
    assert np.array_equal(found.read_rows(start, start + step).astype(np.float32), expected[start : start + step])
    read = runs.read(start, min(start + step, runs.n_rows), 1, lambda i, j: whole.float().numpy()[i:j])
    assert np.array_equal(read, expected[start : start + step])
    row = fmt.checkpoint.tensor("bias")
    assert row is not None
    assert np.array_equal(part_of(row, Slice(runs=runs)).read().astype(np.float32), expected[:, 0])


def test_nothing_is_cut_of_nothing(tmp_path: Path) -> None:
    at, of = f"{LAYER}.mlp", {"model_type": "gpt_oss"}
    for i, shape in enumerate([(), (0,), (0, 4), (3, 4)]):
        empty = torch.zeros(0, *shape[1:])
        parts = {f"{at}.gate_proj.weight": empty, f"{at}.up_proj.weight": empty.clone()}
        c = compared(tmp_path / str(i), {f"{at}.gate_up_proj.weight": torch.zeros(shape)}, parts, of)
        assert not any(w.status is Status.BROKEN for w in c.weights)
        assert part_of_rows(tmp_path / f"{i}.of", torch.zeros(2, 0)).read_range(0, 0).size == 0


def part_of_rows(to: Path, tensor: torch.Tensor) -> Tensor:
    """Every other row."""
    stored = saved({"w": tensor}, to).checkpoint.tensor("w")
    assert stored is not None
    return part_of(stored, Slice(runs=gate_and_up(len(tensor))[1]))


def test_cells_that_hold_rows_of_two_are_not_cut() -> None:
    gate, _ = gate_and_up(8)
    assert gate.in_cells(1) == gate
    assert gate.in_cells(2) is None
    assert Runs((Run(4, 4, 8, 2),)).in_cells(4) == Runs((Run(1, 1, 2, 2),))


def test_heads_of_attention_that_are_said_by_the_hidden_size() -> None:
    found = list(parts_of("wqkv", {"num_attention_heads": 4, "hidden_size": 32}, 96))
    assert {runs for parts in found for _, runs in parts} == {Runs((Run(at, 8, 24, 4),)) for at in (0, 8, 16)}
