"""Rotations by Hadamard matrices: entries of one magnitude, rows at right angles. Found in the values of both models.

A matrix of n columns may be rotated as a whole or in blocks, by Sylvester's matrix (entry (-1)^popcount(i & j)), by
the Kronecker power of a regular matrix of four, or, where n has an odd factor, by the product of Sylvester's and a
matrix of 4 or 8 times that factor whose signs are read off the values. Every channel may have a sign of its own before
or after.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.fidelity.undoing import Backwards, Step
from qinspect.inspector.formats.hadamard_blocks import REGULAR, SYLVESTER

Array = NDArray[Any]

LEAST_BLOCK = 16
LEAST_CORRELATION = 0.8
"""Of the values of a channel before and after a rotation that was undone; of other channels it is 0.1 with 64 rows, and
of blocks of half the size 0.71."""
_FITTED_FIRST = 4
"""Places in a block of a matrix that is fitted, before all of them are."""
LEAST_ROWS = 16
_ROWS = 64
"""Looked at, but where a matrix has to be fitted."""
_MOST_OF_A_FACTOR = 64
_REGULAR = np.array(REGULAR, np.float32) / 2


@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    """x diag(signs) H, where H has the Kronecker product of the factors in every block of its diagonal. signs: None for
    ones. said: the kind, for people."""

    n: int
    factors: tuple[Array, ...]
    signs: Array | None
    said: str

    def of(self, x: Array) -> Array:
        """float32[rows, n] rotated."""
        return self._product(x if self.signs is None else x * self.signs, self.factors)

    def back(self, y: Array) -> Array:
        """float32[rows, n] before."""
        x = self._product(y, tuple(f.T for f in self.factors))
        return x if self.signs is None else np.asarray(x * self.signs)

    def _product(self, x: Array, factors: tuple[Array, ...]) -> Array:
        sizes = [len(f) for f in factors]
        shape = x.shape
        left, right = shape[0] * (self.n // math.prod(sizes)), math.prod(sizes)
        for f in factors:  # each takes its own axis of [left, this, right]
            right //= len(f)
            if right == 1:  # one product of matrices rather than `left` of a matrix and a vector
                x = x.reshape(left, len(f)) @ f
            else:
                x = np.matmul(f.T, x.reshape(left, len(f), right))
            left *= len(f)
        return np.ascontiguousarray(x).reshape(shape)


def _power(small: Array, n: int) -> tuple[Array, ...]:
    """The Kronecker power of a matrix with n rows, in a few factors."""
    factors: list[Array] = []
    while n > 1:
        f = small
        while len(f) * len(small) <= min(n, _MOST_OF_A_FACTOR):
            f = np.kron(f, small)
        factors.append(f)
        n //= len(f)
    return tuple(factors)


def sylvester(n: int) -> tuple[Array, ...]:
    """The factors of Sylvester's matrix of n, a power of two, divided by the square root of n."""
    return _power(np.array(SYLVESTER, np.float32) / np.float32(math.sqrt(2)), n)


def _plain(n: int, block: int, regular: bool = False) -> Rotation:
    kind = "regular Hadamard" if regular else "Hadamard"
    where = f"a {kind} matrix of {n}" if block == n else f"{kind} matrices of {block} along the diagonal"
    return Rotation(n, _power(_REGULAR, block) if regular else sylvester(block), None, where)


def candidates(n: int) -> Iterator[Rotation]:
    """Those of the usual kinds, the whole before blocks."""
    largest = n & -n
    block = largest
    while block >= LEAST_BLOCK:
        yield _plain(n, block)
        if block.bit_length() % 2:  # a power of four
            yield _plain(n, block, regular=True)
        block //= 2


