"""A family that no library writes, with what the real ones of today do not have: floats as codes, stored zero points,
a scale stored as one over it, experts in one tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from qinspect.inspector.checkpoint import Checkpoint, open_checkpoint
from qinspect.inspector.formats.contract import Format
from qinspect.inspector.formats.element import Element, integer, small_float, unsigned
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, cells, channels, groups
from qinspect.inspector.formats.records import DynamicPoint, Kind, Quantity, QuantizedWeight, ScaleRecord, Slice

Array = NDArray[Any]
FP4 = small_float("float4_e2m1fn")
N_EXPERTS = 3


class ToyFormat(Format):
    """fp8: one scale. fp4: blocks of 16 and a global scale, stored as one over it. zp: uint4 with a zero point a row.
    experts: three in one tensor, a scale for each row of each."""

    family = "toy"

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        return "it is a toy" if "fp8.weight" in checkpoint else None

    @property
    def description(self) -> str:
        return "toy"

    def scales(self) -> tuple[ScaleRecord, ...]:
        fp8 = self._record("fp8.weight", "fp8.scale", small_float("float8_e4m3fn"), PER_TENSOR)
        fp4 = self._record("fp4.weight", "fp4.scale", FP4, groups(16))
        whole = self._record(
            "fp4.weight#global", "fp4.global", FP4, PER_TENSOR, quantity=Quantity.GLOBAL_SCALE, inverted=True
        )
        zp = self._record("zp.weight", "zp.scale", unsigned(4), channels())
        zero = self._record("zp.weight#zero_point", "zp.zero", unsigned(4), channels(), quantity=Quantity.ZERO_POINT)
        experts = (
            self._record(f"experts.{e}.weight", "experts.scale", integer(8), channels(), slice=Slice((e,)))
            for e in range(N_EXPERTS)
        )
        return (fp8, fp4, whole, zp, zero, *experts)

    def _record(self, role: str, key: str, element: Element, grid: Grid, **more: Any) -> ScaleRecord:
        t = self.checkpoint.tensor(key)
        assert t is not None
        return ScaleRecord(role, key, Kind.WEIGHT, f"weight {role}", element, grid, t.dtype.name, t.shape, **more)

    def weights(self) -> tuple[QuantizedWeight, ...]:
        fp8 = small_float("float8_e4m3fn")
        return (
            QuantizedWeight("fp8.weight", "fp8.weight", "fp8.weight", (8, 32), fp8, ("fp8.weight",)),
            QuantizedWeight(
                "fp4.weight", "fp4.weight", "fp4.weight", (8, 32), FP4, ("fp4.weight", "fp4.weight#global"), groups(16)
            ),
            QuantizedWeight(
                "zp.weight", "zp.weight", "zp.weight", (8, 32), unsigned(4), ("zp.weight", "zp.weight#zero_point"),
                channels(),
            ),
            *(
                QuantizedWeight(
                    f"experts.{e}.weight", f"experts.{e}.weight", "experts.weight", (8, 4), integer(8),
                    (f"experts.{e}.weight",), channels(), slice=Slice((e,)),
                )
                for e in range(N_EXPERTS)
            ),
        )  # fmt: skip

    def dynamic(self) -> tuple[DynamicPoint, ...]:
        return tuple(
            DynamicPoint(f"{m}:input", f"the input of {m}", small_float("float8_e4m3fn"), cells("token"))
            for m in ("fp8", "zp")
        )

    def codes(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> Array:
        stored = weight.stored(self.checkpoint)
        assert stored is not None
        rows = stored.read_rows(start, weight.shape[0] if stop is None else stop)
        if weight.bits == 8:
            return rows
        return np.stack([rows & 15, rows >> 4], -1).reshape(rows.shape[0], -1)

    def dequantize(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> Array:
        codes = np.asarray(self.codes(weight, start, stop))
        values: Array
        own = [r for r in self.scales() if r.role in weight.scale_roles]
        records: dict[str, Array] = {r.role: np.asarray(self.values(r), np.float32) for r in own}
        if weight.role == "fp8.weight":
            values = codes.astype(np.float32) * records[weight.role]
        elif weight.role == "fp4.weight":
            steps = np.repeat(records[weight.role], 16, 1)[start:stop] * records["fp4.weight#global"]
            values = codes.view(ml_dtypes.float4_e2m1fn).astype(np.float32) * steps
        elif weight.role == "zp.weight":
            zeros = records["zp.weight#zero_point"][start:stop]
            values = (codes.astype(np.float32) - zeros) * records["zp.weight"][start:stop]
        else:
            values = codes.astype(np.float32) * records[weight.role][start:stop]
        return values


def toy_tensors(zero: int | None = None) -> dict[str, Array]:
    """zero: the zero point of every row; else they differ, one of them being 0."""
    g = np.random.default_rng(0)
    zeros = np.arange(8, dtype=np.uint8).reshape(8, 1) if zero is None else np.full((8, 1), zero, np.uint8)
    return {
        "fp8.weight": g.standard_normal((8, 32)).astype(ml_dtypes.float8_e4m3fn),
        "fp8.scale": np.array(0.01, np.float32),
        "fp4.weight": g.integers(0, 256, (8, 16)).astype(np.uint8),
        "fp4.scale": g.uniform(1, 400, (8, 2)).astype(ml_dtypes.float8_e4m3fn),
        "fp4.global": np.array(2048, np.float32),
        "zp.weight": g.integers(0, 256, (8, 16)).astype(np.uint8),
        "zp.scale": g.uniform(0.01, 0.02, (8, 1)).astype(np.float32),
        "zp.zero": zeros,
        "experts.weight": g.integers(-128, 128, (N_EXPERTS, 8, 4)).astype(np.int8),
        "experts.scale": g.uniform(0.01, 0.02, (N_EXPERTS, 8, 1)).astype(np.float32),
        "norm.weight": np.ones(4, np.float32),
    }


def toy(path: Path, tensors: dict[str, Array] | None = None) -> ToyFormat:
    save_file(toy_tensors() if tensors is None else tensors, path)
    return ToyFormat(open_checkpoint(path))
