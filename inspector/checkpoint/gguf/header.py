"""The header of a GGUF file, checked in full before any of it is believed.

Layout: `GGUF`, the version, how many tensors and facts there are, the facts, then name, sizes, type and offset of each
tensor, and behind padding to `general.alignment` the data that the offsets are counted from
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Sizes stand fastest first; here they are turned round, so
that a weight is [out, in] as everywhere.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from qinspect.inspector.checkpoint.columns import Columns, Form
from qinspect.inspector.checkpoint.gguf.cursor import Cursor
from qinspect.inspector.checkpoint.gguf.facts import read_facts, text_of
from qinspect.inspector.checkpoint.gguf.swapped import Swapped
from qinspect.inspector.checkpoint.gguf.types import TYPES, opaque
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.tensor import MAX_DIMS, MAX_ELEMENTS
from qinspect.inspector.errors import BrokenFile, CannotOpen
from qinspect.inspector.text import brief, dims, some

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_LEAST_FACT_BYTES = 8 + 4 + 1
_LEAST_TENSOR_BYTES = 8 + 4 + 4 + 8
_MAX_NAME_BYTES = 1 << 16
_USUAL_TENSOR_BYTES = 512
_FIRST_FACTS = 64
_DEFAULT_ALIGNMENT = 32
_MAX_ALIGNMENT = 1 << 30
_AGAIN = "The header is damaged: download or copy the file again."


def looks_like_gguf(head: bytes) -> bool:
    """Whether a file begins as GGUF does."""
    return head[:4] == MAGIC


def counted_tensors(head: bytes) -> int | None:
    """How many tensors a file of these first bytes says it has; None where that is not known."""
    order, version = _order(head)
    if not looks_like_gguf(head) or version not in _VERSIONS or len(head) < 16:
        return None
    n: int = struct.unpack_from(f"{order}Q", head, 8)[0]
    return n


def stands_beside(file: Source) -> str:
    """What a GGUF file says it is where that is no model but belongs to one: `imatrix`, `mmproj`, `adapter`; else "".
    Reads the first facts alone. Raises as `read_gguf`."""
    cursor, _, n_facts = _counts(file)
    for key, value in read_facts(cursor, min(n_facts, _FIRST_FACTS)):
        if key == "general.type":
            return "" if value == "model" else value
        if key.startswith("tokenizer."):
            break
    return ""


def is_part_of_model(metadata: Mapping[str, str]) -> bool:
    """Whether the file is one of several that its model was split into."""
    return _number(metadata.get("split.count")) > 1


def missing_parts(metadata: Mapping[str, str], n_tensors: int) -> str:
    """What a split model lacks by its own count of tensors, as a note; "" where it is whole or does not say."""
    expected = _number(metadata.get("split.tensors.count"))
    if expected <= n_tensors or not is_part_of_model(metadata):
        return ""
    return f"{n_tensors} of {some(expected, 'tensor')} that the split model has are here"


def read_gguf(file: Source) -> Columns:
    """All tensors of one file, in the order of the header, with its facts in words as metadata. Of a big-endian file
    the tensors are as if it were little-endian.

    A type that is not known is a row whose bytes are known and whose values are not. Raises CannotOpen for versions
    that are not read and files without tensors; BrokenFile for what cannot be: counts, lengths and sizes beyond the
    file, names that occur twice, data that overlap or leave the file.
    """
    cursor, n_tensors, n_facts = _counts(file)
    facts = _facts(cursor, n_facts)
    names, forms, form_of, starts = _tensors(cursor, n_tensors)
    if not names and not is_part_of_model(facts):
        found = "a vocabulary only" if "tokenizer.ggml.model" in facts else some(n_facts, "fact")
        raise CannotOpen(
            "is a GGUF file without tensors", file=file.path, found=found, cure="Give the file of the model."
        )
    alignment = _alignment(file, facts)
    base = -(-cursor.position // alignment) * alignment
    columns = _placed(file, names, forms, form_of, starts, base, facts)
    if cursor.order == ">":
        columns = columns.of_file(Swapped(file, columns))
    return columns


def _order(head: bytes) -> tuple[str, int]:
    """(byte order, version). Both orders have the same magic; a version has a small number."""
    if len(head) < 8:
        return "<", 0
    little, big = struct.unpack_from("<I", head, 4)[0], struct.unpack_from(">I", head, 4)[0]
    return (">", big) if big < little else ("<", little)


def _counts(file: Source) -> tuple[Cursor, int, int]:
    """A cursor behind the beginning, and how many tensors and facts follow."""
    order, version = _order(file.read(0, min(file.size, 8)))
    cursor = Cursor(file, order, 8)
    if file.size >= 8 and version not in _VERSIONS:
        raise CannotOpen(
            f"is a GGUF file of version {version}", file=file.path, offset=4, expected="version 2 or 3",
            cure="Convert the model again: a program of 2023 wrote this." if version == 1
            else "The file is damaged, or a newer program wrote it.",
        )  # fmt: skip
    cursor.position = 0
    cursor.check(24)
    cursor.position = 8
    n_tensors, n_facts = cursor.u64(), cursor.u64()
    if n_tensors * _LEAST_TENSOR_BYTES + n_facts * _LEAST_FACT_BYTES > cursor.remaining:
        raise BrokenFile(
            "the header counts more than the file has bytes for", file=file.path, offset=8,
            expected=f"at most {cursor.remaining} bytes",
            found=f"{some(n_tensors, 'tensor')} and {some(n_facts, 'fact')}", cure=_AGAIN,
        )  # fmt: skip
    return cursor, n_tensors, n_facts


def _facts(cursor: Cursor, n: int) -> dict[str, str]:
    facts: dict[str, str] = {}
    for key, value in read_facts(cursor, n):
        if key in facts:
            raise _twice(cursor.file, key)
        facts[key] = value
    return facts


def _twice(file: Source, name: str) -> BrokenFile:
    return BrokenFile(
        "the name occurs twice in the header", file=file.path, key=name, expected="each name once",
        cure="The writer is at fault: convert the model again.",
    )  # fmt: skip


def _alignment(file: Source, facts: Mapping[str, str]) -> int:
    said = facts.get("general.alignment", str(_DEFAULT_ALIGNMENT))
    alignment = _number(said)
    if not 0 < alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
        raise BrokenFile(
            "is not an alignment", file=file.path, key="general.alignment", expected="a power of two", found=said[:80],
            cure=_AGAIN,
        )  # fmt: skip
    return alignment


def _number(said: str | None) -> int:
    """A count among the facts; 0 where there is none."""
    return int(said) if said is not None and said.isascii() and said.isdigit() and len(said) < 20 else 0


_TypedShape = tuple[int, tuple[int, ...]]


def _tensors(cursor: Cursor, n: int) -> tuple[list[str], list[_TypedShape], array[int], array[int]]:
    """Names, each type and shape that occurs, which of them each name has, and where its data begin."""
    names: list[str] = []
    numbers: dict[tuple[int, ...], int] = {}
    form_of, starts = array("I"), array("Q")
    length_of = struct.Struct(cursor.order + "Q").unpack_from
    n_dims_of = struct.Struct(cursor.order + "I").unpack_from
    rest = [struct.Struct(f"{cursor.order}{i}QIQ") for i in range(MAX_DIMS + 1)]
    for _ in range(n):
        cursor.check(_LEAST_TENSOR_BYTES)
        buffer, at = cursor.ahead(_USUAL_TENSOR_BYTES)
        length = length_of(buffer, at)[0]
        if length + _LEAST_TENSOR_BYTES + 8 * MAX_DIMS > _USUAL_TENSOR_BYTES:
            buffer, at = _long_one(cursor, length)
        end = at + 8 + length
        n_dims = n_dims_of(buffer, end)[0] if end + 4 <= len(buffer) else 0
        if n_dims > MAX_DIMS:
            raise BrokenFile(
                "has more dimensions than any tensor", file=cursor.file.path, offset=cursor.position + 8 + length,
                expected=f"at most {MAX_DIMS}", found=str(n_dims), cure=_AGAIN,
            )  # fmt: skip
        cursor.check(8 + length + 4 + rest[n_dims].size)
        *shape, type_id, start = rest[n_dims].unpack_from(buffer, end + 4)
        names.append(sys.intern(text_of(cursor, buffer[at + 8 : end], cursor.position)))
        form_of.append(numbers.setdefault((type_id, *shape), len(numbers)))
        starts.append(start)
        cursor.position += 8 + length + 4 + rest[n_dims].size
    if len(set(names)) != len(names):
        raise _twice(cursor.file, next(name for name, times in Counter(names).items() if times > 1))
    return names, [(key[0], key[:0:-1]) for key in numbers], form_of, starts


def _long_one(cursor: Cursor, length: int) -> tuple[bytes, int]:
    """A buffer that holds a tensor whose name or shape is longer than usual."""
    if length > _MAX_NAME_BYTES:
        raise BrokenFile(
            "the name of a tensor is longer than any is", file=cursor.file.path, offset=cursor.position,
            expected=f"at most {_MAX_NAME_BYTES} bytes", found=str(length), cure=_AGAIN,
        )  # fmt: skip
    return cursor.ahead(length + _LEAST_TENSOR_BYTES + 8 * MAX_DIMS)


def _placed(
    file: Source, names: list[str], typed: Sequence[_TypedShape], form_of: array[int], starts: array[int], base: int,
    facts: Mapping[str, str],
) -> Columns:  # fmt: skip
    """Columns whose forms have dtypes, after a look at where all data lie."""
    room = file.size - base
    in_order = sorted(range(len(names)), key=starts.__getitem__)
    known = [_form(file, names, form_of, i, *t) for i, t in enumerate(typed)]
    sizes = [None if f is None else f[0].nbytes(math.prod(f[1])) for f in known]
    forms: dict[Form, int] = {}
    numbers = [0 if f is None else forms.setdefault(f, len(forms)) for f in known]
    at = 0
    for place, row in enumerate(in_order):
        start, number = starts[row], form_of[row]
        size = sizes[number]
        form_of[row] = numbers[number]
        if size is None:
            stop = starts[in_order[place + 1]] if place + 1 < len(in_order) else room
            size = max(0, stop - start) if start <= room else 0
            type_id, shape = typed[number]
            form_of[row] = forms.setdefault((opaque(type_id, math.prod(shape), size), shape), len(forms))
        if size and start < at:
            raise BrokenFile(
                "the data overlaps another tensor's", file=file.path, key=names[row],
                offset=min(base + start, file.size), expected=f"offset {at} or more",
                found=f"{start}, inside {names[in_order[place - 1]]}",
                cure="The writer is at fault: convert the model again.",
            )  # fmt: skip
        at = max(at, start + size)
        if at > room:
            raise BrokenFile(
                "the data reaches beyond the end of the file", file=file.path, key=names[row],
                offset=min(base + start, file.size), expected=f"a file of {base + at} bytes or more",
                found=f"{file.size} bytes", cure="The file is truncated: download or copy it again.",
            )  # fmt: skip
    return Columns(file, names, list(forms), form_of, starts, base, facts)


def _form(
    file: Source, names: Iterable[str], form_of: Iterable[int], number: int, type_id: int, shape: tuple[int, ...]
) -> Form | None:
    """dtype and shape of a form; None of a type that is not known. Raises BrokenFile where they cannot be."""

    def first() -> str:
        return next(name for name, form in zip(names, form_of, strict=True) if form == number)

    n = 1
    for d in shape:
        n *= d
        if n > MAX_ELEMENTS or d > MAX_ELEMENTS:
            raise BrokenFile(
                "the shape is larger than any file", file=file.path, key=first(),
                expected=f"at most {MAX_ELEMENTS} elements", found=brief(list(shape)), cure=_AGAIN,
            )  # fmt: skip
    dtype = TYPES.get(type_id)
    if dtype is None:
        return None
    if dtype.block_bytes and (not shape or shape[-1] % dtype.block):
        raise BrokenFile(
            "its rows are not whole blocks", file=file.path, key=first(),
            expected=f"rows of a multiple of {dtype.block} elements for {dtype.name}", found=dims(shape), cure=_AGAIN,
        )  # fmt: skip
    return dtype, shape
