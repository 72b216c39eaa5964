"""What lines mean, as data: patterns.toml of this package, and `[[log_pattern]]` tables in the user's config file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from qinspect.inspector.config import config_path
from qinspect.inspector.logs.event import LEVELS
from qinspect.inspector.logs.header import MACROS, Formats, Header, header_format, read_header
from qinspect.inspector.text import visible

PATTERN_KINDS = ("phase", "progress", "point", "warning", "error", "setting", "note", "count")
MAX_MATCHED_CHARACTERS = 4096
"""A pattern sees the first this many characters of a message; one with a needle, the last as many too."""
MAX_SHAPES = 2_000
"""Shapes of messages that are remembered."""
_STRINGS = (
    "name", "tool", "regex", "kind", "text", "phase", "point", "needle", "level", "concludes", "whole", "of", "settled",
)  # fmt: skip
_TABLES = ("convert", "effective", "requested")
_FLAGS = ("starts_run", "ends_run")
_REPEATED_REPEAT = re.compile(r"(?<!\\)[+*}]\)+(?:[+*]|\{\d*,)")
_TRUE = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True, slots=True)
class Pattern:
    """One rule. docs/logs.md says what each field does; groups of the regex become fields of the event."""

    name: str
    regex: re.Pattern[str]
    kind: str
    tool: str = ""
    text: str = ""
    phase: str = ""
    point: str = ""
    needle: str = ""
    level: str = ""
    concludes: str = ""
    whole: str = ""
    of: str = ""
    settled: str = ""
    convert: dict[str, str] = field(default_factory=dict)
    effective: dict[str, Any] = field(default_factory=dict)
    requested: dict[str, Any] = field(default_factory=dict)
    starts_run: bool = False
    ends_run: bool = False

    def groups(self, found: re.Match[str]) -> dict[str, Any]:
        """The named groups that took part, converted."""
        return {k: convert(v, self.convert.get(k, "")) for k, v in found.groupdict().items() if v is not None}


@dataclass(frozen=True, slots=True)
class Patterns:
    """All rules, ready to match. problems: one sentence for each that had to be left out."""

    by_start: dict[str, list[Pattern]]
    anywhere: list[Pattern]
    anywhere_by_shape: list[tuple[Pattern, bytes]]
    """The same with the shape of each needle."""
    headers: Formats
    problems: tuple[str, ...] = ()
    seen: dict[bytes, tuple[Pattern, ...]] = field(default_factory=dict)

    def header(self, text: str, learnt: Sequence[re.Pattern[str]] = ()) -> Header:
        """What stands before the message. learnt: speakers that this log has, see `speakers`."""
        return read_header(text, self.headers, learnt)

    def match(self, message: str, shape: bytes = b"") -> list[tuple[Pattern, re.Match[str]]]:
        """The first anchored pattern that fits the message, then every one with a needle that is found in it. shape: of
        the message, if it is known."""
        made = []
        head = message[:MAX_MATCHED_CHARACTERS] if len(message) > MAX_MATCHED_CHARACTERS else message
        for patterns in (self.by_start.get(head[:_KEY], ()), self.by_start.get("", ())):
            for pattern in patterns:
                found = pattern.regex.match(head)
                if found:
                    made.append((pattern, found))
                    break
            if made:
                break
        made += self._anywhere(head, shape if shape and head is message else shape_of(head))
        if head is not message:
            tail = message[MAX_MATCHED_CHARACTERS:][-MAX_MATCHED_CHARACTERS:]
            made += self._anywhere(tail, shape_of(tail))
        return made

    def _anywhere(self, part: str, shape: bytes) -> list[tuple[Pattern, re.Match[str]]]:
        return [
            (pattern, found)
            for pattern in self._with_needle(shape)
            if pattern.needle in part and (found := pattern.regex.search(part))
        ]

    def _with_needle(self, shape: bytes) -> tuple[Pattern, ...]:
        """Patterns whose needle can be in a text of this shape: few texts of a log have one of their own."""
        known = self.seen.get(shape)
        if known is None:
            if len(self.seen) >= MAX_SHAPES:
                self.seen.clear()
            known = self.seen[shape] = tuple(p for p, needle in self.anywhere_by_shape if needle in shape)
        return known


_DIGITS = bytes.maketrans(b"123456789", b"000000000")


def shape_of(text: str) -> bytes:
    """A text, as UTF-8, with all digits alike: lines of a log are alike in that."""
    return text.encode("utf-8", "replace").translate(_DIGITS)


_KEY = 3
"""Characters by which anchored patterns are looked up."""


def convert(value: str, kind: str) -> Any:
    """A matched text as int, float or bool; the text itself where it is none. inf and nan stay texts: JSON has none."""
    try:
        if kind == "int":
            return int(value.replace(",", "")) if len(value) < 19 else visible(value, 80)
        if kind == "float":
            number = float(value.replace(",", ""))
            return number if abs(number) < float("inf") else str(number)
    except ValueError:
        return visible(value, 400)
    return value.strip().lower() in _TRUE if kind == "bool" else visible(value, 4000)


def load_patterns(config: Path | None = None) -> Patterns:
    """The built-in patterns and the user's. What is wrong in the user's file is a sentence in `problems`, never an
    error: the rest works. The user's come first, so that they win."""
    return _assemble(config or config_path())


