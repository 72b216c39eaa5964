"""HQQ: codes in runs of rows, with a scale and a fitted zero point for each group along either axis.

facts.py has what is stored beside codes, packing.py how these lie, groups.py what shares a scale, building.py puts a
module together, weight.py reads it. docs/formats.md has the layouts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.formats.families.hqq.building import Differing, module_of
from qinspect.inspector.formats.families.hqq.facts import CODES, Facts, facts_of
from qinspect.inspector.formats.families.hqq.weight import HqqWeight
from qinspect.inspector.formats.modular import ModularFormat, Part, by_module
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.said import commonest
from qinspect.inspector.text import some, visible

_METHODS = ("", "hqq")
_MATRIX = 2


class HqqFormat(ModularFormat):
    """One checkpoint."""

    family = "hqq"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._declared = declared(checkpoint)
        self._belonging: set[str] = set()
        self._differing: list[Differing] = []
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        entries = checkpoint.entries
        if CODES not in entries.lasts or declared(checkpoint).method not in _METHODS:
            return None
        for name in entries.ending(CODES):
            module, dot, last = name.rpartition(".")
            form = entries.form(name)
            if last != CODES or form is None or len(form[1]) != _MATRIX:
                continue
            for inside in (f"{module}{dot}", f"{module}{dot}meta."):
                has = [f"{inside}{end}" in entries for end in ("scale", "scale_q", "zero_scale")]
                shaped = f"{inside}shape" in entries or f"{inside}shape.0" in entries
                if any(has) and shaped and f"{inside}scale2" not in entries:
                    return f"{name} is beside its scale and its shape"
        return None

    @property
    def description(self) -> str:
        found = Counter(map(_said, self._modules.values()))
        return f"HQQ {', '.join(commonest(found))}"

    @cached_property
    def declared_bits(self) -> tuple[float, ...]:
        return tuple(sorted(set(_bits_in(self._declared.settings.get("quant_config"), 4))))

    def taken(self) -> set[str]:
        return super().taken() | self._belonging

    def _find(self) -> Iterator[Part]:
        modules = by_module(self.checkpoint.entries)
        found = {module: facts_of(module, modules) for module, keys in modules.items() if CODES in keys}
        Facts.read_all(self.checkpoint, found.values())
        for module in sorted(found, key=forward_key):
            facts = found[module]
            name = f"{module}.weight" if module else "weight"
            role = self.role_of(facts.codes).removesuffix(CODES) + "weight"
            part = self._or_problem(facts.codes, lambda f=facts, n=name, r=role: self._made(f, n, r))  # type: ignore[misc]
            if isinstance(part, HqqWeight):
                self._belonging.update(facts.names)
            yield part

    def _made(self, facts: Facts, name: str, role: str) -> HqqWeight:
        weight, differing = module_of(self.checkpoint, facts, name, role)
        self._differing += differing
        said = self.declared_bits
        if said and not any(weight.weight.bits - 1 < bits <= weight.weight.bits for bits in said):
            declared_said = " or ".join(f"{bits:g}" for bits in said)
            self._differing.append(
                Differing(facts.codes, self._declared.where, f"{declared_said} bits", f"{weight.weight.bits} bits")
            )
        return weight

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *self._differing_said())

    def _differing_said(self) -> Iterator[str]:
        if self._differing:
            first = self._differing[0]
            yield (
                f"{visible(first.where, 120)} says {first.said} of {visible(first.key, 120)}, which has {first.stored} "
                f"by its shape: this is believed ({some(len(self._differing), 'entry', 'entries')})"
            )


def _said(module: Any) -> str:
    """A module in a few words."""
    weight, grouping = module.weight, module.grouping
    one = not weight.grid.axes and not weight.grid.flattened and not weight.grid.cells
    group = "per tensor" if one else "per channel" if len(weight.grid.axes) == 1 else f"g{grouping.size}"
    axis = "" if grouping.axis or one else " axis 0"
    return f"{weight.bits}-bit {group}{axis}{' (quantized zero points or scales)' if module.nested else ''}"


def _bits_in(settings: object, depth: int) -> Iterator[float]:
    """Each `nbits` in settings of weights: one for all, or one for each kind of module."""
    if not isinstance(settings, Mapping) or not depth:
        return
    for key, value in settings.items():
        if key == "nbits" and isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 16:
            yield float(value)
        elif key not in ("scale_quant_params", "zero_quant_params"):
            yield from _bits_in(value, depth - 1)
