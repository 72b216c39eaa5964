"""Rules on each group of an axis by itself: a scale a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.distribution import MagnitudeTable
from qinspect.inspector.observers.rule import Rule, Tables


def grouped(rule: Rule, groups: Sequence[Tables]) -> NDArray[np.float32]:
    """float32[G]: the rule on each group by itself. groups[g]: the tables of group g, one a sample."""
    return np.array([rule.scale(samples) for samples in groups], np.float32)


def group_tables(x: Any, n_groups: int, dtype: str | None = None) -> list[MagnitudeTable]:
    """A table for each of `n_groups` equal blocks of the last axis of one sample.

    x, dtype: as MagnitudeTable.of takes them. Raises ValueError where the axis does not divide.
    """
    array = np.asarray(x)
    if not array.ndim or n_groups < 1 or array.shape[-1] % n_groups:
        raise ValueError(f"the last axis of {array.shape} does not divide into {n_groups} groups")
    return [MagnitudeTable.of(block, dtype) for block in np.split(array, n_groups, axis=-1)]
