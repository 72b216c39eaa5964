"""Families whose weights stand alone: each a module with its codes, its scales beside them, and perhaps those of what
goes into it. Most are; what differs is how a module is recognised and read, and that is all such a family has to write.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.checkpoint.columns import Form, shared_form
from qinspect.inspector.collector import collector_resting
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.contract import Format
from qinspect.inspector.formats.element import Element
from qinspect.inspector.formats.grid import Grid
from qinspect.inspector.formats.numbers import numbers_of, stored_form
from qinspect.inspector.formats.records import (
    NOT_KNOWN,
    OF_WEIGHTS,
    CodeArray,
    FloatArray,
    Kind,
    Problem,
    QuantizedWeight,
    ScaleRecord,
)

if TYPE_CHECKING:
    from qinspect.kernels.packing import PackedRows


class QuantizedModule(ABC):
    """One quantized weight and the records that belong to it, its scales first, then those of its activations."""

    def __init__(self, checkpoint: Checkpoint, weight: QuantizedWeight, records: tuple[ScaleRecord, ...]) -> None:
        self.checkpoint = checkpoint
        self.weight = weight
        self.records = records

    def tensor(self, key: str) -> Tensor:
        """A tensor that was there when the module was built."""
        found = self.checkpoint.tensor(key)
        assert found is not None
        return found

    @property
    def codes_tensor(self) -> Tensor:
        """The part of the entry of its codes that is this weight's."""
        found = self.weight.stored(self.checkpoint)
        assert found is not None
        return found

    @abstractmethod
    def codes(self, start: int, stop: int) -> CodeArray:
        """As `Format.codes`; 0 <= start <= stop <= rows."""

    @abstractmethod
    def dequantize(self, start: int, stop: int) -> FloatArray:
        """As `Format.dequantize`; 0 <= start <= stop <= rows."""

    def effective(self, start: int, stop: int) -> FloatArray:
        """As `Format.effective`; 0 <= start <= stop <= rows."""
        return self.dequantize(start, stop)

    @property
    def is_effective(self) -> bool:
        """Whether `effective` gives what `dequantize` does."""
        return True

    def packed(self, start: int, stop: int) -> PackedRows | None:
        """As `Format.packed`, of what `dequantize` gives; 0 <= start < stop <= rows."""
        return None

    def packed_effective(self, start: int, stop: int) -> PackedRows | None:
        """As `Format.packed`; 0 <= start < stop <= rows."""
        return self.packed(start, stop) if self.is_effective else None

    def values(self, record: ScaleRecord) -> FloatArray:
        """As `Format.values`, of one of its records: the stored numbers where it is not overridden."""
        return numbers_of(self.checkpoint, record)

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        """As `Format.gives_as_stored`, of one of its records."""
        return type(self).values is QuantizedModule.values


Part = QuantizedModule | ScaleRecord | Problem
"""What a family finds: a module, a scale that belongs to no weight (of a KV cache), or what is damaged."""


