"""Scales of weights that an engine loads as one: q, k and v, gate and up, experts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from qinspect.inspector.finding import Numbers, Severity
from qinspect.inspector.formats import Quantity
from qinspect.inspector.formats.element import ElementKind
from qinspect.inspector.lint.rounding import error_once_and_again
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.roles import common_spelling
from qinspect.inspector.siblings import Siblings, siblings
from qinspect.inspector.text import count, number, times_text

INPUTS = "input scales"
More = Callable[[list[Siblings[int]]], tuple[str, Numbers]]
"""Groups to (a clause with what joins it to the sentence, its numbers)."""


class _Groups:
    """Groups whose scales are sound numbers, sorted into those with one number and those without, by kind."""

    def __init__(self, subject: Subject, of_modules: Mapping[str, int], ratio: float) -> None:
        self.subject = subject
        self.apart: dict[str, list[tuple[float, Siblings[int]]]] = {}
        self.n_of: dict[str, int] = {}
        self.n_left = 0
        self._own = {common_spelling(f"{module}.")[:-1]: module for module in of_modules}
        table = subject.scales
        for group in siblings((place, module) for module, place in of_modules.items()):
            values = table.value[list(group.members)]
            if not (np.isfinite(values).all() and (values > 0).all()):
                self.n_left += 1
                continue
            kind = f"{group.kind}{' pairs of experts' if group.of_experts else ' groups'}"
            self.n_of[kind] = self.n_of.get(kind, 0) + 1
            found = float(values.max() / values.min())
            if found > ratio:
                self.apart.setdefault(kind, []).append((found, group))

    def found(self, what: str, more: More | None = None) -> tuple[Found, ...]:
        """A sentence for each kind. what: `scales`, or INPUTS. more: says more of groups that are apart."""
        return tuple(self._found(kind, groups, what, more) for kind, groups in self.apart.items())

    def _found(self, kind: str, groups: list[tuple[float, Siblings[int]]], what: str, more: More | None) -> Found:
        ratios = [ratio for ratio, _ in groups]
        worst, at = max(groups, key=lambda found: found[0])
        middle, late = float(np.median(ratios)), float(np.quantile(ratios, 0.99))
        n, one_for_all = self.n_of[kind], self.subject.fmt.loaded_as_one
        said, numbers = more([group for _, group in groups]) if more else ("", {})
        text = (
            f"{count(len(groups))} of {count(n)} {kind} have unequal {what}, median {times(middle)}, 99 % up to "
            f"{times(late)}, worst {times(worst)} at {self._place(at)}{said}"
            f"{'' if one_for_all else '; engines that read such files keep each'}"
        )
        if one_for_all and self.subject.engines is not None:
            of = [module for _, group in groups for module in self._modules(group)]
            text = "; ".join(filter(None, (text, self.subject.engines(of, what == INPUTS))))
        places = tuple(Place(self._place(g), f"{times(ratio)}: {self._each(g)}", weight=ratio) for ratio, g in groups)
        numbers = {"groups": len(groups), "of": n, "median": middle, "p99": late, "worst": worst, **numbers}
        return Found(text, places, numbers, None if one_for_all else Severity.NOTE)

    def _modules(self, group: Siblings[int]) -> list[str]:
        """As the file has them: groups are told by the words of most libraries."""
        return [self._own[f"{group.module}.{name}"] for name in group.names]

    def _place(self, group: Siblings[int]) -> str:
        return self._modules(group)[0].rpartition(".")[0]

    def checked(self, found: tuple[Found, ...], of: str) -> Checked:
        """The answer of a rule over them."""
        why = "a scale of theirs is no positive number" if self.n_left else ""
        return Checked(sum(self.n_of.values()), of, found, self.n_left, why)

    def _each(self, group: Siblings[int]) -> str:
        """`gate_proj 0.00046, up_proj 0.00025`."""
        values = self.subject.scales.value
        named = zip(group.names, group.members, strict=True)
        return ", ".join(f"{name} {number(float(values[place]))}" for name, place in named)


def _of_outer(subject: Subject, quantity: Quantity) -> dict[str, int]:
    """Of the scales of whole weights those that are outer ones, or those that are the only one."""
    records = subject.scales.records
    return {module: at for module, at in subject.outer_scales.items() if records[at].quantity is quantity}


@rule(
    "G01", "unequal-globals", Severity.WARNING, Needs.SCALARS,
    why="Engines that load these weights as one keep one number for all, and leave the scales of blocks as they are: "
    "the shards whose own number is another are off by the ratio. They warn once, or not at all; a model of 12,384 "
    "such pairs emitted corrupted tokens for weeks.",
    threads=("vllm#54974", "vllm#54150", "vllm#47515", "TensorRT-LLM#15762", "auto-round#2379"),
    next="Make one global scale of each group before the weights are quantized; `qinspect loaders` says which engine "
    "takes which number.",
    ratio=1.0,
)  # fmt: skip
def unequal_globals(subject: Subject, limits: Limits) -> Checked:
    """Weights that are loaded as one have two levels of scales, and their outer ones are not equal."""
    groups = _Groups(subject, _of_outer(subject, Quantity.GLOBAL_SCALE), limits["ratio"])
    return groups.checked(groups.found("scales"), "weight group")


@rule(
    "G02", "unequal-scales", Severity.NOTE, Needs.SCALARS,
    why="Engines that load these weights as one take the largest scale and round the others again, without a word. "
    "Nothing is lost where the ratio is a power of two; else the values are rounded twice.",
    threads=("vllm#47515", "nncf#2199"),
    next="Quantize with one scale for each group, or a scale for each row, if that error matters.",
    ratio=1.0,
)  # fmt: skip
def unequal_scales(subject: Subject, limits: Limits) -> Checked:
    """Weights of small floats that are loaded as one have one scale each, and these are not equal."""
    records = subject.scales.records
    floats = {
        module: at for module, at in _of_outer(subject, Quantity.SCALE).items()
        if records[at].element.kind is ElementKind.FLOAT and records[at].element.bits == 8
    }  # fmt: skip
    groups = _Groups(subject, floats, limits["ratio"])
    return groups.checked(groups.found("scales", lambda apart: _rounded_again(subject, apart)), "weight group")


def _rounded_again(subject: Subject, apart: list[Siblings[int]]) -> tuple[str, Numbers]:
    """What rounding again costs in the worst of these groups."""
    table = subject.scales
    before = after = 0.0
    for group in apart:
        values, element = table.value[list(group.members)], table.records[group.members[0]].element
        for value in values.tolist():
            once, again = error_once_and_again(element.name, element.q_max, float(values.max() / value))
            if again - once >= after - before:
                before, after = once, again
    numbers = {"error": before, "rounded_again": after}
    if after - before < _NO_LOSS:
        return "; an engine that takes the largest loses next to nothing", numbers
    return (
        f"; an engine that takes the largest makes the error of Gaussian weights {100 * after:.1f} % where it was "
        f"{100 * before:.1f} %"
    ), numbers


_NO_LOSS = 5e-4


@rule(
    "G03", "unequal-inputs", Severity.WARNING, Needs.SCALARS,
    why="What goes into these weights is one and the same, so a calibration gives one scale. Engines keep one: the "
    "largest of most formats, which does little harm, or the smallest where one over the scale is stored, which clips.",
    threads=("vllm#47515", "sglang#24321"),
    next="Calibrate these points together, or give all of them the largest; `qinspect loaders` says which an engine "
    "takes.",
    ratio=1.0,
)  # fmt: skip
def unequal_inputs(subject: Subject, limits: Limits) -> Checked:
    """Weights that are loaded as one, and read the same input, have unequal static scales of it."""
    groups = _Groups(subject, subject.input_scales, limits["ratio"])
    return groups.checked(groups.found(INPUTS), "input group")


def times(ratio: float) -> str:
    """`10.0x`; of ratios near one as many digits as show that they are not."""
    if ratio >= 2 or ratio <= 1:
        return times_text(ratio)
    return f"{ratio:.{max(2, min(6, 1 - math.floor(math.log10(ratio - 1))))}f}x"


RULES = (unequal_globals, unequal_scales, unequal_inputs)
