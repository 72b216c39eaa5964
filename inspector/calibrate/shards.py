"""Tables of a stretch of samples in a file of their own: what a killed calibration finds again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from qinspect.inspector.distribution import DistributionFile, MagnitudeTable, merge
from qinspect.inspector.distribution.packing import Packed
from qinspect.inspector.distribution.storage import PointTables, write_points
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.whole_file import replacing

SHARD_SAMPLES = 32
TABLES = "distributions.safetensors"
GROUPED = "grouped.safetensors"
_FINGERPRINT = "fingerprint"


class Shards:
    """The shards of one calibration in a folder.

    fingerprint: of what decides every table; a shard of another is made again. n_samples: of the whole.
    """

    def __init__(self, folder: Path, fingerprint: str, n_samples: int) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self.stretches = [(i, min(i + SHARD_SAMPLES, n_samples)) for i in range(0, n_samples, SHARD_SAMPLES)]

    def path(self, stretch: tuple[int, int]) -> Path:
        """The file of a stretch."""
        return self.folder / "shards" / f"{stretch[0]:06}-{stretch[1]:06}.safetensors"

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
        if grouped:
            _write_grouped(self._grouped_path(stretch), grouped)
        points = ((name, PointTables(table, samples.get(name, []))) for name, table in pooled.items())
        write_points(path, points, {_FINGERPRINT: self.fingerprint, "samples": f"{stretch[0]}-{stretch[1]}"})

    def join(self, metadata: Mapping[str, str]) -> Path:
        """All shards as one file, its samples in order. Returns its path."""
        files = [DistributionFile(self.path(s)) for s in self.stretches]
        try:
            write_points(self.folder / TABLES, self._joined(files), metadata)
        finally:
            for f in files:
                f.close()
        grouped: dict[str, NDArray[np.float32]] = {}
        for stretch in self.stretches:
            path = self._grouped_path(stretch)
            for name, array in (safetensors.numpy.load_file(path) if path.exists() else {}).items():
                grouped[name] = np.maximum(grouped[name], array) if name in grouped else array
        if grouped:
            _write_grouped(self.folder / GROUPED, grouped)
        return self.folder / TABLES

    def _joined(self, files: list[DistributionFile]) -> Iterator[tuple[str, PointTables]]:
        for name in files[0].points:
            packed = [p for f in files for p in f.packed_samples(name)]
            yield name, PointTables(merge([f.pooled(name) for f in files]), packed)

    def _is_whole(self, stretch: tuple[int, int]) -> bool:
        path = self.path(stretch)
        if not path.exists():
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


def grouped_absmax(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The grouped maxima of a joined calibration, {} where no observer is grouped."""
    path = folder / GROUPED
    return safetensors.numpy.load_file(path) if path.exists() else {}


def _write_grouped(path: Path, grouped: Mapping[str, NDArray[np.float32]]) -> None:
    with replacing(path) as f:
        f.write(safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in grouped.items()}))
