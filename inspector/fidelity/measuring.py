"""Measuring all pairs of two checkpoints: pieces go to as many threads as there are cores, numpy works without the
interpreter's lock, and what comes back is added up in order, so that the same files give the same digits."""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.compare.items import Item, scheme_of
from qinspect.inspector.errors import NothingInCommon, QinspectError
from qinspect.inspector.fidelity.blocks import (
    Unit,
    bytes_of,
    original_of,
    single,
    units_of,
    values_of,
    widened,
)
from qinspect.inspector.fidelity.factors import Factors, factors_of
from qinspect.inspector.fidelity.nearest import WHOLE, NearestGrid, cells_of, nearest_error, nearest_grid
from qinspect.inspector.fidelity.norms import Norms
from qinspect.inspector.fidelity.order import Arrange, as_they_come
from qinspect.inspector.fidelity.pairs import Doubt, NotCompared, Pair, Why, all_pairs_of
from qinspect.inspector.fidelity.recognition import Recognition, Suspect, suspect_of, told_why
from qinspect.inspector.fidelity.results import Fidelity, Nearest, Part, WeightFidelity
from qinspect.inspector.fidelity.sums import Cells, Numbers, Piece, Sums, compiled_sums, sqnr_db, sums_of
from qinspect.inspector.fidelity.undoing import What
from qinspect.inspector.formats import Format, ScaleRecord
from qinspect.inspector.formats.bits import model_bits
from qinspect.inspector.progress import Progress, unseen
from qinspect.kernels.distance import cell_extremes

Array = NDArray[Any]
T = TypeVar("T")
Result = WeightFidelity | NotCompared

AT_ONCE_ELEMENTS = 1 << 16
"""Calculated with at once: three arrays of float64 stay in a core's cache."""
MOST_WORKERS = 16
"""Each holds about 50 MB: 1 << 20 values of both models and what dequantizing them takes."""
MOST_ELEMENTS = MOST_WORKERS << 20
"""Held by all of them together."""
WORST_CHANNELS = 3
UNRELATED_COSINE = 0.25
"""Below this, two matrices do not go together: rounding a value to its sign alone leaves 0.8."""
UNEXPLAINED_DB = 15.0
"""What is left of a weight after a rotation was undone is at most so much more than rounding to nearest leaves. GPTQ
at 4 bits leaves 4 dB more, a scale of 8 bits that clips half of the negative values 11."""
MOVES = (What.ROTATION, What.ORDER)
UNRELATED_VALUES = 256
"""Of which there must be so many: the cosine of n random values is about 1 / sqrt(n)."""


def measure_fidelity(
    a: Format,
    b: Format,
    progress: Progress = unseen,
    told: Callable[[Result], None] = lambda _: None,
    arrange: Arrange = as_they_come,
) -> Fidelity:
    """How far B's values are from A's.

    progress: called with bytes of both, from this thread; it may raise to cancel. told: called with each weight once it
    is known, from this thread too. arrange: in which order they are measured; the result is in A's order. A weight that
    cannot be read is among `not_compared`, with its reason. Raises NothingInCommon where no weight has a partner.
    """
    found = 0

    def tick(n: int) -> None:
        nonlocal found
        found += n
        progress("pairing", found, 0)

    lined_up = all_pairs_of(a, b, tick)
    for other in lined_up.others:
        told(other)
    if not lined_up.pairs and not lined_up.doubts:
        _check_common(lined_up.others, a, b)
    norms = Norms(lined_up.pairs, lined_up.others, a, b)
    works = _works(b, arrange(lined_up.pairs), progress, norms)
    _run(works, progress, told)
    again = _again(works, lined_up.doubts, norms, progress)
    _run([w for w in again if isinstance(w, _Work)], progress, told)
    results = [w.finished() for w in works if w.suspect is None]
    for once_more in again:
        if isinstance(once_more, _Work):
            results.append(once_more.finished())
        else:
            told(once_more)
            results.append(once_more)
    results.sort(key=lambda r: lined_up.rank.get(r.role, 0))
    weights = tuple(r for r in results if isinstance(r, WeightFidelity))
    others = (*lined_up.others, *(r for r in results if isinstance(r, NotCompared)))
    if not weights:
        _check_common(others, a, b)
    changed = tuple(dict.fromkeys(str(path) for f in (a, b) for path in f.checkpoint.changed_files()))
    return Fidelity(a, b, weights, others, _bits(b), changed)


