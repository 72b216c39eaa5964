"""How far two tensors of one shape lie apart: in one pass over both, in blocks, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.compare.results import Deviation

Array = NDArray[Any]
Chunks = Iterable[tuple[Array, Array]]

BLOCK_ELEMENTS = 1 << 16
"""Read and calculated with at once: the float64 copies stay in the cache."""

_SHORTEST_TAIL = 8


def chunks_of(a: Tensor, b: Tensor) -> Iterator[tuple[Array, Array]]:
    """Both tensors in C order, as flat arrays of equal size; read whole where one is not stored in that order."""
    whole = None
    if a.strides is not None or b.strides is not None or a.dtype.packed or b.dtype.packed:
        whole = a.read().reshape(-1), b.read().reshape(-1)
    for start in range(0, a.n_elements, BLOCK_ELEMENTS):
        stop = min(start + BLOCK_ELEMENTS, a.n_elements)
        if whole:
            yield whole[0][start:stop], whole[1][start:stop]
        else:
            yield a.read_range(start, stop), b.read_range(start, stop)


def deviation_of(
    chunks: Chunks, shape: tuple[int, ...], names: tuple[str, str] | None = None
) -> tuple[int, Deviation | None]:
    """(elements that differ, by how much their numbers do; None where all numbers are the same). chunks: consecutive
    flat arrays of both. names: of two floating-point dtypes, where they are not the same, so that a cast is recognised.

    Elements of one dtype differ where their bits do (NaN with other bits, and -0 from 0, are others); of two dtypes,
    where their numbers do.
    """
    tally = _Tally(*names) if names else _Tally()
    with np.errstate(all="ignore"):  # a signalling NaN or a number beyond float32 in the file is no event
        for a, b in chunks:
            tally.add(a, b)
    return tally.n_changed, tally.result(shape) if tally.n_unequal else None


class _Numbers:
    """Blocks as float64, or complex128, one after the other in the same memory: of new memory for each, the system's
    handing it out takes longer than the arithmetic."""

    def __init__(self) -> None:
        self._buffer: Array = np.empty(0)
        self._of_code: tuple[np.dtype[Any], Array] | None = None

    def read(self, block: Array) -> Array:
        """The numbers of a flat block. They stay until the next call."""
        dtype = block.dtype
        wanted = np.complex128 if dtype.kind == "c" else np.float64
        if self._buffer.size < block.size or self._buffer.dtype != wanted:
            self._buffer = np.empty(block.size, wanted)
        numbers = self._buffer[: block.size]
        if dtype.itemsize == 1 and dtype.kind not in "iub":  # FP8: a cast takes four times as long
            codes = block.view(np.uint8)
            np.take(self._table(dtype), codes, out=numbers, mode="wrap")
        else:
            np.copyto(numbers, block, casting="unsafe")
        return numbers

    def _table(self, dtype: np.dtype[Any]) -> Array:
        if self._of_code is None or self._of_code[0] != dtype:
            self._of_code = dtype, numbers_of(np.arange(256, dtype=np.uint8).view(dtype))
        return self._of_code[1]


class _Tally:
    """Sums over what `add` was given. casts: which of the two casts still explain all that was seen."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.b_is_cast = self.a_is_cast = bool(names)
        self.n = self.n_changed = self.n_unequal = self.n_zeroed = self.n_bad_a = self.n_bad_b = 0
        self.squares_a = self.squares = 0.0
        self.largest, self.at, self.pair = -1.0, 0, (math.nan, math.nan)
        self.first: tuple[int, Any, Any] | None = None
        self.last_nonzero_b = self.last_zeroed = -1
        self._of_a, self._of_b = _Numbers(), _Numbers()

    def add(self, a: Array, b: Array) -> None:
        if self.b_is_cast:
            self.b_is_cast = _is_cast(a, b)
        if self.a_is_cast:
            self.a_is_cast = _is_cast(b, a)
        x, y = self._of_a.read(a), self._of_b.read(b)
        self._add_zeros(x, y)
        alike = a.dtype == b.dtype
        changed = _bits_differ(a, b) if alike else None
        if changed is not None and a.dtype.kind in "iub":
            unequal = changed
        else:
            unequal = a != b if _are_long(a, b) else x != y
        squares = _squares(x)
        if not math.isfinite(squares + _squares(y)):  # squares beyond float64 only take the longer way
            good_a, good_b = np.isfinite(x), np.isfinite(y)
            unequal &= ~(np.isnan(x) & np.isnan(y))
            self.n_bad_a += int(np.count_nonzero(~good_a))
            self.n_bad_b += int(np.count_nonzero(~good_b))
            x, y = np.where(good_a & good_b, x, 0), np.where(good_a & good_b, y, 0)
            squares = _squares(x)
        if changed is None:
            changed = unequal
        self.n_unequal += int(np.count_nonzero(unequal))
        n_changed = int(np.count_nonzero(changed))
        self.n_changed += n_changed
        self.squares_a += squares
        if n_changed:
            self._add_distance(a, b, x, y, changed)
        self.n += a.size

    def _add_distance(self, a: Array, b: Array, x: Array, y: Array, changed: Array) -> None:
        """y is written over."""
        if self.first is None:
            i = int(changed.argmax())
            self.first = (self.n + i, a[i].item(), b[i].item())
        if _are_long(a, b):
            magnitude = _apart(a, b)
        else:
            apart = np.subtract(y, x, out=y) if y.dtype >= x.dtype else y - x
            magnitude = np.abs(apart) if apart.dtype.kind == "c" else np.abs(apart, out=apart)
        self.squares += _squares(magnitude.astype(np.float64, copy=False))
        i = int(magnitude.argmax())
        if magnitude[i] > max(self.largest, 0.0):
            self.largest, self.at = float(magnitude[i]), self.n + i
            self.pair = (a[i].item(), b[i].item())

    def _add_zeros(self, x: Array, y: Array) -> None:
        nonzero = y != 0
        if nonzero.all():
            self.last_nonzero_b = max(self.last_nonzero_b, self.n + y.size - 1)
            return
        zeroed = ~nonzero & (x != 0)
        n_zeroed = int(np.count_nonzero(zeroed))
        self.last_nonzero_b = max(self.last_nonzero_b, self._last(nonzero))
        if n_zeroed:
            self.n_zeroed += n_zeroed
            self.last_zeroed = max(self.last_zeroed, self._last(zeroed))

    def _last(self, mask: Array) -> int:
        """Flat index of the last that is set, -1 where none is."""
        last = mask.tobytes().rfind(b"\x01")
        return self.n + last if last >= 0 else -1

    def result(self, shape: tuple[int, ...]) -> Deviation:
        at, (a, b) = self.at, self.pair
        if self.largest < 0 and self.first is not None:  # only bits, NaN or Inf differ: show the first of them
            at, a, b = self.first
        where = tuple(int(i) for i in np.unravel_index(at, shape)) if shape and self.n else ()
        relative = math.sqrt(self.squares) / math.sqrt(self.squares_a) if self.squares_a else math.nan
        tail = self.last_nonzero_b + 1
        return Deviation(
            relative, max(self.largest, 0.0), where, _real(a), _real(b), self.n_zeroed,
            tail if self.last_zeroed >= tail else None, self.n_bad_a, self.n_bad_b, self._rounded(),
        )  # fmt: skip

    def _rounded(self) -> str:
        if not self.names or not self.n_changed:
            return ""
        a, b = self.names
        return _rounded_said(a, b, self.b_is_cast, self.a_is_cast)


