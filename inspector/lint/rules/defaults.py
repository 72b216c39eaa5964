"""Numbers that nobody measured: what a library starts from, and one number wherever one looks."""

from __future__ import annotations

import numpy as np

from qinspect.inspector.finding import Severity
from qinspect.inspector.formats import Kind, Quantity, ScaleRecord
from qinspect.inspector.formats.element import ElementKind
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule
from qinspect.inspector.lint.subject import Subject, module_of
from qinspect.inspector.roles import place_in_stack
from qinspect.inspector.siblings import expert_of
from qinspect.inspector.text import are, count, number, some

ONE = 1.0
SENTINELS = (-1.0, 257.0, float(np.finfo(np.float32).min))
"""-1 and the least float32 stand for `not loaded` in engines; 257 is a range that is inside out, (2 * inf) / 255."""


def _measured(record: ScaleRecord) -> bool:
    """Whether a scale is made of weights or of data: of a KV cache it need not be, and its rule is another."""
    steps = record.quantity in (Quantity.SCALE, Quantity.GLOBAL_SCALE) and not record.packed
    return steps and record.verified and not record.role.endswith("_cache")


@rule(
    "S04", "default-value", Severity.WARNING, Needs.SCALARS,
    why="An observer that has seen nothing gives 1.0, an engine that has found nothing puts 1.0 or -1: such a scale is "
    "that of no data. With integer codes a scale of 1 rounds to whole numbers; with floats it casts without scaling, "
    "which some recipes do on purpose and which cannot be told from a default.",
    threads=("vllm#11906", "TinyNeuralNetwork#375", "optimum-quanto#155", "sglang#23625"),
    next="Check that calibration data reached these points (hooks, ignore lists), or that no scale was meant.",
)  # fmt: skip
def default_value(subject: Subject, limits: Limits) -> Checked:
    """A scale is exactly the number that libraries start from: 1.0, or a sentinel of engines (-1, 257, the least
    float32)."""
    table = subject.scales
    alone = np.isfinite(table.value)
    suspects = np.flatnonzero(alone & np.isin(table.value, (ONE, *SENTINELS)))
    whole = np.flatnonzero(~alone & (table.low == ONE) & (table.high == ONE))
    by_kind: dict[tuple[Severity, str, str], list[Place]] = {}
    purposes: dict[tuple[str, str], list[int]] = {}
    for at in [*suspects.tolist(), *whole.tolist()]:
        record, value = table.records[at], float(table.low[at])
        if not _measured(record) or (record.dtype.startswith(("float8", "uint8")) and value == ONE):
            continue
        if purpose := subject.fmt.on_purpose(record, value):
            purposes.setdefault((_what(record), purpose), []).append(at)
            continue
        by_kind.setdefault((_how_bad(record, value), _what(record), number(value)), []).append(
            Place(record.role, value=value)
        )
    found = [_defaults(severity, what, value, places) for (severity, what, value), places in by_kind.items()]
    found.extend(_on_purpose(subject, what, why, places) for (what, why), places in purposes.items())
    return Checked(int(alone.sum()), "single scale", tuple(found))


def _what(record: ScaleRecord) -> str:
    if record.kind is Kind.ACTIVATION:
        return "scales of activations"
    return "outer scales" if record.quantity is Quantity.GLOBAL_SCALE else "scales of weights"


def _how_bad(record: ScaleRecord, value: float) -> Severity:
    """A sentinel, and integers rounded to whole numbers, are wrong for certain."""
    if value != ONE or record.element.kind is ElementKind.INTEGER:
        return Severity.ERROR
    return Severity.WARNING if record.kind is Kind.ACTIVATION else Severity.NOTE


def _defaults(severity: Severity, what: str, value: str, places: list[Place]) -> Found:
    text = f"{count(len(places))} {what} {are(len(places))} exactly {value}"
    return Found(text, tuple(places), {"scales": len(places)}, severity)


def _on_purpose(subject: Subject, what: str, why: str, at: list[int]) -> Found:
    """What a library writes itself, where it is all that there is of its sort; else it may be a default after all."""
    records = subject.scales.records
    sorts = {_sort(records[p]) for p in at}
    n_others = sum(_sort(r) in sorts for r in records) - len(at)
    places = tuple(Place(records[p].role, value=ONE) for p in at)
    text = (
        f"{some(len(at), 'of the ' + what)} is exactly 1" if len(at) == 1 else f"{count(len(at))} {what} are exactly 1"
    )
    if n_others:
        text = f"{text}, and {count(n_others)} of their sort {are(n_others)} not: {why}"
        return Found(text, places, {"scales": len(at)}, Severity.WARNING)
    return Found(f"{text}: {why}; a default looks the same", places, {"scales": len(at)}, Severity.NOTE, next="")


def _sort(record: ScaleRecord) -> tuple[object, ...]:
    """Recipes differ for these: experts of a mixture and all else, activations and weights, by element."""
    expert = expert_of(module_of(record)) is not None
    return record.kind, record.quantity, record.element, expert, record.role.endswith("_cache")


@rule(
    "S05", "same-everywhere", Severity.WARNING, Needs.SCALARS,
    why="Scales are made of what each layer computes: the same one, to the last bit, in layers that have nothing to do "
    "with each other was not made of it. A constant was written, or one observer was read for all.",
    threads=("ppq#500", "optimum-quanto#155", "Model-Optimizer#1947"),
    next="Check that each layer has an observer of its own, and that the data reached them.",
    layers=3, share=0.5,
)  # fmt: skip
def same_everywhere(subject: Subject, limits: Limits) -> Checked:
    """Scales of one sort are the same number in at least three layers, and in half of all layers that have one. Chance
    alone makes some equal: ranges in bfloat16 have 8 bits."""
    found, n = [], 0
    for kind, layers in _by_kind(subject).items():
        n += len(layers)
        if len(layers) < limits["layers"]:
            continue
        holders: dict[float, list[int]] = {}
        for at_of in layers.values():
            for value, at in at_of.items():
                holders.setdefault(value, []).append(at)
        value, most = max(holders.items(), key=lambda item: len(item[1]))
        if len(most) >= max(limits["layers"], limits["share"] * len(layers)):
            found.append(_same(subject, kind, value, most, len(layers)))
    return Checked(n, "layer scale", tuple(found))


def _same(subject: Subject, kind: str, value: float, at: list[int], n_layers: int) -> Found:
    text = f"{kind} has the same scale, {number(value)}, in {count(len(at))} of {count(n_layers)} layers"
    places = tuple(Place(subject.scales.records[p].role, value=value) for p in at)
    return Found(text, places, {"layers": len(at), "of": n_layers, "value": value})


def _by_kind(subject: Subject) -> dict[str, dict[int, dict[float, int]]]:
    """What a scale is called inside its layer, to layer, to numbers with the place of the first of each: experts are
    one kind. Numbers that are a default are left to the rule of defaults."""
    table = subject.scales
    found: dict[str, dict[int, dict[float, int]]] = {}
    for at in np.flatnonzero(np.isfinite(table.value) & (table.value != 0)).tolist():
        record, value = table.records[at], float(table.value[at])
        stack, layer, kind = place_in_stack(record.role)
        if layer is None or value in (ONE, *SENTINELS) or not _measured(record):
            continue
        if expert := expert_of(kind):
            kind = f"{expert.layer}.experts.*.{expert.name}"
        found.setdefault(f"{stack}.*.{kind}", {}).setdefault(layer, {}).setdefault(value, at)
    return found


RULES = (default_value, same_everywhere)
