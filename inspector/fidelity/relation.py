"""How one matrix became another: which norm went into it, which rotation and which order of rows or columns, and how
many of these at once. Tried on some rows, proven on all that are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.fidelity.hadamard import LEAST_BLOCK, Rotation, rotation_of, sylvester, turned_alike
from qinspect.inspector.fidelity.orders import (
    LEAST_COLUMNS,
    MOST_ROWS,
    NotUnique,
    order_of,
    parts_of,
    some_are_elsewhere,
)
from qinspect.inspector.fidelity.undoing import Backwards, Order, Scale, Step, Steps, Undone, What, after
from qinspect.kernels.distance import distance_sums

Array = NDArray[Any]

MOST_NOISE = 0.5
"""What may be left after undoing, of the square of the values: 3 dB, which two bits a value reach."""
LEAST_COSINE = 0.5
"""Of a row before and after: with less it is another row."""
_OF_ROUNDING = 4.0
"""The noise of a row that is another one, over that of most rows."""
_MOST_MOVED = 0.01
"""Rows that may be other ones where the rest goes together."""
_LESS_NOISE = 0.89
"""What a norm has to leave of the noise without it: half a dB."""
_AT_ONCE = 1 << 20
"""Values that are proven at once: memory of this size is not asked of the system again and again."""
_SAMPLED = 64
_SAMPLED_FOR_ROTATION = 512
_SAMPLED_FOR_ORDER = 24


class Norm(NamedTuple):
    """What the inputs of weights may have been multiplied by. factor: float32[n]. said: the norm, for people. role: its
    own. folded: whether nothing of the norm is left where it stood."""

    factor: Array
    said: str
    role: str
    folded: bool = False


@dataclass(slots=True)
class Known:
    """What was found so far. rotations: of the whole model. orders: of rows or columns of one layer; common: of what is
    in none."""

    rotations: list[Step] = field(default_factory=list)
    orders: list[Array] = field(default_factory=list)
    common: list[Array] = field(default_factory=list)

    def of_size(self, n: int) -> list[tuple[Step, str]]:
        """Rotations of n channels, with what is said of them."""
        return [(r, _said(r)) for r in self.rotations if _size(r) == n]

    def orders_of(self, n: int) -> list[Array]:
        """Orders of n channels."""
        found = [part for index in (*self.orders, *self.common) for part in parts_of(index, n)]
        return list({part.tobytes(): part for part in found}.values())

    def learn(self, found: Relation) -> None:
        """Keep what a matrix shows for the next ones."""
        for step in (*found.columns, *found.rows):
            rotation = isinstance(step.step if isinstance(step, Backwards) else step, Rotation)
            if rotation and not any(_same(step, r) for r in self.rotations):
                self.rotations.append(step)
            if isinstance(step, Order) and not any(np.array_equal(step.index, o) for o in self.orders):
                self.orders.append(step.index)


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """Columns first, then rows. facts: what is said of each. norm: the one whose factors are in it."""

    columns: Steps
    rows: Steps
    facts: tuple[Undone, ...]
    norm: Norm | None = None


class Side(NamedTuple):
    """Something that may have been done to one side of a matrix."""

    steps: tuple[Step, ...] = ()
    facts: tuple[Undone, ...] = ()
    norm: Norm | None = None


NOTHING = Side()


def _size(step: Step) -> int:
    inner = step.step if isinstance(step, Backwards) else step
    return inner.n if isinstance(inner, Rotation) else 0


def _said(step: Step) -> str:
    inner = step.step if isinstance(step, Backwards) else step
    assert isinstance(inner, Rotation)
    return inner.said


def _same(a: Step, b: Step) -> bool:
    n = _size(a)
    if n != _size(b):
        return False
    probe = np.random.default_rng(0).standard_normal((1, n)).astype(np.float32)
    return bool(np.allclose(a.of(probe), b.of(probe), atol=1e-3))


def _rotated(step: Step, axis: str) -> Side:
    return Side((step,), (Undone(What.ROTATION, axis, f"{axis}s rotated by {_said(step)}"),))


def _ordered(index: Array, axis: str) -> Side:
    order = Order(index)
    what = "columns" if axis == "input" else "rows"
    said = f"{order.n_moved:,} of {index.size:,} {what} in another order"
    return Side((order,), (Undone(What.ORDER, axis, said),))


def _with_norm(norm: Norm | None) -> Side:
    if norm is None:
        return NOTHING
    return Side((Scale(norm.factor),), (Undone(What.NORM, "input", f"inputs multiplied by {norm.said}"),), norm)


def _rotated_behind(order: Side, rotation: Step) -> Side:
    fact = order.facts[0]
    said = f"{fact.said}, before both were rotated by {_said(rotation)}"
    return Side((Backwards(rotation), *order.steps, rotation), (Undone(What.ORDER, "input", said),))


def _usual(n: int) -> list[Step]:
    """The rotation that is tried where none is known."""
    if n & (n - 1) or n < LEAST_BLOCK:
        return []
    return [Rotation(n, sylvester(n), None, f"a Hadamard matrix of {n}")]


def _both(first: Side, second: Side) -> Side:
    return Side(first.steps + second.steps, first.facts + second.facts, first.norm or second.norm)


def _relation(columns: Side, rows: Side) -> Relation:
    return Relation(columns.steps, rows.steps, columns.facts + rows.facts, columns.norm)


def noise_of(x: Array, y: Array) -> float:
    """|y - x|^2 over |y|^2."""
    size = float(np.einsum("ij,ij->", y, y, dtype=np.float64))
    d = y - x
    return float(np.einsum("ij,ij->", d, d, dtype=np.float64)) / size if size else np.inf


def moved(sums: Array) -> Array:
    """Positions of rows (or columns) that have nothing in common, and more noise than rounding leaves in most of them:
    of values so small that rounding alone makes others of them nothing is said. sums: float64[3, n], of a*a, a*b and
    b*b of each."""
    aa, ab, bb = sums
    there = (aa > 0) & (bb > 0)
    cosine = np.ones(aa.size)
    cosine[there] = ab[there] / (np.sqrt(aa[there]) * np.sqrt(bb[there]))
    noise = aa - 2 * ab + bb
    other = cosine < LEAST_COSINE
    if not other.any() or other.sum() > 0.5 * there.sum():
        return np.flatnonzero(other)
    return np.flatnonzero(other & (noise > _OF_ROUNDING * np.median(noise[~other])))


def _sums(x: Array, y: Array) -> tuple[Array, Array, float]:
    """Of each row and of each column the sums that `moved` takes; and |y - x|^2."""
    found = distance_sums(x, y)
    if found is not None:
        return found.rows[:3], found.columns, float(found.rows[3].sum())
    rows, columns = (
        np.stack([(p * q).sum(axis=axis, dtype=np.float64) for p, q in ((x, x), (x, y), (y, y))]) for axis in (1, 0)
    )
    d = y - x
    return rows, columns, float(np.einsum("ij,ij->", d, d, dtype=np.float64))


def proven(pieces: Iterable[tuple[Array, Array]]) -> bool:
    """Whether each row and each column of the two goes together. pieces: some rows of both at a time."""
    found = [_sums(np.ascontiguousarray(x), np.ascontiguousarray(y)) for x, y in pieces]
    rows, columns = np.hstack([r for r, _, _ in found]), np.sum([c for _, c, _ in found], axis=0)
    size = float(rows[2].sum())
    if not size or not sum(noise for _, _, noise in found) / size <= MOST_NOISE:
        return False
    for width, of_each in ((columns.shape[1], rows), (rows.shape[1], columns)):
        if width >= LEAST_COLUMNS and moved(of_each).size > _MOST_MOVED * of_each.shape[1]:
            return False
    return True


class Search:
    """What makes of the rows of x those of y: float32[rows, columns].

    whole: whether these are all rows; some rows show what was done to columns alone. norms: whose factors may be in
    it. suspects: rows that do not go together as they stand.
    """

    def __init__(
        self, x: Array, y: Array, whole: bool, norms: Sequence[Norm], known: Known, suspects: Iterable[int] = ()
    ) -> None:
        self.x, self.y, self.whole, self.known = x, y, whole, known
        self.norms: list[Norm | None] = [None, *norms]
        even = np.linspace(0, len(x) - 1, min(len(x), _SAMPLED)).astype(int)
        self.rows = np.unique([*even, *list(suspects)[:_SAMPLED]]).astype(int)
        self.not_unique = False

    def found(self, as_is: bool = False) -> Relation | None:
        """The first relation that is proven. as_is: nothing at all may have been done."""
        for candidate in self._candidates(as_is):
            if self._proven(candidate):
                return candidate
        return None

    def known_only(self, as_is: bool = False) -> Relation | None:
        """The same, of what is known alone."""
        candidate = self._of_known(as_is)
        return candidate if candidate is not None and self._proven(candidate) else None

    def _proven(self, r: Relation) -> bool:
        if r.rows:
            return proven([(after(r.rows, after(r.columns, self.x).T).T, self.y)])
        step = max(1, _AT_ONCE // self.x.shape[1])
        pieces = (slice(first, first + step) for first in range(0, len(self.x), step))
        return proven((after(r.columns, self.x[rows]), self.y[rows]) for rows in pieces)

    def _candidates(self, as_is: bool) -> Iterator[Relation]:
        known = self._of_known(as_is)
        if known is not None:
            yield known
        yield from self._rotated_inputs()
        if self.whole:
            yield from self._rotated_outputs()
            yield from self._moved_rows()
            yield from self._moved_columns()

    # --- what is known already ---

    def _lefts(self) -> list[Side]:
        if not self.whole:
            return [NOTHING]
        m = len(self.x)
        found = [_rotated(r, "output") for r, _ in self.known.of_size(m)]
        return [NOTHING, *found, *(_ordered(o, "output") for o in self.known.orders_of(m))]

    def _rights(self) -> list[Side]:
        n = self.x.shape[1]
        rotations = [r for r, _ in self.known.of_size(n)]
        found = [NOTHING, *(_rotated(r, "input") for r in rotations)]
        for index in self.known.orders_of(n):
            order = _ordered(index, "input")
            found += [order, *(_both(order, _rotated(r, "input")) for r in rotations)]
            # of two models that were both rotated behind it
            found += [_rotated_behind(order, r) for r in rotations or _usual(n)]
        return found

    def _of_known(self, as_is: bool) -> Relation | None:
        best: tuple[float, Relation] | None = None
        for left in self._lefts():
            y = self._undone_rows(left)[self.rows]
            for norm in self.norms:
                scaled = after(_with_norm(norm).steps, self.x[self.rows])
                for right in self._rights():
                    if not (as_is or left.steps or right.steps):
                        continue
                    noise = noise_of(after(right.steps, scaled), y)
                    limit = MOST_NOISE if best is None else _LESS_NOISE * best[0]
                    if noise <= limit:
                        best = (noise, _relation(_both(_with_norm(norm), right), left))
        return best[1] if best else None

    def _undone_rows(self, left: Side) -> Array:
        y = self.y
        for step in reversed(left.steps):
            y = step.back(y.T).T
        return y

    # --- rotations ---

    def _rotated_inputs(self) -> Iterator[Relation]:
        rows = np.linspace(0, len(self.x) - 1, min(len(self.x), _SAMPLED_FOR_ROTATION)).astype(int)
        firsts = [_with_norm(n) for n in self.norms]
        firsts += [_ordered(index, "input") for index in self.known.orders_of(self.x.shape[1])]
        for left in self._lefts():
            y = self._undone_rows(left)[rows]
            found: list[tuple[float, Relation]] = []
            for side in firsts:
                step = rotation_of(after(side.steps, self.x[rows]), y)
                if step is not None:
                    x = after((*side.steps, step), self.x[rows])
                    noise = noise_of(x, y) * (1 if side.steps else _LESS_NOISE)
                    found.append((noise, _relation(_both(side, _rotated(step, "input")), left)))
            if found:
                yield min(found, key=lambda f: f[0])[1]

    def _rotated_outputs(self) -> Iterator[Relation]:
        columns = np.linspace(0, self.x.shape[1] - 1, min(self.x.shape[1], _SAMPLED_FOR_ROTATION)).astype(int)
        y = self.y.T[columns]
        found: list[tuple[float, Relation]] = []
        for right in self._rights():
            for norm in self.norms:
                side = _both(_with_norm(norm), right)
                x = after(side.steps, self.x).T[columns]
                step = rotation_of(x, y)
                if step is not None:
                    noise = noise_of(step.of(x), y) * (1 if norm else _LESS_NOISE)
                    found.append((noise, _relation(side, _rotated(step, "output"))))
        if found:
            yield min(found, key=lambda f: f[0])[1]

    # --- orders ---

    def _moved_rows(self) -> Iterator[Relation]:
        m, n = self.x.shape
        if m > MOST_ROWS or n < LEAST_COLUMNS:
            return
        rights = [NOTHING, *(_rotated(r, "input") for r, _ in self.known.of_size(n))]
        rights += [_ordered(index, "input") for index in self.known.orders_of(n)]
        if len(rights) == 1:
            rights += [_rotated(r, "input") for r in _usual(n)]
        some = self.rows[:: max(1, len(self.rows) // _SAMPLED_FOR_ORDER)]
        best: tuple[float, Relation] | None = None
        for right in rights:
            for norm in self.norms:
                side = _both(_with_norm(norm), right)
                x = after(side.steps, self.x)
                if not some_are_elsewhere(x, self.y[some]):
                    continue
                index = self._order(x, self.y)
                if index is None:
                    continue
                noise = noise_of(x[index[self.rows]], self.y[self.rows])
                if best is None or noise < _LESS_NOISE * best[0]:
                    best = (noise, _relation(side, _ordered(index, "output")))
        if best:
            yield best[1]

    def _moved_columns(self) -> Iterator[Relation]:
        m, n = self.x.shape
        if n > MOST_ROWS or m < LEAST_COLUMNS:
            return
        some = np.linspace(0, n - 1, min(n, _SAMPLED_FOR_ORDER)).astype(int)
        for left in self._lefts():
            y = np.ascontiguousarray(self._undone_rows(left).T)
            if some_are_elsewhere(self.x.T, y[some]):
                index = self._order(np.ascontiguousarray(self.x.T), y)
                if index is not None:
                    yield self._with_best_norm(_ordered(index, "input"), left)

    def _with_best_norm(self, right: Side, left: Side) -> Relation:
        y = self._undone_rows(left)[self.rows]
        best = (np.inf, _relation(right, left))
        for norm in self.norms:
            side = _both(_with_norm(norm), right)
            noise = noise_of(after(side.steps, self.x[self.rows]), y) * (1 if norm else _LESS_NOISE)
            if noise < best[0]:
                best = (noise, _relation(side, left))
        return best[1]

    def _order(self, x: Array, y: Array) -> Array | None:
        try:
            index = order_of(x, y)
        except NotUnique:
            self.not_unique = True
            return None
        return None if index is None or (index == np.arange(index.size)).all() else index

    # --- what is said where nothing is found ---

    @property
    def _tried(self) -> str:
        rotations = "Hadamard matrices, whole and in blocks, with signs"
        return f"{rotations}, orders of rows and of columns" if self.whole else f"{rotations}, of the inputs"

    def why_not(self) -> str:
        """What was seen of it without finding it."""
        if self.not_unique:
            return "rows or columns are in another order, and their values do not tell which is which"
        for x, y, side in ((self.x, self.y, "inputs"), (self.x.T, self.y.T, "outputs")):
            rows = np.linspace(0, len(x) - 1, min(len(x), _SAMPLED, x.shape[1] // 2)).astype(int)
            for norm in self.norms if side == "inputs" else self.norms[:1]:
                before = after(_with_norm(norm).steps, x[rows]) if side == "inputs" else x[rows]
                if turned_alike(before, y[rows]):
                    return (
                        f"its {side} are rotated or reordered, since {'rows' if side == 'inputs' else 'columns'} keep "
                        f"their lengths and angles, by nothing that was tried: {self._tried}"
                    )
        return ""
