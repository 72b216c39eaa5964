"""What a run is, as lines: command, settings, surroundings, how it ended, what changed since the last of its name."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from qinspect.inspector.logs.report import settings_table
from qinspect.inspector.runs import compare_specs
from qinspect.inspector.runs.show import Seen, clock, duration, duration_s
from qinspect.inspector.table import Table
from qinspect.tui.names import shown
from qinspect.tui.runs.log_facts import LogFacts
from qinspect.tui.widgets.lines import Piece

Line = list[Piece]
_NAME_WIDTH = 12


def previous_run(seen: Seen, runs: Sequence[Seen]) -> Seen | None:
    """The last run of the same name that was started before this one."""
    mine = seen.run.spec
    before = [s for s in runs if s.run.spec.name == mine.name and s.run.spec.created < mine.created]
    return max(before, key=lambda s: s.run.spec.created, default=None)


def spec_lines(seen: Seen, runs: Sequence[Seen], log: LogFacts, width: int) -> list[Line]:
    """Everything that was asked for, and what became of it. runs: all that there are. log: what it says as a whole."""
    spec, state = seen.run.spec, seen.state
    took = duration_s(seen)
    result = state.result
    lines: list[Line] = []
    facts = [
        ("state", f"{state.state}{f': {state.reason}' if state.reason else ''}"),
        *(("damaged", sentence) for sentence in seen.damage),
        ("took", duration(took) if took is not None and not state.state.is_live else ""),
        ("started", clock(spec.created)),
        ("exit code", "" if not result or result.exit_code is None else str(result.exit_code)),
        ("signal", (result.signal or "") if result else ""),
        ("cancelled", (result.cancelled_by or "") if result else ""),
        ("last error", (result.last_error or "") if result else ""),
        ("last line", (result.last_line or "") if result else ""),
        *(("note", note) for note in (result.notes if result else ())),
        ("run", seen.run.id),
        ("in", spec.cwd),
        ("host", spec.host),
        ("git", f"{spec.git_commit[:12]}{', with changes' if spec.git_dirty else ''}" if spec.git_commit else ""),
        ("log", str(seen.run.log_path)),
    ]
    for name, text in facts:
        if text:
            lines += _fact(name, shown(text, 4000), width)
    lines += [[], [("Command", "accent")], *_command_lines(spec.argv, width)]
    lines += [[], [("Settings", "accent"), ("  as they were asked for, and as they took effect", "dim")]]
    lines += _settings(log, width)
    variables = [*spec.as_dict()["env"].items()]
    if variables:
        lines += [[], [("Variables set for it", "accent")]]
        lines += [line for k, v in variables for line in _fact(shown(k, 60), shown(str(v), 2000), width)]
    if spec.inherited:
        lines += [[], [("Inherited", "accent")]]
        lines += [line for k, v in spec.inherited.items() for line in _fact(shown(k, 60), shown(v, 2000), width)]
    return lines + _changes(seen, runs, width)


def _fact(name: str, text: str, width: int) -> list[Line]:
    """A name and its text, folded under itself."""
    indent = max(_NAME_WIDTH, len(name) + 2)
    parts = textwrap.wrap(text, max(20, width - indent), break_on_hyphens=False) or [""]
    return [[(f"{name if i == 0 else '':<{indent}}", "dim"), (part, "")] for i, part in enumerate(parts)]


def _command_lines(argv: Sequence[str], width: int) -> list[Line]:
    """One option a line, with its values: that is how one reads what was asked for."""
    groups: list[list[str]] = [[]]
    for word in argv:
        if word.startswith("-") and len(word) > 1:
            groups.append([])
        groups[-1].append(shown(word, 2000))
    made: list[Line] = []
    for i, group in enumerate(g for g in groups if g):
        text = " ".join(group)
        parts = textwrap.wrap(text, max(20, width - 4), break_on_hyphens=False) or [text]
        made += [[("  " if i == 0 and j == 0 else "    ", ""), (part, "")] for j, part in enumerate(parts)]
    return made


def _settings(log: LogFacts, width: int) -> list[Line]:
    """What `qinspect logs` prints of settings, of this log."""
    if log.summary is None:
        return [[(f"  {shown(log.problem) if log.problem else 'not known yet: the log is being read'}", "dim")]]
    table = settings_table(log.summary.settings)
    room = max(12, (width - 2 - max((len(row[0]) for row in table.rows), default=0) - len("  DIFFERS") - 4) // 2)
    cut = [[name, *(shown(cell, room) for cell in cells), differs] for name, *cells, differs in table.rows]
    head, *rows = Table(table.columns, cut).text().split("\n")
    if not rows:
        return [[("  not known: neither the command nor the log names one", "dim")]]
    said = [] if any(s.effective is not None for s in log.summary.settings) else [
        [("  The log does not say which took effect.", "dim")]
    ]  # fmt: skip
    differing = [s.differs for s in log.summary.settings]
    return [[(head, "dim")], *([(row, "odd" if d else "")] for row, d in zip(rows, differing, strict=True)), *said]


def _changes(seen: Seen, runs: Sequence[Seen], width: int) -> list[Line]:
    before = previous_run(seen, runs)
    if before is None:
        return [[], [("No run of this name before it.", "dim")]]
    lines: list[Line] = [[], [("Changed since the run before it", "accent"), (f"  {before.run.id}", "dim")]]
    changes = compare_specs(before.run.spec, seen.run.spec)
    if not changes:
        return [*lines, [("  nothing: the same command in the same environment", "")]]
    for field, old, new in changes:
        lines += _fact(f"  {shown(field, 60)}", f"{_side(old)} -> {_side(new)}", width)
    return lines


def _side(text: str | None) -> str:
    return "(absent)" if text is None else shown(text, 500) or "(empty)"
