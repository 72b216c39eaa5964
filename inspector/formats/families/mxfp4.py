"""MXFP4 as gpt-oss has it: experts in one tensor of blocks, 32 numbers of FP4 in 16 bytes, and an exponent for each.

`X_blocks` and `X_scales` stand for the parameter X, or, in OpenAI's own files, `X.blocks` and `X.scales`. Other
libraries write MXFP4 under the names of their own formats. docs/formats.md has the layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.formats.element import small_float
from qinspect.inspector.formats.grid import groups
from qinspect.inspector.formats.modular import ModularFormat, Part, QuantizedModule, record_of, required
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.packed import NIBBLES, PackedRows, levels_of, rows_of_bytes, singles
from qinspect.inspector.formats.packing import unpack
from qinspect.inspector.formats.records import (
    CodeArray,
    FloatArray,
    Kind,
    Problem,
    QuantizedWeight,
    ScaleRecord,
    Slice,
    part_of,
)
from qinspect.inspector.formats.said import left_out_said
from qinspect.inspector.text import some

_METHOD = "mxfp4"
_GROUP, _BYTES = 32, 16
_FP4 = small_float("float4_e2m1fn")
_ENDS = (("_blocks", "_scales"), (".blocks", ".scales"))
_E8M0 = "E8M0 in a byte"
_EXPONENTS = ("uint8", "float8_e8m0fnu")
_MAX_EXPERTS = 1 << 12
"""Of one stack: each becomes a weight with a record, however little it holds."""


class Mxfp4Weight(QuantizedModule):
    """A weight [out, in] of blocks along the rows: the first of two numbers in the low half of a byte."""

    def codes(self, start: int, stop: int) -> CodeArray:
        return unpack(self._bytes(start, stop), 4, self.weight.shape[1])

    def dequantize(self, start: int, stop: int) -> FloatArray:
        values = self.weight.element.values(self.codes(start, stop))
        assert values is not None
        steps = _powers(self._rows(self.records[0], start, stop))
        with np.errstate(all="ignore"):  # the exponent of a NaN is the file's
            values.reshape(*steps.shape, _GROUP)[...] *= steps[..., None]
        return values

    def packed(self, start: int, stop: int) -> PackedRows | None:
        steps = _powers(self._rows(self.records[0], start, stop))
        return PackedRows(self._bytes(start, stop), self.weight.shape[1], NIBBLES, levels_of(_FP4), steps, _GROUP)

    def values(self, record: ScaleRecord) -> FloatArray:
        return _powers(self._rows(record, 0, self.weight.shape[0])) if record.packed else super().values(record)

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return not record.packed

    def _bytes(self, start: int, stop: int) -> NDArray[np.uint8]:
        tensor = self.codes_tensor
        return rows_of_bytes(tensor.read_rows(start, stop))

    def _rows(self, record: ScaleRecord, start: int, stop: int) -> NDArray[Any]:
        tensor = self.tensor(record.key)
        return (part_of(tensor, record.slice) if record.slice else tensor).read_rows(start, stop)


def _powers(stored: NDArray[Any]) -> NDArray[np.float32]:
    import ml_dtypes

    return singles(np.ascontiguousarray(stored).view(ml_dtypes.float8_e8m0fnu))


class Mxfp4Format(ModularFormat):
    """One checkpoint."""

    family = "mxfp4"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._declared = declared(checkpoint)
        self._stacks: list[str] = []
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        said = declared(checkpoint)
        if said.method not in ("", _METHOD):
            return None
        for name, blocks, scales in _pairs(checkpoint):
            tensor = checkpoint.tensor(blocks)
            if tensor is not None and _are_blocks(tensor, checkpoint.tensor(scales)):
                of = f"{said.where} says {_METHOD}" if said.method else f"{blocks} and {scales} are MXFP4"
                return of if name else None
        return None

    @property
    def description(self) -> str:
        n = len(self.weights())
        return f"MXFP4, {some(len(self._stacks), 'stack')} of experts" if n > len(self._stacks) else "MXFP4"

    @property
    def declared_bits(self) -> tuple[float, ...]:
        return (4.0,) if self._declared.method == _METHOD else ()

    def _find(self) -> Iterator[Part]:
        for name, blocks, scales in sorted(_pairs(self.checkpoint), key=lambda pair: forward_key(pair[0])):
            try:
                yield from list(self._weights(name, blocks, scales))
            except CannotDequantize as e:
                yield Problem(e.key or blocks, e)

    def _weights(self, name: str, blocks: str, scales: str) -> Iterator[Mxfp4Weight]:
        """One, or one for each expert. Raises CannotDequantize."""
        tensor = self.checkpoint.tensor(blocks)
        shape = tensor.shape if tensor is not None else ()
        fits = len(shape) in (3, 4) and shape[-1] == _BYTES and 0 not in shape
        fits = fits and (len(shape) == 3 or shape[0] <= _MAX_EXPERTS)
        if tensor is None or tensor.dtype.name != "uint8" or not fits:
            raise CannotDequantize(
                "cannot be blocks of MXFP4", file=self.checkpoint.path, key=blocks,
                expected=f"uint8 [experts, out, in / {_GROUP}, {_BYTES}], of at most {_MAX_EXPERTS} experts",
                found="nothing" if tensor is None else f"{tensor.dtype.name} {list(shape)}",
            )  # fmt: skip
        required(self.checkpoint, scales, _EXPONENTS, [shape[:-1]], f"blocks of shape {list(shape)}")
        self._stacks.append(name)
        role = self.role_of(blocks)[: -len("_blocks")]
        if len(shape) == 3:
            yield self._weight(f"{name}.weight", f"{role}.weight", tensor, scales, None)
            return
        for e in range(shape[0]):
            yield self._weight(_of_expert(name, e), _of_expert(role, e), tensor, scales, Slice((e,)))

    def _weight(self, name: str, role: str, blocks: Tensor, scales: str, part: Slice | None) -> Mxfp4Weight:
        grid = groups(_GROUP)
        record = record_of(
            self.checkpoint, role, scales, Kind.WEIGHT, f"weight {name}", _FP4, grid, slice=part, packed=_E8M0
        )
        shape = blocks.shape[-3], _GROUP * blocks.shape[-2]
        weight = QuantizedWeight(name, role, blocks.name, shape, _FP4, (role,), grid, slice=part)
        return Mxfp4Weight(self.checkpoint, weight, (record,))

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *self._left_out_said())

    def _left_out_said(self) -> Iterator[str]:
        """Stacks that the settings name as not converted: the tensors are believed."""
        found = self._declared.settings.get("modules_to_not_convert")
        patterns = [p for p in found if isinstance(p, str)] if isinstance(found, list) else []
        left_out = [name for name in self._stacks if any(_names(pattern, name) for pattern in patterns)]
        return left_out_said(self._declared.where, left_out, "MXFP4", "parameter")


def _pairs(checkpoint: Checkpoint) -> Iterator[tuple[str, str, str]]:
    """(parameter, blocks, scales) by their names alone."""
    entries = checkpoint.entries
    for name in entries.ending("blocks"):
        for blocks, scales in _ENDS:
            parameter = name.removesuffix(blocks)
            if parameter and parameter != name and f"{parameter}{scales}" in entries:
                yield parameter, name, f"{parameter}{scales}"


def _are_blocks(blocks: Tensor, scales: Tensor | None) -> bool:
    known = blocks.dtype.name == "uint8" and len(blocks.shape) in (3, 4) and blocks.shape[-1] == _BYTES
    return known and scales is not None and scales.dtype.name in _EXPONENTS and scales.shape == blocks.shape[:-1]


def _names(pattern: str, module: str) -> bool:
    """Whether a pattern names a module or one above it."""
    return fnmatchcase(module, pattern) or fnmatchcase(module, f"{pattern}.*")


def _of_expert(name: str, expert: int) -> str:
    """`experts.3.gate_up_proj.weight` of `experts.gate_up_proj`."""
    above, dot, last = name.rpartition(".")
    return f"{above}{dot}{expert}.{last}.weight"