def _again(works: Sequence[_Work], doubts: Sequence[Doubt], norms: Norms, progress: Progress) -> list[_Work | Result]:
    """What is measured once more, with what was done to it undone; and of that in which nothing was found, what is said
    of it."""
    odd: list[tuple[Suspect, Result]] = [(Suspect(d.pair, d.refused), d.refused) for d in doubts]
    odd += [(w.suspect, w.finished()) for w in works if w.suspect is not None]
    if not odd:
        return []
    seen = Recognition([s for s, _ in odd], norms, progress)
    undone = list(seen.undone.values())
    made = dict(zip(seen.undone, _works(odd[0][0].pair.b.fmt, undone, progress, norms), strict=True))
    return [made[i] if i in made else told_why(result, s, seen.why_not.get(i, "")) for i, (s, result) in enumerate(odd)]


def _check_common(others: Sequence[NotCompared], a: Format, b: Format) -> None:
    """Raises NothingInCommon where all that is known of each weight is that it has no partner."""
    if all(o.why in (Why.ONLY_A, Why.ONLY_B, Why.SHAPE) for o in others):
        raise NothingInCommon(
            "no weight of A has a partner of its shape in B", file=b.checkpoint.path,
            expected=f"weights of the model in {a.checkpoint.path}", found=_found(others),
            cure="Give two checkpoints of one model; `qinspect tree` shows what each holds.",
        )  # fmt: skip


def _found(others: Iterable[NotCompared]) -> str:
    shapes = [f"{o.role} ({o.said})" for o in others if o.why is Why.SHAPE]
    names = [o.role for o in others if o.why is Why.ONLY_B]
    said = [f"{len(shapes)} of other shapes, such as {shapes[0]}"] if shapes else []
    said += [f"{len(names)} others, such as {names[0]}"] if names else []
    return "; ".join(said) or "none at all"


def _bits(fmt: Format) -> float | None:
    try:
        return model_bits(fmt).effective
    except QinspectError:
        return None


