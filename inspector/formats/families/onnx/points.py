"""The scales of activations in a graph, and activations that are quantized without a stored one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qinspect.inspector.checkpoint.graph import Node
from qinspect.inspector.formats.element import Element, unsigned
from qinspect.inspector.formats.families.onnx.building import Builder
from qinspect.inspector.formats.families.onnx.operations import (
    DEQUANTIZE,
    DYNAMIC,
    DYNAMIC_INPUTS,
    POINTS,
    QUANTIZE,
)
from qinspect.inspector.formats.grid import PER_TENSOR
from qinspect.inspector.formats.numbers import stored_form
from qinspect.inspector.formats.records import DynamicPoint, ScaleRecord
from qinspect.inspector.text import visible

_DTYPES = {2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 17: "float8_e4m3fn", 18: "float8_e4m3fnuz",
           19: "float8_e5m2", 20: "float8_e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4_e2m1fn"}  # fmt: skip
"""Of the attribute `output_dtype` of a QuantizeLinear."""


class Points:
    """bases: of the nodes that have a weight, by identity, the role of the weight's module."""

    def __init__(self, builder: Builder, bases: Mapping[int, str]) -> None:
        self._builder = builder
        self._graph = builder.graph
        self._bases = bases
        self._seen: dict[str, str] = {}
        self._values: set[tuple[str, str]] = set()
        self.calculated = 0
        """Points whose scale the graph calculates."""

    def records(self) -> Iterator[ScaleRecord]:
        """Of all activations with a stored scale, in forward order. Of one that several nodes take in, once."""
        entries = self._builder.checkpoint.entries
        for node in self._graph.nodes:
            if node.op == QUANTIZE and node.input(0) not in entries:
                for role in self._roles_of_value(node):
                    yield from self._record(node, node.input(0), role, node.input(1), node.input(2))
            for point in POINTS.get(node.op, ()):
                value = node.output if point.value < 0 else node.input(point.value)
                if self._builder.stored(value):
                    continue  # a weight
                base = self._bases.get(id(node), "")
                part = "output" if point.value < 0 else "input"
                value = value.removesuffix("_quantized")
                role = f"{base}:{part}" if base else f"{value}:value"
                if value:
                    yield from self._record(node, value, role, node.input(point.scale), node.input(point.zero))

    def _record(self, node: Node, value: str, role: str, scale: str, zero: str) -> Iterator[ScaleRecord]:
        scale_key, zero_key = self._builder.stored(scale), self._builder.stored(zero)
        if not scale_key or (zero and not zero_key):
            self.calculated += 1
            return
        if role.endswith(":value") and (value, scale_key) in self._values:
            return
        if self._seen.get(role, scale_key) != scale_key:
            role = f"{value}:value"
        if role in self._seen:
            return
        self._seen[role] = scale_key
        self._values.add((value, scale_key))
        element = self._element(node, zero_key)
        if element is None:
            self.calculated += 1
            return
        yield from self._builder.point(
            role, f"the value {visible(value, 120)}", scale_key, zero_key, element, node.integer("axis", 1)
        )

    def _element(self, node: Node, zero: str) -> Element | None:
        dtype = stored_form(self._builder.checkpoint, zero)[0] if zero else ""
        dtype = dtype or _DTYPES.get(node.integer("output_dtype"), "uint8")
        return self._builder.element(dtype, bool(zero))

    def _roles_of_value(self, node: Node) -> list[str]:
        """Of what a QuantizeLinear takes in: the input of each module that it goes into, else the output of the one
        that it comes out of, else the value itself."""
        users: list[tuple[Node, int]] = []
        for user, at in self._graph.users.get(node.output, ()):
            back = user.op == DEQUANTIZE and at == 0
            users += self._graph.users.get(user.output, ()) if back else ((user, at),)
        modules = [self._bases[id(user)] for user, at in users if at == 0 and id(user) in self._bases]
        if modules:
            return [f"{base}:input" for base in dict.fromkeys(modules)]
        maker = self._graph.makers.get(node.input(0))
        base = self._bases.get(id(maker), "") if maker is not None else ""
        return [f"{base}:output" if base else f"{node.input(0)}:value"]

    def dynamic(self) -> Iterator[DynamicPoint]:
        """Activations that are quantized as they come."""
        for node in self._graph.nodes:
            if node.op == DYNAMIC:
                users = [user for user, at in self._graph.users.get(node.output, ()) if at == 0]
                roles = [f"{self._bases[id(u)]}:input" for u in users if id(u) in self._bases]
                for role in dict.fromkeys(roles or [f"{node.input(0)}:value"]):
                    yield DynamicPoint(role, f"the value {visible(node.input(0), 120)}", unsigned(8), PER_TENSOR)
            elif node.op in DYNAMIC_INPUTS and id(node) in self._bases:
                value = node.input(DYNAMIC_INPUTS[node.op])
                role = f"{self._bases[id(node)]}:input"
                yield DynamicPoint(role, f"the value {visible(value, 120)}", unsigned(8), PER_TENSOR)
