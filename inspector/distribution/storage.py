"""Distributions in a file: for every observation point the pooled table and one table a sample.

A safetensors file. `__metadata__` has `format`, `version`, `points` (a JSON list of names) and what the writer adds.
Point i has `point.<i>.index`, int64[1 + samples, fields] (packing.FIELDS; the first row is the pooled table, and the
only one where samples are not kept apart), and `point.<i>.tables`, the bytes that the rows point into. A reader takes
the header, then what it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import numpy as np

from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.checkpoint.safetensors import header_bytes, read_header
from qinspect.inspector.checkpoint.tensor import Tensor
from qinspect.inspector.distribution.packing import FIELDS, Damaged, Packed, checked, pack, unpack
from qinspect.inspector.distribution.table import MagnitudeTable, merge
from qinspect.inspector.errors import BrokenFile, CannotOpen, UnknownKey
from qinspect.inspector.text import brief
from qinspect.inspector.whole_file import replacing

T = TypeVar("T")

FORMAT = "qinspect-distributions"
VERSION = 1
_OWN_KEYS = frozenset({"format", "version", "points"})


@dataclass(frozen=True, slots=True)
class PointTables:
    """What is stored of a point: all samples together, and each by itself, in order, where they are kept apart."""

    pooled: MagnitudeTable
    samples: Sequence[MagnitudeTable | Packed] = ()


def write_distributions(
    path: Path, points: Mapping[str, Sequence[MagnitudeTable]], metadata: Mapping[str, str] | None = None
) -> int:
    """Write the tables of each point, one a sample in order, and their sum. Returns the bytes written.

    Raises ValueError for a point without samples; otherwise as `write_points`.
    """
    return write_points(path, ((name, PointTables(merge(t), t)) for name, t in points.items()), metadata)


def write_points(
    path: Path, points: Iterable[tuple[str, PointTables]], metadata: Mapping[str, str] | None = None
) -> int:
    """Write the tables of each point, which are asked for one after another. Returns the bytes written.

    The file appears whole or not at all. metadata: anything that says what was run. Raises CannotOpen where the file
    cannot be written, ValueError for metadata under a name of the format's own.
    """
    if taken := _OWN_KEYS & set(metadata or {}):
        raise ValueError(f"metadata of the format's own: {', '.join(sorted(taken))}")
    names: list[str] = []
    indices: list[bytes] = []
    blobs: list[bytes] = []
    for name, tables in points:
        index, blob = _pack_all([tables.pooled, *tables.samples])
        names.append(name)
        indices.append(index)
        blobs.append(blob)
    own = {"format": FORMAT, "version": str(VERSION), "points": json.dumps(names)}
    return _write(path, _header(indices, blobs, {**(metadata or {}), **own}), [*indices, *blobs])


def _pack_all(tables: Iterable[MagnitudeTable | Packed]) -> tuple[bytes, bytes]:
    rows: list[Packed] = []
    offset = 0
    for table in tables:
        rows.append(table.at(offset) if isinstance(table, Packed) else pack(table, offset))
        offset += len(rows[-1].payload)
    return np.array([r.fields for r in rows], "<i8").tobytes(), b"".join(r.payload for r in rows)


def _header(indices: Sequence[bytes], blobs: Sequence[bytes], metadata: Mapping[str, str]) -> bytes:
    """The safetensors header. Indices come first: their bytes keep 8-byte alignment, the blobs need none."""
    header: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for i, index in enumerate(indices):
        shape = [len(index) // (8 * len(FIELDS)), len(FIELDS)]
        header[_index_key(i)] = {"dtype": "I64", "shape": shape, "data_offsets": [end, end + len(index)]}
        end += len(index)
    for i, blob in enumerate(blobs):
        header[_tables_key(i)] = {"dtype": "U8", "shape": [len(blob)], "data_offsets": [end, end + len(blob)]}
        end += len(blob)
    return header_bytes(header)


def _write(path: Path, header: bytes, parts: Sequence[bytes]) -> int:
    try:
        with replacing(path) as f:
            f.write(header)
            f.writelines(parts)
    except OSError as e:
        raise CannotOpen(f"cannot be written: {e.strerror}", file=path) from e
    return len(header) + sum(map(len, parts))


def _index_key(i: int) -> str:
    return f"point.{i}.index"


def _tables_key(i: int) -> str:
    return f"point.{i}.tables"


class DistributionFile:
    """An open file of distributions. Opening reads the header; a point's tables are read when they are asked for.

    path. metadata: what the writer added. points: names, in the writer's order.
    """

    def __init__(self, path: Path) -> None:
        """Raises CannotOpen where the file cannot be read or is of another kind, BrokenFile where it is damaged."""
        self.path = path
        self._file = File(path)
        columns = read_header(self._file)
        metadata = columns.metadata
        self._tensors = {t.name: t for t in columns.tensors()}
        if metadata.get("format") != FORMAT:
            raise CannotOpen(
                "is not a file of distributions", file=path, key="__metadata__.format",
                expected=FORMAT, found=brief(metadata.get("format")),
            )  # fmt: skip
        if metadata.get("version") != str(VERSION):
            raise CannotOpen(
                "is of another version", file=path, key="__metadata__.version", expected=str(VERSION),
                found=brief(metadata.get("version")), cure="Read it with the qinspect that wrote it.",
            )  # fmt: skip
        self.metadata = {k: v for k, v in metadata.items() if k not in _OWN_KEYS}
        self.points = self._names(metadata.get("points", ""))

    def pooled(self, point: str) -> MagnitudeTable:
        """All samples of a point together. Raises UnknownKey for another name, BrokenFile where it is damaged."""
        return self._read(point, slice(0, 1))[0]

    def samples(self, point: str) -> list[MagnitudeTable]:
        """One table a sample, in order. Raises as `pooled` does."""
        return self._read(point, slice(1, None))

    def packed_samples(self, point: str) -> list[Packed]:
        """The bytes of the tables of samples, whose checksums fit them, for another file. Raises as `pooled` does."""
        return self._taken(point, slice(1, None), checked)

    def n_samples(self, point: str) -> int:
        """How many samples a point keeps apart: 0 where only their sum was stored. Raises UnknownKey for another
        name."""
        return self._index(self._number(point)).shape[0] - 1

    def fingerprint(self) -> str:
        """Of everything in it, in hexadecimal: from the index, in which every table has its checksum."""
        digest = sha256(json.dumps(self.points).encode())
        for i in range(len(self.points)):
            index = self._index(i)
            digest.update(self._file.read(index.offset, index.nbytes))
        return digest.hexdigest()

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _number(self, point: str) -> int:
        try:
            return self.points.index(point)
        except ValueError:
            raise UnknownKey("there is no observation point of this name", file=self.path, key=point) from None

    def _names(self, text: str) -> tuple[str, ...]:
        try:
            names = json.loads(text)
        except (ValueError, RecursionError):
            names = None
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or len(set(names)) != len(names):
            raise self._broken("must be a JSON list of names, each once", "__metadata__.points")
        keys = {key(i) for i in range(len(names)) for key in (_index_key, _tables_key)}
        if keys != set(self._tensors):
            differing = min(keys ^ set(self._tensors))
            raise self._broken("does not belong to the points that are listed, or is missing", differing)
        for i in range(len(names)):
            self._index(i)
            blob = self._tensors[_tables_key(i)]
            if blob.dtype.name != "uint8" or len(blob.shape) != 1:
                raise self._broken("must be bytes", _tables_key(i))
        return tuple(names)

    def _index(self, i: int) -> Tensor:
        index = self._tensors[_index_key(i)]
        if index.dtype.name != "int64" or len(index.shape) != 2 or index.shape[1] != len(FIELDS) or index.shape[0] < 1:
            raise self._broken(f"must be int64[1 + samples, {len(FIELDS)}]", _index_key(i))
        return index

    def _read(self, point: str, rows: slice) -> list[MagnitudeTable]:
        return self._taken(point, rows, unpack)

    def _taken(self, point: str, rows: slice, take: Callable[[Packed], T]) -> list[T]:
        i = self._number(point)
        tensor, blob = self._index(i), self._tensors[_tables_key(i)]
        index = np.frombuffer(self._file.read(tensor.offset, tensor.nbytes), "<i8").reshape(tensor.shape)
        sizes = index[:, 1]
        if (sizes < 0).any() or (sizes > blob.nbytes).any() or sizes.sum() != blob.nbytes:
            raise self._broken("the sizes of the tables do not add up to their bytes", _index_key(i), tensor.offset)
        if not np.array_equal(index[:, 0], np.cumsum(sizes) - sizes):
            raise self._broken("the tables do not follow each other", _index_key(i), tensor.offset)
        found = []
        for fields in index[rows].tolist():
            start = blob.offset + fields[0]
            try:
                found.append(take(Packed(self._file.read(start, fields[1]), tuple(fields))))
            except Damaged as e:
                raise self._broken(str(e), _tables_key(i), start) from e
        return found

    def _broken(self, problem: str, key: str, offset: int | None = None) -> BrokenFile:
        cure = "The file is damaged: copy it again, or calibrate again."
        return BrokenFile(problem, file=self.path, key=key, offset=offset, cure=cure)
