"""Bytes of a log in, events out. Any cutting of the bytes into chunks gives the same events; nothing raises."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from qinspect.inspector.finding import Finding
from qinspect.inspector.logs.blocks import Block, JsonBlock, TableBlock, WarningBlock
from qinspect.inspector.logs.command import read_command, requested_by
from qinspect.inspector.logs.conclusions import Conclusions, Setting
from qinspect.inspector.logs.cutting import At, Cutting
from qinspect.inspector.logs.ends import both_ends
from qinspect.inspector.logs.escapes import without_escapes
from qinspect.inspector.logs.event import EventKind, LogEvent
from qinspect.inspector.logs.harmless import is_mentioned, is_nothing
from qinspect.inspector.logs.header import NO_HEADER, Header, iso_time
from qinspect.inspector.logs.metrics import python_dict
from qinspect.inspector.logs.patterns import (
    MAX_MATCHED_CHARACTERS,
    MAX_SHAPES,
    Pattern,
    Patterns,
    convert,
    load_patterns,
    shape_of,
)
from qinspect.inspector.logs.progress import Bar, may_hold_bar, read_bar
from qinspect.inspector.logs.record import Record, record_of
from qinspect.inspector.logs.rules import conclude
from qinspect.inspector.logs.speakers import MAX_SILENCE_LINES, NOBODY, Conversation, Learnt, Open, key_of
from qinspect.inspector.logs.tracebacks import (
    HANDLED,
    TRACEBACK,
    BoxBlock,
    TracebackBlock,
    begins_traceback,
    is_exception,
)
from qinspect.inspector.text import visible

MAX_TEXT_CHARACTERS = 4_000
MAX_SETTINGS = 1_000
_TEMPLATE = re.compile(r"\{(\w+)\}")
_STARTS_BLOCK = ("|", "{")
_LONG = 500
"""Longer lines are seldom alike."""
_COLUMN = " " * 10
"""Lines that begin so can be of a logger that writes in columns."""
_MESSAGE_LINES = 20
"""Lines of an exception that are looked at for what can be concluded from them."""
_BEFORE_BARS = frozenset("([0123456789")
_BOXES = ("╭", "┌", "+--", " ")
# An exception at the end of a long line, behind dots or a bar that no line end closed
_LATE_EXCEPTION = re.compile(r"(?:\w{1,60}\.){0,8}\w{0,80}(?:Error|Exception|Interrupt): .*")
_PLACE_AT_END = re.compile(r" {2,}([\w.-]{1,80}:\d{1,6})$")


class LogParser(Cutting):
    """Reads one log.

    patterns: `load_patterns()` if None. argv: the command that writes the log, where it is known: its options become
    settings that were requested, whether the log repeats them or not.
    """

    def __init__(self, patterns: Patterns | None = None, argv: Sequence[str] = ()) -> None:
        super().__init__()
        self._patterns = load_patterns() if patterns is None else patterns
        self._conclusions = Conclusions(conclude)
        self._events: list[LogEvent] = []
        self._talk = Conversation()
        self._learnt = Learnt()
        self._shapes: dict[bytes, Header] = {}
        self._folded: tuple[str, Header, At] | None = None
        self._bar: Bar | None = None
        self._bar_said = True
        self._bar_at = (1, 0)
        self._phase = ""
        self._handled = False
        self._said: dict[tuple[str, str], Any] = {}
        self._closed = False
        for name, value in requested_by(argv).items():
            self._say("setting", {"name": name, "value": value, "role": "requested", "pattern": "command"}, (0, 0))

    def feed(self, data: bytes) -> list[LogEvent]:
        """Take the next bytes; returns the events that are certain now. The list is the caller's."""
        for encoding, mark, piece in self._transcoder.feed(data):
            self._feed(piece, encoding, mark)
        return self._drain()

    def close(self) -> list[LogEvent]:
        """There is no more: what was held back, and the conclusions as notes. Later calls do nothing."""
        if self._closed:
            return []
        self._closed = True
        for encoding, mark, piece in self._transcoder.close():
            self._feed(piece, encoding, mark)
        if self._held or self._line_has_text:
            self._end_part()
            self._end_bar()
        self._end_folded()
        for opened in self._talk:
            self._finish(opened)
        for note in self._conclusions.notes(final=True):
            at = (note.where.lines[0] if note.where.lines else self.n_lines, 0)
            self._say("note", {"text": note.text, "rule": note.rule, "lines": list(note.where.lines)}, at)
        return self._drain()

    def notes(self, *, final: bool = False) -> list[Finding]:
        """What can be concluded so far; with `final` as if the log ended here."""
        return self._conclusions.notes(final=final)

    def settings(self) -> list[Setting]:
        """Settings seen so far, requested and effective."""
        return self._conclusions.settings()

    def pending_progress(self) -> dict[str, Any] | None:
        """Fields of a bar in the line that is still open, which tqdm ends only with its next update; None if none."""
        raw = b"".join(self._head)
        bar = read_bar(without_escapes(raw.decode("utf-8", "replace"))) if may_hold_bar(raw) else None
        return self._bar_fields(bar) if bar else None

    def _drain(self) -> list[LogEvent]:
        events, self._events = self._events, []
        return events

    # --- parts and the ends of lines ---

    def _read_part(self, raw: bytes, offset: int) -> None:
        text = without_escapes(raw.decode("utf-8", "replace")).rstrip()
        if not text:
            return
        self._line_has_text = True
        at = (self._line, offset)
        bar = read_bar(text) if may_hold_bar(raw) else None
        if bar is None:
            if self._bar is not None:
                self._end_bar()
            self._read(text, at)
            return
        self._progress(bar, at)
        if bar.size < len(text):
            self._read(text[bar.size :].lstrip(), at)
        else:
            self._thinning.begin(raw)

    def _read_tail(self, text: str, at: At) -> None:
        """The end of a line whose middle was not kept: what ended the run can stand there."""
        text = without_escapes(text).rstrip()
        message = text[-MAX_MATCHED_CHARACTERS:]
        found = _LATE_EXCEPTION.search(message)
        if found:
            self._read(found[0], at)
        elif may_hold_bar(message.encode()):
            bar = read_bar(message)
            if bar:
                self._progress(bar, at)
        else:
            for pattern, match in self._patterns.match(message):
                if pattern.needle:
                    self._apply(pattern, match, message, NO_HEADER, at)

    def _line_ends(self) -> None:
        if self._bar is not None:
            self._end_bar()
        if not self._talk:
            return
        if not self._line_has_text:
            for opened in self._talk.of(""):
                if not opened.block.blank():
                    self._finish(opened)
        if self._line % MAX_SILENCE_LINES == 0:
            for opened in self._talk:
                if self._line - opened.last_line >= MAX_SILENCE_LINES:
                    self._finish(opened)

    # --- bars ---

    def _progress(self, bar: Bar, at: At) -> None:
        """A bar is said when it begins, when its percent or its clock moves by one, and at its end: a log of a fast
        loop has a thousand times as many states as a screen can show."""
        before = self._bar
        new = before is None or before.name != bar.name or before.total != bar.total or before.done > bar.done
        if new:
            self._end_bar()
        moved = new or before is None or _percent(before) != _percent(bar) or before.elapsed_s != bar.elapsed_s
        self._thinning.end()
        self._bar, self._bar_at, self._bar_said = bar, at, moved
        if moved:
            self._say("progress", self._bar_fields(bar), at)

    def _end_bar(self) -> None:
        skipped = self._thinning.end()
        if skipped is not None and self._bar is not None:
            bar = read_bar(skipped.decode("utf-8", "replace"))
            if bar:
                self._bar, self._bar_at, self._bar_said = bar, self._thinning.at, False
        if self._bar is not None and not self._bar_said:
            self._say("progress", self._bar_fields(self._bar), self._bar_at)
        self._bar, self._bar_said = None, True

    def _bar_fields(self, bar: Bar) -> dict[str, Any]:
        name = bar.name
        if name[:1] in _BEFORE_BARS or " | " in name:  # a worker's bar; `(1/4): Calibrating` is a name
            name = name[self._patterns.header(name, self._learnt.patterns).size :].strip() or name
        return {
            "name": visible(name, 200) or self._phase or "progress",
            "done": bar.done,
            "total": bar.total,
            "unit": visible(bar.unit, 40),
            "rate": bar.rate,
            "eta_s": bar.eta_s,
            "elapsed_s": bar.elapsed_s,
        }

    # --- text ---

    def _read(self, text: str, at: At) -> None:
        opened = self._talk.plain
        simple = opened is not None and text.startswith("  ") and not text.startswith(_COLUMN)
        if opened is not None and simple and opened.block.add(text, headed=False):  # of a traceback, or an object
            self._conclusions.last_text_line = opened.last_line = at[0]
            if opened.block.events or opened.block.done:
                self._say_block(opened, at)
            return
        shape = shape_of(text) if len(text) < _LONG and text.isascii() else b""
        header = self._header(text, shape)
        self._conclusions.last_text_line = at[0]
        if self._folded is not None:
            if not header.level and self._unfold(text):
                return
            self._end_folded()
        if not header.size and self._talk and self._learnt.look_for_traceback(text):
            self._shapes.clear()
            header = self._patterns.header(text, self._learnt.patterns)
        message = text[header.size :] if header.size else text
        begins = TRACEBACK in message and begins_traceback(message)
        if self._talk and not begins and self._goes_on(message, header, at):
            return
        if self._starts_block(message, header, at):
            return
        if not header.size and self._learnt.look(text, shape):
            self._shapes.clear()
            header = self._patterns.header(text, self._learnt.patterns)
            message = text[header.size :]
        if TRACEBACK in message and self._starts_traceback(message, header, at):
            return
        self._handled = message.startswith(HANDLED)
        if header.form == "rich" and header.level in ("warning", "error"):
            self._folded = (message, header, at)
            return
        self._message(message, header, at, text, shape[header.size :])

    def _header(self, text: str, shape: bytes) -> Header:
        """What stands before the message. Lines of a shape that was seen need not be looked at again."""
        known = self._shapes.get(shape)
        if known is not None:
            return known.moved_to(text)
        header = self._patterns.header(text, self._learnt.patterns)
        if shape and (header.spans is not None or not header.size):
            if len(self._shapes) >= MAX_SHAPES:
                self._shapes.clear()
            self._shapes[shape] = header
        return header

    def _goes_on(self, message: str, header: Header, at: At) -> bool:
        """Whether a line belongs to a block that its speaker began; blocks that it ends are finished."""
        opened = self._talk.find(header)
        if opened is not None:
            same = opened.key == key_of(header)
            if not message.strip() and opened.block.blank():
                return True
            if opened.block.add(message, headed=header.is_loggers and not same):
                if opened.repeats is None and opened.key != NOBODY:
                    opened.repeats = same
                opened.last_line = at[0]
                self._say_block(opened, at)
                return True
            if same or opened.repeats is not None:
                self._finish(opened)
        for other in self._talk.interrupted(header):
            self._finish(other)
        return False

    def _starts_block(self, message: str, header: Header, at: At) -> bool:
        if message.startswith(_STARTS_BLOCK):
            if TableBlock.starts(message) and not self._patterns.match(message):
                return self._begin(TableBlock(message), header, at)
            if not header.level and JsonBlock.starts(message):
                block = JsonBlock()
                self._begin(block, header, at)
                block.add(message, headed=False)
                self._say_block(self._talk.last, at)
                return True
        if message.startswith(_BOXES) and BoxBlock.starts(message):
            return self._begin(BoxBlock(message), header, at)
        if "Warning: " in message and not header.level:
            found = WarningBlock.STARTS.match(message[:MAX_TEXT_CHARACTERS])
            if found:
                return self._begin(WarningBlock(found), header, at)
        return False

    def _starts_traceback(self, message: str, header: Header, at: At) -> bool:
        start = message.find(TRACEBACK)
        before = message[:start]
        if not message.startswith(":", start + len(TRACEBACK)) or len(before) > MAX_TEXT_CHARACTERS:
            return False
        indented = before.strip() in ("", "+ Exception Group")
        block = TracebackBlock(message if indented else message[start:], handled=self._handled)
        self._handled = False
        self._begin(block, header, at)
        if not indented:
            self._learnt.wait_for(before, self._talk.last)
        return True

    def _begin(self, block: Block, header: Header, at: At) -> bool:
        ended = self._talk.add(block, header, at)
        if ended:
            self._finish(ended)
        return True

    def _say_block(self, opened: Open, at: At) -> None:
        """Say what the block has to say, and forget it if it is done. at: its last line, on which anything after the
        first thing said began."""
        block = opened.block
        for kind, fields in block.events:
            record = record_of(fields["json"]) if kind == "result" else None
            if kind in ("error", "warning"):
                self._conclude_from(fields, opened.at)
            if record:
                self._record(record, opened.at)
            else:
                self._say(kind, {**fields, "who": opened.who} if opened.who else fields, opened.at)
            opened.at = at
        block.events.clear()
        if block.done:
            self._talk.remove(opened)

    def _conclude_from(self, said: dict[str, Any], at: At) -> None:
        """What an exception or a warning says can be a sentence from which something is concluded."""
        last = str(said.get("traceback", "")).rsplit("\n    ", 1)[-1].split("\n")[-_MESSAGE_LINES:]
        for line in dict.fromkeys([str(said["text"]), *(text.strip() for text in last)]):
            for pattern, match in self._patterns.match(line):
                if pattern.concludes:
                    self._conclusions.count(pattern, pattern.groups(match), at[0])

    def _finish(self, opened: Open) -> None:
        opened.block.finish()
        self._talk.remove(opened)
        self._say_block(opened, opened.at)

    def _record(self, record: Record, at: At) -> None:
        """A line of a log that is a JSON object."""
        if record.wrapped:
            header = self._patterns.header(record.message, self._learnt.patterns)
            who = f"{record.who} {header.who}".strip()
            header = Header(header.time or record.time, header.level, header.where, header.size, who, "json")
            message = record.message[header.size :]
            if self._talk and self._goes_on(message, header, at):
                return
            if not self._starts_block(message, header, at) and not (
                TRACEBACK in message and self._starts_traceback(message, header, at)
            ):
                self._message(message, header, at, message)
            return
        header = Header(record.time, record.level, record.where, 0, record.who, "json")
        if TRACEBACK in record.exception:
            if record.message:
                self._message(record.message, header, at, record.message)
            block = TracebackBlock(TRACEBACK + ":")
            start = record.exception.find(TRACEBACK)
            for line in record.exception[start:].split("\n")[1:]:
                if line.strip():
                    block.add(line, headed=False)
            block.finish()
            for kind, fields in block.events:
                self._say(kind, {**fields, "who": record.who} if record.who else fields, at)
            return
        message = record.message
        if record.exception and record.exception.strip().split("\n")[0] not in message:
            message = f"{message}: {record.exception.strip().splitlines()[-1]}" if record.exception.strip() else message
        self._message(message, header, at, message)

    # --- messages that rich folded into a column ---

    def _unfold(self, text: str) -> bool:
        if self._folded is None:
            return False
        message, header, at = self._folded
        if not text.startswith(" " * max(12, header.size - 1)) or len(message) > MAX_TEXT_CHARACTERS:
            return False
        place = _PLACE_AT_END.search(message)
        kept, end = (message[: place.start()], message[place.start() :]) if place else (message, "")
        self._folded = (f"{kept.rstrip()} {text.strip()}{end}", header, at)
        return True

    def _end_folded(self) -> None:
        if self._folded is None:
            return
        message, header, at = self._folded
        self._folded = None
        place = _PLACE_AT_END.search(message)
        if place:
            message = message[: place.start()].rstrip()
            header = Header(header.time, header.level, place[1], header.size, header.who, header.form)
        self._message(message, header, at, message)

    # --- one message ---

    def _message(self, message: str, header: Header, at: At, text: str, shape: bytes = b"") -> None:
        """text: the whole line, for patterns that know what was learnt to be a speaker as a part of the message. shape:
        of the message, where it is known."""
        if header.size and message.startswith(" "):
            message, shape = message.lstrip(), b""
        found = self._patterns.match(message, shape)
        if not found and header.form == "" and header.who:
            found = self._patterns.match(text)
        if header.level in ("warning", "error") and not (not header.time and is_nothing(message)):
            kinds = {(p.level or p.kind) for p, _ in found}
            if header.level not in kinds and "error" not in kinds and any(map(str.isalnum, message)):
                self._say(header.level, self._common(message, header), at)
        elif header.level:
            self._conclusions.calm()
        said: set[str] = set()
        for pattern, match in found:
            kind = "error" if pattern.kind == "error" else pattern.name
            if kind == "error" and is_mentioned(message, match.start()):
                continue
            if kind not in said:
                self._apply(pattern, match, message, header, at)
            said.add(kind)
        if not found:
            self._unknown(message, header, at)

    def _unknown(self, message: str, header: Header, at: At) -> None:
        """A message that no pattern knows."""
        if message.startswith("{'"):
            fields = python_dict(message)
            if fields:
                self._say("point", {"name": str(fields.get("process", "metrics")), "fields": fields}, at)
            return
        if not header.level:
            error = message if is_exception(message) else ""
            if not error and len(message) > MAX_MATCHED_CHARACTERS:
                late = _LATE_EXCEPTION.search(message[-MAX_MATCHED_CHARACTERS:])
                error = late[0] if late else ""
            if error:
                self._say("error", {**self._common(error, header), "type": error.split(":")[0]}, at)
                return
        if " --" in message:
            for name, value in requested_by(read_command(message)).items():
                fields = {"name": name, "value": value, "role": "requested", "pattern": "command"}
                self._say("setting", fields, at)

    def _common(self, message: str, header: Header) -> dict[str, Any]:
        fields: dict[str, Any] = {"text": visible(both_ends(message, MAX_TEXT_CHARACTERS - 8), MAX_TEXT_CHARACTERS)}
        if header.where:
            fields["where"] = visible(header.where, 200)
        time = iso_time(header.time) if header.time else ""
        if time:
            fields["time"] = time
        if header.who:
            fields["who"] = visible(header.who, 200)
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
            self._say("progress", _counted(pattern.phase or pattern.name, groups), at)
        elif kind == "warning":
            self._say("warning", {**common, "pattern": pattern.name}, at)
        elif kind == "error":
            level = {"level": header.level} if header.level and header.level != "error" else {}
            self._say("error", {**common, "pattern": pattern.name, **level}, at)
        elif kind == "note":
            self._say("note", {"text": common["text"], "rule": pattern.name, "lines": [at[0]]}, at)
        if pattern.concludes or kind == "count":
            self._conclusions.count(pattern, groups, at[0])
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

    def _say(self, kind: EventKind, fields: dict[str, Any], at: tuple[int, int]) -> None:
        event = LogEvent(kind, fields, *at)
        self._conclusions.observe(event)
        self._events.append(event)


def _percent(bar: Bar) -> int:
    return bar.percent if bar.percent >= 0 or not bar.total else int(100 * bar.done / bar.total)


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
