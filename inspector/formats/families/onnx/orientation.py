"""Whether the rows of a stored matrix are its outputs: what multiplies it says so, by where it takes it in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qinspect.inspector.checkpoint.graph import Graph, Node

_PASSING = ("Cast", "Identity")
_MAX_STEPS = 6
_PRODUCTS = ("MatMul", "FusedMatMul", "TransposeMatMul")
_GEMMS = ("Gemm", "FusedGemm")


@dataclass(frozen=True, slots=True)
class Use:
    """node: what a weight goes into in the end, as which input. turned: whether it is turned round on the way, or by
    what it goes into: its last axis is that of the outputs."""

    node: Node
    at: int
    columns: bool


def uses_of(graph: Graph, name: str) -> Iterator[Use]:
    """What a tensor goes into, be it cast or turned round on the way."""
    yield from _uses(graph, name, False, _MAX_STEPS)


def _uses(graph: Graph, name: str, turned: bool, steps: int) -> Iterator[Use]:
    for node, at in graph.users.get(name, ()):
        if steps and at == 0 and (node.op in _PASSING or (node.op == "Transpose" and _swaps(node))):
            yield from _uses(graph, node.output, turned != (node.op == "Transpose"), steps - 1)
        else:
            yield Use(node, at, turned != _by_columns(node, at))


def _swaps(node: Node) -> bool:
    """Whether it exchanges the last two axes, and no others."""
    perm = node.attributes.get("perm")
    if not isinstance(perm, tuple):
        return False
    n = len(perm)
    return n > 1 and tuple(perm) == (*range(n - 2), n - 1, n - 2)


def _by_columns(node: Node, at: int) -> bool:
    """Whether an operation takes the last axis of this input for that of its outputs."""
    if at != 1 or node.op not in (*_PRODUCTS, *_GEMMS):
        return False
    return node.integer("transB") == 0


def stored_by_columns(graph: Graph, name: str) -> tuple[bool, Use | None]:
    """(whether the last axis of a tensor is that of the outputs, the first of what says so). Where its uses do not
    agree, or none says so, it is taken as it is stored."""
    found = list(uses_of(graph, name))
    agree = len({use.columns for use in found}) == 1
    return (found[0].columns if agree else False), (found[0] if found else None)
