"""Codes of 4 bits that are packed along the outputs, eight a word of 32 bits: [inputs or groups, outputs / 8], with the
outputs of a word in the order of AWQ's kernel, or one after another. AWQ's tools write them, and others after these."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.formats.packed import Packing
from qinspect.inspector.formats.stripes import Stripes

PER_WORD = 8
KERNEL_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
"""In which nibble of a word each of its eight outputs lies, as AWQ's kernel has them."""
IN_ORDER = tuple(range(PER_WORD))


def packing_of(order: tuple[int, ...]) -> Packing:
    """The same for bodies that unpack words on the way."""
    return Packing(4, shifts=tuple(4 * nibble for nibble in order), word=4)


def words_of(stripes: Stripes, tensor: Tensor, start: int, stop: int) -> NDArray[np.uint32]:
    """uint32[words, inputs or groups]: those in which the outputs `start` to `stop` are, of a matrix or of a row."""
    first, last = start // PER_WORD, -(-stop // PER_WORD)
    if len(tensor.shape) == 1:
        found: NDArray[Any] = tensor.read_rows(first, last).reshape(-1, 1)
    else:
        found = stripes.rows(tensor, first, last)
    return found.view(np.uint32)


def outputs_of(words: NDArray[np.uint32], start: int, stop: int, order: tuple[int, ...]) -> NDArray[np.uint8]:
    """uint8[outputs, inputs or groups] of what `words_of` gives."""
    codes = np.empty((words.shape[0], PER_WORD, words.shape[1]), np.uint8)
    for output, nibble in enumerate(order):
        codes[:, output] = (words >> np.uint32(4 * nibble)) & np.uint32(15)
    skipped = start % PER_WORD
    return codes.reshape(-1, words.shape[1])[skipped : skipped + stop - start]
