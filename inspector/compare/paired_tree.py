"""One layer tree for two models: every module once, what is below it in A and in B, and what a comparison found there.

Built without numpy, by modules: 60,000 tensors are some 20,000 modules, whose entries stay in plain lists until a node
is opened. Names meet without the wrappers that savers put in front (`strip_root`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from qinspect.inspector.checkpoint import Entry, Tensor
from qinspect.inspector.compare.results import CopyProblem, ScalePair, Status, WeightPair
from qinspect.inspector.roles import strip_root
from qinspect.inspector.several_models import models_in, place_in_file
from qinspect.inspector.text import natural_key

if TYPE_CHECKING:  # formats need numpy, and this is drawn before that is imported
    from qinspect.inspector.formats import Format

Place = Callable[[str], str]
"""Where an entry stands in the tree, by its name."""
BY_NAME: tuple[Place, Place] = (strip_root, strip_root)


def place_in(fmt: Format | None) -> Place | None:
    """What gives the place of an entry of this model, where its name without the words of savers does not: where its
    format has other names than the model, or the file holds several models. None of others."""
    if fmt is None or fmt.own_names:
        return fmt.place_of if fmt else None
    prefixes = frozenset(m.prefix for m in models_in(fmt.checkpoint.entries))
    return partial(place_in_file, prefixes=prefixes) if prefixes else None


class Badge:
    """What a comparison found at and below one node. Scales count once, whatever copies they have.

    n_scales: scales compared so far. n_different: of them. n_tensors_different: codes and other tensors that differ.
    n_only_a, n_only_b, n_odd, n_broken: of all together (odd: not comparable cell by cell, as another shape is).
    n_copies: stored copies of scales that are not the same; the scale itself may stand elsewhere, and counts there.
    n_own: scales of a quantized model that the other, which has none at all, cannot have: no findings.
    largest: signed difference in percent of A that is largest in magnitude, 0 where none differs. n_undefined: scales
    with a difference that has no percentage: NaN, infinity, or a zero in A.
    """

    __slots__ = (
        "largest",
        "n_broken",
        "n_copies",
        "n_different",
        "n_odd",
        "n_only_a",
        "n_only_b",
        "n_own",
        "n_scales",
        "n_tensors_different",
        "n_undefined",
    )

    def __init__(self) -> None:
        self.n_scales = self.n_different = self.n_only_a = self.n_only_b = self.n_odd = self.n_broken = 0
        self.n_tensors_different = self.n_copies = self.n_undefined = self.n_own = 0
        self.largest = 0.0

    @property
    def n_findings(self) -> int:
        """Everything that is not the same."""
        return self.n_different + self.n_only_a + self.n_only_b + self.n_odd + self.n_broken + self.n_tensors_different


class PairedNode:
    """A module, or an entry (a leaf), in A, in B, or in both.

    name, path: without wrappers. parent: None for the root. modules, entries_a, entries_b: what is directly below,
    unsorted. a, b: the entries of a leaf. n_a, n_b: entries below. parameters, nbytes: of A, or of B where A has none.
    badge: None until something was compared below. places: of the root, where entries of A and of B stand.
    """

    __slots__ = (
        "a", "b", "badge", "entries_a", "entries_b", "modules", "n_a", "n_b", "name", "nbytes", "parameters", "parent",
        "path", "places",
    )  # fmt: skip

    def __init__(self, name: str, path: str, parent: PairedNode | None) -> None:
        self.name = name
        self.path = path
        self.parent = parent
        self.modules: dict[str, PairedNode] | None = None  # an empty dict or list in each of 30,000 nodes is 5 MB
        self.entries_a: list[Entry] | None = None
        self.entries_b: list[Entry] | None = None
        self.a: Entry | None = None
        self.b: Entry | None = None
        self.n_a = self.n_b = self.parameters = self.nbytes = 0
        self.badge: Badge | None = None
        self.places: tuple[Place, Place] = parent.places if parent is not None else BY_NAME

    @property
    def is_leaf(self) -> bool:
        """Whether this is an entry."""
        return not (self.modules or self.entries_a or self.entries_b)

    def children(self) -> list[PairedNode]:
        """Modules and entries below, in natural order; nodes of entries are made now."""
        made = list((self.modules or {}).values())
        for name, (a, b) in _paired_entries(self.entries_a or (), self.entries_b or (), self.places).items():
            leaf = PairedNode(name, f"{self.path}.{name}" if self.path else name, self)
            leaf.a, leaf.b = a, b
            leaf.n_a, leaf.n_b = int(a is not None), int(b is not None)
            shown = a or b
            if isinstance(shown, Tensor):
                leaf.parameters, leaf.nbytes = shown.n_elements, shown.nbytes
            made.append(leaf)
        return sorted(made, key=lambda n: (natural_key(n.name), n.is_leaf))

    def make_badge(self) -> Badge:
        """The badge, made if there is none."""
        if self.badge is None:
            self.badge = Badge()
        return self.badge

    def chain(self) -> Iterator[PairedNode]:
        """This node and its ancestors, up to the root."""
        node: PairedNode | None = self
        while node is not None:
            yield node
            node = node.parent


Placed = ScalePair | WeightPair | CopyProblem
"""What a comparison found of one entry."""


@dataclass(slots=True)
class PairedTree:
    """root and all modules by path. findings: what is not the same, or was not compared, by the name of its entry in A
    and in B, a scale's copies too. compared: whether all was placed, so that an entry without a finding is the same.
    elsewhere: name to the other model's name of entries that are paired but do not stand beside each other."""

    root: PairedNode
    modules: dict[str, PairedNode]
    findings: dict[str, Placed] = field(default_factory=dict)
    compared: bool = False
    elsewhere: dict[str, str] = field(default_factory=dict)

    def place(self, of_a: str | None, of_b: str | None) -> str:
        """Where an entry stands: A's, or B's where A has none."""
        place_a, place_b = self.root.places
        return place_a(of_a) if of_a is not None else place_b(of_b or "")

    def apart(self, of_a: str, of_b: str) -> bool:
        """Whether two entries do not stand beside each other."""
        place_a, place_b = self.root.places
        return place_a(of_a) != place_b(of_b)

    def above(self, of_a: str | None, of_b: str | None) -> Iterator[PairedNode]:
        """The module of an entry and all above it."""
        return self.module_of(self.place(of_a, of_b).rpartition(".")[0]).chain()

    def finding(self, leaf: PairedNode) -> Placed | None:
        """What was found of an entry; None where it is the same, or not known yet."""
        names = (e.name for e in (leaf.a, leaf.b) if e is not None)
        return next((self.findings[name] for name in names if name in self.findings), None)

    def module_of(self, path: str) -> PairedNode:
        """The deepest module that holds `path`."""
        while path and path not in self.modules:
            path = path.rpartition(".")[0]
        return self.modules[path]


