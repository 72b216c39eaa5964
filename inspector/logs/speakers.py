"""Who speaks in a log, and what each is in the midst of saying.

Several processes write into one log: lines of two tracebacks come in turn. A block belongs to its speaker, and to the
logger that heads its lines if it does. What a program or a collector writes before every line need not be known
beforehand: it is learnt from the log, from a traceback whose lines all begin alike, or from what most lines begin with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from qinspect.inspector.logs.blocks import Block
from qinspect.inspector.logs.header import TIME, Header

MAX_OPEN = 64
"""Blocks that are waited for at once; of more the oldest is ended."""
MAX_SILENCE_LINES = 500
"""Lines of others after which a block is not waited for any more."""
MAX_LEARNT = 8
MAX_PREFIX_CHARACTERS = 160
_MAX_SHAPES = 128
_MAX_WITHOUT = 2_000
_SURE_AFTER = 8
"""So many lines must begin alike, and most of those without a header."""
_PATIENCE = 40
"""Lines after which a traceback's prefix, seen nowhere else, is none."""
_MOVING = re.compile(
    rf"{TIME}|\d\d:\d\d:\d\d(?:[.,]\d+)?|\d{{1,4}}[-/]\d\d[-/]\d\d(?:\d\d)?|\d{{9,}}(?:\.\d+)?|\d+\.\d{{3,}}"
)
# `loss: 0.5` and the like are no speakers: a word must have something that tells one of several from another
_OPENING = re.compile(
    r"(?:<[^<>\s]{1,60}>|\[[^\[\]]{1,60}\]|\((?!\d)[^()]{1,60}\)"
    r"|(?=[A-Za-z.]{0,30}[\d@/-])[\w./@-]{1,60}(?=[:>|]))[:>|]?(?: |$)"
)
_DIGITS = re.compile(r"\d+")
_Key = tuple[str, str, str]
NOBODY: _Key = ("", "", "")


@dataclass(slots=True)
class Open:
    """A block that is not complete. at: where it began. key: its speaker and the logger of its first line. repeats:
    whether what stands before its first line stands before the later ones too; None as long as there are none."""

    block: Block
    at: tuple[int, int]
    key: _Key
    repeats: bool | None = None
    last_line: int = 0
    """Of it, so far."""

    @property
    def who(self) -> str:
        """Its speaker."""
        return self.key[0]


def key_of(header: Header) -> _Key:
    """Lines with the same key are of one logger in one process."""
    return (header.who, f"{header.form}/{header.level}" if header.is_loggers else "", header.where)


class Conversation:
    """Open blocks by speaker."""

    def __init__(self) -> None:
        self._open: list[Open] = []

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def plain(self) -> Open | None:
        """The block that was begun last, if nothing stands before its lines."""
        last = self._open[-1] if self._open else None
        return last if last is not None and last.key == NOBODY else None

    @property
    def last(self) -> Open:
        """The block that was begun last."""
        return self._open[-1]

    def add(self, block: Block, header: Header, at: tuple[int, int]) -> Open | None:
        """A block begins. The one that has to be ended for it, where there are too many."""
        self._open.append(Open(block, at, key_of(header), last_line=at[0]))
        return self._open.pop(0) if len(self._open) > MAX_OPEN else None

    def find(self, header: Header) -> Open | None:
        """The block that a line can go on with: what stands before it is the same, or less, for what a program writes
        before the first line of a traceback often stands before no other."""
        key = key_of(header)
        for found in reversed(self._open):
            if found.key == key and found.repeats is not False:
                return found
        if header.is_loggers:
            return None
        for found in reversed(self._open):
            if found.repeats is not True and (found.key[0] == header.who or not header.size):
                return found
        return None

    def interrupted(self, header: Header) -> list[Open]:
        """Blocks that a line of another logger of the same speaker ends."""
        if not header.is_loggers:
            return []
        key = key_of(header)
        return [o for o in self._open if o.key[0] == key[0] and o.key != key and (o.repeats is False or not o.key[1])]

    def of(self, who: str) -> list[Open]:
        """All of one speaker."""
        return [o for o in self._open if o.key[0] == who]

    def remove(self, gone: Open) -> None:
        """It is complete."""
        if gone in self._open:
            self._open.remove(gone)

    def __iter__(self) -> Iterator[Open]:
        return iter(list(self._open))


class Learnt:
    """What lines of this log begin with, beyond the known formats."""

    def __init__(self) -> None:
        self.patterns: list[re.Pattern[str]] = []
        self._counts: dict[str, int] = {}
        self._without: set[bytes] = set()
        self._n_lines = 0
        self._waiting: list[tuple[re.Pattern[str], Open, int]] = []

    def wait_for(self, before: str, opened: Open) -> None:
        """A traceback stands behind a text: if a next line begins so, it is what each line begins with."""
        if 2 < len(before) <= MAX_PREFIX_CHARACTERS and len(self._waiting) < MAX_LEARNT:
            self._waiting.append((_shape(before), opened, self._n_lines))

    def look_for_traceback(self, text: str) -> bool:
        """Take one line while tracebacks are open. Whether it begins as one of them did: that is learnt now."""
        self._n_lines += 1
        for waiting in self._waiting:
            pattern, opened, since = waiting
            found = pattern.match(text)
            if found or self._n_lines - since > _PATIENCE:
                self._waiting.remove(waiting)
                if found and found.end():
                    self._learn(pattern)
                    opened.key = (found[0].strip(), "", "")
                    return True
                break
        return False

    def look(self, text: str, shape: bytes) -> bool:
        """Take one line without a known header. Whether it begins as most lines do: that is learnt now. shape: of the
        line, b"" if it is not known."""
        if len(self.patterns) >= MAX_LEARNT:
            return False
        self._n_lines += 1
        if shape in self._without:
            return False
        found = _OPENING.match(text)
        if not found:
            if shape and len(self._without) < _MAX_WITHOUT:
                self._without.add(shape)
            return False
        beginning = _DIGITS.sub("0", found[0])
        if beginning not in self._counts and len(self._counts) >= _MAX_SHAPES:
            return False
        n = self._counts[beginning] = self._counts.get(beginning, 0) + 1
        if n >= _SURE_AFTER and n * 10 >= self._n_lines * 9:
            parts = (re.escape(p) for p in _DIGITS.split(found[0]))
            pattern = re.compile(r"\d{1,20}".join(parts))
            self._learn(pattern)
            return True
        return False

    def _learn(self, pattern: re.Pattern[str]) -> None:
        if pattern not in self.patterns:
            self.patterns.append(pattern)


def _shape(before: str) -> re.Pattern[str]:
    """The same text at another time."""
    made, at = [], 0
    for moving in _MOVING.finditer(before):
        digits = _DIGITS.sub(lambda m: rf"\d{{1,{max(4, len(m[0]))}}}", re.escape(moving[0]))
        made += [re.escape(before[at : moving.start()]), digits]
        at = moving.end()
    n_spaces = len(before) - len(before.rstrip())
    return re.compile("".join([*made, re.escape(before[at:].rstrip()), f" {{0,{n_spaces}}}"]))
