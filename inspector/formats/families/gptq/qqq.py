"""QQQ, 4-bit weights for 8-bit activations: words in the order of its kernel, made from Marlin's.

A code is worth `rint((code - 8) * s_group) * s_channel`: the kernel makes whole numbers of eight bits of the codes
before the scale of the channel applies. Without groups codes are in two's complement and in another order: not read.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats import marlin
from qinspect.inspector.formats.element import integer, unsigned
from qinspect.inspector.formats.grid import channels, groups
from qinspect.inspector.formats.modular import QuantizedModule, record_of, required
from qinspect.inspector.formats.records import CodeArray, FloatArray, Kind, Quantity, QuantizedWeight, ScaleRecord

_INT8 = integer(8)
_FLOATS = ("float32", "float16", "bfloat16")


class QqqWeight(QuantizedModule):
    """[out, in] of words [in / 16, 2 * out] with scales of groups and of channels."""

    def codes(self, start: int, stop: int) -> CodeArray:
        first, end = start // marlin.BLOCK * marlin.BLOCK, -(-stop // marlin.BLOCK) * marlin.BLOCK
        words = self.tensor(self.weight.codes_key).transposed().read_rows(2 * first, 2 * end).T
        found: CodeArray = marlin.unpack(words, "W4A8")[start - first : stop - first]
        return found

    def values(self, record: ScaleRecord) -> FloatArray:
        """[out, groups], or of channels [out]."""
        stored = self.tensor(record.key).read()
        return marlin.unpermute_channels(stored) if record.grid == channels() else marlin.unpermute_groups(stored)

    def dequantize(self, start: int, stop: int) -> FloatArray:
        of_group, of_channel = (self.values(r)[start:stop].astype(np.float32) for r in self.records)
        with np.errstate(all="ignore"):  # a scale in the file that is not finite is the file's
            steps = np.repeat(of_group, self.weight.grid.block[-1], axis=1)
            whole = np.rint((self.codes(start, stop).astype(np.float32) - 8) * steps) + np.float32(0)  # no -0 in int8
            found: FloatArray = whole * of_channel[:, None]
        return found


def qqq_weight(checkpoint: Checkpoint, keys: Mapping[str, str], name: str, role: str) -> QqqWeight:
    """The weight of a module. keys: its entries by the last parts of their names. Raises CannotDequantize where they do
    not fit each other, or there are no groups."""
    codes = checkpoint.tensor(keys["B"])
    shape = codes.shape if codes is not None and len(codes.shape) == 2 else (0, 0)
    n_in, n_out = shape[0] * marlin.TILE, shape[1] // 2
    if codes is None or codes.dtype.name != "int32" or not n_in or not n_out or n_out % marlin.BLOCK or shape[1] % 2:
        raise CannotDequantize(
            "cannot be codes in the order of QQQ's kernel", file=checkpoint.path, key=keys["B"],
            expected=f"int32 [in / {marlin.TILE}, 2 * out], out a multiple of {marlin.BLOCK}",
            found="nothing" if codes is None else f"{codes.dtype.name} {list(codes.shape)}",
        )  # fmt: skip
    what = f"a weight of 4 bits and shape [{n_out}, {n_in}]"
    stem = keys["B"].removesuffix("B")
    channel = required(checkpoint, keys.get("s_channel", f"{stem}s_channel"), _FLOATS, [(1, n_out)], what)
    group = checkpoint.tensor(keys.get("s_group", ""))
    if group is not None and not group.n_elements:
        raise CannotDequantize(
            "is empty: in what order QQQ without groups keeps codes is not known for certain", file=checkpoint.path,
            key=group.name, expected="scales of groups", found=f"{group.dtype.name} {list(group.shape)}",
        )  # fmt: skip
    n_groups = group.shape[0] if group is not None and len(group.shape) == 2 else 0
    n_groups = n_groups if n_groups and n_in % n_groups == 0 else 1
    group = required(checkpoint, keys.get("s_group", f"{stem}s_group"), _FLOATS, [(n_groups, n_out)], what)
    element, grid = unsigned(4, 8), groups(n_in // n_groups)
    of = f"the weight {role}"
    records = (
        record_of(checkpoint, role, group.name, Kind.WEIGHT, of, element, grid, through=_INT8),
        record_of(
            checkpoint, f"{role}#channel", channel.name, Kind.WEIGHT, of, element, channels(),
            quantity=Quantity.GLOBAL_SCALE, through=_INT8,
        ),
    )  # fmt: skip
    weight = QuantizedWeight(name, role, keys["B"], (n_out, n_in), element, tuple(r.role for r in records), grid)
    return QqqWeight(checkpoint, weight, records)
