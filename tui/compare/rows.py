"""The scales as rows of a table: cells, sort keys, filters. No widget in here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qinspect.inspector.compare.measures import CHANGED, DIFFERENCE, NOISE
from qinspect.inspector.compare.results import ScalePair, Status
from qinspect.inspector.text import Range, dims, number, range_text
from qinspect.tui.compare.fidelity import Measured
from qinspect.tui.compare.filters import Schemes, matcher
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.names import shown
from qinspect.tui.widgets.lines import Piece

ONE_MODEL = "one model: nothing to differ from"
"""What is said where a B is needed."""

Values = tuple[Range | None, Range | None]
"""Of a scale in A and in B."""


def value_text(value: Range | None) -> str:
    """A scale's number, or its range."""
    return "" if value is None else range_text(value, narrow=True)


def sign(pair: ScalePair, two: bool, g: Glyphs) -> Piece:
    """The status as one sign."""
    if not two:
        return (g.alpha if pair.record.alpha_sensitive else " ", "accent")
    d = pair.difference
    match pair.status:
        case Status.IDENTICAL | Status.EQUAL:
            return (g.same, "same")
        case Status.DIFFERENT if d is not None and d.direction == "up":
            return (g.up, "up")
        case Status.DIFFERENT if d is not None and d.direction == "down":
            return (g.down, "down")
        case Status.DIFFERENT:
            return (g.different[0], "odd")
        case Status.ONLY_A:
            return ("A", "odd")
        case Status.ONLY_B:
            return ("B", "odd")
        case Status.BROKEN:
            return (g.broken, "broken")
    return (g.odd, "odd")


def cell(pair: ScalePair, column: str, values: Values) -> str:
    """The text of one cell. `values`: the scale's ranges, once they were read."""
    d = pair.difference
    r = pair.record
    match column:
        case "scale":
            return shown(pair.role, 160)
        case "value":
            return value_text(values[0])
        case "A":
            return "-" if pair.a is None else number(d.a) if d else value_text(values[0])
        case "B":
            return "-" if pair.b is None else number(d.b) if d else value_text(values[1])
        case "B vs A":
            if d is None:
                return "" if pair.status is Status.IDENTICAL else str(pair.status)
            return DIFFERENCE.text(pair)
        case "changed":
            return f"{d.n_changed:,}/{d.n:,}" if d and d.n > 1 else ""
        case "shape":
            return _shapes([x.shape for x in (pair.a, pair.b) if x])
        case "kind":
            return str(r.kind)
        case "granularity":
            return r.granularity
        case "copies":
            return str(len(r.copies)) if r.copies else ""
        case "band":
            return NOISE.text(pair)
    return ""


def _shapes(of: Sequence[tuple[int, ...]]) -> str:
    """Of tensors of scales, both where they are not alike; that there is one number, its value says."""
    return "" if all(math.prod(shape) == 1 for shape in of) else " ".join(map(dims, dict.fromkeys(of)))


def _stored(pair: ScalePair, values: Mapping[str, Values], of_b: bool) -> float:
    """The number a row shows for A (or B), minus infinity where it is not known (yet)."""
    if pair.difference is not None:
        return pair.difference.b if of_b else pair.difference.a
    known = values.get(pair.role, (None, None))[int(of_b)]
    return known[1] if isinstance(known, tuple) else -math.inf


METHOD = "method"


def sorts(two: bool, measured: bool = False, methods: bool = False) -> tuple[str, ...]:
    """Orders of the table: the data's own, then by a column, and by status. measured: whether fidelity is known.
    methods: whether those of weights can be told."""
    if two:
        first = ("forward", "SQNR") if measured else ("forward",)
        return (
            *first,
            "B vs A",
            "A",
            "B",
            "scale",
            "status",
            "shape",
            "kind",
            "changed",
            "copies",
            "band",
            *([METHOD] * methods),
        )
    return ("forward", "value", "scale", "shape", "kind", "granularity", "copies")


BY_VALUE = ("A", "B", "value")
"""Of them, those that need every value."""


def sort_key(
    order: str,
    values: Mapping[str, Values],
    measured: Measured | None = None,
    method_of: Callable[[ScalePair], str | None] = lambda _: None,
) -> Callable[[ScalePair], tuple[float | str, ...]]:
    """The key function of an order, largest first where it is a number, and the least SQNR; methods by their names,
    what has none, or is not known yet, last."""

    def key(p: ScalePair) -> tuple[float | str, ...]:
        match order:
            case "B vs A":
                return (*DIFFERENCE.order(p), p.order)
            case "SQNR" if measured is not None:
                return (*measured.order_of_scale(p.role), p.order)
            case "method":
                method = method_of(p) or ""
                return (not method, method, p.order)
            case "A" | "B" | "value":
                return (-_stored(p, values, order == "B"), p.order)
            case "scale":
                return (p.role,)
            case "status":
                return (str(p.status), p.order)
            case "shape":
                return (-math.prod(p.record.shape), p.order)
            case "kind":
                return (str(p.record.kind), p.order)
            case "granularity":
                return (p.record.granularity, p.order)
            case "copies":
                return (-len(p.record.copies), p.order)
            case "changed":
                return (*CHANGED.order(p), p.order)
            case "band":
                return (*NOISE.order(p), p.order)
        return (p.order,)

    return key


@dataclass(slots=True)
class Selection:
    """Which rows, in which order. text: what is typed into the filter. under: a path in the tree. cell: roles of a cell
    of the overview, with what it is called; none for all."""

    text: str = ""
    only_changed: bool = False
    under: str = ""
    sort: str = "forward"
    reverse: bool = False
    cell: frozenset[str] = frozenset()
    cell_name: str = ""

    def choose(
        self,
        pairs: Sequence[ScalePair],
        path_of: Callable[[ScalePair], str],
        values: Mapping[str, Values],
        schemes: Schemes,
        measured: Measured | None = None,
        method_of: Callable[[ScalePair], str | None] = lambda _: None,
    ) -> list[ScalePair]:
        """The rows. values: what is known of numbers that do not differ, to sort by; measured: of fidelity; method_of:
        of methods."""
        matches = matcher(self.text, schemes)
        chosen = []
        for p in pairs:
            if self.only_changed and p.status.counts_as_same:
                continue
            if self.cell and p.role not in self.cell:
                continue
            if self.under:
                path = path_of(p)
                if path != self.under and not path.startswith(self.under + "."):
                    continue
            if matches and not matches(p):
                continue
            chosen.append(p)
        if self.sort != "forward" or self.reverse:
            chosen.sort(key=sort_key(self.sort, values, measured, method_of), reverse=self.reverse)
        return chosen
