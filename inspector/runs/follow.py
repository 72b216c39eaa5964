"""The log of a run on its way to a reader: raw bytes for a pipe, harmless text for a terminal."""

from __future__ import annotations

import codecs
import re
import time
from collections.abc import Callable
from pathlib import Path

from qinspect.inspector.errors import CannotRead, UnknownRun
from qinspect.inspector.runs.run import Run
from qinspect.inspector.runs.stored import open_file
from qinspect.inspector.text import visible

_CHUNK_BYTES = 256 << 10
_LOOK_EVERY_S = 0.2
_MAX_LINE = 64 << 10
"""Characters of a line without an end that are kept back."""
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_ERASE_LINE = "\r\x1b[K"


def copy_log(path: Path, offset: int, show: Callable[[bytes], object]) -> int:
    """Hand on what the log has from a byte offset on. Returns the offset after it. Raises CannotRead."""
    try:
        with open_file(path) as f:
            f.seek(offset)
            while data := f.read(_CHUNK_BYTES):
                show(data)
                offset += len(data)
    except FileNotFoundError:
        return offset
    except OSError as e:
        raise CannotRead(f"cannot be read: {e.strerror or e}", file=path) from e
    return offset


def follow(run: Run, offset: int, show: Callable[[bytes], object]) -> None:
    """Hand on the log from an offset on until the run has ended and all of it was read. Raises CannotRead, UnknownRun
    where the run is deleted meanwhile."""
    while True:
        live = run.state().state.is_live  # asked first: what was written before the end is read after it
        offset = copy_log(run.log_path, offset, show)
        if not run.folder.is_dir():
            raise UnknownRun(
                f"the run {run.id} was deleted or renamed while it was followed", file=run.folder,
                cure="If its processes are still running, they run without a log: `qinspect runs` lists what is there.",
            )  # fmt: skip
        if not live:
            return
        time.sleep(_LOOK_EVERY_S)


def offset_of_last_lines(path: Path, n: int) -> int:
    """Where the last n lines of the log begin, found from its end. Raises CannotRead."""
    try:
        with open_file(path) as f:
            end = start = f.seek(0, 2)
            data = b""
            # one newline more than lines: the one before the first of them
            while start and data.count(b"\n", 0, max(0, len(data) - 1)) < n:
                step = min(_CHUNK_BYTES, start)
                start -= step
                f.seek(start)
                data = f.read(step) + data
    except FileNotFoundError:
        return 0
    except OSError as e:
        raise CannotRead(f"cannot be read: {e.strerror or e}", file=path) from e
    if n <= 0:
        return end
    at = len(data) - 1 if data.endswith(b"\n") else len(data)
    for _ in range(n):
        at = data.rfind(b"\n", 0, max(0, at))
        if at < 0:
            return start
    return start + at + 1


class TerminalText:
    """Bytes of a log as text that cannot act on a terminal.

    Of a line that was written over with carriage returns, the last version is kept. Colours are dropped, other control
    characters made visible. live: a line without its end is shown too, and drawn anew as it changes.
    """

    def __init__(self, write: Callable[[str], object], width: int, live: bool) -> None:
        self._write = write
        self._width = max(20, width)
        self._live = live
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._rest = ""
        self._painted: str | None = None

    def __call__(self, data: bytes, final: bool = False) -> None:
        """Show more of the log."""
        *lines, self._rest = (self._rest + self._decoder.decode(data, final)).split("\n")
        shown = "".join(f"{_harmless(line)}\n" for line in lines)
        if shown:
            self._write(self._erase() + shown)
        if len(self._rest) > _MAX_LINE:
            self._write(self._erase() + _harmless(self._rest))
            self._rest = ""
        elif self._live and self._rest:
            self._paint(_harmless(self._rest))

    def close(self) -> None:
        """Show the last line, which has no end."""
        self(b"", final=True)
        if self._rest:
            self._write(f"{self._erase()}{_harmless(self._rest)}\n")
        self._rest, self._painted = "", None

    def _paint(self, text: str) -> None:
        # letters may be two cells wide, and a line that wraps cannot be erased
        room = self._width - 1 if text.isascii() else (self._width - 1) // 2
        if text[:room] != self._painted:
            self._write(_ERASE_LINE + text[:room])
            self._painted = text[:room]

    def _erase(self) -> str:
        painted, self._painted = self._painted, None
        return "" if painted is None else _ERASE_LINE


def _harmless(line: str) -> str:
    """One line without its newline."""
    last = line.rstrip("\r").rpartition("\r")[2]
    return visible(_COLOUR.sub("", last).expandtabs(8))
