"""All scales of a checkpoint as columns, so that a rule looks at 20,000 of them in one operation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint.dtypes import DType
from qinspect.inspector.checkpoint.single_numbers import is_sweepable, single_numbers
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, ScaleRecord
from qinspect.inspector.formats.records import FloatArray
from qinspect.inspector.progress import Steps
from qinspect.inspector.values.scale_faults import FaultScan, ScaleFaults
from qinspect.inspector.values.scale_values import scale_range

FEW_NUMBERS = 64
"""A scale of no more is read in any case; a larger one belongs to blocks or channels of a weight."""


@dataclass(frozen=True, slots=True)
class ScaleTable:
    """The scales of a model in the order of its records.

    value: the number of a scale of one, else NaN. low, high: the least and the largest finite number of each; NaN where
    there is none, or it was not read. read: whether it was. n_not_finite: how many numbers of each are NaN or infinite,
    of zero points and minima too. faults: of those steps that have some, by place. subnormal: of scales in eight bits
    that have some, by place, how many numbers are below the least with all its digits, and not 0. problems: why one
    cannot be read, by place.
    """

    records: Sequence[ScaleRecord]
    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    read: NDArray[np.bool_]
    n_not_finite: NDArray[np.int64]
    faults: dict[int, ScaleFaults]
    subnormal: dict[int, int]
    problems: dict[int, str]

    @property
    def n_read(self) -> int:
        """How many were read."""
        return int(self.read.sum())

    @property
    def n_left(self) -> int:
        """How many were not."""
        return len(self.read) - self.n_read


def read_scales(fmt: Format, everything: bool = True, steps: Steps | None = None) -> ScaleTable:
    """Read the scales of a model: all, or those of a few numbers. steps(done, total) may raise to cancel."""
    reading = _Reading(fmt)
    large = reading.numbers_at_once()
    for done, place in enumerate(large):
        if steps:
            steps(done, len(large))
        if everything or _n_numbers(reading.records[place]) <= FEW_NUMBERS:
            reading.one(place)
    return reading.table()


class _Reading:
    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        self.records = fmt.scales()
        n = len(self.records)
        self._value, self._low, self._high = (np.full(n, np.nan) for _ in range(3))
        self._read = np.zeros(n, bool)
        self._n_not_finite = np.zeros(n, np.int64)
        self._subnormal: dict[int, int] = {}
        self._scan = FaultScan()
        self._problems: dict[int, str] = {}

    def table(self) -> ScaleTable:
        faults = self._scan.found()
        return ScaleTable(
            self.records, self._value, self._low, self._high, self._read, self._n_not_finite, faults, self._subnormal,
            self._problems,
        )  # fmt: skip

    def numbers_at_once(self) -> list[int]:
        """Read the scales that are one number as it is stored, many at a time. Returns the places of the others."""
        entries, fmt = self.fmt.checkpoint.entries, self.fmt
        alone = [i for i, r in enumerate(self.records) if _is_one_number(r) and fmt.gives_as_stored(r)]
        located = zip(alone, entries.places([self.records[i].key for i in alone]), strict=True)
        numbers = [
            (place, (found[0], found[1], found[2][0])) for place, found in located
            if found is not None and math.prod(found[2][1]) == 1 and _plain(found[2][0])
        ]  # fmt: skip
        values, read = single_numbers([where for _, where in numbers])
        self._note(np.array([place for place, _ in numbers], np.int64)[read], values[read])
        return np.flatnonzero(~self._read).tolist()

    def _note(self, places: NDArray[np.int64], stored: NDArray[np.float64]) -> None:
        """Note one number of each of these scales."""
        inverted = np.array([self.records[i].inverted for i in places.tolist()], bool)
        numbers = stored.copy()
        with np.errstate(all="ignore"):  # a 0 in the file is the file's
            numbers[inverted] = (np.float32(1) / stored[inverted].astype(np.float32)).astype(np.float64)
        self._value[places] = numbers
        finite = np.isfinite(numbers)
        self._low[places[finite]] = self._high[places[finite]] = numbers[finite]
        self._read[places] = True
        self._n_not_finite[places[~finite]] = 1
        sound = finite & (numbers > _SMALLEST) & (abs(numbers) < _LARGEST)
        for place, value in zip(places[~sound].tolist(), numbers[~sound], strict=True):
            record = self.records[place]
            self._scan.add_scale(place, record, np.array([value], _type_of(record)))

    def one(self, place: int) -> None:
        """Read one scale."""
        record = self.records[place]
        try:
            found = scale_range(self.fmt, record, seen=partial(self._look, place, record))
        except QinspectError as e:
            self._problems[place] = str(e)
            self._scan.forget(place)
            self._subnormal.pop(place, None)
            return
        self._read[place] = True
        if isinstance(found, tuple):
            low, high, self._n_not_finite[place] = found
            if np.isfinite(low):
                self._low[place], self._high[place] = low, high
            if _n_numbers(record) == 1:
                self._value[place] = low

    def _look(self, place: int, record: ScaleRecord, values: FloatArray) -> None:
        self._scan.add_scale(place, record, values)
        if record.dtype in _WITH_SUBNORMALS and values.dtype.itemsize == 1:
            n = int(np.count_nonzero((values.view(np.uint8) - np.uint8(1)) < _N_SUBNORMAL))
            if n:
                self._subnormal[place] = self._subnormal.get(place, 0) + n


_SMALLEST, _LARGEST = 2.0**-14, 2.0**15
"""Between these a number is sound in every dtype that scales are stored in: no look at each is needed."""


_WITH_SUBNORMALS, _N_SUBNORMAL = ("float8_e4m3fn", "float8_e4m3fnuz"), 7
"""Floats of eight bits that are scales of blocks; the patterns behind 0 that have fewer digits."""


def _n_numbers(record: ScaleRecord) -> int:
    """Of its entry, or of its part where that is known to be one number."""
    part = record.slice
    if part is not None and part.rows is None and part.runs is None:
        return math.prod(record.shape[len(part.index) :])
    return math.prod(record.shape)


def _is_one_number(record: ScaleRecord) -> bool:
    return record.slice is None and not record.sources and not record.packed and math.prod(record.shape) == 1


def _plain(dtype: DType) -> bool:
    return dtype.is_float and is_sweepable(dtype)


def _type_of(record: ScaleRecord) -> type:
    """What a fault is judged in: half precision has larger denormals."""
    return np.float16 if record.dtype == "float16" and not record.inverted else np.float32
