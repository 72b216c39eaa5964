"""What a quantization family tells the rest of the instrument, and nothing else.

A family is one module (or package) in `families/` with one `Format` subclass. It recognises its checkpoints from
config, metadata and key signatures; it lists scale records and quantized weights in forward order; it reads their
values in logical order (unpacked, unpermuted, without padding); it dequantizes; and what only it knows, it says itself.
docs/formats.md holds the types against families on paper.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats import words
from qinspect.inspector.formats.adapted import AdaptedModule
from qinspect.inspector.formats.element import Element, ElementKind
from qinspect.inspector.formats.numbers import numbers_of
from qinspect.inspector.formats.records import (
    CodeArray,
    Derived,
    DynamicPoint,
    FloatArray,
    Problem,
    Quantity,
    QuantizedWeight,
    Refusal,
    ScaleRecord,
)
from qinspect.inspector.formats.said import Contradiction, NamedModules
from qinspect.inspector.roles import Roles, strip_root
from qinspect.inspector.rows import column, where
from qinspect.inspector.text import some, visible

if TYPE_CHECKING:
    from qinspect.kernels.packing import PackedRows


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
    CACHE = "cache"
    """Why a KV cache is declared to be quantized and no scale of it stored, where that is meant: a clause."""


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
    loaded_as_one: ClassVar[bool] = True

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
    def scales(self) -> Sequence[ScaleRecord]:
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

    def packed(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> PackedRows | None:
        """Rows `start` to `stop` as they are stored, and how they make what `effective` gives, to the bit: for who
        makes numbers of them on the way. None where that is not so simple. Raises as `dequantize`."""
        return None

    def values(self, record: ScaleRecord) -> FloatArray:
        """The scale's values: logical order, no padding, folded factors taken out. 0-dimensional for a scalar.
        Of a record that is a part of its entry, or is stored as one over it, this much is done here."""
        return numbers_of(self.checkpoint, record)

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        """Whether `values` gives a record that is `as_stored` in the shape and the order of its entry: then thousands
        are read at once, without asking for each. A family with `values` of its own says of which that is true."""
        return type(self).values is Format.values

    def adapts(self) -> Sequence[AdaptedModule]:
        """The modules of another model whose weights this changes; () where it is no adapter."""
        return ()

    def adapted_rows(self, module: AdaptedModule, weight: FloatArray, start: int, stop: int) -> FloatArray:
        """float64 [rows, all behind the first axis]: rows `start` to `stop` of the base's weight, which are given in
        that form, as they are with the adapter merged into them. Raises CannotDequantize where that is not calculated,
        and CannotRead."""
        raise CannotDequantize("is no adapter", file=self.checkpoint.path, key=module.module)

    def zero_points(self, weight: QuantizedWeight) -> FloatArray | None:
        """The stored zero points of a weight, in whatever shape; None where it has none. Raises as `values`."""
        for record in self.scales():
            if record.quantity is Quantity.ZERO_POINT and record.role in weight.scale_roles:
                return self.values(record)
        return None

    def element_of(self, weight: QuantizedWeight) -> Element:
        """The element of a weight, with its offset where all its stored zero points are one number: that is read.
        Without one where a minimum is added, since then no code stands for zero. Raises as `values`."""
        element = weight.element
        if element.kind is ElementKind.INTEGER and element.offset is not None and len(weight.scale_roles) > 1:
            added = (r.role in weight.scale_roles for r in self.scales() if r.quantity is Quantity.MINIMUM)
            return replace(element, offset=None) if any(added) else element
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
    def declared_cache(self) -> str:
        """What the settings say that the KV cache is stored in with scales from the file: `FP8`; "" where nothing."""
        return ""

    def named_modules(self) -> Sequence[NamedModules]:
        """For which modules the entries of its settings are that name some. An entry that cannot be tried is not among
        them."""
        return ()

    def says_quantized(self, module: str) -> bool | None:
        """Whether the settings say that a linear module, by its name in the file, is quantized; None where they say
        neither, or loaders go by the tensors."""
        return None

    def contradictions(self) -> Sequence[Contradiction]:
        """Where settings and tensors disagree in how a module is quantized; it is read as its tensors are."""
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

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Of what nobody claims: the families that recognised it all the same."""
        return ()

    @property
    def not_understood(self) -> str:
        """What holds codes and is not decoded, a clause for people; "" where there is nothing of the sort."""
        return ""

    def says(self, topic: Topic, roles: Sequence[str] = ()) -> str:
        """What this family has to say on a topic, of the scales and weights of these roles; "" where it has nothing."""
        return ""

    def on_purpose(self, record: ScaleRecord, value: float) -> str:
        """Why its library writes this very number as such a scale whatever the data are: a clause; "" where it does
        not, or that is not known."""
        return ""

    def absent_scales(self) -> Sequence[str]:
        """Roles of the scales that its settings say are stored, and that are not, in forward order."""
        return ()

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
        taken.update(column(self.scales(), "key"))
        for record in where(self.scales(), lambda r: r.sources or r.copies or r.grid.group_index):
            taken.update((*record.keys, record.grid.group_index, *(c.key for c in record.copies)))
        return taken

    def place_of(self, name: str) -> str:
        """Where an entry stands in a tree of the model's modules: its name without the words of savers. A family with
        other names than the model has gives the model's."""
        return strip_root(name)

    def tree_path(self, name: str) -> str:
        """The dotted path of an entry in a tree of the file: its name. Of names that lost their dots, with the dots
        where they can be told."""
        return name

    def role_of(self, name: str) -> str:
        """The role of an entry that has no better one: its name without what differs between savers, or its whole name
        where two entries of the model differ in nothing else."""
        return self._roles.of(name)

    def roles_of(self, names: Sequence[str]) -> list[str]:
        """`role_of` of each."""
        plain = type(self).role_of is Format.role_of
        return self._roles.of_each(names) if plain else list(map(self.role_of, names))
