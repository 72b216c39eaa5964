"""What a quantization family tells the rest of the instrument, and nothing else.

A family is one module (or package) in `families/` with one `Format` subclass. It recognises its checkpoints from
config, metadata and key signatures; it lists scale records and quantized weights in forward order; it reads their
values in logical order (unpacked, unpermuted, without padding); it dequantizes; and what only it knows, it says itself.
docs/formats.md holds the types against families on paper.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor, Value
from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.errors import CannotDequantize, CannotRead
from qinspect.inspector.formats import words
from qinspect.inspector.formats.element import Element, ElementKind
from qinspect.inspector.formats.grid import PER_TENSOR, Grid
from qinspect.inspector.roles import Roles, strip_root
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


class Quantity(StrEnum):
    """What the numbers of a record are. A value is `scale * (code - zero_point) + minimum`."""

    SCALE = "scale"
    GLOBAL_SCALE = "global scale"
    """A scale of the scales, on a coarser grid."""
    ZERO_POINT = "zero point"
    MINIMUM = "minimum"
    FACTOR = "factor"
    """Of each input channel: what goes in is multiplied by it before it is quantized, so the weight in use is too."""

    is_step: bool
    """Whether it is multiplied: then 0, negative and infinite numbers are faults. A zero point may be 0."""

    def __new__(cls, value: str) -> Quantity:  # asked 100,000 times: a property takes long
        made = str.__new__(cls, value)
        made._value_ = value
        made.is_step = value in ("scale", "global scale", "factor")
        return made


class Setting(StrEnum):
    """Something that a calibration is told."""

    ALPHA = "percentile_alpha"
    DATA = "calibration data"


@dataclass(frozen=True, slots=True)
class Reach:
    """Which settings have a part in a scale, and which cannot. What stands in neither is not known."""

    by: tuple[Setting, ...] = ()
    never: tuple[Setting, ...] = ()

    def of(self, setting: Setting) -> bool | None:
        """Whether the setting has a part; None where the format cannot know."""
        return True if setting in self.by else False if setting in self.never else None


NOT_KNOWN = Reach()
PERCENTILE = Reach(by=(Setting.ALPHA, Setting.DATA))
MINMAX = Reach(by=(Setting.DATA,), never=(Setting.ALPHA,))
OF_WEIGHTS = Reach(never=(Setting.ALPHA,))
"""Of the scale of a weight. Whether data had a part in it (GPTQ, AWQ) a file need not say."""


class Use(StrEnum):
    """What an entry does in the numbers of a record."""

    FOLDED = "folded"
    """The stored numbers are divided by it; a scale of its own, elsewhere."""
    PART = "part"
    """The numbers are made of it too: the scale of scales that are quantized themselves, their offset, their table."""


@dataclass(frozen=True, slots=True)
class Source:
    """An entry that the numbers of a record are made of beside its key."""

    key: str
    use: Use


@dataclass(frozen=True, slots=True)
class Copy:
    """Another stored entry that the same scale can be read from.

    The scale is `stored * product(times) / product(over)`; `relation` says so for people. Without factors the
    copy must agree to the bit (in float32), with factors to the rounding of the operations. of_layer: the layer that
    reads the point keeps it, and whether it does depends on how that layer is quantized.
    """

    key: str
    relation: str
    times: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    of_layer: bool = False

    @property
    def exact(self) -> bool:
        """Whether the entry holds the scale itself rather than a product with it."""
        return not self.times and not self.over


@dataclass(frozen=True, slots=True)
class Slice:
    """The part of a stored tensor that is one weight's: of stacked experts, of projections stored as one.

    index: positions along the first axes. rows: range along the axis after them; None for all.
    """

    index: tuple[int, ...] = ()
    rows: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class ScaleRecord:
    """One scale (or scale tensor, or zero point, ...), where it is stored and what it is a scale of.

    role: name that is the same in every checkpoint of the model whatever its format, `layers.3.mixer.x_proj:input`
    for an observation point, `layers.3.mixer.x_proj.weight` for a weight, with `#part` where a weight has several
    records. key: the entry it is read from. of: a phrase for people. element: of the codes that it scales. grid: which
    of them share a number. dtype, shape: as stored. quantity: what the numbers are. inverted: the entry holds one over
    the number. sources: further entries that the numbers are made of. through: codes times the inner of two scales are
    rounded to this element, before the outer one (quantity GLOBAL_SCALE) applies. signed: its numbers may be negative
    by convention. may_be_zero: a scale of 0 is that of a block of zeros, and no fault. with_minimum: another record is
    the minimum that is added to what this one scales. slice: which part of the entry it is; None for all of it. packed:
    where the entry holds codes of the numbers (eight zero points a word, the exponent of a scale), how: of equal bytes
    the numbers are equal only where this is. reach: which settings have a part in it. guess: of an unverified one, what
    its name suggests; may_be_learned: that it may be a trained factor, and negative. called: what its library calls the
    scheme; "" where element and grid say it.
    cells: keys that define which elements a cell of the scale covers; where they differ between two models, equal
    indices are not the same cell. witnesses: keys of tensors that were reordered together with the cells; where one
    holds the same values in another order, so do the cells.
    """

    role: str
    key: str
    kind: Kind
    of: str
    element: Element
    grid: Grid
    dtype: str
    shape: tuple[int, ...]
    quantity: Quantity = Quantity.SCALE
    inverted: bool = False
    sources: tuple[Source, ...] = ()
    through: Element | None = None
    signed: bool = False
    may_be_zero: bool = False
    with_minimum: bool = False
    slice: Slice | None = None
    packed: str = ""
    reach: Reach = NOT_KNOWN
    guess: Kind | None = None
    may_be_learned: bool = False
    called: str = ""
    copies: tuple[Copy, ...] = ()
    cells: tuple[str, ...] = ()
    witnesses: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        """False where the pairing rests on names alone."""
        return self.kind is not Kind.UNVERIFIED

    @property
    def alpha_sensitive(self) -> bool | None:
        """Whether a percentile makes it; None where the format cannot know."""
        return self.reach.of(Setting.ALPHA)

    @property
    def folded(self) -> tuple[str, ...]:
        """Keys of the scales that the stored numbers are divided by."""
        return tuple(s.key for s in self.sources if s.use is Use.FOLDED)

    @property
    def keys(self) -> tuple[str, ...]:
        """The entries that are of this record and no other: where it is stored, and its parts."""
        if not self.sources:
            return (self.key,)
        return (self.key, *(s.key for s in self.sources if s.use is Use.PART))

    @property
    def as_stored(self) -> bool:
        """Whether its numbers are those of its entry, in whatever order."""
        return not self.sources and not self.inverted and not self.packed and self.slice is None

    @property
    def plain_steps(self) -> bool:
        """Whether the numbers of its entry are its own, each a step that its codes are multiplied by: positive."""
        return self.quantity.is_step and not (
            self.sources or self.inverted or self.packed or self.slice is not None
            or self.signed or self.may_be_learned or self.may_be_zero
        )  # fmt: skip

    @property
    def order(self) -> tuple[str, ...]:
        """Keys of what says which elements a number is of."""
        return (*self.cells, self.grid.group_index) if self.grid.group_index else self.cells

    @property
    def may_be_negative(self) -> bool:
        """Whether a negative number in it is no fault."""
        return self.signed or self.may_be_learned

    @property
    def convention(self) -> tuple[object, ...]:
        """Two records are comparable number by number only where this is equal: what codes there are, and how they
        and the numbers make a value."""
        blocks = (self.grid.flattened, self.grid.group_size or self.grid.block[1:])
        return (self.quantity, self.element, blocks, self.through, self.signed, self.called)

    @property
    def scheme(self) -> str:
        """How codes and this scale make a value, in words."""
        if self.called:
            return self.called
        if self.through is not None:
            outer = self.quantity is Quantity.GLOBAL_SCALE
            return words.two_level(self.element, self.through, self.grid, outer)
        activation = self.kind is Kind.ACTIVATION
        codes = words.of_activation(self.element) if activation else words.of_codes(self.element, self.grid)
        if self.quantity is not Quantity.SCALE:
            return f"{self.quantity} of {codes}"
        return f"{codes}, signed maximum" if self.signed else codes

    @property
    def formula(self) -> str:
        """How a code becomes a value by this scale; "" where that is not known, or it is no scale."""
        if not self.verified or not self.quantity.is_step or self.quantity is Quantity.FACTOR:
            return ""
        if self.quantity is Quantity.GLOBAL_SCALE and self.through is None:
            return "x ~ global scale * scale * q"
        return words.formula(self.element, self.with_minimum)

    @property
    def granularity(self) -> str:
        """per-tensor, per-channel, per-group, ..."""
        return words.granularity(self.grid)

    @property
    def group_size(self) -> int | None:
        """Elements that share a number along `axis`; None where there are no groups."""
        return self.grid.group_size

    @property
    def axis(self) -> int | None:
        """Of the [out, in] weight."""
        return self.grid.axis


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """One quantized tensor in logical form.

    name: the key under which it is written when dequantized. role: as in ScaleRecord. codes_key: where its codes
    are stored; several weights may share it. slice: which part of that entry is this one, None for all of it.
    shape: [out, in] without padding, or of as many dimensions as the tensor has. element: of its codes. grid: of the
    finest of its scales. scale_roles: the records that scale it, zero points and minima among them. called: what its
    library calls the scheme; "" where element and grid say it. row_step: rows (of the first axis) can be read in
    ranges that start at a multiple of this.
    """

    name: str
    role: str
    codes_key: str
    shape: tuple[int, ...]
    element: Element
    scale_roles: tuple[str, ...]
    grid: Grid = PER_TENSOR
    called: str = ""
    row_step: int = 1
    slice: Slice | None = None

    @property
    def bits(self) -> int:
        """Of one code."""
        return self.element.bits

    @property
    def convention(self) -> tuple[object, ...]:
        """The codes of two weights mean the same only where this is equal."""
        return (self.element, self.grid.flattened, self.grid.group_size, self.called)

    @property
    def scheme(self) -> str:
        """What its codes are, in words."""
        return self.called or words.of_codes(self.element, self.grid)

    @property
    def stored_as(self) -> str:
        """The same in a few characters: `NVFP4`, `int4 g128`."""
        return words.stored_as(self.element, self.grid, self.called)

    def stored(self, checkpoint: Checkpoint) -> Tensor | None:
        """The tensor that its codes are in: the whole entry, or a handle on its part. None where there is none."""
        tensor = checkpoint.tensor(self.codes_key)
        return tensor if tensor is None or self.slice is None else part_of(tensor, self.slice)


@dataclass(frozen=True, slots=True)
class DynamicPoint:
    """An activation that is quantized as it comes: its scale is made for each token or block and stored nowhere.

    role, of, element: as in ScaleRecord. grid: of its scales, over [tokens, features].
    """

    role: str
    of: str
    element: Element
    grid: Grid


@dataclass(frozen=True, slots=True)
class Problem:
    """A module that does not fit what is said of it. Its entries are shown as they are stored; the rest of the model is
    understood. key: the entry, or the setting, at fault."""

    key: str
    error: CannotDequantize


@dataclass(frozen=True, slots=True)
class Derived:
    """A tensor that holds what is calculated of a parameter of the original, element by element.

    role: of that parameter. said: `-exp(A_log)`. of: the calculation, in float64.
    """

    role: str
    said: str
    of: Callable[[FloatArray], FloatArray]


class Topic(StrEnum):
    """What a comparison asks a family for, to say it in a sentence of its own."""

    UNREACHED = "unreached"
    """Why no scale of the checkpoint can depend on percentile_alpha: a clause after a colon."""
    MAXIMA = "maxima"
    """What numbers running maxima are, so that equal ones prove equal data: a clause, `they sit on ...`."""
    ORDER = "order"
    """By what it shows that heads or channels are in another order: a clause with its verb."""
    RECIPE = "recipe"
    """By which recipe a calibration sees the activations that its checkpoints scale: a phrase in brackets."""
    REORDERED = "reordered"
    """What `roles`, which differ where heads or channels are in another order, owe to that order: a sentence."""


class Format(ABC):
    """One quantization family, bound to one opened checkpoint.

    Subclasses set `family` (and what else of the class variables is true of them) and implement the abstract methods.
    Nothing is read from tensors before `values`, `codes` or `dequantize` asks for it.

    ordered_by: what records are in. claims: whether it understands the codes of its checkpoints; what nobody claims is
    taken for full precision. copies_complete: whether its records name every entry that a scale has a part in, so that
    one can be replaced. keeps_provenance: whether it has room in config.json and metadata, as own_layout.py says, for
    what was done to it. is_model: whether its tensors are the parameters of a model. own_names: whether its entries are
    called otherwise than the model's modules, so that `place_of` has to be asked where they stand.
    """

    family: ClassVar[str]
    ordered_by: ClassVar[str] = "forward order"
    claims: ClassVar[bool] = True
    copies_complete: ClassVar[bool] = False
    keeps_provenance: ClassVar[bool] = False
    is_model: ClassVar[bool] = True
    own_names: ClassVar[bool] = False

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

    def effective(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> FloatArray:
        """float32 values of rows `start` to `stop` that stand for the weight of the model in full precision: with the
        factor of each input channel, and with what is added in a second product. Where there is neither, those of
        `dequantize`, which gives what the codes stand for."""
        return self.dequantize(weight, start, stop)

    def values(self, record: ScaleRecord) -> FloatArray:
        """The scale's values: logical order, no padding, folded factors taken out. 0-dimensional for a scalar.
        Of a record that is a part of its entry, or is stored as one over it, this much is done here."""
        return numbers_of(self.checkpoint, record)

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        """Whether `values` gives a record that is `as_stored` in the shape and the order of its entry: then thousands
        are read at once, without asking for each. A family with `values` of its own says of which that is true."""
        return type(self).values is Format.values

    def zero_points(self, weight: QuantizedWeight) -> FloatArray | None:
        """The stored zero points of a weight, in whatever shape; None where it has none. Raises as `values`."""
        for record in self.scales():
            if record.quantity is Quantity.ZERO_POINT and record.role in weight.scale_roles:
                return self.values(record)
        return None

    def element_of(self, weight: QuantizedWeight) -> Element:
        """The element of a weight, with its offset where all its stored zero points are one number: that is read.
        Raises as `values`."""
        element = weight.element
        if element.kind is ElementKind.INTEGER and element.offset is None:
            zeros = self.zero_points(weight)
            if zeros is not None and zeros.size and bool((zeros == zeros.reshape(-1)[0]).all()):
                return replace(element, offset=float(zeros.reshape(-1)[0]))
        return element

    @property
    def declared_bits(self) -> tuple[float, ...]:
        """What its settings say that a code of a weight has: each width once, the least first; () where they do not."""
        return ()

    @property
    def rotated(self) -> bool | None:
        """Whether weights and activations are in a rotated space (Hadamard); None where that is not known."""
        return None

    def dynamic(self) -> tuple[DynamicPoint, ...]:
        """Activations that are quantized without a stored scale, in forward order."""
        return ()

    def problems(self) -> tuple[Problem, ...]:
        """Modules that are damaged, and so are neither in `scales` nor in `weights`."""
        return ()

    def says(self, topic: Topic, roles: Sequence[str] = ()) -> str:
        """What this family has to say on a topic, of the scales and weights of these roles; "" where it has nothing."""
        return ""

    def said_of_points(self) -> Mapping[str, tuple[str, float | None]]:
        """What the checkpoint says of its observation points, by key: the rule, and the alpha that reached it (None
        where none did, or it does not say)."""
        return {}

    def witnesses(self) -> dict[str, tuple[str, ...]]:
        """Role prefixes of modules whose heads or channels a saver may reorder, and the keys of tensors that were
        reordered with them (as in ScaleRecord)."""
        return {}

    def notes(self) -> tuple[str, ...]:
        """What is odd about this checkpoint for its family, one sentence each. Subclasses add theirs to these."""
        return (*self._problems_said(), *self._dynamic_said(), *self._shared_names_said())

    def _problems_said(self) -> Iterator[str]:
        problems = self.problems()
        if problems:
            do, they, are = ("does", "it", "is") if len(problems) == 1 else ("do", "them", "are")
            yield (
                f"{some(len(problems), 'module')} {do} not fit what is said of {they} and {are} shown as stored, first "
                f"{problems[0].error}"
            )

    def _dynamic_said(self) -> Iterator[str]:
        points = self.dynamic()
        if points:
            first = points[0]
            alike = all((p.element, p.grid) == (first.element, first.grid) for p in points)
            how = f"{'' if alike else 'the first to '}{first.element}, {words.granularity(first.grid)}"
            yield f"no scale is stored for {some(len(points), 'activation')}: quantized dynamically ({how})"

    def _shared_names_said(self) -> Iterator[str]:
        shared = self._roles.shared
        if not shared:
            return
        role, names = next(iter(shared.items()))
        listed = " and ".join(visible(n, 120) for n in names[:2]) + (", ..." if len(names) > 2 else "")
        yield (
            f"{some(len(shared), 'name')} stand{'s' * (len(shared) == 1)} for more than one entry once the words of "
            f"savers and wrappers are taken off, first {visible(role, 120)} for {listed}: which one a loader takes is "
            "not known"
        )

    @cached_property
    def _roles(self) -> Roles:
        return Roles.of_names(self.checkpoint.entries)

    def plain_tensor(self, name: str) -> Tensor | None:
        """A tensor that is neither a scale nor codes, as the original has it; None where there is none. A family whose
        files keep such tensors in another order or shape gives a handle that undoes it."""
        return self.checkpoint.tensor(name)

    def derived(self, name: str) -> Derived | None:
        """How a tensor that is neither a scale nor codes follows from a parameter of the original, where it holds other
        numbers than that; None where it does not."""
        return None

    def other_tensors(self) -> list[Tensor]:
        """Tensors that are neither scales nor codes: norms, biases, unquantized weights."""
        taken = self.taken()
        return [t for t in self.checkpoint.tensors() if t.name not in taken]

    def other_forms(self) -> Iterator[tuple[str, Form]]:
        """Name, dtype and shape of each of `other_tensors`, without a handle on any. Of a file in columns, one and the
        same tuple for all that are alike."""
        taken, entries = self.taken(), self.checkpoint.entries
        named = zip(entries, entries.tensor_forms(), strict=True)
        return ((name, form) for name, form in named if form is not None and name not in taken)

    def taken(self) -> set[str]:
        """Names of codes, scales and what belongs to them. Subclasses add what else is no tensor of the model."""
        taken = {w.codes_key for w in self.weights()}
        for record in self.scales():
            taken.add(record.key)
            if record.sources or record.copies or record.grid.group_index:  # of few, and there can be 20,000 records
                taken.update((*record.keys, record.grid.group_index, *(c.key for c in record.copies)))
        return taken

    def place_of(self, name: str) -> str:
        """Where an entry stands in a tree of the model's modules: its name without the words of savers. A family with
        other names than the model has gives the model's."""
        return strip_root(name)

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
            raise CannotRead("is not a number", file=entry.file.path, key=key, found=repr(entry.value)[:80])
        try:
            return np.asarray(entry.value, dtype=np.float64)
        except OverflowError as e:
            raise CannotRead("is an integer beyond the range of floats", file=entry.file.path, key=key) from e
    if entry.dtype.is_complex:
        raise CannotRead("holds complex numbers", file=entry.file.path, key=key)
    return entry.read()


