"""Handles on what a checkpoint stores: a tensor (read on demand) or a plain value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qinspect.inspector.checkpoint.dtypes import DType
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.errors import CannotRead
from qinspect.inspector.text import dims

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    Array = NDArray[Any]
    """Any: ml_dtypes' element types are no subclasses of numpy's."""

MAX_EXPANDED_BYTES = 1 << 26
"""An expanded view (stride 0) may take this much more memory than its storage; beyond that it is not materialised.
Statistics need several times as much, and a file of 1 kB can ask for any size."""

MAX_DIMS = 32
"""numpy 1.26 has no arrays of more; real tensors have 5."""

MAX_ELEMENTS = 1 << 56
"""Larger shapes overflow numpy's sizes, even where one dimension is 0."""

MAX_SIZE = (1 << 64) - 1
"""No dimension of any format is more."""

MAX_EMPTY_ELEMENTS = 1 << 24
"""The other dimensions of a tensor without elements, multiplied: no bytes vouch for them, yet loops run over them."""


class Tensor:
    """A stored tensor: where it is and what shape it has. Nothing is read until `read` is called.

    Treat as immutable (a plain slotted class because 120,000 of them are made at opening).

    name: full key. dtype: element type. shape: logical shape, in elements. strides: in elements, None when
    contiguous in C order. file: the file that holds it.
    """

    __slots__ = ("_start", "dtype", "file", "name", "shape", "strides")

    def __init__(
        self,
        name: str,
        dtype: DType,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None,
        file: Source,
        start: int,
    ) -> None:
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.strides = strides
        self.file = file
        self._start = start

    @property
    def n_elements(self) -> int:
        """Number of elements; 1 for a 0-dimensional tensor."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, as if stored contiguously."""
        return self.dtype.nbytes(math.prod(self.shape))

    @property
    def offset(self) -> int:
        """Byte position of the first element in `file`."""
        return self._start

    @property
    def location(self) -> tuple[object, ...]:
        """Equal for two tensors that are the same view of the same stored bytes (tied tensors)."""
        return (id(self.file), self._start, self.dtype.name, self.shape, self.strides)

    def span_bytes(self) -> int:
        """Bytes in the file from the first element to the end of the last one."""
        if self.strides is None or self.n_elements == 0:
            return self.nbytes
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        return self.dtype.nbytes(last + 1)

    @property
    def expanded(self) -> bool:
        """Whether this is a view (stride 0) that is much larger than what is stored: its shape is not to be trusted."""
        if self.strides is None:
            return False
        span = self.span_bytes()
        return self.nbytes > max(span + MAX_EXPANDED_BYTES, 4 * span)

    @property
    def shapeless(self) -> bool:
        """Whether no array can have this shape, though the file may hold it: more dimensions than numpy has, or nothing
        but a size that no bytes vouch for."""
        shape = self.shape
        return len(shape) > MAX_DIMS or (0 in shape and math.prod(d or 1 for d in shape) > MAX_EMPTY_ELEMENTS)

    def read_bytes(self) -> bytes:
        """The stored bytes that `span_bytes` counts, untouched."""
        span = self.span_bytes()
        return self.file.read(self.offset, span) if span else b""  # an empty tensor may stand anywhere

    def read(self) -> Array:
        """All elements as a numpy array of this shape (ml_dtypes types for bf16, fp8, fp4).

        Raises CannotRead where the dtype cannot be decoded, no array can have the shape, or an expanded view would not
        fit in memory.
        """
        import numpy as np

        self._check_decoded()
        self._check_shape()
        element = self.dtype.to_numpy()
        raw = self.read_bytes()
        if self.dtype.packed:
            return _unpack(raw, self.dtype.bits, self.n_elements).view(np.uint8).view(element).reshape(self.shape)
        flat = np.frombuffer(raw, dtype=element)
        if self.strides is None or self.n_elements == 0:
            return flat.reshape(self.shape)
        # The stride of a dimension of 1 is never taken, so nothing bounds it.
        steps = tuple(s * element.itemsize if d != 1 else 0 for d, s in zip(self.shape, self.strides, strict=True))
        if element.itemsize == 1:  # numpy has no name for float8_e5m2, which it asks for here
            as_bytes = np.lib.stride_tricks.as_strided(flat.view(np.uint8), self.shape, steps, writeable=False)
            return as_bytes.view(element)
        return np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)

    def _check_decoded(self) -> None:
        if not self.dtype.numpy:
            raise CannotRead(f"values of dtype {self.dtype.name} cannot be decoded", file=self.file.path, key=self.name)

    def _check_shape(self) -> None:
        if self.shapeless:
            raise CannotRead(
                "no array can have this shape",
                file=self.file.path,
                key=self.name,
                expected=f"at most {MAX_DIMS} dimensions, and {MAX_EMPTY_ELEMENTS} rows and columns of no elements",
                found=dims(self.shape),
            )
        if self.expanded:
            raise CannotRead(
                "the tensor is an expanded view that is too large to read",
                file=self.file.path,
                key=self.name,
                expected=f"about {self.span_bytes()} bytes, as stored",
                found=f"shape {list(self.shape)} with strides {list(self.strides or ())}, {self.nbytes} bytes",
            )

    def read_range(self, start: int, stop: int) -> Array:
        """Elements `start` to `stop` of a contiguous tensor in C order, as a flat array: for streaming.

        Raises CannotRead for strided and sub-byte tensors, and where the dtype cannot be decoded.
        """
        import numpy as np

        self._check_decoded()
        if self.strides is not None or self.dtype.packed:
            raise CannotRead("only contiguous whole-byte tensors can be read in parts", key=self.name)
        width = self.dtype.bits // 8
        return np.frombuffer(self.file.read(self.offset + start * width, (stop - start) * width), self.dtype.to_numpy())

    def transposed(self) -> Tensor:
        """A handle on the same bytes with the axes reversed."""
        strides = self.strides
        if strides is None:
            steps = [1]
            for d in reversed(self.shape[1:]):
                steps.append(steps[-1] * d)
            strides = tuple(reversed(steps)) if self.shape else ()
        shape, strides = self.shape[::-1], strides[::-1]
        expected, contiguous = 1, True
        for d, s in zip(reversed(shape), reversed(strides), strict=True):
            contiguous = contiguous and (d == 1 or s == expected)
            expected *= d
        return Tensor(self.name, self.dtype, shape, None if contiguous else strides, self.file, self.offset)

    def read_rows(self, start: int, stop: int) -> Array:
        """Rows `start` to `stop` along the first axis, reading little more than their bytes.

        Of a block type, the blocks as they are stored: uint8[rows, ..., blocks of a row, bytes of a block]. Contiguous
        rows are one read, also where elements share bytes; a column-major matrix is one read a column; anything else
        is read whole. Raises CannotRead for a block type whose rows are no whole blocks, or that is not contiguous.
        """
        import numpy as np

        self._check_shape()
        start, stop, _ = slice(start, stop).indices(self.shape[0])
        if self.dtype.block_bytes:
            return self._read_blocks(start, max(start, stop))
        if stop <= start or not self.dtype.numpy or (self.dtype.packed and stop - start == self.shape[0]):
            return self.read()[start:stop]
        width = math.prod(self.shape[1:])
        if self.strides is None:
            flat = self._read_packed if self.dtype.packed else self.read_range
            return flat(start * width, stop * width).reshape(stop - start, *self.shape[1:])
        by_columns = not self.dtype.packed and len(self.shape) == 2 and self.strides[0] == 1 and self.strides[1] > 0
        if not by_columns or (start, stop) == (0, self.shape[0]):
            return self.read()[start:stop]
        element = self.dtype.to_numpy()
        columns = np.empty((width, stop - start), element)
        first, step = self.offset + start * element.itemsize, self.strides[1] * element.itemsize
        whole, n = columns.view(np.uint8).reshape(-1).data, (stop - start) * element.itemsize
        parts = [whole[i : i + n] for i in range(0, width * n, n)]
        self.file.read_into_each(range(first, first + width * step, step), parts)
        return columns.T

    def _read_packed(self, start: int, stop: int) -> Array:
        """Elements `start` to `stop`, of which the first and the last may share their byte with others."""
        import numpy as np

        bits = self.dtype.bits
        first, last = start * bits // 8, -(-stop * bits // 8)
        raw = self.file.read(self.offset + first, last - first) if last > first else b""
        codes = _unpack(raw, bits, stop - start, start * bits - 8 * first)
        return codes.view(np.uint8).view(self.dtype.to_numpy())

    def _read_blocks(self, start: int, stop: int) -> Array:
        import numpy as np

        block, block_bytes, columns = self.dtype.block, self.dtype.block_bytes, self.shape[-1]
        if self.strides is not None or columns % block:
            raise CannotRead(
                "its rows are not whole blocks", file=self.file.path, key=self.name,
                expected=f"contiguous rows of a multiple of {block} elements", found=f"shape {dims(self.shape)}",
            )  # fmt: skip
        inner = (*self.shape[1:-1], columns // block, block_bytes) if len(self.shape) > 1 else (block_bytes,)
        if len(self.shape) == 1:
            start, stop = start // block, -(-stop // block)
        n = math.prod(inner)
        raw = self.file.read(self.offset + start * n, (stop - start) * n) if stop > start and n else b""
        return np.frombuffer(raw, np.uint8).reshape(stop - start, *inner)

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, {self.dtype.name}, {list(self.shape)})"