def rotation_of(x: Array, y: Array) -> Step | None:
    """The rotation of the usual kinds that makes rows of y of those of x: float32[rows, n], alike in order. None where
    none does."""
    rows, n = x.shape
    if rows < LEAST_ROWS or n < LEAST_BLOCK:
        return None
    every = max(1, rows // _ROWS)
    whole, x, y = (x, y), x[::every], y[::every]
    for r in candidates(n):
        for swapped in (False, True):
            before, behind = (y, x) if swapped else (x, y)
            signs = _signs(before, r.back(behind))
            if signs is not None:
                signed = bool((signs < 0).any())
                found = Rotation(n, r.factors, signs if signed else None, r.said + _said_of_signs(signed))
                # of y H' diag(s) = x it is the inverse
                return Backwards(found) if swapped and signed else found
    return _odd(*whole)


def _said_of_signs(signed: bool) -> str:
    return ", each channel with a sign of its own" if signed else ""


def _signs(x: Array, y: Array) -> Array | None:
    """float32[n] of -1 and 1 by which the columns of y are those of x; None where they are not."""
    xy, xx, yy = ((p * q).sum(axis=0, dtype=np.float64) for p, q in ((x, y), (x, x), (y, y)))
    there = (xx > 0) & (yy > 0)
    if np.count_nonzero(there) < LEAST_BLOCK:
        return None
    correlation = xy[there] / np.sqrt(xx[there] * yy[there])
    if np.abs(correlation).mean() < LEAST_CORRELATION:
        return None
    signs = np.ones(x.shape[1], np.float32)
    signs[xy < 0] = -1
    return signs


def _odd(x: Array, y: Array) -> Step | None:
    """Of a size with an odd factor: y = x diag(s) (K kron H), where the signs of K and s are found by least squares."""
    n = x.shape[1]
    odd = n // (n & -n)
    if odd == 1:
        return None
    for times in (4, 8):
        order = odd * times
        if n % order or order > n:
            continue
        size = n // order
        if size & (size - 1) or x.shape[0] < 2 * order:
            continue
        found = _of_order(x, y, order, size)
        if found is not None:
            return found
    return None


def _of_order(x: Array, y: Array, order: int, size: int) -> Step | None:
    rows, n = x.shape
    undone = Rotation(n, sylvester(size), None, "").back(y) if size > 1 else y
    before, behind = (v.reshape(rows, order, size).transpose(2, 0, 1).astype(np.float64) for v in (x, undone))
    base = _base(before[:_FITTED_FIRST], behind[:_FITTED_FIRST], order)
    fitted = None if base is None else _fitted(before, behind)
    if base is None or fitted is None:
        return None
    base /= math.sqrt(order)
    signs = np.sign(np.einsum("pij,ij->pi", fitted, base)).T.reshape(-1).astype(np.float32)  # [order, size]
    if not signs.all():
        return None
    signed = bool((signs < 0).any())
    said = f"a Hadamard matrix of {n} ({order} x {size}){_said_of_signs(signed)}"
    factors = (base.astype(np.float32), *sylvester(size))
    found = Rotation(n, factors, signs if signed else None, said)
    return found if _signs(found.of(x), y) is not None else None


def _fitted(before: Array, behind: Array) -> Array | None:
    """float64[places, order, order] by which, at each place, [places, rows, order] become the others."""
    across = before.transpose(0, 2, 1)
    try:
        return np.asarray(np.linalg.solve(across @ before, across @ behind))
    except np.linalg.LinAlgError:
        return None


def _base(before: Array, behind: Array, order: int) -> Array | None:
    """The Hadamard matrix, of -1 and 1, that the first places show: one of them, or, without signs of channels, all
    together."""
    fitted = _fitted(before, behind)
    if fitted is None:
        return None
    for base in (np.sign(fitted[0]), np.sign(fitted.mean(axis=0))):
        if np.array_equal(base @ base.T, order * np.eye(order)):
            return np.asarray(base)
    return None


def turned_alike(x: Array, y: Array) -> bool:
    """Whether rows of y keep the angles and lengths of those of x, float32[rows, n]: y is x turned by something, and
    not x itself."""
    if len(x) < LEAST_ROWS or x.shape[1] < 2 * len(x):
        return False
    a, b = (v @ v.T for v in (x.astype(np.float64), y.astype(np.float64)))
    off = ~np.eye(len(x), dtype=bool)
    sizes = np.sqrt(np.abs(a.diagonal() * b.diagonal()))
    if not (sizes > 0).all():
        return False
    unit_a, unit_b = (g / np.sqrt(np.outer(g.diagonal(), g.diagonal())) for g in (a, b))
    close = np.abs(a.diagonal() - b.diagonal()) < 0.1 * sizes
    angles = np.corrcoef(unit_a[off], unit_b[off])[0, 1]
    return bool(close.all()) and angles > 0.8