MAX_PARTS = 200
"""A name of 10,000 dots is cut into this many parts."""


def build_paired_tree(
    entries_a: Iterable[Entry], entries_b: Iterable[Entry] = (), places: tuple[Place, Place] = BY_NAME
) -> PairedTree:
    """The tree of both. Nothing is read. places: where entries of A and of B stand, by their names."""
    root = PairedNode("", "", None)
    root.places = places
    modules = {"": root}
    for node, entry in _with_modules(entries_a, modules, places[0]):
        if node.entries_a is None:
            node.entries_a = []
        node.entries_a.append(entry)
    for node, entry in _with_modules(entries_b, modules, places[1]):
        if node.entries_b is None:
            node.entries_b = []
        node.entries_b.append(entry)
    for path in sorted(modules, key=_depth, reverse=True):
        node = modules[path]
        _count_entries(node)
        if node.parent is not None:
            node.parent.n_a += node.n_a
            node.parent.n_b += node.n_b
            node.parent.parameters += node.parameters
            node.parent.nbytes += node.nbytes
    return PairedTree(root, modules)


def _with_modules(
    entries: Iterable[Entry], modules: dict[str, PairedNode], place: Place
) -> Iterator[tuple[PairedNode, Entry]]:
    """Entries with the nodes of their modules, which are made where they are missing."""
    last_module, node = None, modules[""]
    for entry in entries:
        module = place(entry.name).rpartition(".")[0]
        if module != last_module:
            last_module = module
            found = modules.get(module)
            node = found if found is not None else _make_module(modules, module)
        yield node, entry


def _count_entries(node: PairedNode) -> None:
    """Add the entries directly below."""
    a, b = node.entries_a or [], node.entries_b or []
    node.n_a += len(a)
    node.n_b += len(b)
    counted = a
    if [e.name for e in a] != [e.name for e in b]:
        counted = [shown for pair in _paired_entries(a, b, node.places).values() if (shown := pair[0] or pair[1])]
    for entry in counted:
        if isinstance(entry, Tensor):
            node.parameters += entry.n_elements
            node.nbytes += entry.nbytes


def _paired_entries(
    a: Iterable[Entry], b: Iterable[Entry], places: tuple[Place, Place]
) -> dict[str, tuple[Entry | None, Entry | None]]:
    """The entries directly below one module, by the name that a leaf gets: the last part of its own, or the whole where
    one model has two that end alike. Such entries stand beside the other model's of the same whole name."""
    a, b = list(a), list(b)
    both = zip((a, b), places, strict=True)
    lasts = [[place(e.name).rpartition(".")[2] for e in entries] for entries, place in both]
    shared = {last for found in lasts if len(set(found)) < len(found) for last, n in Counter(found).items() if n > 1}
    leaves: dict[str, tuple[Entry | None, Entry | None]] = {}
    whole = {e.name for entries, found in zip((a, b), lasts, strict=True)
             for e, last in zip(entries, found, strict=True) if last in shared}  # fmt: skip
    for second, (entries, found) in enumerate(zip((a, b), lasts, strict=True)):
        for entry, last in zip(entries, found, strict=True):
            leaf = entry.name if entry.name in whole else last
            while (pair := leaves.get(leaf, (None, None)))[second] is not None:
                leaf += "'"
            leaves[leaf] = (pair[0], entry) if second else (entry, pair[1])
    return leaves


