"""How far the values of B's weights are from A's, as far as that was measured: what the map, the table and the detail
show of it. Of a comparison and of fidelity, which do not know each other. What needs numpy comes late."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qinspect.inspector.compare.layer_map import Cell, Worth
from qinspect.inspector.compare.paired_tree import PairedNode
from qinspect.inspector.compare.results import ScalePair, Status, WeightPair
from qinspect.inspector.fidelity.measures import ERROR, LOSS, SQNR, cosine_text, db, error_text
from qinspect.inspector.measure import Measure

if TYPE_CHECKING:
    from qinspect.inspector.fidelity.pairs import NotCompared
    from qinspect.inspector.fidelity.results import WeightFidelity

NOT_A_NUMBER = frozenset({Status.ONLY_A, Status.ONLY_B, Status.BROKEN})
"""What is said of a weight whatever is measured."""


class Measured:
    """What is known so far, by roles and by names of entries. measures: of the tensors of a comparison, for a map."""

    def __init__(self) -> None:
        self._weights: dict[str, WeightFidelity] = {}
        self._others: dict[str, NotCompared] = {}
        self._of_entry: dict[str, list[WeightFidelity]] = {}
        self._in_order: list[WeightFidelity] = []
        self.measures: tuple[Measure[WeightPair], ...] = tuple(self._of_pairs(m) for m in (SQNR, ERROR, LOSS))

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return bool(self._weights or self._others)

    def __len__(self) -> int:
        """Weights that were measured."""
        return len(self._weights)

    @property
    def any_weight(self) -> bool:
        """Whether one was measured: there may be reasons alone."""
        return bool(self._weights)

    def learn(self, weights: Iterable[WeightFidelity], others: Iterable[NotCompared]) -> None:
        """More of it."""
        for w in weights:
            self._weights[w.role] = w
            self._in_order.append(w)
            for name in dict.fromkeys((w.a, w.b)):
                self._of_entry.setdefault(name, []).append(w)
        self._others |= {o.role: o for o in others}

    @property
    def n_learned(self) -> int:
        """Weights, in the order in which they became known, one that became known again too."""
        return len(self._in_order)

    def since(self, n: int) -> list[WeightFidelity]:
        """Those that became known after the first n."""
        return self._in_order[n:]

    def is_of(self, measure: object) -> bool:
        """Whether a measure is one of these."""
        return any(m is measure for m in self.measures)

    def _of_pairs(self, measure: Measure[WeightFidelity]) -> Measure[WeightPair]:
        def value(pair: WeightPair) -> float | None:
            w = self.of_pair(pair)
            return None if w is None else measure.value(w)

        def text(pair: WeightPair) -> str:
            w = self.of_pair(pair)
            return "" if w is None else measure.text(w)

        return replace(measure, value=value, text=text)  # type: ignore[arg-type, return-value]

    # --- one weight ---

    def of_pair(self, pair: WeightPair) -> WeightFidelity | None:
        """Of a tensor of the comparison. Of a stack that was measured expert by expert, the worst."""
        found = self._weights.get(pair.role)
        if found is not None or pair.role in self._others:
            return found
        return self._worst([n for n in (pair.a, pair.b) if n is not None])

    def of_scale(self, role: str) -> WeightFidelity | None:
        """Of the weight that a scale belongs to."""
        return self._weights.get(role.partition("#")[0])

    def of_entry(self, *names: str) -> WeightFidelity | None:
        """Of an entry of either model; the worst of several that are in it."""
        return self._worst(names)

    def why_not(self, role: str) -> str:
        """Why a weight has no number; "" where it has, or nothing is known of it."""
        found = self._others.get(role.partition("#")[0])
        return f"{found.why}: {found.said}" if found else ""

    def said_of_scale(self, pair: ScalePair) -> list[tuple[str, str]]:
        """What was measured of the weight that it belongs to, as names and texts of fields."""
        w = self.of_scale(pair.role)
        why = self.why_not(pair.role)
        return said_of(w) if w is not None else [("fidelity", why)] if why else []

    def said_of_node(self, node: PairedNode | None) -> list[tuple[str, str]]:
        """The same of an entry of the tree."""
        names = [e.name for e in (node.a, node.b) if e is not None] if node is not None and node.is_leaf else []
        w = self.of_entry(*names)
        return [] if w is None else said_of(w)

    def has_error(self, pair: ScalePair) -> bool:
        """Whether a row stands for a weight whose values differ: of several scales of one, its first level."""
        w = None if "#" in pair.role else self.of_scale(pair.role)
        return w is not None and not w.sums.exact

    def sqnr_of_scale(self, role: str) -> float | None:
        """In dB, of the weight that a scale belongs to; None where that is not known."""
        w = self.of_scale(role)
        return None if w is None else SQNR.value(w)

    def order_of_scale(self, role: str) -> tuple[int, float]:
        """A sort key: the worst weight first, then what has no number."""
        return SQNR.rank(self.sqnr_of_scale(role))

    def _worst(self, names: Iterable[str]) -> WeightFidelity | None:
        found = [w for name in names for w in self._of_entry.get(name, ())]
        return min(found, key=lambda w: w.order, default=None)

    # --- a cell of the map ---

    def worth(self, cell: Cell, measure: Measure[WeightPair]) -> Worth:
        """What a cell shows of a measure of these."""
        known = [(t, w) for t in cell.tensors if (w := self.of_pair(t)) is not None]
        if known and all(w.sums.exact for _, w in known):
            return Worth(None, known[0][0], Status.IDENTICAL)
        numbered = [t for t, _ in known if _is_number(measure.value(t))]
        if numbered:
            most = min(numbered, key=lambda t: rank(measure, measure.value(t)))
            return Worth(measure.value(most), most, Status.DIFFERENT)
        items = cell.tensors or cell.items
        odd = next((i for i in items if i.status in NOT_A_NUMBER), None)
        if odd is not None:
            return Worth(None, odd, odd.status)
        refused = next((t for t in cell.tensors if t.role in self._others), None)
        if refused is not None or known:
            return Worth(None, refused or known[0][0], Status.INCOMPARABLE)
        return Worth(None, items[0], Status.NOT_COMPARED if cell.tensors else items[0].status)


def rank(measure: Measure[WeightPair], value: float | None) -> tuple[int, float]:
    """A sort key, the worst first: of a loss, that below zero is none."""
    return (0, -value) if measure.key == LOSS.key and value is not None else measure.rank(value)


def named(measure: Measure[Any], text: str) -> str:
    """`SQNR 21.10 dB`: a number with its name and its unit, where that is not in it."""
    return f"{measure.name.removesuffix(' dB')} {text}{' dB' * (measure.unit == 'dB')}"


def _is_number(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def sqnr_text(sqnr: float | None) -> str:
    """In a column of decibels."""
    return db(sqnr)


def said_of(w: WeightFidelity) -> list[tuple[str, str]]:
    """What was measured of a weight, as names and texts of fields."""
    from qinspect.inspector.fidelity.report import note_of, part_text
    from qinspect.inspector.fidelity.verdict import against_nearest
    from qinspect.inspector.text import number, some

    s = w.sums
    if s.exact:
        lines = [("fidelity", "every value equal")]
    else:
        parts = (f"SQNR {db(s.sqnr)} dB", f"rel. error {error_text(s.relative)}", f"cosine {cosine_text(s.cosine)}")
        lines = [("fidelity", "   ".join(parts))]
        at = f" at {list(w.where)}" if w.where else ""
        lines.append(("largest", f"B-A {number(s.b - s.a)}{at}   A {number(s.a)}   B {number(s.b)}"))
        lines.append(("mean shift", f"{s.mean_shift:+.2e}"))
    if w.nearest is not None and w.nearest.loss is not None:
        lines.append(("vs RTN", against_nearest(w.nearest.loss)))
    elif w.nearest is not None and w.nearest.sqnr is None and not s.exact:
        lines.append(("vs RTN", f"not known: {w.nearest.said}"))
    if w.channels:
        worst = ", ".join(map(part_text, w.channels))
        lines.append(("channels", f"{worst} of the error, of {w.n_channels:,} channels"))
    if w.group is not None:
        shape = " x ".join(map(str, w.group_shape))
        lines.append(("group", f"{part_text(w.group)} of the error, the worst of {shape}, SQNR {db(w.group.sqnr)} dB"))
    if s.n_excluded:
        lines.append(("not finite", f"{some(s.n_excluded, 'value')}, left out"))
    if note := note_of(w):
        lines.append(("note", note))
    return lines
