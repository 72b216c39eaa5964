"""Weights that do not go together as they stand are looked at again: what was done to them is found, layer by layer,
and what one weight shows is tried on the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.fidelity.blocks import MOST_OF_A_ROW, Unit, read, read_fitted, whole_of
from qinspect.inspector.fidelity.fitting import Fit, tied_said
from qinspect.inspector.fidelity.norms import Layer, Norms, layer_of
from qinspect.inspector.fidelity.orders import parts_of
from qinspect.inspector.fidelity.pairs import NotCompared, Pair, Why
from qinspect.inspector.fidelity.relation import Known, Norm, Relation, Search, moved
from qinspect.inspector.fidelity.results import WeightFidelity
from qinspect.inspector.fidelity.smoothing import Fitted, agreeing, fitted
from qinspect.inspector.fidelity.undoing import Order, Scale, Step, Undoing, Undone, What, fits_in_memory
from qinspect.inspector.progress import Progress
from qinspect.inspector.text import visible

Array = NDArray[Any]

VECTOR_NOISE = 0.1
"""What may be left of a bias or a norm after undoing, of the square of its values: 10 dB."""
_LESS_OF_A_VECTOR = 0.5
_MOST_FAILURES = 4
"""Matrices in which nothing is found before the first in which something is: after these, no other is searched."""
_SAMPLED_ROWS = 512
_BLOCK_ROWS = 1 << 12


@dataclass(frozen=True, slots=True)
class Suspect:
    """A pair that does not go together as it stands. refused: what is said of it, where it was not measured. as_is: it
    may be that nothing was done to it. rows: that have nothing in common. norm: that explains it. factored: whether
    channels have factors. before: its SQNR as it stands, in dB, where it was measured."""

    pair: Pair
    refused: NotCompared | None = None
    as_is: bool = False
    rows: tuple[int, ...] = ()
    norm: Norm | None = None
    factored: bool = False
    before: float | None = None


def suspect_of(
    pair: Pair, rows: Array, columns: Array, norms: Norms, before: float, equal: bool, factored: bool
) -> Suspect | None:
    """Of a pair that was measured; None where it goes together as it stands. rows, columns: float64[3, n], the sums of
    a*a, a*b and b*b of each. equal: whether every value is. factored: whether channels have factors."""
    if pair.undoing is not None or equal:
        return None
    if pair.only_equal:
        return Suspect(pair, as_is=True, before=before)
    if len(pair.shape) < 2:
        return Suspect(pair, before=before) if pair.n > 1 else None
    elsewhere = moved(rows)
    if elsewhere.size > 1 or moved(columns).size > 1:
        return Suspect(pair, rows=tuple(map(int, elsewhere)), before=before)
    norm = norms.in_columns(pair, columns, in_a=_a_was_made(pair))
    return Suspect(pair, norm=norm, factored=factored, before=before) if norm or factored else None


def _a_was_made(pair: Pair) -> bool:
    """Whether A's weight was made of B's, as far as that is known."""
    if (pair.a.fmt.rotated is True) != (pair.b.fmt.rotated is True):
        return pair.a.fmt.rotated is True
    return pair.a.weight is not None and pair.b.weight is None


class Recognition:
    """What was found of all suspects. undone: by index, the pair with what was done to it. why_not: by index, what was
    seen of those in which nothing was found."""

    @np.errstate(all="ignore")  # of values that float32 does not hold nothing is found
    def __init__(self, suspects: Sequence[Suspect], norms: Norms, progress: Progress) -> None:
        self.undone: dict[int, Pair] = {}
        self.why_not: dict[int, str] = {}
        self._suspects, self._norms, self._progress = suspects, norms, progress
        self._rotations: list[Step] = []
        common: list[Array] = []
        self._layers: dict[Layer, Known] = {("", None): Known(self._rotations, common)}
        self._common = common
        self._resolved: set[Layer] = set()
        self._taken: dict[str, tuple[Norm, bool, list[str]]] = {}
        self._orders: dict[Layer, list[tuple[int, str, Array]]] = {}
        self._smoothed()
        matrices = [i for i, s in enumerate(suspects) if len(s.pair.shape) > 1 and i not in self.undone]
        self._matrices([i for i in matrices if suspects[i].norm is not None or not suspects[i].factored])
        for i, s in enumerate(suspects):
            if len(s.pair.shape) < 2 and i not in self.undone:
                self._vector(i, s)
        self._name_shared_orders()

    def _known(self, layer: Layer) -> Known:
        return self._layers.setdefault(layer, Known(self._rotations, [], self._common))

    # --- factors between two layers ---

    def _smoothed(self) -> None:
        layers: dict[Layer, list[int]] = {}
        for i, s in enumerate(self._suspects):
            if s.factored and len(s.pair.shape) == 2 and fits_in_memory(s.pair.shape):
                layers.setdefault(layer_of(s.pair.role), []).append(i)
        for of_layer in layers.values():
            found = [f for i in of_layer for f in self._fitted(i)] if len(of_layer) > 1 else []
            for first, behind, factor in agreeing(found):
                self._keep_factors(first, 1 / factor, behind)
                self._keep_factors(behind, factor, first)

    def _fitted(self, i: int) -> list[Fitted]:
        pair = self._suspects[i].pair
        try:
            a, b = (_values(pair, item) for item in (pair.a, pair.b))
        except QinspectError:  # said where it is measured
            return []
        return list(fitted(i, a, b, self._norms.of(pair, in_a=False)))

    def _keep_factors(self, f: Fitted, factor: Array, other: Fitted) -> None:
        i, role = f.index, visible(_short(self._suspects[other.index].pair.role), 80)
        sides = ("inputs", "outputs") if f.axis == "input" else ("outputs", "inputs")
        by = f"{factor.min():.3g} to {factor.max():.3g}"
        said = f"{sides[0]} multiplied by {by}, by which {sides[1]} of {role} are divided"
        fact = Undone(What.FACTORS, f.axis, said)
        step = Scale(factor.astype(np.float32))
        before = self.undone[i].undoing if i in self.undone else None
        columns, facts = (before.columns, before.facts) if before else ((), ())
        rows = before.rows if before else ()
        if f.norm is not None:
            norm_steps, _, norm_facts, _ = _only_norm(f.norm)
            columns, facts = (*norm_steps, *columns), (*norm_facts, *facts)
        if f.axis == "input":
            columns = (*columns, step)
        else:
            rows = (*rows, step)
        self._keep(i, Relation(columns, rows, (*facts, fact), f.norm), in_a=False)

    # --- matrices ---

    def _matrices(self, left: list[int]) -> None:
        failed = 0
        for n, i in enumerate(left):
            self._progress("looking for what was done", n, len(left))
            if not self.undone and failed >= _MOST_FAILURES and self._suspects[i].norm is None:
                if any(self.why_not.values()):  # what is seen of the first is most often true of all
                    self._look_at(i)
                continue
            failed += not self._matrix(i, known_only=False)
        left = [i for i in left if i not in self.undone]
        n_left = len(left) + 1
        while left and len(left) < n_left:  # what the last ones showed is tried on the first
            n_left = len(left)
            left = [i for i in left if not self._matrix(i, known_only=True)]

    def _look_at(self, i: int) -> None:
        """What is seen of a matrix in which nothing is searched for."""
        pair = self._suspects[i].pair
        if pair.n <= MOST_OF_A_ROW * pair.shape[0] and pair.fit is None:
            try:
                self.why_not[i] = self._search(self._suspects[i])[0].why_not()
            except QinspectError as e:
                self.why_not[i] = str(e)

    def _matrix(self, i: int, known_only: bool) -> bool:
        s = self._suspects[i]
        if s.pair.n > MOST_OF_A_ROW * s.pair.shape[0]:  # its rows are read in parts
            return False
        if s.norm is not None:
            self._keep(i, Relation(*_only_norm(s.norm)), _a_was_made(s.pair))
            return True
        try:
            fact = _fit_said(s.pair)
            if fact is None:
                self.why_not[i] = "what one of them has more is not all zero"
                return False
            search, in_a = self._search(s)
        except QinspectError as e:
            self.why_not[i] = str(e)
            return False
        as_is = s.as_is or s.refused is not None
        found = search.known_only(as_is) if known_only else search.found(as_is)
        if found is None:
            if not known_only:
                self.why_not[i] = search.why_not()
            return False
        if not search.whole and found.rows:
            return False
        self._known(layer_of(s.pair.role)).learn(found)
        self._keep(i, found, in_a, fact)
        return True

    def _search(self, s: Suspect) -> tuple[Search, bool]:
        in_a = _a_was_made(s.pair)
        a, b = (_values(s.pair, item) for item in (s.pair.a, s.pair.b))
        x, y = (b, a) if in_a else (a, b)
        whole = fits_in_memory(s.pair.shape)
        known = self._known(layer_of(s.pair.role))
        rows = s.rows if whole else ()
        return Search(x, y, whole, self._norms.of(s.pair, in_a), known, rows), in_a

    def _keep(self, i: int, found: Relation, in_a: bool, facts: Iterable[Undone] = ()) -> None:
        s = self._suspects[i]
        layer = layer_of(s.pair.role)
        self._resolved.add(layer)
        if found.norm is not None:
            self._taken.setdefault(found.norm.role, (found.norm, in_a, []))[2].append(s.pair.role)
        sides = ("input", "output") if len(s.pair.shape) > 1 else ("", "")
        for axis, steps in zip(sides, (found.columns, found.rows), strict=True):
            orders = [step.index for step in steps if isinstance(step, Order)]
            self._orders.setdefault(layer, []).extend((i, axis, index) for index in orders)
        undoing = Undoing(found.columns, found.rows, in_a, (*facts, *found.facts), s.before)
        self.undone[i] = replace(s.pair, undoing=undoing, only_equal="")

    # --- biases, norms, and what has a number for each head ---

    def _vector(self, i: int, s: Suspect) -> None:
        layer, in_a = layer_of(s.pair.role), _a_was_made(s.pair)
        taken = self._taken.get(s.pair.role)
        if taken is not None:
            norm, in_a, roles = taken
            names = ", ".join(visible(_short(r), 80) for r in roles[:6]) + (", ..." if len(roles) > 6 else "")
            fact = Undone(What.NORM, "", f"what it multiplied by is in {names}")
            step = Scale((1 / norm.factor.astype(np.float64)).astype(np.float32))
            self._keep(i, Relation((step,), (), (fact,)), in_a)
            return
        known = self._layers.get(layer)
        if known is None or (layer not in self._resolved):
            return
        try:
            a, b = (_values(s.pair, item).reshape(1, -1) for item in (s.pair.a, s.pair.b))
        except QinspectError as e:
            self.why_not[i] = str(e)
            return
        x, y = (b, a) if in_a else (a, b)
        as_is = s.as_is or (s.refused is not None and s.refused.why is not Why.PERMUTED)
        best = _of_vector(x, y, known, as_is)
        if best is not None:
            self._keep(i, best, in_a)

    # --- what is said ---

    def _name_shared_orders(self) -> None:
        """Of every order, which other weights of the layer are in the same."""
        for found in self._orders.values():
            for i, axis, index in found:
                alike = [
                    f"{'columns of ' if side == 'input' else ''}{visible(_short(self._suspects[j].pair.role), 80)}"
                    for j, side, other in found
                    if j != i and _one_order(index, other)
                ]
                if not alike:
                    continue
                listed = ", ".join(dict.fromkeys(alike[:4])) + (", ..." if len(alike) > 4 else "")
                pair = self.undone[i]
                assert pair.undoing is not None
                pair.undoing.facts = tuple(
                    replace(f, said=f"{f.said}, as {listed}") if (f.what, f.axis) == (What.ORDER, axis) else f
                    for f in pair.undoing.facts
                )


def _only_norm(norm: Norm) -> tuple[tuple[Step, ...], tuple[Step, ...], tuple[Undone, ...], Norm]:
    return (Scale(norm.factor),), (), (Undone(What.NORM, "input", f"inputs multiplied by {norm.said}"),), norm


def _short(role: str) -> str:
    """The module alone: `gate_proj` of `layers.0.mlp.gate_proj.weight`."""
    module, _, last = role.rpartition(".")
    return (
        module.rpartition(".")[2] + (f".{last}" if last == "bias" else "")
        if module and last in ("weight", "bias")
        else last
    )


def _one_order(a: Array, b: Array) -> bool:
    """Whether one is the other, or a part of it."""
    small, large = sorted((a, b), key=len)
    if small.size == large.size:
        return np.array_equal(small, large)
    return any(np.array_equal(part, small) for part in parts_of(large, small.size))


def _fit_said(pair: Pair) -> tuple[Undone, ...] | None:
    """What is to be said of two shapes; None where what one has more is not all zero. Raises what reading raises."""
    fit = pair.fit
    if fit is None:
        return ()
    if fit.tied:
        return (Undone(What.TIED, "", tied_said(fit, pair.a, pair.b)),)
    if not fit.padded:
        return ()
    return (Undone(What.PADDING, "", fit.padding_said),) if _rest_is_zero(pair, fit) else None


def _rest_is_zero(pair: Pair, fit: Fit) -> bool:
    rows, columns = fit.shape
    for item, stored in ((pair.a, fit.a), (pair.b, fit.b)):
        first = 0 if stored[1] > columns else rows
        for start in range(first, stored[0], _BLOCK_ROWS):
            n = min(_BLOCK_ROWS, stored[0] - start)
            values = read(item, Unit(start * stored[1], n, stored[1], start, True), stored)
            inside = max(0, min(rows - start, n))
            if values[:inside, columns:].any() or values[inside:].any():
                return False
    return True


def _values(pair: Pair, item: Any) -> Array:
    """float32[rows, columns] of a whole weight, or of rows that lie evenly over one that is too large. Raises what
    reading raises."""
    if fits_in_memory(pair.shape):
        found = read_fitted(pair, item, whole_of(pair.shape))
    else:
        found = np.concatenate([read_fitted(pair, item, unit) for unit in _some(pair)])
    with np.errstate(all="ignore"):
        values = found.astype(np.float32)
    bad = ~np.isfinite(values)  # np.nan_to_num takes twenty times as long
    if bad.any():
        values[bad] = 0.0
    return values


def _some(pair: Pair) -> Iterator[Unit]:
    n_rows = pair.shape[0]
    columns = pair.n // n_rows
    for row in np.linspace(0, n_rows - 1, min(_SAMPLED_ROWS, n_rows)).astype(int):
        yield Unit(int(row) * columns, 1, columns, int(row), True)


def _of_vector(x: Array, y: Array, known: Known, as_is: bool) -> Relation | None:
    """What was done to a vector, float32[1, n], of what is known of its layer."""
    n = x.shape[1]
    size = float((y.astype(np.float64) ** 2).sum())
    if not size:
        return Relation((), (), ()) if as_is and not x.any() else None

    def noise(steps: tuple[Step, ...]) -> float:
        z = x
        for step in steps:
            z = step.of(z)
        return float(((z.astype(np.float64) - y) ** 2).sum()) / size

    tried: list[tuple[float, Relation]] = []
    for index in known.orders_of(n):
        order = Order(index)
        fact = Undone(What.ORDER, "", f"{order.n_moved:,} of {n:,} values in another order")
        tried.append((noise((order,)), Relation((order,), (), (fact,))))
    for rotation, said in known.of_size(n):
        tried.append(
            (noise((rotation,)), Relation((rotation,), (), (Undone(What.ROTATION, "", f"rotated by {said}"),)))
        )
    best = min(tried, key=lambda t: t[0], default=None)
    as_it_is = noise(())
    if best and best[0] <= VECTOR_NOISE and best[0] < _LESS_OF_A_VECTOR * as_it_is:
        return best[1]
    return Relation((), (), ()) if as_is and as_it_is <= VECTOR_NOISE else None


def told_why(result: NotCompared | WeightFidelity, s: Suspect, seen: str) -> NotCompared | WeightFidelity:
    """A result in which nothing was found to undo, with what was seen of it."""
    if isinstance(result, NotCompared):
        if not seen:
            return result
        why = result.why
        if why is Why.UNRELATED:
            why = Why.ROTATED if "rotated" in seen else Why.PERMUTED if "order" in seen else why
        return replace(result, why=why, said=f"{result.said}; {seen}")
    if len(s.rows) < 2:
        return result
    n = len(s.rows)
    said = f"{n:,} of {s.pair.shape[0]:,} rows have nothing in common with A's, first {s.rows[0]}"
    return replace(result, note="; ".join(x for x in (said, result.note) if x))
