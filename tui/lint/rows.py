"""What the list of findings shows, row by row: findings, the worse first, and below those that are open their places;
then what was looked at. No Textual in here."""

from __future__ import annotations

from dataclasses import dataclass

from qinspect.inspector.finding import Severity
from qinspect.inspector.lint.check import RANK, Lint, RuleFinding
from qinspect.inspector.lint.report import not_looked_at
from qinspect.inspector.lint.rule import Place
from qinspect.inspector.text import some
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.labels import fill, fill_name
from qinspect.tui.names import shown
from qinspect.tui.widgets.lines import Piece

PLACES_OPENED = 2000
"""Of one finding: a list of 60,000 places is read by nobody, and the worst are first."""
_KINDS = {Severity.ERROR: "broken", Severity.WARNING: "up", Severity.NOTE: "dim", Severity.FINE: "same"}
FindingKey = tuple[str, str, str]
"""`RuleFinding.key`."""
LEVELS = (Severity.NOTE, Severity.WARNING, Severity.ERROR)


@dataclass(frozen=True, slots=True)
class Row:
    """finding: what it is of; None of a row that says what was not checked. place: of it; None for the finding itself.
    text: of a row that is neither."""

    finding: RuleFinding | None
    place: Place | None = None
    text: str = ""

    @property
    def finding_key(self) -> FindingKey | None:
        """That of its finding."""
        return None if self.finding is None else self.finding.key


def rows_of(found: Lint, opened: set[FindingKey], least: Severity) -> list[Row]:
    """Findings that are at least so severe, with the places of those that are open, told by their keys."""
    rows: list[Row] = []
    for finding in found.findings:
        if RANK.index(finding.severity) < RANK.index(least):
            continue
        rows.append(Row(finding))
        if finding.key in opened:
            rows.extend(Row(finding, place) for place in finding.places[:PLACES_OPENED])
            left = len(finding.places) - PLACES_OPENED
            if left > 0:
                rows.append(Row(finding, text=f"{some(left, 'more place')}: qinspect lint -v lists them"))
    return [*rows, *(Row(None, text=f"{label}{said}") for label, said in not_looked_at(found))]


def row_pieces(row: Row, width: int, g: Glyphs, is_open: bool, two: bool) -> list[Piece]:
    """One line. two: models were looked at, so which one is said."""
    if row.finding is None:
        return [(fill(shown(row.text, 400), width, g.cut), "dim")]
    if row.place is not None:
        return _place_pieces(row.place, width, g)
    if row.text:
        return [(fill(f"      {row.text}", width, g.cut), "dim")]
    finding = row.finding
    mark = (g.opened if is_open else g.closed) if finding.places else " "
    of = f"{finding.model} " if two else ""
    head = f"{mark} {of}{finding.rule.code} "
    severity = f"{finding.severity} "
    text = fill(shown(finding.found.text, 400), max(0, width - len(head) - len(severity)), g.cut)
    return [(head, "name"), (severity, _KINDS[finding.severity]), (text, "")]


def _place_pieces(place: Place, width: int, g: Glyphs) -> list[Piece]:
    """The name, cut in its middle, and as much of what is there as fits."""
    from qinspect.inspector.text import number

    index = str(list(place.index)) if place.index else ""
    value = "" if place.value is None else f" = {number(place.value)}"
    said = shown(f"{value}{': ' if place.text else ''}{place.text}", 300)
    name = shown(f"{place.key}{index}", 400)
    room = max(8, width - 4)
    for_said = min(len(said), max(room // 2, room - len(name)))
    left = fill_name(name, min(len(name), room - for_said), g.cut)
    return [("    ", ""), (left, ""), (fill(said, max(0, room - len(left)), g.cut), "accent")]
