"""A summary of a log as text and as the JSON of `qinspect logs FILE --json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from qinspect.inspector.finding import Finding
from qinspect.inspector.logs.blocks import jsonable
from qinspect.inspector.logs.conclusions import Setting
from qinspect.inspector.logs.ends import both_ends
from qinspect.inspector.logs.rules import value_text
from qinspect.inspector.logs.summary import LogSummary, Message, PointRow
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import count, size, some, visible

MAX_ROWS = 12
"""Rows of points that are printed without --points."""
_NOT_SCORES = ("args", "config", "activation_stats", "reorder_summary")
Shown = Literal["info", "warning", "error"]


def payload(s: LogSummary) -> dict[str, Any]:
    """The object of --json."""
    return {
        "schema": "qinspect.logs/1",
        "path": s.path,
        "bytes": s.n_bytes,
        "lines": s.n_lines,
        "cut_bytes": s.cut_bytes,
        "left_out": s.left_out,
        "notes": [
            {"text": n.text, "rule": n.rule, "severity": str(n.severity), "lines": list(n.where.lines)} for n in s.notes
        ],
        "phases": [
            {
                "name": p.name,
                "text": p.text,
                "line": p.line,
                "time": p.time or None,
                "seconds": p.seconds,
                "progress": p.progress,
            }
            for p in s.phases
        ],
        "settings": [
            {
                "name": x.name,
                "requested": jsonable(x.requested),
                "effective": jsonable(x.effective),
                "differs": x.differs,
                "requested_line": x.requested_line,
                "effective_line": x.effective_line,
            }
            for x in s.settings
        ],
        "points": [
            {"name": name, "rows": [{"line": r.line, "fields": jsonable(r.fields)} for r in rows]}
            for name, rows in s.points.items()
        ],
        "warnings": [_message(m) for m in s.warnings],
        "errors": [{**_message(m), "traceback": m.fields.get("traceback")} for m in s.errors],
        "tables": [{"line": t.line, "columns": list(t.columns), "rows": [list(r) for r in t.rows]} for t in s.tables],
        "results": [{"line": line, "json": content} for line, content in s.results],
    }


def _message(m: Message) -> dict[str, Any]:
    return {
        "text": m.text,
        "count": m.count,
        "line": m.line,
        "last_line": m.last_line,
        "where": m.fields.get("where"),
        "category": m.fields.get("category"),
        "who": m.fields.get("who"),
    }


def text(s: LogSummary, *, shown: Shown = "info", all_points: bool = False) -> str:
    """The report for people. shown: `error` leaves warnings out, and with them everything but the conclusions;
    `warning` keeps them; `info` is all."""
    name = "stdin" if s.path == "-" else visible(s.path)
    parts = [f"{name}  {size(s.n_bytes)}, {some(s.n_lines, 'line')}{_bounds(s)}", _notes(s.notes)]
    if shown == "info":
        parts += [_phases(s), _settings(s)]
        parts += [_points(name, rows, all_points) for name, rows in s.points.items()]
        parts += [_printed_tables(s), _results(s)]
    if shown != "error":
        parts.append(_messages("warning", s.warnings))
    parts.append(_messages("error", s.errors))
    return "\n".join(p for p in parts if p)


def _bounds(s: LogSummary) -> str:
    made = f"; {size(s.cut_bytes)} of long lines not looked at" if s.cut_bytes else ""
    return made + (f"; {count(s.left_out)} more of the same not listed" if s.left_out else "")


def lines_text(lines: tuple[int, ...]) -> str:
    """The lines that a note rests on."""
    if not lines:
        return ""
    return f"line {lines[0]}" if len(lines) == 1 else f"lines {', '.join(map(str, lines))}"


def _notes(notes: list[Finding]) -> str:
    if not notes:
        return "conclusions: none"
    return "conclusions\n" + "\n".join(
        f"  {visible(n.text)}" + (f"  ({lines_text(n.where.lines)})" if n.where.lines else "") for n in notes
    )


def _phases(s: LogSummary) -> str:
    rows = []
    for p in s.phases:
        bar = p.progress
        done = "" if bar is None else f"{value_text(bar['done'])}"
        done += f"/{value_text(bar['total'])}" if bar and bar["total"] is not None else ""
        took = "" if p.seconds is None else f"{p.seconds:,.1f} s"
        rows.append([str(p.line), p.time.replace("T", " "), took, p.name, done])
    columns = (Column("line", True), Column("time"), Column("took", True), Column("phase"), Column("progress", True))
    return "phases\n" + Table(columns, rows).without_empty().text() if rows else ""


def _settings(s: LogSummary) -> str:
    table = settings_table(s.settings).without_empty()
    return f"settings (? where the log does not say)\n{table.text()}" if s.settings else ""


def settings_table(settings: Sequence[Setting]) -> Table:
    """Each setting as it was asked for, and as it took effect; ? where that is not said."""

    def shown(value: Any) -> str:
        return "?" if value is None else value_text(value)

    rows = [[x.name, shown(x.requested), shown(x.effective), "DIFFERS" if x.differs else ""] for x in settings]
    return Table((Column("setting"), Column("requested"), Column("effective"), Column("")), rows)


def _points(name: str, rows: list[PointRow], everything: bool) -> str:
    kept = rows if everything or len(rows) <= MAX_ROWS else [*rows[: MAX_ROWS // 2], *rows[-MAX_ROWS // 2 :]]
    names = list(dict.fromkeys(k for r in kept for k in r.fields))
    columns = (Column("line", True), *(Column(visible(n, 40), right=True) for n in names))
    cells = [[str(r.line), *(_cell(r.fields.get(n, "")) for n in names)] for r in kept]
    title = f"{visible(name, 80)}: {some(len(rows), 'row')}"
    if len(kept) < len(rows):
        title += f", the first and last {MAX_ROWS // 2}; --points prints all"
    return f"{title}\n{Table(columns, cells).text()}"


def _cell(value: Any) -> str:
    return visible(value_text(value), 80)


def _printed_tables(s: LogSummary) -> str:
    made = []
    for t in s.tables:
        columns = tuple(Column(c) for c in t.columns)
        made.append(f"table (line {t.line})\n{Table(columns, t.rows).text()}")
    return "\n".join(made)


def _results(s: LogSummary) -> str:
    made = []
    for line, content in s.results:
        numbers = [f"{visible(k, 80)} {v}" for k, v in _numbers("", content) if "stderr" not in k]
        more = f", and {len(numbers) - MAX_ROWS} more" if len(numbers) > MAX_ROWS else ""
        made.append(f"  line {line}: {', '.join(numbers[:MAX_ROWS]) or 'no numbers'}{more}")
    return "results (--json prints them)\n" + "\n".join(made) if made else ""


def _numbers(prefix: str, content: dict[str, Any], depth: int = 0) -> list[tuple[str, Any]]:
    """The scores in an object, by their path; settings and per-tensor statistics are left out."""
    made: list[tuple[str, Any]] = []
    for key, value in content.items():
        if isinstance(value, dict) and depth < 3 and key not in _NOT_SCORES:
            made += _numbers(f"{prefix}{key} ", value, depth + 1)
        elif (isinstance(value, (int, float)) and not isinstance(value, bool)) or value in ("inf", "-inf", "nan"):
            made.append((prefix + key, value))
    return made


def _messages(kind: str, messages: list[Message]) -> str:
    made = []
    for m in messages:
        times = f" (x{count(m.count)})" if m.count > 1 else ""
        category = f"{m.fields['category']}: " if m.fields.get("category") else ""
        made.append(f"  line {m.line}{times}  {category}{visible(both_ends(m.text, 400))}")
        if m.fields.get("traceback"):
            made += [f"    {visible(line)}" for line in str(m.fields["traceback"]).split("\n")]
    n = sum(m.count for m in messages)
    different = f", {len(messages)} different" if len(messages) != n else ""
    return f"{some(n, kind)}{different}\n" + "\n".join(made) if made else ""