@dataclass(frozen=True, slots=True)
class Described:
    """A stored value that is told in words: an object of a class that is not known, a tensor without values, a list too
    long to be shown. Two are equal only if the words are, which hold a fingerprint of what they stand for."""

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"{self.text} ({self.kind})"


class Value:
    """A stored value that is no tensor: a Python float, int, bool, string, None (real Quamba files hold many).

    kind: where it is not a plain Python value, what it is: `numpy float64`.
    """

    __slots__ = ("_kind", "file", "name", "value")

    def __init__(self, name: str, value: object, file: Source, kind: str = "") -> None:
        self.name = name
        self.value = value
        self.file = file
        self._kind = kind

    @property
    def kind(self) -> str:
        """`python float`, `None`, `numpy float64`, `argparse.Namespace, not read`, ..."""
        if self._kind:
            return self._kind
        if isinstance(self.value, Described):
            return self.value.kind
        return "None" if self.value is None else f"python {type(self.value).__name__}"

    def __repr__(self) -> str:
        return f"Value({self.name!r}, {self.value!r})"


Entry = Tensor | Value


def _unpack(raw: bytes, bits: int, n: int, skipped: int = 0) -> Array:
    """`n` codes of `bits` bits from a little-endian bit stream, one per byte, behind `skipped` bits."""
    import numpy as np

    every = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
    stream = every[skipped : skipped + n * bits].reshape(n, bits)
    weights = (1 << np.arange(bits)).astype(np.uint8)
    codes: Array = (stream * weights).sum(axis=1, dtype=np.uint8)
    return codes
