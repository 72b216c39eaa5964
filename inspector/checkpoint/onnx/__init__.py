"""ONNX models: a graph of operations and the tensors that it begins with, in Protocol Buffers.

wire.py goes through the bytes, model.py through graphs, nodes.py through a node, tensors.py makes an entry of a tensor,
external.py finds those that are in files beside the model, types.py says what the numbers of element types are.
Which of the tensors are scales, and of what, the family finds out.
"""

from qinspect.inspector.checkpoint.onnx.model import read_onnx

__all__ = ["read_onnx"]
