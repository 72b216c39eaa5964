"""One pass over the samples: forwards, tables of every point, in shards that a killed calibration finds again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qinspect.inspector.calibrate.counting import Counter, Pending, SampleTables
from qinspect.inspector.calibrate.graphs import Graphs
from qinspect.inspector.calibrate.grouped import GroupedAbsmax
from qinspect.inspector.calibrate.models.load import ProbedModel
from qinspect.inspector.calibrate.points import Point
from qinspect.inspector.calibrate.recipes import applied
from qinspect.inspector.calibrate.shards import Shards
from qinspect.inspector.distribution.packing import Packed, pack
from qinspect.inspector.errors import CannotRead

Ids = Sequence[NDArray[np.int64]]
HOLD_BYTES_WHEN_SHORT = 64 << 20
"""Activations held before they are counted, once a forward's did not fit beside the model."""
BYTES_A_TABLE = {"float16": (6_600, 14_200), "bfloat16": (1_600, 2_700), "float32": (40_000, 400_000)}
"""What a stored table of a sample takes: of 0.1 and of 2.6 million values (docs/distributions.md)."""
MAX_QUEUED = 8
"""Samples whose tables are being packed while forwards go on."""


@dataclass
class Timing:
    """Seconds. forward: with counting, as the host sees it. packing: of all threads together."""

    forward: float = 0.0
    packing: float = 0.0
    samples: int = 0


@dataclass
class Progress:
    """What a calibration tells while it goes on."""

    n_done: Callable[[int, int], None] = lambda _done, _total: None
    say: Callable[[str], None] = lambda _text: None
    sample: Callable[[SampleTables], None] = lambda _tables: None
    """The tables of a sample, in the order of samples."""
    shard: Callable[[SampleTables], None] = lambda _tables: None
    """The pooled tables of a shard that is done."""
    timing: Timing = field(default_factory=Timing)


def find_points(model: ProbedModel, ids: NDArray[np.int64]) -> list[Point]:
    """The observation points of a model, found by one forward on a few tokens, in its order."""
    found: dict[str, Point] = {}

    def observe(name: str, x: Tensor) -> None:
        dtype = str(x.dtype).removeprefix("torch.")
        key = model.prefix + name if name.startswith("layers.") else name
        found[name] = Point(name, dtype, tuple(x.shape[1:]), model.rotated and is_rotated(name), key)

    model.forward(torch.from_numpy(ids[None, :]).to(model.device), observe)
    return list(found.values())


def is_rotated(name: str) -> bool:
    """Whether a point of a rotated Mamba lies in Hadamard space: the residual stream, and what goes into out_proj."""
    return name.endswith(("in_proj:input", "out_proj:input", "out_proj:output", "lm_head:input"))


def apart_of(points: Sequence[Point], recipe: str, globs: Sequence[str]) -> frozenset[str]:
    """The points that keep a table a sample: where the rule needs it, and what was asked for."""
    return frozenset(
        p.name for p in points if applied(recipe, p, 0.5).per_sample or any(fnmatchcase(p.name, g) for g in globs)
    )


def forecast_bytes(points: Sequence[Point], apart: frozenset[str], n_samples: int, seq_len: int) -> int:
    """About what the tables of samples will take on disk: a sum over points, between the measured sizes."""
    total = 0.0
    for p in points:
        if p.name in apart:
            least, most = BYTES_A_TABLE[p.dtype]
            n = float(np.prod(p.shape)) * (seq_len / p.shape[0] if len(p.shape) == 2 else 1)
            share = np.clip(np.log(max(n, 1) / 98_304) / np.log(2_600_000 / 98_304), 0, 1)
            total += (
                (least + share * (most - least)) * min(1.0, n / 98_304)
                if n < 98_304
                else least + share * (most - least)
            )
    return int(total * n_samples)