def _depth(path: str) -> int:
    return 1 + path.count(".") if path else 0


def _make_module(modules: dict[str, PairedNode], path: str) -> PairedNode:
    """The node of `path` and those above it that do not exist yet."""
    missing = []
    while path not in modules:
        if path.count(".") >= MAX_PARTS:
            missing.append(path)
            path = ".".join(path.split(".", MAX_PARTS)[:MAX_PARTS])
            continue
        missing.append(path)
        path = path.rpartition(".")[0]
    node = modules[path]
    for child_path in reversed(missing):
        name = child_path[len(node.path) + 1 :] if node.path else child_path
        child = modules[child_path] = PairedNode(name, child_path, node)
        if node.modules is None:
            node.modules = {}
        node.modules[name] = child
        node = child
    return node


_COUNTED_APART = (Status.DIFFERENT, Status.ONLY_A, Status.ONLY_B, Status.BROKEN)


def _count(badge: Badge, status: Status) -> None:
    """What scales, codes and other tensors have in common."""
    badge.n_only_a += status is Status.ONLY_A
    badge.n_only_b += status is Status.ONLY_B
    badge.n_broken += status is Status.BROKEN
    badge.n_odd += not status.counts_as_same and status not in _COUNTED_APART


def _own(of_a: str | None, of_b: str | None, tied: str) -> tuple[str | None, str | None]:
    """The names of a pair's entries, without that of an embedding that stands for a head: it has a pair of its own."""
    return (None if tied == "A" else of_a), (None if tied == "B" else of_b)


def _of_one_model(pairs: Iterable[ScalePair]) -> Status | None:
    """The status of all scales where one model has none: a full-precision original cannot have those of its codes."""
    found = {p.status for p in pairs}
    return found.pop() if found in ({Status.ONLY_A}, {Status.ONLY_B}) else None


def place_scales(tree: PairedTree, pairs: Iterable[ScalePair]) -> None:
    """Count each scale in the badges of its module and all above, and find it and its copies by their names."""
    pairs = list(pairs)
    without_partner = _of_one_model(pairs)
    for p in pairs:
        d = p.difference
        own = _own(p.a.key if p.a else None, p.b.key if p.b else None, p.tied)
        if p.a and p.b and p.a.key != p.b.key and tree.apart(p.a.key, p.b.key):
            both = {p.a.key: p.b.key, p.b.key: p.a.key}
            tree.elsewhere |= {name: other for name, other in both.items() if name in own}
        for node in tree.above(*own):
            badge = node.make_badge()
            if p.status is without_partner:
                badge.n_own += 1
                continue
            badge.n_scales += 1
            badge.n_different += p.status is Status.DIFFERENT
            _count(badge, p.status)
            badge.n_undefined += d is not None and p.status is Status.DIFFERENT and d.n_undefined > 0
            if d and p.status is Status.DIFFERENT and abs(d.largest) > abs(badge.largest):
                badge.largest = d.largest
        if not p.status.counts_as_same:
            for record in (p.a, p.b):
                if record and record.key in own:
                    tree.findings[record.key] = p
                    for copy in record.copies:
                        if tree.findings.setdefault(copy.key, p) is p:
                            of_a, of_b = (copy.key, None) if record is p.a else (None, copy.key)
                            for node in tree.above(of_a, of_b):
                                node.make_badge().n_copies += p.status is not without_partner


def place_weights(tree: PairedTree, weights: Iterable[WeightPair], copies: Iterable[CopyProblem] = ()) -> None:
    """Count codes and tensors that are not the same in the badges of their module and all above, and find them by their
    names; copies that do not agree are found only. After this the tree is complete."""
    for w in weights:
        own = _own(w.a, w.b, w.tied)
        if w.a and w.b and w.a != w.b and tree.apart(w.a, w.b):
            tree.elsewhere |= {name: other for name, other in ((w.a, w.b), (w.b, w.a)) if name in own}
        if w.status in (Status.IDENTICAL, Status.EQUAL):
            continue
        for name in own:
            if name is not None:
                tree.findings[name] = w
        if w.status is not Status.NOT_COMPARED:
            for node in tree.above(*own):
                badge = node.make_badge()
                badge.n_tensors_different += w.status is Status.DIFFERENT
                _count(badge, w.status)
    for copy in copies:
        tree.findings[copy.copy_key] = copy
        of_a, of_b = (copy.copy_key, None) if copy.model == "A" else (None, copy.copy_key)
        for node in tree.above(of_a, of_b):
            node.make_badge().n_copies += 1
    tree.compared = True