@dataclass(slots=True)
class _Work:
    """What is known of one pair so far. cells: whose error is looked at. grid: for rounding to nearest, or why not."""

    pair: Pair
    cells: Cells | None
    grid: NearestGrid | str
    n_bytes: int
    sums: Sums = field(default_factory=Sums)
    noise: Numbers = field(default_factory=lambda: np.zeros(0))
    rows: Numbers = field(default_factory=lambda: np.zeros((3, 0)))
    columns: Numbers = field(default_factory=lambda: np.zeros((3, 0)))
    cell: tuple[float, float, int, int] | None = None
    nearest: float = 0.0
    largest: float = 0.0
    error: QinspectError | None = None
    norms: Norms | None = None
    found: Result | None = None
    suspect: Suspect | None = None

    def finished(self) -> Result:
        """What came of it, once. The sums of rows and columns are let go: of 40,000 experts they take 10 GB."""
        if self.found is None:
            self.found = self.result()
            self.suspect = self._suspect()
            if self.pair.undoing is not None:
                self.pair.undoing.drop()
            self.noise, self.rows, self.columns = np.zeros(0), np.zeros((3, 0)), np.zeros((3, 0))
        return self.found

    def _suspect(self) -> Suspect | None:
        if self.error is not None or self.norms is None or not self.sums.n:
            return None
        equal = self.sums.exact and not self.sums.n_excluded
        factored = isinstance(self.found, WeightFidelity) and self.found.factors is not None
        return suspect_of(self.pair, self.rows, self.columns, self.norms, self.sums.sqnr, equal, factored)

    def add(self, piece: Piece) -> None:
        self.sums.add(piece.sums)
        self.nearest += piece.nearest
        if len(self.pair.shape) > 1:
            n_rows, n_columns = self.pair.shape[0], math.prod(self.pair.shape[1:])
            if not self.noise.size:
                self.noise, self.rows = np.zeros(n_rows), np.zeros((3, n_rows))
                self.columns = np.zeros((3, n_columns if len(self.pair.shape) == 2 else 0))
            rows = slice(piece.first_row, piece.first_row + piece.noise.size)
            self.noise[rows] += piece.noise
            self.rows[:, rows] += piece.rows
            if piece.columns.shape == self.columns.shape:
                self.columns += piece.columns
            else:  # rows are read in parts
                self.columns = np.zeros((3, 0))
        if piece.cell and (self.cell is None or piece.cell[0] > self.cell[0]):
            self.cell = piece.cell

    def result(self) -> Result:
        pair, s = self.pair, self.sums
        refused = self._refused()
        if refused:
            why, said = refused
            return NotCompared(pair.role, pair.a.name, pair.b.name, why, pair.n, len(pair.shape) > 1, said)
        return WeightFidelity(
            pair.role, pair.a.name, pair.b.name, pair.shape, scheme_of(pair.a), scheme_of(pair.b),
            pair.a.weight is not None, pair.b.weight is not None, _note(pair), s, self.noise.size, self._channels(),
            self._group_shape(), self._group(), self._nearest(), self._factors(),
            *((pair.undoing.facts, pair.undoing.as_stored) if pair.undoing else ((), None)),
        )  # fmt: skip

    def _refused(self) -> tuple[Why, str] | None:
        pair, s = self.pair, self.sums
        if self.error is not None:
            return Why.BROKEN, str(self.error)
        if pair.only_equal and not (s.exact and not s.n_excluded):
            return Why.ROTATED, pair.only_equal
        if not s.n:
            return Why.EMPTY, f"none of {pair.n:,} values is finite in both"
        matrix = len(pair.shape) > 1 and s.n >= UNRELATED_VALUES
        if matrix and abs(s.cosine) < UNRELATED_COSINE:
            said = f"their cosine is {s.cosine:.3f}: of another model, in another order, rotated, or misread"
            return Why.UNRELATED, said
        return self._left_over()

    def _left_over(self) -> tuple[Why, str] | None:
        """What was rotated or moved has to be what rounding leaves of it."""
        facts = [f for f in self.pair.undoing.facts if f.what in MOVES] if self.pair.undoing else []
        if not facts or self.pair.b.weight is None or isinstance(self.grid, str):
            return None
        nearest, stored = sqnr_db(self.sums.aa, self.nearest), self.sums.sqnr
        if not nearest - stored > UNEXPLAINED_DB or self._factors() is not None:
            return None
        why = Why.ROTATED if any(f.what is What.ROTATION for f in facts) else Why.PERMUTED
        done = " and ".join(f.said for f in facts)
        left = f"the SQNR is {stored:.1f} dB, where rounding to nearest gives {nearest:.1f}"
        return why, f"with {done} undone, {left}: something else was done to it"

    def _channels(self) -> tuple[Part, ...]:
        if not self.sums.dd or self.noise.size < 2:
            return ()
        most = np.argsort(-self.noise, kind="stable")[:WORST_CHANNELS]
        return tuple(self._part((int(i),), float(self.noise[i]), float(self.rows[0, i])) for i in most)

    def _group(self) -> Part | None:
        if self.cell is None or not self.sums.dd:
            return None
        noise, signal, row, column = self.cell
        return self._part((row, column), noise, signal)

    def _group_shape(self) -> tuple[int, ...]:
        return () if self.cells is None else (self.cells.rows, self.cells.columns)

    def _part(self, where: tuple[int, ...], noise: float, signal: float) -> Part:
        return Part(where, noise / self.sums.dd, sqnr_db(signal, noise))

    def _nearest(self) -> Nearest | None:
        if self.pair.b.weight is None:
            return None
        if isinstance(self.grid, str):
            return Nearest(None, None, self.grid)
        sqnr = sqnr_db(self.sums.aa, self.nearest)
        stored = self.sums.sqnr
        both = math.isfinite(sqnr) and math.isfinite(stored) and self._factors() is None
        return Nearest(sqnr, sqnr - stored if both else None, str(self.grid.rule))

    def _factors(self) -> Factors | None:
        if not self.columns.size or not self.sums.dd:
            return None
        return factors_of(self.columns, self.rows, (self.pair.shape[0], self.pair.shape[1]), self.sums.sqnr)


