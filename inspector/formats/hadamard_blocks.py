"""Weights whose codes are those of the weight rotated by Hadamard matrices: how a family that knows them undoes it.

What was done to a weight that nobody tells is found in its values, and undone, elsewhere (`inspector/fidelity`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

SYLVESTER = ((1, 1), (1, -1))
REGULAR = ((1, 1, 1, -1), (1, 1, -1, 1), (1, -1, 1, 1), (-1, 1, 1, 1))
"""Of which larger ones are Kronecker powers; all rows of this one have the same sum."""
_AT_ONCE = 256
"""Rows of the largest matrix that is multiplied with as a whole: of a larger one, its two Kronecker factors are."""


@dataclass(frozen=True, slots=True)
class HadamardBlocks:
    """Hadamard matrices of `size` along the diagonal, over the square root of `size`: symmetric, their own inverse.

    size: a power of two, of `regular` ones of four. regular: of which kind they are, REGULAR or SYLVESTER. outputs:
    whether the output channels of a weight are rotated as well as its inputs.
    """

    size: int
    regular: bool = False
    outputs: bool = False

    def of(self, x: Array) -> Array:
        """float[rows, n] with every row rotated, or what it was before, of the same dtype."""
        found = self.signed_sums(x)
        found /= x.dtype.type(math.sqrt(self.size))
        return found

    def of_columns(self, x: Array) -> Array:
        """float[n, columns] with every column rotated, or what it was before; of a size up to 256."""
        import numpy as np

        found = np.matmul(_signs(self.size, self.regular).astype(x.dtype), x.reshape(-1, self.size, x.shape[1]))
        found /= x.dtype.type(math.sqrt(self.size))
        return np.asarray(found.reshape(x.shape))

    def signed_sums(self, x: Array) -> Array:
        """The same before it is divided by the square root of `size`: of integers, and of all numbers that are
        multiples of one small one, exact, so that it does not depend on how many rows are read at a time."""
        import numpy as np

        blocks = x.reshape(-1, self.size)
        inner = min(self.size, _AT_ONCE)
        found = np.matmul(blocks.reshape(-1, inner), _signs(inner, self.regular).astype(x.dtype))
        if inner < self.size:
            outer = self.size // inner
            found = np.matmul(_signs(outer, self.regular).astype(x.dtype), found.reshape(-1, outer, inner))
        return np.asarray(found.reshape(x.shape))

    @property
    def short(self) -> str:
        """`rotated in blocks of 64`."""
        return f"rotated in blocks of {self.size}"

    @property
    def said(self) -> str:
        """`rotated by regular Hadamard matrices of 64 along the inputs`."""
        kind = "regular Hadamard" if self.regular else "Hadamard"
        return f"rotated by {kind} matrices of {self.size} along the inputs{' and the outputs' * self.outputs}"


@lru_cache(32)
def _signs(n: int, regular: bool) -> Array:
    """int8[n, n] of -1 and 1."""
    import numpy as np

    small = np.array(REGULAR if regular else SYLVESTER, np.int8)
    found = np.ones((1, 1), np.int8)
    while len(found) < n:
        found = np.kron(found, small)
    found.setflags(write=False)
    return found
