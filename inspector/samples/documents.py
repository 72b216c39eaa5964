"""Where the samples of a calibration come from: files of text, lines of JSON, parquet, token ids, a named data set.

Every source can be gone through again and again, in its own order, and reads no further than it is asked to.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qinspect.inspector.errors import BrokenFile, CannotOpen
from qinspect.inspector.samples.compressed import unpacked
from qinspect.inspector.samples.tokens import Tokenizer
from qinspect.inspector.text import brief

Document = str | list[Any]
"""Text, or token ids that nobody has checked."""

Described = dict[str, Any]

HASHED_BYTES = 1 << 28
"""So much of a file is hashed: a file of 10 GB is not read for a few samples at its beginning."""

TEXT_BLOCK_CHARACTERS = 1 << 20
MAX_LINE_BYTES = 1 << 28
MAX_IDS_BYTES = 1 << 30

_SHAPE_OF_IDS = '{"vocab": 50280, "samples": [[1, 2], ...]} or a list of lists of ids'

_LINES = (".jsonl", ".ndjson")
_PACKED = (".zst", ".gz")
_FILES = (*_LINES, *_PACKED, ".json", ".parquet", ".txt", ".text", ".md")
_NAME = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?::(?P<config>[\w.-]+))?(?:@(?P<split>[\w.\[\]:%-]+))?")


class Documents(ABC):
    """The documents of one source, numbered from 0 in its order. Iterating raises what a damaged source deserves."""

    needs_tokenizer = True

    @abstractmethod
    def __iter__(self) -> Iterator[Document]: ...

    @abstractmethod
    def describe(self) -> Described:
        """What the source is: its name, and what tells its content."""

    def count(self) -> int:
        """How many there are, empty ones too."""
        return sum(1 for _ in self)


class FileDocuments(Documents):
    """Those of one file. kind: in words."""

    kind: str

    def __init__(self, path: Path) -> None:
        self.path = path

    def describe(self) -> Described:
        """With the sha256 of the file, or of its first HASHED_BYTES."""
        digest = hashlib.sha256()
        try:
            with self.path.open("rb") as f:
                size = self.path.stat().st_size
                left = HASHED_BYTES
                while left and (block := f.read(min(left, 1 << 20))):
                    digest.update(block)
                    left -= len(block)
        except OSError as e:
            raise CannotOpen(f"cannot be read: {e.strerror}", file=self.path) from e
        hashed = {"sha256": digest.hexdigest(), "sha256_of_bytes": min(size, HASHED_BYTES)}
        return {"kind": self.kind, "file": self.path.name, "bytes": size, **hashed}


class TextPieces(FileDocuments):
    """A text cut into consecutive pieces of `seq_len` tokens; the last one may be shorter.

    Tokenized in blocks of 2^20 characters and the rest of the line, so that a long file is not read whole; no token
    reaches over the end of a block.
    """

    kind = "text, consecutive pieces"

    def __init__(self, path: Path, tokenizer: Tokenizer, seq_len: int) -> None:
        super().__init__(path)
        self._tokenizer, self._seq_len = tokenizer, seq_len

    def __iter__(self) -> Iterator[Document]:
        ids: list[int] = []
        for block in self._blocks():
            ids += encoded(self._tokenizer, block, self.path)
            whole = len(ids) - len(ids) % self._seq_len
            for start in range(0, whole, self._seq_len):
                yield ids[start : start + self._seq_len]
            del ids[:whole]
        if ids:
            yield ids

    def _blocks(self) -> Iterator[str]:
        with unpacked(self.path) as raw:
            text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            try:
                while block := text.read(TEXT_BLOCK_CHARACTERS) + text.readline(TEXT_BLOCK_CHARACTERS):
                    yield block
            except UnicodeDecodeError as e:
                raise BrokenFile(
                    f"is not text in UTF-8: {e.reason}",
                    file=self.path,
                    expected="text, JSON lines, parquet or token ids",
                ) from e


class JsonLines(FileDocuments):
    """One JSON object a line, the text in one field of it. Lines of white space are no documents."""

    kind = "JSON lines"

    def __init__(self, path: Path, field: str) -> None:
        super().__init__(path)
        self._field = field

    def describe(self) -> Described:
        """With the field."""
        return {**super().describe(), "field": self._field}

    def __iter__(self) -> Iterator[Document]:
        for number, line in self._lines():
            try:
                content = json.loads(line)
            except (ValueError, RecursionError) as e:
                raise self._broken(number, f"is not valid JSON: {e}") from e
            if not isinstance(content, dict) or self._field not in content:
                found = ", ".join(map(str, list(content)[:10])) if isinstance(content, dict) else brief(content)
                raise self._broken(
                    number, "has no such field", expected=f"an object with {self._field!r}", found=found,
                    cure="Name the field that holds the text.",
                )  # fmt: skip
            text = content[self._field]
            if text is not None and not isinstance(text, str):
                raise self._broken(number, f"has no text in {self._field!r}", found=brief(text))
            yield text or ""

    def count(self) -> int:
        """Lines with something on them."""
        return sum(1 for _ in self._lines())

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        with unpacked(self.path) as raw:
            number = 0
            while line := raw.readline(MAX_LINE_BYTES):
                number += 1
                if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                    raise self._broken(number, "is too long", expected=f"at most {MAX_LINE_BYTES} bytes")
                if line := line.strip():
                    yield number, line

    def _broken(
        self, number: int, problem: str, expected: str | None = None, found: str | None = None, cure: str | None = None
    ) -> BrokenFile:
        return BrokenFile(f"line {number} {problem}", file=self.path, expected=expected, found=found, cure=cure)


class Parquet(FileDocuments):
    """The rows of one column."""

    kind = "parquet"

    def __init__(self, path: Path, field: str) -> None:
        super().__init__(path)
        self._field = field
        with self._opened() as file:
            columns = file.schema_arrow.names
            if field not in columns:
                raise BrokenFile(
                    "has no such column", file=path, expected=field, found=", ".join(columns[:10]),
                    cure="Name the column that holds the text.",
                )  # fmt: skip
            self._n_rows = int(file.metadata.num_rows)

    def describe(self) -> Described:
        """With the column."""
        return {**super().describe(), "field": self._field}

    def count(self) -> int:
        """Rows, as the file's footer has them."""
        return self._n_rows

    def __iter__(self) -> Iterator[Document]:
        with self._opened() as file:
            row = 0
            for batch in file.iter_batches(batch_size=64, columns=[self._field]):
                for text in batch.column(0).to_pylist():
                    if text is not None and not isinstance(text, str):
                        raise BrokenFile(f"row {row} of {self._field!r} is not text", file=self.path, found=brief(text))
                    yield text or ""
                    row += 1

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as e:
            raise CannotOpen(
                "needs the package `pyarrow`, which is not installed", file=self.path,
                cure="Install qinspect[calibrate], or give the texts as JSON lines.",
            ) from e  # fmt: skip
        try:
            with parquet.ParquetFile(self.path) as file:
                yield file
        except (pyarrow.ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError) as e:
            raise BrokenFile(f"cannot be read as parquet: {e}", file=self.path, cure="Copy it again.") from e


