"""Activations out of a file: which tensors, what of them is a sample, counted piece by piece."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from qinspect.inspector.checkpoint import Checkpoint, Tensor, open_checkpoint
from qinspect.inspector.checkpoint.dtypes import DTYPES
from qinspect.inspector.errors import CannotOpen, CannotRead, UnknownKey
from qinspect.inspector.progress import Steps
from qinspect.inspector.text import dims, natural_key, some, visible
from qinspect.inspector.verify.activations import KEPT_VALUES, Activations, Array, Count, table_of
from qinspect.inspector.verify.npy import MAGIC, RAW16, open_npy

MAX_SAMPLES = 1 << 16
"""A table a sample: more are surely tokens, not samples."""
CHUNK_VALUES = 1 << 24
"""Values that are read at once."""
FLOATS = ("float16", "bfloat16", "float32", "float64")
_LISTED = 8


def tensors_of(path: str, key: str | None) -> list[Tensor]:
    """The tensors of a file that `key` names or, as a pattern, matches, in natural order; its only one without a key.

    Raises CannotOpen, BrokenFile or UnsafePickle for a file that cannot be read, UnknownKey where the key leads to no
    tensor or, without one, where there are several.
    """
    place = Path(path).expanduser()
    if place.is_file() and (place.suffix == ".npy" or _begins(place, MAGIC)):
        if key is not None:
            raise UnknownKey(
                "a .npy file holds one array, which has no name", file=path, key=key, cure="Leave --key out."
            )
        return [open_npy(place)]
    if place.is_file() and place.suffix == ".npz":
        raise CannotOpen("is an .npz archive", file=path, expected="one array", cure="Save it with numpy.save.")
    checkpoint = open_checkpoint(path)
    found = _chosen(checkpoint, key)
    if not found:
        raise CannotOpen("holds no tensor", file=path, expected="a saved activation")
    if key is None and len(found) > 1:
        found.sort(key=lambda t: natural_key(t.name))
        names = ", ".join(visible(t.name, 60) for t in found[:_LISTED])
        more = f", and {len(found) - _LISTED:,} more" if len(found) > _LISTED else ""
        raise UnknownKey(
            "no key was given", file=path, expected="a file with one tensor, or --key",
            found=f"{some(len(found), 'tensor')}: {names}{more}",
            cure="`--key NAME` takes one; `--key 'PATTERN*'` takes those that match as samples, in order.",
        )  # fmt: skip
    return found


def _begins(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as f:
            return f.read(len(magic)) == magic
    except OSError:  # opening it says why
        return False


def _chosen(checkpoint: Checkpoint, key: str | None) -> list[Tensor]:
    if key is not None and key not in checkpoint and any(c in key for c in "*?["):
        names = fnmatch.filter([t.name for t in checkpoint.tensors()], key)
        if not names:
            raise UnknownKey(
                "no tensor matches", file=checkpoint.path, key=key, cure="`qinspect tree` lists the names."
            )
        entries = [checkpoint[name] for name in sorted(names, key=natural_key)]
    else:
        entries = list(checkpoint.tensors()) if key is None else [checkpoint[key]]
    for e in entries:
        if not isinstance(e, Tensor):
            raise UnknownKey("is not a tensor", file=checkpoint.path, key=key, expected="a tensor", found=e.kind)
    return [e for e in entries if isinstance(e, Tensor)]


def read_saved(
    path: str,
    tensors: Sequence[Tensor],
    count: Count,
    *,
    one_sample: bool = False,
    raw: str | None = None,
    progress: Steps | None = None,
) -> Activations:
    """The values of tensors as samples: each tensor is one; of a single tensor of two dimensions or more, each index of
    axis 0; all values together with `one_sample`. raw: what elements of 16 bits without a known type are.

    Raises CannotRead for elements that are no floats, for a sample without values, and for more than `MAX_SAMPLES`.
    """
    tensors = [_as_floats(path, t, raw) for t in tensors]
    by_axis = len(tensors) == 1 and len(tensors[0].shape) > 1 and not one_sample
    n_samples = tensors[0].shape[0] if by_axis else 1 if one_sample else len(tensors)
    empty = next((t for t in tensors if t.n_elements == 0), None)
    if empty is not None:
        raise CannotRead(
            "has no values", file=path, key=empty.name or None, expected="at least one value a sample",
            found=f"shape {dims(empty.shape)}", cure="A hook that never ran leaves such a file: save again.",
        )  # fmt: skip
    if n_samples > MAX_SAMPLES:
        raise CannotRead(
            "has too many samples", file=path, key=tensors[0].name or None, expected=f"at most {MAX_SAMPLES:,}",
            found=f"{n_samples:,}", cure="`--one-sample` takes all values as one.",
        )  # fmt: skip
    parts = _samples_of(tensors[0]) if by_axis else map(_chunks, tensors)
    if one_sample:
        parts = iter([chain.from_iterable(parts)])
    tables, first = [], np.empty(0, np.float32)
    with np.errstate(all="ignore"):  # a signalling NaN, or a float64 beyond float32, is no event
        for i, chunks in enumerate(parts):
            if progress:
                progress(i, n_samples)
            floats = map(_countable, chunks)
            head = next(floats)
            if not i:
                first = head[:KEPT_VALUES].astype(np.float32)
            tables.append(table_of(chain([head], floats), count))
    dtypes = dict.fromkeys(t.dtype.name for t in tensors)
    n_values = sum(t.n_elements for t in tensors)
    keys = tuple(t.name for t in tensors if t.name)
    named = "" if not keys else f", {visible(keys[0], 60)}" + (f" .. {visible(keys[-1], 60)}" if keys[1:] else "")
    shape = f" {dims(tensors[0].shape)}" if len(tensors) == 1 else ""
    return Activations(
        tuple(tables),
        first,
        f"{visible(path)}{named}{shape}, {some(n_values, 'value')} in {some(n_samples, 'sample')}",
        "/".join(dtypes),
        "each index of axis 0 is a sample; --one-sample takes all values as one"
        if by_axis
        else "each tensor is a sample"
        if n_samples > 1
        else "all values are one sample",
        path=path,
        keys=keys,
        notes=_notes(dtypes),
    )


def _notes(dtypes: dict[str, None]) -> tuple[str, ...]:
    return (
        ("float64 values are rounded to float32 first, as an observer does; beyond 3.4e38 that is infinity",)
        if "float64" in dtypes
        else ()
    )


def _as_floats(path: str, tensor: Tensor, raw: str | None) -> Tensor:
    """The tensor, or the same bytes as `raw` where its elements may be that. Raises CannotRead for anything else."""
    d, key = tensor.dtype, tensor.name or None
    if d is RAW16 or d.name in ("uint16", "int16"):
        if raw in ("float16", "bfloat16"):
            return Tensor(tensor.name, DTYPES[raw], tensor.shape, tensor.strides, tensor.file, tensor.offset)
        cure = "If the bits are bfloat16, `--dtype bfloat16` says so."
    elif d.name in FLOATS or d.name.startswith("float8"):
        if raw in (None, d.name):
            return tensor
        raise CannotRead(
            "the file says what its values are", file=path, key=key, expected=raw, found=d.name,
            cure="Leave --dtype out.",
        )  # fmt: skip
    else:
        cure = "An activation is saved before it is quantized; `qinspect show` describes codes."
    raise CannotRead(
        "the values are not activations", file=path, key=key, expected=f"{', '.join(FLOATS[:-1])} or {FLOATS[-1]}",
        found=d.name, cure=cure,
    )  # fmt: skip


def _samples_of(tensor: Tensor) -> Iterator[Iterator[Array]]:
    """Chunks of each index of axis 0."""
    n, size = tensor.shape[0], tensor.n_elements // tensor.shape[0]
    if tensor.strides is None:
        for i in range(n):
            yield _ranges(tensor, i * size, (i + 1) * size)
        return
    whole = tensor.read()
    for i in range(n):
        yield iter([whole[i].reshape(-1)])


def _chunks(tensor: Tensor) -> Iterator[Array]:
    if tensor.strides is None:
        return _ranges(tensor, 0, tensor.n_elements)
    return iter([tensor.read().reshape(-1)])


def _ranges(tensor: Tensor, start: int, stop: int) -> Iterator[Array]:
    for at in range(start, stop, CHUNK_VALUES):
        yield tensor.read_range(at, min(at + CHUNK_VALUES, stop))


def _countable(x: Array) -> Array:
    """float16, bfloat16 and float32 as they are, other floats as float32."""
    return x if x.dtype.name in FLOATS[:-1] else x.astype(np.float32)


def n_values_of(tensors: Sequence[Tensor]) -> int:
    """Values in all."""
    return sum(t.n_elements for t in tensors)