def _works(b: Format, pairs: Sequence[Pair], progress: Progress, norms: Norms) -> list[_Work]:
    records = {r.role: r for r in b.scales()}
    works = []
    for i, pair in enumerate(pairs):
        progress("looking at scales", i, len(pairs))  # zero points may be read
        cells, grid = _cells(pair), _grid(pair, records)
        n_bytes = bytes_of(pair.a) + bytes_of(pair.b)
        works.append(_Work(pair, cells, grid, n_bytes, norms=norms))
    return works


def _cells(pair: Pair) -> Cells | None:
    """Of the quantized one of the two, B before A; None where its groups are no cells, or one of them is a channel."""
    item = pair.b if pair.b.weight else pair.a
    if item.weight is None:
        return None
    cells = cells_of(item.weight.grid, pair.shape)
    if cells is None or cells.rows >= WHOLE or (cells.rows == 1 and cells.columns >= pair.shape[1]):
        return None
    return cells if _begins_with_a_cell(item, cells) else None


def _begins_with_a_cell(item: Item, cells: Cells) -> bool:
    runs = item.part.runs if item.part else None
    return item.first_row % cells.rows == 0 if runs is None else runs.in_cells(cells.rows) is not None


def _grid(pair: Pair, records: dict[str, ScaleRecord]) -> NearestGrid | str:
    weight = pair.b.weight
    if weight is None:
        return "B is not quantized"
    if pair.a.weight is not None:
        return "A is quantized itself: the original is not known"
    if pair.undoing is not None and pair.undoing.in_a and pair.undoing.facts:
        return "B's values were brought to what A stores"
    if pair.derived:
        return f"B stores {pair.derived.said}"
    if len(pair.shape) != 2:
        return "it is no matrix"
    try:
        grid = nearest_grid(pair.b.fmt, weight, records)
    except QinspectError as e:
        return str(e)
    if not isinstance(grid, str) and (grid.of_whole and pair.b.n_rows_of_part is not None):
        return "it is a part of a weight with one scale"
    if not isinstance(grid, str) and not _begins_with_a_cell(pair.b, grid.cells):
        return "it begins inside of what shares a scale"
    return grid


def _note(pair: Pair) -> str:
    said = [f.said for f in pair.undoing.facts] if pair.undoing else []
    said += [f"{model}: {i.part_said}" for model, i in (("A", pair.a), ("B", pair.b)) if i.part_said]
    if pair.derived:
        said.append(f"{'A' if pair.made_in_a else 'B'} stores {pair.derived.said}, compared as such")
    return "; ".join(said)


# --- threads ---


def _run(works: list[_Work], progress: Progress, told: Callable[[Result], None]) -> None:
    total = sum(w.n_bytes for w in works)
    first = [w for w in works if not isinstance(w.grid, str) and w.grid.of_whole]
    total += sum(bytes_of(w.pair.a) for w in first)
    done = 0

    def step(work: _Work, unit: Unit, n_bytes: int) -> None:
        nonlocal done
        done += n_bytes * unit.n // max(1, work.pair.n)
        progress("reading weights", done, total)

    n_workers = _n_workers(works)
    stop = threading.Event()
    pool = ThreadPoolExecutor(n_workers, thread_name_prefix="fidelity")
    try:
        for work, unit, most in _in_order(pool, n_workers, stop, first, _largest_of):
            work.largest = max(work.largest, most)
            step(work, unit, bytes_of(work.pair.a))
        before: _Work | None = None
        for work, unit, piece in _in_order(pool, n_workers, stop, works, _measure):
            if before is not None and work is not before:
                _tell(before, told)
            before = work
            work.add(piece)
            step(work, unit, work.n_bytes)
        for work in works:
            new = work.found is None
            work.finished()
            if new:
                _tell(work, told)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _tell(work: _Work, told: Callable[[Result], None]) -> None:
    """Of what is not looked at again."""
    result = work.finished()
    if work.suspect is None:
        told(result)


