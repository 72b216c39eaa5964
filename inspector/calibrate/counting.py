"""From the tensors of a forward to tables: counted where they are, in one launch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qinspect.inspector.distribution import MagnitudeTable, merge
from qinspect.kernels import N_MAGNITUDES, magnitude_counts, segmented_magnitude_counts

if TYPE_CHECKING:
    from qinspect.kernels.cuda_counts import SegmentPlan

SampleTables = dict[str, MagnitudeTable]
Pending = Callable[[], SampleTables]
"""Gives the tables of one sample, once the device has made them. May be called in another thread."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A launch for tensors of one device. targets: the pooled row of each counted row. owners: point and sample of the
    last rows, which are kept apart."""

    device: torch.device
    segments: SegmentPlan
    targets: list[int]
    owners: list[tuple[str, int]]

    def count(self) -> Tensor:
        """int64[targets, 32768]."""
        found: Tensor = self.segments.count()
        return found


class Counter:
    """Counts what forwards show: pooled over samples, and of each sample for the points in `apart`.

    dtypes: name to dtype of every point. Points in 16 bits are counted on their device, those in float32 on the host,
    where a table can hold them. Nothing here waits for the device but `pooled` and what `finish` returns.
    """

    def __init__(self, dtypes: Mapping[str, str], apart: frozenset[str]) -> None:
        self.dtypes, self.apart = dict(dtypes), apart
        self.hold_bytes: int | None = None
        """Bytes of activations that may be held before they are counted; None: all of a forward."""
        self.on_host = False
        """Bring tensors to the host and count them there: the last resort of a full card."""
        self._held: dict[str, Tensor] = {}
        self._n_held = 0
        self._rows: dict[torch.device, dict[str, int]] = {}
        self._pooled: dict[torch.device, Tensor] = {}
        self._plans: dict[int, list[_Plan]] = {}
        self._sample: list[tuple[list[tuple[str, int]], Tensor]] = []
        self._float32: list[SampleTables] = [{}]
        self._pooled_float32: SampleTables = {}

    def reset(self) -> None:
        """Forget everything counted so far."""
        for table in self._pooled.values():
            table.zero_()
        self._held, self._n_held, self._sample = {}, 0, []
        self._float32, self._pooled_float32 = [{}], {}

    def observe(self, name: str, x: Tensor) -> None:
        """The probe of a forward: x is [batch, ...]."""
        if self.dtypes.get(name) is None:
            return
        self._held[name] = x.cpu() if self.on_host else x
        if self.hold_bytes is not None:
            self._n_held += x.numel() * x.element_size()
            if self._n_held >= self.hold_bytes:
                self._count_held()

    def count_again(self, observed: dict[str, Tensor]) -> None:
        """Count tensors that keep their place on a GPU: the same dictionary, with other contents, again and again."""
        plans = self._plans.get(id(observed))
        if plans is None:
            by_device: dict[torch.device, dict[str, Tensor]] = {}
            for name, x in observed.items():
                if name in self.dtypes:
                    by_device.setdefault(x.device, {})[name] = x
            plans = self._plans[id(observed)] = [self._plan(d, tensors) for d, tensors in by_device.items()]
        for plan in plans:
            self._add(plan.device, plan.targets, plan.owners, plan.count())

    def forget_plans(self) -> None:
        """The tensors that were counted in their place are going."""
        self._plans = {}

    def finish(self, n_batch: int = 1) -> list[Pending]:
        """A forward of `n_batch` samples is over: what gives the tables of each."""
        self._count_held()
        fetched = [(owners, _fetch(rows)) for owners, rows in self._sample]
        float32 = self._float32
        self._sample, self._float32 = [], [{}]
        return [_pending(b, fetched, float32, self.dtypes) for b in range(n_batch)]

    def pooled(self) -> SampleTables:
        """The tables of all samples since the last reset."""
        made = dict(self._pooled_float32)
        for device, table in self._pooled.items():
            counts = table.cpu().numpy()
            for name, row in self._rows[device].items():
                if counts[row].any():
                    made[name] = MagnitudeTable.from_counts(counts[row], self.dtypes[name])
        return {name: made[name] for name in self.dtypes if name in made}

    def _count_held(self) -> None:
        held, self._held, self._n_held = self._held, {}, 0
        by_device: dict[torch.device, dict[str, Tensor]] = {}
        for name, x in held.items():
            if self.dtypes[name] == "float32":
                self._count_float32(name, x)
            else:
                by_device.setdefault(x.device, {})[name] = x
        for device, tensors in by_device.items():
            self._count_on(device, tensors)

    def _count_on(self, device: torch.device, tensors: dict[str, Tensor]) -> None:
        if device.type == "cpu":
            pooled = self._pooled_on(device, tensors)
            for n in tensors:  # without launches to save, no scratch
                if n not in self.apart:
                    magnitude_counts(tensors[n], out=pooled[self._rows[device][n]].numpy())
            owners = [(n, b) for n in tensors if n in self.apart for b in range(tensors[n].shape[0])]
            if owners:
                parts = [tensors[n][b] for n, b in owners]
                counts = torch.from_numpy(segmented_magnitude_counts(parts))
                self._add(device, [self._rows[device][n] for n, _ in owners], owners, counts)
            return
        plan = self._plan(device, tensors)
        self._add(device, plan.targets, plan.owners, plan.count())

    def _pooled_on(self, device: torch.device, names: Iterable[str]) -> Tensor:
        """The pooled tables of a device, with a row for each of these names."""
        rows = self._rows.setdefault(device, {})
        for name in names:
            rows.setdefault(name, len(rows))
        pooled = self._pooled.get(device)
        if pooled is None or len(pooled) < len(rows):
            grown = torch.zeros(len(rows), N_MAGNITUDES, dtype=torch.int64, device=device)
            if pooled is not None:
                grown[: len(pooled)] = pooled
            pooled = self._pooled[device] = grown
        return pooled

    def _plan(self, device: torch.device, tensors: dict[str, Tensor]) -> _Plan:
        from qinspect.kernels.cuda_counts import SegmentPlan

        self._pooled_on(device, tensors)
        rows = self._rows[device]
        together = [n for n in tensors if n not in self.apart]
        owners = [(n, b) for n in tensors if n in self.apart for b in range(tensors[n].shape[0])]
        segments = SegmentPlan([tensors[n] for n in together] + [tensors[n][b] for n, b in owners])
        return _Plan(device, segments, [rows[n] for n in together] + [rows[n] for n, _ in owners], owners)

    def _add(self, device: torch.device, targets: list[int], owners: list[tuple[str, int]], counts: Tensor) -> None:
        """Rows of samples come last; all rows go into the pooled tables too."""
        self._pooled[device].index_add_(0, _index(tuple(targets), device), counts)
        if owners:
            self._sample.append((owners, counts[len(counts) - len(owners) :]))

    def _count_float32(self, name: str, x: Tensor) -> None:
        array = x.detach().cpu().float().numpy()
        tables = [MagnitudeTable.of(sample) for sample in array]
        while len(self._float32) < len(tables):
            self._float32.append({})
        if name in self.apart:
            for b, table in enumerate(tables):
                self._float32[b][name] = table
        before = self._pooled_float32.get(name)
        self._pooled_float32[name] = merge([*([before] if before else []), *tables])


_INDICES: dict[tuple[tuple[int, ...], torch.device], Tensor] = {}


def _index(rows: tuple[int, ...], device: torch.device) -> Tensor:
    found = _INDICES.get((rows, device))
    if found is None:
        found = _INDICES[rows, device] = torch.tensor(rows, device=device)
    return found


def _fetch(rows: Tensor) -> Callable[[], NDArray[np.int32]]:
    """Bring counts of a sample off the device without waiting: a count of one sample fits in 32 bits."""
    narrow = rows.to(torch.int32)
    if not narrow.is_cuda:
        return narrow.numpy
    host = torch.empty(narrow.shape, dtype=torch.int32, pin_memory=True)
    host.copy_(narrow, non_blocking=True)
    there = torch.cuda.Event()
    there.record()

    def fetched() -> NDArray[np.int32]:
        there.synchronize()
        found: NDArray[np.int32] = host.numpy()
        return found

    return fetched


def _pending(
    b: int,
    fetched: Sequence[tuple[list[tuple[str, int]], Callable[[], NDArray[np.int32]]]],
    float32: Sequence[SampleTables],
    dtypes: Mapping[str, str],
) -> Pending:
    def tables() -> SampleTables:
        made = dict(float32[b]) if b < len(float32) else {}
        for owners, counts_of in fetched:
            counts = counts_of()
            for row, (name, sample) in zip(counts, owners, strict=True):
                if sample == b:
                    made[name] = MagnitudeTable.from_counts(row, dtypes[name])
        return {name: made[name] for name in dtypes if name in made}

    return tables
