"""What is saved of an evaluation: a row a model, its numbers to the last digit."""

from __future__ import annotations

import math

from qinspect.inspector.evaluate.intervals import Estimate
from qinspect.inspector.evaluate.results import Evaluation
from qinspect.inspector.evaluate.stored import SoFar
from qinspect.inspector.table import Column, Table

_ESTIMATES = ("ln ratio", "KL", "same top")


def table_of(found: Evaluation | SoFar) -> Table:
    """Cells of what is not known are empty."""
    heads = [Column(f"{name}{part}", True) for name in _ESTIMATES for part in ("", " low", " high")]
    if isinstance(found, SoFar):
        columns = (Column("model"), Column("windows", True), *heads)
        rows = [
            [m.name, str(m.n_windows), *_cells(m.ln_ratio), *_cells(m.kl), *_cells(m.same_top)] for m in found.models
        ]
        return Table(columns, rows)
    columns = (
        Column("model"), Column("answer"), Column("bits per weight", True), Column("tokens", True),
        Column("perplexity", True), *heads, Column("accuracy", True),
    )  # fmt: skip
    rows = [
        [
            m.name, m.answer.value, _cell(m.bits_per_weight), str(m.n), _cell(m.perplexity), *_cells(m.ln_ratio),
            *_cells(m.kl), *_cells(m.same_top), _cell(m.accuracy.value),
        ]
        for m in found.models
    ]  # fmt: skip
    return Table(columns, rows)


def _cells(e: Estimate | None) -> list[str]:
    return ["", "", ""] if e is None else [_cell(x) for x in (e.value, e.low, e.high)]


def _cell(x: float | None) -> str:
    return "" if x is None or math.isnan(x) else repr(x)
