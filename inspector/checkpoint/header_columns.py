"""Large headers and indexes of safetensors files by msgspec, where nothing about them is unusual.

Everything here only ever says yes: a header that lacks a field, has a name twice, an escape, a size that is none, a
hole in the data, ... is left to `safetensors` and `index`, which go entry by entry and know what to say. That takes
four times as long.
"""

from __future__ import annotations

import json
import re
import sys
from array import array
from collections.abc import Mapping
from hashlib import blake2b
from operator import attrgetter, sub
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from qinspect.inspector.checkpoint.columns import Columns, Form, rows_in_order, shared_form
from qinspect.inspector.checkpoint.dtypes import DType
from qinspect.inspector.checkpoint.json_file import MINUS_ZERO
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.tensor import MAX_ELEMENTS, MAX_SIZE

_METADATA_FIRST = re.compile(rb'\s*\{\s*"__metadata__"\s*:\s*(\{[^{}\\]*\})\s*,')
"""As every writer writes it. A brace within a string ends the match too early, and then what was matched is no JSON."""

_QUOTES_PER_ENTRY = 10
"""Of the name, three fields and the dtype."""


class _Fields(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class _Index(msgspec.Struct, forbid_unknown_fields=True):
    weight_map: dict[str, str]
    metadata: msgspec.Raw = msgspec.Raw(b"")


_INDEX_DECODER = msgspec.json.Decoder(_Index)
_DECODER = msgspec.json.Decoder(dict[str, _Fields])
_form_of = attrgetter("dtype", "shape")
_offsets_of = attrgetter("data_offsets")


def columns_of(file: Source, raw: bytes, data_start: int, dtypes: Mapping[str, DType]) -> Columns | None:
    """Columns of the header `raw`, whose data begin at `data_start`; None where it is unusual.

    Two models that are compared mostly have the same headers: those of a file that is still open are not read again.
    """
    key = (blake2b(raw, digest_size=32).digest(), file.size)
    known = _known.get(key)
    columns = _read(file, raw, data_start, dtypes) if known is None else known.of_file(file)
    if columns is not None and known is None:
        _known[key] = columns
    return columns


_known: WeakValueDictionary[tuple[bytes, int], Columns] = WeakValueDictionary()


def _read(file: Source, raw: bytes, data_start: int, dtypes: Mapping[str, DType]) -> Columns | None:
    if not raw.isascii() or b"\\" in raw:
        return None
    metadata: dict[str, str] | None = {}
    if match := _METADATA_FIRST.match(raw):
        metadata = _metadata(match[1])
        raw = b"{" + raw[match.end() :]
    entries = _decoded(raw)
    if not entries or metadata is None:
        return None
    numbers: dict[tuple[str, tuple[int, ...]], int] = {}
    form_of = array("I", [numbers.setdefault(form, len(numbers)) for form in map(_form_of, entries.values())])
    forms = [_form(dtypes, *form) for form in numbers]
    offsets = list(map(_offsets_of, entries.values()))
    starts, ends = zip(*offsets, strict=True)
    if not rows_in_order(starts, ends, file.size - data_start):
        in_order_of_data = sorted(offsets)
        first, last = [o[0] for o in in_order_of_data], [o[1] for o in in_order_of_data]
        if not rows_in_order(first, last, file.size - data_start):
            return None
    found: list[Form] = []
    sizes: list[int] = []
    for form in forms:
        if form is None:
            return None
        found.append(form[0])
        sizes.append(form[1])
    if list(map(sub, ends, starts)) != list(map(sizes.__getitem__, form_of)):
        return None
    names = list(map(sys.intern, entries))  # the index and the other model have the same: one string for all
    return Columns(file, names, found, form_of, array("Q", starts), data_start, metadata)


def _decoded(raw: bytes) -> dict[str, _Fields] | None:
    """The entries; None where one is unusual, or anything could have been lost: of what occurs twice, the decoder keeps
    the last. `-0` is no size, but the decoder takes it for 0."""
    if MINUS_ZERO.search(raw):
        return None
    try:
        entries = _DECODER.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    # Without escapes a quote is the end of a string: more of them belong to something that was dropped.
    whole = raw.count(b'"') == _QUOTES_PER_ENTRY * len(entries) and "__metadata__" not in entries
    return entries if whole else None


def weight_map_of(raw: bytes) -> dict[str, str] | None:
    """Tensor name to file name in an index; None where it is unusual."""
    if not raw.isascii() or b"\\" in raw:
        return None
    try:
        index = _INDEX_DECODER.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    metadata = bytes(index.metadata)
    n_fields = 2 if metadata else 1
    whole = raw.count(b'"') == 2 * n_fields + 4 * len(index.weight_map) + metadata.count(b'"')
    return index.weight_map if whole and index.weight_map else None


def _metadata(raw: bytes) -> dict[str, str] | None:
    try:
        pairs: Any = json.loads(raw, object_pairs_hook=tuple)
    except ValueError:
        return None
    made = dict(pairs)
    whole = len(made) == len(pairs) and all(isinstance(value, str) for value in made.values())
    return made if whole else None


def _form(dtypes: Mapping[str, DType], name: str, shape: tuple[int, ...]) -> tuple[Form, int] | None:
    """dtype and shape with the bytes that they take; None where they cannot be."""
    dtype = dtypes.get(name)
    n = 1
    for d in shape:
        n *= d
        if not 0 <= d <= MAX_SIZE or n > MAX_ELEMENTS:
            return None
    if dtype is None or n * dtype.bits % 8:
        return None
    return shared_form(dtype, shape), n * dtype.bits // 8
