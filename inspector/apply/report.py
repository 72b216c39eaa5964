"""What was applied, as text and as the JSON of `qinspect apply --json`."""

from __future__ import annotations

from typing import Any

import numpy as np

from qinspect.inspector.apply.application import Application
from qinspect.inspector.apply.entry import replaced
from qinspect.inspector.apply.plan import Array, Plan, Replacement
from qinspect.inspector.observers.recipes import short
from qinspect.inspector.observers.registry import with_any_alpha
from qinspect.inspector.printing import PIPE_WIDTH, folded
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import number, percent, size, some

_COLUMNS = (
    *(Column("scale"), Column("alpha", True), Column("was", True), Column("now", True)),
    *(Column("change", True), Column("entries", True)),
)


def text(a: Application, width: int | None) -> str:
    """The report for people. width: columns of the terminal, None for a pipe."""
    w = width or PIPE_WIDTH
    lines = [
        *folded("scales of   ", a.source, w),
        *folded("checkpoint  ", f"{a.plan.fmt.checkpoint.path}, {a.plan.fmt.description}", w),
        *folded("out         ", _place(a), w), "",
        *folded("APPLIED  ", f"{a.reached} {a.outcome}", w),
    ]  # fmt: skip
    for note in a.notes:
        lines += folded("         ", note, w)
    for warning in a.warnings:
        lines += folded("WARNING  ", warning, w)
    if a.plan.replacements:
        table = Table(_COLUMNS, [_cells(r) for r in a.plan.replacements]).without_empty()
        lines += ["", *_rules(a.plan, w), table.rich(width) if width else table.text()]
    return "\n".join(lines)


def _place(a: Application) -> str:
    if a.written is None:
        return f"{a.out}: a dry run, nothing is written"
    n_bytes = sum(f.n_bytes for f in a.written.files)
    files = some(len(a.written.files), "file")
    said = f"{a.out}: {files} of weights, {size(n_bytes)}, {a.written.n_changed} bytes changed"
    return f"{said}; {', '.join(a.written.left_out)} not copied" if a.written.left_out else said


def _rules(plan: Plan, width: int) -> list[str]:
    """Each rule once, with an alpha in the table where it has one."""
    rules = dict.fromkeys(_without_alpha(r) for r in plan.replacements)
    return [line for rule in rules for line in folded("SCALES, by ", rule, width)]


def _without_alpha(r: Replacement) -> str:
    return r.target.rule if r.target.alpha is None else with_any_alpha(r.target.rule, r.target.alpha)


def _cells(r: Replacement) -> list[str]:
    alpha = "" if r.target.alpha is None else short(r.target.alpha)
    return [r.target.role, alpha, _value(r.was), _value(r.now), _change(r), str(len(r.keys))]


def _value(values: Array) -> str:
    low, high = float(values.min()), float(values.max())
    return number(low) if low == high else f"{number(low)} .. {number(high)}"


def _change(r: Replacement) -> str:
    """In percent of what was; of a tensor the largest."""
    with np.errstate(all="ignore"):
        change = (100 * (r.now.astype(np.float64) / r.was.astype(np.float64) - 1)).reshape(-1)
    found = float(change[np.abs(change).argmax()])
    return percent(found) if np.isfinite(found) else ""


def payload(a: Application) -> dict[str, Any]:
    """The object of --json."""
    return {
        "schema": "qinspect.apply/1",
        "checkpoint": str(a.plan.fmt.checkpoint.path),
        "format": a.plan.fmt.description,
        "out": a.out,
        "dry_run": a.written is None,
        "asked": dict(a.origin.asked),
        "scales_of": dict(a.origin.of),
        "reached": a.reached,
        "outcome": a.outcome,
        "notes": list(a.notes),
        "warnings": list(a.warnings),
        "files": [] if a.written is None else [
            {"file": f.name, "bytes": f.n_bytes, "sha256_before": f.sha256} for f in a.written.files
        ],
        "bytes_changed": None if a.written is None else a.written.n_changed,
        "not_copied": [] if a.written is None else list(a.written.left_out),
        "replaced": [replaced(r) for r in a.plan.replacements],
        "unchanged": [t.role for t in a.plan.same],
    }  # fmt: skip
