"""An ONNX model: its graph with those inside it, and every tensor that is stored in one, as an initializer or as the
value of a constant (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).

A file of any size is gone through field by field; the elements of tensors are passed over.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from qinspect.inspector.checkpoint.graph import Graph, GraphEntries, Node
from qinspect.inspector.checkpoint.onnx.nodes import RawNode, read_node
from qinspect.inspector.checkpoint.onnx.tensors import TensorReader
from qinspect.inspector.checkpoint.onnx.wire import LENGTH, VARINT, Wire
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.tensor import Entry, Value
from qinspect.inspector.errors import BrokenFile, CannotOpen
from qinspect.inspector.text import some

_MAX_DEPTH = 24
"""Graphs inside graphs. A message may nest a hundred deep, and each level takes three (node, attribute, graph)."""
_MAX_NODES = 1 << 21
_IR_VERSION, _GRAPH, _OPSET, _PROPERTIES, _FUNCTION = 1, 7, 8, 14, 25
_FACTS = {2: "producer_name", 3: "producer_version", 4: "domain"}
_NODE, _INITIALIZER, _INPUT, _ANNOTATION, _SPARSE = 1, 5, 11, 14, 15
_FUNCTION_NAME, _FUNCTION_NODE, _FUNCTION_DOMAIN = 1, 7, 10
_CONSTANT = "Constant"
_CONSTANTS = {"value_float": float, "value_int": int}
_AGAIN = "The file is damaged: download or convert it again."

Range = tuple[int, int]


@dataclass(slots=True)
class _RawGraph:
    """A graph as it stands in the file."""

    nodes: list[RawNode] = field(default_factory=list)
    initializers: list[tuple[str, Range]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    sparse: list[tuple[str, Range, Range]] = field(default_factory=list)


def read_onnx(file: Source, sound: bool = False) -> GraphEntries:
    """All tensors of one model and its graph, with its facts in words as metadata. sound: leave tensors out that
    something is wrong with, rather than refuse the model.

    Initializers come first, then the values of constants, then those of graphs inside and of functions. A name that
    another graph has too gets the place of its graph in front. Raises CannotOpen for a model without tensors;
    BrokenFile for what cannot be: lengths and counts beyond the file, shapes that do not fit the data, names that occur
    twice, graphs that nest too deep, data outside the folder.
    """
    return _Reader(file, sound).read()


class _Reader:
    """One file."""

    def __init__(self, file: Source, sound: bool) -> None:
        self.file = file
        self.sound = sound
        self.n_lost = 0
        self.wire = Wire(file)
        self.tensors = TensorReader(self.wire)
        self.entries: dict[str, Entry] = {}
        self.nodes: list[Node] = []
        self.annotations: dict[str, dict[str, str]] = {}
        self.metadata: dict[str, str] = {}
        self.opsets: dict[str, int] = {}
        self.n_nodes = 0
        self._taken: set[str] = set()
        self._numbered: Counter[str] = Counter()

    def read(self) -> GraphEntries:
        graphs: list[Range] = []
        functions: list[Range] = []
        for number, wire, value, start, stop in self.wire.fields(0, self.file.size):
            if (number, wire) == (_IR_VERSION, VARINT):
                self.metadata["ir_version"] = str(value)
            elif wire != LENGTH:
                continue
            elif number == _GRAPH:
                graphs.append((start, stop))
            elif number == _FUNCTION:
                functions.append((start, stop))
            elif number == _OPSET:
                self._opset(start, stop)
            elif number == _PROPERTIES:
                key, text = self.tensors.pair(start, stop)
                self.metadata.setdefault(key, text)
            elif number in _FACTS:
                self.metadata[_FACTS[number]] = self.tensors.text(start, stop)
        if len(graphs) > 1:
            raise BrokenFile("has two graphs", file=self.file.path, offset=graphs[1][0], expected="one", cure=_AGAIN)
        for start, stop in graphs:
            self._add(self._graph(start, stop), ChainMap(), "", 0)
        for start, stop in functions:
            self._function(start, stop)
        return self._made()

    def _made(self) -> GraphEntries:
        if not self.entries:
            raise CannotOpen(
                "is an ONNX model without tensors", file=self.file.path,
                expected="initializers, or constants with a tensor",
                found=f"IR version {self.metadata.get('ir_version', 'not said')}, {some(self.n_nodes, 'node')}",
                cure="Give the file of the model whose weights are meant.",
            )  # fmt: skip
        if self.opsets:
            said = (f"{domain or 'ai.onnx'} {version}" for domain, version in self.opsets.items())
            self.metadata["opset_import"] = ", ".join(said)
        graph = Graph(tuple(self.nodes), self.annotations, self.opsets)
        return GraphEntries(self.entries, graph, self.metadata, self.tensors.external.files, self.n_lost)

    def _opset(self, start: int, stop: int) -> None:
        domain, version = "", 0
        for number, wire, value, begin, end in self.wire.fields(start, stop):
            if (number, wire) == (1, LENGTH):
                domain = self.tensors.text(begin, end)
            elif (number, wire) == (2, VARINT):
                version = value
        self.opsets["" if domain == "ai.onnx" else domain] = version

    def _function(self, start: int, stop: int) -> None:
        """The nodes of a function: what is in it is of it alone."""
        found, name, domain = _RawGraph(), "", ""
        for number, wire, _, begin, end in self.wire.fields(start, stop):
            if wire != LENGTH:
                continue
            if number == _FUNCTION_NODE:
                found.nodes.append(self._node(begin, end))
            elif number == _FUNCTION_NAME:
                name = self.tensors.text(begin, end)
            elif number == _FUNCTION_DOMAIN:
                domain = self.tensors.text(begin, end)
        self._add(found, ChainMap(), f"{domain}::{name}", 0)

    def _graph(self, start: int, stop: int) -> _RawGraph:
        found = _RawGraph()
        for number, wire, _, begin, end in self.wire.fields(start, stop):
            if wire != LENGTH:
                continue
            if number == _NODE:
                found.nodes.append(self._node(begin, end))
            elif number == _INITIALIZER:
                found.initializers.append((self.tensors.name_of(begin, end), (begin, end)))
            elif number == _INPUT:
                found.inputs.append(self._first_text(begin, end))
            elif number == _ANNOTATION:
                self._annotation(begin, end)
            elif number == _SPARSE:
                self._sparse(found, begin, end)
        return found

    def _node(self, start: int, stop: int) -> RawNode:
        self.n_nodes += 1
        if self.n_nodes > _MAX_NODES:
            raise BrokenFile(
                "has more nodes than any model", file=self.file.path, offset=start, expected=f"at most {_MAX_NODES}",
                cure=_AGAIN,
            )  # fmt: skip
        return read_node(self.wire, self.tensors, start, stop)

    def _first_text(self, start: int, stop: int) -> str:
        for number, wire, _, begin, end in self.wire.fields(start, stop):
            if (number, wire) == (1, LENGTH):
                return self.tensors.text(begin, end)
        return ""

    def _annotation(self, start: int, stop: int) -> None:
        name, said = "", {}
        for number, wire, _, begin, end in self.wire.fields(start, stop):
            if (number, wire) == (1, LENGTH):
                name = self.tensors.text(begin, end)
            elif (number, wire) == (2, LENGTH):
                key, text = self.tensors.pair(begin, end)
                said[key] = text
        self.annotations.setdefault(name, {}).update(said)

    def _sparse(self, found: _RawGraph, start: int, stop: int) -> None:
        parts: dict[int, Range] = {}
        for number, wire, _, begin, end in self.wire.fields(start, stop):
            if wire == LENGTH:
                parts.setdefault(number, (begin, end))
        if 1 in parts and 2 in parts:
            found.sparse.append((self.tensors.name_of(*parts[1]), parts[1], parts[2]))

    def _add(self, graph: _RawGraph, outer: ChainMap[str, str], place: str, depth: int) -> None:
        """The tensors and nodes of a graph. outer: names of the graphs around it that are others in the checkpoint.
        place: what stands before a name that is taken; "" of the outermost graph."""
        if depth > _MAX_DEPTH:
            raise BrokenFile(
                "graphs nest too deep in each other", file=self.file.path, expected=f"at most {_MAX_DEPTH}",
                found=f"more, in {place[:80]}", cure=_AGAIN,
            )  # fmt: skip
        twice = [name for name, n in Counter(name for name, _ in graph.initializers).items() if n > 1]
        if twice:
            raise BrokenFile(
                "the name occurs twice among the initializers of a graph", file=self.file.path, key=twice[0],
                expected="each name once", cure="The writer is at fault: convert the model again.",
            )  # fmt: skip
        names = self._names(graph, outer, place)
        for name, where in graph.initializers:
            self._put(names.get(name, name), where)
        for name, values, indices in graph.sparse:
            self._put(f"{names.get(name, name)}.values", values)
            self._put(f"{names.get(name, name)}.indices", indices)
        for node in graph.nodes:
            self._constant(node, names)
        for node in graph.nodes:
            named = node.node
            self.nodes.append(
                Node(
                    named.op, named.domain, named.name, _renamed(named.inputs, names), _renamed(named.outputs, names),
                    named.attributes, named.properties,
                )
            )  # fmt: skip
            for attribute, (start, stop) in node.graphs:
                inside = ".".join(filter(None, (place, named.name or named.op, attribute)))
                if depth >= _MAX_DEPTH:
                    inside = inside[-80:]
                self._add(self._graph(start, stop), names, inside, depth + 1)

    def _names(self, graph: _RawGraph, outer: ChainMap[str, str], place: str) -> ChainMap[str, str]:
        """What names of a graph are in the checkpoint, of those that are not the same."""
        own = [name for name, _ in graph.initializers]
        own += (out for node in graph.nodes for out in node.node.outputs)
        own += graph.inputs if place else ()
        changed = ChainMap[str, str]({}, *outer.maps)
        fresh: set[str] = set()
        for name in own:
            if not name or name in fresh:
                continue
            fresh.add(name)
            own_name = self._free(f"{place}.{name}" if place else name) if name in self._taken else name
            if own_name != changed.get(name, name):
                changed[name] = own_name
            self._taken.add(own_name)
        return changed

    def _free(self, name: str) -> str:
        """A name that nothing has: `name`, or that with a number."""
        found = name
        while found in self._taken:
            self._numbered[name] += 1
            found = f"{name}.{self._numbered[name] + 1}"
        return found

    def _put(self, name: str, where: Range) -> None:
        if name in self.entries:
            name = self._free(name)
            self._taken.add(name)
        try:
            self.entries[name] = self.tensors.entry(name, *where)
        except BrokenFile:
            if not self.sound:
                raise
            self.n_lost += 1

    def _constant(self, node: RawNode, names: Mapping[str, str]) -> None:
        """The tensor, or the number, that is the value of a constant."""
        if node.node.op != _CONSTANT or not node.node.outputs or node.node.domain not in ("", "ai.onnx"):
            return
        name = names.get(node.node.outputs[0], node.node.outputs[0])
        if node.value is not None:
            self._put(name, node.value)
            return
        for attribute, kind in _CONSTANTS.items():
            number = node.node.attributes.get(attribute)
            if isinstance(number, kind) and name not in self.entries:
                self.entries[name] = Value(name, number, self.file)


def _renamed(names: Iterable[str], changed: ChainMap[str, str]) -> tuple[str, ...]:
    return tuple(changed.get(name, name) for name in names) if any(changed.maps) else tuple(names)