def _n_workers(works: list[_Work]) -> int:
    """As many as there are cores, fewer where pieces are large: an expert is one where a stack is one weight."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    largest = max((next(units_of(w.pair, _together(w))).n for w in works), default=1)
    return max(1, min(MOST_WORKERS, n_cores, MOST_ELEMENTS // max(1, largest)))


def _in_order(
    pool: ThreadPoolExecutor,
    n_workers: int,
    stop: threading.Event,
    works: list[_Work],
    body: Callable[[_Work, Unit], T],
) -> Iterator[tuple[_Work, Unit, T]]:
    """What `body` makes of every piece, in order. A pair that cannot be read is marked and left."""
    waiting: deque[tuple[_Work, Unit, Future[T | None]]] = deque()

    def call(work: _Work, unit: Unit) -> T | None:
        if stop.is_set() or work.error is not None:
            return None
        try:
            return body(work, unit)
        except QinspectError as e:
            work.error = e
            return None

    def oldest() -> Iterator[tuple[_Work, Unit, T]]:
        work, unit, future = waiting.popleft()
        made = future.result()
        if made is not None:
            yield work, unit, made

    for work, unit in _all_units(works):
        waiting.append((work, unit, pool.submit(call, work, unit)))
        if len(waiting) > 2 * n_workers:
            yield from oldest()
    while waiting:
        yield from oldest()


def _all_units(works: list[_Work]) -> Iterator[tuple[_Work, Unit]]:
    for work in works:
        for unit in units_of(work.pair, _together(work)):
            if work.error is not None:
                break
            yield work, unit


def _together(work: _Work) -> Cells | None:
    """Rows that no piece may part."""
    cells = [work.cells] if work.cells else []
    if not isinstance(work.grid, str) and not work.grid.of_whole:
        cells.append(work.grid.cells)
    return max(cells, key=lambda c: c.rows, default=None)


def _largest_of(work: _Work, unit: Unit) -> float:
    values = single(original_of(work.pair, unit))
    ends = cell_extremes(values, unit.rows, unit.columns)
    if ends is not None and np.isfinite(ends).all():
        return float(max(ends[1].max(), -ends[0].min()))
    most = 0.0
    for x in _widened_rows(values, AT_ONCE_ELEMENTS // max(1, unit.columns)):
        np.abs(x, out=x)
        top = float(x.max(initial=0.0))
        most = max(most, top if np.isfinite(top) else float(x[np.isfinite(x)].max(initial=0.0)))
    return most


def _measure(work: _Work, unit: Unit) -> Piece:
    pair, grid = work.pair, work.grid
    a, b = map(single, values_of(pair, unit))
    cells = work.cells if unit.aligned else None
    found = None if pair.derived else compiled_sums(a, b, unit.start, cells)
    if found is not None:
        found.at_row(unit.first_row)
        if not unit.aligned:
            found.columns = np.zeros((3, 0))
        if not isinstance(grid, str) and unit.aligned:
            found.nearest = nearest_error(a, grid, work.largest)
        return found
    return _by_numpy(work, unit, a, b, cells)


def _by_numpy(work: _Work, unit: Unit, a: Array, b: Array, cells: Cells | None) -> Piece:
    """Some rows at a time, of values of any dtype, finite or not."""
    pair, grid = work.pair, work.grid
    together = _together(work)
    step = together.rows if together else 1
    rows = max(1, AT_ONCE_ELEMENTS // max(1, unit.columns) // step) * step
    whole = Piece(Sums(), unit.first_row, np.zeros(unit.rows), np.zeros((3, unit.rows)), np.zeros((3, unit.columns)))
    first = 0
    for x, y in zip(_widened_rows(a, rows), _widened_rows(b, rows), strict=True):
        pair.derive(x, y)
        piece = sums_of(x, y, unit.start + first * unit.columns, cells)
        whole.sums.add(piece.sums)
        whole.noise[first : first + len(x)] = piece.noise
        whole.rows[:, first : first + len(x)] = piece.rows
        whole.columns += piece.columns
        if piece.cell and (whole.cell is None or piece.cell[0] > whole.cell[0]):
            noise, signal, row, column = piece.cell
            whole.cell = (noise, signal, unit.first_row + first + row, column)
        if not isinstance(grid, str) and unit.aligned:
            whole.nearest += nearest_error(x.astype(np.float32), grid, work.largest)
        first += len(x)
    return whole


def _widened_rows(values: Array, rows: int) -> Iterator[Array]:
    """float64, some rows at a time, in memory that is used again."""
    rows = max(1, min(rows, len(values)))
    buffer = np.empty((rows, values.shape[1]))
    for first in range(0, len(values), rows):
        part = values[first : first + rows]
        out = buffer[: len(part)]
        widened(part, out)
        yield out
