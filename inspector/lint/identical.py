"""Tensors that hold the same bytes and are not one tensor.

Reading all of them to find a few would take as long as all else: of plain tensors a few bytes here and there are
compared first, of codes the counts that are known already. What is said to be the same was compared whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, QuantizedWeight
from qinspect.inspector.lint.code_facts import CodeFacts
from qinspect.inspector.values.inspection import row_blocks

T = TypeVar("T")

LEAST_ELEMENTS = 1 << 10
"""Smaller tensors may be alike by chance, or by how they were set up."""
_SAMPLES = 8
_SAMPLE_BYTES = 64
_READ = 1 << 20


def same_codes(fmt: Format, facts: Sequence[CodeFacts]) -> list[list[QuantizedWeight]]:
    """Groups of weights of one shape whose codes are the same, and more than one number."""
    alike: dict[tuple[object, ...], list[QuantizedWeight]] = {}
    for f in facts:
        if f.n >= LEAST_ELEMENTS and int(np.count_nonzero(f.counts)) > 2 and not f.weight.element.n_values > 1:
            key = (f.weight.shape, f.weight.element, f.counts.tobytes())
            alike.setdefault(key, []).append(f.weight)
    found = []
    for candidates in map(_apart, alike.values()):
        if len(candidates) > 1:
            found.extend(_by_digest([(w, _digest_of_codes(fmt, w)) for w in candidates]))
    return found


def _apart(candidates: Iterable[QuantizedWeight]) -> list[QuantizedWeight]:
    """Without those that are the same part of the same entry as an earlier one: one tensor under two names."""
    first: dict[tuple[object, ...], QuantizedWeight] = {}
    for weight in candidates:
        first.setdefault((weight.codes_key, weight.slice), weight)
    return list(first.values())


def _digest_of_codes(fmt: Format, weight: QuantizedWeight) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for start, stop in row_blocks(weight, _READ):
        digest.update(np.ascontiguousarray(fmt.codes(weight, start, stop)).tobytes())
    return digest.digest()


def same_tensors(tensors: Iterable[Tensor]) -> tuple[list[list[Tensor]], int]:
    """Groups of tensors of one form whose bytes are the same, and not all one value; how many were looked at. Tensors
    that are the same place in a file are one."""
    forms: dict[tuple[object, ...], list[Tensor]] = {}
    for tensor in tensors:
        if tensor.n_elements >= LEAST_ELEMENTS and tensor.strides is None and not tensor.shapeless:
            forms.setdefault((tensor.dtype.name, tensor.shape), []).append(tensor)
    n, found = 0, []
    for of_form in forms.values():
        apart = list({t.location: t for t in of_form}.values())
        n += len(apart)
        if len(apart) < 2:
            continue
        by_sample: dict[bytes, list[Tensor]] = {}
        for tensor, sample in zip(apart, _samples(apart), strict=True):
            if len(set(sample)) > 2:
                by_sample.setdefault(sample, []).append(tensor)
        for alike in by_sample.values():
            if len(alike) > 1:
                found.extend(_by_digest([(t, _digest_of_bytes(t)) for t in alike]))
    return found, n


def _samples(tensors: Sequence[Tensor]) -> list[bytes]:
    """Of each a few bytes, b"" where they cannot be read: many ranges of one file at once."""
    found = [b""] * len(tensors)
    by_file: dict[Source, list[int]] = {}
    for i, tensor in enumerate(tensors):
        by_file.setdefault(tensor.file, []).append(i)
    for source, places in by_file.items():
        ranges = [r for i in places for r in _ranges(tensors[i])]
        try:
            read = iter(source.read_ranges(ranges))
        except QinspectError:
            continue
        for i in places:
            found[i] = b"".join(next(read) for _ in _ranges(tensors[i]))
    return found


def _ranges(tensor: Tensor) -> list[tuple[int, int]]:
    size = min(_SAMPLE_BYTES, tensor.nbytes)
    step = (tensor.nbytes - size) // max(1, _SAMPLES - 1)
    return [(tensor.offset + i * step, size) for i in range(_SAMPLES)]


def _digest_of_bytes(tensor: Tensor) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for start in range(0, tensor.nbytes, _READ):
        digest.update(tensor.file.read(tensor.offset + start, min(_READ, tensor.nbytes - start)))
    return digest.digest()


def _by_digest(digests: list[tuple[T, bytes]]) -> list[list[T]]:
    groups: dict[bytes, list[T]] = {}
    for item, digest in digests:
        groups.setdefault(digest, []).append(item)
    return [group for group in groups.values() if len(group) > 1]
