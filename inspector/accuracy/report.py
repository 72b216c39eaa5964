"""Two accuracies as text and as the JSON of `qinspect accuracy --json`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from qinspect.inspector.accuracy.choosing import scored
from qinspect.inspector.accuracy.comparing import POWER, RULES_OF_THUMB, AccuracyComparison, Paired
from qinspect.inspector.accuracy.found import Found
from qinspect.inspector.accuracy.score import Score
from qinspect.inspector.accuracy.verdict import AccuracyVerdict, points
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.printing import PIPE_WIDTH, folded
from qinspect.inspector.text import count, some, visible

Json = dict[str, Any]


def text(c: AccuracyComparison, v: AccuracyVerdict, width: int | None, notes: Sequence[str] = ()) -> str:
    """The report for people. width: columns of the terminal, None for a pipe. notes: of what is compared."""
    w = width or PIPE_WIDTH
    lines = [*_score_lines("A", c.a, w), *_score_lines("B", c.b, w)]
    lines += [line for note in notes for line in folded("note, ", note, w)]
    lines.append("")
    lines += folded("VERDICT  ", f"{v.text} [{v.kind}]", w)
    lines += folded("  next   ", v.next, w)
    lines.append("")
    for label, content in _rows(c):
        lines += folded(f"{label:<12}", content, w)
    return "\n".join(lines)


def _score_lines(label: str, s: Score, width: int) -> list[str]:
    named = visible(s.name, 240)
    return folded(f"{label}  ", f"{share_text(s)}{f'; {named}' if named else ''}; {visible(s.source, 300)}", width)


def share_text(s: Score) -> str:
    """`53.74 % +- 0.69 of 5,153 items, from its standard error`."""
    derived = ", from its standard error" if s.n_derived else ""
    items = ", each known" if s.items is not None else ""
    return f"{100 * s.share:.2f} % +- {100 * s.standard_error:.2f} of {some(s.n, 'item')}{derived}{items}"


def found_text(f: Found) -> str:
    """An accuracy of a file by itself: `lambada_openai acc: 53.74 % +- 0.69 of 5,153 items`."""
    try:
        score = scored("", f, None)
    except QinspectError:  # of how many items it is cannot be told
        named = ", ".join(x for x in (f.name, "" if f.n_shot is None else f"{f.n_shot}-shot") if x)
        return f"{visible(named or 'accuracy', 240)}: {100 * f.share:.2f} %; of how many items is not known"
    return f"{visible(score.name or 'accuracy', 240)}: {share_text(score)}"


def _rows(c: AccuracyComparison) -> Iterator[tuple[str, str]]:
    interval = f"95 % {points(c.low, signed=True)} .. {points(c.high, signed=True)}"
    yield "B - A", f"{points(c.difference, signed=True)} +- {points(c.error)}; {interval}"
    if c.paired is not None:
        yield "McNemar", _mcnemar(c.paired)
    else:
        yield "test", f"two proportions, z = {c.z:.2f}, p = {c.p:.2g}; takes the items of A and B as independent"
    percent = f"{100 * c.disagreement:.3g} %"
    if c.supposed_p is not None:
        supposed = f"had both been asked the same items and {percent} of the answers differed"
        yield "if paired", f"p about {c.supposed_p:.2g}, {supposed} (supposed; --disagreement)"
    if c.margin is not None and c.equivalence_p is not None:
        yield "TOST", f"equivalent within +-{points(c.margin)}: p = {c.equivalence_p:.2g}"
    yield "detectable", f"{points(c.detectable)}, with {100 * POWER:g} % power at a two-sided 5 %"
    robust, important = (f"{100 * rule:g}" for rule in RULES_OF_THUMB)
    size = abs(c.difference)
    word = "robust" if size < RULES_OF_THUMB[0] else "important" if size > RULES_OF_THUMB[1] else "neither"
    called = f"under {robust} points is called robust, over {important} important; this is {word}"
    needed = ", ".join(f"{100 * rule:g} points about {count(n)}" for rule, n in c.needed)
    yield "thumb", f"a rule without a test: {called}"
    yield "", f"to see them takes, of items asked of both: {needed} ({percent} of the answers differing)"


def _mcnemar(p: Paired) -> str:
    are = "is" if p.n_left_out == 1 else "are"
    left = f"; {some(p.n_left_out, 'item')} {are} not in both and left out" if p.n_left_out else ""
    return (
        f"{some(p.n, 'item')} asked of both: {count(p.n_only_a)} right in A alone, {count(p.n_only_b)} in B alone; "
        f"exact p = {p.exact_p:.2g}, mid-p = {p.mid_p:.2g}{left}"
    )


def payload(c: AccuracyComparison, v: AccuracyVerdict, notes: Sequence[str] = ()) -> Json:
    """The object of --json. Shares are 0 to 1."""
    return {
        "schema": "qinspect.accuracy/1",
        "a": _score(c.a),
        "b": _score(c.b),
        "verdict": {"kind": v.kind, "text": v.text, "weak": v.weak, "next": v.next},
        "difference": c.difference,
        "standard_error": c.error,
        "interval": [c.low, c.high],
        "p": c.p,
        "two_proportions": None if c.z is None else {"z": c.z, "p": c.p},
        "mcnemar": None if c.paired is None else _pairs(c.paired),
        "supposed": None if c.supposed_p is None else {"disagreement": c.disagreement, "p": c.supposed_p},
        "equivalence": None if c.margin is None else {"margin": c.margin, "p": c.equivalence_p},
        "detectable": c.detectable,
        "rules_of_thumb": [{"difference": rule, "items_needed": n} for rule, n in c.needed],
        "notes": list(notes),
    }


def _score(s: Score) -> Json:
    return {
        "share": s.share,
        "n": s.n,
        "n_derived": s.n_derived,
        "standard_error": s.standard_error,
        "source": s.source,
        "task": s.task,
        "metric": s.metric,
        "filter": s.filter,
        "n_shot": s.n_shot,
        "version": s.version,
        "items": s.items is not None,
    }


def _pairs(p: Paired) -> Json:
    return {
        "items": p.n,
        "only_a": p.n_only_a,
        "only_b": p.n_only_b,
        "left_out": p.n_left_out,
        "exact_p": p.exact_p,
        "mid_p": p.mid_p,
    }
