"""GGUF files, as llama.cpp writes them: one header of typed facts and tensors, then the data.

header.py reads it whole, facts.py its facts, types.py says what ggml's type ids are, cursor.py goes through the bytes,
and swapped.py makes the numbers of a big-endian file little-endian. What is in a block, and which of llama.cpp's names
is which of the original's, the family knows and not the reader.
"""

from qinspect.inspector.checkpoint.gguf.header import (
    counted_tensors,
    is_part_of_model,
    looks_like_gguf,
    missing_parts,
    read_gguf,
    stands_beside,
)

__all__ = ["counted_tensors", "is_part_of_model", "looks_like_gguf", "missing_parts", "read_gguf", "stands_beside"]
