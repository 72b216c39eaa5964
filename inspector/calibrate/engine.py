"""One pass over the samples: forwards, tables of every point, in shards that a killed calibration finds again."""

from __future__ import annotations

import time
from collections import Counter as CountOf
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
from qinspect.inspector.calibrate.shards import Shards
from qinspect.inspector.distribution.packing import Packed, pack
from qinspect.inspector.models.load import ProbedModel, forward
from qinspect.inspector.models.memory import no_room
from qinspect.inspector.observers.points import Point
from qinspect.inspector.observers.recipes import applied
from qinspect.inspector.progress import Steps, untold

Ids = Sequence[NDArray[np.int64]]
HOLD_BYTES_WHEN_SHORT = 64 << 20
"""Activations held before they are counted, once a forward's did not fit beside the model."""
MEASURED_VALUES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
BYTES_A_TABLE = {
    "float16": (123, 743, 2738, 5941, 10900, 15618),
    "bfloat16": (99, 349, 742, 1457, 2068, 2901),
    "float32": (323, 2391, 18879, 18879, 18879, 18879),
}
"""What a stored table of so many gaussian values takes."""
BYTES_OF_ROW = 88
"""What the index has of it."""
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

    n_done: Steps = untold
    say: Callable[[str], None] = lambda _text: None
    sample: Callable[[SampleTables], None] = lambda _tables: None
    """The tables of a sample, in the order of samples."""
    shard: Callable[[SampleTables], None] = lambda _tables: None
    """The pooled tables of a shard that is done."""
    restart: Callable[[], None] = lambda: None
    """The samples since the last shard come once more."""
    timing: Timing = field(default_factory=Timing)


def find_points(model: ProbedModel, ids: NDArray[np.int64]) -> list[Point]:
    """The observation points of a model in its order, found by a forward on a few tokens and one on half of them; then
    those that it shows only for some tokens. Finds out too which the model overwrites."""
    whole, half = _sizes(model, ids), _sizes(model, ids[: max(len(ids) // 2, 1)])
    made = []
    for name, (dtype, n) in whole.items():
        n_new = len(ids) - max(len(ids) // 2, 1)
        n_token = (n - half.get(name, (dtype, 0))[1]) / n_new if n_new else n / len(ids)
        made.append(Point(name, dtype, model.rotated and is_rotated(name), n_token, n - n_token * len(ids)))
    return made + [Point(name, model.dtype, False) for name in model.may_show if name not in whole]


def _sizes(model: ProbedModel, ids: NDArray[np.int64]) -> dict[str, tuple[str, int]]:
    """Dtype and number of values of each point of a forward."""
    found: dict[str, tuple[str, int]] = {}
    shown: list[tuple[str, Tensor, Tensor]] = []

    def observe(name: str, x: Tensor) -> None:
        found[name] = (str(x.dtype).removeprefix("torch."), found.get(name, ("", 0))[1] + x.numel())
        shown.append((name, x, x.clone()))

    forward(model, ids[None, :], observe)
    model.overwritten |= {n for n, x, before in shown if not torch.equal(x.isnan(), before.isnan())
                          or not torch.equal(x.nan_to_num(), before.nan_to_num())}  # fmt: skip
    return found


def is_rotated(name: str) -> bool:
    """Whether a point of a rotated Mamba lies in Hadamard space: the residual stream, and what goes into out_proj."""
    return name.endswith(("in_proj:input", "out_proj:input", "out_proj:output", "lm_head:input"))


def apart_of(points: Sequence[Point], recipe: str, globs: Sequence[str]) -> frozenset[str]:
    """The points that keep a table a sample: where the rule needs it, and what was asked for."""
    return frozenset(
        p.name for p in points if applied(recipe, p, 0.5).per_sample or any(fnmatchcase(p.name, g) for g in globs)
    )


def forecast_bytes(points: Sequence[Point], apart: frozenset[str], lengths: Sequence[int], samples_a_shard: int) -> int:
    """About what a calibration on samples of these lengths takes on disk: tables of samples twice, in a shard and
    joined, and those of all samples together in every shard and once more."""
    total = 0.0
    for p in points:
        of_length = {n: p.n_values(n) for n in set(lengths)}
        if p.name in apart:
            total += 2 * sum(times * _bytes_of(p.dtype, of_length[n]) for n, times in CountOf(lengths).items())
        n_mean = sum(of_length[n] for n in lengths) / len(lengths)
        n_shards = -(-len(lengths) // samples_a_shard)
        total += n_shards * _bytes_of(p.dtype, n_mean * min(samples_a_shard, len(lengths)))
        total += _bytes_of(p.dtype, n_mean * len(lengths))
    return round(total)


def _bytes_of(dtype: str, n: float) -> float:
    """Of a table of n values, between the measured sizes: a power of n; few values have no more entries than values."""
    sizes = BYTES_A_TABLE[dtype]
    return float(np.exp(np.interp(np.log(max(n, 1)), np.log(MEASURED_VALUES), np.log(sizes)))) + BYTES_OF_ROW


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
        self._graphs: Graphs | None = None
        self._may_graph = Graphs.can_help(model)
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
        if self._may_graph:
            every = (together for stretch in shards.stretches for together in batches(ids, stretch, self.batch))
            self._graphs = Graphs(self.model, ((len(numbers), len(ids[numbers[0]])) for numbers in every))
        with torch.inference_mode(), ThreadPoolExecutor(max_workers=4, thread_name_prefix="pack") as packers:
            for stretch in missing:
                while True:
                    try:
                        self._stretch(ids, stretch, shards, packers, done)
                    except torch.OutOfMemoryError as e:
                        self._make_room(e)
                        continue
                    break
                done += stretch[1] - stretch[0]

    def _stretch(
        self, ids: Ids, stretch: tuple[int, int], shards: Shards, packers: ThreadPoolExecutor, done: int
    ) -> None:
        self.counter.reset()
        self.grouped.reset()
        self.progress.restart()
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
        self.counter.n_batch = len(ids)
        graph = self._graphs.of(ids.shape) if self._graphs else None
        if graph is not None:
            for name, x in graph.run(ids):
                self.grouped.observe(name, x)
            self.counter.count_again(graph.shown)
        else:
            forward(self.model, ids, self._observe)
        return self.counter.finish()

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
            raise no_room(self.model.path, error) from error
        what, act = self._levels.pop(0)
        self.progress.say(f"the device ran out of memory: from here on {what}; results stay the same")
        act()
        torch.cuda.empty_cache()

    def _drop_graphs(self) -> None:
        self._graphs, self._may_graph = None, False
        self.counter.forget_plans()

    def _hold_less(self) -> None:
        self.counter.hold_bytes = HOLD_BYTES_WHEN_SHORT

    def _count_on_host(self) -> None:
        self.counter.move_to_host()


def batches(ids: Ids, stretch: tuple[int, int], batch: int) -> list[list[int]]:
    """Numbers of samples that share a forward: neighbours of equal length, so that nothing is padded."""
    made: list[list[int]] = []
    for i in range(*stretch):
        if made and len(made[-1]) < batch and len(ids[made[-1][0]]) == len(ids[i]):
            made[-1].append(i)
        else:
            made.append([i])
    return made
