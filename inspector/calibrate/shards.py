"""Tables of a stretch of samples in a file of their own: what a killed calibration finds again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from qinspect.inspector.calibration.layout import SHARDS, TABLES
from qinspect.inspector.distribution import DistributionFile, MagnitudeTable, merge
from qinspect.inspector.distribution.packing import Packed
from qinspect.inspector.distribution.storage import PointTables, write_points
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.whole_file import replacing

SHARD_SAMPLES = 32
GROUPED = "grouped.safetensors"
_FINGERPRINT = "fingerprint"


class Shards:
    """The shards of one calibration in a folder.

    fingerprint: of what decides every table; a shard of another is made again. n_samples: of the whole. grouped:
    whether there are largest magnitudes of groups beside the tables.
    """

    def __init__(
        self, folder: Path, fingerprint: str, n_samples: int, grouped: bool = False, size: int = SHARD_SAMPLES
    ) -> None:
        self.folder, self.fingerprint, self.grouped = folder, fingerprint, grouped
        self.stretches = [(i, min(i + size, n_samples)) for i in range(0, n_samples, size)]

    def path(self, stretch: tuple[int, int]) -> Path:
        """The file of a stretch."""
        return self.folder / SHARDS / f"{stretch[0]:06}-{stretch[1]:06}.safetensors"

    def missing(self) -> list[tuple[int, int]]:
        """Stretches without a whole shard of this calibration."""
        return [s for s in self.stretches if not self._is_whole(s)]

    def write(
        self,
        stretch: tuple[int, int],
        pooled: Mapping[str, MagnitudeTable],
        samples: Mapping[str, Sequence[MagnitudeTable | Packed]],
        grouped: Mapping[str, NDArray[np.float32]],
    ) -> None:
        """Store a stretch; it is there whole or not at all. The grouped maxima first: the tables say that both are."""
        path = self.path(stretch)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.grouped:
            self._write_grouped(self._grouped_path(stretch), grouped)
        points = ((name, PointTables(table, samples.get(name, []))) for name, table in pooled.items())
        write_points(path, points, {_FINGERPRINT: self.fingerprint, "samples": f"{stretch[0]}-{stretch[1]}"})

    def join(self, order: Iterable[str], metadata: Mapping[str, str]) -> Path:
        """All shards as one file, its samples in order, its points in that of `order`. Returns its path."""
        files = [DistributionFile(self.path(s)) for s in self.stretches]
        try:
            write_points(self.folder / TABLES, _joined(files, order), metadata)
        finally:
            for f in files:
                f.close()
        if self.grouped:
            largest: dict[str, NDArray[np.float32]] = {}
            for stretch in self.stretches:
                for name, array in (self._read_grouped(self._grouped_path(stretch)) or {}).items():
                    largest[name] = np.maximum(largest[name], array) if name in largest else array
            self._write_grouped(self.folder / GROUPED, largest)
        return self.folder / TABLES

    def largest(self) -> dict[str, NDArray[np.float32]]:
        """The largest magnitudes of groups of a joined calibration, {} where no observer is grouped."""
        return (self._read_grouped(self.folder / GROUPED) or {}) if self.grouped else {}

    def stored(self) -> Iterator[tuple[list[dict[str, MagnitudeTable]], dict[str, MagnitudeTable]]]:
        """Of each shard that is there: the tables of its samples, as far as they can be told apart, and its pooled."""
        missing = set(self.missing())
        for stretch in self.stretches:
            if stretch in missing:
                continue
            file = DistributionFile(self.path(stretch))
            try:
                samples: list[dict[str, MagnitudeTable]] = [{} for _ in range(*stretch)]
                for name in file.points:
                    for tables, table in zip(samples, file.samples(name), strict=False):
                        tables[name] = table
                yield samples, {name: file.pooled(name) for name in file.points}
            finally:
                file.close()

    def _is_whole(self, stretch: tuple[int, int]) -> bool:
        path = self.path(stretch)
        if not path.exists() or (self.grouped and self._read_grouped(self._grouped_path(stretch)) is None):
            return False
        try:
            file = DistributionFile(path)
            try:
                if file.metadata.get(_FINGERPRINT) != self.fingerprint:
                    return False
                for name in file.points:  # checksums: a disk that filled up leaves holes
                    file.pooled(name)
                    file.samples(name)
            finally:
                file.close()
        except QinspectError:
            return False
        return True

    def _grouped_path(self, stretch: tuple[int, int]) -> Path:
        return self.path(stretch).with_suffix(".grouped")

    def _write_grouped(self, path: Path, grouped: Mapping[str, NDArray[np.float32]]) -> None:
        content = {name: np.ascontiguousarray(array) for name, array in grouped.items()}
        with replacing(path) as f:
            f.write(safetensors.numpy.save(content, {_FINGERPRINT: self.fingerprint}))

    def _read_grouped(self, path: Path) -> dict[str, NDArray[np.float32]] | None:
        """None where they are not there, damaged, or another calibration's."""
        try:
            with safetensors.safe_open(path, "np") as f:
                if (f.metadata() or {}).get(_FINGERPRINT) != self.fingerprint:
                    return None
                return {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 - no mapping
        except (OSError, safetensors.SafetensorError):
            return None


def _joined(files: Sequence[DistributionFile], order: Iterable[str]) -> Iterator[tuple[str, PointTables]]:
    there = [frozenset(f.points) for f in files]
    for name in order:
        having = [f for f, names in zip(files, there, strict=True) if name in names]
        if having:
            packed = [p for f in having for p in f.packed_samples(name)]
            yield name, PointTables(merge([f.pooled(name) for f in having]), packed)
