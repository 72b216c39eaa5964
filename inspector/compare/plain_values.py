"""Entries that are neither tensors nor scales: strings, integers, flags, None."""

from __future__ import annotations

from operator import attrgetter

from qinspect.inspector.checkpoint import Value
from qinspect.inspector.compare.pairing import by_unique_role, line_up, partners
from qinspect.inspector.compare.results import Status, WeightPair
from qinspect.inspector.formats import Format
from qinspect.inspector.text import visible


def compare_plain_values(format_a: Format, format_b: Format) -> list[WeightPair]:
    """Entries that are neither tensors nor scales: strings, integers, flags, None.

    A None that only one model stores equals nothing at all: safetensors files cannot hold it. Where the other model has
    a tensor or a scale under its name, that is the difference, and the None is left out.
    """
    pairs = []
    values_a, values_b = _plain_values(format_a), _plain_values(format_b)
    named: dict[Format, set[str]] = {}
    for role, (a, b) in line_up((values_a, values_b), lambda x, y: partners(x, y, attrgetter("name"))):
        names = (a.name if a else None, b.name if b else None)
        if a is None or b is None:
            only, other = (a, format_b) if b is None else (b, format_a)
            if only is None or only.value is not None:
                pairs.append(WeightPair(role, *names, Status.ONLY_B if a is None else Status.ONLY_A, 1))
            elif role not in (named.get(other) or named.setdefault(other, _names_and_roles(other))):
                note = "None; the other model stores nothing under this name"
                pairs.append(WeightPair(role, *names, Status.EQUAL, 1, 0, note=note, is_none=True))
            continue
        same = repr(a.value) == repr(b.value)
        note = "" if same else visible(f"A {a.value!r:.60}; B {b.value!r:.60}", 160)
        pairs.append(
            WeightPair(role, *names, Status.IDENTICAL if same else Status.DIFFERENT, 1, int(not same), note=note)
        )
    return pairs


def _names_and_roles(fmt: Format) -> set[str]:
    return {*fmt.checkpoint.entries, *map(fmt.role_of, fmt.checkpoint.entries)}


def _plain_values(fmt: Format) -> dict[str, Value]:
    found = list(fmt.checkpoint.plain_values())
    if not found:
        return {}
    scales = {key for r in fmt.scales() for key in r.keys} | {c.key for r in fmt.scales() for c in r.copies}
    found = [e for e in found if e.name not in scales]
    return by_unique_role(found, lambda e: fmt.role_of(e.name), attrgetter("name"))
