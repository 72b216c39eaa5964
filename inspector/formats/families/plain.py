"""Full-precision checkpoints, and the fallback for families that are not known: scales paired by name alone.

What speaks for quantization in a file of names is in signs.py. That a scale is one of the weight beside it is a guess,
and every such record is marked unverified.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from functools import cached_property, lru_cache, partial
from weakref import WeakKeyDictionary

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.contract import Format
from qinspect.inspector.formats.element import UNKNOWN
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, dimensions
from qinspect.inspector.formats.not_yet import named
from qinspect.inspector.formats.records import CodeArray, FloatArray, Kind, QuantizedWeight, Refusal, ScaleRecord
from qinspect.inspector.formats.signs import Modules, names_activation
from qinspect.inspector.rows import Rows
from qinspect.inspector.text import visible

_MAX_SIGNS = 6


class PlainFormat(Format):
    """Whatever no family claims."""

    family = "plain"
    ordered_by = "the order of names"
    claims = False

    def __init__(self, checkpoint: Checkpoint, refused: tuple[Refusal, ...] = ()) -> None:
        """refused: the families that recognised the checkpoint and did not understand it."""
        super().__init__(checkpoint)
        self._refused = refused

    def notes(self) -> tuple[str, ...]:
        return (*(f"looks like {r.family}, but {r.error}" for r in self._refused), *super().notes())

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        return self._refused

    @property
    def not_understood(self) -> str:
        looks_like = f"looks like {self._refused[0].family}" if self._refused else ""
        return self._named or self._looks_quantized or looks_like

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        """Always: the last in the registry."""
        return "no quantization family claims it"

    @property
    def description(self) -> str:
        dtypes = self.checkpoint.bytes_by_dtype()
        main = max(dtypes, key=lambda name: dtypes[name]) if dtypes else "no tensors"
        scales = "scales paired by name (unverified)" if self.scales() else ""
        if self._named:
            shown = f"{self._named}: not understood yet, its entries are shown as they are stored"
            return f"{shown}; {scales}" if scales else shown
        looks = self._looks_quantized
        if looks:
            return f"{main}, {looks}; not understood yet{f'; {scales}' if scales else ''}"
        return f"{main}, {scales or 'no scales'}"

    @cached_property
    def _named(self) -> str:
        return named(self.checkpoint, self._modules)

    @cached_property
    def _looks_quantized(self) -> str:
        """`looks quantized (absmax, quant_map beside uint8)`; "" where nothing but scales speaks for it."""
        words, dtypes = self._modules.signs
        declared = self.checkpoint.config.get("quantization_config")
        method = declared.get("quant_method") if isinstance(declared, dict) else None
        says = f"config.json: {visible(method, 40)}" if isinstance(method, str) and not self.scales() else ""
        if not words and not says:
            return ""
        listed = ", ".join(visible(w, 40) for w in words[:_MAX_SIGNS]) + (", ..." if len(words) > _MAX_SIGNS else "")
        beside = f" beside {' and '.join(dtypes[:2])}" if words and dtypes else ""
        return f"looks quantized ({'; '.join(x for x in (f'{listed}{beside}', says) if x)})"

    @cached_property
    def _modules(self) -> Modules:
        return Modules.of(self.checkpoint.entries)

    def scales(self) -> Sequence[ScaleRecord]:
        return self._scales

    @cached_property
    def _scales(self) -> Rows[ScaleRecord]:
        known = _records.get(self._modules)
        if known is None:
            known = _records[self._modules] = self._rows(self._modules)
        return known

    def _rows(self, modules: Modules) -> Rows[ScaleRecord]:
        """The records, a kind being what is called and shaped alike. They hold nothing of `modules`, which would keep
        them for ever."""
        keys = [modules.names[place] for place in modules.scales]
        roles = self.roles_of(keys)
        numbers: dict[tuple[str, int], int] = {}  # by identity, since a form takes long to hash
        kind_of: list[int] = []
        kinds: list[tuple[str, partial[ScaleRecord]]] = []
        for place in modules.scales:
            last, form = modules.lasts[place], modules.forms[place]
            kind = numbers.get((last, id(form)))
            if kind is None or form is None:
                kind = numbers[last, id(form)] = len(kinds)
                kinds.append((last, _maker(modules, place)))
            kind_of.append(kind)
        names = self.checkpoint.entries.keys()

        def make(row: int) -> ScaleRecord:
            last, made = kinds[kind_of[row]]
            return made(role=roles[row], key=keys[row], of=_scaled(keys[row], last, names))

        return Rows({"role": roles, "key": keys}, kind_of, make)

    def weights(self) -> tuple[QuantizedWeight, ...]:
        return ()

    def codes(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> CodeArray:
        raise CannotDequantize("no family is recognised, so codes have no known meaning", key=weight.name)

    def dequantize(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> FloatArray:
        raise CannotDequantize("no family is recognised, so codes have no known meaning", key=weight.name)


_records: WeakKeyDictionary[Modules, Rows[ScaleRecord]] = WeakKeyDictionary()
"""Modules that two models share have the same scales."""


def _maker(modules: Modules, place: int) -> partial[ScaleRecord]:
    """What makes the records of all that are called and shaped like this one."""
    last, form = modules.lasts[place], modules.forms[place]
    shape = form[1] if form else ()
    guess = Kind.ACTIVATION if names_activation(last) else Kind.WEIGHT
    # `q_scale` of attention that normalizes queries: trained, one number a dimension
    learned = guess is Kind.ACTIVATION and math.prod(shape) > 1 and not modules.speak_of_quantization
    return partial(
        ScaleRecord, kind=Kind.UNVERIFIED, element=UNKNOWN, grid=_grid(shape), dtype=modules.dtype_of(place),
        shape=shape, guess=guess, may_be_learned=learned, called=_called(last),
    )  # fmt: skip


def _scaled(name: str, last: str, names: Collection[str]) -> str:
    """What the scale `name` is probably one of. last: its last part. names: all there are."""
    module = name[: -len(last) - 1] if len(last) < len(name) else ""
    if names_activation(last):
        return f"probably an activation of {module or 'the model'}"
    beside = module if module in names else f"{module}.weight" if module else "weight"
    return f"probably the weight {beside}" if beside in names else f"unknown: no {beside} beside it"


# Few last names and few shapes occur in 20,000 scales: found once, and one string for all records.
@lru_cache(1024)
def _called(last: str) -> str:
    return f"unknown ({last})"


@lru_cache(1024)
def _grid(shape: tuple[int, ...]) -> Grid:
    return PER_TENSOR if math.prod(shape) == 1 else dimensions(len(shape))