def numbers_of(checkpoint: Checkpoint, record: ScaleRecord) -> FloatArray:
    """The numbers of a record that are those of its entry, or one over them. Raises as `read_numbers`."""
    entry = checkpoint[record.key]
    if record.slice is None or not isinstance(entry, Tensor):
        found = read_numbers(checkpoint, record.key)
    else:
        found = part_of(entry, record.slice).read()
    if not record.inverted:
        return found
    with np.errstate(all="ignore"):  # a 0 in the file is the file's
        return np.asarray(np.float32(1) / found.astype(np.float32))


def stored_form(checkpoint: Checkpoint, key: str) -> tuple[str, tuple[int, ...]]:
    """(dtype, shape) of an entry as stored; a Python number has shape ()."""
    if form := checkpoint.entries.form(key):
        dtype, shape = form
        return dtype.name, shape
    entry = checkpoint[key]
    return (entry.kind, ()) if isinstance(entry, Value) else (entry.dtype.name, entry.shape)


def part_of(tensor: Tensor, part: Slice) -> Tensor:
    """A handle on a part of a tensor that is stored in C order, reading nothing; of a row of numbers, on one of them,
    of shape (). Raises CannotDequantize where the tensor has no such part, or is stored in another order."""
    shape, n = tensor.shape, len(part.index)
    inner = shape[n:]
    n_rows = inner[0] if inner else 1
    rows = part.rows or (0, n_rows)
    inside = len(shape) >= n + (part.rows is not None) and all(
        0 <= i < d for i, d in zip(part.index, shape, strict=False)
    )
    width = tensor.dtype.nbytes(math.prod(inner[1:]))
    whole = 8 * width == math.prod(inner[1:]) * tensor.dtype.bits
    if tensor.dtype.block_bytes:
        whole = len(inner) > 1 and inner[-1] % tensor.dtype.block == 0
    if not (inside and tensor.strides is None and whole and 0 <= rows[0] <= rows[1] <= n_rows):
        raise CannotDequantize(
            "has no such part", file=tensor.file.path, key=tensor.name, expected=f"{list(part.index)}, rows {rows}",
            found=f"shape {list(shape)}{'' if tensor.strides is None else ', not in C order'}",
        )  # fmt: skip
    at = 0
    for i, d in zip(part.index, shape, strict=False):
        at = at * d + i
    start = tensor.offset + (at * n_rows + rows[0]) * width
    left = (rows[1] - rows[0], *inner[1:]) if inner else ()
    return Tensor(tensor.name, tensor.dtype, left, None, tensor.file, start)
