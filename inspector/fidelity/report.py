"""Fidelity as text and as rows: the same numbers that `--json` gives, for people."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from qinspect.inspector.fidelity.measures import BEST, COSINE, ERROR, LOSS, SQNR, db, error_text
from qinspect.inspector.fidelity.results import SEED, Best, Fidelity, Made, Part, WeightFidelity
from qinspect.inspector.fidelity.summary import Summary, grouped, summary_of
from qinspect.inspector.fidelity.threshold import Threshold
from qinspect.inspector.fidelity.verdict import AS_GOOD_DB, RTN, against_nearest, sentence
from qinspect.inspector.formats.report import model_line
from qinspect.inspector.printing import PIPE_WIDTH, folded
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import count, number, size, some, visible

NO_METHODS: Mapping[str, Made] = {}
COLUMNS = (
    Column("weight"), Column("B stored as", drop=3), Column(SQNR.name, True), Column(ERROR.name, True, drop=1),
    Column(LOSS.name, True), Column(BEST.name, True), Column(COSINE.name, True, drop=4),
    Column("largest B-A", True, drop=5), Column("at", drop=9), Column("mean B-A", True, drop=8),
    Column("worst channel", True, drop=2), Column("worst group", True, drop=6), Column("not finite", True, drop=7),
    Column("note", drop=10),
)  # fmt: skip
GROUP_COLUMNS = (
    Column("of"), Column("weights", True), Column("equal", True, drop=3), Column("values", True, drop=4),
    Column("mean SQNR dB", True), Column("worst", True), Column(LOSS.name, True, drop=1),
    Column(ERROR.name, True, drop=2), Column("worst weight", drop=5),
)  # fmt: skip


def fidelity_text(
    found: Fidelity, rows: Table, n_left: int, threshold: Threshold | None, terminal_width: int | None = None
) -> str:
    """The report. n_left: rows that the table leaves out. terminal_width: None for a pipe."""
    width = terminal_width or PIPE_WIDTH
    parts = [model_line("A", found.a), model_line("B", found.b), ""]
    parts += folded("FIDELITY ", f"{sentence(found)}.", width)
    if threshold is not None:
        parts += folded("  PASSED " if threshold.passed else "  FAILED ", f"{threshold.sentence}.", width)
    if rows.rows:
        table = rows.without_empty()
        heading = "WORST FIRST (B against A)"
        parts += ["", heading, table.rich(terminal_width) if terminal_width else table.text()]
        if n_left:
            parts.append(f"  and {count(n_left)} more; --worst {len(rows.rows) + n_left} prints them")
    lines = [*_not_compared(found), *_notes(found)]
    if lines:
        parts += ["", *(line for text in lines for line in folded("note, ", text, width))]
    return "\n".join([*parts, "", "PASTE", *folded("  ", line_of(found), 10_000)])


def line_of(found: Fidelity) -> str:
    """What it is, how large and how good: one line for an issue or a model card."""
    s = summary_of(found.counted)
    what = "quantized weight" if any(w.quantized for w in found.counted) else "weight"
    a, b = _names(found)
    bits = "bits per weight not known" if found.bits is None else f"{found.bits:.4g} bits per weight"
    parts = [f"{b} ({found.b.description}) against {a}: {size(found.b.checkpoint.nbytes)}, {bits}"]
    if s.mean is None:
        parts.append(f"every value of {some(s.n, what)} equal" if s.n and s.n_exact == s.n else "no SQNR")
    else:
        worst = f", worst {s.worst.sums.sqnr:.2f} dB {visible(s.worst.role, 120)}" if s.worst else ""
        parts.append(f"mean SQNR {s.mean:.2f} dB over {some(s.n_sqnr, what)}{worst}")
    if s.loss is not None:
        over = "" if s.n_nearest == s.n else f" ({count(s.n_nearest)} of them)"
        parts.append(f"{against_nearest(s.loss)}{over}")
    return ", ".join(parts)


def _names(found: Fidelity) -> tuple[str, str]:
    """The last part of each path; more of it where they are the same, or say nothing."""
    paths = [Path(str(f.checkpoint.path)) for f in (found.a, found.b)]
    for n in (1, 2, 3):
        names = ["/".join(p.parts[-n:]) for p in paths]
        if names[0] != names[1] and not {"model", "model.safetensors"} & set(names):
            break
    return visible(names[0], 120), visible(names[1], 120)


def _not_compared(found: Fidelity) -> Iterator[str]:
    counts = Counter(str(o.why) for o in found.not_compared)
    for why, n in counts.items():
        first = next(o for o in found.not_compared if o.why == why)
        yield f"{why}, not compared: {some(n, 'weight')}, first {visible(first.role, 120)}: {visible(first.said, 300)}"


def _notes(found: Fidelity) -> Iterator[str]:
    quantized = [w for w in found.weights if w.quantized_a]
    if quantized:
        yield (
            f"A is quantized itself in {some(len(quantized), 'weight')} ({visible(quantized[0].stored_a, 80)}): the "
            "error is against its values, not against an original"
        )
    n_bad = sum(w.sums.n_excluded for w in found.weights)
    if n_bad:
        of_a, of_b = (sum(getattr(w.sums, name) for w in found.weights) for name in ("n_bad_a", "n_bad_b"))
        yield f"{some(n_bad, 'value')} not finite (A {count(of_a)}, B {count(of_b)}), left out of every number"
    unknown = Counter(w.nearest.said for w in found.weights if w.nearest and w.nearest.sqnr is None)
    for said, n in unknown.items():
        yield f"loss against {RTN} not known for {some(n, 'weight')}: {visible(said, 200)}"
    yield from _of_best(found)
    for path in found.changed:
        yield f"{visible(path)} changed while it was read: the numbers may be of neither state"


def _of_best(found: Fidelity) -> Iterator[str]:
    known = [w.best for w in found.weights if w.best and w.best.loss is not None]
    for said, n in Counter(b.said for b in known).items():
        drawn = any(b.said == said and b.error is not None for b in known)
        of = f"blocks that were drawn (seed {SEED}), +- one standard error" if drawn else "all blocks"
        yield f"best found for {some(n, 'weight')}: {said}, codes rounded again, {of}; it is no bound"
    unknown = Counter(w.best.said for w in found.weights if w.best and w.best.n_blocks == 0)
    for said, n in unknown.items():
        yield f"no best found for {some(n, 'weight')}: {visible(said, 200)}"
    worse = sum(1 for w in found.weights if w.best and w.nearest and (w.nearest.loss or 0.0) > AS_GOOD_DB)
    if worse:
        yield (
            f"{some(worse, 'weight')} {'has' if worse == 1 else 'have'} more error than {RTN}: that is what is seen, "
            "not why; methods that look at activations trade it for less error of the outputs, and `qinspect whence B "
            "--base A` says whether the codes have the traces of one"
        )


def weight_table(weights: Sequence[WeightFidelity], methods: Mapping[str, Made] = NO_METHODS) -> Table:
    """Weights as rows. methods: by role, {} where they were not asked for."""
    rows = [_row(w) for w in weights]
    if not methods:
        return Table(COLUMNS, rows)
    made = [methods[w.role].short if w.role in methods else "" for w in weights]
    columns = (*COLUMNS[:2], Column("method", drop=3), *COLUMNS[2:])
    return Table(columns, [[*row[:2], how, *row[2:]] for row, how in zip(rows, made, strict=True)])


def _row(w: WeightFidelity) -> list[str]:
    s = w.sums
    differs = s.at >= 0
    return [
        w.role, w.stored_b, SQNR.text(w), ERROR.text(w), LOSS.text(w), BEST.text(w), COSINE.text(w),
        number(s.largest) if differs else "0", str(list(w.where)) if w.where else "",
        f"{s.mean_shift:+.2e}" if differs else "0", part_text(w.channels[0]) if w.channels else "",
        part_text(w.group) if w.group else "", count(s.n_excluded) if s.n_excluded else "", note_of(w),
    ]  # fmt: skip


CSV_COLUMNS = (
    "role", "a", "b", "stored_a", "stored_b", "values", "not_finite", "sqnr_db", "relative_error", "cosine",
    "mean_shift", "largest_error", "largest_where", "worst_channel", "worst_channel_share", "worst_group",
    "worst_group_share", "nearest_sqnr_db", "loss_db", "best_found_sqnr_db", "best_found_loss_db",
    "best_found_standard_error_db", "note", "method",
)  # fmt: skip


def csv_table(weights: Sequence[WeightFidelity], methods: Mapping[str, Made] = NO_METHODS) -> Table:
    """Weights as rows for programs: all digits, the names of `--json`; `inf` where a weight is equal. methods: as of
    `weight_table`."""
    numeric = {i for i, name in enumerate(CSV_COLUMNS) if name.endswith(("_db", "error", "shift", "cosine", "values"))}
    columns = tuple(Column(name, i in numeric) for i, name in enumerate(CSV_COLUMNS))
    return Table(columns, [_csv_row(w, methods.get(w.role)) for w in weights])


def _csv_row(w: WeightFidelity, made: Made | None) -> list[str]:
    s, nearest = w.sums, w.nearest
    channel = w.channels[0] if w.channels else None
    numbers: list[float | None] = [s.sqnr, s.relative, s.cosine, s.mean_shift, s.largest]
    return [
        w.role, w.a, w.b, w.stored_a, w.stored_b, str(s.n), str(s.n_excluded), *map(_digits, numbers), _index(w.where),
        *_csv_part(channel), *_csv_part(w.group), _digits(nearest.sqnr if nearest else None),
        _digits(nearest.loss if nearest else None), *_csv_best(w.best), note_of(w),
        made.method if made else "",
    ]  # fmt: skip


def _csv_part(part: Part | None) -> tuple[str, str]:
    return (_index(part.where), _digits(part.share)) if part else ("", "")


def _csv_best(best: Best | None) -> tuple[str, str, str]:
    return (_digits(best.sqnr), _digits(best.loss), _digits(best.error)) if best else ("", "", "")


def _index(where: Sequence[int]) -> str:
    return " ".join(map(str, where))


def _digits(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))


def note_of(w: WeightFidelity) -> str:
    """What is remarkable about it."""
    return "; ".join(x for x in (w.factors.said if w.factors else "", w.note) if x)


def part_text(part: Part) -> str:
    """`118: 43 %`, `118,64: 2 %`: where, and its share of the squared error."""
    percent = 100 * part.share
    return f"{','.join(map(str, part.where))}: {percent:.{0 if percent >= 10 else 1}f} %"


def group_table(weights: Sequence[WeightFidelity], by: str) -> Table:
    """Groups of weights as rows, the worst first."""
    rows = [_group_row(name, summary_of(of_group)) for name, of_group in grouped(weights, by).items()]
    return Table(GROUP_COLUMNS, [cells for _, cells in sorted(rows, key=lambda row: row[0])])


def _group_row(name: str, s: Summary) -> tuple[float, list[str]]:
    """With what it is sorted by."""
    least = -math.inf if s.zeros else s.worst.sums.sqnr if s.worst else math.inf
    worst = s.zeros[0] if s.zeros else s.worst
    return least, [
        name, count(s.n), count(s.n_exact), count(s.n_values), db(least if s.mean is None else s.mean), db(least),
        db(s.loss, signed=True), error_text(s.relative), worst.role if worst else "",
    ]  # fmt: skip