class TokenIds(FileDocuments):
    """`{"vocab": n, "samples": [[...], ...]}`, or the list of lists alone."""

    kind = "token ids"
    needs_tokenizer = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            with unpacked(path) as f:
                raw = f.read(MAX_IDS_BYTES + 1)
            if len(raw) > MAX_IDS_BYTES:
                raise BrokenFile("is too large for token ids", file=path, expected=f"at most {MAX_IDS_BYTES} bytes")
            if not raw.strip():
                raise BrokenFile(
                    "is empty", file=path, expected=_SHAPE_OF_IDS, cure="Write it again, or give other samples."
                )
            content = json.loads(raw)
        except (ValueError, RecursionError) as e:
            raise BrokenFile(f"is not valid JSON: {e}", file=path) from e
        vocab = content.get("vocab") if isinstance(content, dict) else None
        samples = content.get("samples") if isinstance(content, dict) else content
        if not isinstance(samples, list) or not all(isinstance(s, list) for s in samples):
            raise BrokenFile(
                "holds no token ids", file=path, found=brief(content),
                expected=_SHAPE_OF_IDS,
            )  # fmt: skip
        if vocab is not None and (type(vocab) is not int or vocab < 1):
            raise BrokenFile("is not a size", file=path, key="vocab", expected="an integer from 1", found=brief(vocab))
        self.vocab: int | None = vocab
        self._samples: list[list[Any]] = samples

    def describe(self) -> Described:
        """With the size of the vocabulary, where the file has it."""
        return {**super().describe(), "vocab": self.vocab}

    def __iter__(self) -> Iterator[Document]:
        return iter(self._samples)

    def count(self) -> int:
        """Samples."""
        return len(self._samples)


