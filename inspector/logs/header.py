"""What stands before a message: who speaks (ranks, workers, containers, collectors), time, level, place.

Several such layers may stand one behind another, for what one program prints another collects:
`api-1  | 2026-05-01 19:08:53.166 | (EngineCore pid=187) WARNING 05-01 17:08:53 [kv_cache.py:123] text`. Each is read by
a format; the formats are data, `[[log_speaker]]` and `[[log_header]]` in patterns.toml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

from qinspect.inspector.logs.event import LEVELS, Level

TIME = r"\d{4}[-/]\d\d[-/]\d\d(?:[:T ]|, )\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
UPPER_LEVEL = "TRACE|DEBUG|INFO|NOTICE|SUCCESS|METRIC|WARN(?:ING)?|ERR(?:OR)?|CRIT(?:ICAL)?|FATAL|PANIC"
LEVEL = (
    f"{UPPER_LEVEL}|trace|debug|info|notice|warn(?:ing)?|error|critical|fatal"
    "|Trace|Debug|Info|Notice|Warn(?:ing)?|Error|Critical|Fatal"
)
_TIME = re.compile(TIME)
_TIME_FIRST = "(?P<time><TIME>)"
MACROS = {"<TIME>": TIME, "<LEVEL>": LEVEL, "<UPPER>": UPPER_LEVEL}
_LEVELS: dict[str, Level] = {
    "V": "debug",
    "T": "debug",
    "D": "debug",
    "I": "info",
    "M": "info",
    "N": "info",
    "S": "info",
    "W": "warning",
    "E": "error",
    "C": "error",
    "F": "error",
    "P": "error",
}
_MOMENT = re.compile(
    r"(?:(\d{4})[-/])?(\d\d)[-/]?(\d\d)(?:[:T ]|, )(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_AMERICAN = re.compile(r"(\d\d)/(\d\d)/(\d{2}|\d{4})[- ](\d\d:\d\d:\d\d(?:\.\d{1,6})?)", re.ASCII)
_SYSLOG = re.compile(r"([A-Z][a-z]{2}) ([ \d]\d) (\d\d:\d\d:\d\d)", re.ASCII)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MAX_LAYERS = 6
# Behind a level only these begin another header: text of the message must not be taken for one.
_NESTED = re.compile(
    r"\(|\[(?:rank|default)|\[?\d{4}[-/]|[IWEF]\d{4} |(?:INFO|WARN|ERROR|DEBUG|CRIT|FATAL)[A-Z]{0,4}[: ]"
)
# A token in brackets is only taken for a part of the header if a level follows: `[TensorRT] ERROR: text`.
_TOKEN = re.compile(r"(?:\[[^\[\]]{1,80}\]|\([^()]{1,80}\)|\{[^{}]{1,80}\}):? ?")
_MAX_TOKENS = 4


class Header(NamedTuple):
    """time, level, where and who are "" if the line does not say. size: characters before the message. form: name of
    the format that found the level, else the last one."""

    time: str = ""
    level: Level = ""
    where: str = ""
    size: int = 0
    who: str = ""
    form: str = ""
    spans: tuple[tuple[int, int], ...] | None = None
    """Where time, where and the parts of who stand in the line; None where they were put together otherwise."""

    def moved_to(self, text: str) -> Header:
        """The header of another line that differs from this one's in nothing but its digits."""
        if not self.spans:
            return self
        time, where, *who = (text[a:b] for a, b in self.spans)
        return Header(time, self.level, where, self.size, " ".join(who), self.form, self.spans)

    @property
    def is_loggers(self) -> bool:
        """Whether a logger wrote something, beyond who speaks."""
        return bool(self.level or self.time)


NO_HEADER = Header()


@dataclass(frozen=True, slots=True)
class HeaderFormat:
    """One format. first: characters that a line in it can begin with. speaker: says who speaks, and no level."""

    name: str
    regex: re.Pattern[str]
    first: str
    speaker: bool = False

    is_whole: bool = True
    """Whether it can stand behind a level of another: it says who speaks, or has a level and a time or a place."""
    is_bare: bool = False
    """A level and nothing else: behind that of another it counts if it is the graver."""


def header_format(name: str, regex: str, first: str, *, speaker: bool, nested: bool = False) -> HeaderFormat:
    """The format of a table in patterns.toml."""
    made = re.compile(_expanded(regex))
    groups = made.groupindex.keys()
    whole = speaker or ("level" in groups and not groups.isdisjoint({"time", "where"}))
    return HeaderFormat(name, made, first, speaker, whole or nested, nested)


def _expanded(regex: str) -> str:
    for macro, meaning in MACROS.items():
        regex = regex.replace(macro, meaning)
    return regex


