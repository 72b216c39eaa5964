"""Quantized parameters: linear layers, convolution, scan, embedding, with the scales that belong to each.

A `Parameter` reads its own codes and scales in logical order. Arithmetic follows Quamba's kernels, in float32:
W8: code * s. W4A8: round_half_even((code - 8) * s_group) * s_channel. W4A16: (code - 8) * s. Layers whose outputs
are int8 store their scale divided by the output scale; it is multiplied back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats import marlin
from qinspect.inspector.formats.element import Element, integer
from qinspect.inspector.formats.families.quamba.layout import Layer, Linear, parameter_role
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, channels, groups, segments_of
from qinspect.inspector.formats.numbers import read_numbers, stored_form
from qinspect.inspector.formats.records import (
    OF_WEIGHTS,
    CodeArray,
    FloatArray,
    Kind,
    Quantity,
    QuantizedWeight,
    ScaleRecord,
    Source,
    Use,
)

_EMBEDDING_ORDER = np.array([0, 2, 4, 6, 1, 3, 5, 7])
"""Which of its eight elements nibble p of a packed embedding word holds."""


def _float32(checkpoint: Checkpoint, key: str) -> FloatArray:
    return read_numbers(checkpoint, key).astype(np.float32)


@dataclass(frozen=True)
class Parameter(ABC):
    """One quantized tensor with its scales."""

    checkpoint: Checkpoint
    weight: QuantizedWeight
    scales: tuple[ScaleRecord, ...]

    @property
    def stored(self) -> Tensor:
        """The stored codes."""
        tensor = self.checkpoint.tensor(self.weight.codes_key)
        if tensor is None:
            raise CannotDequantize("is missing", file=self.checkpoint.path, key=self.weight.codes_key)
        return tensor

    @abstractmethod
    def codes(self, start: int, stop: int) -> CodeArray:
        """Integer codes of the rows, zero meaning zero (4-bit codes are -8..7)."""

    @abstractmethod
    def dequantize(self, start: int, stop: int) -> FloatArray:
        """float32 values of the rows."""

    def scale_values(self, record: ScaleRecord) -> FloatArray:
        """The values of one of `scales`."""
        return read_numbers(self.checkpoint, record.key)


@dataclass(frozen=True)
class SegmentedInt8(Parameter):
    """int8 codes, stored as they are, with one scale for each range of rows (or one for all)."""

    segments: tuple[tuple[int, int], ...]

    def codes(self, start: int, stop: int) -> CodeArray:
        return self.stored.read_rows(start, stop)

    def dequantize(self, start: int, stop: int) -> FloatArray:
        values = self.codes(start, stop).astype(np.float32)
        for record, (first, end) in zip(self.scales, self.segments, strict=True):
            rows = slice(max(first, start) - start, max(0, min(end, stop) - start))
            values[rows] *= _float32(self.checkpoint, record.key).reshape(())
        return values


@dataclass(frozen=True)
class FoldedLinear(Parameter):
    """A linear layer whose weight scale may be divided by output scales, segment by segment."""

    linear: Linear
    outputs: dict[str, str]
    segments: dict[str, tuple[int, int]]

    def _output_scales(self) -> FloatArray:
        """What the stored scale of each output channel was divided by: [out], ones where nothing is folded."""
        scales = np.ones(self.linear.n_out, np.float32)
        for segment, key in self.outputs.items():
            rows = slice(*self.segments[segment]) if segment else slice(None)
            scales[rows] = _float32(self.checkpoint, key).reshape(())
        return scales

    def _read(self, part: str) -> FloatArray:
        tensor = self.checkpoint.tensor(f"{self.linear.path}.{part}")
        if tensor is None:
            raise CannotDequantize("is missing", file=self.checkpoint.path, key=f"{self.linear.path}.{part}")
        return tensor.read()


class W8Linear(FoldedLinear):
    """W8A8: int8 [in, padded out] (stride 1 along in), scale `b` for all or per output segment."""

    def codes(self, start: int, stop: int) -> CodeArray:
        return self.stored.transposed().read_rows(start, stop)

    def _channel_scales(self) -> FloatArray:
        stored = self._read("b").astype(np.float32).reshape(-1)
        if stored.size == 1:
            return np.full(self.linear.n_out, stored[0], np.float32)
        return stored[: self.linear.n_out] * self._output_scales()

    def dequantize(self, start: int, stop: int) -> FloatArray:
        return self.codes(start, stop).astype(np.float32) * self._channel_scales()[start:stop, None]

    def scale_values(self, record: ScaleRecord) -> FloatArray:
        scales = self._channel_scales()
        if not self.segments:
            return np.asarray(scales[0])
        return scales[[first for first, end in self.segments.values() if end > first]]


class W4Linear(FoldedLinear):
    """W4A8 and W4A16: Marlin-packed codes, group scales, and for W4A8 channel scales on top."""

    def _unpacked(self, start: int, stop: int) -> CodeArray:
        """Codes 0..15 of rows `start` to `stop`."""
        first = start // marlin.BLOCK * marlin.BLOCK
        end = -(-stop // marlin.BLOCK) * marlin.BLOCK
        words = self.stored.transposed().read_rows(2 * first, 2 * end).T
        codes: CodeArray = marlin.unpack(words, self.linear.scheme)[start - first : stop - first]
        return codes

    def codes(self, start: int, stop: int) -> CodeArray:
        return self._unpacked(start, stop).astype(np.int8) - np.int8(8)

    def _groups(self) -> FloatArray:
        """Stored group scales as [out, groups]."""
        stored = self._read("s_group" if self.linear.scheme == "W4A8" else "scale")
        groups: FloatArray = marlin.unpermute_groups(stored).astype(np.float32)[: self.linear.n_out]
        if groups.shape[1] * marlin.GROUP_SIZE != self.linear.n_in:
            raise ValueError(f"{groups.shape[1]} groups of {marlin.GROUP_SIZE} do not make {self.linear.n_in} inputs")
        return groups

    def _channels(self) -> FloatArray:
        stored = marlin.unpermute_channels(self._read("s_channel")).astype(np.float32)
        return stored[: self.linear.n_out] * self._output_scales()

    def dequantize(self, start: int, stop: int) -> FloatArray:
        steps = np.repeat(self._groups()[start:stop], marlin.GROUP_SIZE, axis=1)
        values: FloatArray = self.codes(start, stop).astype(np.float32) * steps
        if self.linear.scheme == "W4A8":
            whole = np.rint(values) + np.float32(0)  # the kernel's int8 has no negative zero
            values = whole * self._channels()[start:stop, None]
        return values

    def scale_values(self, record: ScaleRecord) -> FloatArray:
        return self._channels() if record.role.endswith("#channel") else self._groups()


@dataclass(frozen=True)
class Embedding(Parameter):
    """8-bit or packed 4-bit rows, one float16 scale a row (the signed maximum, not the absolute one)."""

    def codes(self, start: int, stop: int) -> CodeArray:
        stored = self.stored.read_rows(start, stop)
        if self.weight.bits == 8:
            return stored
        words = np.ascontiguousarray(stored).view(np.uint32)
        codes = np.empty((*words.shape, 8), np.int8)
        for nibble, element in enumerate(_EMBEDDING_ORDER):
            codes[..., element] = ((words >> np.uint32(4 * nibble)) & 15).astype(np.int8) - 8
        return codes.reshape(words.shape[0], -1)

    def dequantize(self, start: int, stop: int) -> FloatArray:
        scales = _float32(self.checkpoint, self.scales[0].key)[start:stop]
        return self.codes(start, stop).astype(np.float32) * scales[:, None]


def _weight_record(checkpoint: Checkpoint, role: str, key: str, name: str, element: Element, grid: Grid,
                   folded: tuple[str, ...] = (), **more: Any) -> ScaleRecord:  # fmt: skip
    dtype, shape = stored_form(checkpoint, key)
    return ScaleRecord(
        role=role, key=key, kind=Kind.WEIGHT, of=f"weight {name}", element=element, grid=grid, dtype=dtype, shape=shape,
        sources=tuple(Source(k, Use.FOLDED) for k in folded), reach=OF_WEIGHTS, **more,
    )  # fmt: skip


def linear_parameter(
    checkpoint: Checkpoint,
    linear: Linear,
    role: str,
    outputs: dict[str, str],
    segments: dict[str, tuple[int, int]],
    witnesses: tuple[str, ...] = (),
) -> Parameter:
    """The weight of one linear layer. `outputs`: entry of the output scale per segment, {} where outputs are fp16.
    `witnesses`: as in ScaleRecord, for layers whose channels may be permuted."""
    path, role = linear.path, f"{role}.weight"
    name = f"{path}.weight"
    tensor = checkpoint.tensor(name)
    assert tensor is not None
    padded = tensor.shape[1] // 2 if linear.bits == 4 else tensor.shape[1]
    if len(tensor.shape) != 2 or not 0 < linear.n_out <= padded:
        raise CannotDequantize(
            "the weight is smaller than the layer",
            file=checkpoint.path, key=name, expected=f"at least {linear.n_out} output channels", found=f"{padded}",
        )  # fmt: skip
    folds = tuple(outputs.values())
    segments = segments if outputs else {}
    element = integer(linear.bits)
    if linear.scheme == "W8A8":
        records: tuple[ScaleRecord, ...] = (
            _weight_record(checkpoint, role, f"{path}.b", name, element,
                           segments_of(*segments) if segments else PER_TENSOR,
                           folds if segments else ()),
        )  # fmt: skip
    elif linear.scheme == "W4A16":
        records = (
            _weight_record(checkpoint, role, f"{path}.scale", name, element, groups(marlin.GROUP_SIZE),
                           witnesses=witnesses),
        )  # fmt: skip
    else:
        records = (
            _weight_record(checkpoint, role, f"{path}.s_group", name, element, groups(marlin.GROUP_SIZE),
                           through=integer(8), witnesses=witnesses),
            _weight_record(checkpoint, f"{role}#channel", f"{path}.s_channel", name, element, channels(), folds,
                           quantity=Quantity.GLOBAL_SCALE, through=integer(8), witnesses=witnesses),
        )  # fmt: skip
    weight = QuantizedWeight(
        name, role, name, (linear.n_out, linear.n_in), element, tuple(r.role for r in records), records[0].grid,
        linear.scheme, row_step=marlin.BLOCK if linear.bits == 4 else 1,
    )  # fmt: skip
    make = W8Linear if linear.bits == 8 else W4Linear
    return make(checkpoint, weight, records, linear, outputs, segments)


def _int8_parameter(
    checkpoint: Checkpoint, path: str, role: str, parts: dict[str, tuple[str, tuple[int, int]]]
) -> Parameter | None:
    """An int8 tensor at `path` with a scale per part; None where it is not quantized that way."""
    tensor = checkpoint.tensor(path)
    if tensor is None or tensor.dtype.name != "int8" or any(key not in checkpoint for key, _ in parts.values()):
        return None
    records = tuple(
        _weight_record(checkpoint, f"{role}#{part}" if part else role, key, path, integer(8),
                       segments_of(part) if part else PER_TENSOR)
        for part, (key, _) in parts.items()
    )  # fmt: skip
    weight = QuantizedWeight(path, role, path, tensor.shape, integer(8), tuple(r.role for r in records))
    return SegmentedInt8(checkpoint, weight, records, tuple(rows for _, rows in parts.values()))


def convolution_parameters(checkpoint: Checkpoint, layer: Layer) -> Iterator[Parameter]:
    """conv1d weight and bias: one scale in Mamba1; three, for the rows of x, B and C, in Mamba2."""
    path, role = f"{layer.mixer}.conv1d", f"{layer.role}.conv1d"
    d, n = layer.d_inner, layer.d_conv
    d_state = (n - d) // 2
    rows = {"x": (0, d), "B": (d, d + d_state), "C": (d + d_state, n)}
    for tensor, letter in (("weight", "w"), ("bias", "b")):
        if layer.mamba == 1:
            parts = {"": (f"{path}.{tensor}_scale", (0, n))}
        else:
            parts = {part: (f"{path}.{letter}{part}_scale", r) for part, r in rows.items()}
        if found := _int8_parameter(checkpoint, f"{path}.{tensor}", f"{role}.{tensor}", parts):
            yield found


def scan_parameters(checkpoint: Checkpoint, layer: Layer) -> Iterator[Parameter]:
    """The scan's A_log, D and (Mamba1) dt_bias."""
    module = "selective_scan" if layer.mamba == 1 else "qchunk_scan"
    path = f"{layer.mixer}.{module}"
    a_scale = "A_scale" if layer.mamba == 1 else "A_log_scale"
    for tensor, scale in (("A_log", a_scale), ("D", "D_scale"), ("dt_bias", "dt_bias_scale")):
        stored = checkpoint.tensor(f"{path}.{tensor}")
        n = stored.shape[0] if stored is not None and stored.shape else 0
        if found := _int8_parameter(
            checkpoint,
            f"{path}.{tensor}",
            layer.role + parameter_role(layer, f".{tensor}"),
            {"": (f"{path}.{scale}", (0, n))},
        ):
            yield found


def embedding_parameter(checkpoint: Checkpoint, root: str) -> Parameter | None:
    """The embedding, where it is quantized (W8O16 or W4O16)."""
    path = f"{root}embedding"
    tensor, scales = checkpoint.tensor(f"{path}.weight"), checkpoint.tensor(f"{path}.scales")
    if tensor is None or scales is None or len(tensor.shape) != 2 or tensor.dtype.name not in ("int8", "int32"):
        return None
    bits = 8 if tensor.dtype.name == "int8" else 4
    shape = tensor.shape if bits == 8 else (tensor.shape[0], tensor.shape[1] * 8)
    role = "embedding.weight"
    name, element = f"{path}.weight", integer(bits)
    record = _weight_record(checkpoint, role, f"{path}.scales", name, element, channels(), signed=True)
    weight = QuantizedWeight(name, role, name, shape, element, (role,), channels(), f"W{bits}O16")
    return Embedding(checkpoint, weight, (record,))
