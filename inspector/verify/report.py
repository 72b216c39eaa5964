"""What was verified as text and as the JSON of `qinspect verify --json`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qinspect.inspector.distribution import Bounds
from qinspect.inspector.distribution.quantization import q_max
from qinspect.inspector.finding import Finding
from qinspect.inspector.printing import PIPE_WIDTH, folded
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import number
from qinspect.inspector.verify.activations import Activations
from qinspect.inspector.verify.checks import EXAMPLE, ExampleRow
from qinspect.inspector.verify.sweep import Row, Sweep, Yardstick

Json = dict[str, Any]
_COLUMNS = (
    *(Column("alpha", True), Column("w_max", True), Column("scale", True), Column("beyond", True, drop=1)),
    *(Column("clipped", True), Column("coverage", True)),
    *(Column("mse inliers", True), Column("mse all", True)),
)
_EXAMPLE_COLUMNS = (
    *(Column("alpha", True), Column("numpy", True), Column("torch", True), Column("scale", True)),
    *(Column("beyond", True), Column("clipped", True), Column("mse inliers", True), Column("mse all", True)),
)


@dataclass(frozen=True)
class Verification:
    """Everything that `qinspect verify` says. example: None for a file. device: where values were counted."""

    activations: Activations
    bits: int
    device: str
    yardstick: Yardstick
    sweeps: tuple[Sweep, ...]
    example: tuple[ExampleRow, ...] | None
    checks: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every check did."""
        return all(c.passed for c in self.checks)


def head(v: Verification, width: int | None) -> str:
    """What was verified, for people. width: columns of the terminal, None for a pipe."""
    return "\n".join([*_head(v, width or PIPE_WIDTH), ""])


def tables(v: Verification, width: int | None) -> str:
    """What was found, below the head and the plot."""
    lines: list[str] = []
    for s in v.sweeps:
        n = v.yardstick.values.n
        heading = f"{s.name.upper()}: {s.says}"
        lines += _titled(heading, s.notation, Table(_COLUMNS, [_cells(r, n) for r in s.rows]), width)
        lines += [*_least(s.rows, width), ""]
    if v.example is not None:
        heading = "WORKED EXAMPLE: [1 ... 99, 500], 8 bits; w_max by numpy's rank and by torch's"
        lines += [*_titled(heading, "", Table(_EXAMPLE_COLUMNS, [_example_cells(r) for r in v.example]), width), ""]
    lines.append("CHECKS")
    for c in v.checks:
        label = "  pass  " if c.passed else "  FAIL  "
        lines += folded(label, f"{c.text} [{c.rule}]", width or PIPE_WIDTH)
    failed = sum(not c.passed for c in v.checks)
    lines.append(f"{failed} of {len(v.checks)} checks failed" if failed else f"all {len(v.checks)} checks passed")
    return "\n".join(lines)


def _head(v: Verification, width: int) -> Iterator[str]:
    a, pooled = v.activations, v.activations.pooled
    yield from folded("activations  ", f"{a.title}, {a.dtype}; counted on the {v.device}", width)
    yield from folded("             ", a.recipe, width)
    yield from folded(
        "largest |x|  ", f"{number(pooled.absmax)}; {v.bits} bits, codes -{q_max(v.bits)} ... {q_max(v.bits)}", width
    )
    y = v.yardstick
    which = f"|x| <= {number(y.limit)}, the {y.share:g}-quantile of all values: {y.n_inliers:,} of {pooled.n:,}"
    yield from folded("inliers      ", which, width)
    for note in v.notes:
        yield from folded("note         ", note, width)


def _titled(heading: str, notation: str, table: Table, width: int | None) -> Iterator[str]:
    yield heading
    if notation:
        yield from folded("  ", notation, width or PIPE_WIDTH)
    yield table.rich(width) if width else table.text()


def _least(rows: Sequence[Row], width: int | None) -> list[str]:
    """Where the error is least: the first such alpha."""
    inliers = min((r for r in rows if r.mse_inliers is not None), key=lambda r: r.mse_inliers or 0.0, default=None)
    whole = min((r for r in rows if r.mse is not None), key=lambda r: r.mse or 0.0, default=None)
    if inliers is None or whole is None or len(rows) < 2:
        return []
    best = f"least error of the inliers at alpha {inliers.alpha!r}, of all values at alpha {whole.alpha!r}"
    return folded("  ", best, width or PIPE_WIDTH)


