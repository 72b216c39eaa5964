"""Bytes that stand in a pickle, or in a pickle within it, read as a file is."""

from __future__ import annotations

from qinspect.inspector.checkpoint.file import File


class MemoryFile(File):
    """A File over bytes that were taken out of another one; path and identity are those of that file."""

    __slots__ = ("_data",)
    stored = False

    def __init__(self, parent: File, data: bytes) -> None:
        self.path = parent.path
        self.size = len(data)
        self.identity = parent.identity
        self.notes = parent.notes
        self._absolute = parent._absolute
        self._fd = -1
        self._data = data

    def _pread(self, offset: int, n: int) -> bytes:
        return self._data[offset : offset + n]

    def read_into(self, offset: int, buffer: bytearray) -> None:
        """Fill `buffer` from `offset`."""
        buffer[:] = self.read(offset, len(buffer))
