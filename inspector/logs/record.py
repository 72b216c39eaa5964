"""Log lines that are JSON objects: of structlog, loguru, pino, GCP, logstash, and what collectors wrap a line in."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from qinspect.inspector.logs.event import Level

_LEVEL = ("level", "levelname", "severity", "lvl", "log.level", "log_level", "loglevel")
_MESSAGE = ("message", "msg", "event", "textPayload", "text", "body")
_TIME = ("timestamp", "time", "ts", "@timestamp", "asctime", "t")
_EXCEPTION = ("exception", "exc_info", "exc_text", "stack_trace", "stack", "traceback", "error.stack_trace")
_CAUSE = ("error", "err")
"""What zap, logrus and zerolog call what went wrong, beside the message."""
_WHERE = ("logger", "name", "logger_name", "caller", "module")
_NUMBERS: tuple[tuple[int, Level], ...] = ((50, "error"), (40, "warning"), (30, "info"), (0, "debug"))
"""pino's and Python's numbers: for both, 40 and 50 are the two above the usual one."""
_WORDS: dict[str, Level] = {
    "trace": "debug",
    "debug": "debug",
    "default": "info",
    "info": "info",
    "information": "info",
    "notice": "info",
    "success": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "err": "error",
    "critical": "error",
    "fatal": "error",
    "alert": "error",
    "emergency": "error",
    "panic": "error",
}
MAX_EXCEPTION_CHARACTERS = 200_000


@dataclass(frozen=True, slots=True)
class Record:
    """What such a line says. wrapped: `message` is itself a line of a log, which a collector wrapped."""

    message: str
    level: Level = ""
    time: str = ""
    where: str = ""
    who: str = ""
    exception: str = ""
    wrapped: bool = False


def record_of(content: dict[str, Any]) -> Record | None:
    """The record that an object is; None where it is none, but a result or whatever else."""
    line = content.get("log")
    if isinstance(line, str) and ("stream" in content or "kubernetes" in content):
        who = content.get("stream")
        return Record(line.rstrip("\n"), time=_time(content), who=who if isinstance(who, str) else "", wrapped=True)
    inner = content.get("record")
    if isinstance(inner, dict) and isinstance(inner.get("level"), dict):  # loguru's serialize=True
        flat = {**inner, "level": inner["level"].get("name")}
        exception = inner.get("exception")
        text = content.get("text")
        flat["exception"] = text if exception and isinstance(text, str) else ""
        return record_of(flat)
    payload = content.get("jsonPayload")
    if isinstance(payload, dict):
        content = {**payload, **{k: v for k, v in content.items() if k != "jsonPayload"}}
    level = _level(content)
    message = _first_text(content, _MESSAGE)
    if not level or message is None:
        return None
    exception = _first_text(content, _EXCEPTION)
    exception = exception or _first_text(_inner(content, "error", "err"), ("stack", "stack_trace"))
    if level == "error" and not exception:
        exception = _first_text(content, _CAUSE)
    where = _first_text(content, _WHERE) or ""
    return Record(message, level, _time(content), where, exception=(exception or "")[-MAX_EXCEPTION_CHARACTERS:])


def _level(content: dict[str, Any]) -> Level:
    for name in _LEVEL:
        value = content.get(name)
        if isinstance(value, str):
            return _WORDS.get(value.strip().lower(), "")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return next((level for least, level in _NUMBERS if value >= least), "")
    log = content.get("log")
    return _level(log) if isinstance(log, dict) and "level" in log else ""


def _first_text(content: dict[str, Any], names: Iterable[str]) -> str | None:
    for name in names:
        value = content.get(name)
        if isinstance(value, str) and (value or name in _MESSAGE):
            return value
    return None


def _inner(content: dict[str, Any], *names: str) -> dict[str, Any]:
    return next((content[n] for n in names if isinstance(content.get(n), dict)), {})


def _time(content: dict[str, Any]) -> str:
    for name in _TIME:
        value = content.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 1e8 < value < 1e14:
            seconds = value / 1000 if value > 1e11 else value
            return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return ""
