"""Rows in another order: which is which, from their values; and the orders of parts of a larger one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MOST_ROWS = 1 << 15
"""More are not looked at: every row is held against every other."""
LEAST_COLUMNS = 16
"""With fewer values rows are alike by chance."""
_FEW_COLUMNS, _MOST_COLUMNS = 64, 1024
"""Looked at first, and where these do not tell."""
_LEAST_CORRELATION = 0.6
_CLOSER = 0.5
"""A row has to be so much closer to its partner than to the next one: 1 - cosine over 1 - cosine."""
_AT_ONCE = 1024


class NotUnique(Exception):
    """Rows are in another order, and which is which is not told by their values."""


def order_of(x: Array, y: Array) -> Array | None:
    """int64[rows], `index` such that y[i] is about x[index[i]], float32[rows, n]; None where rows of y are not those of
    x. Raises NotUnique where they are, each of them, but some could be one or the other."""
    if len(x) > MOST_ROWS or x.shape[1] < LEAST_COLUMNS:
        return None
    zero_x, zero_y = ((v == 0).all(axis=1) for v in (x, y))
    if zero_x.sum() != zero_y.sum():
        return None
    index = np.empty(len(x), np.int64)
    index[zero_y] = np.flatnonzero(zero_x)
    left = np.flatnonzero(~zero_y)
    for most in (_FEW_COLUMNS, _MOST_COLUMNS):
        left = left[~_nearest(x, y, left, index, max(1, x.shape[1] // most))]
    if left.size or np.unique(index).size < index.size:
        if (_cosines(x[index[left]], y[left]) < _LEAST_CORRELATION).any():
            return None
        raise NotUnique
    return index if (_cosines(x[index], y)[~zero_y] >= _LEAST_CORRELATION).all() else None


def _nearest(x: Array, y: Array, rows: Array, index: Array, step: int) -> NDArray[np.bool_]:
    """Of some rows of y, whether the nearest row of x is clearly so; it goes into `index`. step: of the columns that
    are looked at."""
    unit = _unit(x[:, ::step])
    clear = np.zeros(rows.size, bool)
    for start in range(0, rows.size, _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        near = _unit(y[some, ::step]) @ unit.T
        best, at = near.argmax(axis=1), np.arange(some.size)
        most = near[at, best].copy()
        near[at, best] = -1
        closer = 1 - most <= _CLOSER * (1 - near.max(axis=1)) + 1e-6
        clear[start : start + _AT_ONCE] = (most >= _LEAST_CORRELATION) & closer
        index[some] = best
    return clear


def _cosines(x: Array, y: Array) -> Array:
    """Of each row of the one with that of the other."""
    return np.asarray(np.einsum("ij,ij->i", _unit(x), _unit(y)))


def some_are_elsewhere(x: Array, y: Array) -> bool:
    """Whether the rows of y, some of a weight, are all rows of x, the whole."""
    step = max(1, x.shape[1] // _MOST_COLUMNS)
    near = _unit(y[:, ::step]) @ _unit(x[:, ::step]).T
    return bool(np.median(near.max(axis=1)) >= _LEAST_CORRELATION)


def _unit(x: Array) -> Array:
    length = np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64)).astype(np.float32)
    return np.asarray(x / np.where(length > 0, length, np.float32(1))[:, None])


def parts_of(index: Array, n: int) -> Iterator[Array]:
    """Orders of n neighbours that keep to themselves in a larger one, each once; those that move nothing are left
    out."""
    closed = np.concatenate(([0], np.flatnonzero(np.maximum.accumulate(index) == np.arange(index.size)) + 1))
    starts = closed[np.isin(closed + n, closed)]
    seen: set[bytes] = set()
    for start in starts:
        part = index[start : start + n] - start
        if part.tobytes() not in seen and (part != np.arange(n)).any():
            seen.add(part.tobytes())
            yield part
            if len(seen) >= _MOST_PARTS:
                return


_MOST_PARTS = 16