def _cells(r: Row, n: int) -> list[str]:
    return [
        repr(r.alpha), _interval(r.w_max), _interval(r.scale), _percent(r.beyond, n), _percent(r.clipped, n),
        _rest(r.clipped, n), _error(r.mse_inliers), _error(r.mse),
    ]  # fmt: skip


def _example_cells(e: ExampleRow) -> list[str]:
    r, n = e.row, len(EXAMPLE)
    return [
        repr(r.alpha), _seven(e.w_max_float64), _seven(e.w_max_float32), _interval(r.scale),
        _percent(r.beyond, n), _percent(r.clipped, n), _error(r.mse_inliers), _error(r.mse),
    ]  # fmt: skip


def _seven(value: float) -> str:
    """Seven digits: where the two ranks differ."""
    return f"{value:.7g}"


def _interval(b: Bounds) -> str:
    low, high = number(float(b.low)), number(float(b.high))
    return low if low == high else f"{low} .. {high}"


def _error(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4g}"


def _percent(part: int | None, whole: int) -> str:
    """A share in percent to three digits, of whatever size: one value in a million is the point here."""
    if part is None:
        return "n/a"
    return f"{100 * part / whole:.3g} %" if part else "0 %"


def _rest(part: int | None, whole: int) -> str:
    """What is left, in percent, to the digits that `_percent` has of `part`."""
    if part is None:
        return "n/a"
    taken = 100 * part / whole
    decimals = max(0, 2 - math.floor(math.log10(taken))) if part else 0
    return f"{100 - taken:.{decimals}f} %"


def payload(v: Verification) -> Json:
    """The object of --json."""
    a = v.activations
    return {
        "schema": "qinspect.verify/1",
        "activations": {
            "path": a.path,
            "keys": list(a.keys),
            "seed": a.seed,
            "recipe": a.recipe,
            "dtype": a.dtype,
            "samples": len(a.tables),
            "values": a.pooled.n,
            "nan": a.pooled.n_nan,
            "infinite": a.pooled.n_inf,
            "largest": _finite(a.pooled.absmax),
            "exact": a.exact,
        },
        "bits": v.bits,
        "device": v.device,
        "inliers": {
            "quantile": v.yardstick.share,
            "limit": _finite(v.yardstick.limit),
            "values": v.yardstick.n_inliers,
        },
        "sweeps": [
            {"name": s.name, "rule": s.notation, "rows": [_row(r, v.yardstick.values.n) for r in s.rows]}
            for s in v.sweeps
        ],
        "worked_example": None if v.example is None else [_example(e) for e in v.example],
        "checks": [{"name": c.rule, "passed": c.passed, "text": c.text, "numbers": dict(c.numbers)} for c in v.checks],
        "passed": v.passed,
        "notes": list(v.notes),
    }


def _row(r: Row, n: int) -> Json:
    return {
        "alpha": r.alpha,
        "w_max": _finite(r.w_max.low),
        "w_max_high": _finite(r.w_max.high),
        "scale": _finite(r.scale.low),
        "scale_high": _finite(r.scale.high),
        "beyond": r.beyond,
        "clipped": r.clipped,
        "clipped_share": None if r.clipped is None else r.clipped / n,
        "coverage": None if r.clipped is None else (n - r.clipped) / n,
        "mse_inliers": _finite(r.mse_inliers),
        "mse": _finite(r.mse),
    }


def _example(e: ExampleRow) -> Json:
    return {
        "alpha": e.row.alpha,
        "w_max_float64_rank": e.w_max_float64,
        "w_max_float32_rank": e.w_max_float32,
        "scale_float64_rank": float(e.row.scale.low),
        "scale_float32_rank": e.scale_float32,
        "beyond": e.row.beyond,
        "clipped": e.row.clipped,
        "mse_inliers": _finite(e.row.mse_inliers),
        "mse": _finite(e.row.mse),
    }


def _finite(value: Any) -> float | None:
    """Any: a float, a numpy scalar, or None."""
    return float(value) if value is not None and math.isfinite(value) else None
