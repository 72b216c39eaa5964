"""The object of `qinspect alpha --dual --json`; docs/schema/dual.json says what its fields are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.alpha.dual.modes import ModeResult
from qinspect.inspector.alpha.dual.point import MOST_MULTIPLIER, DualPoint, Fixed
from qinspect.inspector.alpha.dual.surface import Surface
from qinspect.inspector.alpha.dual.view import DualView
from qinspect.inspector.distribution import DualScale
from qinspect.inspector.json_text import finite
from qinspect.inspector.roles import place

Json = dict[str, Any]


def payload(v: DualView) -> Json:
    """Of all points, those that lose most first."""
    return {
        "schema": "qinspect.dual/1", "run": v.run, "recipe": v.recipe, "alpha": v.alpha,
        "most_multiplier": MOST_MULTIPLIER, "points": [_point(p) for p in v.points],
        "surface": None if v.surface is None else _surface(v.surface),
    }  # fmt: skip


def _point(p: DualPoint) -> Json:
    layer, kind = place(p.name)
    return {
        "point": p.name, "layer": layer, "kind": kind, "values": p.n, "scale": finite(p.scale),
        "int8_given_db": finite(p.given), "int8_db": finite(p.int8), "int4_db": finite(p.int4),
        "lost_db": finite(p.lost_db), "best": _dual(p.best), "free": _dual(p.free), "binds": p.binds,
        "fixed": [_fixed(f) for f in p.fixed], "modes": [_mode(m) for m in p.modes],
    }  # fmt: skip


def _dual(d: DualScale | None) -> Json | None:
    if d is None:
        return None
    return {
        "scale": d.scale, "multiplier": d.multiplier, "bits": d.bits + 1, "flagged": d.flagged, "dead": d.dead,
        "saturated": d.saturated, "sqnr_db": finite(d.sqnr_db),
    }  # fmt: skip


def _fixed(f: Fixed) -> Json:
    return {"threshold": f.threshold, "multiplier": f.multiplier, "found": _dual(f.found)}


def _mode(m: ModeResult) -> Json:
    return {
        "mode": m.mode.name, "says": m.mode.says, "bits": m.mode.bits, "sqnr_db": finite(m.sqnr_db),
        "beyond": finite(m.beyond), "to_zero": finite(m.to_zero),
    }  # fmt: skip


def _surface(s: Surface) -> Json:
    return {
        "thresholds": list(s.thresholds), "multipliers": list(s.multipliers), "sqnr_db": _matrix(s.sqnr_db),
        "flagged": _matrix(s.flagged), "dead": _matrix(s.dead), "saturated": _matrix(s.saturated),
    }  # fmt: skip


def _matrix(values: NDArray[np.float64]) -> list[list[float | None]]:
    return [[finite(x) for x in row] for row in values.tolist()]
