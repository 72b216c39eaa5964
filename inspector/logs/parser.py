"""Bytes of a log in, events out. Any cutting of the bytes into chunks gives the same events; nothing raises."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from qinspect.inspector.logs.blocks import (
    TRACEBACK,
    Block,
    JsonBlock,
    TableBlock,
    TracebackBlock,
    WarningBlock,
    jsonable,
)
from qinspect.inspector.logs.command import read_command, requested_by
from qinspect.inspector.logs.conclusions import Conclusions, Note, Setting
from qinspect.inspector.logs.escapes import without_escapes
from qinspect.inspector.logs.event import Kind, LogEvent
from qinspect.inspector.logs.header import Header, iso_time
from qinspect.inspector.logs.patterns import Pattern, Patterns, convert, load_patterns
from qinspect.inspector.logs.progress import Bar, may_hold_bar, read_bar
from qinspect.inspector.text import visible

MAX_PART_BYTES = 65_536
"""Of a line, or of a part between carriage returns, this much is looked at; the rest is counted in `cut_bytes`."""
MAX_TEXT_CHARACTERS = 4_000
MAX_SETTINGS = 1_000
_TEMPLATE = re.compile(r"\{(\w+)\}")
_STARTS_BLOCK = ("|", "{")


class LogParser:
    """Reads one log.

    patterns: `load_patterns()` if None. argv: the command that writes the log, where it is known: its options become
    settings that were requested, whether the log repeats them or not.
    """

    def __init__(self, patterns: Patterns | None = None, argv: Sequence[str] = ()) -> None:
        self._patterns = load_patterns() if patterns is None else patterns
        self._conclusions = Conclusions()
        self._events: list[LogEvent] = []
        self._parts: list[bytes] = []
        self._held = 0
        self._position = self._part_offset = self._line_offset = 0
        self._line = 1
        self._line_has_text = False
        self._block: Block | None = None
        self._block_at = (1, 0)
        self._bar: Bar | None = None
        self._bar_said = True
        self._bar_at = (1, 0)
        self._phase = ""
        self._said: dict[tuple[str, str], Any] = {}
        self._closed = False
        self.cut_bytes = 0
        for name, value in requested_by(argv).items():
            self._say("setting", {"name": name, "value": value, "role": "requested", "pattern": "command"}, (0, 0))

    @property
    def n_lines(self) -> int:
        """Lines begun so far."""
        return self._line - (0 if self._position > self._line_offset else 1)

    def feed(self, data: bytes) -> list[LogEvent]:
        """Take the next bytes; returns the events that are certain now. The list is the caller's."""
        *lines, last = data.split(b"\n")
        for line in lines:
            self._take(line)
            self._end_line()
        self._take(last)
        return self._drain()

    def close(self) -> list[LogEvent]:
        """There is no more: what was held back, and the conclusions as notes. Later calls do nothing."""
        if self._closed:
            return []
        self._closed = True
        if self._held or self._line_has_text:
            self._end_part()
            self._end_bar()
        self._end_block()
        for note in self._conclusions.notes(final=True):
            at = (note.lines[0] if note.lines else self.n_lines, 0)
            self._say("note", {"text": note.text, "rule": note.rule, "lines": list(note.lines)}, at)
        return self._drain()

    def notes(self, *, final: bool = False) -> list[Note]:
        """What can be concluded so far; with `final` as if the log ended here."""
        return self._conclusions.notes(final=final)

    def settings(self) -> list[Setting]:
        """Settings seen so far, requested and effective."""
        return self._conclusions.settings()

    def pending_progress(self) -> dict[str, Any] | None:
        """Fields of a bar in the line that is still open, which tqdm ends only with its next update; None if none."""
        raw = b"".join(self._parts)
        bar = read_bar(without_escapes(raw.decode("utf-8", "replace"))) if may_hold_bar(raw) else None
        return self._bar_fields(bar) if bar else None

    def _drain(self) -> list[LogEvent]:
        events, self._events = self._events, []
        return events

    # --- bytes to lines and parts ---

    def _take(self, data: bytes) -> None:
        if b"\r" in data:
            *parts, data = data.split(b"\r")
            for part in parts:
                self._hold(part)
                self._end_part()
                self._position += 1
                self._part_offset = self._position
        self._hold(data)

    def _hold(self, part: bytes) -> None:
        if not part:
            return
        room = MAX_PART_BYTES - self._held
        if room > 0:
            kept = part[:room]
            self._parts.append(kept)
            self._held += len(kept)
        self.cut_bytes += max(0, len(part) - max(0, room))
        self._position += len(part)

    def _end_part(self) -> None:
        if not self._held:
            return
        raw = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts, self._held = [], 0
        text = without_escapes(raw.decode("utf-8", "replace")).rstrip()
        if not text:
            return
        self._line_has_text = True
        at = (self._line, self._part_offset)
        bar = read_bar(text) if may_hold_bar(raw) else None
        if bar is None:
            self._end_bar()
            self._read(text, at)
            return
        self._progress(bar, at)
        if bar.size < len(text):
            self._read(text[bar.size :].lstrip(), at)

    def _end_line(self) -> None:
        self._end_part()
        if self._bar is not None:
            self._end_bar()
        if not self._line_has_text and self._block is not None and not self._block.blank():
            self._end_block()
        self._line_has_text = False
        self._line += 1
        self._position += 1
        self._part_offset = self._line_offset = self._position

    # --- bars ---

    def _progress(self, bar: Bar, at: tuple[int, int]) -> None:
        """A bar is said when it begins, when its percent or its clock moves by one, and at its end: a log of a fast
        loop has a thousand times as many states as a screen can show."""
        before = self._bar
        new = before is None or before.name != bar.name or before.total != bar.total or before.done > bar.done
        if new:
            self._end_bar()
        moved = new or before is None or _percent(before) != _percent(bar) or before.elapsed_s != bar.elapsed_s
        self._bar, self._bar_at, self._bar_said = bar, at, moved
        if moved:
            self._say("progress", self._bar_fields(bar), at)

    def _end_bar(self) -> None:
        if self._bar is not None and not self._bar_said:
            self._say("progress", self._bar_fields(self._bar), self._bar_at)
        self._bar, self._bar_said = None, True

    def _bar_fields(self, bar: Bar) -> dict[str, Any]:
        return {
            "name": visible(bar.name, 200) or self._phase or "progress",
            "done": bar.done,
            "total": bar.total,
            "unit": visible(bar.unit, 40),
            "rate": bar.rate,
            "eta_s": bar.eta_s,
            "elapsed_s": bar.elapsed_s,
        }

    # --- text ---

    def _read(self, text: str, at: tuple[int, int]) -> None:
        header = self._patterns.header(text)
        self._conclusions.last_text_line = at[0]
        block = self._block
        if block is not None:
            if block.add(text, bool(header.level or header.time)):
                self._say_block(at)
                return
            self._end_block()
        if self._starts_block(text, at):
            return
        message = text[header.size :] if header.size else text
        if TRACEBACK in message:
            self._begin(TracebackBlock(text), at)
            return
        self._message(message, header, at)

    def _starts_block(self, text: str, at: tuple[int, int]) -> bool:
        if text.startswith(_STARTS_BLOCK):
            if TableBlock.starts(text):
                return self._begin(TableBlock(text), at)
            if JsonBlock.starts(text):
                block = JsonBlock()
                self._begin(block, at)
                block.add(text, headed=False)
                self._say_block(at)
                return True
        if "Warning: " in text:
            found = WarningBlock.STARTS.match(text[:MAX_TEXT_CHARACTERS])
            if found:
                return self._begin(WarningBlock(found), at)
        return False

    def _begin(self, block: Block, at: tuple[int, int]) -> bool:
        self._block, self._block_at = block, at
        return True

    def _say_block(self, at: tuple[int, int]) -> None:
        """Say what the block has to say, and forget it if it is done. at: its last line, on which anything after the
        first thing said began."""
        block = self._block
        if block is None:
            return
        for kind, fields in block.events:
            self._say(kind, fields, self._block_at)
            self._block_at = at
        block.events.clear()
        if block.done:
            self._block = None

    def _end_block(self) -> None:
        if self._block is not None:
            self._block.finish()
            self._say_block(self._block_at)

    def _message(self, message: str, header: Header, at: tuple[int, int]) -> None:
        found = self._patterns.match(message)
        kinds = {(p.level or p.kind) for p, _ in found}
        if header.level in ("warning", "error") and header.level not in kinds:
            self._say(header.level, self._common(message, header), at)
        for pattern, match in found:
            self._apply(pattern, match, message, header, at)
        if found:
            return
        if message.startswith("{'"):
            fields = _python_dict(message)
            if fields:
                self._say("point", {"name": "metrics", "fields": fields}, at)
            return
        for name, value in requested_by(read_command(message)).items():
            self._say("setting", {"name": name, "value": value, "role": "requested", "pattern": "command"}, at)

    def _common(self, message: str, header: Header) -> dict[str, Any]:
        fields: dict[str, Any] = {"text": visible(message, MAX_TEXT_CHARACTERS)}
        if header.where:
            fields["where"] = visible(header.where, 200)
        time = iso_time(header.time) if header.time else ""
        if time:
            fields["time"] = time
        return fields

    def _apply(self, pattern: Pattern, match: re.Match[str], message: str, header: Header, at: tuple[int, int]) -> None:
        groups = pattern.groups(match)
        common = self._common(message, header)
        if pattern.text:
            common["text"] = visible(str(_filled(pattern.text, groups)), MAX_TEXT_CHARACTERS)
        kind = pattern.kind
        if pattern.starts_run:
            self._said.clear()
        if kind == "phase":
            self._phase = visible(str(_filled(pattern.phase or pattern.name, groups)), 200)
            name = self._phase
            more = {"starts_run": pattern.starts_run, "ends_run": pattern.ends_run}
            self._say("phase", {"name": name, **common, "pattern": pattern.name, "groups": groups, **more}, at)
        elif kind == "point":
            self._say("point", {"name": pattern.point or pattern.name, "fields": groups, "pattern": pattern.name}, at)
        elif kind == "progress":
            self._say("progress", _counted(pattern.name, groups), at)
        elif kind == "warning":
            self._say("warning", {**common, "pattern": pattern.name}, at)
        elif kind == "error":
            self._say("error", {**common, "pattern": pattern.name}, at)
        elif kind == "note":
            self._say("note", {"text": common["text"], "rule": pattern.name, "lines": [at[0]]}, at)
        self._settings(pattern, groups, at)

    def _settings(self, pattern: Pattern, groups: dict[str, Any], at: tuple[int, int]) -> None:
        tables = (("effective", pattern.effective), ("requested", pattern.requested))
        if pattern.kind == "setting" and not pattern.effective and not pattern.requested:
            tables = (("effective", {k: f"{{{k}}}" for k in groups}), ("requested", {}))
        for role, table in tables:
            for name, template in table.items():
                value = _filled(template, groups)
                if value is not None and self._said.get((role, name)) != value:
                    if len(self._said) < MAX_SETTINGS:
                        self._said[role, name] = value
                    fields = {"name": name, "value": value, "role": role, "pattern": pattern.name}
                    self._say("setting", fields, at)

    def _say(self, kind: Kind, fields: dict[str, Any], at: tuple[int, int]) -> None:
        event = LogEvent(kind, fields, *at)
        self._conclusions.observe(event)
        self._events.append(event)


