"""The elements of one tensor in pieces, so that a view of it takes the memory of a piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Tensor

BLOCK_ELEMENTS = 1 << 20


def stored_blocks(tensor: Tensor, elements: int = BLOCK_ELEMENTS) -> Iterator[NDArray[Any]]:
    """All elements in C order, in pieces of at most `elements`, or of one row where a row has more.

    A strided tensor's bytes are read whole, and those of one whose elements share bytes, as they are stored; only
    their pieces are copied. Raises CannotRead.
    """
    if tensor.strides is None and not tensor.dtype.packed:
        for start in range(0, tensor.n_elements, elements):
            yield tensor.read_range(start, min(start + elements, tensor.n_elements))
        return
    whole = tensor.read()
    if whole.ndim == 0 or not whole.size:
        yield whole
        return
    rows = max(1, elements // (whole.size // len(whole)))
    for start in range(0, len(whole), rows):
        yield whole[start : start + rows]
