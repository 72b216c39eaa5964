"""The detail of one scale, as lines: what it is a scale of, formula, where it is stored in A and in B, its copies."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.compare.measures import band_place
from qinspect.inspector.compare.paired_tree import PairedNode, PairedTree
from qinspect.inspector.compare.results import CopyProblem, ScalePair, WeightPair
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import count, dims, magnitude, number, percent, share, size
from qinspect.inspector.values.value_text import value_text
from qinspect.tui.compare.rows import sign
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.names import shown
from qinspect.tui.widgets.lines import Piece

if TYPE_CHECKING:
    from qinspect.inspector.formats import Format, ScaleRecord

Line = list[Piece]


def detail_lines(
    pair: ScalePair,
    a: Format | None,
    b: Format | None,
    problems: tuple[CopyProblem, ...],
    g: Glyphs,
    rows: Sequence[str] = (),
    fidelity: Sequence[tuple[str, str]] = (),
) -> Iterator[Line]:
    """Everything about one row. rows: what the rows of its weight are. fidelity: what was measured of it, by fields."""
    two = b is not None
    mark, kind = sign(pair, two, g)
    said = two and pair.difference is None  # else the next line says more
    yield [(f"{mark} ", kind), (shown(pair.role, 160), "name"), (f"   {pair.status}" if said else "", kind)]
    if pair.note:
        yield [("  " + shown(pair.note, 200), "dim")]
    differences = _difference_lines(pair)
    yield from islice(differences, 1)
    yield from (_field(name, text) for name, text in fidelity)
    yield from _what_it_is(pair, a, b)
    yield from (_field("" if i else "rows", text) for i, text in enumerate(rows))
    yield from differences
    for label, fmt, record, faults in (("A", a, pair.a, pair.faults_a), ("B", b, pair.b, pair.faults_b)):
        if fmt is not None and record is not None:
            yield []
            if faults is not None:
                yield _field(f"{label} broken" if faults.n_broken else f"{label} weak", str(faults), "broken")
            yield from _stored_lines(label, fmt, record, problems)


def _what_it_is(pair: ScalePair, a: Format | None, b: Format | None) -> Iterator[Line]:
    """Fields that A and B share in one line each, those that they do not in one of each model's own."""
    of_a, of_b = (_described(fmt, r) if fmt and r else None for fmt, r in ((a, pair.a), (b, pair.b)))
    for name in of_a or of_b or {}:
        texts = [("A", of_a[name])] if of_a else []
        texts += [("B", of_b[name])] if of_b else []
        shared = len({text for _, text in texts}) == 1
        for label, text in texts[:1] if shared else texts:
            if text or not shared:
                yield _field(name if shared else f"{label} {name}", text or "not known")


def _described(fmt: Format, r: ScaleRecord) -> dict[str, str]:
    """What one model's scale is, by the name of the field; empty where there is nothing to say."""
    group = f", groups of {r.group_size} along axis {r.axis}" if r.group_size else ""
    return {
        "of": shown(r.of, 200),
        "formula": f"{f'{r.formula}, ' if r.formula else ''}{shown(r.scheme, 80)}",
        "granularity": f"{r.granularity}{group}",
        "alpha": _alpha(fmt, r),
        "pairing": "" if r.verified else "by name alone: unverified",
    }


def _alpha(fmt: Format, r: ScaleRecord) -> str:
    """Whether percentile_alpha makes a scale, and which did, where the checkpoint says so itself."""
    if r.alpha_sensitive is None:
        return ""
    if not r.alpha_sensitive:
        return "percentile_alpha cannot reach it"
    from qinspect.inspector.provenance import effective_alpha

    alpha = effective_alpha(fmt, r.role)
    return "percentile_alpha makes it" + ("" if alpha is None else f": {alpha:.9g} by its provenance")


INDENT = 14


def folded(lines: Iterable[Line], width: int) -> Iterator[Line]:
    """Lines whose last piece is longer than `width` leaves room for are continued under it."""
    for line in lines:
        before = sum(len(text) for text, _ in line[:-1])
        if not line or before + len(line[-1][0]) <= width or width - INDENT < 16:
            yield line
            continue
        text, kind = line[-1]
        if width - before < 16:
            yield line[:-1]
            yield [(" " * INDENT, ""), (text.strip(), kind)]
            continue
        first, *rest = textwrap.wrap(_together(text), max(16, width - before), break_on_hyphens=False) or [""]
        yield [*line[:-1], (first.replace(TIE, " "), kind)]
        for more in textwrap.wrap(" ".join(rest), width - INDENT, break_on_hyphens=False):
            yield [(" " * INDENT, ""), (more.replace(TIE, " "), kind)]


TIE = "\0"
"""Between what is not parted; no text has it as it is."""


