"""A comparison as text: the same answers that `--json` gives, for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from qinspect.inspector.compare import Comparison, Deviation, ScalePair, Status, WeightPair
from qinspect.inspector.compare.measures import CHANGED, DIFFERENCE, ERROR, NOISE, SHARE
from qinspect.inspector.formats import ScaleRecord
from qinspect.inspector.formats.report import model_line
from qinspect.inspector.printing import PIPE_WIDTH, folded
from qinspect.inspector.rows import how_many, where
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import count, dims, magnitude, number, size, visible

_BAR = 40


DIFF_COLUMNS = (
    Column("scale"), Column("kind", drop=5), Column("alpha", drop=4), Column("A", True), Column("B", True),
    Column(DIFFERENCE.name, True), Column("log2", True, drop=6), Column(CHANGED.name, True, drop=3),
    Column("status", drop=1),
    Column("note", drop=8), Column("noise", drop=2),
)  # fmt: skip


def comparison_text(c: Comparison, rows: Table, terminal_width: int | None = None) -> str:
    """The report on two models, with the table of scales `rows`. terminal_width: None for a pipe."""
    width = terminal_width or PIPE_WIDTH

    def shown(table: Table) -> str:
        table = table.without_empty()
        return table.rich(terminal_width) if terminal_width else table.text()

    parts = [model_line("A", c.a), model_line("B", c.b), ""]
    parts += folded("VERDICT  ", f"{c.headline.text} [{c.headline.rule}]", width)
    parts += [line for r in c.reasons for line in folded("  - ", f"{r.text} [{r.rule}]", width)]
    if c.next:
        parts += folded("  next   ", c.next, width)
    parts += ["", *_summary_lines(c)]
    if rows.rows:
        heading = f"DIFFERENCES ({len(rows.rows)} scales; base A; of a tensor, its largest)"
        parts += ["", heading, shown(rows)]
    if table := weight_table(where(c.weights, lambda w: not w.status.counts_as_same)):
        parts += ["", f"CODES AND OTHER TENSORS ({len(table.rows)})", shown(table)]
    if c.copies:
        parts += ["", "COPIES THAT DISAGREE", shown(copies_table(c))]
    if c.notes:
        parts += ["", *(line for n in c.notes for line in folded("note, ", n, width))]
    return "\n".join(parts)


def _summary_lines(c: Comparison) -> Iterator[str]:
    s = c.summary
    counted = f"{s.n_pairs} in both: {s.n_same} same, {s.n_different} different"
    counted += f", {s.n_reordered} the same in another order" if s.n_reordered else ""
    counted += f", {s.n_incomparable} not comparable" if s.n_incomparable else ""
    counted += f"; {s.n_only_a} only in A" if s.n_only_a else ""
    counted += f"; {s.n_only_b} only in B" if s.n_only_b else ""
    yield f"SCALES   {counted}"
    if s.n_different:
        n_without = dict(s.histogram).get("no percentage", 0)
        of = f"all compared but {n_without} without a percentage" if n_without else "all compared"
        average = f"mean {magnitude(s.mean)}, median {magnitude(s.median)} over {of}"
        if not math.isnan(s.mean):
            yield f"         |difference|, base A: {average}"
        if not math.isnan(s.largest):
            yield f"         largest {magnitude(s.largest)} at {visible(s.largest_role, 120)}"
        yield f"         signs: {s.sign_pattern} ({s.n_up} up, {s.n_down} down, {s.n_mixed} mixed within a tensor)"
        yield f"         first in {c.a.ordered_by}: {visible(s.first_role, 120)}"
        top = max(n for _, n in s.histogram)
        for label, n in s.histogram:
            bar = "#" * max(1 if n else 0, round(_BAR * n / top))
            yield f"         {label:>15} {n:>7}  {bar}".rstrip()
    yield f"WEIGHTS  {_weights_line(c)}"


def _weights_line(c: Comparison) -> str:
    if not c.weights_compared:
        odd = how_many(c.weights, lambda w: not w.status.counts_as_same)
        mismatch = f"; headers disagree for {odd}" if odd else ""
        return f"weights: not compared ({size(c.weight_bytes)}){mismatch}; --codes reads them"
    by_status: dict[Status, int] = {}
    for w in c.weights:
        by_status[w.status] = by_status.get(w.status, 0) + 1
    listed = ", ".join(f"{n} {status}" for status, n in by_status.items())
    n_codes = sum(w.quantized for w in c.weights)
    return f"{n_codes} code and {len(c.weights) - n_codes} other tensors ({size(c.weight_bytes)}): {listed or 'none'}"


def scale_table(pairs: Sequence[ScalePair]) -> Table:
    """Pairs as rows."""
    return Table(DIFF_COLUMNS, [_pair_row(p) for p in pairs])


def _pair_row(p: ScalePair) -> list[str]:
    d = p.difference
    row = [p.role, str(p.record.kind), _reached(p)]
    if d is None:
        return [*row, _presence(p.a), _presence(p.b), "", "", "", str(p.status), p.note, ""]
    log2 = f"{d.log2_ratio:+.4f}" if d.log2_ratio == d.log2_ratio else "n/a"
    note = p.note
    if d.n > 1:
        place = f"at {'sorted ' if d.sorted_cells else ''}{list(d.where)}, median {magnitude(d.median)}, {d.direction}"
        note = f"{place}; {note}" if note else place
    if undefined := d.undefined_said:
        note = f"{note}; {undefined}" if note else undefined
    return [
        *row, number(d.a), number(d.b), DIFFERENCE.text(p), log2, CHANGED.text(p), str(p.status), note, NOISE.text(p)
    ]  # fmt: skip


def _reached(p: ScalePair) -> str:
    """Whether percentile_alpha makes the scale: in both models, or in which."""
    models = [model for model, r in (("A", p.a), ("B", p.b)) if r]
    reached = [model for model, r in (("A", p.a), ("B", p.b)) if r and r.alpha_sensitive]
    return "" if not reached else "yes" if reached == models else f"only {reached[0]}"


def _presence(record: ScaleRecord | None) -> str:
    return "-" if record is None else dims(record.shape)


def weight_table(weights: Sequence[WeightPair]) -> Table | None:
    """Codes and tensors as rows; None where there are none."""
    columns = (
        Column("tensor"),
        Column("what", drop=1),
        Column("elements", True, drop=3),
        Column("changed", True, drop=2),
        Column(SHARE.name, True),
        Column(ERROR.name, True),
        Column("largest", True, drop=5),
        Column("at", drop=6),
        Column("status"),
        Column("note", drop=4),
    )
    rows = [
        [
            w.role,
            "codes" if w.quantized else "values",
            count(w.n),
            "" if w.n_changed is None else count(w.n_changed),
            SHARE.text(w),
            ERROR.text(w),
            *_largest(w.deviation),
            str(w.status),
            w.note,
        ]
        for w in weights
    ]
    return Table(columns, rows) if rows else None


def _largest(d: Deviation | None) -> tuple[str, str]:
    """The largest |B - A|, and its place."""
    if d is None:
        return "", ""
    return number(d.largest) if d.has_size else "n/a", str(list(d.where)) if d.where else ""


def copies_table(c: Comparison) -> Table:
    """Copies that disagree as rows."""
    columns = (
        Column("model"),
        Column("scale"),
        Column("copy"),
        Column("relation"),
        Column("expected", True),
        Column("found", True),
    )
    return Table(
        columns,
        [[p.model, p.key, p.copy_key, p.relation, number(p.expected), number(p.found)] for p in c.copies],
    )
