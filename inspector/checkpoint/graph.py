"""What a file says is done with its tensors: the operations of its graph, and which tensor goes into which.

Of formats that store a model as a program (ONNX) this is where it stands which number is the scale of what. Names of
entries and of what is calculated are one space: each stands for one thing in the whole checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from qinspect.inspector.checkpoint.columns import Entries
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.tensor import Entry

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. op, domain: what it is, and whose (without a domain, the format's own). name: as its writer called
    it. inputs, outputs: names, "" where an optional one is not there. attributes: its constants, without tensors and
    long ones. properties: what its writer noted beside it, short ones."""

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def output(self) -> str:
        """The name of the first output; "" where there is none."""
        return self.outputs[0] if self.outputs else ""

    def input(self, at: int) -> str:
        """The name of an input; "" where there is none."""
        return self.inputs[at] if at < len(self.inputs) else ""

    def integer(self, name: str, default: int = 0) -> int:
        """An attribute that is an integer; `default` where there is none."""
        found = self.attributes.get(name, default)
        return found if isinstance(found, int) else default


@dataclass(frozen=True)
class Graph:
    """nodes: in the order of the file, those of subgraphs behind the node that has them. annotations: of tensors, what
    the file notes of their quantization, by the name that it gives the note. opsets: by domain, the version of its
    operations."""

    nodes: tuple[Node, ...]
    annotations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    opsets: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def users(self) -> Mapping[str, tuple[tuple[Node, int], ...]]:
        """Of each name, the nodes that it goes into, and as which input."""
        found: dict[str, list[tuple[Node, int]]] = {}
        for node in self.nodes:
            for at, name in enumerate(node.inputs):
                if name:
                    found.setdefault(name, []).append((node, at))
        return {name: tuple(users) for name, users in found.items()}

    @cached_property
    def makers(self) -> Mapping[str, Node]:
        """Of each name, the node that it comes out of."""
        return {name: node for node in reversed(self.nodes) for name in node.outputs if name}


class GraphEntries(Entries):
    """The entries of one file that holds a graph too. metadata: what else it says. files: those beside it that hold
    some of its tensors. n_lost: tensors that were left out because something is wrong with them."""

    __slots__ = ("files", "graph", "metadata", "n_lost")

    def __init__(
        self,
        entries: Mapping[str, Entry],
        graph: Graph,
        metadata: Mapping[str, str],
        files: tuple[Source, ...],
        n_lost: int = 0,
    ) -> None:
        super().__init__(entries)
        self.graph = graph
        self.metadata = metadata
        self.files = files
        self.n_lost = n_lost
