"""Rows of a matrix that come in runs of equal length: of a projection that takes turns with another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.checkpoint.source import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_MOST_BETWEEN = 8
"""Of rows that lie apart, at most so many times as many are read with them at once."""


@dataclass(frozen=True, slots=True)
class Run:
    """`length` rows from `first` on, and as many again every `step` rows, `count` times in all."""

    first: int
    length: int
    step: int
    count: int

    @property
    def n_rows(self) -> int:
        """Of all of them."""
        return self.length * self.count

    @property
    def said(self) -> str:
        """`rows 0 to 64 of every 192`."""
        if self.length == 1:
            return f"one of every {self.step} rows, from {self.first} on"
        return f"rows {self.first} to {self.first + self.length} of every {self.step}"


@dataclass(frozen=True, slots=True)
class Runs:
    """Those of one weight in a larger one, in the weight's order."""

    runs: tuple[Run, ...]

    @property
    def n_rows(self) -> int:
        """Of the weight."""
        return sum(run.n_rows for run in self.runs)

    @property
    def stop(self) -> int:
        """The row behind the last one, of the larger weight."""
        return max((r.first + r.step * (r.count - 1) + r.length for r in self.runs if r.n_rows), default=0)

    @property
    def said(self) -> str:
        """For people."""
        return ", ".join(run.said for run in self.runs)

    def places(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """intp: where rows `start` to `stop` of the weight are in the larger one."""
        import numpy as np

        found, at = [], 0
        last = self.n_rows if stop is None else stop
        for run in self.runs:
            rows = np.arange(max(start - at, 0), max(min(last - at, run.n_rows), 0), dtype=np.intp)
            found.append(run.first + rows // max(run.length, 1) * run.step + rows % max(run.length, 1))
            at += run.n_rows
        return np.concatenate(found) if found else np.empty(0, np.intp)

    def in_cells(self, size: int) -> Runs | None:
        """The same of cells of `size` rows each; None where one of them holds rows of two weights."""
        each = [(r.first, r.length, r.step) for r in self.runs]
        if any(n % size for sizes in each for n in sizes):
            return None
        return Runs(tuple(Run(r.first // size, r.length // size, r.step // size, r.count) for r in self.runs))

    def read(self, start: int, stop: int, row_step: int, read: Callable[[int, int], Array]) -> Array:
        """Rows `start` to `stop` of the weight. read: what gives rows of the larger one from a multiple of `row_step`
        on."""
        import numpy as np

        places = self.places(start, stop)
        if not places.size:
            return read(0, 0)
        low, high = int(places.min()) // row_step * row_step, int(places.max()) + 1
        if high - low <= _MOST_BETWEEN * places.size:
            near: Array = read(low, high)[places - low]
            return near
        parts = []
        for part in np.split(places, np.flatnonzero(np.diff(places) != 1) + 1):
            first = int(part[0]) // row_step * row_step
            parts.append(read(first, int(part[-1]) + 1)[part - first])
        return np.concatenate(parts)


def rows_of(tensor: Tensor, runs: Runs) -> Tensor:
    """A handle on these rows of a tensor that is stored in C order, whose rows are whole bytes."""
    shape = (runs.n_rows, *tensor.shape[1:])
    return Tensor(tensor.name, tensor.dtype, shape, None, _Gathered(tensor, runs), 0)


class _Gathered(View):
    """The bytes of rows of a tensor, one after the other."""

    __slots__ = ("_runs", "_tensor", "_width")

    def __init__(self, tensor: Tensor, runs: Runs) -> None:
        self._width = tensor.nbytes // tensor.shape[0] if tensor.shape[0] else 0
        super().__init__(tensor.file, self._width * runs.n_rows)
        self.identity = (*tensor.file.identity, tensor.name, runs)
        self._tensor = tensor
        self._runs = runs

    def _pread(self, offset: int, n: int) -> bytes:
        import numpy as np

        width = self._width
        if not n:
            return b""
        start, stop = offset // width, -(-(offset + n) // width)
        places = self._runs.places(start, stop)
        spans = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
        ranges = [(self._tensor.offset + int(s[0]) * width, len(s) * width) for s in spans if len(s)]
        raw = b"".join(self._tensor.file.read_ranges(ranges))
        return raw[offset - start * width :][:n]
