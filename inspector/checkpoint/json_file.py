"""JSON files beside the weights: an index, configs. Read in full, so bounded in size."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.errors import BrokenFile
from qinspect.inspector.json_text import unique_keys

MAX_JSON_BYTES = 1 << 26
MINUS_ZERO = re.compile(rb"-0(?![.eE0-9])")
"""Perhaps a size of `-0`, which is none."""


def read_json(path: Path, unique: bool = False) -> dict[str, Any]:
    """A JSON object. Raises BrokenFile where the file is anything else, or larger than MAX_JSON_BYTES; with `unique`
    also where an object names a key twice."""
    return parse_json(path, read_json_bytes(path), unique)


def read_json_bytes(path: Path) -> bytes:
    """What is in a file. Raises BrokenFile where it is larger than MAX_JSON_BYTES."""
    file = File(path)
    try:
        if file.size > MAX_JSON_BYTES:
            raise BrokenFile(
                "is too large", file=path, expected=f"at most {MAX_JSON_BYTES} bytes", found=f"{file.size}"
            )
        return file.read(0, file.size)
    finally:
        file.close()


def parse_json(path: Path, raw: bytes, unique: bool = False) -> dict[str, Any]:
    """`read_json` of bytes that are those of `path`."""
    try:
        content = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=unique_keys if unique else None)
    except RecursionError as e:
        raise BrokenFile("nests too deeply to be read", file=path) from e
    except ValueError as e:
        raise _invalid(path, raw, e) from e
    if not isinstance(content, dict):
        raise BrokenFile("is not a JSON object", file=path, expected="an object", found=json_type(content))
    return content


def json_type(value: object) -> str:
    """What a parsed JSON value is, in words; an object may have been parsed as pairs."""
    names = {dict: "an object", tuple: "an object", list: "a list", str: "a string", bool: "true or false",
             int: "a number", float: "a number", type(None): "null"}  # fmt: skip
    return names.get(type(value), type(value).__name__)


def _invalid(path: Path, raw: bytes, problem: ValueError) -> BrokenFile:
    from qinspect.inspector.checkpoint.kinds.words import as_text, first_words, pointer_kind, text_kind

    if not raw.strip():
        return BrokenFile("is empty", file=path, cure="Download or copy it again.")
    text = as_text(raw[:4096])
    kind = pointer_kind(text) if text else None
    if kind is None and text and text.lstrip()[:1] not in "{[":
        kind = text_kind(raw[:4096], path.with_suffix(""))
    if kind is not None:
        return BrokenFile(kind.sentence, file=path, expected="JSON", found=kind.found, cure=kind.cure)
    return BrokenFile(
        f"is not valid JSON: {problem}", file=path, found=first_words(raw), cure="Repair or download it again."
    )
