"""What is wrong with the files of a checkpoint, in sorts, where as much of it is opened as can be (sound.py)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qinspect.inspector.errors import QinspectError


class DamageKind(StrEnum):
    """What can be wrong. Each is mended in a way of its own."""

    TRUNCATED = "truncated"
    """The header is whole, and says more bytes than there are."""
    DAMAGED = "damaged"
    """A header, a pickle or an archive is not as its format says."""
    NO_WEIGHTS = "no weights"
    """A file with the name of weights is something else: text, a pointer, empty."""
    MISSING = "missing"
    """A shard that an index, or the names of the others, speak of is not there."""
    INDEX = "index"
    """The index is damaged, or says otherwise than the shards."""
    OUTSIDE = "outside"
    """The index names a file outside of the folder."""
    TWICE = "twice"
    """A tensor is in two files, or twice in one."""
    UNSAFE = "unsafe"
    """A pickle asks for something other than data. It was not run."""
    CONFIG = "config"
    """A JSON file beside the weights cannot be read, or says one thing twice."""

    @property
    def loses_entries(self) -> bool:
        """Whether tensors that belong to the model may not have been opened."""
        return self not in (DamageKind.CONFIG, DamageKind.INDEX, DamageKind.OUTSIDE)


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong, with its file. loses: whether tensors are not here because of it; None as its kind has
    it."""

    kind: DamageKind
    error: QinspectError
    loses: bool | None = None

    @property
    def loses_entries(self) -> bool:
        """Whether tensors that belong to the model may not have been opened."""
        return self.kind.loses_entries if self.loses is None else self.loses
