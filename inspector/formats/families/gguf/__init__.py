"""GGUF, the format of llama.cpp: weights in blocks that carry their own scales and minima.

block_types.py and codebooks.py say what is in a block of each type, modules.py makes a weight of a tensor, names.py and
rows.py say which tensor and which row of the original it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

import numpy as np

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.families.gguf.block_types import BLOCK_TYPES, BlockType
from qinspect.inspector.formats.families.gguf.codebooks import CODEBOOKS
from qinspect.inspector.formats.families.gguf.modules import Beside, BlockModule
from qinspect.inspector.formats.families.gguf.names import Names
from qinspect.inspector.formats.families.gguf.originals import of_order, of_shape
from qinspect.inspector.formats.families.gguf.rows import heads_of
from qinspect.inspector.formats.grid import groups
from qinspect.inspector.formats.modular import Part, RearrangedFormat
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.records import (
    Derived,
    FloatArray,
    Kind,
    Problem,
    Quantity,
    QuantizedWeight,
    ScaleRecord,
    Slice,
)
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import some, visible

_TYPES: dict[str, BlockType] = {**BLOCK_TYPES, **CODEBOOKS}
_MAX_PARTS = 1 << 12
"""Experts of one tensor. The largest models have 512."""
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0",
}  # fmt: skip
"""llama.cpp's names of mixtures, by `general.file_type`."""
_OF_ONE_WIDTH = (
    "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q6_K", "IQ4_NL", "IQ4_XS", "TQ2_0", "MXFP4_MOE", "NVFP4", "Q1_0",
)  # fmt: skip
"""Those that are meant to be of one type, whatever llama.cpp makes of the head: all others mix by design."""


