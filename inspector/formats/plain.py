"""Full-precision checkpoints, and the fallback for families that are not known: scales paired by name alone.

An entry whose last name contains `scale` is taken for a scale of the weight beside it. That is a guess, and every
such record is marked unverified.
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache

from qinspect.inspector.checkpoint import Checkpoint, Tensor, Value
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.contract import (
    CodeArray,
    FloatArray,
    Format,
    Kind,
    QuantizedWeight,
    ScaleRecord,
)
from qinspect.inspector.text import natural_key

_ACTIVATION_NAMES = ("input", "output", "activation", "k_scale", "v_scale", "q_scale", "prob")


class PlainFormat(Format):
    """Whatever no family claims."""

    family = "plain"
    ordered_by = "the order of names"

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        """Always: the last in the registry."""
        return "no quantization family claims it"

    @property
    def description(self) -> str:
        dtypes: dict[str, int] = {}
        for t in self.checkpoint.tensors():
            dtypes[t.dtype.name] = dtypes.get(t.dtype.name, 0) + t.nbytes
        main = max(dtypes, key=lambda name: dtypes[name]) if dtypes else "no tensors"
        return f"{main}, scales paired by name (unverified)" if self.scales() else f"{main}, no scales"

    def scales(self) -> tuple[ScaleRecord, ...]:
        return self._scales

    @cached_property
    def _scales(self) -> tuple[ScaleRecord, ...]:
        entries = self.checkpoint.entries
        found = [name for name in entries if "scale" in name.rpartition(".")[2]]
        records = []
        for name in sorted(found, key=natural_key):
            entry = entries[name]
            if isinstance(entry, Tensor):
                dtype, shape = entry.dtype.name, entry.shape
            elif isinstance(entry.value, (int, float)) and not isinstance(entry.value, bool):
                dtype, shape = entry.kind, ()
            else:
                continue
            records.append(_record(name, self.role_of(name), dtype, shape, entries))
        return tuple(records)

    def weights(self) -> tuple[QuantizedWeight, ...]:
        return ()

    def codes(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> CodeArray:
        raise CannotDequantize("no family is recognised, so codes have no known meaning", key=weight.name)

    def dequantize(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> FloatArray:
        raise CannotDequantize("no family is recognised, so codes have no known meaning", key=weight.name)


def _record(
    name: str, role: str, dtype: str, shape: tuple[int, ...], entries: dict[str, Tensor | Value]
) -> ScaleRecord:
    module, _, last = name.rpartition(".")
    beside = f"{module}.weight" if module else "weight"
    if _names_activation(last):
        of = f"probably an activation of {module or 'the model'}"
    else:
        of = f"probably the weight {beside}" if beside in entries else f"unknown: no {beside} beside it"
    return ScaleRecord(
        role=role, key=name, kind=Kind.UNVERIFIED, of=of, scheme=_scheme(last),
        granularity=_granularity(shape), dtype=dtype, shape=shape,
    )  # fmt: skip


# Few last names and few shapes occur in 20,000 scales: found once, and one string for all records.
@lru_cache(1024)
def _names_activation(last: str) -> bool:
    return any(word in last for word in _ACTIVATION_NAMES)


@lru_cache(1024)
def _scheme(last: str) -> str:
    return f"unknown ({last})"


@lru_cache(1024)
def _granularity(shape: tuple[int, ...]) -> str:
    return "per-tensor" if math.prod(shape) == 1 else f"{len(shape)}-dimensional"