def is_tail(zero_from: int, n: int) -> bool:
    """Whether zeros from there to the end of `n` elements are worth a word: some tensors end in a zero by chance."""
    return zero_from == 0 or n - zero_from >= _SHORTEST_TAIL


def _are_long(a: Array, b: Array) -> bool:
    """Whether these are integers beyond what float64 can tell apart."""
    return a.dtype.kind in "iu" and b.dtype.kind in "iu" and max(a.dtype.itemsize, b.dtype.itemsize) > 4


def _squares(x: Array) -> float:
    """Sum of squares. Not by BLAS, which would start a thread a core for each block and let it spin."""
    if x.dtype.kind == "c":
        return _squares(x.view(np.float64))
    return float(np.einsum("i,i->", x, x))


def _apart(a: Array, b: Array) -> Array:
    """|B - A| of integers, exactly: in float64 neighbours beyond 2^53 are equal."""
    wide = np.result_type(a, b)
    if wide.kind == "f":  # int64 beside uint64
        distance: Array = np.abs(numbers_of(b) - numbers_of(a))
        return distance
    a, b = a.astype(wide), b.astype(wide)
    unsigned = np.dtype(f"u{wide.itemsize}")
    exact: Array = np.maximum(a, b).view(unsigned) - np.minimum(a, b).view(unsigned)
    return exact


def cast_of(a: Array, b: Array) -> str:
    """`B is A rounded to float16`, where one of two floating-point arrays is the other in its own dtype; else empty."""
    if not all(x.dtype.kind in "fV" for x in (a, b)):
        return ""
    a, b = a.reshape(-1), b.reshape(-1)
    with np.errstate(all="ignore"):
        b_is_cast = _is_cast(a, b)
        return _rounded_said(a.dtype.name, b.dtype.name, b_is_cast, not b_is_cast and _is_cast(b, a))


def _rounded_said(a: str, b: str, b_is_cast: bool, a_is_cast: bool) -> str:
    """Which of two dtypes, named, the other was rounded to; where both ways hold, B's."""
    return f"B is A rounded to {b}" if b_is_cast else f"A is B rounded to {a}" if a_is_cast else ""


def _is_cast(source: Array, cast: Array) -> bool:
    """Whether `cast` is `source` in another dtype, rounded to nearest, to the bit but for NaN."""
    made = source.astype(cast.dtype)
    same = bits_of(made) == bits_of(cast)
    return bool(same.all()) or bool((same | (np.isnan(made) & np.isnan(cast))).all())


def _real(value: Any) -> float:
    return float(abs(value)) if isinstance(value, complex) else float(value)


def numbers_of(x: Array) -> Array:
    """The array as float64, or complex128."""
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def bits_of(x: Array) -> Array:
    """The bit patterns of a flat array as unsigned integers, so that -0 and NaN compare by their bits; one row of two
    for complex128."""
    x = np.ascontiguousarray(x)
    return x.view("u8").reshape(-1, 2) if x.dtype.itemsize == 16 else x.view(f"u{x.dtype.itemsize}")


def _bits_differ(a: Array, b: Array) -> Array:
    differ: Array = np.asarray(bits_of(a) != bits_of(b))
    rows: Array = differ if differ.ndim == 1 else np.any(differ, axis=1)
    return rows
