"""One weight of EXL3: the values of its trellis, with Hadamard matrices and factors of channels on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.element import vector
from qinspect.inspector.formats.families.exl3.trellis import CODEBOOKS, SIDE, in_rows, numbers, states
from qinspect.inspector.formats.grid import channels
from qinspect.inspector.formats.hadamard_blocks import HadamardBlocks
from qinspect.inspector.formats.modular import QuantizedModule, record_of
from qinspect.inspector.formats.numbers import elements_of
from qinspect.inspector.formats.records import CodeArray, FloatArray, Kind, Quantity, QuantizedWeight

Array = NDArray[Any]
BLOCK = 128
"""Rows and columns of a Hadamard matrix."""
_ROTATION = HadamardBlocks(BLOCK, outputs=True)
_SIDES = (("suh", 1, "what goes into the rotation"), ("svh", 0, "what comes out of the rotation"))
"""Factors of channels: the last part of their name, the axis of the weight, of what."""


class TrellisWeight(QuantizedModule):
    """A weight [out, in], of which rows are read in blocks of the Hadamard matrices of the outputs."""

    def __init__(self, checkpoint: Checkpoint, module: str, role: str, bits: int, codebook: str) -> None:
        """module: its name with a dot behind it, or "". codebook: "", or the last part of the entry that names it."""
        trellis = checkpoint.tensor(f"{module}trellis")
        assert trellis is not None  # it was looked at
        shape = (SIDE * trellis.shape[1], SIDE * trellis.shape[0])
        element = vector(f"trellis {codebook}".strip(), bits, 1)
        sides = [
            record_of(
                checkpoint, f"{role}#{last}", f"{module}{last}", Kind.WEIGHT, f"{of} of {role}", element,
                channels(axis), quantity=Quantity.FACTOR, signed=True, rotation=_ROTATION,
            )
            for last, axis, of in _SIDES
        ]  # fmt: skip
        weight = QuantizedWeight(
            f"{module}weight", role, trellis.name, shape, element, tuple(r.role for r in sides), channels(0),
            called=f"EXL3 {bits}-bit{f' {codebook}' if codebook else ''}", row_step=BLOCK, rotation=_ROTATION,
        )  # fmt: skip
        super().__init__(checkpoint, weight, tuple(sides))
        self._module, self._codebook = module, codebook

    def codes(self, start: int, stop: int) -> CodeArray:
        own = np.uint16((1 << self.weight.bits) - 1)
        return (in_rows(self._states(start, stop)) & own).astype(np.uint8)[: stop - start]

    def inner(self, start: int, stop: int) -> NDArray[np.float16]:
        """float16[rows, in]: what the codes stand for, of the rotated weight."""
        self._check_codebook()
        return in_rows(numbers(self._codebook)[self._states(start, stop)])

    def dequantize(self, start: int, stop: int) -> FloatArray:
        """As the library does it, rounded to float16 after each of four steps. The sums are exact before."""
        inner = self.inner(start, stop)
        of_inputs = self._tensor("suh").read().astype(np.float32)
        of_outputs = elements_of(self._tensor("svh"), start, start + len(inner)).astype(np.float32)
        found = np.empty(inner.shape, np.float32)
        with np.errstate(all="ignore"):  # what is not finite in the file is the file's
            for first in range(0, len(inner), BLOCK):
                part = slice(first, first + BLOCK)
                rows = _ROTATION.of(np.ascontiguousarray(inner[part], np.float64)).astype(np.float16)
                rows = (rows * of_inputs).astype(np.float16)  # in float32, where the product of two float16 is exact
                rows = _ROTATION.of_columns(rows.astype(np.float64)).astype(np.float16)
                factors = of_outputs[part, None]
                found[part] = (rows * factors).astype(np.float16)
        return found[: stop - start]

    def _states(self, start: int, stop: int) -> Array:
        """uint16[tiles of inputs, tiles of outputs, 256], as `states` gives them, of whole blocks of rows."""
        trellis = self._tensor("trellis")
        across, down, n = trellis.shape
        first, last = start // SIDE, min(down, -(-stop // BLOCK) * BLOCK // SIDE)
        ranges = [(trellis.offset + (i * down + first) * n * 2, (last - first) * n * 2) for i in range(across)]
        parts = trellis.file.read_ranges(ranges) if last > first else []
        stored = np.frombuffer(b"".join(parts), "<i2").reshape(across, max(0, last - first), n)
        return states(stored, self.weight.bits)

    def _check_codebook(self) -> None:
        if not self._codebook:
            return
        usual = CODEBOOKS[self._codebook]
        stored = self._tensor(self._codebook)
        found = int(stored.read().reshape(-1)[0]) & 0xFFFFFFFF
        if found != usual:
            raise CannotDequantize(
                "is a multiplier of states that is not known", file=self.checkpoint.path, key=stored.name,
                expected=f"{usual:#x}", found=f"{found:#x}",
            )  # fmt: skip

    def _tensor(self, last: str) -> Tensor:
        return self.tensor(f"{self._module}{last}")
