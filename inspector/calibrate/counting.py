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
from qinspect.inspector.errors import CannotRead
from qinspect.kernels import N_MAGNITUDES, magnitude_counts, segmented_magnitude_counts

if TYPE_CHECKING:
    from qinspect.kernels.cuda_counts import SegmentPlan

SampleTables = dict[str, MagnitudeTable]
Shown = Sequence[tuple[str, Tensor]]
"""Names of points and what they showed, in the order of a forward. A name comes again where a module runs again."""
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
    where a table can hold them. Nothing here waits for a GPU but float32 points, `pooled` and what `finish` returns.
    What the CPU shows is counted at once: there are no launches to save.
    """

    def __init__(self, dtypes: Mapping[str, str], apart: frozenset[str]) -> None:
        self.dtypes, self.apart = dict(dtypes), apart
        self.hold_bytes: int | None = None
        """Bytes of activations that may be held before they are counted; None: all of a forward."""
        self.on_host = False
        """Bring tensors to the host and count them there: the last resort of a full card."""
        self.n_batch = 1
        """Samples of each forward to come."""
        self._held: list[tuple[str, Tensor]] = []
        self._n_held = 0
        self._rows: dict[torch.device, dict[str, int]] = {}
        self._pooled: dict[torch.device, Tensor] = {}
        self._plans: dict[int, list[_Plan]] = {}
        self._sample: list[tuple[list[tuple[str, int]], Tensor]] = []
        self._float32: list[tuple[str, int, MagnitudeTable]] = []
        self._pooled_float32: SampleTables = {}

    def reset(self) -> None:
        """Forget everything counted so far."""
        for table in self._pooled.values():
            table.zero_()
        self._held, self._n_held, self._sample = [], 0, []
        self._float32, self._pooled_float32 = [], {}

    def observe(self, name: str, x: Tensor) -> None:
        """The probe of a forward: x is [batch, ...], or what the samples of a batch were made into."""
        if name not in self.dtypes or not x.numel():
            return
        if self.on_host or x.device.type == "cpu":
            self._count([(name, x.cpu())])
            return
        self._held.append((name, x))
        if self.hold_bytes is not None:
            self._n_held += x.numel() * x.element_size()
            if self._n_held >= self.hold_bytes:
                self._count_held()

    def count_again(self, shown: Shown) -> None:
        """Count tensors that keep their place on a GPU: the same sequence, with other contents, again and again."""
        plans = self._plans.get(id(shown))
        if plans is None:
            in_place, _ = self._parted(shown)
            plans = self._plans[id(shown)] = [self._plan(d, tensors) for d, tensors in in_place.items()]
        for name, x in shown:
            if self.dtypes.get(name) == "float32":
                self._count_float32(name, x)
        for plan in plans:
            self._add(plan.device, plan.targets, plan.owners, plan.count())

    def move_to_host(self) -> None:
        """Count on the host from here on, and give the device's tables back. What was counted is forgotten."""
        self.on_host = True
        self._pooled, self._rows, self._plans = {}, {}, {}
        self.reset()

    def forget_plans(self) -> None:
        """The tensors that were counted in their place are going."""
        self._plans = {}

    def finish(self) -> list[Pending]:
        """A forward of `n_batch` samples is over: what gives the tables of each."""
        self._count_held()
        fetched = [(owners, _fetch(rows)) for owners, rows in self._sample]
        float32 = self._float32
        self._sample, self._float32 = [], []
        return [_pending(b, fetched, float32, self.dtypes) for b in range(self.n_batch)]

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
        held, self._held, self._n_held = self._held, [], 0
        self._count(held)

    def _count(self, shown: Shown) -> None:
        by_device, float32 = self._parted(shown)
        for name, x in float32:
            self._count_float32(name, x)
        for device, tensors in by_device.items():
            if device.type == "cpu":
                self._count_on_cpu(tensors)
            else:
                plan = self._plan(device, tensors)
                self._add(plan.device, plan.targets, plan.owners, plan.count())

    def _parted(self, shown: Shown) -> tuple[dict[torch.device, list[tuple[str, Tensor]]], list[tuple[str, Tensor]]]:
        """Those in 16 bits by device, and those in float32. What is no point of ours is left out."""
        by_device: dict[torch.device, list[tuple[str, Tensor]]] = {}
        float32: list[tuple[str, Tensor]] = []
        for name, x in shown:
            if self.dtypes.get(name) == "float32":
                float32.append((name, x))
            elif name in self.dtypes:
                by_device.setdefault(x.device, []).append((name, x))
        return by_device, float32

    def _of_samples(self, name: str, x: Tensor) -> list[Tensor]:
        """What each sample of a forward has in x. Raises CannotRead where that cannot be told."""
        if self.n_batch == 1:
            return [x]
        if x.ndim < 3 or x.shape[0] != self.n_batch:  # [rows, width]: rows of all samples together, or one a sample
            raise CannotRead(
                "no table of each sample can be made of it: its first axis is not that of samples", key=name,
                expected=f"[{self.n_batch}, positions, ...]", found=str(list(x.shape)),
                cure="Leave out --batch, or this point from --per-sample.",
            )  # fmt: skip
        return list(x)

    def _count_on_cpu(self, tensors: Shown) -> None:
        pooled = self._pooled_on(torch.device("cpu"), (name for name, _ in tensors))
        rows = self._rows[torch.device("cpu")]
        for name, x in tensors:
            if name not in self.apart:
                magnitude_counts(x, out=pooled[rows[name]].numpy())
                continue
            parts = self._of_samples(name, x)
            counts = torch.from_numpy(segmented_magnitude_counts(parts))
            owners = [(name, b) for b in range(len(parts))]
            self._add(torch.device("cpu"), [rows[name]] * len(parts), owners, counts)

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

    def _plan(self, device: torch.device, tensors: Shown) -> _Plan:
        from qinspect.kernels.cuda_counts import SegmentPlan

        self._pooled_on(device, (name for name, _ in tensors))
        rows = self._rows[device]
        together = [(n, x) for n, x in tensors if n not in self.apart]
        apart = [(n, b, part) for n, x in tensors if n in self.apart for b, part in enumerate(self._of_samples(n, x))]
        segments = SegmentPlan([x for _, x in together] + [part for _, _, part in apart])
        targets = [rows[n] for n, _ in together] + [rows[n] for n, _, _ in apart]
        return _Plan(device, segments, targets, [(n, b) for n, b, _ in apart])

    def _add(self, device: torch.device, targets: list[int], owners: list[tuple[str, int]], counts: Tensor) -> None:
        """Rows of samples come last; all rows go into the pooled tables too."""
        self._pooled[device].index_add_(0, _index(tuple(targets), device), counts)
        if owners:
            self._sample.append((owners, counts[len(counts) - len(owners) :]))

    def _count_float32(self, name: str, x: Tensor) -> None:
        parts = self._of_samples(name, x) if name in self.apart else [x]
        tables = [MagnitudeTable.of(part.detach().cpu().float().numpy()) for part in parts]
        if name in self.apart:
            self._float32 += [(name, b, table) for b, table in enumerate(tables)]
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
    float32: Sequence[tuple[str, int, MagnitudeTable]],
    dtypes: Mapping[str, str],
) -> Pending:
    def tables() -> SampleTables:
        made: dict[str, list[MagnitudeTable]] = {}
        for name, sample, table in float32:
            if sample == b:
                made.setdefault(name, []).append(table)
        for owners, counts_of in fetched:
            counts = counts_of()
            for row, (name, sample) in zip(counts, owners, strict=True):
                if sample == b:
                    made.setdefault(name, []).append(MagnitudeTable.from_counts(row, dtypes[name]))
        return {name: made[name][0] if len(made[name]) == 1 else merge(made[name]) for name in dtypes if name in made}

    return tables
