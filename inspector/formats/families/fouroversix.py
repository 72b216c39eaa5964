"""fouroversix: NVFP4 whose blocks reach to 4 or to 6, whichever is nearer, with the largest magnitude of the weight.

`quantized_weight_values` and what stands beside it under names of their own. docs/formats.md has the layout.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.formats.element import small_float
from qinspect.inspector.formats.grid import PER_TENSOR, groups
from qinspect.inspector.formats.modular import ModularFormat, Part, QuantizedModule, by_module, record_of, required
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.packed import singles
from qinspect.inspector.formats.packing import unpack
from qinspect.inspector.formats.records import CodeArray, FloatArray, Kind, Quantity, QuantizedWeight, ScaleRecord
from qinspect.inspector.formats.scale_tiles import COLUMNS, ROWS, untiled
from qinspect.inspector.formats.small import A_FEW_NUMBERS, small_entries
from qinspect.inspector.text import visible

Array = NDArray[Any]
_METHOD = "fouroversix"
_VALUES, _SCALES = "quantized_weight_values", "quantized_weight_scale_factors"
_AMAX, _SHAPES = "quantized_weight_amax", "quantized_weight_metadata"
_FP4, _GROUP = small_float("float4_e2m1fn"), 16
_TOPS = {"mse": 256, "mae": 256, "abs_max": 256, "static_6": 448}
"""What the largest magnitude is 6 times the scale of, by the rule that chose the scales of blocks."""
_MOST_OF_CHOSEN = 384.0
"""The largest scale of a block that may reach to 4: above it stand those of blocks that all reach to 6."""
_LEAST_OF_ALL = 192.0
"""The block with the largest magnitude has a scale of at least this, by whichever rule."""


class FourOverSixWeight(QuantizedModule):
    """A weight of blocks along the rows: the first of two numbers in the low half of a byte. Rows and columns are
    filled up; scales lie in a row, or in tiles. Its records are the scales and the largest magnitude."""

    def __init__(
        self, checkpoint: Checkpoint, module: str, keys: Mapping[str, str], role: str, shapes: tuple[int, ...], top: int
    ) -> None:
        """shapes: rows, columns, the same with filling. top: of the rule; 0 where that is not said."""
        name = f"{module}.weight".lstrip(".")
        of, self._columns, self._top = f"weight {name}", shapes[3], top
        tiled = bool(shapes[5])
        records = (
            record_of(
                checkpoint, role, keys[_SCALES], Kind.WEIGHT, of, _FP4, groups(_GROUP), may_be_zero=True,
                packed=f"E4M3 in {'tiles of 128x4' if tiled else 'one row'}",
            ),
            record_of(
                checkpoint, f"{role}#global", keys[_AMAX], Kind.WEIGHT, of, _FP4, PER_TENSOR,
                quantity=Quantity.GLOBAL_SCALE, packed="the largest magnitude",
            ),
        )  # fmt: skip
        weight = QuantizedWeight(
            name, role, keys[_VALUES], (shapes[0], shapes[1]), _FP4, tuple(r.role for r in records), groups(_GROUP),
        )  # fmt: skip
        super().__init__(checkpoint, weight, records)
        self._tiled = tiled

    def codes(self, start: int, stop: int) -> CodeArray:
        stored = np.ascontiguousarray(self.tensor(self.weight.codes_key).read_rows(start, stop)).view(np.uint8)
        return np.ascontiguousarray(unpack(stored, 4, self.weight.shape[1]))

    def dequantize(self, start: int, stop: int) -> FloatArray:
        values = self.weight.element.values(self.codes(start, stop))
        assert values is not None
        with np.errstate(all="ignore"):  # numbers in the file that are not finite are the file's
            values *= np.repeat(self._of_blocks(start, stop), _GROUP, axis=1)[:, : values.shape[1]]
            values *= self._amax
            values /= np.float32(6 * self._known_top)
        return values

    def values(self, record: ScaleRecord) -> FloatArray:
        if record.quantity is Quantity.SCALE:
            return self._of_blocks(0, self.weight.shape[0])
        with np.errstate(all="ignore"):
            return np.asarray(self._amax / np.float32(6 * self._known_top))

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return False

    @property
    def _amax(self) -> np.float32:
        return np.float32(self.tensor(self.records[1].key).read().astype(np.float32).reshape(()))

    @cached_property
    def _known_top(self) -> int:
        """Of the rule that is said, else of the one that the largest scale shows. Raises CannotDequantize."""
        if self._top:
            return self._top
        scales = self._of_blocks(0, self.weight.shape[0])
        largest = float(np.nanmax(scales)) if scales.size and not np.isnan(scales).all() else 0.0
        if not largest >= _LEAST_OF_ALL:
            raise CannotDequantize(
                "belongs to scales of blocks of which neither a rule nor their size says what it is",
                file=self.checkpoint.path, key=self.records[1].key, expected=f"a largest scale from {_LEAST_OF_ALL:g}",
                found=f"{largest:g}", cure="Put the config.json that was saved with these weights beside them.",
            )  # fmt: skip
        return _TOPS["mse"] if largest <= _MOST_OF_CHOSEN else _TOPS["static_6"]

    def _of_blocks(self, start: int, stop: int) -> Array:
        """float32[rows, blocks] without filling."""
        tensor, across = self.tensor(self.records[0].key), self._columns // _GROUP
        wanted = -(-self.weight.shape[1] // _GROUP)
        if not self._tiled:
            stored = tensor.read_range(start * across, stop * across).reshape(-1, across)
            return singles(np.ascontiguousarray(stored[:, :wanted]))
        first, per_tile_row = start // ROWS * ROWS, ROWS * COLUMNS * -(-across // COLUMNS)
        stored = tensor.read_range(first // ROWS * per_tile_row, -(-stop // ROWS) * per_tile_row)
        return singles(np.ascontiguousarray(untiled(stored, stop - first, across)[start - first :, :wanted]))


class FourOverSixFormat(ModularFormat):
    """One checkpoint."""

    family = "fouroversix"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._declared = declared(checkpoint)
        self._kinds: Counter[str] = Counter()
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        said, entries = declared(checkpoint), checkpoint.entries
        if said.method not in ("", _METHOD) or not {_VALUES, _SCALES} <= set(entries.lasts):
            return None
        for name in entries.ending(_VALUES):
            if name.removesuffix(_VALUES) + _SCALES in entries:
                return f"{said.where} says {_METHOD}" if said.method else f"{name} is an entry of {_METHOD}"
        return None

    @property
    def _rule(self) -> str:
        return self._declared.text("weight_scale_rule", "scale_rule")

    @property
    def description(self) -> str:
        how = "scales in tiles" if self._kinds["tiled"] else ""
        return ", ".join(filter(None, (f"fouroversix NVFP4 {visible(self._rule, 20)}".strip(), how)))

    @property
    def declared_bits(self) -> tuple[float, ...]:
        return (4.0,) if self._declared.text("dtype") == "nvfp4" else ()

    def _find(self) -> Iterator[Part]:
        modules = {m: keys for m, keys in by_module(self.checkpoint.entries).items() if _VALUES in keys}
        stored = small_entries(
            self.checkpoint, (k[_SHAPES] for k in modules.values() if _SHAPES in k), A_FEW_NUMBERS, ("int64", "int32")
        )
        for module in sorted(modules, key=forward_key):
            keys = modules[module]
            numbers = stored.get(keys.get(_SHAPES, ""), b"")
            yield self._or_problem(keys[_VALUES], lambda m=module, k=keys, n=numbers: self._weight(m, k, n))  # type: ignore[misc]

    def _weight(self, module: str, keys: Mapping[str, str], numbers: bytes) -> FourOverSixWeight:
        """Raises CannotDequantize where the entries of a module do not fit each other."""
        prefix = f"{module}." if module else ""
        shapes = self._shapes(prefix, keys, numbers)
        rows, columns, full, across = shapes[:4]
        values = f"{_METHOD} values of [{rows}, {columns}], with filling [{full}, {across}]"
        required(self.checkpoint, keys[_VALUES], ("uint8",), [(full, across // 2)], values)
        n = full * across // _GROUP
        if shapes[5]:
            n = -(-full // ROWS) * ROWS * (-(-across // _GROUP // COLUMNS) * COLUMNS)
        required(self.checkpoint, prefix + _SCALES, ("float8_e4m3fn",), [(n,)], values)
        required(self.checkpoint, prefix + _AMAX, ("float32", "bfloat16", "float16"), [(), (1,)], values)
        dtype, rule = self._declared.text("dtype", "weight_dtype"), self._rule
        if dtype not in ("", "nvfp4") or rule not in ("", *_TOPS):
            raise CannotDequantize(
                "is of a kind that is not known", file=self.checkpoint.path, key=keys[_VALUES],
                expected=f"nvfp4 by the rule {', '.join(_TOPS)}",
                found=f"{dtype or 'no dtype'} by {rule or 'no rule'} in {self._declared.where}",
            )  # fmt: skip
        self._kinds["tiled"] += bool(shapes[5])
        tail = "quantized_weight" if "weight" in keys else "weight"  # a copy in full precision may be kept
        role = f"{self.role_of(keys[_VALUES]).removesuffix(_VALUES)}{tail}"
        return FourOverSixWeight(self.checkpoint, module, keys, role, shapes, _TOPS.get(rule, 0))

    def _shapes(self, prefix: str, keys: Mapping[str, str], numbers: bytes) -> tuple[int, ...]:
        form = self.checkpoint.entries.form(keys.get(_SHAPES, ""))
        wide = form is not None and form[0].name == "int64"
        found = struct.unpack(f"<{len(numbers) // (8 if wide else 4)}{'q' if wide else 'i'}", numbers)
        good = len(found) == 6 and 0 < found[0] <= found[2] and 0 < found[1] <= found[3] and found[5] in (0, 1)
        if not good or found[3] % _GROUP or found[2] * found[3] > 1 << 48:
            raise CannotDequantize(
                "does not say what shape a weight has" if form else "is missing: it says what shape a weight has",
                file=self.checkpoint.path, key=prefix + _SHAPES,
                expected=f"six integers: rows, columns, both with filling (to blocks of {_GROUP}), 1, and 0 or 1",
                found=str(list(found)) if form else "nothing",
            )  # fmt: skip
        return found

    def taken(self) -> set[str]:
        own = {f"{w.codes_key.removesuffix(_VALUES)}{_SHAPES}" for w in self.weights()}
        return super().taken() | {name for name in own if name in self.checkpoint}