class GgufFormat(RearrangedFormat):
    """A model in a GGUF file. Of llama and its like the rows of q and k come in the order of the original."""

    family = "gguf"
    loaded_as_one = False
    own_names = True

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._names = Names(checkpoint.metadata)
        self._unordered: list[str] = []
        self._opaque: list[str] = []
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        return "it is a GGUF file" if checkpoint.kind == "GGUF" else None

    def _find(self) -> Iterator[Part]:
        entries = self.checkpoint.entries
        self._with_scales = any(name.endswith("scale") for name in entries)
        found = [(name, form) for name, form in zip(entries, entries.tensor_forms(), strict=True) if form is not None]
        found = [(name, form) for name, form in found if form[0].block_bytes]
        for name, form in sorted(found, key=lambda f: forward_key(self.place_of(f[0]))):
            kind = _TYPES.get(form[0].name)
            if kind is None:
                self._opaque.append(name)
            elif 0 not in form[1]:
                yield from self._parts(name, form, kind)

    def _parts(self, name: str, form: Form, kind: BlockType) -> Iterator[Part]:
        """The weights in one tensor: of three dimensions, one for each expert."""
        dtype, shape = form
        n_parts = math.prod(shape[:-2])
        try:
            if len(shape) < 2 or n_parts > _MAX_PARTS:
                raise CannotDequantize(
                    "is not a matrix, or a matrix for each expert", file=self.checkpoint.path, key=name,
                    expected=f"2 or 3 dimensions, and at most {_MAX_PARTS} experts",
                    found=f"{dtype.name} {list(shape)}",
                )  # fmt: skip
            beside = self._beside(name, n_parts)
        except CannotDequantize as e:
            yield Problem(name, e)
            return
        n_heads = heads_of(self.checkpoint.metadata, name, shape[-2])
        if n_heads is None:
            self._unordered.append(name)
        original = self._names.original(name)
        several, grid, called = len(shape) > 2, groups(kind.group), dtype.name.upper()
        further = [f"#{what}" for what, there in (("minimum", kind.minima), ("global", beside.factor)) if there]
        for place in range(n_parts):
            index = _place(place, shape[:-2]) if several else ()
            of_expert = original.replace("{e}", str(place)) if "{e}" in original or not several else ""
            named = of_expert or (_numbered(name, index) if several else name)
            role = strip_root(named)
            roles = (role, *[role + f for f in further]) if further else (role,)
            weight = QuantizedWeight(
                named, role, name, shape[-2:], kind.element, roles, grid, called=called,
                slice=Slice(index) if several else None,
            )  # fmt: skip
            yield BlockModule(self.checkpoint, weight, kind, n_heads or 0, beside, dtype.name)

    def _beside(self, name: str, n_parts: int) -> Beside:
        """What stands beside a tensor and belongs to it. Raises CannotDequantize where that has another size."""
        if not self._with_scales:
            return _NOTHING_BESIDE
        module = name.removesuffix(".weight")
        factor = self._number(f"{module}.scale", n_parts) or self._number(f"{name}.scale", n_parts)
        return Beside(factor, self._number(f"{module}.input_scale", n_parts))

    def _number(self, key: str, n_parts: int) -> str:
        """`key` where there is such an entry, of one number or one for each part; "" where there is none."""
        if key not in self.checkpoint.entries:
            return ""
        tensor = self.checkpoint.tensor(key)
        if tensor is None or tensor.n_elements not in (1, n_parts) or not tensor.dtype.is_float:
            raise CannotDequantize(
                "does not fit the tensor that it belongs to", file=self.checkpoint.path, key=key,
                expected="one number" if n_parts == 1 else f"one number, or {n_parts}",
                found="no tensor" if tensor is None else f"{tensor.dtype.name} {list(tensor.shape)}",
            )  # fmt: skip
        return key

    @property
    def description(self) -> str:
        types = [name.upper() for name in self._bytes_by_type()]
        said, architecture = self._said, self._names.architecture
        named = f"GGUF {said}" if said else "GGUF"
        listed = "" if types == [said] else f": {_listed(types)}"
        return f"{named}{f' ({visible(architecture, 40)})' if architecture else ''}{listed}" + (
            "" if self._records else ", no scales"
        )

    @property
    def declared_bits(self) -> tuple[float, ...]:
        kind = _TYPES.get(_MIXED.sub(r"\1", self._said).lower()) if self._said in _OF_ONE_WIDTH else None
        return () if kind is None else (float(kind.element.bits),)

    @property
    def _said(self) -> str:
        """What mixture of types the file says it is; "" where it does not."""
        number = self.checkpoint.metadata.get("general.file_type", "")
        return _FILE_TYPES.get(int(number), "") if number.isdecimal() and len(number) < 9 else ""

    def _bytes_by_type(self) -> dict[str, int]:
        """Bytes by the name of the type, most first: of blocks, or where there are none of all."""
        found = self.checkpoint.bytes_by_dtype()
        blocks = {name: n for name, n in found.items() if name in _TYPES or name.startswith("ggml_")}
        return dict(sorted((blocks or found).items(), key=lambda item: -item[1]))

    def place_of(self, name: str) -> str:
        module, _, last = name.rpartition(".")
        original = self._names.original(name)
        if not original and last in ("scale", "input_scale"):
            beside = self._names.original(f"{module}.weight")
            original = f"{beside.removesuffix('.weight')}.{last}" if beside else ""
        return strip_root(original.replace("{e}.", "")) if original else strip_root(name)

    def role_of(self, name: str) -> str:
        original = self._names.original(name)
        return strip_root(original.replace("{e}.", "")) if original else super().role_of(name)

    def derived(self, name: str) -> Derived | None:
        original = self._names.log_of(name)
        return Derived(strip_root(original), "-exp(A_log)", _minus_exp) if original else None

    def _as_original(self, tensor: Tensor) -> Tensor:
        original = self._names.original(tensor.name) or self._names.log_of(tensor.name)
        if not original or tensor.dtype.block_bytes or not tensor.nbytes or not tensor.shape:
            return tensor
        n_heads = heads_of(self.checkpoint.metadata, tensor.name, tensor.shape[0])
        return of_order(tensor, n_heads) if n_heads else of_shape(tensor, original)

    def on_purpose(self, record: ScaleRecord, value: float) -> str:
        beside = record.kind is Kind.ACTIVATION or record.quantity is Quantity.GLOBAL_SCALE
        return "llama.cpp's converter writes 1 where its source had no such scale" if beside and value == 1 else ""

    @property
    def not_understood(self) -> str:
        if not self._opaque:
            return ""
        kinds = sorted({t.dtype.name for name in self._opaque if (t := self.checkpoint.tensor(name)) is not None})
        return (
            f"{some(len(self._opaque), 'tensor')} of types that are not decoded ({_listed(kinds)}), first "
            f"{visible(self._opaque[0], 120)}"
        )

    def notes(self) -> tuple[str, ...]:
        return (*self._own_notes(), *super().notes())

    def _own_notes(self) -> Iterator[str]:
        if self._opaque:
            yield f"{self.not_understood}: their bytes are compared, and not their values"
        if self._unordered:
            yield (
                f"the rows of {some(len(self._unordered), 'tensor')} are in llama.cpp's order, first "
                f"{visible(self._unordered[0], 120)}: the head count that the original's order follows from is missing "
                "or does not fit"
            )
        says = _MIXED.sub(r"\1", self._said).lower()
        types = self._bytes_by_type()
        if says in BLOCK_TYPES and says not in types and self._records:
            yield f"general.file_type says {self._said}, and no tensor is of type {says.upper()}: {_listed(types)}"


def _minus_exp(log: FloatArray) -> FloatArray:
    return np.asarray(-np.exp(log))


_MIXED = re.compile(r"(Q\d_K|MXFP4)_\w+")


_NOTHING_BESIDE = Beside()


def _place(number: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The position along each axis of part `number`, in C order."""
    found: list[int] = []
    for size in reversed(sizes):
        number, at = divmod(number, size)
        found.append(at)
    return tuple(reversed(found))


def _numbered(name: str, index: tuple[int, ...]) -> str:
    """A name for one part of a tensor whose original is not known: `blk.0.ffn_up_exps.3.weight`."""
    module, _, last = name.rpartition(".")
    return ".".join(filter(None, (module, *map(str, index), last)))


def _listed(names: Iterable[str], shown: int = 4) -> str:
    every = [n.upper() for n in names]
    return ", ".join(every[:shown]) + (f" and {len(every) - shown} more" if len(every) > shown else "")
