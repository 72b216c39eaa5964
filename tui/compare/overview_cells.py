"""What a cell of the map shows by the measure that is chosen: a text, a place on the colour scale, two lines in words.
No widget in here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qinspect.inspector.compare.layer_map import MEASURES, Cell, LayerMap, Worth, worth_of
from qinspect.inspector.compare.measures import STORED
from qinspect.inspector.compare.results import ScalePair, Status, WeightPair
from qinspect.inspector.text import number, percent, some
from qinspect.tui.compare.cell_text import short_number, short_percent
from qinspect.tui.compare.fidelity import Measured, named, rank
from qinspect.tui.compare.rows import Values
from qinspect.tui.compare.stored_labels import StoredLabels
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.key_names import key
from qinspect.tui.labels import fill, fill_name
from qinspect.tui.names import shown

if TYPE_CHECKING:
    from qinspect.inspector.measure import Measure

NUMBERED = 6
"""From this width on a cell has its number."""


class MapCells:
    """two: whether there is a B. measure: that is shown. measured: of fidelity, as far as it is known. values: of the
    scales of a model alone. labels: as what weights are stored, while the map shows that."""

    def __init__(self, glyphs: Glyphs) -> None:
        self.glyphs = glyphs
        self.two = True
        self.measure: Measure[ScalePair] | Measure[WeightPair] = MEASURES[0]
        self.measured = Measured()
        self.values: Mapping[str, Values] = {}
        self.labels: StoredLabels | None = None
        self._ranges: dict[int, tuple[float, float]] = {}

    def fit(self, m: LayerMap) -> None:
        """What the cells of a map are drawn by together."""
        self._ranges = {} if self.two else self._ranges_of_kinds(m)
        stored = self.two and self.measure is STORED
        self.labels = StoredLabels(t for c in m.cells.values() for t in c.tensors) if stored else None

    # --- what it is worth ---

    @property
    def by_fidelity(self) -> bool:
        """Whether the measure that is shown is one of fidelity."""
        return self.measured.is_of(self.measure)

    def next_measure(self, step: int) -> None:
        """Of the comparison, then of fidelity."""
        known = (*MEASURES, *self.measured.measures)
        at = next((i for i, m in enumerate(known) if m is self.measure), 0)
        self.measure = known[(at + step) % len(known)]

    def of_fidelity(self, measured: Measured) -> None:
        """The same measure of what is known now."""
        at = next((i for i, m in enumerate(self.measured.measures) if m is self.measure), None)
        self.measured = measured
        if at is not None:
            self.measure = measured.measures[at]

    def worth(self, cell: Cell) -> Worth:
        """What a cell of two models shows."""
        if self.by_fidelity:
            return self.measured.worth(cell, self.measure)  # type: ignore[arg-type]
        return worth_of(cell, self.measure)

    def differs(self, cell: Cell) -> bool:
        """By the measure, where that is one of fidelity."""
        return self.worth(cell).sign is Status.DIFFERENT if self.by_fidelity else bool(cell.differing)

    def rank(self, value: float) -> tuple[int, float]:
        """A sort key of numbers of the measure, the worst first."""
        return rank(self.measure, value) if self.by_fidelity else self.measure.rank(value)  # type: ignore[arg-type]

    def value_alone(self, cell: Cell) -> float | None:
        """The largest scale of a cell of one model."""
        known = [self.values.get(p.role, (None, None))[0] for p in cell.scales]
        ends = [v[1] for v in known if isinstance(v, tuple)]
        return max(ends, default=None)

    def _ranges_of_kinds(self, m: LayerMap) -> dict[int, tuple[float, float]]:
        """The least and the largest scale of each kind, of a model alone."""
        found: dict[int, tuple[float, float]] = {}
        for (row, column), cell in m.cells.items():
            value = self.value_alone(cell)
            if row < m.n_layers and value is not None and value > 0 and math.isfinite(value):
                low, high = found.get(column, (value, value))
                found[column] = min(low, value), max(high, value)
        return found

    # --- how it is drawn ---

    def drawn(self, cell: Cell, room: int, kind: int) -> tuple[str, float]:
        """Text of at most `room` cells, "" where a shade has to do, and the place on the colour scale. kind: the column
        of a layer's cell, -1 of what is in no layer."""
        if not self.two:
            return self._drawn_alone(cell, room, kind)
        worth = self.worth(cell)
        place = self.measure.colours.place(worth.value)
        if self.labels is not None and (drawn := self._stored(cell, worth, room)):
            return drawn, place
        told = self._number(worth)
        if told is not None:
            return _whole(told, room) or ("" if place else self.glyphs.same), place
        same = worth.sign.counts_as_same and not worth.of_others
        return fill(self._sign(worth), room, "", right=True), 0.0 if same else math.nan

    def _stored(self, cell: Cell, worth: Worth, room: int) -> str:
        """As what the weights of a cell are stored, with a sign where not all are alike; "" where it has none."""
        if self.labels is None or not isinstance(worth.item, WeightPair):
            return ""
        label = self.labels.drawn(worth.item, room - 1)  # a cell is kept for a sign
        several = len({found for t in cell.tensors if (found := self.labels.of(t))}) > 1
        sign = "+" if several else self.glyphs.different[0] if worth.of_others else ""
        return fill(f"{label}{sign}", room, "", right=True) if label else ""

    def _number(self, worth: Worth) -> str | None:
        """The number of a cell that has one and differs."""
        if worth.value is None or worth.sign is not Status.DIFFERENT:
            return None
        if math.isinf(worth.value):
            return "n/a"
        if self.measure.unit == "%":
            return short_percent(worth.value, self.measure.colours.signed)
        return str(self.measure.text(worth.item)).split(" of ")[0]  # type: ignore[arg-type]

    def _sign(self, worth: Worth) -> str:
        g = self.glyphs
        if worth.of_others or worth.sign is Status.DIFFERENT:
            return g.different[0]
        match worth.sign:
            case Status.ONLY_A:
                return "A"
            case Status.ONLY_B:
                return "B"
            case Status.BROKEN:
                return g.broken
            case Status.NOT_COMPARED:
                return "?"
        return g.same if worth.sign.counts_as_same else g.odd

    def _drawn_alone(self, cell: Cell, room: int, kind: int) -> tuple[str, float]:
        if any(p.faults_a for p in cell.scales):
            return fill(self.glyphs.broken, room, "", right=True), 1.0
        value = self.value_alone(cell)
        if value is None:
            return fill("?" if cell.scales else " ", room, "", right=True), math.nan
        low, high = self._ranges.get(kind, (value, value))
        place = math.log(value / low) / math.log(high / low) if 0 < low < high and value > 0 else 0.0
        return _whole(short_number(value), room), place

    # --- in words ---

    def said(self, cell: Cell) -> str:
        """The measure of a cell in full, empty where it has no number."""
        if not self.two:
            return ""
        worth = self.worth(cell)
        return "" if worth.value is None else str(self.measure.text(worth.item))  # type: ignore[arg-type]

    def readout(self, cell: Cell, name: str, width: int) -> list[str]:
        """What is known of a cell, in two lines; of a long name the middle is left out."""
        first = fill_name(shown(name), width, self.glyphs.cut).rstrip()
        if not self.two:
            return [first, self._said_alone(cell)]
        worth = self.worth(cell)
        if self.by_fidelity:
            return [first, "   ".join(self._said_of_fidelity(cell, worth))]
        if self.labels is not None and worth.value is not None:
            return [first, "   ".join(self._said_of_storage(cell, worth))]
        return [first, "   ".join(self._said_of_difference(cell, worth))]

    def _said_alone(self, cell: Cell) -> str:
        value = self.value_alone(cell)
        n = len(cell.scales)
        said = "no scale" if not n else f"{n} scales" if n > 1 else ""
        if value is None:
            return said
        return f"{said}, the largest {number(value)}" if n > 1 else f"scale {number(value)}"

    def _said_of_difference(self, cell: Cell, worth: Worth) -> Iterator[str]:
        if isinstance(worth.item, ScalePair) and worth.item.difference:
            d = worth.item.difference
            yield from (f"A {number(d.a)}", f"B {number(d.b)}", f"{percent(d.largest)} of A")
        else:
            told = self._number(worth)
            yield f"{self.measure.name} {told}" if told else str(worth.item.status)
        n = len(cell.items)
        if n > 1:
            yield f"{cell.differing} of {n} scales and tensors differ"
            if cell.differing:
                yield shown(worth.item.role, 80)
        if worth.of_others:
            yield f"what this measure does not measure differs: {key('measure')} shows it by another"

    def _said_of_fidelity(self, cell: Cell, worth: Worth) -> Iterator[str]:
        """Of the worst weight of the cell: all measures."""
        if isinstance(worth.item, WeightPair) and worth.value is not None:
            told = [(m, m.text(worth.item)) for m in self.measured.measures]
            yield from (named(m, text) for m, text in told if text)
        elif worth.sign is Status.NOT_COMPARED:
            yield "not measured yet"
        else:
            yield self.measured.why_not(worth.item.role) or str(worth.sign)
        if len(cell.tensors) > 1:
            yield f"the worst of {len(cell.tensors):,}: {shown(worth.item.role, 80)}"

    def _said_of_storage(self, cell: Cell, worth: Worth) -> Iterator[str]:
        """What both models store, of a cell of tensors."""
        assert self.labels is not None
        assert isinstance(worth.item, WeightPair)
        w = worth.item
        if len(cell.tensors) > 1:
            yield self.labels.said_of(cell.tensors)
        if w.stored_a and w.stored_b:
            same = w.stored_a == w.stored_b
            yield f"both {w.stored_a.name}" if same else f"A {w.stored_a.name}   B {w.stored_b.name}"
        if w.stored_a == w.stored_b or len(cell.tensors) == 1:
            yield str(w.status)
        only = Counter(p.status for p in cell.scales if p.status in (Status.ONLY_A, Status.ONLY_B))
        yield from (f"{some(n, 'scale')} {status}" for status, n in only.items())
        if worth.of_others:
            yield f"the numbers differ: {key('measure')} shows by how much"


def _whole(told: str, room: int) -> str:
    """A number as it is written, without its % where that is too much; empty where it has no room: a digit that is cut
    off makes another number."""
    bare = told if len(told) <= room else told.removesuffix("%")
    return bare if room >= NUMBERED - 1 and len(bare) <= room else ""
