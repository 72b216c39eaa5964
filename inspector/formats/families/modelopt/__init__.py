"""NVIDIA ModelOpt's exports for Hugging Face: FP8, NVFP4, MXFP4, MXFP8, INT4 and INT8, one algorithm or several in a
model, experts one by one or stacked, and the scales of its KV cache.

declared.py: what the configuration says. layouts.py: what the tensors of a module are. modules.py: how they become
numbers. building.py: from names to modules. cache.py: scales of the KV cache. family.py: the format.
"""

from qinspect.inspector.formats.families.modelopt.family import ModelOptFormat

__all__ = ["ModelOptFormat"]