class Formats:
    """All formats by the character that a line in them begins with. Most begin with the same kind of time: those are
    tried behind it, once it was found."""

    def __init__(self) -> None:
        self._by_first: dict[str, list[HeaderFormat]] = {}
        self._after_time: list[HeaderFormat] = []

    def add(self, form: HeaderFormat, regex: str) -> None:
        """The next format, in order. regex: its source, before <TIME> was filled in."""
        if regex.startswith(_TIME_FIRST):
            self._after_time.append(replace(form, regex=re.compile(_expanded(regex.removeprefix(_TIME_FIRST)))))
            return
        for character in form.first:
            self._by_first.setdefault(character, []).append(form)

    def match(
        self, text: str, at: int, has_level: bool
    ) -> tuple[HeaderFormat, re.Match[str], tuple[int, int] | None] | None:
        """The first format that fits at a place, its match, and where the time stood before that."""
        first = text[at : at + 1]
        if "0" <= first <= "9":
            time = _TIME.match(text, at)
            if time:
                for form in self._after_time:
                    if not has_level or form.is_whole:
                        found = form.regex.match(text, time.end())
                        if found:
                            return form, found, time.span()
                return None
        for form in self._by_first.get(first, ()):
            if not has_level or form.is_whole:
                found = form.regex.match(text, at)
                if found:
                    return form, found, None
        return None


def read_header(text: str, formats: Formats, learnt: Sequence[re.Pattern[str]] = ()) -> Header:
    """The header of one line, layer by layer. formats: by the first character. learnt: speakers that this log has."""
    found = _layers(text, 0, formats, learnt)
    if found.level or not text.startswith(("[", "(", "{"), found.size):
        return found
    at = found.size
    for _ in range(_MAX_TOKENS):
        token = _TOKEN.match(text, at)
        if not token:
            break
        at = token.end()
        behind = _layers(text, at, formats, ())
        if behind.level:
            where = behind.where or token[0].rstrip(" :").strip("[](){}")
            who = _joined(found.who, behind.who)
            return Header(found.time or behind.time, behind.level, where, behind.size, who, behind.form)
    return found


def _layers(text: str, at: int, formats: Formats, learnt: Sequence[re.Pattern[str]]) -> Header:
    time = where = (0, 0)
    who: list[tuple[int, int]] = []
    form = ""
    level: Level = ""
    start = at
    for _ in range(MAX_LAYERS):
        if level and not _NESTED.match(text, at):
            break
        hit = formats.match(text, at, bool(level))
        if not hit:
            speaker = next((m for p in learnt if (m := p.match(text, at))), None) if learnt else None
            if not speaker or speaker.end() == at:
                break
            who.append((at, at + len(speaker[0].rstrip())))
            at = speaker.end()
            continue
        candidate, found, before = hit
        groups = found.re.groupindex
        named = found["level"] if "level" in groups else None
        if level and candidate.is_bare and LEVELS.index(_LEVELS[found["level"][0].upper()]) <= LEVELS.index(level):
            break
        if time == (0, 0):
            time = before or _span(found, "time", groups)
        if "who" in groups:
            who.append(found.span("who"))
        if named:
            level = _LEVELS[named[0].upper()]
            where = _span(found, "where", groups)
        elif where == (0, 0):
            where = _span(found, "where", groups)
        if named or not level:
            form = candidate.name
        if found.end() == at:
            break
        at = found.end()
    if at == start:
        return Header(size=start) if start else NO_HEADER
    names = " ".join(text[a:b] for a, b in who)
    return Header(text[slice(*time)], level, text[slice(*where)], at, names, form, (time, where, *who))


def _span(found: re.Match[str], name: str, groups: Mapping[str, int]) -> tuple[int, int]:
    """Where a group stands; (0, 0) where it took no part."""
    span = found.span(name) if name in groups else (0, 0)
    return span if span[0] >= 0 else (0, 0)


def _joined(outer: str, inner: str) -> str:
    return f"{outer} {inner}" if outer and inner else outer or inner


def iso_time(text: str) -> str:
    """A time as logs print it, as ISO 8601 without a zone unless it has one; "" if it is none. A time without a year,
    as glog, vLLM and the system's journal print it, is given the year 2000."""
    found = _MOMENT.fullmatch(text)
    if found:
        year, month, day, hour, minute, second, fraction, zone = found.groups()
        made = f"{year or '2000'}-{month}-{day}T{hour}:{minute}:{second}"
        made += f".{fraction[:6]}" if fraction else ""
        return made + (zone or "")
    american = _AMERICAN.fullmatch(text)
    if american:
        month, day, year, clock = american.groups()
        return f"{year if len(year) == 4 else '20' + year}-{month}-{day}T{clock}"
    journal = _SYSLOG.fullmatch(text)
    if journal and journal[1] in _MONTHS:
        return f"2000-{_MONTHS.index(journal[1]) + 1:02d}-{int(journal[2]):02d}T{journal[3]}"
    return ""


def seconds_between(start: str, end: str) -> float | None:
    """Seconds from one ISO time to another; None where one is missing, not a date, or only one has a zone."""
    try:
        a, b = (datetime.fromisoformat(t) for t in (start, end))
    except ValueError:
        return None
    if (a.tzinfo is None) != (b.tzinfo is None):
        return None
    if a.tzinfo is None:
        a, b = a.replace(tzinfo=UTC), b.replace(tzinfo=UTC)
    return (b - a).total_seconds()
