"""What a selector bit does to a run's points as text and CSV."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qinspect.inspector.alpha.dual.point import BITS, MOST_MULTIPLIER, THRESHOLDS, DualPoint
from qinspect.inspector.alpha.dual.surface import Surface
from qinspect.inspector.alpha.dual.view import DualView
from qinspect.inspector.alpha.recover.report import table_text
from qinspect.inspector.alpha.sweep.wording import alpha_text, decibels, share
from qinspect.inspector.distribution import DualScale
from qinspect.inspector.printing import PIPE_WIDTH, folded
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import number, some

_SHADES = " .:-=+*#%@"


def text(v: DualView, width: int | None) -> str:
    """The report for people. width: columns of the terminal, None for a pipe."""
    w = width or PIPE_WIDTH
    rule = (
        f"s where |x| / s rounds to {2 ** (BITS - 1) - 1} or less, else s m: {BITS} bits and a selector, {BITS + 1} a "
        "value (W4A5-SE)"
    )
    lines = [
        *folded("run      ", f"{v.run}, recipe {v.recipe}: {some(len(v.points), 'point')}", w),
        *folded("rule     ", rule, w),
        *folded("dB       ", "SQNR over all values; int8 and int4 with the one step of least error each", w),
        "", table_text(_points(v.points), width),
    ]  # fmt: skip
    binding = [p for p in v.points if p.binds]
    if binding:
        worst = max(binding, key=_more_by_free)
        said = (
            f"m up to {MOST_MULTIPLIER:g} binds at {some(len(binding), 'point')}, marked *: a larger one has less "
            f"error there, and rounds flagged values to 0. Worst {worst.name}: {_more_by_free(worst):.2f} dB with m = "
            f"{_free(worst).multiplier:g}, {share(_free(worst).dead)} of the values dead."
        )
        lines += ["", *folded("", said, w)]
    if len(v.points) == 1:
        lines += _alone(v, v.points[0], width)
    return "\n".join(lines)


def csv(v: DualView) -> str:
    """A line a point, all digits."""
    names = (
        "point", "values", "scale", "int8_given_db", "int8_db", "int4_db", "lost_db", "s", "m", "flagged", "dead",
        "saturated", "sqnr_db", "free_m", "free_db", *(f"mode_{m.mode.name}_db" for m in v.points[0].modes),
    )  # fmt: skip
    rows = []
    for p in v.points:
        best = p.best
        of_best = [math.nan] * 6 if best is None else [
            best.scale, best.multiplier, best.flagged, best.dead, best.saturated, best.sqnr_db,
        ]  # fmt: skip
        free = [math.nan] * 2 if p.free is None else [p.free.multiplier, p.free.sqnr_db]
        numbers = [p.scale, p.given, p.int8, p.int4, p.lost_db, *of_best, *free, *(m.sqnr_db for m in p.modes)]
        rows.append([p.name, str(p.n), *("" if math.isnan(x) else repr(x) for x in numbers)])
    width = len(names)
    rows = [[*row, *[""] * (width - len(row))] for row in rows]  # a point without a scale has no modes
    return Table(tuple(Column(n, n != "point") for n in names), rows).csv()


# --- all points ---


_COLUMNS = (
    *(Column("point"), Column("int8", True), Column("int4", True, drop=2), Column("W4A5", True)),
    *(Column("lost", True), Column("s", True, drop=1), Column("m", True), Column("flagged", True)),
    *(Column("dead", True), Column("saturated", True, drop=3)),
    *(Column(f"p{100 * t:g}", True, drop=4 + i) for i, t in enumerate(THRESHOLDS)),
)


def _points(points: Sequence[DualPoint]) -> Table:
    return Table(_COLUMNS, [_cells(p) for p in points])


def _cells(p: DualPoint) -> list[str]:
    best = p.best
    if best is None:
        return [p.name, decibels(p.int8), decibels(p.int4), *[""] * (len(_COLUMNS) - 3)]
    return [
        p.name, decibels(p.int8), decibels(p.int4), decibels(best.sqnr_db), decibels(p.lost_db), number(best.scale),
        f"{best.multiplier:g}{'*' if p.binds else ''}", share(best.flagged), share(best.dead), share(best.saturated),
        *(_best_at(p, t) for t in THRESHOLDS),
    ]  # fmt: skip


def _best_at(p: DualPoint, threshold: float) -> str:
    """The best of the fixed multipliers at a threshold."""
    found = [f.found.sqnr_db for f in p.fixed if f.threshold == threshold and f.found is not None]
    return decibels(max(found)) if found else ""


def _free(p: DualPoint) -> DualScale:
    assert p.free is not None
    return p.free


def _more_by_free(p: DualPoint) -> float:
    return _free(p).sqnr_db - p.best.sqnr_db if p.best is not None else 0.0


# --- one point ---


_FIXED = (
    *(Column("threshold"), Column("m", True), Column("s", True, drop=1), Column("dB", True)),
    *(Column("flagged", True), Column("dead", True), Column("of flagged", True), Column("saturated", True)),
)
_MODES = (
    *(Column("mode"), Column("rule", drop=1), Column("bits", True), Column("dB", True)),
    *(Column("beyond", True), Column("to 0", True)),
)


def _alone(v: DualView, p: DualPoint, width: int | None) -> list[str]:
    w = width or PIPE_WIDTH
    lines = ["", f"FIXED THRESHOLDS: s = quantile of |x| / {2 ** (BITS - 1) - 1}", table_text(_fixed(p), width)]
    if v.surface is not None:
        lines += ["", *_surface(v.surface)]
    title = f"RESEARCH MODES, at the run's scale {number(p.scale)} (alpha {alpha_text(p.alpha)})"
    if not p.modes:
        return [*lines, "", *folded("", f"RESEARCH MODES: the run has no single scale of {p.name}.", w)]
    rows = [
        [m.mode.name, m.mode.says, str(m.mode.bits), decibels(m.sqnr_db), share(m.beyond), share(m.to_zero)]
        for m in p.modes
    ]
    given = ["int8", "one step s", "8", decibels(p.given), "", ""]
    note = (
        "bits: of all numbers that a rule names. 6-4 is 5-3 with the largest |y| of the calibration, which is what a "
        "table of all samples has; 5-3 itself takes that of each forward pass. 5-5 is not known."
    )
    return [*lines, "", title, table_text(Table(_MODES, [given, *rows]), width), *folded("  ", note, w)]


def _fixed(p: DualPoint) -> Table:
    rows = []
    for f in p.fixed:
        m = "max/threshold" if f.multiplier is None else f"{f.multiplier:g}"
        d = f.found
        if d is None:
            rows.append([f"p{100 * f.threshold:g}", m, *[""] * 6])
            continue
        m = f"{m} = {number(d.multiplier)}" if f.multiplier is None else m
        of_flagged = share(d.dead / d.flagged) if d.flagged else ""
        rows.append([
            f"p{100 * f.threshold:g}", m, number(d.scale), decibels(d.sqnr_db), share(d.flagged), share(d.dead),
            of_flagged, share(d.saturated),
        ])  # fmt: skip
    return Table(_FIXED, rows)


def _surface(s: Surface) -> list[str]:
    """SQNR in dB of every pair, and as shades: the darker, the better."""
    known = s.sqnr_db[~np.isnan(s.sqnr_db)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    best = s.best
    lines = [f"SQNR in dB over thresholds (down) and multipliers m (across); the best is {high:.2f} dB"]
    lines.append("  " + " " * 9 + "".join(f"{m:>8g}" for m in s.multipliers))
    for i, t in enumerate(s.thresholds):
        cells = []
        for j, x in enumerate(s.sqnr_db[i].tolist()):
            if math.isnan(x):
                cells.append(" " * 8)
                continue
            shade = _SHADES[round((x - low) / (high - low) * (len(_SHADES) - 1))] if high > low else _SHADES[0]
            cells.append(f"{'>' if (i, j) == best else ' '}{x:6.2f}{shade}")
        lines.append(f"  {f'p{100 * t:g}':<9}" + "".join(cells))
    return lines
