"""Quantization of other libraries in a graph: QONNX, FINN. It is named, and not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from qinspect.inspector.checkpoint.graph import Graph, Node
from qinspect.inspector.text import some, visible

_FOREIGN = {
    "Quant": "QONNX", "BipolarQuant": "QONNX", "IntQuant": "QONNX", "FloatQuant": "QONNX", "Trunc": "QONNX",
    "MultiThreshold": "FINN",
}  # fmt: skip
"""Operations that quantize, and whose."""
_FOREIGN_DOMAINS = ("qonnx", "finn", "onnx.brevitas")


def _foreign(node: Node) -> str:
    """Whose operation it is, of those that are named and not read; "" of all others."""
    named = _FOREIGN.get(node.op, "")
    return named if named and node.domain.startswith(_FOREIGN_DOMAINS) else ""


def foreign_said(graph: Graph) -> Iterator[str]:
    """Operations and annotations of others that are named, and not read."""
    whose = Counter((_foreign(node), node.op) for node in graph.nodes if _foreign(node))
    for library in sorted({library for library, _ in whose}):
        ops = {op: n for (of, op), n in whose.items() if of == library}
        listed = ", ".join(f"{n} {op}" for op, n in sorted(ops.items()))
        yield (f"{library} quantizes in the graph ({listed}): values are shown as they are stored, and not dequantized")
    noted = Counter(
        f"{key} {visible(text, 20)}" if key == "finn_datatype" else visible(key, 40)
        for said in graph.annotations.values()
        for key, text in said.items()
    )
    if noted:
        listed = ", ".join(f"{n} {what}" for what, n in noted.most_common(4))
        n = len(graph.annotations)
        yield (
            f"{some(n, 'value')} {'has' if n == 1 else 'have'} annotations of a kind that FINN and QONNX write "
            f"({listed}): shown as they are stored, and not dequantized"
        )
