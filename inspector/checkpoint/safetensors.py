"""safetensors files: the header is validated in full before any of it is believed.

Layout: 8 bytes little-endian header length, the JSON header, then the data that `data_offsets` point into,
relative to the end of the header (https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from qinspect.inspector.checkpoint.columns import Columns
from qinspect.inspector.checkpoint.dtypes import DTYPES, SAFETENSORS, DType
from qinspect.inspector.checkpoint.json_file import MINUS_ZERO, json_type
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.tensor import MAX_ELEMENTS, MAX_SIZE, Tensor
from qinspect.inspector.collector import collector_resting
from qinspect.inspector.errors import BrokenFile
from qinspect.inspector.text import brief, dims

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""

LARGE_HEADER_BYTES = 1 << 17
"""From here on a header is first tried as columns: below, msgspec takes longer to import than it saves."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(r"\\(?:u([dD][89abAB]..)(\\u[dD][c-fC-F]..)?|u([dD][c-fC-F]..)|u....|.)", re.DOTALL)

_FIELDS = ("dtype", "shape", "data_offsets")
Pairs = tuple[tuple[str, Any], ...]
_DTYPES: dict[str, DType] = {name: DTYPES[ours] for name, ours in SAFETENSORS.items()}


def looks_like_safetensors(head: bytes, size: int) -> bool:
    """Whether the first bytes can be a safetensors header: a plausible length, then `{`."""
    return len(head) >= 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= max(size, MAX_HEADER_BYTES)


def read_header(file: Source) -> Columns:
    """All tensors of one file, in the order of the header, with its `__metadata__`.

    Raises BrokenFile for a length beyond the file or the limit, JSON that is not as the format says, unknown
    dtypes, offsets that leave the file, overlap or leave holes, and shapes that do not fit their bytes.
    """
    if file.size < 8:
        raise BrokenFile(
            "is too short to be a safetensors file",
            file=file.path,
            expected="at least 8 bytes",
            found=f"{file.size}",
            cure="Download or copy it again.",
        )
    length = int.from_bytes(file.read(0, 8), "little")
    if length > MAX_HEADER_BYTES and file.read(8, min(1, file.size - 8)) != b"{":
        raise BrokenFile(
            "does not begin as a safetensors file does",
            file=file.path,
            offset=0,
            expected="8 bytes with the length of a JSON header, then {",
            found=f"bytes {file.read(0, min(16, file.size)).hex(' ')}",
            cure="Its beginning was lost, or it is a file of another kind: download or copy it again.",
        )
    if length > MAX_HEADER_BYTES:
        raise BrokenFile(
            "the header length is over the format's limit",
            file=file.path,
            offset=0,
            expected=f"at most {MAX_HEADER_BYTES} bytes",
            found=str(length),
            cure="The file is damaged: download or copy it again.",
        )
    if 8 + length > file.size:
        raise BrokenFile(
            "the header reaches beyond the end of the file",
            file=file.path,
            offset=0,
            expected=f"a header of at most {file.size - 8} bytes",
            found=f"{length} bytes",
            cure="The file is truncated: download or copy it again.",
        )
    raw = file.read(8, length)
    if length >= LARGE_HEADER_BYTES:
        from qinspect.inspector.checkpoint.header_columns import columns_of

        if found := columns_of(file, raw, 8 + length, _DTYPES):
            return found
    return _entry_by_entry(file, raw, 8 + length)


def _entry_by_entry(file: Source, raw: bytes, data_start: int) -> Columns:
    """The same of any header, with the reason where there is something wrong with it."""
    pairs = _parse_json(file, raw)
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] | None = None
    for name, fields in pairs:
        if name in tensors or (name == "__metadata__" and metadata is not None):
            raise twice(file, name)
        if name == "__metadata__":
            metadata = _metadata(file, fields)
        else:
            key = sys.intern(name)  # the index and the other model have the same names: one string for all
            tensors[key] = tensor_of(file, key, fields, data_start)
    _check_layout(file, tensors, data_start)
    return Columns.of(file, tensors.values(), metadata or {})


