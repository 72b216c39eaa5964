"""Files that may be compressed, read as what they hold."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from qinspect.inspector.errors import BrokenFile, CannotOpen

MAX_WINDOW_BYTES = 1 << 31
"""As `zstd --long=31` compresses; the library's own limit is 2^27."""


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """The content of a file, decompressed while it is read."""
    suffix = path.suffix.lower()
    try:
        with path.open("rb") as raw:
            if suffix == ".gz":
                yield cast("BinaryIO", gzip.GzipFile(fileobj=raw))
            elif suffix == ".zst":
                yield _zstandard(path, raw)
            else:
                yield raw
    except (gzip.BadGzipFile, zlib.error, EOFError) as e:
        raise BrokenFile(f"cannot be decompressed: {e}", file=path, cure="Download or copy it again.") from e
    except OSError as e:
        raise CannotOpen(f"cannot be read: {e.strerror or e}", file=path) from e


def _zstandard(path: Path, raw: BinaryIO) -> BinaryIO:
    try:
        import zstandard
    except ImportError as e:
        raise CannotOpen(
            "needs the package `zstandard`, which is not installed", file=path,
            cure="Install qinspect[calibrate], or decompress the file with `zstd -d`.",
        ) from e  # fmt: skip

    return io.BufferedReader(_Zstandard(raw, zstandard), 1 << 17)


class _Zstandard(io.RawIOBase):
    """The content of zstandard frames, one behind the other. The package's own reader takes the end of a truncated file
    for the end of its content."""

    def __init__(self, raw: BinaryIO, package: Any) -> None:
        self._raw, self._package = raw, package
        self._frame: Any = None
        self._unused = b""
        self._content = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._content and self._decompress():
            pass
        n = min(len(buffer), len(self._content))
        buffer[:n] = self._content[:n]
        self._content = self._content[n:]
        return n

    def _decompress(self) -> bool:
        """Some more of the content, which may be nothing; False at the end."""
        packed = self._unused or self._raw.read(1 << 14)
        if not packed:
            if self._frame is not None:
                raise EOFError("the file ends within a frame")
            return False
        if self._frame is None:
            self._frame = self._package.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
        try:
            self._content = memoryview(self._frame.decompress(packed))
        except self._package.ZstdError as e:
            raise zlib.error(str(e)) from e
        self._unused = b""
        if self._frame.eof:
            self._unused, self._frame = self._frame.unused_data, None
        return True
