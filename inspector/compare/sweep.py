"""The scales of two models that have the same records, as two runs of one model do: read in sweeps and compared many at
a time, so that nothing is done for each of 20,000 but for those that differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.compare.ahead import bytes_of_numbers, in_place
from qinspect.inspector.compare.difference import differences_of_rows
from qinspect.inspector.compare.equality import Equality
from qinspect.inspector.compare.results import ScalePair, Status
from qinspect.inspector.compare.scales import compare_scale, judged
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, ScaleRecord
from qinspect.inspector.rows import Rows, column
from qinspect.inspector.values.scale_faults import FaultScan

BATCH_BYTES = 1 << 20
"""Of each model, where no scale is larger: both stay in the cache of a core."""

BATCH_SCALES = 2048


def shared_records(a: Format, b: Format) -> Rows[ScaleRecord] | None:
    """The records of both models, each under a role of its own; None where they are not the same ones, or where scales
    cannot be read without a look at each."""
    records = a.scales()
    if not isinstance(records, Rows) or b.scales() is not records or a.weights() or b.weights():
        return None
    if not (a.checkpoint.entries.columnar and b.checkpoint.entries.columnar):
        return None
    return records if len(set(column(records, "role"))) == len(records) else None


class Sweep:
    """Compares the scales of `shared_records`.

    What is read goes through `faults` as in `compare_scale`. Reads into buffers that are kept: fresh memory for each
    batch costs more than the copying. For one thread.
    """

    def __init__(self, records: Rows[ScaleRecord], a: Format, b: Format, equality: Equality, faults: FaultScan) -> None:
        self.records = records
        self._formats = (a, b)
        self._equality = equality
        self._faults = faults
        self._own: dict[int, ScalePair] = {}
        self._kind_of = np.array(records.kind_of)
        self._forms = {kind: self._form(records[first]) for kind, first in records.first_of_kind.items()}
        self._bytes_of = {kind: bytes_of_numbers(*form) if form else 0 for kind, form in self._forms.items()}
        keys = column(records, "key")
        self._sides = [_Side(fmt.checkpoint, keys, max(self._bytes_of.values(), default=0)) for fmt in (a, b)]

    def _form(self, record: ScaleRecord) -> Form | None:
        """dtype and shape of a kind whose bytes are its numbers; None of one that is compared one by one."""
        a, b = self._formats
        plain = in_place(record) and a.gives_as_stored(record) and b.gives_as_stored(record)
        return a.checkpoint.entries.form(record.key) if plain else None

    def pairs(self) -> Rows[ScalePair]:
        """All that was compared, and the others as if they were the same."""
        records = self.records
        return Rows({"role": column(records, "role")}, records.kind_of, self._same, self._own)

    def _same(self, order: int) -> ScalePair:
        record = self.records[order]
        return ScalePair(record.role, order, record, record, Status.IDENTICAL)

    def batches(self, first: int) -> Iterator[tuple[int, int]]:
        """Ranges of scales that are compared at once; one of them ends at `first`."""
        sizes = np.array([self._bytes_of[kind] for kind in self.records.kind_of], np.int64)
        ends = np.cumsum(sizes)
        start, n = 0, len(sizes)
        while start < n:
            before = int(ends[start - 1]) if start else 0
            stop = int(np.searchsorted(ends, before + BATCH_BYTES, side="right"))
            stop = min(max(stop, start + 1), start + BATCH_SCALES, n)
            stop = first if start < first < stop else stop
            yield start, stop
            start = stop

    def compare(self, start: int, stop: int) -> None:
        """Compare the scales from `start` to `stop`."""
        kinds = self._kind_of[start:stop]
        for kind in dict.fromkeys(kinds.tolist()):
            places = start + np.flatnonzero(kinds == kind)
            form, n_bytes = self._forms[kind], self._bytes_of[kind]
            if form is None or not n_bytes:
                self._one_by_one(places)
                continue
            try:
                a, b = (side.read(places, n_bytes) for side in self._sides)
            except QinspectError:  # which of them it is, and why, is found one by one
                self._one_by_one(places)
                continue
            self._compare_bytes(places, form, a, b)

    def _one_by_one(self, places: NDArray[np.int64]) -> None:
        for order in places.tolist():
            record = self.records[order]
            pair = compare_scale(record.role, order, record, record, *self._formats, self._equality, self._faults)
            self._own[order] = pair

    def _compare_bytes(self, places: NDArray[np.int64], form: Form, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> None:
        """Compare scales of one form, each a row of bytes."""
        dtype, shape = form
        word = f"u{next(w for w in (8, 4, 2, 1) if a.shape[1] % w == 0)}"
        apart = np.flatnonzero((a.view(word) != b.view(word)).any(axis=1))
        element = dtype.to_numpy()
        self._faults.add_rows([(order, "A") for order in places.tolist()], a.view(element))
        if not apart.size:
            return
        of_a, of_b = a[apart].view(element), b[apart].view(element)
        orders = places[apart].tolist()
        self._faults.add_rows([(order, "B") for order in orders], of_b)
        for order, difference in zip(orders, differences_of_rows(of_a, of_b, shape), strict=True):
            record = self.records[order]
            self._own[order] = judged(record.role, order, record, record, difference, False, "")


class _Side:
    """Where the scales of one model are, in columns, and what they are read into."""

    def __init__(self, checkpoint: Checkpoint, keys: Sequence[str], largest: int) -> None:
        self._files = [block.file for block in checkpoint.entries.blocks]
        self._file_of, self._starts = checkpoint.entries.starts_of(keys)
        self._buffer = bytearray(max(BATCH_BYTES, largest))

    def read(self, places: NDArray[np.int64], n_bytes: int) -> NDArray[np.uint8]:
        """The bytes of these scales, a row each, until the next are read. Raises as `Source.read`."""
        file_of, starts = self._file_of[places], self._starts[places]
        view = memoryview(self._buffer)
        for number in set(file_of.tolist()):
            rows = np.flatnonzero(file_of == number)
            rows = rows[np.argsort(starts[rows], kind="stable")]
            buffers = [view[row * n_bytes : (row + 1) * n_bytes] for row in rows.tolist()]
            self._files[number].read_into_each(starts[rows].tolist(), buffers)
        return np.frombuffer(self._buffer, np.uint8, len(places) * n_bytes).reshape(len(places), n_bytes)


def compare_shared(
    sweep: Sweep, progress: Callable[[int], None], first: int, first_ready: Callable[[Rows[ScalePair]], None]
) -> Rows[ScalePair]:
    """Compare all. progress: called with the number compared so far; it may raise to cancel. first_ready: called with
    the pairs once the first `first` of more are compared."""
    for start, stop in sweep.batches(first):
        progress(start)
        sweep.compare(start, stop)
        if stop == first < len(sweep.records):
            first_ready(sweep.pairs())
    return sweep.pairs()
