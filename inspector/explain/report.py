"""The page: sections of sentences and tables, as text, as Markdown, and as the JSON of `qinspect explain --json`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from qinspect.inspector.compare.payload import reason
from qinspect.inspector.compare.results import Status
from qinspect.inspector.explain.claims import Claim, said
from qinspect.inspector.explain.explanation import Explanation, alpha_said
from qinspect.inspector.explain.reach import PlaceFinding, Reacted
from qinspect.inspector.explain.settings import DeclaredSetting
from qinspect.inspector.formats import Format
from qinspect.inspector.printing import PIPE_WIDTH, folded
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import percent, some, visible

Json = dict[str, Any]
_SETTINGS = (
    *(Column("setting"), Column("A", True), Column("B", True), Column("said by", drop=2)),
    *(Column("can reach", drop=3), Column("differ", True)),
)
_PLACES = (
    *(Column("activation scales"), Column("alpha", drop=3), Column("n", True), Column("differ", True)),
    *(Column("up", True, drop=1), Column("down", True, drop=1), Column("largest", True)),
    *(Column("beyond noise", True, drop=2),),
)
_MAX_SETTINGS = 12
_SAID_ELSEWHERE = ("config-differs", "claim-agrees", "claim-contradicted", "rule-of-thumb", "dead-parameter")
"""Rules of the comparison whose content has a section of its own here."""


@dataclass(frozen=True)
class Section:
    """A heading, sentences, and a table below them."""

    title: str
    sentences: list[str] = field(default_factory=list)
    table: Table | None = None


def sections(e: Explanation) -> list[Section]:
    """The page, from the answer to the next experiment."""
    c = e.comparison
    answer = [f"{e.answer.text} [{e.answer.rule}]"]
    if e.rivals:
        one = len(e.rivals) == 1
        they = f"{'is' if one else 'are'} declared to differ too, and {'reaches' if one else 'reach'}"
        answer.append(f"But {', '.join(e.rivals)} {they} the same scales.")
    made = [Section("ANSWER", answer), _declared(e), Section("CHECKED", list(_checked(e)))]
    made.append(Section("REACHED", [alpha_said(e), *_why_unreached(e)]))
    shown = [p for p in e.places if p.n_differ]
    a, same = e.activations, e.activations.n - e.activations.n_differ
    sentences = [f"{same} of {some(a.n, 'activation scale')} {'is' if same == 1 else 'are'} the same."]
    if a.n_apart:
        sentences.append(f"{some(a.n_apart, 'activation scale')} of A or B cannot be compared with one in the other.")
    made.append(Section("REACTED", [*sentences, *_weights(e)], Table(_PLACES, [_place_cells(p) for p in shown])))
    reasons = [r for r in (c.headline, *c.reasons) if r.rule not in _SAID_ELSEWHERE and r.rule != e.answer.rule]
    made.append(Section("EVIDENCE", [f"{r.text} [{r.rule}]" for r in reasons if r.rule != "alpha-is-dead"]))
    made.append(Section("NEXT", list(e.next)))
    return [s for s in made if s.sentences or (s.table and s.table.rows)]


def _checked(e: Explanation) -> Iterator[str]:
    if e.runs:
        for claim in e.claims:
            asked = claim.verdict is not None or claim.holds
            yield said(claim) if asked else f"{said(claim)} The calibration at hand is not of this model."
    elif any(claim.declared for claim in e.claims):
        yield "No calibration was at hand: nothing says whether the alphas are those that are declared."


def _declared(e: Explanation) -> Section:
    if not e.settings:
        return Section("DECLARED", ["No setting is declared to differ: no name, no provenance and no config says so."])
    rows = [_setting_cells(s, r) for s, r in e.settings[:_MAX_SETTINGS]]
    left = len(e.settings) - len(rows)
    keys = "more key differs" if left == 1 else "more keys differ"
    more = [f"{left} {keys}: `qinspect explain --json` lists all."] if left else []
    return Section("DECLARED", ["Claims, not evidence:", *more], Table(_SETTINGS, rows))


def _setting_cells(s: DeclaredSetting, r: Reacted | None) -> list[str]:
    differ = "" if r is None else f"{r.n_differ} of {r.n}" if r.n else "nothing there"
    return [s.name, s.a or "-", s.b or "-", s.where, s.reach.says if s.reach else "", differ]


def _place_cells(p: PlaceFinding) -> list[str]:
    largest = "" if p.largest is None else percent(p.largest)
    return [
        p.place, "yes" if p.alpha_sensitive else "", str(p.n), str(p.n_differ), str(p.n_up), str(p.n_down), largest,
        str(p.n_beyond),
    ]  # fmt: skip


def _why_unreached(e: Explanation) -> Iterator[str]:
    """The comparison's own words for it."""
    yield from (r.text for r in e.comparison.reasons if r.rule == "alpha-is-dead")


