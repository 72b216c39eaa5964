"""What bands are made of: repeats and a calibration that the user names, or the run that checkpoints come from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, Kind
from qinspect.inspector.formats.own_layout import provenance_of
from qinspect.inspector.noise.repeats import Repeat, repeats_named
from qinspect.inspector.provenance import declared_alpha, effective_alphas

if TYPE_CHECKING:
    from qinspect.inspector.calibration.stored import Calibration


@dataclass(frozen=True)
class Sources:
    """repeats: of the same settings. run: whose tables of samples are resampled. run_name: what to call it. at_hand: it
    was found by what the checkpoints say, not named."""

    repeats: tuple[Repeat, ...] = ()
    run: Calibration | None = None
    run_name: str = ""
    at_hand: bool = False

    def close(self) -> None:
        """Release the run's tables."""
        if self.run is not None:
            self.run.close()


NOTHING = Sources()


def sources_of(a: Format, b: Format, noise: Sequence[str] = (), run: str | None = None) -> Sources:
    """What the user names; without a run, the newest one at hand whose provenance A or B carries.

    Raises as `repeats_named` and `calibration_named` do; a run that was not named raises nothing.
    """
    alpha = declared_alpha(a)
    repeats = repeats_named(noise, None if alpha is None else alpha.value) if noise else ()
    if run is not None:
        from qinspect.inspector.calibration.stored import calibration_named

        return Sources(repeats, calibration_named(run), run)
    found = _at_hand(a) or _at_hand(b)
    return Sources(repeats) if found is None else Sources(repeats, found[1], found[0], at_hand=True)


def one_pass(run: Calibration, fmt: Format) -> bool:
    """Whether every activation scale is what this calibration gives, to the bit, at an alpha that it was asked for, or
    at the one that the checkpoint says reached the point."""
    records = [r for r in fmt.scales() if r.kind is Kind.ACTIVATION]
    if not records or any(r.role not in run.points for r in records):
        return False
    reached = effective_alphas(fmt)
    try:
        for r in records:
            stored = np.asarray(fmt.values(r), np.float32)
            if any(np.array_equal(stored, result.scales.get(r.role, np.empty(0))) for result in run.results):
                continue
            alpha = reached.get(r.role)
            if alpha is None or not gives(run, r.role, alpha, stored):
                return False
    except (QinspectError, ValueError):
        return False
    return True


def gives(run: Calibration, role: str, alpha: float, stored: NDArray[np.float32]) -> bool:
    """Whether the recipe gives this scale of a point at an alpha, to the bit. False for more than one number."""
    if stored.size != 1:
        return False
    tables = [t.upper for t in run.tables(role)]
    return bool(np.float32(run.applied(role, alpha).rule.scale(tables)) == stored.reshape(-1)[0])


def same_order(a: Format, b: Format) -> bool | None:
    """Whether both say that they were calibrated on the same samples in one order; None unless both say on what."""
    of_a, of_b = provenance_of(a.checkpoint.config).get("data"), provenance_of(b.checkpoint.config).get("data")
    return of_a == of_b if isinstance(of_a, dict) and isinstance(of_b, dict) else None


def _at_hand(fmt: Format) -> tuple[str, Calibration] | None:
    """The newest finished calibration on this machine of the same samples that gives this checkpoint, and its run's
    name. None where there is none, or the checkpoint does not say what it was made of."""
    data = provenance_of(fmt.checkpoint.config).get("data")
    if not isinstance(data, dict):
        return None
    from qinspect.inspector.calibration.at_hand import calibrations
    from qinspect.inspector.calibration.stored import Calibration

    for run, folder in calibrations():
        if not _of_data(folder, data):
            continue
        try:
            calibration = Calibration(folder)
        except QinspectError:
            continue
        if one_pass(calibration, fmt):
            return run.spec.name or run.id, calibration
        calibration.close()
    return None


def _of_data(folder: Path, data: dict[str, Any]) -> bool:
    from qinspect.inspector.calibration.layout import RESULT

    try:
        return bool(json.loads((folder / RESULT).read_bytes())["data"] == data)
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return False
