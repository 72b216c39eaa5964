"""What is known of a pair while it is measured, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from qinspect.inspector.architecture import Segments
from qinspect.inspector.compare.items import Item, scheme_of
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.fidelity.blocks import bytes_of
from qinspect.inspector.fidelity.factors import Factors, factors_of
from qinspect.inspector.fidelity.nearest import WHOLE, NearestGrid, cells_of, nearest_grid
from qinspect.inspector.fidelity.norms import Norms
from qinspect.inspector.fidelity.pairs import NotCompared, Pair, Why
from qinspect.inspector.fidelity.recognition import Suspect, suspect_of
from qinspect.inspector.fidelity.results import Nearest, OfSegment, Part, WeightFidelity
from qinspect.inspector.fidelity.sums import Cells, Numbers, Piece, Sums, sqnr_db
from qinspect.inspector.fidelity.undoing import What
from qinspect.inspector.formats import Format, ScaleRecord
from qinspect.inspector.formats.segments import ModelSegments
from qinspect.inspector.progress import Progress

Result = WeightFidelity | NotCompared

WORST_CHANNELS = 3
UNRELATED_COSINE = 0.25
"""Below this, two matrices do not go together: rounding a value to its sign alone leaves 0.8."""
UNEXPLAINED_DB = 15.0
"""What is left of a weight after a rotation was undone is at most so much more than rounding to nearest leaves. GPTQ
at 4 bits leaves 4 dB more, a scale of 8 bits that clips half of the negative values 11."""
MOVES = (What.ROTATION, What.ORDER)
UNRELATED_VALUES = 256
"""Of which there must be so many: the cosine of n random values is about 1 / sqrt(n)."""


@dataclass(slots=True)
class Work:
    """What is known of one pair so far. cells: whose error is looked at. grid: for rounding to nearest, or why not.
    segments: of its rows, where it gives several things. norms: of both models; None where nothing is to be undone.
    suspect: what is found out about it once it is finished, where it does not go together as it stands."""

    pair: Pair
    cells: Cells | None
    grid: NearestGrid | str
    n_bytes: int
    segments: Segments = ()
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

    @property
    def together(self) -> Cells | None:
        """Rows that no piece may part."""
        cells = [self.cells] if self.cells else []
        if not isinstance(self.grid, str) and not self.grid.of_whole:
            cells.append(self.grid.cells)
        return max(cells, key=lambda c: c.rows, default=None)

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
        """Take the sums of some of its rows, or of a part of one."""
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
        """What the sums so far make."""
        pair, s = self.pair, self.sums
        refused = self._refused()
        if refused:
            why, said = refused
            return NotCompared(pair.role, pair.a.name, pair.b.name, why, pair.n, len(pair.shape) > 1, said)
        return WeightFidelity(
            pair.role, pair.a.name, pair.b.name, pair.shape, scheme_of(pair.a), scheme_of(pair.b),
            pair.a.weight is not None, pair.b.weight is not None, _note(pair), s, self.noise.size, self._channels(),
            self._group_shape(), self._group(), self._nearest(), self._factors(),
            *((pair.undoing.facts, pair.undoing.as_stored) if pair.undoing else ((), None)), None, self._segments(),
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
        return Nearest(sqnr, sqnr - stored if both else None, self.grid.said)

    def _segments(self) -> tuple[OfSegment, ...]:
        fit = self.segments and self.segments[-1].stop == self.noise.size and not self.sums.n_excluded
        if not fit:
            return ()
        sums = np.concatenate((self.rows, self.noise[None]))
        every = ((s, sums[:, s.start : s.stop].sum(axis=1).tolist()) for s in self.segments)
        return tuple(OfSegment(s.name, s.start, s.stop, *numbers) for s, numbers in every)

    def _factors(self) -> Factors | None:
        if not self.columns.size or not self.sums.dd:
            return None
        return factors_of(self.columns, self.rows, (self.pair.shape[0], self.pair.shape[1]), self.sums.sqnr)


def works_of(a: Format, b: Format, pairs: Sequence[Pair], progress: Progress, norms: Norms | None) -> list[Work]:
    """One for each pair. norms: of both models, where what was done to the weights is to be found; None where not."""
    records = {r.role: r for r in b.scales()}
    segments = ModelSegments(a) or ModelSegments(b)
    works = []
    for i, pair in enumerate(pairs):
        progress("looking at scales", i, len(pairs))  # zero points may be read
        cells, grid = _cells(pair), _grid(pair, records)
        n_bytes = bytes_of(pair.a) + bytes_of(pair.b)
        works.append(Work(pair, cells, grid, n_bytes, segments.of_role(pair.role), norms=norms))
    return works


def _cells(pair: Pair) -> Cells | None:
    """Of the quantized one of the two, B before A; None where its groups are no cells, or one of them is a channel."""
    item = pair.b if pair.b.weight else pair.a
    if item.weight is None or item.weight.rotation is not None:  # what shares a scale there is no cell of its values
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
    if not isinstance(grid, str) and grid.rotation is not None and pair.shape[1] % grid.rotation.size:
        return "its codes are of a rotated weight with more columns"
    return grid


def _note(pair: Pair) -> str:
    said = [f.said for f in pair.undoing.facts] if pair.undoing else []
    said += _rotations_said(pair)
    said += [f"{model}: {i.part_said}" for model, i in (("A", pair.a), ("B", pair.b)) if i.part_said]
    if pair.derived:
        said.append(f"{'A' if pair.made_in_a else 'B'} stores {pair.derived.said}, compared as such")
    return "; ".join(said)


def _rotations_said(pair: Pair) -> list[str]:
    """What formats themselves undo in the values that they give."""
    items = (("A's", pair.a), ("B's", pair.b))
    known = [(whose, i.weight.rotation.said) for whose, i in items if i.weight and i.weight.rotation]
    if len(known) == 2 and known[0][1] == known[1][1]:
        known = [("A's and B's", known[0][1])]
    return [f"{whose} codes are {said}, which is undone" for whose, said in known]
