"""What is sound of a file whose header, or whose end, is not: the tensors that nothing is wrong with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from qinspect.inspector.checkpoint.columns import Columns
from qinspect.inspector.checkpoint.gguf import looks_like_gguf, read_gguf
from qinspect.inspector.checkpoint.graph import GraphEntries
from qinspect.inspector.checkpoint.kinds import looks_like_onnx
from qinspect.inspector.checkpoint.onnx import read_onnx
from qinspect.inspector.checkpoint.safetensors import each_entry, looks_like_safetensors, tensor_of, twice
from qinspect.inspector.checkpoint.source import Source, View
from qinspect.inspector.checkpoint.tensor import Tensor
from qinspect.inspector.errors import BrokenFile, QinspectError

_AS_IF_BYTES = 1 << 62
_ZEROS = 1 << 20
"""Read behind the end: who goes through a header reads ahead of it."""


@dataclass(frozen=True, slots=True)
class SoundPart:
    """columns: the tensors that nothing is wrong with. n_said: how many the header names. said_bytes: how long the file
    would be by a header that is sound, where it is shorter; else None. twice: the error of a name that occurs twice,
    where that is all that is wrong."""

    columns: Columns | GraphEntries
    n_said: int
    said_bytes: int | None = None
    twice: BrokenFile | None = None


def sound_part(file: Source) -> SoundPart | None:
    """Of a file that its reader refused; None where nothing of it can be told apart."""
    head = file.read(0, min(file.size, 16))
    try:
        if looks_like_gguf(head):
            return _of_gguf(file)
        if looks_like_safetensors(head, file.size):
            return _of_safetensors(file)
        if looks_like_onnx(head, file):
            found = read_onnx(file, sound=True)
            return SoundPart(found, len(found) + found.n_lost)
    except QinspectError:
        pass
    return None


class _Longer(View):
    """A file as if it went on behind its end, in zeros."""

    __slots__ = ("_whole",)

    def __init__(self, file: Source) -> None:
        super().__init__(file, _AS_IF_BYTES)
        self._whole = file

    def _pread(self, offset: int, n: int) -> bytes:
        stop = min(offset + n, self._whole.size)
        data = self._whole.read(offset, stop - offset) if offset < stop else b""
        return data + bytes(min(n - len(data), max(0, self._whole.size + _ZEROS - offset - len(data))))


def _of_gguf(file: Source) -> SoundPart | None:
    longer = _Longer(file)
    said = read_gguf(longer)
    if said.file is not longer or said.base > file.size:  # big-endian: its bytes are not those of the file
        return None
    tensors = list(said.tensors())
    end = max((t.offset + t.nbytes for t in tensors if t.nbytes < _AS_IF_BYTES // 2), default=0)
    kept = [_in(file, t) for t in tensors if t.offset + t.nbytes <= file.size]
    return SoundPart(Columns.of(file, kept, said.metadata), len(tensors), end if end > file.size else None)


def _of_safetensors(file: Source) -> SoundPart:
    pairs, metadata, data_start = each_entry(file)
    times = Counter(name for name, _ in pairs)
    longer = _Longer(file)
    said, sound = [], []
    for name, fields in pairs:
        if times[name] > 1:
            continue
        try:
            said.append(tensor_of(longer, name, fields, data_start))
        except BrokenFile:
            continue
        if said[-1].offset + said[-1].nbytes <= file.size:
            sound.append(_in(file, said[-1]))
    in_turn = len(said) == len(pairs) and _in_turn(said, data_start)
    end = max((t.offset + t.nbytes for t in said), default=0)
    again = next((name for name, n in times.items() if n > 1), None)
    repeated = again is not None and len(said) == len(pairs) - sum(n for n in times.values() if n > 1)
    return SoundPart(
        Columns.of(file, _apart(sound), metadata),
        len(pairs),
        end if in_turn and end > file.size else None,
        twice(file, again) if repeated and again is not None else None,
    )


def _in(file: Source, t: Tensor) -> Tensor:
    return Tensor(t.name, t.dtype, t.shape, None, file, t.offset)


def _in_turn(tensors: Iterable[Tensor], position: int) -> bool:
    """Whether each begins where the one before it ends."""
    for t in sorted(tensors, key=lambda t: (t.offset, t.nbytes)):
        if t.offset != position:
            return False
        position += t.nbytes
    return True


def _apart(tensors: list[Tensor]) -> list[Tensor]:
    """Those whose bytes are no other's: of two that overlap one has the wrong place, and which is not known."""
    shared: set[str] = set()
    reaches = (0, "")
    for t in sorted((t for t in tensors if t.nbytes), key=lambda t: (t.offset, t.nbytes)):
        if t.offset < reaches[0]:
            shared.update((t.name, reaches[1]))
        reaches = max(reaches, (t.offset + t.nbytes, t.name))
    return [t for t in tensors if t.name not in shared]
