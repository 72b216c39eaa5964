"""Where in which file a stored number stands, and its bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.apply.edits import overlap
from qinspect.inspector.checkpoint import Checkpoint, Tensor, Value
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.torch_file import float_places
from qinspect.inspector.checkpoint.torch_storage import TorchTensor
from qinspect.inspector.errors import CannotApply

_FLOATS = ("float64", "float32", "float16", "bfloat16")
_RESAVE = "Load it with torch and save its state_dict again with torch.save."

Numbers = Mapping[str, NDArray[Any]]
"""What each entry shall hold, by name."""


def edits_of(checkpoint: Checkpoint, numbers: Numbers) -> dict[Source, dict[int, bytes]]:
    """The bytes of each file that `numbers` change. Raises CannotApply for an entry that is stored as something that
    cannot hold its number, and where one of another name stands at the same place and shall hold another."""
    made: dict[Source, dict[int, bytes]] = {}
    floats: dict[Source, dict[str, int]] = {}
    for key, new in numbers.items():
        entry = checkpoint[key]
        if not entry.file.stored:
            raise CannotApply(
                "the scale is not stored in one piece of a file", file=entry.file.path, key=entry.name, cure=_RESAVE
            )
        if isinstance(entry, Value):
            if entry.file not in floats:
                floats[entry.file] = _floats(checkpoint, entry.file)
            at, raw = _place(entry, floats[entry.file]), struct.pack(">d", float(new))
        else:
            at, raw = entry.offset, _bytes(entry, new)
        if made.setdefault(entry.file, {}).setdefault(at, raw) != raw:
            raise _shared(entry)
    _check_alone(checkpoint, numbers, made, floats)
    return made


def _floats(checkpoint: Checkpoint, file: Source) -> dict[str, int]:
    if checkpoint.kind != "torch zip":
        raise CannotApply(
            "numbers outside of tensors can be replaced in torch's zip files only", file=file.path,
            found=f"a {checkpoint.kind} file", cure=_RESAVE,
        )  # fmt: skip
    return float_places(file)


def _place(entry: Value, floats: Mapping[str, int]) -> int:
    if entry.name not in floats:
        raise CannotApply(
            "is not a float of eight bytes", file=entry.file.path, key=entry.name, found=repr(entry.value)[:80],
            cure=_RESAVE,
        )  # fmt: skip
    return floats[entry.name]


def _bytes(entry: Tensor, new: NDArray[Any]) -> bytes:
    stored = entry.file.stored and entry.dtype.name in _FLOATS
    if not stored or entry.n_elements != new.size or (entry.strides and new.size > 1):
        raise CannotApply(
            "cannot hold the new scale", file=entry.file.path, key=entry.name,
            expected=f"{new.size} contiguous floating-point numbers",
            found=f"{entry.dtype.name} {list(entry.shape)}" + ("" if entry.file.stored else ", inside a pickle"),
        )  # fmt: skip
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(new.reshape(entry.shape)).astype(entry.dtype.to_numpy())
    if not np.isfinite(cast.astype(np.float64)).all() or not cast.all():
        raise CannotApply(
            "cannot hold the new scale", file=entry.file.path, key=entry.name, expected="a positive number",
            found=f"{new.reshape(-1)[0]:g} as {entry.dtype.name}",
        )  # fmt: skip
    return cast.tobytes()


def _check_alone(
    checkpoint: Checkpoint, numbers: Numbers, made: Mapping[Source, Mapping[int, bytes]],
    floats: Mapping[Source, Mapping[str, int]],
) -> None:  # fmt: skip
    """No entry that shall stay as it is has its number in what changes."""
    for file, edits in made.items():
        if (at := overlap(edits)) is not None:
            raise CannotApply("two numbers to be replaced share their bytes", file=file.path, offset=at)
        for name, at in floats.get(file, {}).items():
            if at in edits and name not in numbers:
                raise _shared(checkpoint[name])
    changed = {e.storage.identity for e in map(checkpoint.tensor, numbers) if isinstance(e, TorchTensor)}
    for tensor in checkpoint.tensors():
        if not isinstance(tensor, TorchTensor) or tensor.name in numbers or not tensor.n_elements:
            continue
        if tensor.storage.identity in changed:
            start, edits = tensor.offset, made.get(tensor.file, {})
            stop = start + tensor.span_bytes()
            if any(at < stop and start < at + len(raw) for at, raw in edits.items()):
                raise _shared(tensor)


def _shared(entry: Tensor | Value) -> CannotApply:
    return CannotApply(
        "is at the same place as a scale that is to be replaced by another number", file=entry.file.path,
        key=entry.name, expected="a place of its own", cure=_RESAVE,
    )  # fmt: skip
