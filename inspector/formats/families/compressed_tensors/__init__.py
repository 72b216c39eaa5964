"""compressed-tensors: what llm-compressor writes and vLLM reads, and AutoRound in its `llm_compressor` export.

Which layout a module has is told by the names and dtypes of its entries (weights.py, layout.py). config.json says what
they do not (declared.py): the size of groups where the last is shorter, that of blocks, what is quantized as it comes.
docs/formats.md has the layouts.
"""

from qinspect.inspector.formats.families.compressed_tensors.family import CompressedTensorsFormat

__all__ = ["CompressedTensorsFormat"]
