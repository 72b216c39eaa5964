"""The whole answer in one line, with its numbers: what an overview begins with."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qinspect.inspector.compare.chance import activation_points
from qinspect.inspector.compare.results import Comparison, Effect, ScalePair, Status, WeightPair
from qinspect.inspector.formats import Topic
from qinspect.inspector.text import count, percent, some
from qinspect.inspector.values.scale_faults import FAULT_RULES

_EFFECTS = {
    "effective": "ALPHA TOOK EFFECT",
    "within-noise": "ALPHA: NOTHING BEYOND NOISE",
    "dead-parameter": "ALPHA DID NOTHING",
    "not-as-declared": "NOT AS DECLARED",
}
_FAULTS = frozenset(rule for rule, _, _ in FAULT_RULES)
_APART = frozenset({"other-structure", "no-common-roles", "no-common-names"})
"""Of two models that are not one model with another setting."""


def answer(c: Comparison) -> str:
    """`ALPHA TOOK EFFECT: 4 of 4 points, +35.46 ... +139.67 %, beyond noise; 10 of 10 min-max points the same`.

    Of what percentile_alpha did, where anything is known of it; else how many scales and tensors differ.
    """
    if c.headline.rule in _FAULTS:
        return f"BROKEN SCALES: {c.headline.text}"
    if c.headline.rule == "reordered":
        return f"OTHER ORDER: {c.headline.text}"
    if c.headline.rule == "adapter-and-model":
        return f"ADAPTER AND MODEL: {c.headline.text}"
    if c.headline.rule in ("one-quantized", "two-schemes"):
        return f"{_stored(c)}: {_what_is_in_both(c)}"
    if c.effect is not None and c.headline.rule not in _APART:
        return f"{_EFFECTS[c.effect.kind]}: {'; '.join(_of_effect(c, c.effect))}"
    if c.same:
        return f"{_nothing(c)}: {_counted(c)}"
    apart = [
        *_different(c.scales, "scale", "scales"),
        *_different(c.weights, "other entry", "other entries"),
        *_not_in_both(c),
    ]
    return f"DIFFERENT: {'; '.join(apart)}" if apart else f"DIFFERENT: {c.headline.text}"


def _stored(c: Comparison) -> str:
    if c.a.weights() and c.b.weights():
        return "CODES OF TWO SCHEMES"
    return "CODES IN B, FULL PRECISION IN A" if c.b.weights() else "CODES IN A, FULL PRECISION IN B"


def _what_is_in_both(c: Comparison) -> str:
    """`8 of 26 tensors; 18 others the same`."""
    both = [w for w in c.weights if w.a and w.b]
    n = sum(w.status is Status.SCHEME for w in both)
    rest = [f"{count(n)} of {some(len(both), 'tensor')}"]
    for words, statuses in (
        ("others the same", (Status.IDENTICAL, Status.EQUAL)),
        ("others differ", (Status.DIFFERENT,)),
        ("others not read", (Status.NOT_COMPARED, Status.DTYPE)),
    ):
        found = sum(w.status in statuses for w in both)
        rest += [f"{count(found)} {words}"] if found else []
    for letter, status in (("A", Status.ONLY_A), ("B", Status.ONLY_B)):
        found = sum(w.status is status for w in c.weights)
        rest += [f"{some(found, 'tensor')} only in {letter}"] if found else []
    return "; ".join(rest)


def _of_effect(c: Comparison, effect: Effect) -> list[str]:
    reached, others = activation_points(c.scales, True), activation_points(c.scales, False)
    if effect.kind == "dead-parameter":
        why = next((text for f in (c.a, c.b) if (text := f.says(Topic.UNREACHED))), "")
        alphas = " and ".join(d.text for d in effect.declared if d)
        parts = [f"{alphas} declared, {_share(0, len(reached))} differ" if reached else f"{alphas} declared"]
        return [*parts, why or "no scale in these files depends on it"]
    changed = [p for p in reached if p.status is Status.DIFFERENT]
    beyond = set(effect.beyond)
    shown = [p for p in changed if p.role in beyond] or changed
    how = "beyond noise" if beyond else "within noise"
    parts = [f"{_share(len(shown), len(reached))}{_range(shown)}, {how}"]
    if len(changed) > len(shown):
        parts.append(f"{len(changed) - len(shown)} more within noise")
    if others:
        same = sum(p.status.counts_as_same for p in others)
        parts.append(f"{same} of {some(len(others), 'min-max point')} the same")
    return parts


def _share(n: int, of: int) -> str:
    return f"{count(n)} of {some(of, 'point')}"


def _range(pairs: Sequence[ScalePair]) -> str:
    """`, +35.46 ... +139.67 %`, of those that have a percentage."""
    known = [p.difference.largest for p in pairs if p.difference and not math.isnan(p.difference.largest)]
    if not known:
        return ""
    low, high = percent(min(known)), percent(max(known))
    return f", {low}" if low == high else f", {low.removesuffix(' %')} ... {high}"


def _different(pairs: Sequence[ScalePair] | Sequence[WeightPair], one: str, several: str) -> list[str]:
    n = sum(bool(p.a and p.b) for p in pairs)
    apart = sum(bool(p.a and p.b) and not p.status.counts_as_same for p in pairs)
    changed = [p for p in pairs if isinstance(p, ScalePair) and p.status is Status.DIFFERENT]
    return [f"{count(apart)} of {some(n, one, several)}{_range(changed)}"] if apart else []


def _not_in_both(c: Comparison) -> list[str]:
    found = []
    for model, status in (("A", Status.ONLY_A), ("B", Status.ONLY_B)):
        n = sum(p.status is status for p in c.scales) + sum(w.status is status for w in c.weights)
        found += [f"{count(n)} only in {model}"] if n else []
    return found


def _nothing(c: Comparison) -> str:
    if not (c.scales or c.weights):
        return "NOTHING TO COMPARE"
    return "NO DIFFERENCE" if c.weights_compared else "NO DIFFERENCE IN HEADERS AND SCALES"


def _counted(c: Comparison) -> str:
    scales = sum(bool(p.a and p.b) for p in c.scales)
    tensors = sum(bool(w.a and w.b) for w in c.weights)
    read = "" if c.weights_compared else " by their headers"
    parts = [f"{some(scales, 'scale')} compared" if scales else "no scale in both"]
    parts += [f"{some(tensors, 'other entry', 'other entries')}{read}"] if tensors else []
    return ", ".join(parts)
