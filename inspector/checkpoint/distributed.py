"""torch.distributed.checkpoint (FSDP, Megatron's torch_dist): a folder with a `.metadata`, and `.distcp` files in which
small torch.save archives stand one after another.

`.metadata` is a pickle that says of each tensor its dtype, its shape and its chunks, and of each chunk in which file it
is, from where and how long. It is walked and not run. A tensor whose chunks, one after another, are its rows is read
like any other; one that is cut along another dimension is listed and not read.
Sources: torch/distributed/checkpoint/{metadata,filesystem}.py of torch 2.1 to 2.13.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from qinspect.inspector.checkpoint.beside import looks_like_pickle
from qinspect.inspector.checkpoint.dtypes import TORCH_DTYPES, DType
from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.checkpoint.kinds.words import first_words
from qinspect.inspector.checkpoint.pickle_objects import Global
from qinspect.inspector.checkpoint.pickled_structure import MAX_PICKLE_BYTES, attributes, walk_structure
from qinspect.inspector.checkpoint.pieces import Piece, PiecedFile, UnreadableFile
from qinspect.inspector.checkpoint.tensor import MAX_DIMS, MAX_ELEMENTS, Entry, Tensor
from qinspect.inspector.checkpoint.torch_file import is_old_pickle
from qinspect.inspector.errors import BrokenFile, QinspectError
from qinspect.inspector.text import brief

_TENSOR, _BYTES = "TensorStorageMetadata", "BytesStorageMetadata"
_COPY_AGAIN = "Copy the whole folder again."
Place = tuple[str, int, int]
"""(file name, offset, length) of what is stored of a chunk."""
Shape = tuple[int, ...]


def read_metadata(file: File) -> tuple[dict[str, Entry], list[File], int]:
    """(tensors, the files with their pieces, how many objects are not tensors) of a folder's `.metadata`.

    Raises BrokenFile or UnsafePickle where it is no such file or names pieces outside the folder.
    """
    if file.size > MAX_PICKLE_BYTES:
        raise _broken(file, "is too large", expected=f"at most {MAX_PICKLE_BYTES} bytes", found=f"{file.size}")
    if not looks_like_pickle(file.read(0, min(file.size, 16))) and not is_old_pickle(file):
        found = first_words(file.read(0, min(file.size, 1024)))
        raise _broken(file, "is not the .metadata of a torch distributed checkpoint", expected="a pickle", found=found)
    metadata = attributes(walk_structure(file.read(0, file.size), file.path))
    described, stored = metadata.get("state_dict_metadata"), metadata.get("storage_data")
    if not isinstance(described, dict) or not isinstance(stored, dict):
        raise _broken(
            file, "is not the .metadata of a torch distributed checkpoint", expected="tensors, and where they are"
        )
    pieces = _Pieces(file, stored)
    entries: dict[str, Entry] = {}
    others = 0
    for name, entry in described.items():
        kind = getattr(entry, "name", "").rpartition(".")[2]
        if isinstance(name, str) and kind == _TENSOR:
            entries[name] = _tensor(file, name, attributes(entry), pieces)
        elif kind == _BYTES:
            others += 1
        else:
            raise _broken(
                file, "an entry is not a tensor", key=str(name)[:200], expected=_TENSOR, found=kind or "a value"
            )
    return entries, list(pieces.files.values()), others


def _tensor(file: File, name: str, described: Mapping[str, Any], pieces: _Pieces) -> Tensor:
    dtype, shape = _dtype(described.get("properties")), _sizes(described.get("size"))
    if shape is None or len(shape) > MAX_DIMS or math.prod(shape) > MAX_ELEMENTS:
        found = brief(described.get("size"))
        raise _broken(file, "the shape is not a list of sizes", key=name, expected="a torch.Size", found=found)
    if dtype is None:
        return Tensor(name, _UNKNOWN, shape, None, UnreadableFile(file, "its dtype is not known"), 0)
    chunks = described.get("chunks")
    try:
        cut = _rows(shape, chunks if isinstance(chunks, list) else [])
        made = [pieces.piece(name, offsets, dtype, sizes) for offsets, sizes in cut]
    except _NotRead as e:
        return Tensor(name, dtype, shape, None, UnreadableFile(file, str(e)), 0)
    return Tensor(name, dtype, shape, None, PiecedFile(file, made), 0)


class _NotRead(Exception):
    """Why a tensor is listed and not read."""


_UNKNOWN = DType("unknown", 8, "")


class _Pieces:
    """Where each chunk of each tensor is. files: the files that hold them, opened."""

    def __init__(self, metadata: File, stored: Mapping[Any, Any]) -> None:
        self.files: dict[str, File] = {}
        self._metadata = metadata
        self._places: dict[tuple[str, Shape], Place] = {}
        self._compressed = False
        for index, info in stored.items():
            self._add(attributes(index), attributes(info))

    def _add(self, index: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        name, offsets = index.get("fqn"), _sizes(index.get("offset"))
        path, start, length = (info.get(k) for k in ("relative_path", "offset", "length"))
        if info.get("transform_descriptors"):
            self._compressed = True
            return
        if not isinstance(name, str) or not isinstance(path, str) or type(start) is not int or type(length) is not int:
            raise _broken(self._metadata, "a place is not a file, an offset and a length", key=str(name)[:200])
        self._places[name, offsets or ()] = (path, start, length)

    def piece(self, name: str, offsets: Shape, dtype: DType, sizes: Shape) -> Piece:
        """Raises _NotRead where the chunk has no place; BrokenFile where that is outside the file or the folder."""
        place = self._places.get((name, offsets))
        if place is None:
            raise _NotRead("a piece of it is compressed" if self._compressed else "a piece of it is in no file")
        path, start, length = place
        file = self._file(path)
        if start < 0 or length < 0 or start + length > file.size:
            raise _broken(
                file,
                "a piece reaches beyond the end of the file",
                key=name,
                expected=f"{brief(length)} bytes from {brief(start)}",
                found=f"{file.size} bytes",
            )
        return Piece(file, start, length, name, dtype, sizes)

    def _file(self, name: str) -> File:
        if name in self.files:
            return self.files[name]
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or not pure.parts:
            raise BrokenFile(
                "a piece lies outside the checkpoint's folder",
                file=self._metadata.path,
                expected="file names inside the folder",
                found=name,
                cure="Do not trust this checkpoint.",
            )
        try:
            self.files[name] = File(self._metadata.path.parent / name)
        except QinspectError as e:
            raise BrokenFile(
                "a file of pieces is missing or cannot be read",
                file=self._metadata.path.parent / name,
                expected="the file that .metadata names",
                found=e.problem,
                cure=_COPY_AGAIN,
            ) from e
        return self.files[name]


def _rows(shape: Shape, chunks: list[Any]) -> Iterator[tuple[Shape, Shape]]:
    """(offsets, sizes) of chunks in the order of the rows that they hold. Raises _NotRead where they are no rows, or
    leave a gap."""
    cut = []
    for chunk in map(attributes, chunks):
        offsets, sizes = _sizes(chunk.get("offsets")), _sizes(chunk.get("sizes"))
        if offsets is None or sizes is None or not len(offsets) == len(sizes) == len(shape):
            raise _NotRead("its pieces do not have its number of dimensions")
        cut.append((offsets, sizes))
    row = 0
    for offsets, sizes in sorted(cut):
        if sizes[1:] != shape[1:] or any(offsets[1:]):
            raise _NotRead(f"it is in {len(cut)} pieces that are cut along dimensions other than the first")
        if shape and offsets[0] != row:
            raise _NotRead("its pieces overlap or leave a gap")
        row += sizes[0] if shape else 1
        yield offsets, sizes
    if row != (shape[0] if shape else 1) and 0 not in shape:
        raise _NotRead("its pieces do not cover all of it")


def _dtype(properties: object) -> DType | None:
    state = getattr(properties, "state", None)
    of = state[0] if isinstance(state, tuple) and state else attributes(properties).get("dtype")
    return TORCH_DTYPES.get(of.name.removeprefix("torch.")) if isinstance(of, Global) else None


def _sizes(sizes: object) -> Shape | None:
    if not isinstance(sizes, (tuple, list)) or not all(type(d) is int and 0 <= d <= MAX_ELEMENTS for d in sizes):
        return None
    return tuple(sizes)


def _broken(
    file: File, problem: str, *, key: str | None = None, expected: str | None = None, found: str | None = None
) -> BrokenFile:
    return BrokenFile(problem, file=file.path, key=key, expected=expected, found=found, cure=_COPY_AGAIN)
