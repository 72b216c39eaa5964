"""Bytes of a log in, events out. Any cutting of the bytes into chunks gives the same events; nothing raises."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from qinspect.inspector.finding import Finding
from qinspect.inspector.logs.blocks import Block, JsonBlock, TableBlock, WarningBlock
from qinspect.inspector.logs.conclusions import Setting
from qinspect.inspector.logs.cutting import At, Cutting
from qinspect.inspector.logs.escapes import without_escapes
from qinspect.inspector.logs.event import LogEvent
from qinspect.inspector.logs.header import NO_HEADER, Header
from qinspect.inspector.logs.messages import MAX_TEXT_CHARACTERS, Messages, late_exception
from qinspect.inspector.logs.patterns import (
    MAX_MATCHED_CHARACTERS,
    MAX_SHAPES,
    Patterns,
    load_patterns,
    shape_of,
)
from qinspect.inspector.logs.progress import Bar, may_hold_bar, read_bar
from qinspect.inspector.logs.record import Record, record_of
from qinspect.inspector.logs.speakers import MAX_SILENCE_LINES, NOBODY, Conversation, Learnt, Open, key_of
from qinspect.inspector.logs.tracebacks import (
    HANDLED,
    TRACEBACK,
    BoxBlock,
    TracebackBlock,
    begins_traceback,
)
from qinspect.inspector.text import visible

_STARTS_BLOCK = ("|", "{")
_LONG = 500
"""Longer lines are seldom alike."""
_COLUMN = " " * 10
"""Lines that begin so can be of a logger that writes in columns."""
_BEFORE_BARS = frozenset("([0123456789")
_BOXES = ("╭", "┌", "+--", " ")
_PLACE_AT_END = re.compile(r" {2,}([\w.-]{1,80}:\d{1,6})$")


class LogParser(Cutting):
    """Reads one log.

    patterns: `load_patterns()` if None. argv: the command that writes the log, where it is known: its options become
    settings that were requested, whether the log repeats them or not.
    """

    def __init__(self, patterns: Patterns | None = None, argv: Sequence[str] = ()) -> None:
        super().__init__()
        self._patterns = load_patterns() if patterns is None else patterns
        self._messages = Messages(self._patterns)
        self._talk = Conversation()
        self._learnt = Learnt()
        self._shapes: dict[bytes, Header] = {}
        self._folded: tuple[str, Header, At] | None = None
        self._bar: Bar | None = None
        self._bar_said = True
        self._bar_at = (1, 0)
        self._handled = False
        self._closed = False
        self._messages.request(argv)

    def feed(self, data: bytes) -> list[LogEvent]:
        """Take the next bytes; returns the events that are certain now. The list is the caller's."""
        for encoding, mark, piece in self._transcoder.feed(data):
            self._feed(piece, encoding, mark)
        return self._messages.drain()

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
        for note in self._messages.conclusions.notes(final=True):
            at = (note.where.lines[0] if note.where.lines else self.n_lines, 0)
            self._messages.say("note", {"text": note.text, "rule": note.rule, "lines": list(note.where.lines)}, at)
        return self._messages.drain()

    def notes(self, *, final: bool = False) -> list[Finding]:
        """What can be concluded so far; with `final` as if the log ended here."""
        return self._messages.conclusions.notes(final=final)

    def settings(self) -> list[Setting]:
        """Settings seen so far, requested and effective."""
        return self._messages.conclusions.settings()

    def pending_progress(self) -> dict[str, Any] | None:
        """Fields of a bar in the line that is still open, which tqdm ends only with its next update; None if none."""
        raw = b"".join(self._head)
        bar = read_bar(without_escapes(raw.decode("utf-8", "replace"))) if may_hold_bar(raw) else None
        return self._bar_fields(bar) if bar else None

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
        late = late_exception(message)
        if late:
            self._read(late, at)
        elif may_hold_bar(message.encode()):
            bar = read_bar(message)
            if bar:
                self._progress(bar, at)
        else:
            for pattern, match in self._patterns.match(message):
                if pattern.needle:
                    self._messages.apply(pattern, match, message, NO_HEADER, at)

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
            self._messages.say("progress", self._bar_fields(bar), at)

    def _end_bar(self) -> None:
        skipped = self._thinning.end()
        if skipped is not None and self._bar is not None:
            bar = read_bar(skipped.decode("utf-8", "replace"))
            if bar:
                self._bar, self._bar_at, self._bar_said = bar, self._thinning.at, False
        if self._bar is not None and not self._bar_said:
            self._messages.say("progress", self._bar_fields(self._bar), self._bar_at)
        self._bar, self._bar_said = None, True

    def _bar_fields(self, bar: Bar) -> dict[str, Any]:
        name = bar.name
        if name[:1] in _BEFORE_BARS or " | " in name:  # a worker's bar; `(1/4): Calibrating` is a name
            name = name[self._patterns.header(name, self._learnt.patterns).size :].strip() or name
        return {
            "name": visible(name, 200) or self._messages.phase or "progress",
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
            self._messages.conclusions.last_text_line = opened.last_line = at[0]
            if opened.block.events or opened.block.done:
                self._say_block(opened, at)
            return
        shape = shape_of(text) if len(text) < _LONG and text.isascii() else b""
        header = self._header(text, shape)
        self._messages.conclusions.last_text_line = at[0]
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
        self._messages.read(message, header, at, text, shape[header.size :])

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
                self._messages.conclude_from(fields, opened.at)
            if record:
                self._record(record, opened.at)
            else:
                self._messages.say(kind, {**fields, "who": opened.who} if opened.who else fields, opened.at)
            opened.at = at
        block.events.clear()
        if block.done:
            self._talk.remove(opened)

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
                self._messages.read(message, header, at, message)
            return
        header = Header(record.time, record.level, record.where, 0, record.who, "json")
        if TRACEBACK in record.exception:
            if record.message:
                self._messages.read(record.message, header, at, record.message)
            block = TracebackBlock(TRACEBACK + ":")
            start = record.exception.find(TRACEBACK)
            for line in record.exception[start:].split("\n")[1:]:
                if line.strip():
                    block.add(line, headed=False)
            block.finish()
            for kind, fields in block.events:
                self._messages.say(kind, {**fields, "who": record.who} if record.who else fields, at)
            return
        message = record.message
        if record.exception and record.exception.strip().split("\n")[0] not in message:
            message = f"{message}: {record.exception.strip().splitlines()[-1]}" if record.exception.strip() else message
        self._messages.read(message, header, at, message)

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
        self._messages.read(message, header, at, message)


def _percent(bar: Bar) -> int:
    return bar.percent if bar.percent >= 0 or not bar.total else int(100 * bar.done / bar.total)
