"""torch's own quantized tensors: codes that carry their quantizer in the file (torch.ao, `torch.quantize_per_tensor`).

A weight is one tensor of qint8, quint8, qint32, quint4x2 or quint2x4 with scale and zero point, for the whole tensor or
along one axis. The reader lists these numbers as entries of their own beside the codes, under the names of torch's
methods: `M.weight.q_scale`, `M.weight.q_per_channel_scales`. torch.ao's linear modules keep weight and bias as a pair,
`M._packed_params._packed_params`; a module's `scale` and `zero_point` are those of its output.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np

from qinspect.inspector.checkpoint import Checkpoint, Entry, Tensor, Value
from qinspect.inspector.checkpoint.torch_storage import QuantizedTensor, Quantizer
from qinspect.inspector.formats.contract import Format
from qinspect.inspector.formats.element import UNKNOWN, Element, integer, unsigned
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, channels
from qinspect.inspector.formats.numbers import read_numbers, stored_form
from qinspect.inspector.formats.records import CodeArray, FloatArray, Kind, QuantizedWeight, ScaleRecord
from qinspect.inspector.text import some

_PACKED = re.compile(r"(?:(?<=\.)|^)(?:_packed_params\.)+(?:state\.(?:0\.)?)?([01])$")
"""How a pair of weight and bias ends: torch.ao's linear, static and dynamic; in a module that was pickled whole, or
in TorchScript, the pair is in the state of an object."""
_PAIR = {"0": "weight", "1": "bias"}


class TorchQuantizedFormat(Format):
    """A file of torch with quantized tensors."""

    family = "torch-quantized"
    ordered_by = "the order of the file"

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        found = next((t for t in checkpoint.entries.others() if isinstance(t, QuantizedTensor)), None)
        return f"its tensors carry torch's quantizers, {found.quantizer.scheme} first" if found else None

    @property
    def description(self) -> str:
        weights = self.weights()
        schemes = ", ".join(dict.fromkeys(w.scheme for w in weights))
        points = sum(r.kind is Kind.ACTIVATION for r in self.scales())
        return f"torch quantized, {schemes}" + (f", {some(points, 'activation scale')}" if points else "")

    def role_of(self, name: str) -> str:
        return _PACKED.sub(lambda found: _PAIR[found[1]], super().role_of(name))

    def scales(self) -> tuple[ScaleRecord, ...]:
        return self._scales

    def weights(self) -> tuple[QuantizedWeight, ...]:
        return self._weights

    @cached_property
    def _tensors(self) -> dict[str, QuantizedTensor]:
        return {t.name: t for t in self.checkpoint.entries.others() if isinstance(t, QuantizedTensor)}

    @cached_property
    def _weights(self) -> tuple[QuantizedWeight, ...]:
        return tuple(self._weight(t) for t in self._tensors.values())

    def _weight(self, t: QuantizedTensor) -> QuantizedWeight:
        role = self.role_of(t.name)
        name = _PACKED.sub(lambda found: _PAIR[found[1]], t.name)
        return QuantizedWeight(name, role, t.name, t.shape or (1,), _element(t), (role,), _grid(t), _called(t))

    @cached_property
    def _scales(self) -> tuple[ScaleRecord, ...]:
        return tuple(self._records())

    def _records(self) -> Iterator[ScaleRecord]:
        for name, entry in self.checkpoint.entries.items():
            if isinstance(entry, QuantizedTensor):
                yield self._of_weight(entry)
            elif (module := self._output_of(name)) is not None:
                yield self._of_output(name, module)

    def _of_output(self, name: str, module: str) -> ScaleRecord:
        dtype, shape = stored_form(self.checkpoint, name)
        return ScaleRecord(
            role=f"{self.role_of(name).removesuffix('.scale')}:output", key=name, kind=Kind.ACTIVATION,
            of=f"the output of {module}", element=UNKNOWN, grid=PER_TENSOR, dtype=dtype, shape=shape,
        )  # fmt: skip

    def _of_weight(self, t: QuantizedTensor) -> ScaleRecord:
        role = self.role_of(t.name)
        key = f"{t.name}.{'q_scale' if t.quantizer.axis is None else 'q_per_channel_scales'}"
        dtype, shape = stored_form(self.checkpoint, key)
        return ScaleRecord(
            role=role, key=key, kind=Kind.WEIGHT, of=f"the weight {role}", element=_element(t), grid=_grid(t),
            dtype=dtype, shape=shape, called=_called(t),
        )  # fmt: skip

    def _output_of(self, name: str) -> str | None:
        """The module whose output this entry scales: `scale` with a `zero_point` beside it, both one number."""
        module, _, last = name.rpartition(".")
        if last != "scale" or not module:
            return None
        beside = self.checkpoint.entries.get(f"{module}.zero_point"), self.checkpoint.entries.get(name)
        return module if all(map(_is_number, beside)) else None

    def codes(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> CodeArray:
        return _rows(self._tensors[weight.codes_key], start, stop)

    def zero_points(self, weight: QuantizedWeight) -> FloatArray | None:
        if self._tensors[weight.codes_key].quantizer.axis is None:
            return None  # its one zero point is the offset of the element
        return read_numbers(self.checkpoint, f"{weight.codes_key}.q_per_channel_zero_points")

    def dequantize(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> FloatArray:
        tensor = self._tensors[weight.codes_key]
        q = tensor.quantizer
        codes = _rows(tensor, start, stop)
        if q.axis is None:
            return _per_tensor(codes, q)
        scales, zeros = (
            read_numbers(self.checkpoint, f"{weight.codes_key}.q_per_channel_{part}")
            for part in ("scales", "zero_points")
        )
        if q.axis == 0:
            scales, zeros = scales[start:stop], zeros[start:stop]
        along = tuple(-1 if i == q.axis else 1 for i in range(codes.ndim))
        return _per_channel(codes, scales.reshape(along), zeros.reshape(along))


def _is_number(entry: Entry | None) -> bool:
    """Of one element; TorchScript keeps the scale of a linear module's output as a Python number."""
    if isinstance(entry, Value):
        return isinstance(entry.value, (int, float)) and not isinstance(entry.value, bool)
    return entry is not None and entry.n_elements == 1


