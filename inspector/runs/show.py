"""Runs as text and as JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qinspect.inspector.errors import CannotRead
from qinspect.inspector.runs.journal import RunEvent, missing, read_all_events, read_last_events
from qinspect.inspector.runs.run import Run, list_runs
from qinspect.inspector.runs.state import RunState, State, last_sign, unreadable
from qinspect.inspector.table import Column, Table
from qinspect.inspector.text import size, some, visible

Json = dict[str, Any]
_MAX_NUMBER = 1e18
"""Of what a program counts: larger ones are a mistake, and too large for a float."""
_COLUMNS = (
    Column("run"),
    Column("name"),
    Column("state"),
    Column("started", drop=2),
    Column("took", True, drop=1),
    Column("progress", drop=3),
    Column("command", drop=4),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A run and where it stood when it was looked at. progress, phase: the last events of these kinds. damage: what is
    wrong with its files, sentences."""

    run: Run
    state: RunState
    progress: RunEvent | None
    phase: RunEvent | None
    damage: tuple[str, ...] = ()


def look(run: Run) -> Seen:
    """A run as it stands now. Whatever is wrong with its files is in `damage`."""
    state = run.state()
    damage = (*run.damage, *state.damage, *unreadable(run.folder))
    try:
        events = read_last_events(run.events_path)
    except CannotRead:  # said by `unreadable`, or it went since
        events = []
    return Seen(run, state, _last(events, "progress"), _last(events, "phase"), tuple(dict.fromkeys(damage)))


def look_at_all() -> list[Seen]:
    """All runs as they stand now, the oldest first; without those that are deleted meanwhile. Raises CannotRead as
    `list_runs` does."""
    return [seen for seen in map(look, list_runs()) if seen.run.folder.is_dir()]


def duration_s(seen: Seen) -> float | None:
    """How long the run took or takes, as far as is known."""
    result = seen.state.result
    if result is not None:
        if result.duration_s is not None or not (result.ended and seen.run.spec.created):
            return result.duration_s
        return max(0.0, result.ended - seen.run.spec.created)
    if seen.state.age_s is not None:
        return seen.state.age_s
    end = time.time() if seen.state.state.is_live else last_sign(seen.run.folder)
    return None if end is None or not seen.run.spec.created else max(0.0, end - seen.run.spec.created)


def runs_table(rows: Sequence[Seen]) -> Table:
    """One row a run."""
    return Table(
        _COLUMNS,
        [
            [
                s.run.id,
                s.run.spec.name,
                str(s.state.state) + (", damaged" if s.damage and s.state.state is not State.DAMAGED else ""),
                clock(s.run.spec.created),
                "" if (took := duration_s(s)) is None else duration(took),
                progress_text(s.progress.fields) if s.progress and s.state.state.is_live else "",
                damage_text(s) or s.run.spec.command,
            ]
            for s in rows
        ],
    )


def damage_text(seen: Seen) -> str:
    """`damaged: result.json: exit_code is Infinity; expected an exit code`; "" for a run whose files are all right."""
    if not seen.damage:
        return ""
    more = f", and {len(seen.damage) - 1} more" if len(seen.damage) > 1 else ""
    return f"damaged: {seen.damage[0]}{more}"


def run_text(seen: Seen) -> str:
    """Everything about one run, a fact a line."""
    run, spec, state = seen.run, seen.run.spec, seen.state
    try:
        events = read_all_events(run.events_path)
    except CannotRead:  # said as damage
        events = []
    took = duration_s(seen)
    rows = [
        ("state", f"{state.state}{f': {state.reason}' if state.reason else ''}"),
        *(("damaged", sentence) for sentence in seen.damage),
        *_ending_rows(seen),
        ("command", spec.command),
        ("started", f"{clock(spec.created)}{f' on {spec.host}' if spec.host else ''}"),
        ("took", "" if took is None else duration(took)),
        ("phase", str(seen.phase.fields.get("name", "")) if seen.phase else ""),
        ("progress", progress_text(seen.progress.fields) if seen.progress else ""),
        ("in", spec.cwd),
        ("git", f"{spec.git_commit[:12]}{', with changes' if spec.git_dirty else ''}" if spec.git_commit else ""),
        *(("set", f"{k}={v}") for k, v in spec.as_dict()["env"].items()),
        *(("inherited", f"{k}={v}") for k, v in spec.inherited.items()),
        ("events", _events_text(events, has_ended=state.result is not None)),
        ("log", f"{run.log_path}, {size(_bytes(run))}"),
    ]
    lines = [f"{run.id}  {visible(spec.name, 120)}"]
    lines += [f"  {name:<10} {visible(text, 2000)}" for name, text in rows if text]
    return "\n".join(lines)