class ModularFormat(Format):
    """Subclasses give what they find in `_find`, in forward order. Raises CannotDequantize where that is nothing but
    problems."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self._modules: dict[str, QuantizedModule] = {}
        self._owners: dict[str, QuantizedModule] = {}
        self._problems: list[Problem] = []
        records: list[ScaleRecord] = []
        with collector_resting():
            for part in self._find():
                self._take(part, records)
        # one number of several weights is one record: of fused experts, of q, k and v
        self._records = tuple({r.role: r for r in records}.values())
        if self._problems and not records:
            raise self._problems[0].error

    def _take(self, part: Part, records: list[ScaleRecord]) -> None:
        if isinstance(part, ScaleRecord):
            records.append(part)
        elif isinstance(part, Problem):
            self._problems.append(part)
        else:
            self._modules[part.weight.role] = part
            for record in part.records:
                self._owners[record.role] = part
            records.extend(part.records)

    @abstractmethod
    def _find(self) -> Iterator[Part]:
        """The modules and loose scales of the checkpoint, in forward order, without reading a tensor's bytes."""

    def _or_problem(self, key: str, build: Callable[[], Part]) -> Part:
        """What `build` makes, or the problem that it raises as CannotDequantize. key: the entry that is shown where
        the error names none."""
        try:
            return build()
        except CannotDequantize as e:
            return Problem(e.key or key, e)

    def scales(self) -> tuple[ScaleRecord, ...]:
        return self._records

    def weights(self) -> tuple[QuantizedWeight, ...]:
        return tuple(m.weight for m in self._modules.values())

    def problems(self) -> tuple[Problem, ...]:
        return tuple(self._problems)

    def codes(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> CodeArray:
        first, last = _rows(weight, start, stop)
        return self._modules[weight.role].codes(first, last)

    def dequantize(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> FloatArray:
        first, last = _rows(weight, start, stop)
        module = self._modules[weight.role]
        rows = module.packed(first, last) if first < last and _compiled() else None
        found = None if rows is None else _values_of(rows)
        return module.dequantize(first, last) if found is None else found

    def effective(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> FloatArray:
        if self._modules[weight.role].is_effective:
            return self.dequantize(weight, start, stop)
        first, last = _rows(weight, start, stop)
        return self._modules[weight.role].effective(first, last)

    def packed(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> PackedRows | None:
        first, last = _rows(weight, start, stop)
        module = self._modules[weight.role]
        return module.packed_effective(first, last) if first < last else None

    def values(self, record: ScaleRecord) -> FloatArray:
        owner = self._owners.get(record.role)
        return super().values(record) if owner is None else owner.values(record)

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        owner = self._owners.get(record.role)
        return owner is None or owner.gives_as_stored(record)


def _compiled() -> bool:
    from qinspect.kernels.matrix import compiled

    return compiled()


def _values_of(rows: PackedRows) -> FloatArray | None:
    from qinspect.kernels.matrix import values_of

    return values_of(rows)


def _rows(weight: QuantizedWeight, start: int, stop: int | None) -> tuple[int, int]:
    first, last, _ = slice(start, stop).indices(weight.shape[0])
    return first, max(first, last)


def by_module(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Module to the last parts of the names in it and their whole names: `{"layers.0.q_proj": {"weight":
    "layers.0.q_proj.weight"}}`, in the order of `names`."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        module, _, last = name.rpartition(".")
        inside = found.get(module)
        if inside is None:
            inside = found[module] = {}
        inside[last] = name
    return found


def required(
    checkpoint: Checkpoint, key: str, dtypes: Iterable[str], shapes: Iterable[tuple[int, ...]], what: str
) -> Tensor:
    """The tensor `key`, of one of the dtypes and one of the shapes. what: what it belongs to, for the error: `a weight
    of 4 bits and shape [64, 128]`. Raises CannotDequantize."""
    tensor, dtypes, shapes = checkpoint.tensor(key), list(dtypes), list(shapes)
    if tensor is not None and tensor.dtype.name in dtypes and tensor.shape in shapes:
        return tensor
    raise CannotDequantize(
        f"{'is missing' if tensor is None else 'does not fit'}: it belongs to {what}", file=checkpoint.path, key=key,
        expected=f"{' or '.join(dtypes)} {' or '.join(str(list(s)) for s in shapes)}",
        found="nothing" if tensor is None else f"{tensor.dtype.name} {list(tensor.shape)}",
    )  # fmt: skip


def record_of(
    checkpoint: Checkpoint, role: str, key: str, kind: Kind, of: str, element: Element, grid: Grid, **more: Any
) -> ScaleRecord:
    """A record of the numbers stored under `key`, with their dtype and shape. more: further fields of ScaleRecord;
    without a `reach`, that of a weight's scale is as its kind has it. Raises UnknownKey."""
    dtype, shape = stored_form(checkpoint, key)
    more.setdefault("reach", OF_WEIGHTS if kind is Kind.WEIGHT else NOT_KNOWN)
    return ScaleRecord(role, key, kind, of, element, grid, dtype, shape, **more)


class RearrangedFormat(ModularFormat):
    """Families whose writer stores what is in full precision in another order or shape than the original has."""

    @abstractmethod
    def _as_original(self, tensor: Tensor) -> Tensor:
        """The same bytes as the original has them; itself where that is how they are stored, or is not known."""

    def plain_tensor(self, name: str) -> Tensor | None:
        tensor = self.checkpoint.tensor(name)
        return None if tensor is None else self._as_original(tensor)

    def other_tensors(self) -> list[Tensor]:
        return [self._as_original(tensor) for tensor in super().other_tensors()]

    def other_forms(self) -> Iterator[tuple[str, Form]]:
        return ((t.name, shared_form(t.dtype, t.shape)) for t in self.other_tensors())
