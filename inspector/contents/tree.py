"""Names to a layer tree: counts, parameters, bytes and dtypes per node, repeated layers told as a sequence."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from qinspect.inspector.checkpoint import Entry, Tensor
from qinspect.inspector.formats.bits import bits_per_weight
from qinspect.inspector.text import natural_key


class Node:
    """One node of the tree.

    name: last part of the path. path: full dotted path, "" for the root. children: by name, in natural order.
    entry: what is stored under exactly this path; a node may have both an entry and children.
    n_entries, n_elements, n_parameters, nbytes, dtypes: of everything below and at the node; dtypes counts entries, in
    the order of the file. n_unknown: elements of codes that hold a number of parameters that is not known;
    n_parameters leaves them out. n_weights, weight_bytes: parameters and bytes that bits per weight are of.
    """

    __slots__ = (
        "_first", "_signature", "children", "dtypes", "entry", "n_elements", "n_entries", "n_parameters", "n_unknown",
        "n_weights", "name", "nbytes", "path", "weight_bytes",
    )  # fmt: skip

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self.children: dict[str, Node] = {}
        self.entry: Entry | None = None
        self.n_entries = 0
        self.n_elements = 0
        self.n_parameters = 0
        self.n_unknown = 0
        self.nbytes = 0
        self.n_weights = 0
        self.weight_bytes = 0
        self.dtypes: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self._signature: int | None = None

    @property
    def is_leaf(self) -> bool:
        """Whether nothing is below."""
        return not self.children

    @property
    def signature(self) -> int:
        """Equal for two subtrees of the same names, kinds, shapes and strides below their names. Values may differ."""
        if self._signature is None:
            own = _structure(self.entry), self.n_parameters if self.is_leaf else 0
            self._signature = hash((own, tuple((c.name, c.signature) for c in self.children.values())))
        return self._signature

    @property
    def bits_per_weight(self) -> float | None:
        """Of everything below; None where it is not known, or nothing below is a weight."""
        return bits_per_weight(self.weight_bytes, self.n_weights, self.n_unknown)

    def take(
        self, entry: Entry, place: int, parameters: Mapping[str, int | None] | None, without: Collection[str]
    ) -> None:
        """Hold an entry. place: its number in the order of the file."""
        self.entry = entry
        self.n_entries = 1
        dtype = entry.dtype.name if isinstance(entry, Tensor) else entry.kind
        self.dtypes = {dtype: 1}
        self._first = {dtype: place}
        if isinstance(entry, Tensor):
            n = entry.n_elements
            known = n if parameters is None else parameters.get(entry.name)
            self.n_elements, self.nbytes = n, entry.nbytes
            self.n_parameters, self.n_unknown = (0, n) if known is None else (known, 0)
            if entry.name not in without:
                self.n_weights, self.weight_bytes = self.n_parameters, self.nbytes

    def settle(self) -> None:
        """Sort the children, all of which are settled, and count what is below."""
        if len(self.children) > 1:
            self.children = dict(sorted(self.children.items(), key=lambda item: natural_key(item[0])))
        _ = self.signature
        if not self.children:
            return
        dtypes, first = self.dtypes, self._first
        for child in self.children.values():
            self.n_entries += child.n_entries
            self.n_elements += child.n_elements
            self.n_parameters += child.n_parameters
            self.n_unknown += child.n_unknown
            self.nbytes += child.nbytes
            self.n_weights += child.n_weights
            self.weight_bytes += child.weight_bytes
            firsts = child._first
            for dtype, n in child.dtypes.items():
                if dtype in dtypes:
                    dtypes[dtype] += n
                    first[dtype] = min(first[dtype], firsts[dtype])
                else:
                    dtypes[dtype], first[dtype] = n, firsts[dtype]
        if len(dtypes) > 1:
            self.dtypes = dict(sorted(dtypes.items(), key=lambda item: first[item[0]]))

    def walk(self) -> Iterator[Node]:
        """This node and all below, in order."""
        todo = [self]
        while todo:
            node = todo.pop()
            yield node
            todo.extend(reversed(node.children.values()))

    def __repr__(self) -> str:
        return f"Node({self.path!r}, {self.n_entries} entries)"


def _structure(entry: Entry | None) -> tuple[object, ...]:
    if isinstance(entry, Tensor):
        return entry.dtype.name, entry.shape, entry.strides
    return () if entry is None else (entry.kind,)


@dataclass(frozen=True, slots=True)
class Repetition:
    """Children of one node that stand together: one child, or numbered siblings of the same structure.

    nodes: the children, at least one. label: `3`, or `0-23` for a sequence.
    """

    nodes: tuple[Node, ...]

    @property
    def label(self) -> str:
        """The child's name, or the first and last of the sequence."""
        first = self.nodes[0].name
        return first if len(self.nodes) == 1 else f"{first}-{self.nodes[-1].name}"


MAX_DEPTH = 200
"""Names are cut into at most this many parts: one of 10,000 dots is one node, not 10,000 levels."""


def build_tree(
    entries: Iterable[Entry],
    parameters: Mapping[str, int | None] | None = None,
    without: Collection[str] = (),
    path_of: Callable[[str], str] | None = None,
) -> Node:
    """The tree of all entries. Linear in the number of entries; nothing is read.

    parameters: of each tensor by its name, None where that is not known; without it every element is one. without:
    names of entries whose bytes are no weight's. path_of: where an entry stands, by its name; without it at its name.
    """
    root = Node("", "")
    modules: dict[str, Node] = {}  # whose path is not taken apart for each of their entries
    for place, entry in enumerate(entries):
        path = path_of(entry.name) if path_of else entry.name
        module, dot, last = path.rpartition(".")
        shallow = module.count(".") < MAX_DEPTH - 1
        if dot and shallow:
            node = modules.get(module) or modules.setdefault(module, _node_at(root, module))
            node = _child(node, last, True)
        else:
            node = _node_at(root, path)
        node.take(entry, place, parameters, without)
    nodes = list(root.walk())
    # From the leaves up, without recursion: deep names must not end in a stack overflow.
    for n in reversed(nodes):
        n.settle()
    return root


def _node_at(root: Node, path: str) -> Node:
    node = root
    for i, part in enumerate(path.split(".", MAX_DEPTH)):
        node = _child(node, part, i > 0)
    return node


def _child(node: Node, part: str, dotted: bool) -> Node:
    child = node.children.get(part)
    if child is None:
        child = node.children[part] = Node(part, f"{node.path}.{part}" if dotted else part)
    return child


def repetitions(node: Node) -> list[Repetition]:
    """The children of `node`, consecutive numbered siblings of equal structure grouped."""
    grouped: list[Repetition] = []
    pending: list[Node] = []
    for child in node.children.values():
        if pending and not _continues(pending[-1], child):
            grouped.append(Repetition(tuple(pending)))
            pending = []
        pending.append(child)
    if pending:
        grouped.append(Repetition(tuple(pending)))
    return grouped


def _continues(before: Node, after: Node) -> bool:
    both = before.name.isascii() and after.name.isascii() and before.name.isdigit() and after.name.isdigit()
    return (
        both
        and len(after.name) < 18
        and int(after.name) == int(before.name) + 1
        and before.signature == after.signature
    )