def _together(text: str) -> str:
    """No line ends between a model and its number, nor between a number and its unit."""
    return re.sub(r"(?<=\b[AB]) (?=[-+\d.])|(?<=\d) (?=%)", TIE, text)


def _field(name: str, text: str, kind: str = "") -> Line:
    return [(f"  {name + ' ':<12}", "dim"), (text, kind)]


def _difference_lines(pair: ScalePair) -> Iterator[Line]:
    """The largest difference, then what else is known of it."""
    d = pair.difference
    if d is None:
        return
    kind = {"up": "up", "down": "down"}.get(d.direction, "odd" if d.n_changed else "same")
    at = f" at {list(d.where)}{' of the sorted cells' if d.sorted_cells else ''}" if d.n > 1 else ""
    yield _field("B vs A", f"{percent(d.largest)}{at}   A {number(d.a)}   B {number(d.b)}", kind)
    if d.n > 1:
        yield _field("", f"{d.n_changed:,} of {d.n:,} changed: {d.n_up:,} up, {d.n_down:,} down")
        sampled = " (of an even sample)" if d.sampled else ""
        yield _field("", f"median {percent(d.median).lstrip('+')}{sampled}, mean {percent(d.mean).lstrip('+')}")
    if d.undefined_said:
        yield _field("", d.undefined_said, "broken")
    if not math.isnan(d.log2_ratio):
        yield _field("log2 B/A", f"{d.log2_ratio:+.4f}")
    if text := band_place(pair):
        yield _field("noise", text)
        for i, of in enumerate(pair.bands):
            yield _field("", f"{of.floor}: {of}{'  (applies)' * (not i)}", "dim")


def _stored_lines(label: str, fmt: Format, r: ScaleRecord, problems: tuple[CopyProblem, ...]) -> Iterator[Line]:
    entry = fmt.checkpoint[r.key]
    yield [(f"{label} ", "a" if label == "A" else "b"), (shown(r.key, 160), "")]
    if isinstance(entry, Tensor):
        yield _field("stored", f"{r.dtype} {dims(r.shape)}, {size(entry.nbytes)}, offset {entry.offset:,}")
    else:
        yield _field("stored", f"{entry.kind} = {value_text(entry.value)}")
    yield _field("file", shown(entry.file.path.name, 120))
    for key in r.folded:
        yield _field("folded", f"divided by {shown(key, 120)}")
    wrong = {p.copy_key: p for p in problems if p.model == label and p.role == r.role}
    for copy in r.copies:
        problem = wrong.get(copy.key)
        text = f"{shown(copy.key, 120)}  ({copy.relation})"
        if problem:
            yield _field(
                "copy", f"{text}: expected {number(problem.expected)}, found {number(problem.found)}", "broken"
            )
        else:
            yield _field("copy", f"{text}, agrees")


def node_lines(node: PairedNode | None, tree: PairedTree | None = None) -> list[str]:
    """What a node of the tree holds, and what was found of it, where it has no scale to show."""
    if node is None:
        return []
    lines = [shown(node.path, 160), ""]
    lines.append(f"  {count(node.n_a)} {'entry' if node.n_a == 1 else 'entries'} in A, {count(node.n_b)} in B")
    lines.append(f"  {count(node.parameters)} elements, {size(node.nbytes)}")
    for label, entry in (("A", node.a), ("B", node.b)):
        if isinstance(entry, Tensor):
            lines.append(f"  {label}  {entry.dtype.name} {dims(entry.shape)}, {size(entry.nbytes)}")
        elif entry is not None:
            lines.append(f"  {label}  {entry.kind}: {shown(value_text(entry.value), 200)}")
        if entry is not None and strip_root(entry.name) != node.path:
            lines.append(f"     key {shown(entry.name, 160)}")
    if tree is not None:
        names = [e.name for e in (node.a, node.b) if e is not None]
        lines += [f"  the same as {shown(tree.elsewhere[n], 160)}" for n in names if n in tree.elsewhere]
        finding = tree.finding(node) if node.is_leaf else None
        if isinstance(finding, WeightPair):
            lines += ["", *_weight_lines(finding)]
    return lines


def _weight_lines(w: WeightPair) -> Iterator[str]:
    """How codes or a tensor differ."""
    yield f"  {w.status}" + (f": {shown(w.note, 200)}" if w.note else "")
    if w.n_changed is not None:
        what = "codes" if w.quantized else "elements"
        yield f"  {count(w.n_changed)} of {count(w.n)} {what} differ ({share(w.n_changed, w.n)})"
    if d := w.deviation:
        if d.has_size and not math.isnan(d.relative):
            yield f"  relative error |B - A|/|A|  {magnitude(100 * d.relative)}"
        what = f"largest |B - A|  {number(d.largest)}" if d.has_size else "only NaN or Inf differ, first"
        yield f"  {what} at {list(d.where)}   A {number(d.a)}   B {number(d.b)}"
