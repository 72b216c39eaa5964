"""What was done to the weights of one model, as steps that make of the other's values what it stores."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MOST_ELEMENTS = 1 << 27
"""Of a weight that has to be held whole, as float32: 512 MB."""


class What(StrEnum):
    """What was done."""

    NORM = "norm"
    """A norm, or the inverse of what a norm was multiplied by, is in the weight behind it."""
    ROTATION = "rotation"
    ORDER = "order"
    """Rows or columns are in another order."""
    FACTORS = "factors"
    """What the inputs of one weight are multiplied by, and the outputs of the weight before it divided by."""
    PADDING = "padding"
    TIED = "tied"
    """A head is the embedding of the other model."""


@dataclass(frozen=True, slots=True)
class Undone:
    """One thing that was done to a weight and undone. axis: `input` or `output` channels, "" of what has no side. said:
    for people."""

    what: What
    axis: str
    said: str


class Step(Protocol):
    """Something done to the last axis of float[rows, n]."""

    def of(self, x: Array) -> Array:
        """What becomes of it: float of the same shape."""

    def back(self, y: Array) -> Array:
        """What it was before."""


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Every channel has a factor."""

    factor: Array

    def of(self, x: Array) -> Array:
        """x times the factors."""
        return np.asarray(x * self.factor)

    def back(self, y: Array) -> Array:
        """y over the factors."""
        return np.asarray(y / self.factor)


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """Position i holds what was at index[i]."""

    index: Array

    def of(self, x: Array) -> Array:
        """x in the other order."""
        return np.asarray(x[..., self.index])

    def back(self, y: Array) -> Array:
        """y in the order that it had."""
        found = np.empty_like(y)
        found[..., self.index] = y
        return found

    @property
    def n_moved(self) -> int:
        """Positions that hold another one's."""
        return int(np.count_nonzero(self.index != np.arange(self.index.size)))


@dataclass(frozen=True, slots=True, eq=False)
class Backwards:
    """The inverse of a step."""

    step: Step

    def of(self, x: Array) -> Array:
        """What x was before the step."""
        return self.step.back(x)

    def back(self, y: Array) -> Array:
        """What the step makes of y."""
        return self.step.of(y)


Steps = Sequence[Step]


def after(steps: Steps, x: Array) -> Array:
    """What all steps make of the last axis, in turn."""
    for step in steps:
        x = step.of(x)
    return x


@dataclass(slots=True, eq=False)
class Undoing:
    """How the values of one model's weight become what the other stores: its columns first, then its rows.

    columns, rows: what is done to the last axis, and to the first. in_a: whether B's values become what A stores, not
    A's what B does. facts: what is said of it. as_stored: the SQNR before, in dB, where that was measured.
    """

    columns: Steps = ()
    rows: Steps = ()
    in_a: bool = False
    facts: tuple[Undone, ...] = ()
    as_stored: float | None = None
    _whole: Array | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def streamed(self) -> bool:
        """Whether it is done row by row."""
        return not self.rows

    def of(self, x: Array) -> Array:
        """float32[rows, columns] of a whole weight, or of some rows where it is streamed."""
        with np.errstate(all="ignore"):
            x = after(self.columns, x.astype(np.float32))
            if self.rows:
                x = after(self.rows, x.T).T
            return np.ascontiguousarray(x, np.float32)

    def whole(self, read: Any) -> Array:
        """The values of the whole weight after it, made once and held until `drop`. read: gives those before."""
        with self._lock:
            if self._whole is None:
                self._whole = self.of(read())
            return self._whole

    def drop(self) -> None:
        """Let go of what is held."""
        self._whole = None


def fits_in_memory(shape: Sequence[int]) -> bool:
    """Whether a weight of this shape is held whole."""
    return math.prod(shape) <= MOST_ELEMENTS
