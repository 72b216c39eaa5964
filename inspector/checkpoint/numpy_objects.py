"""numpy's arrays and scalars in a pickle: data of plain dtypes, read without numpy.

Sources of the shapes of these calls: numpy/_core/src/multiarray (`__reduce__` of dtype, ndarray and generic) and
numpy/_core/numeric.py (`_frombuffer`) of numpy 1.16 to 2.4.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from qinspect.inspector.checkpoint.dtypes import DTYPES, DType
from qinspect.inspector.checkpoint.pickle_objects import Global, Opaque, Record
from qinspect.inspector.checkpoint.source import Memory, Source
from qinspect.inspector.checkpoint.tensor import MAX_DIMS, MAX_ELEMENTS, MAX_EMPTY_ELEMENTS, Tensor
from qinspect.inspector.text import brief

_ELEMENTS = {
    "b1": "bool", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64", "u1": "uint8", "u2": "uint16",
    "u4": "uint32", "u8": "uint64", "f2": "float16", "f4": "float32", "f8": "float64", "c8": "complex64",
    "c16": "complex128",
}  # fmt: skip
"""numpy's names of plain dtypes."""

_CODES = {
    "bool": "?", "int8": "b", "int16": "h", "int32": "i", "int64": "q", "uint8": "B", "uint16": "H", "uint32": "I",
    "uint64": "Q", "float16": "e", "float32": "f", "float64": "d",
}  # fmt: skip
"""struct's codes of one element."""


class DTypeRecord(Record):
    """A pickled numpy dtype."""

    __slots__ = ()

    @property
    def element(self) -> DType | None:
        """The element type; None for strings, dates, structures and objects."""
        kind = self.args[0] if self.args else None
        if isinstance(kind, Global) and kind.name.startswith("ml_dtypes."):
            return DTYPES.get(kind.name.removeprefix("ml_dtypes."))
        structured = isinstance(self.state, tuple) and any(part is not None for part in self.state[2:5])
        return DTYPES.get(_ELEMENTS.get(kind, "")) if isinstance(kind, str) and not structured else None

    @property
    def big_endian(self) -> bool:
        """Whether the bytes of an element are in the other order than ours."""
        return isinstance(self.state, tuple) and len(self.state) > 1 and self.state[1] == ">"

    def __repr__(self) -> str:
        kind = self.args[0] if self.args else ""
        return f"numpy.dtype({kind.name if isinstance(kind, Global) else brief(kind)})"


class ArrayRecord(Record):
    """A pickled numpy array, whose bytes stand in the pickle.

    element: None where the dtype has no plain numbers; `contents` are then what is there instead. shape, strides: as
    Tensor has them. raw: the elements, little-endian.
    """

    __slots__ = ("contents", "element", "raw", "shape", "strides", "what")

    def __init__(self) -> None:
        super().__init__("numpy.ndarray")
        self.element: DType | None = None
        self.what = "nothing"
        self.shape: tuple[int, ...] = ()
        self.strides: tuple[int, ...] | None = None
        self.raw = b""
        self.contents: object = None

    @classmethod
    def of(cls, numbers: Sequence[object], dtype: str) -> ArrayRecord:
        """One-dimensional. Raises TypeError and ValueError for what is no such number."""
        try:
            raw = struct.pack(f"<{len(numbers)}{_CODES[dtype]}", *numbers)
        except struct.error as e:
            raise TypeError(f"numbers that are not {dtype}") from e
        made = cls()
        made.element, made.shape, made.raw = DTYPES[dtype], (len(numbers),), raw
        return made

    def set_state(self, state: object) -> None:
        """(version, shape, dtype, Fortran order, bytes). Raises TypeError and ValueError where they do not fit."""
        match state:
            case (int(), tuple(shape), DTypeRecord() as dtype, fortran, contents):
                self._fill(shape, dtype, bool(fortran), contents)
            case _:
                raise TypeError("the state of a numpy array is malformed")

    def _fill(self, shape: tuple[object, ...], dtype: DTypeRecord, fortran: bool, contents: object) -> None:
        sizes = tuple(d for d in shape if type(d) is int and 0 <= d <= MAX_ELEMENTS)
        n = math.prod(sizes)
        extent = math.prod(d or 1 for d in sizes)
        if len(sizes) != len(shape) or len(sizes) > MAX_DIMS or n > MAX_ELEMENTS:
            raise ValueError("the shape of a numpy array is not a shape")
        if n == 0 and extent > MAX_EMPTY_ELEMENTS:
            raise ValueError("the shape of a numpy array is larger than any file")
        self.shape = sizes
        self.what = f"{dtype!r}"
        if isinstance(contents, str):  # Python 2's bytes
            contents = contents.encode("latin-1")
        element = dtype.element
        if element is None or not isinstance(contents, (bytes, bytearray)):
            self.contents = contents
            return
        if len(contents) != element.nbytes(n):
            raise ValueError(f"a numpy array of {element.nbytes(n)} bytes has {len(contents)}")
        self.element = element
        self.raw = _swapped(contents, element) if dtype.big_endian else bytes(contents)
        if fortran and len(sizes) > 1:
            steps = [1]
            for d in sizes[:-1]:
                steps.append(steps[-1] * d)
            self.strides = tuple(steps)

    def tensor(self, file: Source) -> Tensor | None:
        """A handle on it, its bytes being those of the pickle in `file`; None where it holds no plain numbers."""
        if self.element is None:
            return None
        return Tensor("", self.element, self.shape, self.strides, Memory(self.raw, file), 0)


