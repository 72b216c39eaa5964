"""What the log says as a whole: its conclusions, in the words of `qinspect logs`, and the accuracies in it."""

from __future__ import annotations

from qinspect.inspector.finding import Severity
from qinspect.inspector.logs import LogSummary
from qinspect.inspector.logs.report import lines_text
from qinspect.inspector.printing import folded
from qinspect.inspector.text import shell_words, size, some
from qinspect.tui.names import shown
from qinspect.tui.runs.log_facts import MOST_BYTES, LogFacts
from qinspect.tui.runs.shown_run import ShownRun
from qinspect.tui.runs.view import Lines, TextView
from qinspect.tui.widgets.lines import Piece

_COLOURS = {Severity.ERROR: "broken", Severity.WARNING: "odd"}
MOST_LISTED = 200
"""Conclusions and accuracies that are shown; `qinspect logs` prints all."""


class ConclusionsPane(TextView):
    """Read when it is looked at: of a log that grows, what came since."""

    NAME = "conclusions"
    needs_log = True

    def lines(self, width: int) -> Lines:
        return conclusion_lines(self.shown, width)

    @property
    def count(self) -> int:
        summary = self.shown.facts.summary if self.shown else None
        return len(summary.notes) if summary else 0


def conclusion_lines(run: ShownRun | None, width: int) -> list[list[Piece]]:
    """Everything that is known, or why nothing is."""
    if run is None:
        return [[("no run is chosen", "")]]
    facts = run.facts
    summary = facts.summary
    if summary is None:
        return [[(shown(facts.problem) if facts.problem else "not known yet: the log is being read", "dim")]]
    lines: list[list[Piece]] = [[("Conclusions", "accent")], *_conclusions(summary, facts.is_final, width)]
    lines += [[], [("Accuracies", "accent")], *_accuracies(summary, width), []]
    ends = [line for text in (_origin(facts, summary), _command(summary)) for line in folded("", text, width)]
    return lines + [[(line, "dim")] for line in ends]


def _conclusions(summary: LogSummary, is_final: bool, width: int) -> list[list[Piece]]:
    lines: list[list[Piece]] = []
    for note in summary.notes[:MOST_LISTED]:
        where = f"  ({lines_text(note.where.lines)})" if note.where.lines else ""
        text = f"{shown(note.text, 4000)}{where}"
        lines += [[(line, _COLOURS.get(note.severity, ""))] for line in folded("  ", text, width)]
    if not lines:
        lines = [[("  none" if is_final else "  none so far", "")]]
    return lines + _left(len(summary.notes))


def _accuracies(summary: LogSummary, width: int) -> list[list[Piece]]:
    """Imported now: most who watch runs never look at it."""
    from qinspect.inspector.accuracy.reading import shares_of
    from qinspect.inspector.accuracy.report import found_text

    found = list(shares_of(summary))
    lines: list[list[Piece]] = [
        [(line, "")] for f in found[:MOST_LISTED] for line in folded("  ", found_text(f), width)
    ]
    return (lines or [[("  none in the log", "")]]) + _left(len(found))


def _left(n: int) -> list[list[Piece]]:
    return [[(f"  and {n - MOST_LISTED:,} more", "dim")]] if n > MOST_LISTED else []


def _origin(facts: LogFacts, summary: LogSummary) -> str:
    if facts.too_large:
        return (
            f"The log has {size(summary.n_bytes)}: over {size(MOST_BYTES)} it is not read for this. These are the "
            "conclusions that were drawn while it ran."
        )
    told = f"{size(summary.n_bytes)}, {some(summary.n_lines, 'line')}"
    return (
        f"All of the log: {told}."
        if facts.is_final
        else f"So far: {told}. What only the end of a log shows is to come."
    )


def _command(summary: LogSummary) -> str:
    return f"$ qinspect logs {shell_words([summary.path])}"
