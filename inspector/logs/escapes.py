"""Escape sequences in logs: colours are kept as data, everything else that a terminal would obey is removed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from qinspect.inspector.text import visible

# Quantifiers are possessive: a hostile line must not make the search go back and forth. A string sequence (OSC, DCS)
# without its end loses only its introducer, or one stray byte would hide the rest of the line.
_SEQUENCE = re.compile(
    r"\x1b(?:\[([0-?]*+)[ -/]*+([@-~])|\][^\x07\x1b\x9c]*+(?:\x07|\x1b\\|\x9c)|[PX^_][^\x1b\x9c]*+(?:\x1b\\|\x9c)"
    r"|[ -/]*+[0-Z\\^-~]|[\[\]PX^_]?)"
)
Colour = int | tuple[int, int, int] | None
"""An index of the terminal's palette (0-255), red-green-blue, or None for the default."""


@dataclass(frozen=True, slots=True)
class Style:
    """What SGR sequences say about a run of text."""

    fg: Colour = None
    bg: Colour = None
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    reverse: bool = False


PLAIN = Style()
_ON = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "reverse"}
_OFF = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("reverse",)}


def without_escapes(text: str) -> str:
    """`text` without escape sequences; other control characters stay."""
    return _SEQUENCE.sub("", text) if "\x1b" in text else text


def last_overwrite(line: bytes) -> bytes:
    """What a carriage return leaves of a line: the last part that is not blank. tqdm writes the return first, others
    last; both clear what was there, so the rest of a longer earlier part is not kept."""
    if b"\r" not in line:
        return line
    end = len(line)
    while end > 0:
        start = line.rfind(b"\r", 0, end) + 1
        part = line[start:end]
        if part.strip():
            return part
        end = start - 1
    return b""


def plain(line: bytes) -> str:
    """The line as it is to be read: returns collapsed, no escape sequences, control characters visible."""
    return "".join(text for text, _ in clean(line))


def clean(line: bytes) -> list[tuple[str, Style]]:
    """One line of a log as runs of text and style, safe to show: no escape sequence, control character or character
    that reorders text is left in it; a tab is spaces up to the next multiple of eight. Adjacent runs differ in style.
    """
    text = last_overwrite(line.removesuffix(b"\n")).decode("utf-8", "replace").removesuffix("\r")
    if text.isascii() and text.isprintable():
        return [(text, PLAIN)] if text else []
    runs: list[tuple[str, Style]] = []
    style, at, column = PLAIN, 0, 0
    for found in [*_SEQUENCE.finditer(text), None]:
        piece = _visible(text[at : found.start() if found else len(text)], column)
        column += len(piece)
        if piece and runs and runs[-1][1] == style:
            runs[-1] = (runs[-1][0] + piece, style)
        elif piece:
            runs.append((piece, style))
        if found:
            at = found.end()
            if found[2] == "m":
                style = _restyled(style, found[1])
    return runs


def _visible(text: str, column: int) -> str:
    if "\t" not in text:
        return visible(text)
    made: list[str] = []
    for i, part in enumerate(text.split("\t")):
        if i:
            spaces = 8 - column % 8
            made.append(" " * spaces)
            column += spaces
        shown = visible(part)
        made.append(shown)
        column += len(shown)
    return "".join(made)


def _restyled(style: Style, parameters: str) -> Style:
    codes = [int(c) if c.isascii() and c.isdigit() and len(c) < 4 else 0 for c in re.split("[;:]", parameters[:100])]
    i = 0
    while i < len(codes):
        code = codes[i]
        i += 1
        if code == 0:
            style = PLAIN
        elif code in _ON:
            style = replace(style, **{_ON[code]: True})
        elif code in _OFF:
            style = replace(style, **dict.fromkeys(_OFF[code], False))
        elif code in (38, 48):
            colour, i = _extended(codes, i)
            style = replace(style, fg=colour) if code == 38 else replace(style, bg=colour)
        elif 30 <= code <= 39 or 90 <= code <= 97:
            style = replace(style, fg=_basic(code, 30))
        elif 40 <= code <= 49 or 100 <= code <= 107:
            style = replace(style, bg=_basic(code, 40))
    return style


def _basic(code: int, base: int) -> Colour:
    if code == base + 9:
        return None
    return code - base if code < 90 else code - base - 60 + 8


def _extended(codes: list[int], i: int) -> tuple[Colour, int]:
    """The colour after 38 or 48: `5;n` or `2;r;g;b`. Returns it and where the next code is."""
    if codes[i : i + 1] == [5] and len(codes) > i + 1:
        return min(255, codes[i + 1]), i + 2
    if codes[i : i + 1] == [2] and len(codes) > i + 3:
        r, g, b = (min(255, c) for c in codes[i + 1 : i + 4])
        return (r, g, b), i + 4
    return None, len(codes)
