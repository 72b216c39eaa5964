"""Checkpoints that qinspect's own calibration writes (`inspector/calibrate/checkpoint.py`).

What is quantized, and how, is told by `quantization_config` in config.json or, where that is absent, by its copy in the
safetensors metadata. docs/formats.md has the layout.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.contract import Format, Topic
from qinspect.inspector.formats.element import integer
from qinspect.inspector.formats.grid import Grid, channels, groups, ssd_cells
from qinspect.inspector.formats.numbers import read_numbers, stored_form
from qinspect.inspector.formats.own_layout import (
    FORMAT_VERSION,
    METADATA_KEY,
    QUANT_METHOD,
    SCALE_SUFFIX,
    effective_of,
    groups_of,
)
from qinspect.inspector.formats.packing import signed, unpack
from qinspect.inspector.formats.records import (
    MINMAX,
    NOT_KNOWN,
    OF_WEIGHTS,
    PERCENTILE,
    CodeArray,
    FloatArray,
    Kind,
    Problem,
    QuantizedWeight,
    ScaleRecord,
)
from qinspect.inspector.formats.words import NO_ACTIVATION_SCALES
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import brief, natural_key

_MAX_RULE = 200
_STORED = {8: "int8", 4: "uint8"}
_REACH = {True: PERCENTILE, False: MINMAX, None: NOT_KNOWN}


class NativeFormat(Format):
    """One checkpoint of qinspect. Raises CannotDequantize where its settings are no settings, or none of its weights is
    as they say."""

    family = "qinspect"
    copies_complete = True
    keeps_provenance = True

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        settings, self._notes = _settings(checkpoint)
        if settings is None or settings.get("format_version") != FORMAT_VERSION:
            found = brief(settings.get("format_version") if settings else None)
            raise self._wrong("format_version", f"version {FORMAT_VERSION}", found)
        self.rotation = "hadamard" if settings.get("rotation") == "hadamard" else "none"
        weights = self._object(settings, "weights")
        bits, group_size = weights.get("bits"), weights.get("group_size")
        if type(bits) is not int or bits not in _STORED:
            raise self._wrong("weights.bits", "8 or 4", brief(bits))
        if bits == 4 and (type(group_size) is not int or group_size < 1):
            raise self._wrong("weights.group_size", "a size from 1", brief(group_size))
        self._bits: int = bits
        self._group_size: int = group_size if bits == 4 and isinstance(group_size, int) else 0
        self._problems: list[Problem] = []
        self._weights = dict(self._understood(self._object(weights, "tensors")))
        if self._problems and not self._weights:
            raise self._problems[0].error
        self._points = {r.role: r for r in self._points_of(self._object(settings, "activations"))}
        self._of_weights = {w.role: self._weight_record(w) for w in self._weights.values()}
        self._scales = tuple(self._in_forward_order())

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        if checkpoint.config.get("quantization_config") is not None:
            return "config.json names it" if _of_config(checkpoint) else None
        return "the file's metadata names it" if METADATA_KEY in checkpoint.metadata else None

    @property
    def rotated(self) -> bool:
        """Whether its weights are in Hadamard space."""
        return self.rotation == "hadamard"

    def _object(self, settings: Mapping[str, Any], key: str) -> dict[str, Any]:
        found = settings.get(key)
        if not isinstance(found, dict):
            raise self._wrong(key, "an object", brief(found))
        return found

    def _wrong(self, key: str, expected: str, found: str) -> CannotDequantize:
        return CannotDequantize(
            "the settings are not as this version writes them",
            file=self.checkpoint.path, key=f"quantization_config.{key}", expected=expected, found=found,
        )  # fmt: skip

    def _understood(self, shapes: Mapping[str, Any]) -> Iterator[tuple[str, QuantizedWeight]]:
        """The weights that are as the settings say. One that is not becomes a problem."""
        for name, shape in shapes.items():
            try:
                yield name, self._weight(name, shape)
            except CannotDequantize as e:
                self._problems.append(Problem(e.key or name, e))

    def _weight(self, name: str, shape: object) -> QuantizedWeight:
        """The weight `name`, whose tensors are as the settings say. `shape`: [out, in] as they give it."""
        match shape:
            case [int(n_out), int(n_in)] if min(n_out, n_in) >= 0:
                pass
            case _:
                raise self._wrong(f"weights.tensors.{name}", "two sizes, [out, in]", brief(shape))
        width = n_in if self._bits == 8 else -(-n_in // 2)
        n_groups = groups_of(n_in, self._bits, self._group_size)
        for key, dtype, stored in (
            (name, _STORED[self._bits], (n_out, width)),
            (name + SCALE_SUFFIX, "float32", (n_out, n_groups)),
        ):
            tensor = self.checkpoint.tensor(key)
            if tensor is None or tensor.dtype.name != dtype or tensor.shape != stored:
                raise CannotDequantize(
                    f"is missing or does not fit a weight of {self._bits} bits and shape [{n_out}, {n_in}]",
                    file=self.checkpoint.path, key=key, expected=f"{dtype} {list(stored)}",
                    found="nothing" if tensor is None else f"{tensor.dtype.name} {list(tensor.shape)}",
                )  # fmt: skip
        role = self.role_of(name)
        return QuantizedWeight(name, role, name, (n_out, n_in), integer(self._bits), (role,), self._grid)

    @property
    def _grid(self) -> Grid:
        return channels() if self._bits == 8 else groups(self._group_size)

    def _weight_record(self, weight: QuantizedWeight) -> ScaleRecord:
        key = weight.name + SCALE_SUFFIX
        dtype, shape = stored_form(self.checkpoint, key)
        return ScaleRecord(
            role=weight.role, key=key, kind=Kind.WEIGHT, of=f"weight {weight.name}", element=weight.element,
            grid=self._grid, dtype=dtype, shape=shape, reach=OF_WEIGHTS,
        )  # fmt: skip

    def _points_of(self, activations: dict[str, Any]) -> Iterator[ScaleRecord]:
        """Points that the settings name, in their order. One without its tensor becomes a note."""
        bits, points = activations.get("bits"), activations.get("points")
        if not isinstance(points, list) or type(bits) is not int or (points and not 2 <= bits <= 16):
            raise self._wrong("activations", "bits and a list of points", brief(points))
        self._activation_bits = bits if points else 16
        absent = []
        for point in points:
            match point:
                case {"key": str(key), "rule": str(rule), "alpha_reached": (bool() | None) as reached}:
                    pass
                case _:
                    raise self._wrong("activations.points", "objects of key, rule and alpha_reached", brief(point))
            tensor = self.checkpoint.tensor(key)
            if tensor is None:
                absent.append(key)
                continue
            role = self.role_of(key)
            yield ScaleRecord(
                role=role, key=key, kind=Kind.ACTIVATION,
                of=f"activation at {role.rpartition('.')[2]} ({rule[:_MAX_RULE]})", element=integer(bits),
                grid=ssd_cells(len(tensor.shape)), dtype=tensor.dtype.name, shape=tensor.shape,
                reach=_REACH[reached],
            )  # fmt: skip
        if absent:
            self._notes += (f"{len(absent)} of {len(points)} points have no scale in the file, {absent[0]} first",)

    def _in_forward_order(self) -> Iterator[ScaleRecord]:
        """Points as the calibration met them, each weight behind its input; weights without a point come first."""
        inputs = {f"{role.removesuffix('.weight')}:input": r for role, r in self._of_weights.items()}
        behind = {point: r for point, r in inputs.items() if point in self._points}
        yield from (inputs[point] for point in sorted(inputs.keys() - behind.keys(), key=natural_key))
        for role, point in self._points.items():
            yield point
            if role in behind:
                yield behind[role]

    @property
    def description(self) -> str:
        how = "per channel" if self._bits == 8 else f"groups of {self._group_size}"
        rotated = ", Hadamard rotation" if self.rotated else ""
        return f"qinspect W{self._bits}A{self._activation_bits}, {how}{rotated}"

    @property
    def declared_bits(self) -> tuple[float, ...]:
        return (self._bits,)

    def scales(self) -> tuple[ScaleRecord, ...]:
        return self._scales

    def weights(self) -> tuple[QuantizedWeight, ...]:
        by_role = {w.role: w for w in self._weights.values()}
        return tuple(by_role[r.role] for r in self._scales if r.kind is Kind.WEIGHT)

    def codes(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> CodeArray:
        stored = self._stored(weight.codes_key).read_rows(start, weight.shape[0] if stop is None else stop)
        return stored if self._bits == 8 else signed(unpack(stored, 4, weight.shape[1]), 4)

    def dequantize(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> FloatArray:
        codes = self.codes(weight, start, stop)
        steps = read_numbers(self.checkpoint, weight.name + SCALE_SUFFIX)[start:stop]
        if self._bits == 4:
            steps = steps[:, np.arange(weight.shape[1]) // self._group_size]
        with np.errstate(all="ignore"):  # NaN and Inf scales are the file's; lint and show report them
            values: FloatArray = codes.astype(np.float32) * steps
        return values

    def _stored(self, key: str) -> Tensor:
        tensor = self.checkpoint.tensor(key)
        assert tensor is not None  # seen at construction
        return tensor

    def problems(self) -> tuple[Problem, ...]:
        return tuple(self._problems)

    def notes(self) -> tuple[str, ...]:
        return (*self._notes, *super().notes())

    def says(self, topic: Topic, roles: Sequence[str] = ()) -> str:
        match topic:
            case Topic.UNREACHED:
                return _NO_ALPHA if self._points else NO_ACTIVATION_SCALES
            case Topic.MAXIMA if grid := _GRIDS.get(str(effective_of(self.checkpoint.config).get("dtype"))):
                return f"{'it sits' if len(roles) == 1 else 'they sit'} on a {grid}"
        return ""

    def said_of_points(self) -> dict[str, tuple[str, float | None]]:
        settings, _ = _settings(self.checkpoint)
        by_name = effective_of(self.checkpoint.config).get("alpha")
        alphas = {strip_root(n): a for n, a in by_name.items()} if isinstance(by_name, dict) else {}
        activations = (settings or {}).get("activations")
        points = activations.get("points") if isinstance(activations, dict) else None
        found = {}
        for point in points if isinstance(points, list) else []:
            match point:
                case {"key": str(key), "rule": str(rule)}:
                    alpha = alphas.get(strip_root(key))
                    found[key] = rule, alpha if isinstance(alpha, float) else None
        return found


_NO_ALPHA = "the rules that made its activation scales have no alpha"
_GRIDS = {"float16": "float16 grid of about 0.05-0.1 %", "bfloat16": "bfloat16 grid of about 0.4-0.8 %"}
"""What a maximum of activations of that dtype can be, by the steps between neighbours."""


def _of_config(checkpoint: Checkpoint) -> dict[str, Any] | None:
    found = checkpoint.config.get("quantization_config")
    return found if isinstance(found, dict) and found.get("quant_method") == QUANT_METHOD else None


def _of_metadata(checkpoint: Checkpoint) -> dict[str, Any] | None:
    try:
        content = json.loads(checkpoint.metadata.get(METADATA_KEY, "null"))
    except (ValueError, RecursionError):
        return None
    found = content.get("quantization_config") if isinstance(content, dict) else None
    return found if isinstance(found, dict) else None


def _settings(checkpoint: Checkpoint) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The quantization settings, of config.json where it has them, and what is odd about the two copies."""
    config, metadata = _of_config(checkpoint), _of_metadata(checkpoint)
    if config is None:
        return metadata, ("config.json has no quantization_config: read from the file's metadata",)
    if metadata is not None and metadata != config:
        return config, ("config.json and the file's metadata name different settings: config.json is believed",)
    return config, ()