def each_entry(file: Source) -> tuple[Pairs, dict[str, str], int]:
    """The entries of a header that `read_header` refuses, each as it stands there, what is sound of its metadata, and
    where the data begin. Raises BrokenFile where there is no header."""
    length = int.from_bytes(file.read(0, 8), "little")
    pairs = _parse_json(file, file.read(8, length))
    metadata: dict[str, str] = {}
    for name, fields in pairs:
        if name == "__metadata__":
            try:
                metadata = _metadata(file, fields)
            except BrokenFile:
                continue
    return tuple(p for p in pairs if p[0] != "__metadata__"), metadata, 8 + length


def header_bytes(header: Mapping[str, object]) -> bytes:
    """What a safetensors file begins with: the length, and the header as JSON padded to 8 bytes."""
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw


def twice(file: Source, name: str) -> BrokenFile:
    """The error of a name that a header has more than once."""
    return BrokenFile(
        "the name occurs twice in the header",
        file=file.path,
        key=name,
        expected="each name once",
        cure="The writer is at fault: save the file again.",
    )


def _parse_json(file: Source, raw: bytes) -> Pairs:
    """The header's top level as pairs: `object_pairs_hook=tuple` keeps repeated names and runs in C."""
    # A header of 100 MB can hold 15 million tuples, over which the collector would go again and again: 55 s, not 7.
    try:
        with collector_resting():
            text = raw.decode("utf-8")
            _refuse_lone_surrogates(raw, text)
            # Only where one occurs, for a hook takes ten times as long.
            integer = _integer if MINUS_ZERO.search(raw) else None
            parsed = json.loads(text, object_pairs_hook=tuple, parse_constant=_no_constant, parse_int=integer)
    except RecursionError as e:
        raise BrokenFile("the header nests too deeply", file=file.path, offset=8, expected="two levels") from e
    except ValueError as e:
        from qinspect.inspector.checkpoint.kinds.words import first_words

        raise BrokenFile(
            "the header is not valid JSON",
            file=file.path,
            offset=8,
            expected="an object of tensor names",
            found=f"{e}, in {first_words(raw)}",
            cure="The file is damaged: download or copy it again.",
        ) from e
    if not isinstance(parsed, tuple):
        raise BrokenFile(
            "the header is not a JSON object", file=file.path, offset=8, expected="an object", found=json_type(parsed)
        )
    return parsed


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _integer(text: str) -> int | float:
    """`-0` is a number, but no size: JSON readers of other languages take it for a float."""
    return -0.0 if text == "-0" else int(text)


def _refuse_lone_surrogates(raw: bytes, text: str) -> None:
    """Half a character, which no other program can read. Python's json takes it."""
    if not _SURROGATE.search(raw):
        return
    for match in _ESCAPE.finditer(text):
        if (match[1] and not match[2]) or match[3]:
            raise ValueError(f"half a surrogate pair, {match[0]}, at character {match.start()}")


def _metadata(file: Source, fields: object) -> dict[str, str]:
    if fields is None:
        return {}
    if not isinstance(fields, tuple):
        raise BrokenFile("must be an object of strings", file=file.path, key="__metadata__", found=json_type(fields))
    for key, value in fields:
        if not isinstance(value, str):
            raise BrokenFile(
                "must be an object of strings",
                file=file.path,
                key=f"__metadata__.{key}",
                expected="a string",
                found=json_type(value),
            )
    made = dict(fields)
    if len(made) != len(fields):
        keys = sorted(k for k, _ in fields)
        raise twice(file, "__metadata__." + next(k for k, after in pairwise(keys) if k == after))
    return made


