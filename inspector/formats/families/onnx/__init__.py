"""ONNX: codes, scales and zero points are tensors of a graph, and its nodes say which belong to which.

operations.py says where each operation has its codes and its scales, weights.py and in_blocks.py make numbers of them,
orientation.py finds whether rows of a stored matrix are its outputs, points.py finds the scales of activations,
names.py what a tensor is called in the model that was exported, others.py what else quantizes in a graph, family.py
goes over it.
"""

from qinspect.inspector.formats.families.onnx.family import OnnxFormat

__all__ = ["OnnxFormat"]
