"""Runs and checkpoints that repeat the same settings, and how far their scales lie apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.errors import QinspectError, UnknownRun, UsageError
from qinspect.inspector.formats import Format, Kind, format_of
from qinspect.inspector.noise.band import Band, Floor
from qinspect.inspector.significance import LEVEL, student_p, student_quantile

if TYPE_CHECKING:
    from qinspect.inspector.calibration.stored import Calibration

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Repeat:
    """The activation scales of one repeat. name: as it was given. place: what tells it from the others. scales: float64
    of each role. min_max: roles that no alpha reaches."""

    name: str
    place: Path
    scales: Mapping[str, Array]
    min_max: frozenset[str]


def repeats_named(names: Sequence[str], alpha: float | None) -> tuple[Repeat, ...]:
    """Checkpoints, calibration runs, or folders of them. alpha: at which a run's percentile scales are made, None for
    the first that it was asked for.

    Raises UsageError for fewer than two, or the same twice, and as opening does.
    """
    found = tuple(_named(name, alpha) for name in names)
    places = {r.place for r in found}
    if 0 < len(places) < 2 or len(places) < len(found):
        raise UsageError(
            "a spread needs repeats that are not the same", expected="at least two checkpoints or runs after --noise",
            found=", ".join(names), cure="Name A too, if it was made with the same settings.",
        )  # fmt: skip
    return found


def _named(name: str, alpha: float | None) -> Repeat:
    from qinspect.inspector.calibration.layout import CALIBRATION, RESULT
    from qinspect.inspector.calibration.stored import calibration_named

    path = Path(name)
    if path.exists() and not any((place / RESULT).exists() for place in (path, path / CALIBRATION)):
        return _of_checkpoint(name, format_of(open_checkpoint(name)))
    try:
        calibration = calibration_named(name)
    except UnknownRun as e:
        e.expected = "a checkpoint, a run, or a folder with calibration.json"
        raise
    try:
        return _of_calibration(name, calibration, alpha)
    finally:
        calibration.close()


def _of_checkpoint(name: str, fmt: Format) -> Repeat:
    scales = dict[str, Array]()
    records = [r for r in fmt.scales() if r.kind is Kind.ACTIVATION]
    for record in records:
        try:
            with np.errstate(all="ignore"):  # a signalling NaN in the file is no event
                scales[record.role] = np.asarray(fmt.values(record), np.float64)
        except QinspectError:
            continue  # one repeat less for this scale
    min_max = frozenset(r.role for r in records if r.alpha_sensitive is False and r.role in scales)
    return Repeat(name, fmt.checkpoint.path.resolve(), scales, min_max)


def _of_calibration(name: str, calibration: Calibration, alpha: float | None) -> Repeat:
    result = next((r for r in calibration.results if r.alpha == alpha), None)
    scales = {role: np.asarray(v, np.float64) for role, v in (result or calibration.results[0]).scales.items()}
    min_max = frozenset(n for n in scales if calibration.applied(n, 0.5).alpha is None)
    if result is None and alpha is not None:
        for role in scales.keys() - min_max:
            tables = [t.upper for t in calibration.tables(role)]
            scales[role] = np.asarray(calibration.applied(role, alpha).rule.scale(tables))
    return Repeat(name, calibration.folder.resolve(), scales, min_max)


def floor_of(repeats: Sequence[Repeat]) -> Floor:
    """What the repeats differ by: where min-max points agree in all of them, the samples were the same. Where none is
    in all of them, the user's word for it is taken."""
    shared = shared_min_max(repeats)
    first = repeats[0].scales
    same = all(np.array_equal(r.scales[role], first[role]) for r in repeats for role in shared if role in r.scales)
    return "repeat" if same else "data"


def shared_min_max(repeats: Sequence[Repeat]) -> frozenset[str]:
    """Roles that no alpha reaches, in all repeats."""
    return frozenset.intersection(*(r.min_max for r in repeats))


def spread_band(repeats: Sequence[Repeat], floor: Floor, role: str, percent: float | None) -> Band | None:
    """The band of the difference of two further repeats, None where fewer than two hold the scale.

    Logarithms of the k repeats are taken as normal: |log b/a| <= t s sqrt(2) with Student's t of k - 1 degrees of
    freedom, a prediction interval for the difference of two new ones. s^2 has the variance of rounding, step^2/12, on
    the grid that the numbers lie on: repeats that are alike leave that. Of a tensor of m cells the band is of the
    largest difference, each cell at level/m.
    """
    found = [r.scales[role] for r in repeats if role in r.scales]
    found = [v for v in found if v.shape == found[0].shape and bool((np.isfinite(v) & (v > 0)).all())]
    if len(found) < 2 or not found[0].size:
        return None
    logs = np.log(np.stack(found)).reshape(len(found), -1)
    freedom, cells = len(found) - 1, logs.shape[1]
    deviation = float(np.sqrt(logs.var(axis=0, ddof=1).max() + _grid_step(found) ** 2 / 12))
    half = student_quantile(LEVEL / cells, freedom) * deviation * math.sqrt(2)
    low, high = 100 * math.expm1(-half), 100 * math.expm1(min(half, 700.0))
    p = None
    if percent is not None and percent > -100:
        p = min(1.0, cells * student_p(math.log1p(percent / 100) / (deviation * math.sqrt(2)), freedom))
    return Band(low, high, floor, "repeats", 1 - LEVEL, len(found), p)


_GRIDS: tuple[tuple[float, Any], ...] = ((2**-8, "bfloat16"), (2**-11, np.float16), (2**-24, np.float32))


def _grid_step(values: Sequence[Array]) -> float:
    """The relative step of the coarsest grid that all these numbers lie on, at last that of float64: min-max scales sit
    on that of their activation."""
    import ml_dtypes

    for half_step, dtype in _GRIDS:
        kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
        with np.errstate(over="ignore"):
            if all(np.array_equal(v.astype(kind).astype(np.float64), v) for v in values):
                return 2 * half_step
    return 2.0**-52
