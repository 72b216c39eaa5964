"""What is verified: samples of activations in order, counted; and a recipe for synthetic ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution import MagnitudeTable, merge

Array = NDArray[Any]
"""Any: ml_dtypes' element types are no subclasses of numpy's."""

Count = Callable[[Array], MagnitudeTable]
"""The table of some values of float16, bfloat16 or float32, on the CPU or a GPU."""

EXACT_VALUES = 1 << 25
"""float32 values in all that are kept as an exact list (up to 12 bytes each); of more, quantiles are intervals."""

KEPT_VALUES = 1 << 16
"""Values of the first sample that are kept as they are, for the check by sorting."""

SYNTHETIC_SAMPLES = 128
SYNTHETIC_VALUES = 1 << 15
"""Values of a synthetic sample."""
OUTLIER_EVERY = 1000
OUTLIER_FACTOR = 20
RECIPE = (
    "x = silu(a g): g gaussian; a = 2^(z/2), z gaussian, one for each sample; "
    f"one value in each {OUTLIER_EVERY:,} times {OUTLIER_FACTOR}"
)


@dataclass(frozen=True)
class Activations:
    """tables: one a sample, in the order in which an observer sees them. first: float32, where the first sample begins.
    title: what it is, a line. dtype: of the values as they are stored. path, keys: of a file, keys where it has any.
    seed: of synthetic ones. recipe: how they are made, or how the file was taken apart. notes: what is odd."""

    tables: tuple[MagnitudeTable, ...]
    first: NDArray[np.float32]
    title: str
    dtype: str
    recipe: str
    path: str | None = None
    keys: tuple[str, ...] = ()
    seed: int | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def pooled(self) -> MagnitudeTable:
        """All samples together."""
        return self.tables[0] if len(self.tables) == 1 else merge(self.tables, EXACT_VALUES)

    @property
    def exact(self) -> bool:
        """Whether every quantile is a number, not an interval."""
        return self.pooled.exact and all(t.exact for t in self.tables)


def count_on_cpu(n_values: int) -> Count:
    """How to count, where there are `n_values` in all."""
    return lambda x: MagnitudeTable.of(x, exact_up_to=x.size if n_values <= EXACT_VALUES else 0)


def table_of(chunks: Iterable[Array], count: Count) -> MagnitudeTable:
    """One table of the values of all chunks, at least one."""
    tables = [count(chunk) for chunk in chunks]
    return tables[0] if len(tables) == 1 else merge(tables, EXACT_VALUES)


def synthetic(n_samples: int, seed: int, dtype: np.dtype[Any], count: Count) -> Activations:
    """Activations by `RECIPE`. Sample i depends on the seed and i alone."""
    tables, first = [], np.empty(0, np.float32)
    for i in range(n_samples):
        x = synthetic_sample(seed, i, dtype)
        if not i:
            first = x.astype(np.float32)
        tables.append(count(x))
    title = f"synthetic, {n_samples:,} samples of {SYNTHETIC_VALUES:,} values, seed {seed}"
    return Activations(tuple(tables), first, title, dtype.name, RECIPE, seed=seed)


def synthetic_sample(seed: int, i: int, dtype: np.dtype[Any]) -> Array:
    """Values of sample i. In float64 to the last step: a function that differs in its last bit from machine to machine
    then hardly ever changes a 16-bit value."""
    rng = np.random.default_rng((seed, i))
    u = np.exp2(rng.standard_normal() / 2) * rng.standard_normal(SYNTHETIC_VALUES)
    x = u / (1.0 + np.exp(-u))
    starts = np.arange(0, SYNTHETIC_VALUES - OUTLIER_EVERY + 1, OUTLIER_EVERY)
    x[starts + rng.integers(0, OUTLIER_EVERY, starts.size)] *= OUTLIER_FACTOR
    cast: Array = x.astype(dtype)
    return cast