def _weights(e: Explanation) -> Iterator[str]:
    c = e.comparison
    if not c.weights_compared:
        yield "Codes and other tensors were not compared: `--codes` reads them."
        return
    differ = sum(not w.status.counts_as_same for w in c.weights)
    scales = [p for p in c.scales if p.record.kind == "weight"]
    changed = sum(p.status is not Status.NOT_COMPARED and not p.status.counts_as_same for p in scales)
    yield (
        f"Of {some(len(c.weights), 'code or other tensor')} {differ or 'none'} "
        f"{'differs' if differ in (0, 1) else 'differ'}, of {some(len(scales), 'weight scale')} {changed or 'none'}."
    )


def text(e: Explanation, width: int | None) -> str:
    """For people. width: columns of the terminal, None for a pipe."""
    w = width or PIPE_WIDTH
    lines = [x for m in heads(e) for x in folded(m[:5], m[5:], width)] if width else heads(e)
    for s in sections(e):
        lines += ["", *folded(f"{s.title:<10}", s.sentences[0] if s.sentences else "", w)]
        for sentence in s.sentences[1:]:
            lines += folded(" " * 10, sentence, w)
        if s.table and s.table.rows:
            kept = s.table.without_empty()
            lines.append(kept.rich(width) if width else kept.text())
    return "\n".join(lines)


def heads(e: Explanation) -> list[str]:
    """What the page is about: both models, and the runs that were asked, each behind five cells."""
    models = [_model("A", e.comparison.a), _model("B", e.comparison.b)]
    return models + [f"run  {visible(run)}" for run in e.runs]


def markdown(e: Explanation) -> str:
    """The same page as Markdown, to paste where it was asked."""
    models = (("A", e.comparison.a), ("B", e.comparison.b))
    lines = ["# Did it take effect?", "", *(f"- **{m}** {_escaped(_model('', f).strip())}" for m, f in models)]
    lines += [f"- **run** {_escaped(run)}" for run in e.runs]
    for s in sections(e):
        lines += ["", f"## {s.title.capitalize()}", ""]
        lines += [f"- {_escaped(x)}" for x in s.sentences] if len(s.sentences) > 1 else map(_escaped, s.sentences)
        if s.table and s.table.rows:
            lines += ["", s.table.without_empty().markdown()]
    return "\n".join(lines)


def _escaped(sentence: str) -> str:
    """Text in which only our own code spans are marks."""
    return visible(sentence).replace("*", "\\*").replace("<", "&lt;").replace("](", "]\\(")


def _model(label: str, fmt: Format) -> str:
    return f"{label}    {visible(str(fmt.checkpoint.path))}: {visible(fmt.description, 200)}"


def payload(e: Explanation) -> Json:
    """The object of --json."""
    c = e.comparison
    return {
        "schema": "qinspect.explain/1",
        "a": {"path": str(c.a.checkpoint.path), "format": c.a.description},
        "b": {"path": str(c.b.checkpoint.path), "format": c.b.description},
        "runs": list(e.runs),
        "answer": reason(e.answer),
        "declared": [
            {
                "setting": s.name, "a": s.a, "b": s.b, "said_by": s.where,
                "reach": s.reach.says if s.reach else None, "reacted": _reacted(r),
            }
            for s, r in e.settings
        ],
        "claims": [_claim(claim) for claim in e.claims],
        "alpha": {"says": alpha_said(e), **(_reacted(e.alpha) or {})},
        "places": [
            {
                "place": p.place, "alpha_sensitive": p.alpha_sensitive, "n": p.n, "up": p.n_up, "down": p.n_down,
                "mixed": p.n_mixed, "largest_percent": p.largest, "beyond_noise": p.n_beyond,
            }
            for p in e.places
        ],
        "rivals": list(e.rivals),
        "evidence": [reason(r) for r in (c.headline, *c.reasons)],
        "next": list(e.next),
    }  # fmt: skip


def _reacted(r: Reacted | None) -> Json | None:
    return None if r is None else {"compared": r.n, "differ": r.n_differ, "not_comparable": r.n_apart}


def _claim(c: Claim) -> Json:
    v = c.verdict
    return {
        "model": c.model,
        "declared": None if c.declared is None else {"alpha": c.declared.text, "said_by": c.declared.where},
        "found": None if v is None else {
            "kind": v.kind, "rule": v.rule, "text": v.text,
            "alpha": None if v.interval is None else [v.interval.low, v.interval.high],
        },
        "holds": c.holds,
        "says": said(c),
    }  # fmt: skip
