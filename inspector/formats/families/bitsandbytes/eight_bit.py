"""A weight of LLM.int8(): int8 codes and, for each output channel, the largest magnitude in it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qinspect.inspector.checkpoint import Checkpoint, Value
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.element import integer
from qinspect.inspector.formats.grid import channels
from qinspect.inspector.formats.modular import QuantizedModule, record_of, required
from qinspect.inspector.formats.numbers import elements_of
from qinspect.inspector.formats.records import CodeArray, FloatArray, Kind, QuantizedWeight, ScaleRecord
from qinspect.inspector.text import dims, visible

_STEP = np.float32(7.874015718698502e-3)
"""What the library multiplies by where a division by 127 is meant."""
_FLOATS = ("float32", "float16", "bfloat16")
_ROWS = ("row", 0)
_ORDERS = ("row", "col32", "col_turing", "col_ampere")
"""By number: those after the first are orders of the kernels of one GPU."""


class Int8Weight(QuantizedModule):
    """Codes [out, in]."""

    def codes(self, start: int, stop: int) -> CodeArray:
        tensor = self.tensor(self.weight.codes_key)
        return tensor.read_rows(start, stop)

    def dequantize(self, start: int, stop: int) -> FloatArray:
        with np.errstate(all="ignore"):  # numbers in the file that are not finite are the file's
            found = self.codes(start, stop).astype(np.float32) * self._largest(start, stop)[:, None]
            found *= _STEP
        return found

    def values(self, record: ScaleRecord) -> FloatArray:
        with np.errstate(all="ignore"):
            return np.asarray(self._largest(0, self.weight.shape[0]) * _STEP)

    def gives_as_stored(self, record: ScaleRecord) -> bool:
        return False

    def _largest(self, start: int, stop: int) -> FloatArray:
        """float32 of the largest magnitudes of rows, of an entry of as many numbers, whatever its shape."""
        return elements_of(self.tensor(self.records[0].key), start, stop).astype(np.float32)


def int8_weight(
    checkpoint: Checkpoint, module: str, keys: Mapping[str, str], role: str, order: bytes | None
) -> Int8Weight:
    """The weight of a module. keys: the last parts of the names in it, and the names. order: the bytes of
    `weight_format`, None where it has none. Raises CannotDequantize where they do not fit."""
    key = keys.get("weight") or (f"{module}.weight" if module else "weight")
    codes = checkpoint.tensor(key)
    if codes is None or codes.dtype.name != "int8" or len(codes.shape) != 2:
        raise CannotDequantize(
            "is missing: the codes that SCB scales" if codes is None else "cannot be the codes that SCB scales",
            file=checkpoint.path, key=key, expected="int8 [out, in]",
            found="nothing" if codes is None else f"{codes.dtype.name} {dims(codes.shape)}",
        )  # fmt: skip
    _check_order(checkpoint, keys, order)
    n_out = codes.shape[0]
    required(checkpoint, keys["SCB"], _FLOATS, [(n_out,), (n_out, 1), (1, n_out)], f"the codes {key}")
    element, grid = integer(8), channels(0)
    record = record_of(
        checkpoint, role, keys["SCB"], Kind.WEIGHT, f"weight {key}", element, grid, packed="127 times the number",
        may_be_zero=True,
    )  # fmt: skip
    weight = QuantizedWeight(key, role, key, (n_out, codes.shape[1]), element, (role,), grid)
    return Int8Weight(checkpoint, weight, (record,))


def _check_order(checkpoint: Checkpoint, keys: Mapping[str, str], order: bytes | None) -> None:
    """Raises CannotDequantize where codes are in another order than rows."""
    key = keys.get("weight_format", "")
    entry = checkpoint[key] if key else None
    found: object = "row"
    if isinstance(entry, Value):
        found = entry.value
    elif entry is not None:
        found = int.from_bytes(order, "little") if order is not None and len(order) <= 8 else "bytes that are no number"
    if found not in _ROWS or isinstance(found, bool):
        said = _ORDERS[found] if type(found) is int and found < len(_ORDERS) else visible(str(found), 60)
        raise CannotDequantize(
            "is an order of codes that is not read", file=checkpoint.path, key=key, expected="rows (0)", found=said
        )
