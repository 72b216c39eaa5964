"""What a quantization family tells the rest of the instrument, and nothing else.

A family is one module (or package) with one `Format` subclass. It recognises its checkpoints from config,
metadata and key signatures; it lists scale records and quantized weights in forward order; it reads their values
in logical order (unpacked, unpermuted, without padding); it dequantizes. docs/formats.md walks through GPTQ,
NVFP4 and GGUF on paper.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor, Value
from qinspect.inspector.errors import CannotRead
from qinspect.inspector.roles import Roles
from qinspect.inspector.text import some, visible

FloatArray = NDArray[Any]
"""Floating-point numbers; ml_dtypes' types (bfloat16, fp8) are not numpy's own `floating`."""
CodeArray = NDArray[Any]
"""Integers."""


class Kind(StrEnum):
    """What a scale is a scale of."""

    WEIGHT = "weight"
    ACTIVATION = "activation"
    UNVERIFIED = "unverified"


@dataclass(frozen=True, slots=True)
class Copy:
    """Another stored entry that the same scale can be read from.

    The scale is `stored * product(times) / product(over)`; `relation` says so for people. Without factors the
    copy must agree to the bit (in float32), with factors to the rounding of the operations.
    """

    key: str
    relation: str
    times: tuple[str, ...] = ()
    over: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether the entry holds the scale itself rather than a product with it."""
        return not self.times and not self.over


@dataclass(frozen=True, slots=True)
class ScaleRecord:
    """One scale (or scale tensor), where it is stored and what it is a scale of.

    role: name that is the same in every checkpoint of the model whatever its format, `layers.3.mixer.x_proj:input`
    for an observation point, `layers.3.mixer.x_proj.weight` for a weight, with `#part` where a weight has several
    scales. key: the entry it is read from. of: a phrase for people. scheme: how codes and this scale make a value;
    two records are comparable number by number only where it is equal. granularity: per-tensor, per-channel,
    per-group, ... group_size along axis (of the [out, in] weight). dtype, shape: as stored.
    alpha_sensitive: whether a percentile makes it; None where the format cannot know.
    cells: keys that define which elements a cell of the scale covers; where they differ between two models, equal
    indices are not the same cell. witnesses: keys of tensors that were reordered together with the cells; where one
    holds the same values in another order, so do the cells.
    """

    role: str
    key: str
    kind: Kind
    of: str
    scheme: str
    granularity: str
    dtype: str
    shape: tuple[int, ...]
    group_size: int | None = None
    axis: int | None = None
    alpha_sensitive: bool | None = None
    copies: tuple[Copy, ...] = ()
    cells: tuple[str, ...] = ()
    witnesses: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        """False where the pairing rests on names alone."""
        return self.kind is not Kind.UNVERIFIED


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """One quantized tensor in logical form.

    name: the key under which it is written when dequantized. role: as in ScaleRecord. codes_key: where its codes
    are stored. shape: [out, in] without padding. bits: of one code. scheme: of its codes. scale_roles: the records
    that scale it. row_step: rows can be read in ranges that start at a multiple of this.
    """

    name: str
    role: str
    codes_key: str
    shape: tuple[int, ...]
    bits: int
    scheme: str
    scale_roles: tuple[str, ...]
    row_step: int = 1


class Format(ABC):
    """One quantization family, bound to one opened checkpoint.

    Subclasses set `family` (and `ordered_by`, where records are not in forward order) and implement the abstract
    methods. Nothing is read from tensors before `values`,
    `codes` or `dequantize` asks for it.
    """

    family: ClassVar[str]
    ordered_by: ClassVar[str] = "forward order"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    @classmethod
    @abstractmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        """Evidence, as one clause for people, that the checkpoint is of this family; None where it is not."""

    @property
    @abstractmethod
    def description(self) -> str:
        """The variant in a few words: `Quamba2 W4A8, head groups`."""

    @abstractmethod
    def scales(self) -> tuple[ScaleRecord, ...]:
        """All scale records, in forward order."""

    @abstractmethod
    def weights(self) -> tuple[QuantizedWeight, ...]:
        """All quantized tensors, in forward order."""

    @abstractmethod
    def codes(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> CodeArray:
        """Integer codes of rows `start` to `stop` (first axis), logical order, no padding."""

    @abstractmethod
    def dequantize(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> FloatArray:
        """float32 values of rows `start` to `stop`, by the arithmetic of the library that wrote the file."""

    def values(self, record: ScaleRecord) -> FloatArray:
        """The scale's values: logical order, no padding, folded factors taken out. 0-dimensional for a scalar."""
        return read_numbers(self.checkpoint, record.key)

    def witnesses(self) -> dict[str, tuple[str, ...]]:
        """Role prefixes of modules whose heads or channels a saver may reorder, and the keys of tensors that were
        reordered with them (as in ScaleRecord)."""
        return {}

    def notes(self) -> tuple[str, ...]:
        """What is odd about this checkpoint for its family, one sentence each. Subclasses add theirs to these."""
        shared = self._roles.shared
        if not shared:
            return ()
        role, names = next(iter(shared.items()))
        listed = " and ".join(visible(n, 120) for n in names[:2]) + (", ..." if len(names) > 2 else "")
        note = (
            f"{some(len(shared), 'name')} stand{'s' * (len(shared) == 1)} for more than one entry once the words of "
            f"savers and wrappers are taken off, first {visible(role, 120)} for {listed}: which one a loader takes is "
            "not known"
        )
        return (note,)

    @cached_property
    def _roles(self) -> Roles:
        return Roles.of_names(self.checkpoint.entries)

    def other_tensors(self) -> list[Tensor]:
        """Tensors that are neither scales nor codes: norms, biases, unquantized weights."""
        taken = {r.key for r in self.scales()}
        taken.update(w.codes_key for w in self.weights())
        taken.update(c.key for r in self.scales() for c in r.copies)
        return [t for t in self.checkpoint.tensors() if t.name not in taken]

    def role_of(self, name: str) -> str:
        """The role of an entry that has no better one: its name without what differs between savers, or its whole name
        where two entries of the model differ in nothing else."""
        return self._roles.of(name)


def read_numbers(checkpoint: Checkpoint, key: str) -> FloatArray:
    """The numbers stored under `key`, a tensor or a Python number, in their stored precision.

    Raises UnknownKey and CannotRead.
    """
    entry = checkpoint[key]
    if isinstance(entry, Value):
        if isinstance(entry.value, bool) or not isinstance(entry.value, (int, float)):
            raise CannotRead("is no number", file=entry.file.path, key=key, found=repr(entry.value)[:80])
        try:
            return np.asarray(entry.value, dtype=np.float64)
        except OverflowError as e:
            raise CannotRead("is an integer beyond the range of floats", file=entry.file.path, key=key) from e
    if entry.dtype.is_complex:
        raise CannotRead("holds complex numbers", file=entry.file.path, key=key)
    return entry.read()


def stored_form(checkpoint: Checkpoint, key: str) -> tuple[str, tuple[int, ...]]:
    """(dtype, shape) of an entry as stored; a Python number has shape ()."""
    entry = checkpoint[key]
    return (entry.kind, ()) if isinstance(entry, Value) else (entry.dtype.name, entry.shape)
