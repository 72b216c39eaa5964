"""What a logger puts before a message: time, level, place. The formats are data, `[[log_header]]` in patterns.toml."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from qinspect.inspector.logs.event import Level

TIME = r"\d{4}-\d\d-\d\d[:T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
LEVEL = (
    "TRACE|DEBUG|INFO|NOTICE|SUCCESS|WARN(?:ING)?|ERR(?:OR)?|CRITICAL|FATAL|PANIC|trace|debug|info|notice|warn(?:ing)?"
    "|error|critical|fatal"
)
MACROS = {"<TIME>": TIME, "<LEVEL>": LEVEL}
_LEVELS: dict[str, Level] = {
    "T": "debug",
    "D": "debug",
    "I": "info",
    "N": "info",
    "S": "info",
    "W": "warning",
    "E": "error",
    "C": "error",
    "F": "error",
    "P": "error",
}
_RANK = re.compile(r"\[(?:rank ?|default)\d{1,5}\]:\s?")
_MOMENT = re.compile(
    r"(?:(\d{4})-)?(\d\d)-?(\d\d)[:T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Header:
    """time, level and where are "" if the line does not say. size: characters before the message."""

    time: str = ""
    level: Level = ""
    where: str = ""
    size: int = 0


NO_HEADER = Header()


@dataclass(frozen=True, slots=True)
class HeaderFormat:
    """One logging format. first: characters that a line in it can begin with."""

    name: str
    regex: re.Pattern[str]
    first: str


def read_header(text: str, formats: dict[str, list[HeaderFormat]]) -> Header:
    """The header of one line; formats by first character. `[rank0]: ` before it counts to its size."""
    start = 0
    if text[:2] in ("[r", "[d"):
        rank = _RANK.match(text)
        start = rank.end() if rank else 0
    for form in formats.get(text[start : start + 1], ()):
        found = form.regex.match(text, start)
        if found:
            parts = found.groupdict()
            level = parts.get("level") or ""
            return Header(
                parts.get("time") or "",
                _LEVELS[level[0].upper()] if level else "",
                parts.get("where") or "",
                found.end(),
            )
    return Header(size=start) if start else NO_HEADER


def iso_time(text: str) -> str:
    """A time as logs print it, as ISO 8601 without a zone unless it has one; "" if it is none. A time without a year,
    as glog and vLLM print it, is given the year 2000."""
    found = _MOMENT.fullmatch(text)
    if not found:
        return ""
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    made = f"{year or '2000'}-{month}-{day}T{hour}:{minute}:{second}"
    made += f".{fraction[:6]}" if fraction else ""
    return made + (zone or "")


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
