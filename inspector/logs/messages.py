"""What is said of one message of a log: its level, the patterns that know it, settings, and what can be concluded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from qinspect.inspector.logs.command import read_command, requested_by
from qinspect.inspector.logs.conclusions import Conclusions
from qinspect.inspector.logs.cutting import At
from qinspect.inspector.logs.ends import both_ends
from qinspect.inspector.logs.event import EventKind, LogEvent
from qinspect.inspector.logs.harmless import is_mentioned, is_nothing
from qinspect.inspector.logs.header import Header, iso_time
from qinspect.inspector.logs.metrics import python_dict
from qinspect.inspector.logs.patterns import MAX_MATCHED_CHARACTERS, Pattern, Patterns, convert
from qinspect.inspector.logs.rules import conclude
from qinspect.inspector.logs.tracebacks import is_exception
from qinspect.inspector.text import visible

MAX_TEXT_CHARACTERS = 4_000
MAX_SETTINGS = 1_000
_TEMPLATE = re.compile(r"\{(\w+)\}")
_MESSAGE_LINES = 20
"""Lines of an exception that are looked at for what can be concluded from them."""
# An exception at the end of a long line, behind dots or a bar that no line end closed
_LATE_EXCEPTION = re.compile(r"(?:\w{1,60}\.){0,8}\w{0,80}(?:Error|Exception|Interrupt): .*")


def late_exception(text: str) -> str:
    """An exception at the end of a long line, "" where there is none."""
    found = _LATE_EXCEPTION.search(text)
    return found[0] if found else ""


class Messages:
    """Turns messages into events.

    conclusions: what follows from all of them. phase: the last one that began.
    """

    def __init__(self, patterns: Patterns) -> None:
        self.conclusions = Conclusions(conclude)
        self.phase = ""
        self._patterns = patterns
        self._events: list[LogEvent] = []
        self._said: dict[tuple[str, str], Any] = {}

    def request(self, argv: Sequence[str]) -> None:
        """The options of the command that writes the log are settings that were requested."""
        self._request(requested_by(argv), (0, 0))

    def _request(self, options: Mapping[str, Any], at: At) -> None:
        for name, value in options.items():
            self.say("setting", {"name": name, "value": value, "role": "requested", "pattern": "command"}, at)

    def say(self, kind: EventKind, fields: dict[str, Any], at: At) -> None:
        """One event, of which conclusions are told too."""
        event = LogEvent(kind, fields, *at)
        self.conclusions.observe(event)
        self._events.append(event)

    def drain(self) -> list[LogEvent]:
        """What was said since the last call."""
        events, self._events = self._events, []
        return events

    def conclude_from(self, said: dict[str, Any], at: At) -> None:
        """What an exception or a warning says can be a sentence from which something is concluded."""
        last = str(said.get("traceback", "")).rsplit("\n    ", 1)[-1].split("\n")[-_MESSAGE_LINES:]
        for line in dict.fromkeys([str(said["text"]), *(text.strip() for text in last)]):
            for pattern, match in self._patterns.match(line):
                if pattern.concludes:
                    self.conclusions.count(pattern, pattern.groups(match), at[0])

    def read(self, message: str, header: Header, at: At, text: str, shape: bytes = b"") -> None:
        """One message. text: the whole line, for patterns that know what was learnt to be a speaker as a part of the
        message. shape: of the message, where it is known."""
        if header.size and message.startswith(" "):
            message, shape = message.lstrip(), b""
        found = self._patterns.match(message, shape)
        if not found and header.form == "" and header.who:
            found = self._patterns.match(text)
        if header.level in ("warning", "error") and not (not header.time and is_nothing(message)):
            kinds = {(p.level or p.kind) for p, _ in found}
            if header.level not in kinds and "error" not in kinds and any(map(str.isalnum, message)):
                self.say(header.level, self._common(message, header), at)
        elif header.level:
            self.conclusions.calm()
        said: set[str] = set()
        for pattern, match in found:
            kind = "error" if pattern.kind == "error" else pattern.name
            if kind == "error" and is_mentioned(message, match.start()):
                continue
            if kind not in said:
                self.apply(pattern, match, message, header, at)
            said.add(kind)
        if not found:
            self._unknown(message, header, at)

    def _unknown(self, message: str, header: Header, at: At) -> None:
        """A message that no pattern knows."""
        if message.startswith("{'"):
            fields = python_dict(message)
            if fields:
                self.say("point", {"name": str(fields.get("process", "metrics")), "fields": fields}, at)
            return
        if not header.level:
            error = message if is_exception(message) else ""
            if not error and len(message) > MAX_MATCHED_CHARACTERS:
                error = late_exception(message[-MAX_MATCHED_CHARACTERS:])
            if error:
                self.say("error", {**self._common(error, header), "type": error.split(":")[0]}, at)
                return
        if " --" in message:
            self._request(requested_by(read_command(message)), at)

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

    def apply(self, pattern: Pattern, match: re.Match[str], message: str, header: Header, at: At) -> None:
        """What a pattern that matched says."""
        groups = pattern.groups(match)
        common = self._common(message, header)
        if pattern.text:
            common["text"] = visible(str(_filled(pattern.text, groups)), MAX_TEXT_CHARACTERS)
        kind = pattern.kind
        if pattern.starts_run:
            self._said.clear()
        if kind == "phase":
            self.phase = visible(str(_filled(pattern.phase or pattern.name, groups)), 200)
            name = self.phase
            more = {"starts_run": pattern.starts_run, "ends_run": pattern.ends_run}
            self.say("phase", {"name": name, **common, "pattern": pattern.name, "groups": groups, **more}, at)
        elif kind == "point":
            self.say("point", {"name": pattern.point or pattern.name, "fields": groups, "pattern": pattern.name}, at)
        elif kind == "progress":
            self.say("progress", _counted(pattern.phase or pattern.name, groups), at)
        elif kind == "warning":
            self.say("warning", {**common, "pattern": pattern.name}, at)
        elif kind == "error":
            level = {"level": header.level} if header.level and header.level != "error" else {}
            self.say("error", {**common, "pattern": pattern.name, **level}, at)
        elif kind == "note":
            self.say("note", {"text": common["text"], "rule": pattern.name, "lines": [at[0]]}, at)
        if pattern.concludes or kind == "count":
            self.conclusions.count(pattern, groups, at[0])
        self._settings(pattern, groups, at)

    def _settings(self, pattern: Pattern, groups: dict[str, Any], at: At) -> None:
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
                    self.say("setting", fields, at)


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
