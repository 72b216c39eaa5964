"""One model as several families and libraries store it: the same tensors pair, in one tensor or in several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_files import ID, TEXT, GgufFile, Stored, plain
from mlx_files import affine, of_module
from mlx_files import opened as mlx_opened
from modelopt_files import nvfp4
from paired_models import LAYER, Tensors, alone, compared, randn, saved
from peer_truth import folder, needs_fixtures

from qinspect.inspector.arguments import open_model
from qinspect.inspector.compare import Comparison, Status, compare
from qinspect.inspector.formats import Format
from qinspect.inspector.roles import strip_root

E, M, H = 3, 8, 16


def experts(
    moe: str = "mlp", names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"), m: int = M
) -> Tensors:
    """A layer of experts [m, H] and [H, m], each a tensor of its own."""
    gate, up, down = names
    made = {f"{LAYER}.{moe}.gate.weight": randn(E, H, seed=99), f"{LAYER}.norm.weight": randn(H, seed=98)}
    for e in range(E):
        at = f"{LAYER}.{moe}.experts.{e}"
        made[f"{at}.{gate}.weight"] = randn(m, H, seed=3 * e)
        made[f"{at}.{up}.weight"] = randn(m, H, seed=3 * e + 1)
        made[f"{at}.{down}.weight"] = randn(H, m, seed=3 * e + 2)
    return made


def stacked(parts: Tensors, joined: bool = True, turned: bool = False, last: str = "") -> Tensors:
    """The same experts in stacks."""
    made = {k: t for k, t in parts.items() if ".experts." not in k}

    def stack(name: str) -> torch.Tensor:
        return torch.stack([parts[f"{LAYER}.mlp.experts.{e}.{name}.weight"] for e in range(E)])

    found = {n: stack(n) for n in ("gate_proj", "up_proj", "down_proj")}
    if joined:
        found = {"gate_up_proj": torch.cat([found["gate_proj"], found["up_proj"]], 1), "down_proj": found["down_proj"]}
    for name, t in found.items():
        made[f"{LAYER}.mlp.experts.{name}{last}"] = t.transpose(1, 2).contiguous() if turned else t
    return made


def of_mlx(tensors: Tensors) -> Tensors:
    """Stacks under the name that mlx-lm gives them."""
    return {k.replace(".experts.", ".switch_mlp."): t for k, t in tensors.items()}


STORED: dict[str, Callable[[Tensors], Tensors]] = {
    "gate and up in one": stacked,
    "three stacks": lambda t: stacked(t, joined=False),
    "three stacks, as modules": lambda t: stacked(t, joined=False, last=".weight"),
    "three stacks, as MLX calls them": lambda t: of_mlx(stacked(t, joined=False, last=".weight")),
    "three stacks, transposed": lambda t: stacked(t, joined=False, turned=True),
}


@pytest.mark.parametrize("how", STORED)
@pytest.mark.parametrize("swapped", [False, True])
def test_stacks_against_experts(how: str, swapped: bool, tmp_path: Path) -> None:
    parts = experts()
    stacks = STORED[how](parts)
    c = compared(tmp_path, *((stacks, parts) if swapped else (parts, stacks)))
    assert alone(c) == []
    assert {w.status for w in c.weights} <= {Status.IDENTICAL, Status.EQUAL}
    assert sum(bool(w.joined) for w in c.weights) == 3 * E
    assert c.headline.rule == "same-values"
    said = next(r.text for r in c.reasons if r.rule == "joined")
    assert said.startswith(f"9 tensors of {'BA'[not swapped]} are parts of {2 if 'in one' in how else 3} in ")


def test_one_part_that_differs_is_found_by_its_own_name(tmp_path: Path) -> None:
    parts = experts()
    stacks = stacked(parts)
    changed = stacks[f"{LAYER}.mlp.experts.gate_up_proj"].clone()
    changed[1, M + 2, 5] += 1
    c = compared(tmp_path, parts, {**stacks, f"{LAYER}.mlp.experts.gate_up_proj": changed})
    (w,) = [w for w in c.weights if w.status is Status.DIFFERENT]
    assert (w.role, w.n_changed) == ("layers.0.mlp.experts.1.up_proj.weight", 1)
    assert w.deviation is not None
    assert w.deviation.where == (2, 5)
    assert "B: part [1], rows 8 to 16 of model.layers.0.mlp.experts.gate_up_proj" in w.note


def test_a_square_stack_is_told_by_the_one_beside_it(tmp_path: Path) -> None:
    """gate and up together are as high as they are wide; down is not."""
    parts = experts(m=H // 2)
    assert alone(compared(tmp_path / "straight", parts, stacked(parts))) == []
    assert len(alone(compared(tmp_path / "turned", parts, stacked(parts, turned=True)))) == 2 * E + 1


def test_what_is_square_everywhere_stays_alone(tmp_path: Path) -> None:
    parts = experts(m=H)
    c = compared(tmp_path, parts, stacked(parts, joined=False))
    assert len(alone(c)) == 3 * E + 3


def test_another_number_of_experts_is_no_stack_of_these(tmp_path: Path) -> None:
    parts = experts()
    fewer = {k: t for k, t in parts.items() if f".experts.{E - 1}." not in k}
    assert len(alone(compared(tmp_path, fewer, stacked(parts)))) == 3 * (E - 1) + 2


HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 16, "head_dim": 4}


def attention(bias: bool = False) -> tuple[Tensors, Tensors]:
    """q, k and v, and the same as one."""
    at, split = f"{LAYER}.self_attn", {f"{LAYER}.norm.weight": randn(16, seed=5)}
    joined = dict(split)
    for last, shape in (("weight", (16,)), *((("bias", ()),) if bias else ())):
        qkv = [randn(n, *shape, seed=i) for i, n in enumerate((16, 8, 8))]
        split |= {f"{at}.{n}_proj.{last}": t for n, t in zip("qkv", qkv, strict=True)}
        joined[f"{at}.qkv_proj.{last}"] = torch.cat(qkv)
    return split, joined


@pytest.mark.parametrize("bias", [False, True])
def test_qkv_in_one_pairs_where_the_heads_are_known(bias: bool, tmp_path: Path) -> None:
    split, joined = attention(bias)
    c = compared(tmp_path, joined, split, HEADS)
    assert alone(c) == []
    assert c.headline.rule == "same-values"
    assert {w.role for w in c.weights if w.joined == "A"} == {strip_root(k) for k in split if "self_attn" in k}


@pytest.mark.parametrize("config", [{}, {**HEADS, "num_key_value_heads": 4}, {**HEADS, "num_key_value_heads": "two"}])
def test_qkv_in_one_stays_alone_where_heads_do_not_say_so(config: dict[str, object], tmp_path: Path) -> None:
    assert len(alone(compared(tmp_path, *attention(), config))) == 4


def test_gate_and_up_in_one(tmp_path: Path) -> None:
    at = f"{LAYER}.mlp"
    split = {f"{at}.gate_proj.weight": randn(8, 16), f"{at}.up_proj.weight": randn(8, 16, seed=1)}
    joined = {f"{at}.gate_up_proj.weight": torch.cat(list(split.values()))}
    assert compared(tmp_path / "1", split, joined).headline.rule == "same-values"
    uneven = {**split, f"{at}.up_proj.weight": randn(7, 16)}
    assert len(alone(compared(tmp_path / "2", uneven, joined))) == 3


def test_codes_in_one_against_plain_parts(tmp_path: Path) -> None:
    """A weight of 16 rows in NVFP4 against gate and up of 8 each."""
    at = f"{LAYER}.mlp"
    codes = {f"{at}.gate_up_proj.{k}": t for k, t in nvfp4(16, 32)[0].items()}
    codes |= {f"{LAYER}.norm.weight": randn(32)}
    original = {
        f"{at}.gate_proj.weight": randn(8, 32),
        f"{at}.up_proj.weight": randn(8, 32),
        f"{LAYER}.norm.weight": randn(32),
    }
    c = compared(tmp_path, original, codes)
    assert [w.status for w in c.weights if w.joined == "B"] == [Status.SCHEME, Status.SCHEME]
    assert c.headline.rule == "one-quantized"
    assert "3 tensors" in c.headline.text


@pytest.mark.parametrize(
    "prefix", ["model.language_model.", "language_model.model.", "module.model.", "_orig_mod.model."]
)
def test_prefixes_and_mixtrals_words(prefix: str, tmp_path: Path) -> None:
    first = experts("block_sparse_moe", ("w1", "w3", "w2"))
    first |= {k.replace("layers.0", "layers.1"): t for k, t in first.items()}
    other = experts()
    other |= {k.replace("layers.0", "layers.1"): t for k, t in other.items()}
    c = compared(tmp_path, first, {k.replace("model.", prefix, 1): t for k, t in other.items()})
    assert alone(c) == []
    assert c.headline.rule == "same-under-other-names"
    assert "block_sparse_moe" in c.headline.text
    assert {w.role for w in c.weights} >= {"layers.1.block_sparse_moe.experts.2.up_proj.weight"}


def test_two_modules_of_one_spelling_are_not_guessed(tmp_path: Path) -> None:
    both = {"a.mlp.w.weight": randn(4, 4), "a.block_sparse_moe.w.weight": randn(4, 4, seed=1)}
    c = compared(tmp_path, both, {"a.mlp.w.weight": both["a.mlp.w.weight"]})
    assert alone(c) == ["a.block_sparse_moe.w.weight"]


PAIRS = {  # A, B, tensors of B alone
    "base_llama ct_nvfp4": 0, "base_llama ct_awq_w4a16_asym": 0, "base_llama gptq_v1_sym_g32": 0,
    "base_llama autoawq_gemm_g32": 0, "base_llama modelopt_nvfp4": 0, "base_llama1 gguf_q4_0": 0,
    "base_llama gguf_split_q8_0": 0, "base_qwen3moe ct_qwen3moe_nvfp4": 0, "base_qwen3moe gguf_qwen3moe_nvfp4": 0,
    "base_qwen3moe tf_fp8_fused3d": 0, "base_gptoss modelopt_gptoss_nvfp4": 0, "base_deepseek deepseek_fp8_ragged": 0,
    "base_nemotronh modelopt_nemotronh_mixed": 0, "base_qwen3next tf_fp8_qwen3next": 0, "base_mamba2 ct_mamba2_fp8": 0,
    "base_llama1 mlx_affine_4bit_g64": 0, "base_llama1 mlx_mxfp4": 0, "base_llama1 mlx_nvfp4_global": 0,
    "base_mamba2 gguf_mamba2_q8_0": 0, "base_nemotronh gguf_nemotronh_mixed": 0, "base_llama1 modelopt_nvfp4_svd": 14,
}  # fmt: skip


@pytest.mark.parametrize("moe", ["mlp", "block_sparse_moe"])
@pytest.mark.parametrize("names", [("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2")])
@pytest.mark.parametrize("how", ["one by one", "gate and up in one"])
def test_stacks_of_codes_against_experts(moe: str, names: tuple[str, str, str], how: str, tmp_path: Path) -> None:
    """Experts of MLX in `switch_mlp`, in groups of 32, against the original as it may be stored."""
    original = experts(moe, names, 32) if how == "one by one" else stacked(experts(m=32))
    original = {k: t.repeat(1, 2) if t.shape[-1] == H and t.ndim == 2 else t for k, t in original.items()}
    original = {k: t.repeat(1, 1, 2) if t.ndim == 3 and t.shape[-1] == H else t for k, t in original.items()}
    moe = moe if how == "one by one" else "mlp"
    made: dict[str, Any] = {k: t.float().numpy() for k, t in original.items() if ".experts." not in k}
    for name, shape in {"gate_proj": (E, 32, 32), "up_proj": (E, 32, 32), "down_proj": (E, H, 32)}.items():
        made |= of_module(affine(4, shape, 32), f"{LAYER}.{moe}.switch_mlp.{name}")
    b = mlx_opened(tmp_path / "b", made, {"bits": 4, "group_size": 32})
    for c in (compare(saved(original, tmp_path / "a"), b), compare(b, saved(original, tmp_path / "c"))):
        assert [w.role for w in c.weights if w.status in (Status.ONLY_A, Status.ONLY_B)] == []
        assert [w.status for w in c.weights].count(Status.SCHEME) == 3 * E


@needs_fixtures
@pytest.mark.parametrize("pair", PAIRS)
def test_every_tensor_of_the_original_has_a_partner(pair: str) -> None:
    a, b = map(of_fixture, pair.split())
    c = compare(a, b)
    assert [w.role for w in c.weights if w.status is Status.ONLY_A] == []
    assert sum(w.status is Status.ONLY_B for w in c.weights) == PAIRS[pair]
    assert c.headline.rule == "one-quantized"
    back = compare(b, a)
    assert back.headline.rule == "one-quantized"
    assert [w.status for w in back.weights].count(Status.SCHEME) == len(b.weights())


def mamba2(tmp: Path, a_log: torch.Tensor, ssm_a: torch.Tensor) -> Comparison:
    """A layer of four heads as it is saved, and in GGUF."""
    at = "backbone.layers.0"
    original = {f"{at}.mixer.A_log": a_log, f"{at}.norm.weight": randn(8).float()}
    tensors = [plain("blk.0.ssm_a", ssm_a.tolist(), (4, 1)), plain("blk.0.attn_norm.weight", randn(8).tolist())]
    (tmp / "b.gguf").write_bytes(bytes(GgufFile(tensors, {"general.architecture": (TEXT, "mamba2")})))
    return compare(saved(original, tmp / "a"), open_model(str(tmp / "b.gguf")))


@pytest.mark.parametrize("wrong", [False, True])
def test_minus_exp_of_a_log_is_held_against_a_log(wrong: bool, tmp_path: Path) -> None:
    a_log = randn(4, seed=3)
    ssm_a = -torch.exp(a_log.float())
    ssm_a[2] *= 1.5 if wrong else 1
    c = mamba2(tmp_path, a_log, ssm_a)
    assert alone(c) == []
    (w,) = [w for w in c.weights if w.role == "layers.0.mixer.A_log"]
    assert w.note.startswith("B stores -exp(A_log)")
    assert w.status is (Status.DIFFERENT if wrong else Status.EQUAL)
    assert w.n_changed == (1 if wrong else 0) or not wrong
    if wrong:
        assert w.deviation is not None
        assert w.deviation.where == (2,)


def test_unquantized_experts_of_gguf_pair_with_experts_one_by_one(tmp_path: Path) -> None:
    parts = experts()
    stacks = stacked(parts, joined=False)
    names = {"gate_proj": "gate", "up_proj": "up", "down_proj": "down"}
    tensors = [
        Stored(f"blk.0.ffn_{short}_exps.weight", ID["bfloat16"], t.shape, t.view(torch.int16).numpy().tobytes())
        for name, short in names.items()
        for t in (stacks[f"{LAYER}.mlp.experts.{name}"],)
    ]
    (tmp_path / "b.gguf").write_bytes(bytes(GgufFile(tensors, {"general.architecture": (TEXT, "qwen3moe")})))
    only_experts = {k: t for k, t in parts.items() if ".experts." in k}
    c = compare(saved(only_experts, tmp_path / "a"), open_model(str(tmp_path / "b.gguf")))
    assert alone(c) == []
    assert {w.status for w in c.weights} == {Status.EQUAL}


def of_gpt_oss(h: int = 32, m: int = 64) -> tuple[Tensors, list[Stored]]:
    """A layer as transformers has it, gate and up in turns and stacks [E, in, out]; and as llama.cpp's converter
    writes it."""
    at = f"{LAYER}.mlp.experts"
    original = {
        f"{at}.gate_up_proj": randn(E, h, 2 * m), f"{at}.gate_up_proj_bias": randn(E, 2 * m, seed=1),
        f"{at}.down_proj": randn(E, m, h, seed=2), f"{at}.down_proj_bias": randn(E, h, seed=3),
        f"{LAYER}.mlp.router.weight": randn(E, h, seed=4), f"{LAYER}.self_attn.sinks": randn(4, seed=5),
        f"{LAYER}.post_attention_layernorm.weight": randn(h, seed=6),
    }  # fmt: skip
    out = original[f"{at}.gate_up_proj"].transpose(1, 2)
    made = {
        "ffn_gate_exps.bias": original[f"{at}.gate_up_proj_bias"][:, ::2],
        "ffn_up_exps.bias": original[f"{at}.gate_up_proj_bias"][:, 1::2],
        "ffn_down_exps.bias": original[f"{at}.down_proj_bias"],
        "ffn_gate_inp.weight": original[f"{LAYER}.mlp.router.weight"],
        "attn_sinks.weight": original[f"{LAYER}.self_attn.sinks"],
        "post_attention_norm.weight": original[f"{LAYER}.post_attention_layernorm.weight"],
    }
    stored = [plain(f"blk.0.{k}", t.float().reshape(-1).tolist(), t.shape) for k, t in made.items()]
    stacks = {"gate": out[:, ::2], "up": out[:, 1::2], "down": original[f"{at}.down_proj"].transpose(1, 2)}
    return original, stored + [
        Stored(f"blk.0.ffn_{n}_exps.weight", ID["q8_0"], tuple(t.shape), q8_0(t)) for n, t in stacks.items()
    ]


def q8_0(values: torch.Tensor) -> bytes:
    """Blocks of 32 whose largest magnitude is 127 steps."""
    rows = values.float().reshape(-1, 32)
    steps = (rows.abs().amax(1, keepdim=True) / 127).half()
    codes = (rows / steps.float()).round().clamp(-127, 127).to(torch.int8)
    return torch.cat([steps.view(torch.uint8), codes.view(torch.uint8)], 1).numpy().tobytes()


def test_gpt_oss_in_gguf_pairs_with_gate_and_up_in_turns(tmp_path: Path) -> None:
    original, stored = of_gpt_oss()
    (tmp_path / "b.gguf").write_bytes(bytes(GgufFile(stored, {"general.architecture": (TEXT, "gpt-oss")})))
    c = compare(saved(original, tmp_path / "a", {"model_type": "gpt_oss"}), open_model(str(tmp_path / "b.gguf")))
    assert [w.role for w in c.weights if w.status in (Status.ONLY_A, Status.ONLY_B)] == []
    of_codes = [w for w in c.weights if w.quantized]
    assert {w.status for w in of_codes} == {Status.SCHEME}
    assert len(of_codes) == 3 * E
    assert {w.status for w in c.weights if not w.quantized} == {Status.EQUAL}
    up = next(w for w in c.weights if w.role.endswith("experts.1.up_proj.weight"))
    assert "A: part [1], one of every 2 rows, from 1 on of model.layers.0.mlp.experts.gate_up_proj, trans" in up.note


@pytest.mark.parametrize("parts", [False, True])
def test_phi3_in_gguf_pairs_with_projections_in_one_and_apart(parts: bool, tmp_path: Path) -> None:
    at, mlp = f"{LAYER}.self_attn", f"{LAYER}.mlp"
    qkv, gate_up = randn(32, 32), randn(64, 32, seed=1)
    stored = [
        Stored("blk.0.attn_qkv.weight", ID["q8_0"], (32, 32), q8_0(qkv)),
        Stored("blk.0.ffn_up.weight", ID["q8_0"], (64, 32), q8_0(gate_up)),
        plain("blk.0.ffn_norm.weight", [1.0] * 32),
    ]
    original = {f"{at}.qkv_proj.weight": qkv, f"{mlp}.gate_up_proj.weight": gate_up}
    if parts:
        rows = {f"{at}.q_proj": (0, 16), f"{at}.k_proj": (16, 24), f"{at}.v_proj": (24, 32)}
        original = {f"{n}.weight": qkv[a:b] for n, (a, b) in rows.items()}
        original |= {f"{mlp}.gate_proj.weight": gate_up[:32], f"{mlp}.up_proj.weight": gate_up[32:]}
    original[f"{LAYER}.post_attention_layernorm.weight"] = torch.ones(32)
    (tmp_path / "b.gguf").write_bytes(bytes(GgufFile(stored, {"general.architecture": (TEXT, "phi3")})))
    c = compare(saved(original, tmp_path / "a", HEADS), open_model(str(tmp_path / "b.gguf")))
    assert [w.role for w in c.weights if w.status in (Status.ONLY_A, Status.ONLY_B)] == []
    assert [w.status for w in c.weights].count(Status.SCHEME) == (5 if parts else 2)
    assert {w.joined for w in c.weights if w.quantized} == ({"B"} if parts else {""})


def test_rows_in_turns_hold_the_numbers_of_each(tmp_path: Path) -> None:
    """Against experts one by one, where bytes are compared."""
    original, _ = of_gpt_oss()
    at = f"{LAYER}.mlp.experts"
    out = original[f"{at}.gate_up_proj"].transpose(1, 2)
    alone_ones = {f"{at}.{e}.gate_proj.weight": out[e, ::2].contiguous() for e in range(E)}
    alone_ones |= {f"{at}.{e}.up_proj.weight": out[e, 1::2].contiguous() for e in range(E)}
    alone_ones |= {f"{at}.{e}.down_proj.weight": original[f"{at}.down_proj"][e].T.contiguous() for e in range(E)}
    wholes = {k: t for k, t in original.items() if k.endswith("_proj")}
    c = compared(tmp_path / "1", wholes, alone_ones, {"model_type": "gpt_oss"})
    assert {w.status for w in c.weights} == {Status.EQUAL}
    assert len(alone(compared(tmp_path / "2", wholes, alone_ones))) == 2 * E + 1  # nothing says that they take turns


def test_codes_of_gate_and_up_in_turns_are_not_cut_in_halves(tmp_path: Path) -> None:
    at = f"{LAYER}.mlp"
    codes = {f"{at}.gate_up_proj.{k}": t for k, t in nvfp4(16, 32)[0].items()}
    parts = {f"{at}.{n}_proj.weight": randn(8, 32) for n in ("gate", "up")}
    c = compared(tmp_path, codes, parts, {"model_type": "gpt_oss"})
    assert [w.role for w in c.weights if w.status is not Status.SCHEME] == []
    assert all("one of every 2 rows" in w.note for w in c.weights)


@needs_fixtures
@pytest.mark.parametrize(
    "pair", ["ct_nvfp4 modelopt_nvfp4", "gptq_v1_sym_g32 autoawq_gemm_g32", "tf_fp8_fused3d ct_qwen3moe_fp8_block",
             "ct_qwen3moe_nvfp4 gguf_qwen3moe_nvfp4", "gptq_v1_sym_g32 gguf_split_q8_0",
             "awq_gemm_g128_bias mlx_affine_4bit_g64", "gptq_v2_asym_g128 mlx_affine_8bit_g32",
             "gguf_q4_0 mlx_affine_4bit_g64", "modelopt_w4a16_nvfp4 mlx_nvfp4_global", "ct_mxfp4 mlx_mxfp4",
             "modelopt_mxfp8 mlx_mxfp4"],
)  # fmt: skip
def test_two_families_of_one_model(pair: str) -> None:
    a, b = map(of_fixture, pair.split())
    c = compare(a, b)
    assert [w.role for w in c.weights if w.status in (Status.ONLY_A, Status.ONLY_B)] == []


def of_fixture(name: str) -> Format:
    inside = folder(name) if name.startswith("base_") else folder(name) / "model"
    parts = sorted(inside.glob("*.gguf"))
    return open_model(str(parts[0] if parts else inside))
