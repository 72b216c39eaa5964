"""The layer tree of two models: every entry once, counts that add up, badges that say what was found below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from quamba_files import folder_of

from qinspect.inspector.checkpoint import Entry, Tensor, Value, open_checkpoint
from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.compare import ScalePair, Status, compare
from qinspect.inspector.compare.paired_tree import (
    MAX_PARTS,
    PairedNode,
    PairedTree,
    build_paired_tree,
    place_scales,
    place_weights,
)
from qinspect.inspector.compare.results import CopyProblem, Difference, WeightPair
from qinspect.inspector.formats import Copy, Kind, ScaleRecord, format_of
from qinspect.inspector.formats.element import integer
from qinspect.inspector.formats.grid import PER_TENSOR
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import natural_key

HERE = File(Path(__file__))
NAMES = st.lists(st.text("ab01.", max_size=12), unique=True, max_size=30)
WRAPPED = st.lists(
    st.builds(lambda root, name: root + name, st.sampled_from(["", "model.", "backbone."]), st.text("ab.", max_size=6)),
    unique=True,
    max_size=20,
)


def values(names: Iterable[str]) -> list[Entry]:
    return [Value(name, 1.0, HERE) for name in names]


def walk(node: PairedNode) -> Iterable[PairedNode]:
    yield node
    for child in node.children():
        yield from walk(child)


def assert_adds_up(tree: PairedTree) -> None:
    """Of every node, the counts are the sums of what is below."""
    for node in walk(tree.root):
        children = node.children()
        assert node.is_leaf == (not children)
        if children:
            for name in ("n_a", "n_b", "parameters", "nbytes"):
                assert getattr(node, name) == sum(getattr(c, name) for c in children), (node.path, name)
        for child in children:
            assert child.parent is node
        keys = [natural_key(c.name) for c in children]
        assert keys == sorted(keys)


def entries_of(tree: PairedTree) -> tuple[list[str], list[str]]:
    leaves = [n for n in walk(tree.root) if n.a or n.b]
    return sorted(n.a.name for n in leaves if n.a), sorted(n.b.name for n in leaves if n.b)


@given(NAMES, NAMES)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_every_entry_of_both_is_at_exactly_one_leaf(names_a: list[str], names_b: list[str]) -> None:
    tree = build_paired_tree(values(names_a), values(names_b))
    assert entries_of(tree) == (sorted(names_a), sorted(names_b))
    assert (tree.root.n_a, tree.root.n_b) == (len(names_a), len(names_b))
    assert_adds_up(tree)


@given(WRAPPED, WRAPPED)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_names_that_differ_in_their_wrapper_alone_stay_apart(names_a: list[str], names_b: list[str]) -> None:
    tree = build_paired_tree(values(names_a), values(names_b))
    assert entries_of(tree) == (sorted(names_a), sorted(names_b))
    assert_adds_up(tree)


def without_clashes(names: list[str]) -> bool:
    """Whether no two names differ in a wrapper, or in an empty part, alone."""
    places = {tuple(strip_root(n).rpartition(".")[::2]) for n in names}
    return len(places) == len(names)


@given(NAMES.filter(without_clashes))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_same_model_twice_meets_itself(names: list[str]) -> None:
    tree = build_paired_tree(values(names), values(reversed(names)))
    for node in walk(tree.root):
        assert node.n_a == node.n_b
        if node.a or node.b:
            assert node.a is not None
            assert node.b is not None
            assert strip_root(node.a.name) == strip_root(node.b.name)


def test_a_name_with_and_without_its_wrapper_in_one_model() -> None:
    for names_a, names_b in ((["a", "model.a"], ["model.a", "a"]), (["model.a", "a"], ["a", "model.a"])):
        tree = build_paired_tree(values(names_a), values(names_b))
        assert [(n.a.name, n.b.name) for n in walk(tree.root) if n.a and n.b] in (
            [("a", "a"), ("model.a", "model.a")],
            [("model.a", "model.a"), ("a", "a")],
        )


def test_entries_with_other_wrappers_meet() -> None:
    tree = build_paired_tree(values(["model.backbone.layers.0.w"]), values(["layers.0.w"]))
    assert [n.path for n in walk(tree.root)] == ["", "layers", "layers.0", "layers.0.w"]
    assert tree.root.n_a == tree.root.n_b == 1


def test_a_real_pair() -> None:
    a, b = (open_checkpoint(folder_of(name)) for name in ("m1_w8a8_pa0.9995", "m1_w4a8"))
    tree = build_paired_tree(a.entries.values(), b.entries.values())
    assert_adds_up(tree)
    assert (tree.root.n_a, tree.root.n_b) == (len(a.entries), len(b.entries))
    one = build_paired_tree(a.entries.values())
    assert one.root.parameters == sum(e.n_elements for e in a.entries.values() if isinstance(e, Tensor))
    assert one.root.nbytes == sum(e.nbytes for e in a.entries.values() if isinstance(e, Tensor))
    assert one.root.n_b == 0
    assert [c.name for c in one.modules["layers"].children()] == ["0", "1"]


def test_a_name_of_ten_thousand_dots_is_no_ten_thousand_levels() -> None:
    names = ["a." * 10_000 + "w", "a." * 10_000 + "v", "a." * (MAX_PARTS - 1) + "w"]
    tree = build_paired_tree(values(names), values(names[:1]))
    assert max(len(list(n.chain())) for n in tree.modules.values()) <= MAX_PARTS + 2
    assert entries_of(tree) == (sorted(names), names[:1])
    assert_adds_up(tree)
    assert tree.module_of("a." * 10_000 + "elsewhere.w").path.startswith("a.a")


def test_ten_layers_are_in_the_order_of_their_numbers() -> None:
    tree = build_paired_tree(values(f"layers.{i}.w" for i in (10, 9, 2, 1)))
    assert [c.name for c in tree.modules["layers"].children()] == ["1", "2", "9", "10"]


# --- badges ---

STATUSES = list(Status)


def pair(order: int, key: str, status: Status, largest: float) -> ScalePair:
    record = ScaleRecord(f"role {order}", key, Kind.WEIGHT, "a weight", integer(8), PER_TENSOR, "float32", ())
    difference = None
    if status is Status.DIFFERENT:
        up = int(largest > 0)
        difference = Difference(1, 1, up, 1 - up, largest, (), 1.0, 2.0, 1.0, 1.0, 1.0)
    a = None if status is Status.ONLY_B else record
    b = None if status is Status.ONLY_A else record
    return ScalePair(record.role, order, a, b, status, difference)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["m.x.s", "m.y.s", "n.s", "s", "model.m.x.t", "elsewhere.deep.s"]),
            st.sampled_from(STATUSES),
            st.floats(-1e6, 1e6).filter(lambda x: x != 0),
        ),
        max_size=20,
    )
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_badge_counts_what_is_at_and_below_its_node(drawn: list[tuple[str, Status, float]]) -> None:
    tree = build_paired_tree(values(["m.x.s", "m.y.s", "n.s", "s", "model.m.x.t"]))
    pairs = [pair(i, *one) for i, one in enumerate(drawn)]
    place_scales(tree, pairs)
    of_one_model = len({p.status for p in pairs}) == 1 and pairs[0].status in (Status.ONLY_A, Status.ONLY_B)
    for node in tree.modules.values():
        below = [
            p
            for p in pairs
            if not node.path or strip_root(p.record.key).rpartition(".")[0] + "." == node.path + "."
            or strip_root(p.record.key).startswith(node.path + ".")
        ]  # fmt: skip
        if not below:
            assert node.badge is None
            continue
        assert node.badge is not None
        if of_one_model:  # the other has no scale at all: it cannot have these
            assert (node.badge.n_own, node.badge.n_scales, node.badge.n_findings) == (len(below), 0, 0)
            continue
        counts = Counter(p.status for p in below)
        assert node.badge.n_scales == len(below)
        assert node.badge.n_different == counts[Status.DIFFERENT]
        assert node.badge.n_only_a == counts[Status.ONLY_A]
        assert node.badge.n_only_b == counts[Status.ONLY_B]
        assert node.badge.n_broken == counts[Status.BROKEN]
        same = sum(n for status, n in counts.items() if status.counts_as_same)
        assert node.badge.n_findings == len(below) - same
        sizes = [abs(p.difference.largest) for p in below if p.difference]
        assert abs(node.badge.largest) == max(sizes, default=0.0)


def test_weights_that_differ_are_counted_beside_scales() -> None:
    tree = build_paired_tree(values(["m.x.w", "m.y.w", "n.w"]))
    place_weights(
        tree,
        [
            WeightPair("r", "model.m.x.w", "m.x.w", Status.DIFFERENT),
            WeightPair("r", None, "m.y.w", Status.DIFFERENT),
            WeightPair("r", "n.w", "n.w", Status.IDENTICAL),
            WeightPair("r", "n.w", "n.w", Status.BROKEN),
        ],
    )
    badges = {path: node.badge.n_tensors_different if node.badge else 0 for path, node in tree.modules.items()}
    assert badges == {"": 2, "m": 2, "m.x": 1, "m.y": 1, "n": 0}
    assert tree.root.badge is not None
    assert (tree.root.badge.n_broken, tree.root.badge.n_findings) == (1, 3)


def test_weights_of_one_model_alone_or_of_another_shape_count_all_the_way_up() -> None:
    odd = [
        s for s in STATUSES if s in (Status.SHAPE, Status.DTYPE, Status.SCHEME, Status.PERMUTED, Status.INCOMPARABLE)
    ]
    for status in STATUSES:
        tree = build_paired_tree(values(["m.x.w", "n.w"]), values(["m.x.w", "n.w"]))
        a = None if status is Status.ONLY_B else "m.x.w"
        b = None if status is Status.ONLY_A else "m.x.w"
        assert not tree.compared
        place_weights(tree, [WeightPair("r", a, b, status, 4), WeightPair("r2", "n.w", "n.w", Status.IDENTICAL)])
        assert tree.compared
        assert tree.modules["n"].badge is None
        for path in ("", "m", "m.x"):
            badge = tree.modules[path].badge
            if status.counts_as_same:
                assert badge is None
                continue
            assert badge is not None
            assert badge.n_findings == 1
            assert (badge.n_only_a, badge.n_only_b) == (status is Status.ONLY_A, status is Status.ONLY_B)
            assert (badge.n_odd, badge.n_broken) == (status in odd, status is Status.BROKEN)
        leaf = next(n for n in tree.modules["m.x"].children())
        found = tree.finding(leaf)
        assert (found is None) == (status in (Status.IDENTICAL, Status.EQUAL))


def test_an_entry_is_found_by_its_name_in_either_model_and_so_is_a_copy() -> None:
    tree = build_paired_tree(values(["m.s", "m.copy", "n.copy"]), values(["model.m.s", "m.t"]))
    record = ScaleRecord(
        "s", "m.s", Kind.WEIGHT, "a weight", integer(8), PER_TENSOR, "float32", (),
        copies=(Copy("m.copy", "the same"), Copy("n.copy", "the same")),
    )  # fmt: skip
    other = replace(record, key="m.t", copies=())
    found = ScalePair("s", 0, record, other, Status.SCHEME)
    problem = CopyProblem("A", "s", "m.s", "n.copy", "the same", 1.0, 2.0)
    place_scales(tree, [found])
    place_weights(tree, [], [problem])
    by_name = {n.path: tree.finding(n) for n in walk(tree.root) if n.is_leaf}
    assert by_name == {"m.s": found, "m.copy": found, "n.copy": problem, "m.t": found}
    assert tree.modules["m"].badge is not None
    assert (tree.modules["m"].badge.n_findings, tree.modules["m"].badge.n_copies) == (1, 1)
    assert tree.modules["n"].badge is not None
    assert tree.modules["n"].badge.n_findings == 0


def test_badges_of_a_real_pair_are_those_of_the_comparison() -> None:
    a, b = (format_of(open_checkpoint(folder_of(name))) for name in ("m1_w8a8_pa0.9995", "m1_w8a8_pa0.99999"))
    found = compare(a, b)
    tree = build_paired_tree(a.checkpoint.entries.values(), b.checkpoint.entries.values())
    place_scales(tree, found.scales)
    place_weights(tree, found.weights)
    root = tree.root.badge
    assert root is not None
    assert (root.n_scales, root.n_different, root.n_tensors_different) == (32, 4, 0)
    assert root.largest == found.summary.largest
    layers = [tree.modules[f"layers.{i}"].badge for i in (0, 1)]
    assert [x.n_different for x in layers if x] == [2, 2]
    assert tree.modules["embedding"].badge is None
    assert np.isclose(max(abs(x.largest) for x in layers if x), root.largest)
