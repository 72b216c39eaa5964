"""What a family tells of one thing in a checkpoint: a scale, a weight, an activation, a module that does not fit.

docs/formats.md holds these types against families on paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats import words
from qinspect.inspector.formats.element import Element
from qinspect.inspector.formats.grid import PER_TENSOR, Grid
from qinspect.inspector.formats.hadamard_blocks import HadamardBlocks
from qinspect.inspector.formats.runs import Runs, rows_of

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
    """Of each input channel: what goes in is multiplied by it before it is quantized, so the weight in use is too. Of
    each output channel, where its grid says so: what comes out is."""

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

    index: positions along the first axes. rows: range along the axis after them; None for all. runs: rows along that
    axis that are no range.
    """

    index: tuple[int, ...] = ()
    rows: tuple[int, int] | None = None
    runs: Runs | None = None


@dataclass(frozen=True, slots=True)
class ScaleRecord:
    """One scale (or scale tensor, or zero point, ...), where it is stored and what it is a scale of.

    role: name that is the same in every checkpoint of the model whatever its format, `layers.3.mixer.x_proj:input`
    for an observation point, `layers.3.mixer.x_proj.weight` for a weight, with `#part` where a weight has several
    records. key: the entry it is read from. of: a phrase for people. element: of the codes that it scales. grid: which
    of them share a number. dtype, shape: as stored. quantity: what the numbers are. inverted: the entry holds one over
    the number. sources: further entries that the numbers are made of. through: codes times the inner of two scales are
    rounded to this element, before the outer one (quantity GLOBAL_SCALE) applies. signed: its numbers may be negative
    by convention. may_be_zero: a scale of 0 is that of a block of zeros, and no fault. no_code: of a zero point, it may
    be a fraction, or beyond all codes. with_minimum: another record is the minimum that is added to what this one
    scales. slice: which part of the entry it is; None for all of it. packed: where the entry holds codes of the numbers
    (eight zero points a word, the exponent of a scale), how: of equal bytes the numbers are equal only where this is.
    reach: which settings have a part in it. guess: of an unverified one, what its name suggests; may_be_learned: that
    it may be a trained factor, and negative. called: what its library calls the scheme; "" where element and grid say
    it.
    cells: keys that define which elements a cell of the scale covers; where they differ between two models, equal
    indices are not the same cell. witnesses: keys of tensors that were reordered together with the cells; where one
    holds the same values in another order, so do the cells. rotation: it scales codes of a weight that was rotated by
    this, as in QuantizedWeight.
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
    no_code: bool = False
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
    rotation: HadamardBlocks | None = None

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
        return (self.quantity, self.element, blocks, self.through, self.signed, self.called, self.rotation)

    @property
    def scheme(self) -> str:
        """How codes and this scale make a value, in words."""
        if self.called:
            return self.called
        if self.through is not None:
            outer = self.quantity is Quantity.GLOBAL_SCALE
            return f"{words.two_level(self.element, self.through, self.grid, outer)}{self._rotated}"
        activation = self.kind is Kind.ACTIVATION
        of_weight = f"{words.of_codes(self.element, self.grid)}{self._rotated}"
        codes = words.of_activation(self.element) if activation else of_weight
        if self.quantity is not Quantity.SCALE:
            return f"{self.quantity} of {codes}"
        signed = ", signed" if self.with_minimum else ", signed maximum"
        return f"{codes}{signed}" if self.signed else codes

    @property
    def _rotated(self) -> str:
        return f", {self.rotation.short}" if self.rotation else ""

    @property
    def formula(self) -> str:
        """How a code becomes a value by this scale; "" where that is not known, or it is no scale."""
        if not self.verified or not self.quantity.is_step or self.quantity is Quantity.FACTOR:
            return ""
        if self.quantity is Quantity.GLOBAL_SCALE and self.through is None:
            return "x ~ global scale * scale * q"
        back = ", then rotated back" if self.rotation else ""
        return f"{words.formula(self.element, self.with_minimum)}{back}"

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
    ranges that start at a multiple of this. rotation: what was done to the weight before it was rounded, and is undone
    in what `dequantize` and `effective` give: its codes and scales are those of the rotated weight. filled_up: its last
    columns may be zeros that were added for a kernel, and nothing tells.
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
    rotation: HadamardBlocks | None = None
    filled_up: bool = False

    @property
    def bits(self) -> int:
        """Of one code."""
        return self.element.bits

    @property
    def convention(self) -> tuple[object, ...]:
        """The codes of two weights mean the same only where this is equal."""
        return (self.element, self.grid.flattened, self.grid.group_size, self.called, self.rotation)

    @property
    def scheme(self) -> str:
        """What its codes are, in words."""
        rotated = f", {self.rotation.short}" if self.rotation else ""
        return f"{self.called or words.of_codes(self.element, self.grid)}{rotated}"

    @property
    def stored_as(self) -> str:
        """The same in a few characters: `NVFP4`, `int4 g128`."""
        known = words.stored_as(self.element, self.grid, self.called)
        return known if self.rotation is None or self.called else f"{known} rotated"

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
class Refusal:
    """A family that recognised a checkpoint and then understood none of its modules. error: of the first of them."""

    family: str
    error: CannotDequantize


@dataclass(frozen=True, slots=True)
class Derived:
    """A tensor that holds what is calculated of a parameter of the original, element by element.

    role: of that parameter. said: `-exp(A_log)`. of: the calculation, in float64.
    """

    role: str
    said: str
    of: Callable[[FloatArray], FloatArray]


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
    if part.runs is not None:
        inside = inside and bool(inner) and part.runs.stop <= n_rows
    if tensor.dtype.block_bytes:
        whole = len(inner) > 1 and inner[-1] % tensor.dtype.block == 0
    if not (inside and tensor.strides is None and whole and 0 <= rows[0] <= rows[1] <= n_rows):
        raise CannotDequantize(
            "has no such part", file=tensor.file.path, key=tensor.name,
            expected=f"{list(part.index)}, {part.runs.said if part.runs else f'rows {rows}'}",
            found=f"shape {list(shape)}{'' if tensor.strides is None else ', not in C order'}",
        )  # fmt: skip
    at = 0
    for i, d in zip(part.index, shape, strict=False):
        at = at * d + i
    start = tensor.offset + (at * n_rows + rows[0]) * width
    left = (rows[1] - rows[0], *inner[1:]) if inner else ()
    found = Tensor(tensor.name, tensor.dtype, left, None, tensor.file, start)
    return found if part.runs is None else rows_of(found, part.runs)