def _percent(bar: Bar) -> int:
    return int(100 * bar.done / bar.total) if bar.total else -1


def _filled(template: Any, groups: dict[str, Any]) -> Any:
    """`{group}` alone is its value, with its type; None where it took no part. Anything else is a text or itself."""
    if not isinstance(template, str):
        return template
    whole = _TEMPLATE.fullmatch(template)
    if whole:
        return groups.get(whole[1])
    return _TEMPLATE.sub(lambda m: str(groups.get(m[1], "")), template)


def _counted(name: str, groups: dict[str, Any]) -> dict[str, Any]:
    def number(key: str) -> int | float | None:
        for kind in ("int", "float"):
            value = convert(str(groups[key]), kind) if key in groups else None
            if isinstance(value, (int, float)):
                return value
        return None

    unit = str(groups.get("unit", "it"))
    return {
        "name": str(groups.get("name", name)),
        "done": number("done") or 0,
        "total": number("total"),
        "unit": unit,
        "rate": number("rate"),
        "eta_s": number("eta_s"),
        "elapsed_s": number("elapsed_s"),
    }


def _python_dict(text: str) -> dict[str, Any] | None:
    """What `print({...})` of plain values wrote, as transformers' Trainer does for its metrics; None if it is not."""
    if len(text) > MAX_TEXT_CHARACTERS or not text.endswith("}"):
        return None
    try:
        made = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return jsonable(made) if isinstance(made, dict) and made else None
