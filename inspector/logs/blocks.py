"""Things that a log says over several lines: Python warnings, tables, JSON objects; tracebacks are in `tracebacks`.

A block is given the lines one by one. `add` says whether the line belongs to it; `events` are what it has to say so
far. Every block is bounded: what a hostile or huge log adds beyond is counted, not kept.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Protocol

from qinspect.inspector.logs.event import EventKind
from qinspect.inspector.text import visible

MAX_TABLE_ROWS = 10_000
MAX_COLUMNS = 200
MAX_JSON_CHARACTERS = 4_000_000
MAX_LINE_CHARACTERS = 2_000
Said = tuple[EventKind, dict[str, Any]]


class Block(Protocol):
    """Lines that belong together."""

    events: list[Said]
    done: bool

    def add(self, text: str, headed: bool) -> bool:
        """Whether the next line is part of it. headed: a logger's header stands before its message."""

    def blank(self) -> bool:
        """Whether it goes on after an empty line."""

    def finish(self) -> None:
        """There is no more; complete `events`."""


class WarningBlock:
    """What Python's warnings print: `place: Category: text`, then the line of code, indented."""

    STARTS = re.compile(r"(?P<where>[^\n]{1,500}?:\d{1,9}): (?P<category>\w{0,60}Warning): ?(?P<text>.*)", re.DOTALL)

    def __init__(self, found: re.Match[str]) -> None:
        self.events: list[Said] = []
        self.done = False
        self._fields = {
            "text": visible(found["text"], MAX_LINE_CHARACTERS),
            "category": found["category"],
            "where": visible(found["where"], 500),
            "source": "",
        }

    def add(self, text: str, headed: bool) -> bool:
        if self._fields["source"] or headed or not text.startswith("  "):
            return False
        self._fields["source"] = visible(text.strip(), MAX_LINE_CHARACTERS)
        return True

    def blank(self) -> bool:
        return False

    def finish(self) -> None:
        self.events.append(("warning", dict(self._fields)))
        self.done = True


class TableBlock:
    """A Markdown table: lm_eval's results and the like."""

    _RULER = re.compile(r"[ :|+-]*-[ :|+-]*")

    def __init__(self, text: str) -> None:
        self.events: list[Said] = []
        self.done = False
        self._rows = [_cells(text)]
        self._ruled = False
        self._left_out = 0

    @staticmethod
    def starts(text: str) -> bool:
        """Whether a line can be the header of a table."""
        return text.startswith("|") and text.endswith("|") and len(text) > 2

    def add(self, text: str, headed: bool) -> bool:
        text = text.strip()
        if not self.starts(text):
            return False
        if self._RULER.fullmatch(text):
            self._ruled = True
        elif len(self._rows) <= MAX_TABLE_ROWS:
            self._rows.append(_cells(text))
        else:
            self._left_out += 1
        return True

    def blank(self) -> bool:
        return False

    def finish(self) -> None:
        if self._ruled and len(self._rows) > 1:
            columns, *rows = self._rows
            rows = [(row + [""] * len(columns))[: len(columns)] for row in rows]
            self.events.append(("table", {"columns": columns, "rows": rows, "rows_left_out": self._left_out}))
        self.done = True


def _cells(text: str) -> list[str]:
    return [visible(c.strip(), 400) for c in text[1:-1].split("|")[:MAX_COLUMNS]]


class JsonBlock:
    """JSON objects over one or many lines, one after another without anything between: what results are appended as."""

    # What a line inside an object can begin with. Anything else, an error above all, ends what only looked like one.
    _LINE = re.compile(r'\s*(?:["{},:\-0-9\]]|\[(?!\w)|(?:true|false|null|NaN|Infinity)\b)')
    _TOKENS = re.compile(r'[{}\[\]"]|\\.')

    def __init__(self) -> None:
        self.events: list[Said] = []
        self.done = False
        self._parts: list[str] = []
        self._size = self._depth = 0
        self._in_string = False

    @staticmethod
    def starts(text: str) -> bool:
        """Whether a line begins an object; `{'a': 1}`, as Python prints it, does not."""
        return text.startswith("{") and (text.rstrip() == "{" or text[1:].lstrip()[:1] in ('"', "}"))

    def add(self, text: str, headed: bool) -> bool:
        if headed or not self._LINE.match(text):
            return False
        self._size += len(text) + 1
        if self._size > MAX_JSON_CHARACTERS:
            return False
        begin = 0
        for token in self._TOKENS.finditer(text):
            c = token[0]
            if c == '"':
                self._in_string = not self._in_string
            elif self._in_string or c[0] == "\\":
                continue
            elif c in "{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth <= 0:
                    self._parts.append(text[begin : token.end()])
                    self._complete()
                    begin = token.end()
                    if not self.starts(text[begin:].lstrip()):
                        self.done = True
                        return True
        self._in_string = False  # no string of JSON goes on over a line's end
        self._parts.append(text[begin:])
        return True

    def _complete(self) -> None:
        text = "\n".join(self._parts)
        self._parts, self._depth, self._size = [], 0, 0
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            return
        if isinstance(content, dict):
            self.events.append(("result", {"json": jsonable(content)}))

    def blank(self) -> bool:
        return True

    def finish(self) -> None:
        self.done = True


def jsonable(value: Any, depth: int = 0) -> Any:
    """The same without what JSON cannot hold: inf and nan as texts, what nests deeper than 50 levels as `...`."""
    if depth > 50:
        return "..."
    if isinstance(value, dict):
        return {str(k): jsonable(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v, depth + 1) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (str, int, float, bool)) else visible(str(value), 400)
