"""Names to a tree."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from quamba_files import folder_of

from qinspect.inspector.checkpoint import Entry, Value, open_checkpoint
from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.contents.tree import MAX_DEPTH, build_tree, repetitions

HERE = File(Path(__file__))


def values(names: list[str]) -> list[Entry]:
    return [Value(name, 1.0, HERE) for name in names]


def test_counts_of_a_real_checkpoint_add_up() -> None:
    checkpoint = open_checkpoint(folder_of("m2_w4a8_gh_pa0.9995"))
    root = build_tree(checkpoint.entries.values())
    assert root.n_entries == len(checkpoint.entries)
    assert root.n_parameters == sum(t.n_elements for t in checkpoint.tensors())
    assert root.nbytes == sum(t.nbytes for t in checkpoint.tensors())
    layers = root.children["backbone"].children["layers"]
    (run,) = repetitions(layers)
    assert run.label == "0-1"
    assert layers.n_entries == 2 * layers.children["0"].n_entries


def test_layers_of_another_structure_break_the_sequence() -> None:
    names = [f"layers.{i}.{leaf}" for i in range(12) for leaf in ("a", "b")]
    names.remove("layers.5.b")
    (layers,) = build_tree(values(names)).children.values()
    assert [r.label for r in repetitions(layers)] == ["0-4", "5", "6-11"]
    assert list(layers.children) == [str(i) for i in range(12)]


@given(st.lists(st.text("ab01.", max_size=12), unique=True, max_size=40))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_every_entry_is_at_exactly_one_node(names: list[str]) -> None:
    root = build_tree(values(names))
    assert sorted(n.entry.name for n in root.walk() if n.entry) == sorted(names)
    assert root.n_entries == len(names)
    for node in root.walk():
        assert sum(len(r.nodes) for r in repetitions(node)) == len(node.children)
        own = node.entry is not None
        assert node.n_entries == own + sum(c.n_entries for c in node.children.values())


def test_a_name_of_ten_thousand_dots_is_no_ten_thousand_levels() -> None:
    root = build_tree(values(["." * 10_000]))
    assert sum(1 for _ in root.walk()) <= MAX_DEPTH + 2


def test_an_entry_may_have_others_below_it() -> None:
    root = build_tree(values(["w", "w.absmax", "w.quant_map"]))
    (node,) = root.children.values()
    assert node.entry is not None
    assert list(node.children) == ["absmax", "quant_map"]
    assert node.n_entries == 3


def test_sixty_thousand_names() -> None:
    names = [f"model.layers.{i}.experts.{j}.{leaf}" for i in range(100) for j in range(200) for leaf in "abc"]
    root = build_tree(values(names))
    assert root.n_entries == 60_000
    (experts,) = repetitions(root.children["model"].children["layers"])
    assert experts.label == "0-99"
