"""What the counts of a weight's codes say of how its levels are used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.formats.element import Element, ElementKind
from qinspect.inspector.lint.code_facts import CodeFacts

Counts = NDArray[np.int64]

_NEIGHBOURS = 4
"""Levels on each side that say how many codes a level should have."""
_EXPECTED = 30.0
"""A level between neighbours that have as many on average, and that is used by none, was left out."""


def entropy_bits(counts: Counts) -> float:
    """Bits that a code carries, if codes were written as shortly as can be."""
    used = counts[counts > 0]
    p = used / used.sum()
    return float(-(p * np.log2(p)).sum()) if used.size else 0.0


def share_at_ends(facts: CodeFacts) -> float:
    """The share of codes that stand for the least or the largest number, and for integers that are stored about zero
    for what lies as far out on either side."""
    element, counts = facts.weight.element, facts.counts
    codes = np.arange(element.code_range[0], element.code_range[1] + 1)
    worth = element.values(codes)
    if worth is None or element.limit is None:
        at_ends = int(counts[0] + counts[-1])
    else:
        at_ends = int(counts[np.abs(worth) >= element.limit].sum())
    return at_ends / max(1, facts.n)


def by_level(facts: CodeFacts) -> Counts:
    """Counts in the order of the numbers that codes stand for: two zeros are one level, what is no number is none."""
    element, counts = facts.weight.element, facts.counts
    if element.kind is ElementKind.INTEGER:
        return counts
    worth = element.values(np.arange(counts.size))
    assert worth is not None
    finite = np.isfinite(worth)
    _, level = np.unique(worth[finite] + np.float32(0), return_inverse=True)  # -0 becomes 0
    return np.bincount(level.reshape(-1), counts[finite]).astype(np.int64)


def left_out(facts: CodeFacts) -> tuple[int, int]:
    """(levels that no code uses though their neighbours are used a lot, levels in the middle), of the levels in which
    nine tenths of the codes lie."""
    if facts.counts.all():
        return 0, len(facts.counts)
    counts = by_level(facts)
    before = np.cumsum(counts) - counts / 2
    middle = np.flatnonzero((before >= 0.05 * counts.sum()) & (before <= 0.95 * counts.sum()))
    if middle.size < 4:
        return 0, int(middle.size)
    inner = counts[middle[0] : middle[-1] + 1]
    near = _around(inner) / _around(np.ones(inner.size))
    return int(((inner == 0) & (near >= _EXPECTED)).sum()), int(inner.size)


def _around(x: NDArray[Any]) -> NDArray[Any]:
    """The sum of each number with its neighbours."""
    return np.convolve(x, np.ones(2 * _NEIGHBOURS + 1))[_NEIGHBOURS : _NEIGHBOURS + x.size]


def codes_without_number(facts: CodeFacts) -> int:
    """Codes that stand for NaN or infinity."""
    element: Element = facts.weight.element
    if element.kind is not ElementKind.FLOAT:
        return 0
    worth = element.values(np.arange(facts.counts.size))
    assert worth is not None
    return int(facts.counts[~np.isfinite(worth)].sum())


def enough(facts: CodeFacts, per_level: int = 16) -> bool:
    """Whether there are enough codes to speak of levels."""
    return facts.n >= per_level * min(len(facts.counts), 1 << 10) and math.prod(facts.weight.shape) >= 1 << 10
