"""Entries that belong to quantized weights by their names, and that no weight has: what was lost beside them, or left.

No list of names is needed for most of it: what is a scale in one module of the file is one in the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.formats import Format, Kind, Quantity
from qinspect.inspector.formats.element import FLOAT8
from qinspect.inspector.formats.records import Problem
from qinspect.inspector.formats.signs import (
    belongs_to_codes,
    is_code_matrix,
    is_scale_name,
    names_activation,
    only_codes_are_called,
    split,
)
from qinspect.inspector.rows import column, where


@dataclass(slots=True)
class Loose:
    """What was found, and what it was found by.

    names: of all entries. lasts_of_codes, lasts_of_steps: what the codes and the scales of weights are called here.
    lasts_of_records: with scales of activations and zero points. codes_without_scale: tensors of codes that are no
    weight. without_codes: scales, zero points and what belongs to them, by module, where there are no codes. strays:
    scales beside a weight that have no part in it. of_another_format: codes of modules that nobody understands, where
    others are understood.
    """

    names: set[str]
    lasts_of_codes: set[str]
    lasts_of_steps: set[str]
    lasts_of_records: set[str]
    codes_without_scale: list[Tensor] = field(default_factory=list)
    without_codes: list[list[str]] = field(default_factory=list)
    strays: list[Tensor] = field(default_factory=list)
    of_another_format: list[Tensor] = field(default_factory=list)

    def is_missing(self, problem: Problem) -> bool:
        """Whether it is an entry that is not there: the one at fault, or the scale that all other weights have."""
        key = problem.error.key or problem.key
        return key not in self.names or self.lost_scale(problem) is not None

    def lost_scale(self, problem: Problem) -> str | None:
        """The key of the scale that a module has not, though its codes are there and all others call theirs so."""
        module, last = split(problem.error.key or problem.key)
        if last not in self.lasts_of_codes or len(self.lasts_of_steps) != 1:
            return None
        key = f"{module}.{next(iter(self.lasts_of_steps))}"
        return None if key in self.names else key

    def misses_codes(self, problem: Problem) -> bool:
        """Whether that entry is codes, rather than a scale or a zero point."""
        key = problem.error.key or problem.key
        last = split(key)[1]
        if key in self.names or last in self.lasts_of_records:
            return False
        return last in self.lasts_of_codes or not (is_scale_name(last) or belongs_to_codes(last) or "scale" in last)


def loose_entries(fmt: Format) -> Loose:
    """Those of a checkpoint, by its headers."""
    of_codes = {split(w.codes_key)[1] for w in fmt.weights()}
    of_steps = where(fmt.scales(), lambda r: r.kind is Kind.WEIGHT and r.quantity is Quantity.SCALE)
    records = {split(key)[1] for key in column(fmt.scales(), "key")}
    records |= {split(k)[1] for r in where(fmt.scales(), lambda r: r.sources) for k in r.keys}
    records -= of_codes  # of a type with scales and codes in one block
    code_modules = {split(w.codes_key)[0] for w in fmt.weights()}
    steps = {_within(r.key, code_modules) for r in of_steps} - of_codes
    loose = Loose(set(fmt.checkpoint.entries), of_codes, steps, records)
    damaged = {split(key)[0] for p in fmt.problems() for key in (p.key, p.error.key or "")}
    if not fmt.claims:
        loose.codes_without_scale = _float8_alone(fmt)
        return loose
    if not fmt.weights() and not damaged:
        return loose
    coded = {t[0].name for t in (fmt.checkpoint.entries.form(w.codes_key) for w in fmt.weights()) if t is not None}
    orphans: dict[str, list[str]] = {}
    for name, form in fmt.other_forms():
        module, last = split(name)
        if _owner(module, damaged):
            continue
        scale = last in records or is_scale_name(last)
        if is_code_matrix(last, form) and not scale and form[0].name in coded and module not in code_modules:
            _take(loose.codes_without_scale, fmt.checkpoint.tensor(name))
        elif last not in of_codes and only_codes_are_called(last) and is_code_matrix(last, form):
            _take(loose.of_another_format, fmt.checkpoint.tensor(name))
        elif module in code_modules and scale and not names_activation(last):
            _take(loose.strays, fmt.checkpoint.tensor(name))
        elif module not in code_modules and last in records and not names_activation(last):
            orphans.setdefault(module, []).append(name)
    loose.without_codes = list(orphans.values())
    return loose


def _owner(module: str, modules: set[str]) -> str:
    """The one of the modules that this is, or is a part of (`o_proj.meta.scale` of `o_proj`); "" where none is."""
    while module and module not in modules:
        module = split(module)[0] if "." in module else ""
    return module


def _within(key: str, modules: set[str]) -> str:
    """What a key is called within its module: `weight_scale`, or `meta.scale.x`."""
    owner = _owner(split(key)[0], modules)
    return key.removeprefix(f"{owner}.") if owner else split(key)[1]


def _take(found: list[Tensor], tensor: Tensor | None) -> None:
    if tensor is not None:
        found.append(tensor)


def _float8_alone(fmt: Format) -> list[Tensor]:
    """Of a checkpoint that no family claims: matrices of float8 in modules without a scale."""
    found: list[Tensor] = []
    with_scales: set[str] = set()
    for name, form in zip(fmt.checkpoint.entries, fmt.checkpoint.entries.tensor_forms(), strict=True):
        module, last = split(name)
        if is_scale_name(last) or belongs_to_codes(last) or "scale" in last.lower():
            with_scales.update((module, split(module)[0]))
        elif form is not None and form[0].name in FLOAT8 and len(form[1]) >= 2:
            _take(found, fmt.checkpoint.tensor(name))
    return [t for t in found if split(t.name)[0] not in with_scales and t.name not in with_scales]
