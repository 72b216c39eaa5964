"""JSON as `json.dumps(content, indent=1, allow_nan=False)` writes it, several times as fast; and reading of objects
that say each thing once, and of those that this program wrote.

The encoder of the standard library is written in C only where there is no indent; with one, every token passes through
as many generators as it is deep.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Any

from qinspect.inspector.errors import BrokenFile, CannotOpen
from qinspect.inspector.text import brief

Json = dict[str, Any]
"""An object, ready to be written."""


class KeyTwice(ValueError):
    """An object names a key more than once: it says two things, and which of them was meant nobody knows."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key[:120]!r} occurs twice")
        self.key = key


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The `object_pairs_hook` of a reader that believes no key that is there twice. Raises KeyTwice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise KeyTwice(max(counts, key=counts.__getitem__))
    return made


def read_object(path: Path, schema: str, missing: CannotOpen) -> Json:
    """The object in a file of this program's, of one `schema`. Raises `missing` where there is no file, CannotOpen
    where it cannot be read or is of another schema, BrokenFile for what is not JSON."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as e:
        raise missing from e
    except OSError as e:
        raise CannotOpen(f"cannot be read: {e.strerror}", file=path) from e
    except (ValueError, RecursionError) as e:
        raise BrokenFile("is not valid JSON", file=path) from e
    if not isinstance(content, dict) or content.get("schema") != schema:
        found = content.get("schema") if isinstance(content, dict) else content
        raise CannotOpen("is of another kind or version", file=path, expected=schema, found=brief(found))
    return content


def finite(value: float | None) -> float | None:
    """JSON has no NaN and no infinity: null."""
    return value if value is not None and math.isfinite(value) else None


def closed_object(properties: Json) -> Json:
    """The JSON schema of an object that has these properties and no others."""
    return {"type": "object", "additionalProperties": False, "required": list(properties), "properties": properties}


def json_text(content: object, line: str = "\n") -> str:
    """The text. line: the line end and indent of what `content` stands in.

    Raises ValueError for numbers that JSON has not, TypeError for what is no JSON.
    """
    kind = content.__class__
    if kind in _WRITTEN:
        return _WRITTEN[kind](content)
    inner = f"{line} "
    if isinstance(content, dict):
        if not content:
            return "{}"
        # Scalars without a call of this function: they are nine of ten values.
        values = [
            _WRITTEN[v.__class__](v) if v.__class__ in _WRITTEN else json_text(v, inner) for v in content.values()
        ]
        keys = tuple(content)
        frame = _frame(keys, line)
        if frame is None:  # numbers, truths and None become names
            frame = _frame(tuple(next(iter(json.loads(json.dumps({k: 0})))) for k in keys), line) or ""
        return frame % tuple(values)
    if isinstance(content, (list, tuple)):
        if not content:
            return "[]"
        items = [_WRITTEN[v.__class__](v) if v.__class__ in _WRITTEN else json_text(v, inner) for v in content]
        return f"[{inner}{f',{inner}'.join(items)}{line}]"
    return json.dumps(content, allow_nan=False)


def large_json_text(content: object) -> str:
    """`json_text` of much content in which all numbers are integers, in a tenth of the time."""
    import msgspec

    try:
        raw = msgspec.json.encode(content)
    except (msgspec.MsgspecError, OverflowError, TypeError, ValueError):
        return json_text(content)
    # What the two write differently: other letters than ASCII's, escapes, fractions.
    if not raw.isascii() or b"\\" in raw or b"\x7f" in raw or _FRACTION.search(raw):
        return json_text(content)
    return msgspec.json.format(raw, indent=1).decode()


_FRACTION = re.compile(rb"(?:^|[:\[,])-?\d+[.eE]")


@lru_cache(1024)
def _frame(keys: tuple[str, ...], line: str) -> str | None:
    """An object of these keys, with a `%s` for each value: most objects of a large text have the keys of another. None
    where a key is no string."""
    if not all(k.__class__ is str for k in keys):
        return None
    names = (encode_basestring_ascii(k).replace("%", "%%") for k in keys)
    return f"{{{line} {f',{line} '.join(f'{name}: %s' for name in names)}{line}}}"


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"not a number of JSON: {value}")
    return float.__repr__(value)


_WRITTEN: dict[type, Callable[[Any], str]] = {
    str: encode_basestring_ascii,
    int: int.__repr__,
    float: _float,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
}