def tensor_of(file: Source, name: str, fields: object, data_start: int) -> Tensor:
    """One entry of a header, checked on its own. Raises BrokenFile."""
    dtype_name, shape, start, end = _fields_in_order(fields) or _fields_in_any_order(file, name, fields)
    dtype = _DTYPES.get(dtype_name)
    if dtype is None:
        raise BrokenFile(
            "the dtype is unknown",
            file=file.path,
            key=name,
            expected=f"one of {', '.join(SAFETENSORS)}",
            found=dtype_name,
        )
    n = 1
    for d in shape:
        if type(d) is not int or not 0 <= d <= MAX_SIZE:
            raise BrokenFile(
                "a dimension is not a size", file=file.path, key=name, expected="integers from 0", found=brief(d)
            )
        n *= d
        if n > MAX_ELEMENTS:
            raise BrokenFile(
                "the shape is larger than any file",
                file=file.path,
                key=name,
                expected=f"at most {MAX_ELEMENTS} elements",
                found=brief(n),
            )
    if type(start) is not int or type(end) is not int or not 0 <= start <= end or data_start + end > file.size:
        raise BrokenFile(
            "the data offsets leave the file",
            file=file.path,
            key=name,
            offset=min(data_start + max(0, start), file.size),
            expected=f"0 <= start <= end <= {file.size - data_start}",
            found=f"[{brief(start)}, {brief(end)}]",
            cure="The file is truncated or damaged: copy it again.",
        )
    if n * dtype.bits != 8 * (end - start):
        raise BrokenFile(
            "shape and dtype do not fit the bytes",
            file=file.path,
            key=name,
            offset=data_start + start,
            expected=f"{dtype.nbytes(n)} bytes for {dtype_name} {dims(tuple(shape))}",
            found=f"{end - start} bytes",
        )
    return Tensor(name, dtype, tuple(shape), None, file, data_start + start)


def _fields_in_order(fields: object) -> tuple[str, list[Any], int, int] | None:
    """The common case: exactly the three fields, in the order that every writer uses. `match` takes thrice the time."""
    if type(fields) is not tuple or len(fields) != 3:
        return None
    (first, dtype), (second, shape), (third, offsets) = fields  # JSON objects are tuples of pairs here
    if (first, second, third) != ("dtype", "shape", "data_offsets") or type(offsets) is not list or len(offsets) != 2:
        return None
    start, end = offsets
    if type(dtype) is str and type(shape) is list and type(start) is int and type(end) is int:
        return dtype, shape, start, end
    return None


def _fields_in_any_order(file: Source, name: str, fields: object) -> tuple[str, list[Any], int, int]:
    if not isinstance(fields, tuple):
        raise BrokenFile("the entry is not a JSON object", file=file.path, key=name, found=json_type(fields))
    fields = tuple(pair for pair in fields if pair[0] in _FIELDS)  # what else stands there is nobody's business
    named = dict(fields)
    if len(named) != len(fields) or len(named) != len(_FIELDS):
        raise BrokenFile(
            "the entry lacks a field, or has one twice",
            file=file.path,
            key=name,
            expected="dtype, shape and data_offsets, once each",
            found=", ".join(str(k)[:80] for k, _ in fields[:10]) or "none",
        )
    match named:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(end)]}:
            return dtype, shape, start, end
    raise BrokenFile(
        "a field has the wrong type",
        file=file.path,
        key=name,
        expected="dtype a string, shape a list of sizes, data_offsets two positions",
        found=", ".join(f"{k} {brief(v)}" for k, v in named.items()),
    )


def _check_layout(file: Source, tensors: dict[str, Tensor], data_start: int) -> None:
    """Every byte of the data belongs to exactly one tensor, as the format demands."""
    position = data_start
    for t in sorted(tensors.values(), key=_by_position):
        if t.offset != position:
            overlap = t.offset < position
            raise BrokenFile(
                "the data overlaps another tensor's" if overlap else "a hole precedes the data",
                file=file.path,
                key=t.name,
                offset=t.offset,
                expected=f"offset {position}",
                found=f"{t.offset}",
                cure="The writer is at fault: save the file again.",
            )
        position += t.nbytes
    if position != file.size:
        raise BrokenFile(
            "bytes after the last tensor belong to none",
            file=file.path,
            offset=position,
            expected=f"a file of {position} bytes",
            found=f"{file.size} bytes",
        )


def _by_position(t: Tensor) -> tuple[int, int]:
    return t.offset, t.nbytes