class NamedDataSet(Documents):
    """`name[:config][@split]` as the package `datasets` finds it, streamed. split: `train` where none is named."""

    def __init__(self, name: str, config: str | None, split: str | None, field: str) -> None:
        self._name, self._config, self._split, self._field = name, config, split or "train", field
        try:
            import datasets
        except ImportError as e:
            raise CannotOpen(
                "is not a file here, and datasets by name need the package `datasets`, which is not installed",
                file=name,
                cure="Give a file of text, JSON lines, parquet or token ids, or install qinspect[calibrate].",
            ) from e  # fmt: skip
        with self._clearly():
            self._builder = datasets.load_dataset_builder(name, config)
            self._data = self._builder.as_streaming_dataset(split=self._split)

    @contextmanager
    def _clearly(self) -> Iterator[None]:
        """Whatever the package raises, as one sentence."""
        try:
            yield
        except Exception as e:  # its own, the hub's, the network's, the parsers': hundreds
            raise CannotOpen(
                f"cannot be loaded as a dataset: {type(e).__name__}: {e}", file=self._name,
                cure="Without a network, give a file: text, JSON lines, parquet or token ids.",
            ) from e  # fmt: skip

    def describe(self) -> Described:
        """With the revision, where the package tells it."""
        revision = getattr(self._builder, "hash", None)
        return {
            "kind": "data set", "name": self._name, "config": self._config, "split": self._split,
            "revision": None if revision is None else str(revision), "field": self._field,
        }  # fmt: skip

    def count(self) -> int:
        """As the data set says; where it does not, all of it is read."""
        splits = getattr(getattr(self._builder, "info", None), "splits", None) or {}
        found = getattr(splits.get(self._split), "num_examples", None)
        return found if isinstance(found, int) and found > 0 else super().count()

    def __iter__(self) -> Iterator[Document]:
        with self._clearly():
            rows = iter(self._data)
        for i in range(1 << 62):
            with self._clearly():
                row = next(rows, None)
            if row is None:
                return
            text = row.get(self._field) if isinstance(row, dict) else None
            if not isinstance(text, str):
                raise BrokenFile(
                    f"row {i} has no text", file=self._name, key=self._field, found=", ".join(map(str, row))[:200],
                    cure="Name the column that holds the text.",
                )  # fmt: skip
            yield text


def open_documents(source: str | Path, tokenizer: Tokenizer | None, seq_len: int, field: str) -> Documents:
    """By the end of the file's name: `.jsonl`, `.ndjson`, `.parquet`, `.json` (token ids), else text; `.zst` and `.gz`
    behind it. What is no file and looks like a name is a data set.

    Raises CannotOpen and BrokenFile.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        name = _NAME.fullmatch(source) if isinstance(source, str) else None
        if name is None or path.exists() or path.suffix.lower() in _FILES:
            raise CannotOpen(
                "is not a file", file=path,
                cure="Give a file of text, JSON lines, parquet or token ids, or the name of a dataset.",
            )  # fmt: skip
        return NamedDataSet(name["name"], name["config"], name["split"], field)
    suffixes = [s.lower() for s in path.suffixes]
    kind = next((s for s in reversed(suffixes) if s not in _PACKED), "")
    if kind in _LINES:
        return JsonLines(path, field)
    if kind == ".parquet":
        return Parquet(path, field)
    if kind == ".json":
        return TokenIds(path)
    if tokenizer is None:
        raise no_tokenizer(path)
    return TextPieces(path, tokenizer, seq_len)


def no_tokenizer(source: str | Path) -> CannotOpen:
    """Text, and nothing that makes tokens of it."""
    return CannotOpen(
        "is text, and the model has no tokenizer", file=source,
        cure='Put tokenizer.json beside the model, or give ids as JSON: {"vocab": 50280, "samples": [[1, 2], ...]}.',
    )  # fmt: skip


def encoded(tokenizer: Tokenizer, text: str, source: str | Path) -> list[int]:
    """Token ids. Raises BrokenFile for text that the tokenizer refuses."""
    try:
        return tokenizer.encode(text)
    except ValueError as e:
        raise BrokenFile(f"a text cannot be tokenized by {tokenizer.name}: {e}", file=source) from e
