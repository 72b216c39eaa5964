"""Names to a tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quamba_files import folder_of

from qinspect.inspector.checkpoint import Entry, Value, open_checkpoint
from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.contents.report import tree_lines
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


def lines_of(tmp_path: Path, content: Mapping[str, object]) -> dict[str, str]:
    torch.save(content, tmp_path / "m.pt")
    entries = open_checkpoint(tmp_path / "m.pt").entries.values()
    lines = (line.strip().split("  ", 1) for line in tree_lines(build_tree(entries), None, False))
    return {label: rest.strip() for label, rest in lines}


def test_values_that_differ_are_not_told_as_one(tmp_path: Path) -> None:
    """Of two layers the first one's scale stood for both."""
    layers = {f"layers.{i}.{leaf}": v for i in range(5) for leaf, v in (("s", 0.5 + i), ("bits", 8))}
    lines = lines_of(tmp_path, {**layers, "betas": [0.9, 0.999], "rng": [3, "a", None]})
    assert lines["0-4 (5 alike)"].startswith("2 entries each")
    assert lines["s"] == "python float = 0.5, 1.5, 2.5, ... (5 values)"
    assert lines["bits"] == "python int = 8"
    assert lines["0-1 (2 alike)"] == "python float = 0.9, 0.999"
    assert [lines[i] for i in "012"] == ["python int = 3", "python str = a", "None"]


def test_values_of_layers_in_layers_are_all_looked_at(tmp_path: Path) -> None:
    content = {f"blocks.{i}.heads.{j}.s": 1.0 if (i, j) == (2, 1) else 0.25 for i in range(3) for j in range(2)}
    lines = lines_of(tmp_path, content)
    assert lines["s"] == "python float = 0.25, 1"


def test_layers_of_other_strides_are_not_alike(tmp_path: Path) -> None:
    matrix = torch.zeros(2, 3)
    lines = lines_of(tmp_path, {"layers.0.w": matrix, "layers.1.w": torch.zeros(3, 2).T})
    assert not any("alike" in label for label in lines)


def test_sixty_thousand_names() -> None:
    names = [f"model.layers.{i}.experts.{j}.{leaf}" for i in range(100) for j in range(200) for leaf in "abc"]
    root = build_tree(values(names))
    assert root.n_entries == 60_000
    (experts,) = repetitions(root.children["model"].children["layers"])
    assert experts.label == "0-99"
