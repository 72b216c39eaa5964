"""A checkpoint: all entries of one model, whatever files they are in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from qinspect.inspector.checkpoint.columns import Entries
from qinspect.inspector.checkpoint.graph import Graph
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.tensor import Entry, Tensor, Value
from qinspect.inspector.errors import QinspectError, UnknownKey

_MAX_NAME_COMPARED = 256
"""Names longer than this are not offered as the nearest: difflib takes minutes over names of 10 kB."""


class Checkpoint:
    """An opened model.

    path: what the user named. kind: `safetensors`, `GGUF`, `ONNX`, `torch zip`, `torch legacy` or `pickle`. files:
    where its bytes come from. entries: name to Tensor or Value, in file order; a Tensor is made when it is looked at.
    config: parsed config.json and its like, {} where there is none. metadata: the safetensors `__metadata__` of all
    shards, or the facts of a GGUF or an ONNX file in words. graph: what is done with its tensors, where the file says
    so. inside: folders in the one that was named that hold models too, and were not opened.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        files: list[Source],
        entries: Entries,
        config: Mapping[str, Any],
        metadata: Mapping[str, str],
        notes: tuple[str, ...] = (),
        graph: Graph | None = None,
    ) -> None:
        self.path = path
        self.kind = kind
        self.files = files
        self.entries = entries
        self.config = config
        self.metadata = metadata
        self.graph = graph
        self.inside: tuple[Path, ...] = ()
        self._notes = notes

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the files, one sentence each: from opening, and what reading has found since."""
        return tuple(dict.fromkeys((*self._notes, *(sentence for f in self.files for sentence in f.notes))))

    @notes.setter
    def notes(self, notes: tuple[str, ...]) -> None:
        self._notes = notes

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def __getitem__(self, name: str) -> Entry:
        """Raises UnknownKey with the nearest names."""
        try:
            return self.entries[name]
        except KeyError:
            pass
        import difflib

        last = name.rpartition(".")[2]
        close = difflib.get_close_matches(name[:_MAX_NAME_COMPARED], self._names_like(last), n=3, cutoff=0.5)
        raise UnknownKey(
            "there is no entry of this name",
            file=self.path,
            key=name,
            found=f"{len(self.entries)} others" + (f", the nearest {', '.join(close)}" if close else ""),
            cure="`qinspect tree` lists the names.",
        )

    def _names_like(self, last: str) -> list[str]:
        short = [n for n in self.entries if len(n) <= _MAX_NAME_COMPARED]
        return ([n for n in short if last and last in n] or short)[:2000]

    def tensors(self) -> Iterator[Tensor]:
        """All tensors, in file order."""
        return (e for e in self.entries.values() if isinstance(e, Tensor))

    def plain_values(self) -> Iterator[Value]:
        """All entries that are no tensors, in file order."""
        return (e for e in self.entries.others() if isinstance(e, Value))

    def bytes_by_dtype(self) -> dict[str, int]:
        """Bytes of all tensors, tied ones each time, by the name of the dtype, in file order."""
        found: dict[str, int] = {}
        if self.entries.in_columns:
            for block in self.entries.blocks:
                for (dtype, _), n in zip(block.forms, block.bytes_of_forms(), strict=True):
                    found[dtype.name] = found.get(dtype.name, 0) + n
            return found
        for t in self.tensors():
            found[t.dtype.name] = found.get(t.dtype.name, 0) + t.nbytes
        return found

    def tensor(self, name: str) -> Tensor | None:
        """The tensor of this name; None where there is none, it is no tensor, or its shape is far beyond its bytes."""
        return self.entries.tensor(name)

    def scalar(self, name: str) -> float | None:
        """The single number stored under `name`, be it a Python float or a one-element tensor; else None."""
        entry = self.entries.get(name)
        if isinstance(entry, Value):
            v = entry.value
            try:
                return float(v) if isinstance(v, (int, float)) and not isinstance(v, bool) else None
            except OverflowError:  # an integer beyond the floats
                return None
        if entry is not None and entry.n_elements == 1 and not entry.dtype.is_complex:
            try:
                return float(entry.read().reshape(-1)[0])
            except QinspectError:
                return None
        return None

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all tensors, counting each tied tensor once."""
        if self.entries.untied:
            return sum(sum(block.bytes_of_forms()) for block in self.entries.blocks)
        return sum({t.location: t.nbytes for t in self.tensors()}.values())

    def tied(self) -> list[list[str]]:
        """Groups of names that are the same stored tensor."""
        if self.entries.untied:
            return []
        groups: dict[tuple[object, ...], list[str]] = {}
        for t in self.tensors():
            if t.nbytes:
                groups.setdefault(t.location, []).append(t.name)
        return [names for names in groups.values() if len(names) > 1]

    def changed_files(self) -> list[Path]:
        """Files that were replaced, rewritten or removed since opening."""
        return [f.path for f in self.files if f.changed()]

    def close(self) -> None:
        """Release all files."""
        for f in self.files:
            f.close()
