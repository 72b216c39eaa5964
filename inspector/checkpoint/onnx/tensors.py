"""A TensorProto as an entry: where its elements are, be that in the message, in numbers one by one, or in another file.
Nothing of them is read at opening."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from hashlib import sha256

from qinspect.inspector.checkpoint.dtypes import DType
from qinspect.inspector.checkpoint.onnx.external import ExternalFiles
from qinspect.inspector.checkpoint.onnx.types import (
    DOUBLES,
    FLOATS,
    INTS,
    LONGS,
    STRING,
    TYPES,
    UNSIGNED,
    field_of,
    opaque,
)
from qinspect.inspector.checkpoint.onnx.wire import FIXED32, FIXED64, LENGTH, VARINT, Wire
from qinspect.inspector.checkpoint.source import Source, View
from qinspect.inspector.checkpoint.tensor import MAX_DIMS, MAX_ELEMENTS, Described, Entry, Tensor, Value
from qinspect.inspector.errors import BrokenFile
from qinspect.inspector.text import some

_DIMS, _TYPE, _STRINGS, _NAME, _RAW, _EXTERNAL, _LOCATION = 1, 2, 6, 8, 9, 13, 14
_ELEMENTS = (FLOATS, INTS, LONGS, DOUBLES, UNSIGNED)
_MAX_NAME_BYTES = 1 << 16
_MAX_TEXT_BYTES = 1 << 12
_COUNTED_BYTES = 1 << 16
"""Numbers of variable length up to this size are counted at opening, of more when they are read."""
_HIGH = bytes(range(128, 256))
Piece = tuple[int, int] | bytearray
"""Of elements one by one: where packed ones are, or those that are by themselves, as they lie in memory."""
_AGAIN = "The file is damaged: download or convert it again."


@dataclass(slots=True)
class _Said:
    """What a message says of a tensor. pieces: of elements one by one, ranges of packed ones, and single ones."""

    name: str = ""
    data_type: int = 0
    dims: list[int] = field(default_factory=list)
    raw: tuple[int, int] | None = None
    pieces: dict[int, list[Piece]] = field(default_factory=dict)
    strings: list[tuple[int, int]] = field(default_factory=list)
    external: dict[str, str] = field(default_factory=dict)
    is_external: bool = False


class TensorReader:
    """Makes entries of the tensors of one model."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.external = ExternalFiles(wire.file)

    def name_of(self, start: int, stop: int) -> str:
        """The name in a message. Raises BrokenFile."""
        return next(
            (self.text(s, e) for n, w, _, s, e in self.wire.fields(start, stop) if (n, w) == (_NAME, LENGTH)), ""
        )

    def text(self, start: int, stop: int) -> str:
        """A name. Raises BrokenFile where it is not UTF-8, or longer than any is."""
        if stop - start > _MAX_NAME_BYTES:
            raise BrokenFile(
                "a name is longer than any is", file=self.wire.file.path, offset=start,
                expected=f"at most {_MAX_NAME_BYTES} bytes", found=str(stop - start), cure=_AGAIN,
            )  # fmt: skip
        raw = self.wire.read(start, stop)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as e:
            raise BrokenFile(
                "a name is not UTF-8", file=self.wire.file.path, offset=start, found=f"bytes {raw[:16].hex(' ')}",
                cure=_AGAIN,
            ) from e  # fmt: skip

    def pair(self, start: int, stop: int) -> tuple[str, str]:
        """Key and value of a StringStringEntryProto; a long value is described."""
        key = value = ""
        for number, wire, _, begin, end in self.wire.fields(start, stop):
            if (number, wire) == (1, LENGTH):
                key = self.text(begin, end)
            elif (number, wire) == (2, LENGTH):
                short = end - begin <= _MAX_TEXT_BYTES
                value = (
                    self.wire.read(begin, end).decode("utf-8", "replace") if short else f"text of {end - begin} bytes"
                )
        return key, value

    def entry(self, name: str, start: int, stop: int) -> Entry:
        """The tensor that a message describes, under a name. Raises BrokenFile where it cannot be."""
        said = self._said(start, stop)
        shape = self._shape(name, said.dims)
        n = math.prod(shape)
        if said.data_type == STRING:
            return self._strings(name, said, n)
        dtype = TYPES.get(said.data_type)
        if said.is_external or (said.external and said.raw is None):
            return self._outside(name, said, dtype, shape)
        if dtype is None:
            return self._opaque(name, said, shape)
        if said.raw is None:
            return self._one_by_one(name, said, dtype, shape)
        begin, end = said.raw
        if end - begin != dtype.nbytes(n):
            raise self._other_size(name, dtype, shape, end - begin)
        return Tensor(name, dtype, shape, None, self.wire.file, begin)

    def _said(self, start: int, stop: int) -> _Said:
        said = _Said()
        for one in self.wire.fields(start, stop):
            number, wire, value, begin, end = one
            if number == _DIMS:
                said.dims += self.wire.numbers(one) if end - begin <= 10 * MAX_DIMS else [1] * (MAX_DIMS + 1)
                if len(said.dims) > MAX_DIMS:
                    raise BrokenFile(
                        "has more dimensions than any tensor", file=self.wire.file.path, offset=begin,
                        expected=f"at most {MAX_DIMS}", cure=_AGAIN,
                    )  # fmt: skip
            elif number in _ELEMENTS:
                _add_piece(said.pieces.setdefault(number, []), self._piece(number, wire, value, begin, end))
            elif (number, wire) == (_TYPE, VARINT):
                said.data_type = value
            elif (number, wire) == (_RAW, LENGTH):
                said.raw = begin, end
            elif (number, wire) == (_STRINGS, LENGTH):
                said.strings.append((begin, end))
            elif (number, wire) == (_EXTERNAL, LENGTH):
                key, text = self.pair(begin, end)
                said.external[key] = text
            elif (number, wire) == (_LOCATION, VARINT):
                said.is_external = value == 1
        return said

    def _piece(self, number: int, wire: int, value: int, begin: int, end: int) -> Piece:
        if wire == LENGTH:
            return begin, end
        if wire == VARINT and number in (INTS, LONGS, UNSIGNED):
            return bytearray(value.to_bytes(8, "little"))
        if wire == (FIXED32 if number == FLOATS else FIXED64) and number in (FLOATS, DOUBLES):
            return bytearray(self.wire.read(begin, end))
        return bytearray()  # what readers of the format pass over

    def _shape(self, name: str, dims: list[int]) -> tuple[int, ...]:
        n = 1
        for d in dims:
            n *= d
            if n > MAX_ELEMENTS or d > MAX_ELEMENTS:
                raise BrokenFile(
                    "the shape is larger than any file, or negative", file=self.wire.file.path, key=name,
                    expected=f"at most {MAX_ELEMENTS} elements",
                    found=str([d - (1 << 64) if d >> 63 else d for d in dims]), cure=_AGAIN,
                )  # fmt: skip
        return tuple(dims)

    def _other_size(self, name: str, dtype: DType, shape: tuple[int, ...], found: int) -> BrokenFile:
        expected = f"{dtype.nbytes(math.prod(shape))} bytes for {dtype.name} {list(shape)}"
        return BrokenFile(
            "has data of another size than its shape", file=self.wire.file.path, key=name, expected=expected,
            found=f"{found} bytes", cure=_AGAIN,
        )  # fmt: skip

    def _outside(self, name: str, said: _Said, dtype: DType | None, shape: tuple[int, ...]) -> Tensor:
        n = math.prod(shape)
        if dtype is None:
            text = said.external.get("length", "0")
            dtype = opaque(said.data_type, n, int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0)
        return Tensor(name, dtype, shape, None, *self.external.place(name, said.external, dtype.nbytes(n)))

    def _opaque(self, name: str, said: _Said, shape: tuple[int, ...]) -> Tensor:
        begin, end = said.raw or (0, 0)
        n = math.prod(shape)
        return Tensor(name, opaque(said.data_type, n, end - begin if n else 1), shape, None, self.wire.file, begin)

    def _strings(self, name: str, said: _Said, n: int) -> Value:
        if len(said.strings) != n:
            raise BrokenFile(
                "has another number of strings than its shape", file=self.wire.file.path, key=name, expected=str(n),
                found=str(len(said.strings)), cure=_AGAIN,
            )  # fmt: skip
        digest = sha256()
        for begin, end in said.strings:
            raw = self.wire.read(begin, end)
            digest.update(len(raw).to_bytes(8, "little") + raw)
        text = f"{some(n, 'string')}, sha256 {digest.hexdigest()[:16]}"
        return Value(name, Described("tensor of strings, not read", text), self.wire.file)

    def _one_by_one(self, name: str, said: _Said, dtype: DType, shape: tuple[int, ...]) -> Tensor:
        """A tensor whose elements are numbers of the message."""
        number, n = field_of(said.data_type), math.prod(shape)
        pieces = said.pieces.get(number, [])
        n_bytes = dtype.nbytes(n)
        if number in (FLOATS, DOUBLES):
            found = sum(len(p) if isinstance(p, bytearray) else p[1] - p[0] for p in pieces)
            if found != n_bytes:
                raise self._other_size(name, dtype, shape, found)
            if len(pieces) == 1 and isinstance(pieces[0], tuple):
                return Tensor(name, dtype, shape, None, self.wire.file, pieces[0][0])
            return Tensor(name, dtype, shape, None, _Pieces(self.wire.file, name, pieces, n_bytes), 0)
        n_numbers = n_bytes if dtype.packed else n
        self._check_count(name, pieces, n_numbers)
        width = 1 if dtype.packed else dtype.bits // 8
        return Tensor(name, dtype, shape, None, _Varints(self.wire.file, name, pieces, n_numbers, width), 0)

    def _check_count(self, name: str, pieces: list[Piece], n: int) -> None:
        """Raises BrokenFile where pieces cannot be `n` numbers."""
        least = most = 0
        for piece in pieces:
            if isinstance(piece, bytearray):
                least, most = least + len(piece) // 8, most + len(piece) // 8
            elif piece[1] - piece[0] <= _COUNTED_BYTES:
                exact = len(self.wire.read(*piece).translate(None, _HIGH))
                least, most = least + exact, most + exact
            else:
                least, most = least + -(-(piece[1] - piece[0]) // 10), most + piece[1] - piece[0]
        if not least <= n <= most:
            raise _other_count(self.wire.file, name, n, most)


def _add_piece(pieces: list[Piece], piece: Piece) -> None:
    """Elements by themselves are put together: there may be millions."""
    last = pieces[-1] if pieces else None
    if isinstance(last, bytearray) and isinstance(piece, bytearray):
        last += piece
    else:
        pieces.append(piece)


def _other_count(file: Source, name: str, expected: int, found: int) -> BrokenFile:
    return BrokenFile(
        "has another number of elements than its shape", file=file.path, key=name, expected=some(expected, "number"),
        found=some(found, "number"), cure=_AGAIN,
    )  # fmt: skip


class _Pieces(View):
    """Elements that lie in several places of a file, one after another."""

    __slots__ = ("_data", "_file", "_name", "_pieces")

    def __init__(self, parent: Source, name: str, pieces: list[Piece], size: int) -> None:
        super().__init__(parent, size)
        self.identity = (*parent.identity, name)
        self._file = parent
        self._name = name
        self._pieces = pieces
        self._data: bytes | None = None

    def _made(self) -> bytes:
        read = self._file.read
        return b"".join(p if isinstance(p, bytearray) else read(p[0], p[1] - p[0]) for p in self._pieces)

    def _pread(self, offset: int, n: int) -> bytes:
        if self._data is None:
            self._data = self._made()
        return self._data[offset : offset + n]


class _Varints(_Pieces):
    """Elements that are numbers of variable length: they are made at the first reading, and kept."""

    __slots__ = ("_n", "_width")

    def __init__(self, parent: Source, name: str, pieces: list[Piece], n: int, width: int) -> None:
        super().__init__(parent, name, pieces, n * width)
        self._n = n
        self._width = width

    def _made(self) -> bytes:
        import numpy as np

        parts = []
        for piece in self._pieces:
            if isinstance(piece, bytearray):
                parts.append(np.frombuffer(piece, np.uint64))
                continue
            raw = np.frombuffer(self._file.read(piece[0], piece[1] - piece[0]), np.uint8)
            ends = np.flatnonzero(raw < 128)
            starts = np.concatenate([[0], ends[:-1] + 1])[: ends.size]
            lengths = ends - starts + 1
            values = np.zeros(ends.size, np.uint64)
            for i in range(int(min(lengths.max(initial=0), 10))):
                more = lengths > i
                values[more] |= (raw[starts[more] + i].astype(np.uint64) & np.uint64(127)) << np.uint64(7 * i)
            parts.append(values)
        made = np.concatenate(parts) if parts else np.empty(0, np.uint64)
        if made.size != self._n:
            raise _other_count(self._file, self._name, self._n, made.size)
        return made.astype(f"<u{self._width}").tobytes()
