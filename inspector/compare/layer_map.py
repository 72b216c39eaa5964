"""The whole model at a glance: layers down, kinds of entries across, what was compared of each in a cell.

No numpy, no file: the cells hold the pairs of a comparison, and a measure says what a cell is worth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from qinspect.inspector.architecture import kind_of_layer
from qinspect.inspector.compare.measures import DIFFERENCE, OF_SCALES, OF_TENSORS, STORED
from qinspect.inspector.compare.results import ScalePair, Status, WeightPair
from qinspect.inspector.measure import Measure
from qinspect.inspector.roles import place_in_stack

T = TypeVar("T", ScalePair, WeightPair)

MEASURES: tuple[Measure[ScalePair] | Measure[WeightPair], ...] = (*OF_SCALES.values(), *OF_TENSORS.values())
"""What the map of two models can show, in the order in which they are offered."""


@dataclass(slots=True)
class Cell:
    """One kind of one layer (or of a few that share a line): all scales and tensors of it. Of a model of experts, those
    of all experts."""

    scales: list[ScalePair] = field(default_factory=list)
    tensors: list[WeightPair] = field(default_factory=list)

    @property
    def items(self) -> list[ScalePair | WeightPair]:
        """All, scales first."""
        return [*self.scales, *self.tensors]

    @property
    def differing(self) -> int:
        """How many of them count as different."""
        return sum(not p.status.counts_as_same for p in self.items)

    def add(self, other: Cell) -> None:
        """Take what another cell holds."""
        self.scales += other.scales
        self.tensors += other.tensors


@dataclass(frozen=True, slots=True)
class Worth:
    """What a cell shows of a measure. value: of `item`, the one that differs most; None where nothing is known. sign:
    the status that stands before the number: DIFFERENT, a status that says why there is no number, or IDENTICAL.
    of_others: the measure has nothing to say, but what it does not measure differs."""

    value: float | None
    item: ScalePair | WeightPair
    sign: Status
    of_others: bool = False


@dataclass(frozen=True, slots=True)
class LayerMap:
    """rows: names of lines, layers first. kinds: headings of columns; of what is in no layer, the columns have no
    heading: `names` has each cell's own. cells: by (row, column). of_layers: what the layers of each line of layers
    are, `Mamba`; "" where that is not known, or not all of a line are one."""

    rows: tuple[str, ...]
    n_layers: int
    kinds: tuple[str, ...]
    cells: dict[tuple[int, int], Cell]
    names: dict[tuple[int, int], str]
    of_layers: tuple[str, ...] = ()

    def label(self, row: int) -> str:
        """Of a line: `3 Mamba`."""
        kind = self.of_layers[row] if row < len(self.of_layers) else ""
        return f"{self.rows[row]} {kind}" if kind else self.rows[row]

    def name_of(self, row: int, column: int) -> str:
        """Of a cell: `layers 3, mixer.x_proj:input`, or the name of what is in no layer."""
        own = self.names.get((row, column))
        if own is not None:
            return own
        return f"layer{'s' * ('-' in self.rows[row])} {self.label(row)}, {self.kinds[column]}"


def layer_map(scales: Iterable[ScalePair], tensors: Iterable[WeightPair], of_layers: Sequence[str] = ()) -> LayerMap:
    """Kinds stand in the order in which they come: forward order, as scales do. Kinds that have no scale follow.

    of_layers: what each layer of the model is, as `architecture.layer_kinds` says it.
    Two stacks of layers (an encoder's, a decoder's) have lines of their own. Experts of a layer are one kind.
    """
    placed: dict[tuple[str, int, str], Cell] = {}
    outside: dict[str, Cell] = {}
    for pair in scales:
        _cell(pair.role, placed, outside).scales.append(pair)
    for tensor in tensors:
        _cell(tensor.role, placed, outside).tensors.append(tensor)
    stacks = {stack: i for i, stack in enumerate(dict.fromkeys(stack for stack, _, _ in placed))}
    layers = sorted({(stack, layer) for stack, layer, _ in placed}, key=lambda x: (stacks[x[0]], x[1]))
    kinds = tuple(dict.fromkeys(kind for _, _, kind in placed))
    row, column = {x: i for i, x in enumerate(layers)}, {x: i for i, x in enumerate(kinds)}
    cells = {(row[stack, layer], column[kind]): cell for (stack, layer, kind), cell in placed.items()}
    names: dict[tuple[int, int], str] = {}
    rows = [str(layer) if len(stacks) == 1 else f"{stack.split('.')[0]} {layer}" for stack, layer in layers]
    by_head: dict[str, list[str]] = {}
    for name in outside:
        by_head.setdefault(_HEAD.split(name, maxsplit=1)[0], []).append(name)
    for head, of_head in by_head.items():
        for i, name in enumerate(of_head):
            cells[len(rows), i], names[len(rows), i] = outside[name], name
        rows.append(head)
    said = tuple(kind_of_layer(f"{stack}.{layer}", of_layers) for stack, layer in layers) if of_layers else ()
    return LayerMap(tuple(rows), len(layers), kinds, cells, names, said)


_HEAD = re.compile(r"[.:#]")
_EXPERT = re.compile(r"(?<=\.)\d+(?=\.)")


def _cell(role: str, placed: dict[tuple[str, int, str], Cell], outside: dict[str, Cell]) -> Cell:
    stack, layer, kind = place_in_stack(role)
    if layer is None:
        return outside.setdefault(kind, Cell())
    return placed.setdefault((stack, layer, _of_all_experts(kind)), Cell())


@lru_cache(1 << 12)
def _of_all_experts(kind: str) -> str:
    return _EXPERT.sub("*", kind)


def first_measure(m: LayerMap) -> Measure[ScalePair] | Measure[WeightPair]:
    """What a map is opened by: the difference of scales; of models of which no scale of a weight has a number in both,
    but weights are stored in two ways, as what they are stored."""
    for cell in m.cells.values():
        if any(p.status in _NUMBERED and p.record.kind == "weight" for p in cell.scales):
            return DIFFERENCE
    apart = any(t.quantized and _apart(t) for cell in m.cells.values() for t in cell.tensors)
    return STORED if apart else DIFFERENCE


def _apart(w: WeightPair) -> bool:
    """Whether it is stored in two ways."""
    return w.stored_a is not None and w.stored_b is not None and w.stored_a != w.stored_b


def _worth_stored(cell: Cell) -> Worth | None:
    """Of the tensor whose codes lost or gained most bits."""
    known = [t for t in cell.tensors if t.stored_a and t.stored_b]
    if not known:
        return None
    most = max(known, key=lambda t: (_apart(t), abs(STORED.value(t) or 0.0)))
    others = _differ([t for t in known if not _apart(t)])
    return Worth(STORED.value(most), most, Status.DIFFERENT if _apart(most) else Status.IDENTICAL, others)


def worth_of(cell: Cell, measure: Measure[ScalePair] | Measure[WeightPair]) -> Worth:
    """A cell by a measure of scales or of tensors."""
    if measure is STORED:
        return _worth_stored(cell) or _of_status(cell.items)
    if measure.key in OF_SCALES:
        measured: Worth | None = _worth(cell.scales, OF_SCALES[measure.key], _differ(cell.tensors))
    else:
        measured = _worth(cell.tensors, OF_TENSORS[measure.key], _differ(cell.scales))
    return measured or _of_status(cell.items)


def _differ(items: Sequence[ScalePair] | Sequence[WeightPair]) -> bool:
    return any(not p.status.counts_as_same for p in items)


def _of_status(items: Sequence[ScalePair | WeightPair]) -> Worth:
    """Of what the measure does not measure: whether it differs, as far as it was compared."""
    apart = [p for p in items if not p.status.counts_as_same]
    unread = [p for p in items if p.status is Status.NOT_COMPARED]
    first = (apart or unread or items)[0]
    return Worth(None, first, first.status, bool(apart) and first.status is Status.DIFFERENT)


def _worth(items: Sequence[T], measure: Measure[T], others_differ: bool) -> Worth | None:
    if not items:
        return None
    most = min((p for p in items if p.status in _NUMBERED), key=measure.order, default=None)
    value = None if most is None else measure.value(most)  # what is not known is last
    odd = next((p for p in items if not p.status.counts_as_same and p.status is not Status.DIFFERENT), None)
    if most is not None and value is not None and (value or odd is None):
        differs = any(p.status in (Status.DIFFERENT, Status.DTYPE) for p in items)
        sign = Status.DIFFERENT if differs else Status.IDENTICAL
        return Worth(value, most, sign, others_differ and not differs)
    if odd is not None:
        return Worth(None, odd, odd.status)
    first = next((p for p in items if not p.status.counts_as_same), items[0])
    return Worth(None, first, first.status, others_differ and first.status.counts_as_same)


_NUMBERED = (Status.IDENTICAL, Status.EQUAL, Status.DIFFERENT, Status.DTYPE)
"""Pairs of which a measure can have a number. What is in one model only, or of another shape, is infinitely far by
some: it is shown as what it is."""


def folded(m: LayerMap, n_lines: int) -> LayerMap:
    """The same in at most `n_lines` lines where there are more layers: a line then holds a few that follow each other.
    What is in no layer keeps its lines."""
    others = len(m.rows) - m.n_layers
    room = max(1, n_lines - others)
    together = -(-m.n_layers // room)
    if together < 2:
        return m
    n_rows = -(-m.n_layers // together)
    layers = m.rows[: m.n_layers]
    rows = [_span(layers[first : first + together]) for first in range(0, m.n_layers, together)]

    def row_of(row: int) -> int:
        return row // together if row < m.n_layers else n_rows + row - m.n_layers

    cells: dict[tuple[int, int], Cell] = {}
    for (row, column), cell in m.cells.items():
        cells.setdefault((row_of(row), column), Cell()).add(cell)
    names = {(row_of(row), column): name for (row, column), name in m.names.items()}
    said = [set(m.of_layers[first : first + together]) for first in range(0, len(m.of_layers), together)]
    of_layers = tuple(next(iter(found)) if len(found) == 1 else "" for found in said)
    return LayerMap((*rows, *m.rows[m.n_layers :]), n_rows, m.kinds, cells, names, of_layers)


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]}-{names[-1]}"


def columns_for(m: LayerMap, measure: Measure[ScalePair] | Measure[WeightPair]) -> list[int]:
    """The columns of layers that a measure has something to say about, and those in which anything differs; of what is
    stored as what, those of matrices."""
    of_scales = measure.key in OF_SCALES
    found: set[int] = set()
    for (row, column), cell in m.cells.items():
        if row >= m.n_layers or column in found:
            continue
        if measure is STORED:
            shown = any(t.stored_a or t.stored_b for t in cell.tensors)
        else:
            shown = bool((cell.scales if of_scales else cell.tensors) or cell.differing)
        if shown:
            found.add(column)
    return sorted(found)