def _called(t: QuantizedTensor) -> str:
    return f"{t.dtype.name} {t.quantizer.scheme}"


def _grid(t: QuantizedTensor) -> Grid:
    return PER_TENSOR if t.quantizer.axis is None else channels(t.quantizer.axis, any_axis=True)


def _element(t: QuantizedTensor) -> Element:
    """Of the codes as they are stored. The offset is the zero point where there is one for the whole tensor."""
    bits, name, zero = t.dtype.bits, t.dtype.name, t.quantizer.zero_point
    offset = zero if isinstance(zero, int) else None
    made = unsigned(bits, offset, name) if name.startswith("quint") else integer(bits, name)
    return replace(made, offset=offset)


def _rows(tensor: Tensor, start: int, stop: int | None) -> CodeArray:
    if not tensor.shape:
        return tensor.read().reshape(1)[start:stop]
    if tensor.strides is not None or tensor.dtype.packed:
        return tensor.read()[start:stop]
    first, last, _ = slice(start, stop).indices(tensor.shape[0])
    width = math.prod(tensor.shape[1:])
    rows = max(0, last - first)
    return tensor.read_range(first * width, (first + rows) * width).reshape(rows, *tensor.shape[1:])


def _per_tensor(codes: CodeArray, q: Quantizer) -> FloatArray:
    """As torch does it on a CPU: the difference as int32, which wraps, times the scale in float32."""
    assert isinstance(q.scale, float)
    assert isinstance(q.zero_point, int)
    zero = np.array(q.zero_point & 0xFFFFFFFF, np.uint32).view(np.int32)
    with np.errstate(over="ignore"):
        product: FloatArray = (codes.astype(np.int32) - zero).astype(np.float32) * np.float32(q.scale)
    return product


def _per_channel(codes: CodeArray, scales: FloatArray, zeros: FloatArray) -> FloatArray:
    """As torch does it on a CPU: in float64 and rounded once, or all in float32 where zero points are floats."""
    if zeros.dtype.kind == "f":
        of_floats: FloatArray = (codes.astype(np.float32) - zeros.astype(np.float32)) * scales.astype(np.float32)
        return of_floats
    with np.errstate(over="ignore"):
        product: FloatArray = (codes.astype(np.int64) - zeros.astype(np.int64)) * scales.astype(np.float64)
        return product.astype(np.float32)
