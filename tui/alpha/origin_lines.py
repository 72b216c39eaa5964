"""Where scales come from, as lines: the answers, one point by every rule, the best alpha, all scales. The sentences and
the cells are those of `qinspect whence`."""

from __future__ import annotations

from collections.abc import Sequence

from qinspect.inspector.alpha.recover import report
from qinspect.inspector.alpha.sweep.best import CRITERION
from qinspect.inspector.alpha.sweep.wording import alpha_text, decibels
from qinspect.inspector.printing import folded
from qinspect.inspector.roles import strip_root
from qinspect.inspector.table import Table
from qinspect.tui.alpha.origin import Origin, Origins
from qinspect.tui.key_names import key
from qinspect.tui.look import Line
from qinspect.tui.names import in_locale

INDENT = 2
LETTERS = {"A": "a", "B": "b"}


def origin_lines(found: Origins, name: str, bits: int, width: int, can_apply: bool) -> list[Line]:
    """name: of the point that is looked at. bits: of its codes. can_apply: whether the best alpha can be put into A."""
    lines: list[Line] = []
    for one in found.of:
        lines += _verdict(one, width)
    lines += ["", *_this_scale(found.of, name, width, of_all=True), "", *_best(found, name, bits, width, can_apply)]
    for one in found.of:
        if one.answers is not None and one.recovery is not None:
            lines += _everything(one, width)
    return lines


def point_lines(of: Sequence[Origin], name: str, width: int) -> list[Line]:
    """What is known of one scale in each checkpoint before the others were asked."""
    return _this_scale(of, name, width, of_all=False)


def _this_scale(of: Sequence[Origin], name: str, width: int, of_all: bool) -> list[Line]:
    lines: list[Line] = [[(f"THIS SCALE  {in_locale(name)}"[:width], "name")]]
    for one in of:
        lines += _of_point(one, name, width, of_all)
    return lines


def _verdict(one: Origin, width: int) -> list[Line]:
    """The first sentence, in full."""
    kind = LETTERS.get(one.label, "accent")
    if one.recovery is None:
        return _sentence(one.label, one.problem, width, "odd")
    first, *rest = _folded(f"{one.label:<2}", f"{one.recovery.text} [{one.recovery.kind}]", width)
    return [[(first[:2], kind), (first[2:], "name")], *([(line, "name")] for line in rest)]


def _of_point(one: Origin, name: str, width: int, of_all: bool) -> list[Line]:
    """What is known of the scale, and every rule's alphas. of_all: with whether they fit all, which were asked."""
    if one.answers is None:
        return []
    roles = [r for r in _roles(one) if strip_root(r) == strip_root(name)]
    if not roles:
        return _sentence(one.label, "has no scale of this point", width)
    lines: list[Line] = []
    for said in report.scale_said(one.answers, roles[0]):
        lines += _sentence(one.label, said, width)
    table = report.scale_table(one.answers, roles[0])
    if table is not None and not of_all:
        table = Table(table.columns[:-1], [row[:-1] for row in table.rows])
    return lines + (_table(table, width) if table is not None and table.rows else [])


def _roles(one: Origin) -> list[str]:
    f = one.answers
    assert f is not None
    return [*(p.role for p in f.points), *(r.role for r in f.references), *(r for u in f.unasked for r in u.roles)]


def _best(found: Origins, name: str, bits: int, width: int, can_apply: bool) -> list[Line]:
    heading: Line = [(f"BEST ALPHA, by {found.rule}, {bits} bits"[:width], "header")]
    if found.grid is None:
        return [heading, *_sentence("", found.problem, width, "odd")]
    lines: list[Line] = [heading]
    at = found.best_of(name, bits)
    text = "no alpha is better than another" if at is None else f"alpha {alpha_text(at[0])} loses {decibels(at[1])} dB"
    lines += _sentence("", f"this point: {text}", width)
    one = found.best_to_apply(bits)
    if one is None or one.alpha is None:
        return lines
    of = "points that the recipe has an alpha for" if one.what == "reached" else "all points"
    lost = f"loses {decibels(one.mean_db)} dB on average, at most {decibels(one.worst_db)} at {one.worst}"
    lines += _sentence("", f"{one.n} {of}: alpha {alpha_text(one.alpha)} {lost}", width)
    does = f"{key('apply_alpha')} puts alpha {alpha_text(one.alpha)} into A, in a new checkpoint. " if can_apply else ""
    return lines + [[(line, "dim")] for line in _folded("  ", f"{does}Best: {CRITERION}.", width)]


def _everything(one: Origin, width: int) -> list[Line]:
    """The whole answer of the command line."""
    f, v = one.answers, one.recovery
    assert f is not None
    assert v is not None
    kind = LETTERS.get(one.label, "accent")
    lines: list[Line] = [
        "",
        *([(x, kind)] for x in _folded(f"{one.label:<2}", f"{f.checkpoint}, {f.description}", width)),
    ]
    lines += [in_locale(line) for line in report.verdict_lines(v, width)]
    if f.rules:
        lines += ["", [("RULES", "header")], *_table(report.rules_table(f), width)]
        for r in f.rules:
            lines += [[(line, "dim")] for line in _folded(f"  {r.named.name}: ", r.named.says, width)]
        lines += ["", *([(line, "header")] for line in _folded("SCALES, by ", report.scales_by(f), width))]
        lines += _table(report.scales_table(f), width)
    return lines


def _sentence(label: str, text: str, width: int, kind: str = "") -> list[Line]:
    first, *rest = _folded(f"{label:<2}", text, width)
    return [[(first[:2], LETTERS.get(label, "")), (first[2:], kind)], *([(line, kind)] for line in rest)]


def _folded(label: str, text: str, width: int) -> list[str]:
    return [in_locale(line) for line in folded(label, text, width)]


def _table(table: Table, width: int) -> list[Line]:
    head, *rows = table.without_empty().fitted(width - INDENT).text(" " * INDENT).splitlines()
    return [[(in_locale(head), "header")], *([(in_locale(row), "")] for row in rows)]
