"""A weight of 4 bits that was saved in the order of Marlin's kernel, with a scale for each group and zero at 8: GPTQ's
and AWQ's tools could write it, under names of their own."""

from __future__ import annotations

import numpy as np

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats import marlin
from qinspect.inspector.formats.element import unsigned
from qinspect.inspector.formats.grid import groups
from qinspect.inspector.formats.grouped import consecutive, dequantized
from qinspect.inspector.formats.modular import QuantizedModule, record_of, required
from qinspect.inspector.formats.records import CodeArray, FloatArray, Kind, QuantizedWeight, ScaleRecord

_ZERO = 8
_KERNEL = "W4A16"


class MarlinWeight(QuantizedModule):
    """[out, in] of words [in / 16, 2 * out]."""

    def codes(self, start: int, stop: int) -> CodeArray:
        first, end = start // marlin.BLOCK * marlin.BLOCK, -(-stop // marlin.BLOCK) * marlin.BLOCK
        words = self.tensor(self.weight.codes_key).transposed().read_rows(2 * first, 2 * end).T
        codes: CodeArray = marlin.unpack(words, _KERNEL)[start - first : stop - first]
        return codes

    def values(self, record: ScaleRecord) -> FloatArray:
        """[out, groups]."""
        stored = self.tensor(record.key).read()
        one = stored.shape[0] == 1
        return marlin.unpermute_channels(stored).reshape(-1, 1) if one else marlin.unpermute_groups(stored)

    def dequantize(self, start: int, stop: int) -> FloatArray:
        scales = self.values(self.records[0])[start:stop]
        group_of = consecutive(self.weight.shape[1], self.weight.grid.block[-1])
        return dequantized(self.codes(start, stop), np.ascontiguousarray(scales), _ZERO, group_of)


def marlin_weight(checkpoint: Checkpoint, key: str, scale_key: str, name: str, role: str) -> MarlinWeight:
    """The weight whose codes `key` holds, with the scales of `scale_key`. Raises CannotDequantize where they do not
    fit."""
    codes, scales = checkpoint.tensor(key), checkpoint.tensor(scale_key)
    shape = codes.shape if codes is not None and len(codes.shape) == 2 else (0, 0)
    n_in, n_out = shape[0] * marlin.TILE, shape[1] // 2
    n_groups = scales.shape[0] if scales is not None and len(scales.shape) == 2 else 0
    if codes is None or codes.dtype.name != "int32" or not n_in or not n_out or n_out % marlin.BLOCK or shape[1] % 2:
        raise CannotDequantize(
            "cannot be codes in the order of Marlin", file=checkpoint.path, key=key,
            expected=f"int32 [in / {marlin.TILE}, 2 * out], out a multiple of {marlin.BLOCK}",
            found="nothing" if codes is None else f"{codes.dtype.name} {list(codes.shape)}",
        )  # fmt: skip
    fits = n_groups and n_in % n_groups == 0
    required(checkpoint, scale_key, ["float16", "bfloat16", "float32"], [(n_groups if fits else 1, n_out)],
             f"a weight of 4 bits and shape [{n_out}, {n_in}]")  # fmt: skip
    grid, element = groups(n_in // n_groups), unsigned(4, _ZERO)
    record = record_of(checkpoint, role, scale_key, Kind.WEIGHT, f"the weight {role}", element, grid)
    weight = QuantizedWeight(name, role, key, (n_out, n_in), element, (role,), grid)
    return MarlinWeight(checkpoint, weight, (record,))
