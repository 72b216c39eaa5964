"""One model under several names: wrappers, shared roles, other libraries' names, ties."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import Comparison, ScalePair, Status, WeightPair, compare
from qinspect.inspector.compare.paired_tree import build_paired_tree, place_scales, place_weights
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.roles import Roles, strip_root

Tensors = dict[str, torch.Tensor]
SEED = torch.Generator().manual_seed(5)


def model(n_layers: int = 3, prefix: str = "model.") -> Tensors:
    made = {f"{prefix}embed_tokens.weight": torch.randn(32, 16, generator=SEED), f"{prefix}norm.weight": torch.ones(16)}
    for i in range(n_layers):
        for name in ("self_attn.q_proj", "mlp.up_proj"):
            at = f"{prefix}layers.{i}.{name}"
            made[f"{at}.weight"] = torch.randn(16, 16, generator=SEED)
            made[f"{at}.weight_scale"] = torch.rand(1, generator=SEED) + 0.1
    return made


def opened(path: Path) -> Format:
    return format_of(open_checkpoint(path))


def compared(tmp: Path, a: Tensors, b: Tensors, config: str = "") -> Comparison:
    for name, tensors in (("a", a), ("b", b)):
        (tmp / name).mkdir(exist_ok=True)
        save_file({n: t.clone() for n, t in tensors.items()}, tmp / name / "model.safetensors")
        if config:
            (tmp / name / "config.json").write_text(config)
    return compare(opened(tmp / "a"), opened(tmp / "b"))


def entries(c: Comparison) -> list[ScalePair | WeightPair]:
    return [*c.scales, *c.weights]


def text(c: Comparison) -> str:
    return " ".join((c.headline.text, *(r.text for r in c.reasons), *c.notes))


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("_fsdp_wrapped_module.layers.0._fsdp_wrapped_module.mlp.w", "layers.0.mlp.w"),
        ("module.model.layers.0._orig_mod.w", "layers.0.w"),
        ("layers.0._checkpoint_wrapped_module.mlp.module.w", "layers.0.mlp.w"),
        ("_forward_module.model.w", "w"),
        ("base_model.model.model.q_proj.base_layer.weight", "q_proj.weight"),
        ("model.module", "module"),
        ("layers.0.modules.w", "layers.0.modules.w"),
        ("submodule.w", "submodule.w"),
        ("model", "model"),
        ("model.layers.0.block_sparse_moe.experts.3.w1.weight", "layers.0.block_sparse_moe.experts.3.gate_proj.weight"),
        ("experts.3.w1.weight", "experts.3.gate_proj.weight"),
        ("layers.0.sub_experts.3.w1.weight", "layers.0.sub_experts.3.w1.weight"),
        ("layers.0.experts.3.w3", "layers.0.experts.3.up_proj"),
        ("layers.0.ffn.experts.12.w2:input", "layers.0.ffn.experts.12.down_proj:input"),
        ("layers.0.ffn.w1.weight", "layers.0.ffn.w1.weight"),
        ("layers.0.experts.3.w1x.weight", "layers.0.experts.3.w1x.weight"),
    ],
)
def test_words_of_wrappers_are_taken_off(name: str, role: str) -> None:
    assert strip_root(name) == role


def test_names_that_come_down_to_one_keep_their_whole() -> None:
    roles = Roles(["model.a", "module.a", "model.b"])
    assert [roles.of(n) for n in ("model.a", "module.a", "model.b", "model.c")] == ["model.a", "module.a", "b", "c"]
    assert roles.shared == {"a": ["model.a", "module.a"]}


WRAPPED: dict[str, Callable[[str], str]] = {
    "fsdp": lambda n: f"_fsdp_wrapped_module.{n}".replace(".mlp.", "._fsdp_wrapped_module.mlp."),
    "checkpoint": lambda n: n.replace(".mlp.", "._checkpoint_wrapped_module.mlp."),
    "compile": lambda n: n.replace(".self_attn.", "._orig_mod.self_attn."),
    "ddp in the middle": lambda n: n.replace("layers.", "layers.module."),
    "ddp and compile": lambda n: f"module._orig_mod.{n}",
}


@pytest.mark.parametrize("how", WRAPPED)
def test_a_wrapped_model_is_the_same_under_other_names(how: str, tmp_path: Path) -> None:
    plain = model()
    c = compared(tmp_path, plain, {WRAPPED[how](n): t for n, t in plain.items()})
    assert c.same
    assert c.headline.rule == "same-under-other-names"
    assert all(p.a and p.b for p in entries(c))
    n = sum(WRAPPED[how](n) != n for n in plain)
    assert f"{n} of {len(plain)}" in c.headline.text


def test_a_copy_is_one_only_by_name_too(tmp_path: Path) -> None:
    plain = model()
    assert compared(tmp_path, plain, plain).headline.rule == "bit-identical"


@pytest.mark.parametrize("turned", [False, True])
def test_nothing_is_lost_where_two_entries_share_a_role(turned: bool, tmp_path: Path) -> None:
    whole = model(prefix="model.language_model.")
    stale = {n.replace("language_model.", ""): t + 1 for n, t in whole.items() if "layers" in n}
    a, b = (whole, whole | stale) if not turned else (whole | stale, whole)
    c = compared(tmp_path, a, b)
    assert not c.same
    found = entries(c)
    assert len(found) == len(whole) + len(stale)
    assert len({p.role for p in found}) == len(found)
    alone = Status.ONLY_A if turned else Status.ONLY_B
    assert sum(p.status is alone for p in found) == len(stale)
    assert sum(p.status is Status.IDENTICAL for p in found) == len(whole)
    assert f"{'A' if turned else 'B'}: {len(stale)} names stand for more than one entry" in text(c)


def test_a_shared_role_pairs_with_the_same_name_though_another_comes_first(tmp_path: Path) -> None:
    c = compared(tmp_path, {"model.w": torch.ones(20)}, {"w": torch.zeros(20), "model.w": torch.ones(20)})
    found = {(w.a, w.b): w.status for w in c.weights}
    assert found == {("model.w", "model.w"): Status.IDENTICAL, (None, "w"): Status.ONLY_B}


def gguf_like(name: str) -> str:
    words = {"model.": "", "embed_tokens": "token_embd", "layers.": "blk.", "self_attn.q_proj": "attn_q",
             "mlp.up_proj": "ffn_up", "norm.": "output_norm."}  # fmt: skip
    for old, new in words.items():
        name = name.replace(old, new)
    return name


def test_names_of_another_library_are_found_by_content(tmp_path: Path) -> None:
    plain = model()
    c = compared(tmp_path, plain, {gguf_like(n): t for n, t in reversed(plain.items())})
    assert c.same
    assert c.headline.rule == "same-under-other-names"
    pairs = {(p.a.key, p.b.key) for p in c.scales if p.a and p.b} | {(w.a, w.b) for w in c.weights}
    assert pairs == {(n, gguf_like(n)) for n in plain}
    tree = build_paired_tree(c.a.checkpoint.entries.values(), c.b.checkpoint.entries.values())
    place_scales(tree, c.scales)
    place_weights(tree, c.weights, c.copies)
    assert tree.elsewhere["model.layers.0.mlp.up_proj.weight"] == "blk.0.ffn_up.weight"


def test_a_scale_that_changed_is_compared_under_its_other_name(tmp_path: Path) -> None:
    plain = model()
    other = {gguf_like(n): t * (2 if n.endswith("1.mlp.up_proj.weight_scale") else 1) for n, t in plain.items()}
    c = compared(tmp_path, plain, other)
    (p,) = [p for p in c.scales if p.status is not Status.IDENTICAL]
    assert p.difference is not None
    assert p.difference.largest == 100


def test_equal_scalars_alone_are_no_evidence(tmp_path: Path) -> None:
    a = {"x.input_scale": torch.ones(1), "x.weight": torch.randn(4, 4)}
    b = {"y.output_scale": torch.ones(1), "y.kernel": torch.randn(4, 5)}
    c = compared(tmp_path, a, b)
    assert c.headline.rule == "no-common-roles"
    assert not any(p.a and p.b for p in entries(c))


def test_shapes_that_fit_are_not_two_different_models(tmp_path: Path) -> None:
    plain = model()
    other = {gguf_like(n): torch.randn(t.shape, generator=SEED) for n, t in plain.items() if "scale" not in n}
    c = compared(tmp_path, {n: t for n, t in plain.items() if "scale" not in n}, other)
    assert c.headline.rule == "no-common-names"
    assert "8 of A's 8 tensors" in c.headline.text
    assert not c.same


def test_a_tied_tensor_stored_once_or_twice_is_equal(tmp_path: Path) -> None:
    once = model()
    twice = once | {"lm_head.weight": once["model.embed_tokens.weight"]}
    for a, b in ((once, twice), (twice, once)):
        c = compared(tmp_path, a, b)
        assert c.same, text(c)
        (w,) = [w for w in c.weights if w.role == "lm_head.weight"]
        assert w.status is Status.EQUAL
        assert "tied" in w.note


def test_a_missing_output_is_no_tie(tmp_path: Path) -> None:
    once = model()
    untied = once | {"lm_head.weight": torch.randn(32, 16, generator=SEED)}
    assert not compared(tmp_path, once, untied).same
    twice = once | {"lm_head.weight": once["model.embed_tokens.weight"]}
    assert not compared(tmp_path, once, twice, '{"tie_word_embeddings": false}').same


def test_a_doubled_layer_is_no_tie(tmp_path: Path) -> None:
    short = model(2)
    doubled = short | {n.replace("layers.1.", "layers.2."): t for n, t in short.items()}
    c = compared(tmp_path, short, doubled)
    assert not c.same
    assert sum(p.status is Status.ONLY_B for p in entries(c)) == 4


def test_a_tied_tensor_is_no_other_form_of_a_pair(tmp_path: Path) -> None:
    once = model()
    twice = once | {"lm_head.weight": once["model.embed_tokens.weight"]}
    c = compared(tmp_path, once, twice)
    assert c.headline.rule == "same-values"
    assert "Only B stores lm_head.weight" in c.headline.text
    assert "another form" not in c.headline.text
    cast = {n: t.double() for n, t in twice.items()}
    c = compared(tmp_path, cast, {n: t.double() for n, t in once.items()})
    assert "Only A stores lm_head.weight" in c.headline.text


def test_equal_constants_under_no_common_name_are_not_denied(tmp_path: Path) -> None:
    """Both hold the same ones; the same weights in another dtype are no other numbers either."""
    a = {f"a.{i}.norm.weight": torch.ones(64) for i in range(3)} | {"a.q.weight": torch.rand(8, 8, generator=SEED)}
    for dtype in (torch.float32, torch.bfloat16):
        b = {f"zz.{i}.ln.gain": torch.ones(64, dtype=dtype) for i in range(3)}
        b["zz.r.kernel"] = (a["a.q.weight"] + (dtype is torch.float32)).to(dtype)
        c = compared(tmp_path, a, b)
        assert c.headline.rule == "no-common-names"
        assert "same numbers" not in c.headline.text
        assert "small and constant ones prove nothing" in c.headline.text


def test_a_fused_or_transposed_model_is_not_called_a_different_one(tmp_path: Path) -> None:
    a = {f"l.{i}.{k}.weight": torch.randn(8, 4, generator=SEED) for i in range(2) for k in "qkv"}
    b = {f"h.{i}.qkv.kernel": torch.cat([a[f"l.{i}.{k}.weight"] for k in "qkv"]).T.contiguous() for i in range(2)}
    c = compared(tmp_path, a, b)
    assert c.headline.rule == "no-common-roles"
    assert "fused, split or transposed" in c.headline.text


def test_one_more_change_of_names_is_singular(tmp_path: Path) -> None:
    a = {f"{k}.w{i}": torch.randn(16, generator=SEED) for i, k in enumerate("abcd")}
    c = compared(tmp_path, a, {f"x{n}y": t for n, t in a.items()})
    assert c.headline.rule == "same-under-other-names"
    assert "1 more such change," in c.headline.text
