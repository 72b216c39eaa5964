"""From text to token ids."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from qinspect.inspector.checkpoint.hub import find_in_cache
from qinspect.inspector.errors import BrokenFile, CannotOpen
from qinspect.inspector.samples.byte_lengths import ByteLengths


class Tokenizer(Protocol):
    """name, sha256: what is recorded of it; sha256 is None where the name says everything."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def sha256(self) -> str | None: ...  # noqa: D102

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`."""

    def byte_lengths(self, ids: Sequence[int]) -> list[int] | None:
        """How many bytes of text each of the first tokens of a text stands for; None where that is not known."""


class ByteTokenizer:
    """The bytes of the text in UTF-8: ids 0 to 255."""

    name = "bytes"
    sha256 = None

    def encode(self, text: str) -> list[int]:
        """A lone surrogate has three bytes, as if it were a character."""
        return list(text.encode("utf-8", "surrogatepass"))

    def byte_lengths(self, ids: Sequence[int]) -> list[int] | None:
        """One each."""
        return [1] * len(ids)


class FileTokenizer:
    """A `tokenizer.json` as Hugging Face's library reads it, with the special tokens that the file itself adds.

    Truncation and padding that the file asks for are left out. Raises CannotOpen where the library is not installed,
    BrokenFile where it cannot read the file.
    """

    name = "tokenizer.json"

    def __init__(self, path: Path) -> None:
        try:
            import tokenizers
        except ImportError as e:
            raise CannotOpen(
                "needs the package `tokenizers`, which is not installed",
                file=path,
                cure="Install qinspect[calibrate], or give token ids as JSON.",
            ) from e
        try:
            content = path.read_bytes()
        except OSError as e:
            raise CannotOpen(f"cannot be read: {e.strerror}", file=path) from e
        self.sha256: str | None = hashlib.sha256(content).hexdigest()
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(content.decode())
        except Exception as e:  # the library raises bare Exceptions
            raise BrokenFile(f"is not a tokenizer: {e}", file=path, cure="Download or copy it again.") from e
        self._lengths: ByteLengths | None = None
        self._content = content
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, text: str) -> list[int]:
        """Raises ValueError for text that the library refuses."""
        try:
            return list(self._tokenizer.encode(text).ids)
        except Exception as e:  # as above
            raise ValueError(str(e)) from e

    def byte_lengths(self, ids: Sequence[int]) -> list[int] | None:
        """By the file: byte_lengths.py."""
        if self._lengths is None:
            self._lengths = ByteLengths(self._content)
        return self._lengths.of(ids)


def load_tokenizer(model: Path) -> Tokenizer | None:
    """That of a model: a folder, a file in one, or a name in the local Hugging Face cache. None where it has none.

    Raises as FileTokenizer does, and CannotOpen for a model that is not there.
    """
    place = model if model.exists() else find_in_cache(str(model))
    path = (place if place.is_dir() else place.parent) / "tokenizer.json"
    return FileTokenizer(path) if path.is_file() else None
