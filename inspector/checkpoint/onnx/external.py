"""Tensors that an ONNX model keeps in files beside it: which file, from where, how many bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.checkpoint.index import is_outside
from qinspect.inspector.checkpoint.listing import in_hub_cache
from qinspect.inspector.checkpoint.source import Source, View
from qinspect.inspector.errors import BrokenFile, CannotRead, QinspectError

_MAX_OPEN = 32
"""Files that are kept open. torch writes one for each tensor of a large model: more than a process may have open."""
_MAX_FILES = 1 << 18
_MAX_DIGITS = 19


class ExternalFiles:
    """The files that the tensors of one model are in. Each is opened once."""

    def __init__(self, model: Source) -> None:
        self._model = model
        self._folder = model.path.parent
        self._opened: dict[str, Source] = {}

    @property
    def files(self) -> tuple[Source, ...]:
        """Those that were opened."""
        return tuple(self._opened.values())

    def place(self, name: str, said: Mapping[str, str], n_bytes: int) -> tuple[Source, int]:
        """File and offset of the data of a tensor. Raises BrokenFile where what is said of them is not so."""
        location = said.get("location", "")
        file = self._opened.get(location) or self._open(name, location)
        offset, length = self._number(name, said, "offset", 0), self._number(name, said, "length", n_bytes)
        if length != n_bytes:
            raise self._broken(
                name, "is said to have another length in its file than its shape has", expected=f"{n_bytes} bytes",
                found=f"{length} in {location}",
            )  # fmt: skip
        if offset + n_bytes > file.size:
            raise self._broken(
                name, "reaches beyond the end of the file that it is in",
                expected=f"{n_bytes} bytes from {offset} on", found=f"{file.size} bytes in {location}",
                cure="That file is truncated, or belongs to another model: download or copy it again.",
            )  # fmt: skip
        return file, offset

    def _number(self, name: str, said: Mapping[str, str], what: str, default: int) -> int:
        text = said.get(what)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
            raise self._broken(name, f"has no number for the {what} of its data", expected="digits", found=text[:80])
        return int(text)

    def _open(self, name: str, location: str) -> Source:
        if not self._model.stored:
            raise self._broken(name, "is in another file, of which nothing is known here", found=location[:300])
        if is_outside(location) or "\0" in location or self._leads_out(location):
            raise self._broken(
                name, "is said to be in a file outside the model's folder", expected="a file name inside the folder",
                found=location[:300] or "no name", cure="Do not trust this model.",
            )  # fmt: skip
        if len(self._opened) >= _MAX_FILES:
            raise self._broken(name, "is in one file too many", expected=f"at most {_MAX_FILES} files")
        try:
            file = File(self._folder / location)
        except QinspectError as e:
            raise self._broken(
                name, "is in a file that is missing or cannot be read", expected=f"the file {location[:300]}",
                found=e.problem, cure="Download or copy that file into the folder of the model, under this name.",
            ) from e  # fmt: skip
        kept: Source = file if len(self._opened) < _MAX_OPEN else _Reopened(file)
        self._opened[location] = kept
        return kept

    def _leads_out(self, location: str) -> bool:
        """Whether a link on the way leads out of the folder. Those of a hub's cache lead to where it keeps files."""
        within = [os.path.realpath(self._folder)]
        if in_hub_cache(self._folder):
            within.append(os.path.realpath(Path(os.path.abspath(self._folder)).parent.parent / "blobs"))
        real = os.path.realpath(self._folder / location)
        return not any(real.startswith(folder.rstrip(os.sep) + os.sep) for folder in within)

    def _broken(
        self, name: str, problem: str, *, expected: str | None = None, found: str | None = None,
        cure: str = "The model is damaged or was put together wrongly: download or convert it again.",
    ) -> BrokenFile:  # fmt: skip
        return BrokenFile(problem, file=self._model.path, key=name, expected=expected, found=found, cure=cure)


class _Reopened(View):
    """A file that is opened for each reading, and is then still the one that it was."""

    __slots__ = ("_absolute",)
    stored = True

    def __init__(self, file: File) -> None:
        super().__init__(file.path, file.size)
        self.identity = file.identity
        self._absolute = Path(os.path.abspath(file.path))
        file.close()

    def _pread(self, offset: int, n: int) -> bytes:
        file = self._now()
        if file is None:
            raise CannotRead("is another file than when it was opened, or gone", file=self.path, offset=offset)
        with closing(file):
            return file.read(offset, n)

    def _now(self) -> File | None:
        """The file, opened; None where it is no longer there, or another."""
        try:
            file = File(self._absolute)
        except QinspectError:
            return None
        if file.identity == self.identity:
            return file
        file.close()
        return None

    def changed(self) -> bool:
        """Whether what was opened is no longer there, or is another now."""
        file = self._now()
        if file is not None:
            file.close()
        return file is None

    def gone(self) -> bool:
        """Whether nothing is there any more."""
        return not self._absolute.exists()
