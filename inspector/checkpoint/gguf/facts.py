"""The facts of a header: named values of thirteen types. What is short is kept, in words; of a vocabulary, how long it
is."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

from qinspect.inspector.checkpoint.gguf.cursor import Cursor
from qinspect.inspector.errors import BrokenFile
from qinspect.inspector.text import some

MAX_KEY_BYTES = 1 << 16
"""The format's own limit."""
MAX_TEXT_BYTES = 1 << 18
"""Longer strings are described. Chat templates have 20 kB."""
MAX_LISTED = 512
"""Longer arrays are described: of head counts, one of each layer."""
MAX_LISTED_BYTES = 1 << 12
_MAX_DEPTH = 4
_FLOAT32, _STRING, _ARRAY = 6, 8, 9
_NUMBERS = {
    0: ("B", 1, "uint8"),
    1: ("b", 1, "int8"),
    2: ("H", 2, "uint16"),
    3: ("h", 2, "int16"),
    4: ("I", 4, "uint32"),
    5: ("i", 4, "int32"),
    6: ("f", 4, "float32"),
    7: ("?", 1, "bool"),
    10: ("Q", 8, "uint64"),
    11: ("q", 8, "int64"),
    12: ("d", 8, "float64"),
}
_LEAST_BYTES = {_STRING: 8, _ARRAY: 12, **{i: width for i, (_, width, _) in _NUMBERS.items()}}


def read_facts(cursor: Cursor, n: int) -> Iterator[tuple[str, str]]:
    """`n` names with their values in words, in order: numbers as JSON has them, short arrays as its lists; long ones,
    and those of a tokenizer, as `array of 32000 strings`. Raises BrokenFile."""
    for _ in range(n):
        at = cursor.position
        length = cursor.u64()
        if length > MAX_KEY_BYTES:
            raise BrokenFile(
                "the name of a fact is longer than any is", file=cursor.file.path, offset=at,
                expected=f"at most {MAX_KEY_BYTES} bytes", found=str(length),
                cure="The header is damaged: download or copy the file again.",
            )  # fmt: skip
        key = text_of(cursor, cursor.take(length), at)
        yield key, _value(cursor, key)


def text_of(cursor: Cursor, raw: bytes, at: int) -> str:
    """A name. Raises BrokenFile where it is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise BrokenFile(
            "a name in the header is not UTF-8", file=cursor.file.path, offset=at, found=f"bytes {raw[:16].hex(' ')}",
            cure="The header is damaged: download or copy the file again.",
        ) from e  # fmt: skip


def _value(cursor: Cursor, key: str) -> str:
    kind = cursor.u32()
    if kind == _STRING:
        return _string(cursor)
    if kind == _ARRAY:
        return _array(cursor, key, 0)
    return _said(_numbers(cursor, kind, 1, key)[0], kind)


def _string(cursor: Cursor) -> str:
    length = cursor.u64()
    if length > MAX_TEXT_BYTES:
        cursor.skip(length)
        return f"text of {length} bytes"
    return cursor.take(length).decode("utf-8", errors="replace")


def _numbers(cursor: Cursor, kind: int, n: int, key: str) -> tuple[float, ...]:
    code, width, _ = _NUMBERS[_known(cursor, kind, key)]
    return struct.unpack(f"{cursor.order}{n}{code}", cursor.take(n * width))


def _array(cursor: Cursor, key: str, depth: int) -> str:
    kind, n = _known(cursor, cursor.u32(), key), cursor.u64()
    if depth == _MAX_DEPTH or n * _LEAST_BYTES[kind] > cursor.remaining:
        raise BrokenFile(
            "an array in the header nests too deeply" if depth == _MAX_DEPTH
            else "an array in the header has more elements than the file has bytes for",
            file=cursor.file.path, key=key, offset=cursor.position, found=None if depth == _MAX_DEPTH else str(n),
            cure="The header is damaged: download or copy the file again.",
        )  # fmt: skip
    listed = n <= MAX_LISTED and not key.startswith("tokenizer.")
    if kind == _ARRAY:
        for _ in range(n):
            _array(cursor, key, depth + 1)
    elif kind == _STRING:
        start = cursor.position
        cursor.skip_strings(n)
        if listed and cursor.position - start <= MAX_LISTED_BYTES:
            cursor.position = start
            return json.dumps([_string(cursor) for _ in range(n)], ensure_ascii=False)
    elif listed:
        return f"[{', '.join(_said(x, kind) for x in _numbers(cursor, kind, n, key))}]"
    else:
        cursor.skip(n * _NUMBERS[kind][1])
    name = {_STRING: "string", _ARRAY: "array"}.get(kind) or f"{_NUMBERS[kind][2]} number"
    return f"array of {some(n, name)}"


def _known(cursor: Cursor, kind: int, key: str) -> int:
    if kind not in _LEAST_BYTES:
        raise BrokenFile(
            "a fact in the header is of a type that is not known", file=cursor.file.path, key=key,
            offset=cursor.position - 4, expected="0 to 12", found=str(kind),
            cure="The header is damaged, or a newer program wrote it.",
        )  # fmt: skip
    return kind


def _said(number: float, kind: int) -> str:
    """A number as JSON has it; of a float32, with no more digits than tell it from its neighbours."""
    if isinstance(number, bool):
        return "true" if number else "false"
    if kind != _FLOAT32:
        return str(number)
    texts = (f"{number:.{digits}g}" for digits in range(6, 10))
    return next((t for t in texts if struct.unpack("f", struct.pack("f", float(t)))[0] == number), str(number))
