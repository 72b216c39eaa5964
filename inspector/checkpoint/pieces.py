"""Tensors that are stored in pieces, read as if their bytes stood in one file."""

from __future__ import annotations

from dataclasses import dataclass

from qinspect.inspector.checkpoint.dtypes import DType
from qinspect.inspector.checkpoint.source import Source, View
from qinspect.inspector.checkpoint.tensor import Tensor
from qinspect.inspector.errors import CannotRead


class FilePart(View):
    """A run of bytes of a file, numbered from its own beginning."""

    __slots__ = ("_base", "_file")

    def __init__(self, file: Source, base: int, size: int) -> None:
        super().__init__(file, size)
        self._file = file
        self._base = base

    def _pread(self, offset: int, n: int) -> bytes:
        return self._file.read(self._base + offset, n)


class UnreadableFile(View):
    """Stands for bytes that are not read. why: a clause."""

    __slots__ = ("_why",)

    def __init__(self, parent: Source, why: str) -> None:
        super().__init__(parent, 1 << 62)
        self._why = why

    def _pread(self, _offset: int, _n: int) -> bytes:
        raise CannotRead(f"the tensor is listed, but not read: {self._why}", file=self.path)


@dataclass(slots=True)
class Piece:
    """One torch.save archive of one tensor, at `start` of `file`, `length` bytes. dtype, sizes: what the tensor must
    be."""

    file: Source
    start: int
    length: int
    name: str
    dtype: DType
    sizes: tuple[int, ...]
    _place: int | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        n = 1
        for d in self.sizes:
            n *= d
        return self.dtype.nbytes(n)

    def read(self, offset: int, n: int) -> bytes:
        """Bytes of its elements. The archive's directory is read when the first are asked for. Raises CannotRead where
        it holds something else; QinspectError as the readers of archives."""
        if self._place is None:
            self._place = self._find()
        return self.file.read(self._place + offset, n)

    def _find(self) -> int:
        from qinspect.inspector.checkpoint.torch_file import read_zip

        found = list(read_zip(FilePart(self.file, self.start, self.length)).values())
        one = found[0] if len(found) == 1 else None
        if (
            not isinstance(one, Tensor)
            or one.strides is not None
            or (one.dtype.name, one.shape) != (self.dtype.name, self.sizes)
        ):
            raise CannotRead(
                "a piece is not what .metadata says",
                file=self.file.path,
                key=self.name,
                offset=self.start,
                expected=f"one {self.dtype.name} tensor of {list(self.sizes)}",
                found=repr(one) if one else f"{len(found)} entries",
            )
        return self.start + one.offset


class PiecedFile(View):
    """The elements of pieces, one after another."""

    __slots__ = ("_pieces",)

    def __init__(self, parent: Source, pieces: list[Piece]) -> None:
        super().__init__(parent, sum(p.nbytes for p in pieces))
        self._pieces = pieces

    def _pread(self, offset: int, n: int) -> bytes:
        parts = []
        start = 0
        for piece in self._pieces:
            at, end = max(offset - start, 0), min(offset + n - start, piece.nbytes)
            if at < end:
                parts.append(piece.read(at, end - at))
            start += piece.nbytes
        return b"".join(parts)