@cache
def builtin_patterns() -> Patterns:
    """The built-in patterns alone."""
    return _assemble(None)


def _assemble(config: Path | None) -> Patterns:
    problems: list[str] = []
    shipped = tomllib.loads((files("qinspect.inspector.logs") / "patterns.toml").read_text(encoding="utf-8"))
    made: list[Pattern] = []
    if config is not None:
        made += _compile_all(_user_tables(config, problems), str(config), problems)
    made += _compile_all(shipped["log_pattern"], "patterns.toml", problems)
    headers = Formats()
    for kind in ("log_speaker", "log_header"):
        for table in shipped[kind]:
            regex = table["regex"]
            form = header_format(
                table["name"], regex, table["first"], speaker=kind == "log_speaker", nested=table.get("nested", False)
            )
            headers.add(form, regex)
    by_start: dict[str, list[Pattern]] = {}
    for pattern in made:
        if not pattern.needle:
            by_start.setdefault(_start(pattern.regex.pattern), []).append(pattern)
    anywhere = [p for p in made if p.needle]
    return Patterns(by_start, anywhere, [(p, shape_of(p.needle)) for p in anywhere], headers, tuple(problems))


def _user_tables(config: Path, problems: list[str]) -> list[Any]:
    try:
        content = tomllib.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        problems.append(visible(f"{config}: {e}. Correct the file; the built-in log patterns are used", 600))
        return []
    tables = content.get("log_pattern", [])
    if isinstance(tables, list):
        return tables
    problems.append(
        visible(f"{config}: log_pattern is not a list of tables. Write [[log_pattern]] before each one", 600)
    )
    return []


def _compile_all(tables: Iterable[Any], file: str, problems: list[str]) -> list[Pattern]:
    made = []
    for i, table in enumerate(tables, 1):
        name = table.get("name") if isinstance(table, dict) else None
        try:
            made.append(_compile(table))
        except _Unusable as e:
            which = f"log_pattern {name!r}" if isinstance(name, str) and name else f"log_pattern number {i}"
            problems.append(visible(f"{file}: {which}: {e}; the other patterns are used", 600))
    return made


class _Unusable(Exception):
    """A table that makes no pattern; says why and what to do."""


def _compile(table: Any) -> Pattern:
    if not isinstance(table, dict):
        raise _Unusable("it is not a table. Write [[log_pattern]] and its fields below")
    for key, value in table.items():
        known: Callable[[Any], bool] | None = _FIELDS.get(key)
        if known is None:
            raise _Unusable(f"there is no field {key!r}. The fields are {', '.join(_FIELDS)}")
        if not known(value):
            raise _Unusable(f"{key} has the wrong type. See docs/logs.md for what it takes")
    missing = next((k for k in ("name", "regex", "kind") if not table.get(k)), None)
    if missing:
        raise _Unusable(f"{missing} is missing. Give name, regex and kind")
    if table["kind"] not in PATTERN_KINDS:
        raise _Unusable(f"unknown kind {table['kind']!r}. Use one of {', '.join(PATTERN_KINDS)}")
    if table.get("level", "") not in LEVELS:
        raise _Unusable(f"unknown level {table['level']!r}. Use one of {', '.join(LEVELS[1:])}")
    if _REPEATED_REPEAT.search(table["regex"]):
        raise _Unusable("the regex repeats a repetition, which can take for ever. Write (a+)+ as a+")
    try:
        regex = re.compile(_expanded(table["regex"]))
    except (re.error, RecursionError, OverflowError) as e:
        raise _Unusable(f"the regex is not valid ({e}). Correct it; in TOML write it between single quotes") from e
    if table["kind"] == "progress" and "done" not in regex.groupindex:
        raise _Unusable("a progress pattern needs a group (?P<done>...), and (?P<total>...) where there is one. Add it")
    return Pattern(**{**table, "regex": regex})


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_plain_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(v, (str, bool, int, float)) for v in value.values())


_FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(_STRINGS, _is_text),
    **dict.fromkeys(_TABLES, _is_plain_table),
    **dict.fromkeys(_FLAGS, _is_flag),
}


def _expanded(regex: str) -> str:
    for macro, meaning in MACROS.items():
        regex = regex.replace(macro, meaning)
    return regex


def _start(regex: str) -> str:
    """The first characters that every match begins with, "" where the regex does not say so plainly."""
    literal = re.match(r"[A-Za-z0-9 _:,=]*", regex)
    start = literal[0] if literal else ""
    after = regex[len(start) : len(start) + 1]
    if after and after in "*+?{":
        start = start[:-1]
    if "|" in re.sub(r"\((?:[^()]|\([^()]*\))*\)", "", regex) or len(start) < _KEY:
        return ""
    return start[:_KEY]
