"""Comparisons, scales, trees and entries as text: the same answers that `--json` gives, for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import numpy as np

from qinspect.inspector.checkpoint import Entry, Tensor
from qinspect.inspector.compare import Comparison, Deviation, Difference, ScalePair, Status, WeightPair
from qinspect.inspector.formats import Format, ScaleRecord
from qinspect.inspector.inspection import Inspection
from qinspect.inspector.noise.band import place_of
from qinspect.inspector.printing import PIPE_WIDTH, folded
from qinspect.inspector.statistics import Statistics
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import Range, count, dims, magnitude, number, percent, range_text, share, size, visible
from qinspect.inspector.tree import Node, runs
from qinspect.inspector.value_text import array_texts, value_text

_BAR = 40
DIFF_COLUMNS = (
    Column("scale"), Column("kind", drop=5), Column("alpha", drop=4), Column("A", True), Column("B", True),
    Column("B vs A", True), Column("log2", True, drop=6), Column("changed", True, drop=3), Column("status", drop=1),
    Column("note", drop=8), Column("noise", drop=2),
)  # fmt: skip


def model_line(label: str, fmt: Format) -> str:
    """Two lines: `A  path`, and format, entries, bytes, kind."""
    c = fmt.checkpoint
    files = f"{len(c.files)} {c.kind} files" if len(c.files) > 1 else f"{c.kind} file"
    entries = f"{count(len(c.entries))} {'entry' if len(c.entries) == 1 else 'entries'}"
    contents = f"{entries}, {size(c.nbytes)}, {files}"
    return f"{label}  {visible(str(c.path))}\n   {visible(fmt.description, 200)}; {contents}"


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
    if table := weight_table([w for w in c.weights if not w.status.counts_as_same]):
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
        odd = sum(not w.status.counts_as_same for w in c.weights)
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
    alpha = "yes" if p.record.alpha_sensitive else ""
    row = [p.role, str(p.record.kind), alpha]
    if d is None:
        return [*row, _presence(p.a), _presence(p.b), "", "", "", str(p.status), p.note, ""]
    log2 = f"{d.log2_ratio:+.4f}" if d.log2_ratio == d.log2_ratio else "n/a"
    changed = "" if d.n == 1 else f"{count(d.n_changed)} of {count(d.n)}"
    note = p.note
    if d.n > 1:
        place = f"at {'sorted ' if d.sorted_cells else ''}{list(d.where)}, median {magnitude(d.median)}, {d.direction}"
        note = f"{place}; {note}" if note else place
    if d.n_undefined:
        undefined = f"{count(d.n_undefined)} without a percentage (A zero, or not finite)"
        note = f"{note}; {undefined}" if note else undefined
    noise = place_of(d.largest, p.bands) if p.status is Status.DIFFERENT else ""
    return [*row, number(d.a), number(d.b), _relative(d), log2, changed, str(p.status), note, noise]


def _relative(d: Difference) -> str:
    return "n/a" if d.n_undefined == d.n_changed > 0 else percent(d.largest)


def _presence(record: ScaleRecord | None) -> str:
    return "-" if record is None else dims(record.shape)


def weight_table(weights: Sequence[WeightPair]) -> Table | None:
    """Codes and tensors as rows; None where there are none."""
    columns = (
        Column("tensor"),
        Column("what", drop=1),
        Column("elements", True, drop=3),
        Column("changed", True, drop=2),
        Column("share", True),
        Column("|B-A|/|A|", True),
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
            "" if w.n_changed is None else share(w.n_changed, w.n),
            *_deviation_cells(w.deviation),
            str(w.status),
            w.note,
        ]
        for w in weights
    ]
    return Table(columns, rows) if rows else None


def _deviation_cells(d: Deviation | None) -> tuple[str, str, str]:
    """|B - A|/|A|, the largest |B - A|, its place."""
    if d is None:
        return "", "", ""
    where = str(list(d.where)) if d.where else ""
    if not d.has_size:
        return "n/a", "n/a", where
    return "" if math.isnan(d.relative) else magnitude(100 * d.relative), number(d.largest), where


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


def scales_table(fmt: Format, ranges: dict[str, Range]) -> Table:
    """`qinspect scales A`: one row per record."""
    columns = (
        *(Column("scale"), Column("value", True), Column("granularity", drop=2), Column("dtype", drop=3)),
        *(Column("shape", drop=5), Column("alpha", drop=1), Column("is a scale of", drop=6)),
        *(Column("copies", True, drop=4), Column("key", drop=7)),
    )
    rows = []
    for r in fmt.scales():
        value = range_text(ranges.get(r.role, ""))
        alpha = {True: "yes", False: "no", None: "?"}[r.alpha_sensitive]
        granularity = r.granularity + (f" {r.group_size}" if r.group_size else "")
        rows.append([r.role, value, granularity, r.dtype, dims(r.shape), alpha, r.of, str(len(r.copies) or ""), r.key])
    return Table(columns, rows)


def tree_lines(node: Node, depth: int | None, expand: bool, level: int = 0) -> Iterator[str]:
    """The tree, two spaces a level; repeated layers as one line unless `expand`."""
    for run in runs(node) if not expand else ():
        shown = run.nodes[0]
        times = f" ({len(run.nodes)} alike)" if len(run.nodes) > 1 else ""
        yield _tree_line(shown, f"{run.label}{times}", run.nodes, level)
        if shown.children and (depth is None or level + 1 < depth):
            yield from tree_lines(shown, depth, expand, level + 1)
    for child in node.children.values() if expand else ():
        yield _tree_line(child, child.name, (child,), level)
        if child.children and (depth is None or level + 1 < depth):
            yield from tree_lines(child, depth, expand, level + 1)


def _tree_line(node: Node, label: str, together: Sequence[Node], level: int) -> str:
    indent = "  " * level
    name = f"{indent}{visible(label, 100)}"
    if node.is_leaf and node.entry is not None:
        return f"{name:<44} {_entry_text(node.entry)}"
    if any(n.n_unknown for n in together):
        holds = f"{count(sum(n.n_elements for n in together))} elements stored, parameters not known"
    else:
        holds = f"{count(sum(n.n_parameters for n in together))} parameters"
    dtypes = ", ".join(f"{d} x{n}" if n > 1 else d for d, n in node.dtypes.items())
    each = " each" if len(together) > 1 else ""
    entries = f"{count(node.n_entries)} {'entry' if node.n_entries == 1 else 'entries'}{each}"
    nbytes = size(sum(n.nbytes for n in together))
    return f"{name:<44} {entries}, {holds}, {nbytes}  [{dtypes}]"


def _entry_text(e: Entry) -> str:
    if isinstance(e, Tensor):
        strided = "" if e.strides is None else f", strides {list(e.strides)}"
        return f"{e.dtype.name} {dims(e.shape)}{strided}, {size(e.nbytes)}"
    return f"{e.kind}" + ("" if e.value is None else f" = {value_text(e.value)}")


def inspection_text(fmt: Format, i: Inspection) -> str:
    """`qinspect show A KEY`."""
    e = i.entry
    lines = [visible(i.key), f"  stored     {_entry_text(e)}", f"  file       {visible(str(e.file.path))}"]
    if isinstance(e, Tensor):
        lines[-1] += f", offset {e.offset}" if e.file.stored else ", inside its pickle"
    if i.scale:
        lines += _scale_lines(i)
    if i.copy_of:
        lines.append(f"  copy of    {visible(i.copy_of)}")
    lines += _stored_lines(i)
    if i.logical:
        lines += [
            "  SCALE, LOGICAL (padding dropped, order restored, folded output scale taken out)",
            *_statistics_lines(i.logical),
        ]
    if i.weight:
        lines.append(
            f"  codes of   {visible(i.weight.name)} {dims(i.weight.shape)}, {i.weight.bits} bits, {i.weight.scheme}"
        )
        keys = {r.role: r.key for r in fmt.scales()}
        lines += [f"  scaled by  {visible(keys[role])}" for role in i.weight.scale_roles]
    if i.codes:
        lines += ["  CODES", *_code_lines(i.codes)]
    if i.dequantized:
        lines += ["  DEQUANTIZED", *_statistics_lines(i.dequantized)]
    if i.problem:
        lines.append(f"  problem    {i.problem}")
    lines.append(f"  model      {fmt.description}")
    return "\n".join(lines)


def _stored_lines(i: Inspection) -> Iterator[str]:
    """What a tensor holds: one number as it is, few with their values, many by their statistics."""
    values, s = i.values, i.statistics
    if values is not None and values.size == 1:
        yield f"  value      {array_texts(values)[0]}"
        return
    if s is not None and s.n == 0:
        yield "  values     none: it has no elements"
        return
    if s is not None and isinstance(i.entry, Tensor) and i.entry.dtype.name == "bool":
        yield f"  STORED     {count(s.n)} elements, {count(s.n - s.n_zero)} true"
    elif s is not None:
        yield "  STORED NUMBERS"
        yield from _statistics_lines(s, brief=values is not None and values.dtype.kind in "iub")
    elif isinstance(i.entry, Tensor) and i.entry.dtype.is_complex:
        yield "  complex numbers have no order: no minimum, no percentiles"
    if values is not None and values.size:
        texts = np.array(array_texts(values), dtype=object).reshape(values.shape)
        yield "  VALUES"
        yield from _indented(np.array2string(texts, formatter={"all": str}, max_line_width=110))


def _scale_lines(i: Inspection) -> Iterator[str]:
    r = i.scale
    assert r is not None
    yield f"  scale      {visible(r.role)}" + ("" if r.verified else "  (unverified: paired by name)")
    yield f"  of         {visible(r.of)}"
    group = f", groups of {r.group_size} along axis {r.axis}" if r.group_size else ""
    formula = "x ~ scale * q, " if r.verified else ""  # a guess by name does not say how codes and scale make a value
    yield f"  formula    {formula}{visible(r.scheme)}; {r.granularity}{group}"
    if r.alpha_sensitive is not None:
        yield f"  alpha      {'percentile_alpha makes it' if r.alpha_sensitive else 'percentile_alpha cannot reach it'}"
    if r.folded:
        yield f"  folded     divided by {', '.join(visible(k) for k in r.folded)}"
    for c in i.copies:
        value = f" = {c.text}" if c.text else ""
        yield f"  copy       {visible(c.key)}{value}  ({c.relation})"


def _statistics_lines(s: Statistics, brief: bool = False) -> Iterator[str]:
    """brief: without moments and percentiles, which say nothing of a few integers: shapes, indices, masks."""
    yield (
        f"    {count(s.n)} element{'s' * (s.n != 1)}, {count(s.n_zero)} zero, {count(s.n_negative)} negative"
        + (f", {count(s.n_nan)} NaN" if s.n_nan else "")
        + (f", {count(s.n_inf)} Inf" if s.n_inf else "")
    )
    if not s.percentiles:
        return
    named = {"min": s.minimum, "max": s.maximum}
    if not brief:
        named |= {"absmax": s.absmax, "mean": s.mean, "std": s.std}
    yield "    " + ", ".join(f"{name} {number(value)}" for name, value in named.items())
    if s.n > 1 and not brief:
        yield f"    percentiles{' (of an even sample)' if s.sampled else ''}:"
        cells = [f"{p:>6g} % {_percentile(s, p, v):>12}" for p, v in s.percentiles]
        half = -(-len(cells) // 2)
        yield from (f"    {'   '.join(pair)}" for pair in zip_longest(cells[:half], cells[half:], fillvalue=""))


def _percentile(s: Statistics, percent: float, value: float) -> str:
    """One percentile; of integers with all digits, where it is one."""
    if not isinstance(s.minimum, int):
        return number(value)
    ends = {0.0: s.minimum, 100.0: s.maximum}
    if percent in ends and not s.sampled:
        return number(ends[percent])
    return number(int(value)) if value.is_integer() and abs(value) < 1 << 53 else number(value)


def _code_lines(codes: dict[int, int]) -> Iterator[str]:
    total = sum(codes.values())
    unused = sum(n == 0 for n in codes.values())
    low, high = min(codes), max(codes)
    yield (
        f"    {len(codes)} levels, {unused} unused; at the ends {low}: {share(codes[low], total)}, "
        f"{high}: {share(codes[high], total)}; zero {share(codes[0], total)}"
    )
    step = max(1, len(codes) // 32)
    levels = list(codes)
    bins = [
        (levels[k], levels[min(k + step, len(levels)) - 1], sum(codes[v] for v in levels[k : k + step]))
        for k in range(0, len(levels), step)
    ]
    top = max(n for *_, n in bins) or 1
    for first, last, n in bins:
        label = f"{first}" if first == last else f"{first}..{last}"
        yield f"    {label:>10} {count(n):>12}  {'#' * max(1 if n else 0, round(_BAR * n / top))}".rstrip()


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]
