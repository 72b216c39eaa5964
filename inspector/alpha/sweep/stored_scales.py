"""Where the scales of a checkpoint lie among the alphas of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qinspect.inspector.alpha.recover.answers import bits_of, refuse_another_model
from qinspect.inspector.alpha.sweep.grid import Grid
from qinspect.inspector.alpha.sweep.rules import BITS
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.errors import CannotRead
from qinspect.inspector.formats import Format, Kind, Quantity, ScaleRecord
from qinspect.inspector.formats.element import ElementKind


@dataclass(frozen=True, slots=True)
class StoredScale:
    """The scale that a checkpoint has for a point. key: where. bits: of the codes. can_vary: whether alpha may reach
    it, by its format; None where that does not say."""

    key: str
    scale: float
    bits: int
    can_vary: bool | None


@dataclass(frozen=True, slots=True)
class ScalePlace:
    """Where a stored scale lies. alphas: those of the grid that give it, or the two between which it lies; None beyond
    the ends. beyond: `above 1`, `below 0.5`, or "" within. min_max: the largest |x| of the run gives it, to the bit."""

    stored: StoredScale
    alphas: tuple[float, float] | None
    beyond: str
    min_max: bool


def stored_scales(calibration: Calibration, fmt: Format) -> dict[str, StoredScale]:
    """By the name of the point: scales of activations that are one positive number. Raises as
    `refuse_another_model`."""
    records = [r for r in fmt.scales() if r.kind is not Kind.WEIGHT]
    refuse_another_model(calibration, fmt, records)
    found = {}
    for r in records:
        if r.quantity is not Quantity.SCALE or r.element.kind not in (ElementKind.INTEGER, ElementKind.UNKNOWN):
            continue  # rules make scales of integers
        scale = _one_number(fmt, r) if r.role in calibration.points else None
        if scale is not None:
            found[r.role] = StoredScale(r.key, scale, bits_of(r), r.alpha_sensitive)
    return found


def _one_number(fmt: Format, record: ScaleRecord) -> float | None:
    if int(np.prod(record.shape)) != 1:
        return None
    try:
        value = float(np.asarray(fmt.values(record), np.float64).reshape(-1)[0])
    except CannotRead:
        return None
    return value if np.isfinite(value) and value > 0 else None


def places_of(grid: Grid, rule: str, stored: Mapping[str, StoredScale]) -> list[ScalePlace | None]:
    """Of each point of the grid. For a rule with an alpha."""
    return [_place_of(grid, rule, i, stored.get(name)) for i, name in enumerate(grid.names)]


def _place_of(grid: Grid, rule: str, point: int, stored: StoredScale | None) -> ScalePlace | None:
    if stored is None:
        return None
    found, ends = grid.bracket(rule, point, stored.scale, stored.bits), grid.ends(rule, point, stored.bits)
    beyond = "" if found is not None or ends is None else "above 1" if stored.scale > ends[1] else "below 0.5"
    return ScalePlace(stored, found, beyond, _is_min_max(grid, point, stored))


def _is_min_max(grid: Grid, point: int, stored: StoredScale) -> bool:
    if stored.bits not in BITS:
        return False
    largest = grid.at("absmax", 0).scale[BITS.index(stored.bits), point]
    return bool(np.float32(largest) == np.float32(stored.scale))