def _swapped(raw: bytes | bytearray, element: DType) -> bytes:
    width = element.bits // 8 // (2 if element.is_complex else 1)
    made = bytearray(len(raw))
    for i in range(width):
        made[i::width] = raw[width - 1 - i :: width]
    return bytes(made)


class ScalarRecord(Record):
    """A pickled numpy scalar: its dtype and its bytes."""

    __slots__ = ()

    def value(self) -> tuple[object, str] | None:
        """(the Python number that it is, numpy's name of its type); None where it is no plain number."""
        match self.args:
            case (DTypeRecord(element=DType() as element) as dtype, bytes() | bytearray() | str() as raw):
                pass
            case _:
                return None
        raw = raw.encode("latin-1") if isinstance(raw, str) else raw
        parts, width = (2, element.bits // 16) if element.is_complex else (1, element.bits // 8)
        code = {4: "f", 8: "d"}.get(width) if parts == 2 else _CODES.get(element.name)
        if code is None or len(raw) != parts * width:
            return None
        found = struct.unpack(f"{'>' if dtype.big_endian else '<'}{parts}{code}", raw)
        return (complex(*found) if parts == 2 else found[0]), f"numpy {element.name}"


def _reconstruct(subtype: object, *args: object) -> object:
    """An array that BUILD will fill. One of a subclass is not read."""
    name = subtype.name if isinstance(subtype, Global) else "numpy.ndarray of something"
    return ArrayRecord() if name == "numpy.ndarray" else Opaque(name, args)


def _frombuffer(buffer: object, dtype: object, shape: object, order: object, *axes: object) -> ArrayRecord:
    if not isinstance(dtype, DTypeRecord) or not isinstance(shape, tuple) or axes:
        raise TypeError("a numpy array's dtype or shape is malformed")
    made = ArrayRecord()
    made._fill(shape, dtype, order == "F", buffer)
    return made


def _dtype(*args: object) -> DTypeRecord:
    return DTypeRecord("numpy.dtype", args)


def _scalar(*args: object) -> ScalarRecord:
    return ScalarRecord("numpy scalar", args)


_CORES = ("numpy.core", "numpy._core")
NUMPY: tuple[Global, ...] = (
    Global("numpy.dtype", _dtype),
    Global("numpy.ndarray"),
    *(Global(f"{core}.multiarray._reconstruct", _reconstruct) for core in _CORES),
    *(Global(f"{core}.multiarray.scalar", _scalar) for core in _CORES),
    *(Global(f"{core}.numeric._frombuffer", _frombuffer) for core in _CORES),
)
"""Names that pickled arrays and scalars need."""