def _ending_rows(seen: Seen) -> list[tuple[str, str]]:
    result = seen.state.result
    if result is None:
        return []
    return [
        ("exit code", "" if result.exit_code is None else str(result.exit_code)),
        ("signal", result.signal or ""),
        ("cancelled", result.cancelled_by or ""),
        ("last error", result.last_error or ""),
        ("last line", result.last_line or ""),
        *(("note", note) for note in result.notes),
    ]


def _events_text(events: Sequence[RunEvent], *, has_ended: bool) -> str:
    warnings = sum(e.kind == "warning" for e in events)
    errors = sum(e.kind == "error" for e in events)
    parts = [some(len(events), "event"), some(warnings, "warning"), some(errors, "error")]
    gaps = missing(events)
    parts += [f"{gaps} missing"] if gaps else []
    is_cut = has_ended and not (events and events[-1].kind == "end")
    return ", ".join(parts) + ("; the journal ends before the run did: the log may tell more" if is_cut else "")


def started_text(run: Run) -> str:
    """What `qinspect run` says."""
    short = run.id.rpartition("-")[2]
    return (
        f"run {run.id} ({visible(run.spec.name, 120)}) has started\n"
        f"  log     {visible(str(run.log_path))}\n"
        f"  follow  qinspect runs logs -f {short}\n"
        f"  end     qinspect runs cancel {short}"
    )


def outcome_text(run: Run, state: RunState) -> str:
    """How a run ended, in one line."""
    result = state.result
    if result is None:
        return f"run {run.id} is {state.state}{f': {state.reason}' if state.reason else ''}"
    code = f", exit code {result.exit_code}" if result.exit_code else f", {result.signal}" if result.signal else ""
    took = "" if result.duration_s is None else f" after {duration(result.duration_s)}"
    return f"run {run.id} {state.state}{took}{code}"


def changes_table(changes: Sequence[tuple[str, str | None, str | None]]) -> Table:
    """What differs between two specs."""
    columns = (Column("field"), Column("A"), Column("B"))
    return Table(columns, [[field, "-" if a is None else a, "-" if b is None else b] for field, a, b in changes])


def progress_text(fields: Json) -> str:
    """`412/1,000 batch, 41 %, 3.2/s, 3 min 04 s left`, as far as it is known."""
    done, total, rate = (number_of(fields.get(k)) for k in ("done", "total", "rate"))
    if done is None:
        return ""
    unit = f" {fields['unit']}" if isinstance(fields.get("unit"), str) and fields["unit"] else ""
    parts = [f"{done:,g}/{total:,g}{unit}" if total else f"{done:,g}{unit}"]
    if total:
        parts.append(f"{100 * min(done, total) / total:.0f} %")
    if rate:
        parts.append(f"{rate:.3g}/s")
        if total and total > done:
            parts.append(f"{duration((total - done) / rate)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """A time span in its two largest units."""
    if not seconds < _MAX_NUMBER:
        return "more than can be said"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, s = divmod(whole, 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days} d {h} h"
    return f"{hours} h {m:02} min" if hours else f"{m} min {s:02} s"


def clock(when: float) -> str:
    """A time of this host's clock."""
    if not when:
        return "at no known time"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
    except (ValueError, OverflowError, OSError):
        return "at no known time"


def run_json(seen: Seen) -> Json:
    """One run, as the schemas have it."""
    run, state = seen.run, seen.state
    progress = None if seen.progress is None else {"time": seen.progress.time, **_progress_json(seen.progress.fields)}
    return {
        "id": run.id,
        "state": str(state.state),
        "live": state.state.is_live,
        "reason": state.reason or None,
        "damage": list(seen.damage),
        "folder": str(run.folder),
        "log": str(run.log_path),
        "log_bytes": _bytes(run),
        "duration_s": duration_s(seen),
        "heartbeat_age_s": state.heartbeat_age_s,
        "phase": str(seen.phase.fields.get("name", "")) if seen.phase else None,
        "progress": progress,
        "spec": run.spec.as_dict(),
        "result": state.result.as_dict() if state.result else None,
    }


def _progress_json(fields: Json) -> Json:
    name, unit = fields.get("name"), fields.get("unit")
    return {
        "name": name if isinstance(name, str) else None,
        "done": number_of(fields.get("done")),
        "total": number_of(fields.get("total")),
        "unit": unit if isinstance(unit, str) else None,
        "rate": number_of(fields.get("rate")),
    }


def number_of(value: object) -> float | None:
    """A field of an event where it is a number: events hold what programs printed."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if abs(value) < _MAX_NUMBER else None  # NaN is not smaller either


def _last(events: Sequence[RunEvent], kind: str) -> RunEvent | None:
    return next((e for e in reversed(events) if e.kind == kind), None)


def _bytes(run: Run) -> int:
    try:
        return run.log_path.stat().st_size
    except OSError:
        return 0
