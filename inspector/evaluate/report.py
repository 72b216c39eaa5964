"""An evaluation for people."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qinspect.inspector.evaluate.intervals import Estimate
from qinspect.inspector.evaluate.results import (
    Against,
    Answer,
    Answered,
    EngineFigures,
    Evaluation,
    Floor,
    ModelFigures,
)
from qinspect.inspector.printing import PIPE_WIDTH, folded
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import count, number, some, visible

if TYPE_CHECKING:
    from qinspect.inspector.accuracy import AccuracyComparison
    from qinspect.inspector.evaluate.answers import TaskFigures
    from qinspect.inspector.evaluate.best import Best


def evaluation_text(found: Evaluation, width: int | None) -> str:
    """The report."""
    w = width or PIPE_WIDTH
    lines = folded("", f"{count(found.n_tokens)} predicted tokens in {some(found.n_windows, 'window')}", w)
    lines += [f"reference: {visible(found.reference)}", ""]
    lines += table_of(found).text("").splitlines()
    if found.floor is not None:
        lines += ["", *folded("", floor_said(found.floor), w)]
    for f in found.failed:
        lines += ["", *folded("", f"{visible(f.name)}: not measured: {f.problem}", w)]
    for m in found.models:
        lines += ["", *folded("", f"{visible(m.name)}: {sentence(m)}", w)]
        if m.n_caches:
            lines += folded("   simulated: ", caches_said(m.n_caches), w)
        for text in m.left_out:
            lines += folded("   not simulated: ", text, w)
    if found.against:
        lines += ["", f"against {visible(found.models[0].name)}:"]
        for a in found.against:
            lines += folded("  ", f"{visible(a.name)}: {against_said(a)}", w)
    if found.best is not None:
        lines += ["", *folded("", best_said(found.best), w)]
    for t in found.tasks:
        lines += ["", *folded("", f"{visible(t.model)}, {visible(t.task)}: {task_said(t)}", w)]
    lines += _engines(found, w)
    for text in found.warnings:
        lines += ["", *folded("warning: ", text, w)]
    lines += ["", *folded("", "; ".join(notes()), w)]
    return "\n".join(lines)


def best_said(b: Best) -> str:
    """Which it is, by what documents, and whether the others say so too."""
    text = f"best of {b.n_models} by perplexity in every second document ({b.n_chose}): {visible(b.name)}, "
    text += f"ln(perplexity ratio) {said(b.chose)} there; in the other {b.n_tested}, which had no part in the choice, "
    text += f"{said(b.tested)}, and against the next best, {visible(b.second)}, {said(b.against_second)}: "
    if b.holds:
        return f"{text}better there too"
    return f"{text}{'worse there' if b.against_second.low > 0 else 'not separable there'}"


def _engines(found: Evaluation, width: int) -> Iterator[str]:
    """What a library makes of the same files."""
    alone = {m.name: m for m in found.models}
    for e in found.engines:
        yield from ("", *folded("", f"{visible(e.name)}: {engine_said(e, alone[e.name])}", width))
    for f in found.engines_failed:
        yield from ("", *folded("", f"{visible(f.name)}, through the library: not measured: {f.problem}", width))
    if found.engines:
        told = "not known" if found.engine_control is None else f"{found.engine_control:.2g}"
        yield from ("", *folded("", f"the reference through the library, against the reference here: KL {told}", width))


def engine_said(e: EngineFigures, alone: ModelFigures) -> str:
    """Three distances, and whose they are."""
    text = f"the file's numbers alone KL {said(alone.kl)}, through {visible(e.engine, 200)} KL {said(e.figures.kl)}"
    text += f", between the two KL {said(e.between.kl)}, same top {100 * e.between.same_top.value:.2f} %; the library "
    ratio = f"ln(perplexity ratio) {said(e.between.ln_ratio)}"
    if e.between.answer is Answer.EQUAL:
        text += "predicts what the file's numbers do, to the last bit"
    elif e.between.answer is Answer.EQUIVALENT:
        text += f"is equivalent to the file's numbers within {e.between.margin:g}: {ratio}"
    elif e.between.answer is Answer.UNRESOLVED:
        text += f"is not separable from the file's numbers: {ratio}"
    else:
        text += f"is {e.between.answer} than the file's numbers: {ratio}"
    modules = ", ".join(f"{n} {visible(kind, 100)}" for kind, n in e.modules.items())
    how = "it holds dequantized weights" if e.dequantized else "it runs"
    return f"{text}; {how}: {modules}"


def task_said(t: TaskFigures) -> str:
    """Of each metric how many are right, by how much that differs, and by what items."""
    return "; ".join(answered_said(_answered(metric, c)) for metric, c in t.metrics.items())


def _answered(metric: str, c: AccuracyComparison) -> Answered:
    only = (None, None) if c.paired is None else (c.paired.n_only_a, c.paired.n_only_b)
    return Answered(
        metric, c.b.n, c.b.share, c.a.share, 100 * c.difference, 100 * c.low, 100 * c.high, only[0], only[1], c.p
    )


def answered_said(a: Answered) -> str:
    """One metric of it."""
    text = f"{a.metric} {a.share:.2%} of {some(a.n, 'item')}, the reference's {a.share_reference:.2%}: {a.points:+.2f}"
    text += f" points [{a.low:+.2f}, {a.high:+.2f}]"
    if a.n_only_reference is None:
        return text
    only = f"{a.n_only_reference} right in the reference alone, {a.n_only_model} in the model alone"
    return f"{text}; {only}, McNemar p {a.p:.2g}"


def notes() -> Iterator[str]:
    """What every evaluation here is."""
    yield "weights are dequantized into the reference's modules and activations rounded at its points: one executor"
    yield "intervals: block bootstrap over windows, 95 %"


def table_of(found: Evaluation) -> Table:
    """A row a model."""
    columns = (
        Column("model"), Column("bits", True), Column("perplexity", True), Column("ln ratio", True, 3),
        Column("KL", True, 2), Column("KL median", True, 4), Column("KL 99 %", True, 5), Column("same top", True, 1),
        Column("accuracy", True),
    )  # fmt: skip
    rows = [
        [
            visible(m.name), "" if m.bits_per_weight is None else f"{m.bits_per_weight:.3f}", number(m.perplexity),
            said(m.ln_ratio), said(m.kl), number(m.kl_quantiles[0.5]), number(m.kl_quantiles[0.99]),
            f"{100 * m.same_top.value:.2f} %", f"{100 * m.accuracy.value:.2f} %",
        ]
        for m in found.models
    ]  # fmt: skip
    return Table(columns, rows)


def said(e: Estimate) -> str:
    """`0.0123 [0.0101, 0.0147]`."""
    if math.isnan(e.low):
        return number(e.value)
    return f"{e.value:.4g} [{e.low:.4g}, {e.high:.4g}]"


def caches_said(n: int) -> str:
    """Of the keys and the values of a layer, each is one."""
    return f"the KV cache: {some(n, 'point')} of keys or values, rounded where attention sees them, after rotary"


def floor_said(floor: Floor) -> str:
    """What no figure below means anything under."""
    return (
        f"noise floor: rounding noise of half a bfloat16 step behind every block of the reference gives KL "
        f"{floor.kl:.2g} (at most {floor.kl_most:.2g} of {some(floor.seeds, 'seed')}), |ln ratio| up to "
        f"{floor.ratio_most:.2g} and the same likeliest token in {100 * floor.same_top:.2f} % "
        f"({some(floor.n_windows, 'window')})"
        f"{batch_said(floor)}"
    )


def batch_said(floor: Floor) -> str:
    """What sharing a forward does."""
    if not floor.batch:
        return ""
    against = (
        f"{floor.batch} windows in one forward against one alone" if floor.batch > 1
        else "each window alone against those in one forward"
    )  # fmt: skip
    return (
        f"; {against}: KL {floor.batch_kl:.2g}, |ln ratio| {floor.batch_ratio:.2g}, the same likeliest token in "
        f"{100 * floor.batch_same_top:.2f} %"
    )


def against_said(a: Against) -> str:
    """`scales differ by up to 73 %, accuracy by 0.1 points [-0.2, 0.3]: robust within 0.5 points`."""
    if math.isnan(a.accuracy.value):
        return "nothing can be said: no token has finite logits in both"
    accuracy = f"accuracy by {a.accuracy.value:+.2f} points"
    if math.isnan(a.accuracy.low):
        told = f"{accuracy}; too few windows to say how sure that is"
    else:
        told = f"{accuracy} [{a.accuracy.low:+.2f}, {a.accuracy.high:+.2f}]"
        if a.robust:
            told += f": robust within {a.margin:g} points"
        elif a.accuracy.low <= 0 <= a.accuracy.high:
            told += f": not resolved within {a.margin:g} points; what these tokens would mostly show is "
            told += f"{a.accuracy.smallest:.2g} points"
        else:
            told += f": {'more' if a.accuracy.value > 0 else 'less'} accurate"
    scales = "" if a.scales_percent is None else f"scales differ by up to {a.scales_percent:.3g} %, "
    return f"{scales}{told}; ln(perplexity ratio) {said(a.ln_ratio)}"


def sentence(m: ModelFigures) -> str:
    """What may be concluded."""
    if m.n == m.n_not_finite:
        return f"nothing can be said: none of {some(m.n, 'token')} has finite logits; qinspect lint looks for the cause"
    ratio = f"ln(perplexity ratio) {said(m.ln_ratio)}"
    if m.answer is Answer.EQUAL:
        text = "every prediction is that of the reference, to the last bit"
    elif m.answer is Answer.EQUIVALENT:
        text = f"equivalent within {m.margin:g}: {ratio}"
    elif m.answer is Answer.UNRESOLVED:
        text = f"not separable from the reference: {ratio}"
        if not math.isnan(m.ln_ratio.smallest):
            text += f"; these tokens would mostly show {m.ln_ratio.smallest:.2g}"
    else:
        text = f"{m.answer} than the reference: {ratio}"
    bad = f"; {some(m.n_not_finite, 'token')} without a finite logit are in no figure" if m.n_not_finite else ""
    return f"{text}{bad}"