class Pass:
    """One calibration pass of a model over samples."""

    def __init__(
        self,
        model: ProbedModel,
        points: Sequence[Point],
        apart: frozenset[str],
        grouped: GroupedAbsmax,
        progress: Progress,
        batch: int = 1,
    ) -> None:
        self.model, self.progress, self.batch = model, progress, batch
        self.counter = Counter({p.name: p.dtype for p in points}, apart)
        self.grouped = grouped
        self._graphs = Graphs(model) if Graphs.can_help(model) else None
        self._levels: list[tuple[str, Callable[[], None]]] = [
            ("forwards are not kept as CUDA graphs", self._drop_graphs),
            ("fewer activations are held before they are counted", self._hold_less),
            ("tables are counted on the host", self._count_on_host),
        ]

    def run(self, ids: Ids, shards: Shards) -> None:
        """Make every shard that is missing. Raises CannotRead where the device has no room at all."""
        missing = shards.missing()
        done = len(ids) - sum(b - a for a, b in missing)
        self.progress.n_done(done, len(ids))
        with torch.inference_mode(), ThreadPoolExecutor(max_workers=4, thread_name_prefix="pack") as packers:
            for stretch in missing:
                while True:
                    try:
                        self._stretch(ids, stretch, shards, packers, done)
                    except torch.cuda.OutOfMemoryError as e:
                        self._make_room(e)
                        continue
                    break
                done += stretch[1] - stretch[0]

    def _stretch(
        self, ids: Ids, stretch: tuple[int, int], shards: Shards, packers: ThreadPoolExecutor, done: int
    ) -> None:
        self.counter.reset()
        self.grouped.reset()
        queued: list[Future[tuple[SampleTables, dict[str, Packed]]]] = []
        samples: dict[str, list[Packed]] = {}
        taken = 0

        def take() -> None:
            tables, packed = queued.pop(0).result()
            for name, of_sample in packed.items():
                samples.setdefault(name, []).append(of_sample)
            self.progress.sample(tables)

        for together in batches(ids, stretch, self.batch):
            start = time.perf_counter()
            pending = self._forward(np.stack([ids[i] for i in together]))
            self.progress.timing.forward += time.perf_counter() - start
            queued += [packers.submit(self._packed, p) for p in pending]
            while len(queued) > MAX_QUEUED:
                take()
            taken += len(together)
            self.progress.timing.samples += len(together)
            self.progress.n_done(done + taken, len(ids))
        while queued:
            take()
        pooled = self.counter.pooled()
        shards.write(stretch, pooled, samples, self.grouped.arrays())
        self.progress.shard(pooled)

    def _forward(self, ids: NDArray[np.int64]) -> list[Pending]:
        graph = self._graphs.of(ids.shape) if self._graphs else None
        if graph is not None:
            for name, x in graph.run(ids).items():
                self.grouped.observe(name, x)
            self.counter.count_again(graph.observed)
        else:
            self.model.forward(torch.from_numpy(ids).to(self.model.device), self._observe)
        return self.counter.finish(len(ids))

    def _observe(self, name: str, x: Tensor) -> None:
        self.counter.observe(name, x)
        self.grouped.observe(name, x)

    def _packed(self, pending: Pending) -> tuple[SampleTables, dict[str, Packed]]:
        tables = pending()
        start = time.perf_counter()
        packed = {name: pack(table, 0) for name, table in tables.items()}
        self.progress.timing.packing += time.perf_counter() - start
        return tables, packed

    def _make_room(self, error: Exception) -> None:
        """Do with less memory. Never with other batches: what a forward holds together is part of the result."""
        if not self._levels:
            raise CannotRead(
                f"the device has too little memory for the model and one forward: {str(error).split('.')[0]}",
                file=self.model.path, cure="Choose a smaller --seq-len, a free GPU, or --device auto or cpu.",
            ) from error  # fmt: skip
        what, act = self._levels.pop(0)
        self.progress.say(f"the device ran out of memory: from here on {what}; results stay the same")
        act()
        torch.cuda.empty_cache()

    def _drop_graphs(self) -> None:
        self._graphs = None
        self.counter.forget_plans()

    def _hold_less(self) -> None:
        self.counter.hold_bytes = HOLD_BYTES_WHEN_SHORT

    def _count_on_host(self) -> None:
        self.counter.on_host = True


def batches(ids: Ids, stretch: tuple[int, int], batch: int) -> list[list[int]]:
    """Numbers of samples that share a forward: neighbours of equal length, so that nothing is padded."""
    made: list[list[int]] = []
    for i in range(*stretch):
        if made and len(made[-1]) < batch and len(ids[made[-1][0]]) == len(ids[i]):
            made[-1].append(i)
        else:
            made.append([i])
    return made
