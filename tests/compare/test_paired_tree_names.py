"""One tree of two models whose files call the same modules by other names."""

from __future__ import annotations

from peer_truth import folder, needs_fixtures, opened

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import compare
from qinspect.inspector.compare.paired_tree import BY_NAME, PairedTree, build_paired_tree, place_scales, place_weights
from qinspect.inspector.formats import Format, format_of


def tree_of(a: Format, b: Format) -> PairedTree:
    both = (a.checkpoint.entries.values(), b.checkpoint.entries.values())
    return build_paired_tree(*both, (a.place_of, b.place_of))


def test_places_decide_which_entries_stand_beside_each_other() -> None:
    from qinspect.inspector.checkpoint.dtypes import DTYPES
    from qinspect.inspector.checkpoint.tensor import Tensor

    a = Tensor("model.layers.0.up.weight", DTYPES["float32"], (2, 2), None, None, 0)  # type: ignore[arg-type]
    b = Tensor("blk.0.ffn_up.weight", DTYPES["float32"], (2, 2), None, None, 0)  # type: ignore[arg-type]
    apart = build_paired_tree([a], [b])
    assert {"layers.0.up", "blk.0.ffn_up"} <= apart.modules.keys()
    together = build_paired_tree([a], [b], (BY_NAME[0], lambda _: "layers.0.up.weight"))
    (leaf,) = together.modules["layers.0.up"].children()
    assert (leaf.a, leaf.b) == (a, b)
    assert together.place(None, b.name) == "layers.0.up.weight"
    assert not together.apart(a.name, b.name)


@needs_fixtures
def test_a_gguf_stands_beside_its_original() -> None:
    a, b = opened("base_llama1", "."), opened("gguf_llamacpp_q4_k_m")
    tree = tree_of(a, b)
    alone = [path for path, node in tree.modules.items() if not (node.n_a and node.n_b)]
    assert alone == []
    found = compare(a, b)
    place_scales(tree, found.scales)
    place_weights(tree, found.weights)
    assert not {k for k in tree.elsewhere if not k.startswith("blk.")} - a.checkpoint.entries.keys()
    assert tree.elsewhere == {}


@needs_fixtures
def test_stacked_experts_and_their_scales_stand_where_experts_do() -> None:
    fmt = opened("gguf_qwen3moe_nvfp4")
    assert fmt.place_of("blk.0.ffn_down_exps.scale") == "layers.0.mlp.experts.down_proj.scale"
    assert fmt.place_of("blk.0.attn_k.input_scale") == "layers.0.self_attn.k_proj.input_scale"
    assert fmt.place_of("something.else") == "something.else"


@needs_fixtures
def test_a_file_of_the_models_own_names_is_where_its_names_say() -> None:
    fmt = format_of(open_checkpoint(folder("gptq_v1_sym_g32") / "model"))
    assert not fmt.own_names
    assert fmt.place_of("model.layers.0.mlp.up_proj.qweight") == "layers.0.mlp.up_proj.qweight"
