"""SINQ: integers or NF4 in groups, with a scale and a zero point for each group and a second scale for each column.

`M.W_q` holds the codes, `M.meta.*` the rest; a file beside the index says of what kind they are. docs/formats.md has
the layout.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.formats.element import NF4, Element, table, unsigned
from qinspect.inspector.formats.grid import Grid, channels, flat_blocks, groups
from qinspect.inspector.formats.modular import ModularFormat, Part, QuantizedModule, record_of, required
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.records import (
    CodeArray,
    FloatArray,
    Kind,
    Quantity,
    QuantizedWeight,
    ScaleRecord,
    Source,
    Use,
)
from qinspect.inspector.formats.said import commonest, differing_said
from qinspect.inspector.text import visible

Array = NDArray[Any]
_METHOD = "sinq"
_CODES = "W_q"
SIDE_FILE = "model.safetensors.index.json.meta.json"
_FLOATS = ("float16", "bfloat16", "float32")
_OF_WORDS = (3, 10)
"""Bits of a code, and codes of a word of 32 bits."""
_MOST_STEP = 1.0
"""Steps of a weight are far below it: numbers above are one over them."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """group: numbers that share a scale. bits: of a code. per: codes of an element of the entry. n_groups: without
    filling."""

    group: int
    bits: int
    per: int
    n_groups: int


class SinqWeight(QuantizedModule):
    """A weight [out, in], cut in groups in C order. An element holds a code of each part of the groups, that of the
    first part in its high bits. Its first record is the scale."""

    def __init__(
        self, checkpoint: Checkpoint, weight: QuantizedWeight, records: tuple[ScaleRecord, ...], layout: _Layout
    ) -> None:
        super().__init__(checkpoint, weight, records)
        self._layout = layout
        self._by_quantity = {r.quantity: r for r in records}

    def codes(self, start: int, stop: int) -> CodeArray:
        columns, group = self.weight.shape[1], self._layout.group
        first, last = self._groups(start, stop)
        found = self._in_groups(first, last).reshape(-1)
        begin = start * columns - first * group
        return found[begin : begin + (stop - start) * columns].reshape(stop - start, columns)

    def dequantize(self, start: int, stop: int) -> FloatArray:
        columns, group = self.weight.shape[1], self._layout.group
        first, last = self._groups(start, stop)
        codes = self._in_groups(first, last)
        worth = self.weight.element.values(codes)
        values = codes.astype(np.float32) if worth is None else worth
        self._are_steps()
        scales = self._numbers(self.records[0], first, last)
        with np.errstate(all="ignore"):  # numbers in the file that are not finite are the file's
            if Quantity.ZERO_POINT in self._by_quantity:
                values -= self._numbers(self._by_quantity[Quantity.ZERO_POINT], first, last)[:, None]
            values *= scales[:, None]
            begin = start * columns - first * group
            rows: FloatArray = values.reshape(-1)[begin : begin + (stop - start) * columns].reshape(-1, columns)
            if (factor := self._factor()) is not None:
                rows = rows * factor
        return rows

    def values(self, record: ScaleRecord) -> FloatArray:
        if record.quantity is Quantity.FACTOR:
            return super().values(record).reshape(-1)
        found = self._numbers(record)
        by_row = self.weight.shape[1] % self._layout.group == 0 and found.size > 1
        return found.reshape(self.weight.shape[0], -1) if by_row else found

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return False

    def _groups(self, start: int, stop: int) -> tuple[int, int]:
        columns, group = self.weight.shape[1], self._layout.group
        return start * columns // group, -(-stop * columns // group)

    def _in_groups(self, first: int, last: int) -> CodeArray:
        """uint8[groups, numbers] of the groups `first` to `last`."""
        tensor, layout = self.tensor(self.weight.codes_key), self._layout
        n, mask = tensor.shape[0], (1 << layout.bits) - 1
        parts: list[Array] = [np.empty((0, layout.group), np.uint8)]
        for place in range(layout.per):
            begin, end = max(first - place * n, 0), min(last - place * n, n)
            if begin < end:
                stored = np.ascontiguousarray(tensor.read_rows(begin, end))
                words = stored.view(np.uint32) if stored.dtype.itemsize == 4 else stored
                parts.append((words >> (layout.per - 1 - place) * layout.bits & mask).astype(np.uint8))
        return np.concatenate(parts)

    def _numbers(self, record: ScaleRecord, first: int = 0, last: int | None = None) -> Array:
        """float32 of the groups `first` to `last`, in order, or the one number of all: of scales that are quantized
        themselves, code * step + least."""
        tensor = self.tensor(record.key)
        begin, width = 0, math.prod(tensor.shape[1:])
        if last is None or tensor.n_elements == 1:
            stored = tensor.read()
        else:
            begin = first // width
            stored = tensor.read_rows(begin, -(-last // width))
        stored = stored.astype(np.float32)
        if record.sources:
            step, least = (self.tensor(s.key).read().astype(np.float32) for s in record.sources)
            with np.errstate(all="ignore"):
                stored = stored * step + least
        found = np.asarray(stored.reshape(-1))
        return found if last is None or found.size == 1 else found[first - begin * width : last - begin * width]

    def _factor(self) -> Array | None:
        record = self._by_quantity.get(Quantity.FACTOR)
        return None if record is None else self.tensor(record.key).read().astype(np.float32).reshape(-1)

    @cached_property
    def _usual(self) -> float:
        """The usual step of a value, of all groups and columns."""
        factor = self._factor()
        with np.errstate(all="ignore"):
            of_scales = np.median(np.abs(self._numbers(self.records[0])))
            return float(of_scales * (1 if factor is None else np.median(np.abs(factor))))

    def _are_steps(self) -> None:
        """Raises CannotDequantize where scales are larger than steps of a weight: of releases that divided by them."""
        if self._usual > _MOST_STEP:
            raise CannotDequantize(
                "is of scales that may be one over those of others: releases differ in whether they divide",
                file=self.checkpoint.path, key=self.records[0].key, expected=f"a usual step below {_MOST_STEP:g}",
                found=f"{self._usual:.3g}",
            )  # fmt: skip


class SinqFormat(ModularFormat):
    """One checkpoint."""

    family = "sinq"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._declared = declared(checkpoint)
        side = checkpoint.config.get(SIDE_FILE)
        self._side: Mapping[str, Any] = side if isinstance(side, dict) else {}
        self._kinds: Counter[str] = Counter()
        self._differing: list[tuple[str, str, str]] = []
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        said, entries = declared(checkpoint), checkpoint.entries
        if said.method not in ("", _METHOD) or _CODES not in entries.lasts:
            return None
        told = bool(said.method) or SIDE_FILE in checkpoint.config
        for name in entries.ending(_CODES):
            meta = f"{name.removesuffix(_CODES)}meta."
            alone = [f"{meta}scale2", f"{meta}scale.x", *([f"{meta}scale"] if told else [])]
            if any(key in entries for key in alone):
                return f"{said.where} says {_METHOD}" if said.method else f"{name} stands beside {meta}scale"
        return None

    @property
    def description(self) -> str:
        told = commonest(self._kinds)
        return f"SINQ {', '.join(told)}"

    @property
    def declared_bits(self) -> tuple[float, ...]:
        said = (of.get("nbits") for of in map(self._said_of, self._side))
        found = {float(n) for n in said if isinstance(n, int | float) and not isinstance(n, bool) and 0 < n <= 8}
        return tuple(sorted(found))

    def _said_of(self, module: str) -> Mapping[str, Any]:
        of = self._side.get(module)
        meta = of.get("meta") if isinstance(of, dict) else None
        return meta if isinstance(meta, dict) else {}

    def _find(self) -> Iterator[Part]:
        names = [name for name in self.checkpoint.entries.ending(_CODES) if name.rpartition(".")[2] == _CODES]
        for name in sorted(names, key=forward_key):
            yield self._or_problem(name, lambda n=name: self._weight(n))  # type: ignore[misc]

    def _wrong(self, key: str, what: str, expected: str, found: str) -> CannotDequantize:
        return CannotDequantize(what, file=self.checkpoint.path, key=key, expected=expected, found=found)

    def _weight(self, name: str) -> SinqWeight:
        """Raises CannotDequantize where the entries of a module do not fit each other, or are of an unknown kind."""
        prefix = name.removesuffix(_CODES)
        module, meta = prefix.removesuffix("."), f"{prefix}meta."
        said, forms = self._said_of(module), self.checkpoint.entries.form
        form = forms(name)
        if form is None or form[0].name not in ("uint8", "int32") or len(form[1]) != 2 or 0 in form[1]:
            found = f"{form[0].name} {list(form[1])}" if form else "no tensor"
            raise self._wrong(
                name, "cannot be codes of groups", "uint8 or int32 [groups / codes an element, group]", found
            )
        quantized = f"{meta}scale.x" in self.checkpoint.entries
        method = str(
            said.get("method") or self._declared.text("method") or ("sinq_quantaux" if quantized else "")
        ).lower()
        axis = said.get("axis", 1)
        if not method or "nf3" in method or axis != 1 or said.get("view_as_float") is True:
            found = f"method {visible(method, 40) or 'not said'}, axis {visible(str(axis), 20)}"
            expected = f"a method in {SIDE_FILE} that is not nf3, along axis 1"
            raise self._wrong(name, "is of a kind that is not known", expected, found)
        scale = forms(f"{meta}scale.x" if quantized else f"{meta}scale")
        rank = said.get("scale.shape")
        if (scale and not quantized and len(scale[1]) > 2) or (isinstance(rank, list) and len(rank) > 2):
            raise self._wrong(
                name, "is cut in tiles, which are not decoded", "groups along the rows", "scales of three axes"
            )
        n_groups = math.prod(scale[1]) if scale else 0
        layout = self._layout(name, form[0].name, form[1], n_groups, said)
        shape = self._shape(name, f"{meta}scale2", layout, said)
        element = table("nf4", NF4, 4) if "nf4" in method else unsigned(layout.bits)
        if "nf4" in method and layout.bits != 4:
            raise self._wrong(name, "cannot be indices of NF4", "4 bits", f"{layout.bits} bits")
        role = f"{self.role_of(name).removesuffix(_CODES)}weight"
        grid = groups(layout.group) if shape[1] % layout.group == 0 else flat_blocks(layout.group)
        records = tuple(self._records_of(meta, f"{prefix}weight", role, element, grid, n_groups, shape[1]))
        weight = QuantizedWeight(f"{prefix}weight", role, name, shape, element, tuple(r.role for r in records), grid)
        self._kinds[weight.stored_as] += 1
        self._compare(module, said, layout, shape)
        return SinqWeight(self.checkpoint, weight, records, layout)

    def _layout(
        self, name: str, dtype: str, stored: tuple[int, ...], n_groups: int, said: Mapping[str, Any]
    ) -> _Layout:
        """How codes lie in an element: as many as the groups make of it."""
        if dtype == "int32":
            bits, per = _OF_WORDS
            fits = n_groups > 0 and -(-n_groups // per) == stored[0] and said.get("packing", "3bit_32") == "3bit_32"
        else:
            per = n_groups // stored[0]
            fits, bits = n_groups == per * stored[0] and per in (1, 2, 4, 8), 8 // per if per else 0
        if not fits:
            raise self._wrong(
                name, "does not hold the codes of as many groups as there are scales",
                f"1, 2, 4 or 8 groups an element (of words {_OF_WORDS[1]}) of {stored[0]}",
                f"{n_groups} scales, {dtype} {list(stored)}",
            )  # fmt: skip
        return _Layout(stored[1], bits, per, n_groups)

    def _shape(self, name: str, second: str, layout: _Layout, said: Mapping[str, Any]) -> tuple[int, int]:
        """Rows and columns: as many columns as the second scale has numbers, else as is said."""
        n = layout.n_groups * layout.group
        form = self.checkpoint.entries.form(second)
        shape = said.get("shape")
        if form is not None:
            columns = math.prod(form[1])
        elif isinstance(shape, list) and len(shape) == 2 and type(shape[1]) is int:
            columns = shape[1]
        else:
            columns = 0
        if columns < 1 or n % columns:
            raise self._wrong(
                second if form else name, "do not tell how many columns the weight has" if form else
                "has no second scale beside it, and no shape is said", f"a number that divides {n}",
                f"{columns} columns" if form or columns else "nothing",
            )  # fmt: skip
        return n // columns, columns

    def _records_of(
        self, meta: str, name: str, role: str, element: Element, grid: Grid, n_groups: int, columns: int
    ) -> Iterator[ScaleRecord]:
        of, entries = f"weight {name}", self.checkpoint.entries
        parts = (("scale", "", Quantity.SCALE), ("zero", "#zero_point", Quantity.ZERO_POINT))
        for part, end, quantity in parts:
            key, what = f"{meta}{part}", f"{n_groups} groups of {name}"
            if part == "zero" and key not in entries and f"{key}.x" not in entries:
                continue
            sources: tuple[Source, ...] = ()
            if f"{key}.x" in entries:
                sources = tuple(Source(f"{key}.{last}", Use.PART) for last in ("s", "m"))
                form = entries.form(f"{key}.x")
                shape = form[1] if form and math.prod(form[1]) == n_groups and len(form[1]) == 2 else (1, n_groups)
                required(self.checkpoint, f"{key}.x", ("uint8",), [shape], what)
                for source in sources:
                    required(self.checkpoint, source.key, _FLOATS, [(1, shape[1])], what)
                key = f"{key}.x"
            else:
                shapes = [(n_groups, 1), (n_groups,), *([(1, 1), (1,), ()] if part == "zero" else [])]
                required(self.checkpoint, key, _FLOATS, shapes, what)
            yield record_of(
                self.checkpoint, f"{role}{end}", key, Kind.WEIGHT, of, element, grid, quantity=quantity, sources=sources
            )
        if f"{meta}scale2" in entries:
            required(self.checkpoint, f"{meta}scale2", _FLOATS, [(1, columns), (columns,)], name)
            yield record_of(
                self.checkpoint, f"{role}#pre_quant", f"{meta}scale2", Kind.WEIGHT, of, element, channels(1),
                quantity=Quantity.FACTOR,
            )  # fmt: skip

    def _compare(self, module: str, said: Mapping[str, Any], layout: _Layout, shape: tuple[int, int]) -> None:
        """Keep what is said otherwise than the entries are."""
        bits = said.get("nbits")
        wide = {1: (1,), 2: (1.58, 2)}.get(layout.bits, (layout.bits,))
        for what, claimed, stored in (
            ("bits", bits if bits not in wide else layout.bits, layout.bits),
            ("group", said.get("group_size"), layout.group), ("shape", said.get("shape"), list(shape)),
        ):  # fmt: skip
            if claimed is not None and claimed != stored:
                self._differing.append((module, f"{what} {visible(str(claimed), 40)}", f"of {what} {stored}"))
                return

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *differing_said(SIDE_FILE, self._differing))
