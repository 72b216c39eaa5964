"""An evaluation as a page: models side by side, KL along positions and confidence, and all of it in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from qinspect.inspector.evaluate import report
from qinspect.inspector.evaluate.results import Answer, Answered, Evaluation, Floor
from qinspect.inspector.evaluate.stored import SoFar
from qinspect.inspector.printing import folded
from qinspect.inspector.text import count, some
from qinspect.tui.evaluation.intervals import Block, Cells, Interval, block_lines, said_of
from qinspect.tui.evaluation.panels import Panel, panel_lines
from qinspect.tui.evaluation.rows import Rows, rows_of, rows_so_far
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.look import Line, Look
from qinspect.tui.names import shown

KINDS = {Answer.WORSE: "up", Answer.BETTER: "down", Answer.EQUAL: "same", Answer.EQUIVALENT: "same"}
LONGEST_NAME = 28
ROWS_LOW, ROWS_HIGH = 4, 7
"""Lines of a panel: on a low terminal, on a high one."""
HIGH = 38
WIDE = 100
"""From this width on all axes are as long as the one that has answers behind it."""


Answers = Sequence[tuple[str, str, Sequence[Answered]]]
"""(model, task, its metrics)."""


def page_of(found: Evaluation, answers: Answers, look: Look, glyphs: Glyphs, other_axis: bool) -> list[Line]:
    """One that has ended."""
    head = f"{count(found.n_tokens)} predicted tokens in {some(found.n_windows, 'window')}"
    lines: list[Line] = [*_said(f"{head}, against {found.reference}", look.width), []]
    rows = rows_of(found)
    lines += _blocks(rows, look, glyphs, other_axis)
    names = [r.name for r in rows.rows]
    floor = None if found.floor is None or math.isnan(found.floor.kl) else found.floor.kl
    height = ROWS_HIGH if look.height >= HIGH else ROWS_LOW
    for title, parts in (
        ("KL by position in the window", [m.stretches for m in found.models]),
        ("KL by confidence of the reference, its largest probability", [m.buckets for m in found.models]),
    ):
        panels = [Panel(name, of) for name, of in zip(names, parts, strict=False) if of]
        lines += [*panel_lines(title, panels, floor, height, look, glyphs.cut, other_axis), []]
    if found.models:
        table = report.table_of(found).without_empty().fitted(look.width).text("")
        heads, *below = table.split("\n")
        lines += [[(heads, "dim")], *([(row, "")] for row in below), []]
    for label, text, kind in _words(found, answers):
        lines += _said(text, look.width, label, kind)
    return lines


def page_so_far(found: SoFar, is_live: bool, look: Look, glyphs: Glyphs, other_axis: bool) -> list[Line]:
    """One that goes on, or ended early."""
    if is_live:
        text = "So far: figures of as many windows as stand behind them. Whether a model is worse is said at the end."
    else:
        text = "It ended early: figures of the windows that were measured."
    lines: list[Line] = [*_said(text, look.width), []]
    lines += _blocks(rows_so_far(found), look, glyphs, other_axis)
    for m in found.models:
        if m.problem:
            lines += _said(f"{m.name}: not measured: {m.problem}", look.width)
    return lines


def _said(text: str, width: int, label: str = "", kind: str = "") -> Iterator[Line]:
    """A sentence, or an empty line for none."""
    yield from ([(line, kind)] for line in folded(label, shown(text, 4000), width) or [""])


def _words(found: Evaluation, answers: Answers) -> Iterator[tuple[str, str, str]]:
    """As the command says it: label, sentence, colour."""
    yield from (("warning: ", text, "odd") for text in found.warnings)
    for f in found.failed:
        yield "", f"{f.name}: not measured: {f.problem}", "broken"
    for m in found.models:
        yield "", "", ""
        yield "", f"{m.name}: {report.sentence(m)}", ""
        yield from (("   not simulated: ", text, "dim") for text in m.left_out)
    if found.against:
        yield "", "", ""
        yield "", f"against {found.models[0].name}:", ""
        yield from (("   ", f"{a.name}: {report.against_said(a)}", "") for a in found.against)
    if answers:
        yield "", "", ""
    for model, task, metrics in answers:
        yield "", f"{model}, {task}: {'; '.join(map(report.answered_said, metrics))}", ""
    yield "", "", ""
    if found.floor is not None:
        yield "", report.floor_said(found.floor), ""
    yield "", "; ".join(report.notes()), "dim"


# --- models side by side ---


def _blocks(of: Rows, look: Look, glyphs: Glyphs, other_axis: bool) -> list[Line]:
    if not of.rows:
        return []
    names = min(max(len(r.name) for r in of.rows), max(12, min(LONGEST_NAME, look.width // 4)))
    blocks = (_ratio(of, glyphs), _kl(of, glyphs), _same_top(of, glyphs))
    numbers = max(len(said_of(i.estimate, block.percent)) for block in blocks for i in block.intervals)
    behind = max(len(i.after) for i in blocks[0].intervals)
    lines: list[Line] = []
    for block in blocks:
        is_told = block is blocks[0] or look.width >= WIDE
        room = Cells(look.width, names, numbers, behind if is_told else 0)
        lines += [*block_lines(block, room, glyphs, other_axis), []]
    return lines


def _ratio(of: Rows, glyphs: Glyphs) -> Block:
    """What the answers rest on."""
    kinds = [KINDS.get(r.answer, "") if r.answer else "" for r in of.rows]
    intervals = [
        Interval(r.name, r.ln_ratio, kind, r.answer or r.state, kind if r.answer else "dim")
        for r, kind in zip(of.rows, kinds, strict=True)
    ]
    noise = None if of.floor is None else of.floor.ratio_most
    legend = [] if noise is None else [f"{glyphs.noise} noise {noise:.2g}"]
    legend += [] if of.margin is None else [f": margin {of.margin:g}"]
    band = None if noise is None or math.isnan(noise) else (-noise, noise)
    return Block("ln(perplexity ratio), above 0 is worse", legend, intervals, 0.0, band, of.margin)


def _kl(of: Rows, glyphs: Glyphs) -> Block:
    floor = _finite(of.floor, "kl")
    legend = [] if floor is None else [f"{glyphs.noise} noise floor {floor:.2g}"]
    intervals = [Interval(r.name, r.kl) for r in of.rows]
    band = None if floor is None else (0.0, floor)
    return Block("KL divergence, mean", legend, intervals, 0.0, band, may_be_log=True)


def _same_top(of: Rows, glyphs: Glyphs) -> Block:
    floor = _finite(of.floor, "same_top")
    legend = [] if floor is None else [f"{glyphs.noise} noise floor {100 * floor:.2f} %"]
    intervals = [Interval(r.name, r.same_top) for r in of.rows]
    band = None if floor is None else (floor, 1.0)
    return Block("Same likeliest token as the reference", legend, intervals, 1.0, band, percent=True)


def _finite(floor: Floor | None, name: str) -> float | None:
    value = math.nan if floor is None else float(getattr(floor, name))
    return None if math.isnan(value) else value
