"""From a comparison to a sentence, as an expert would reason, with the name of its rule.

The rules rest on how Quamba calibrates (docs/verdicts.md): percentile points are EMAs of quantiles, monotone in
alpha on equal inputs; the other points are running maxima, which alpha cannot reach, so that bit-identical min-max
points are the fingerprint of equal calibration data and weights.
"""

from __future__ import annotations

import math
import os.path
from itertools import product

from qinspect.inspector.checkpoint.listing import some_names
from qinspect.inspector.compare.adapted import said_of_adapter
from qinspect.inspector.compare.content import n_of_same_shape
from qinspect.inspector.compare.effect import effect_of
from qinspect.inspector.compare.evidence import Evidence
from qinspect.inspector.compare.names import said_of_names
from qinspect.inspector.compare.next_steps import reason
from qinspect.inspector.compare.reasons import REASONS, alpha, bad_scales, copies_disagree, hand_edited, sizes_said
from qinspect.inspector.compare.results import Effect, ScalePair, Status, WeightPair
from qinspect.inspector.compare.structure import said_of_structure
from qinspect.inspector.finding import Finding
from qinspect.inspector.formats import Format, Kind, Topic
from qinspect.inspector.rows import how_many, some_fit, where
from qinspect.inspector.text import count, differ, magnitude, size, some, visible


def judge(evidence: Evidence) -> tuple[Finding, tuple[Finding, ...], Effect | None]:
    """(headline, supporting reasons, the effect of percentile_alpha, which is the first of them)."""
    headline = _headline(evidence)
    effect = effect_of(evidence)
    found = [r for rule in REASONS for r in rule(evidence) if r.rule != headline.rule]
    if headline.rule == "same-under-other-names":
        found = [r for r in found if r.rule != "renamed"]
    return headline, tuple(found if effect is None else [effect.reason, *found]), effect


def _headline(e: Evidence) -> Finding:
    different = where(e.scales, lambda p: p.status is Status.DIFFERENT)
    if not e.scales and not e.weights:
        return reason("nothing-compared", "Nothing was compared: neither A nor B holds a tensor or a number.")
    if bad := next(bad_scales(e), None):
        return bad
    if adapter := said_of_adapter(e):
        return adapter
    if not e.n_paired:
        return _nothing_in_common(e)
    if hand_edited(e):
        return next(copies_disagree(e))
    if not (different or e.structure or e.broken or e.moved or e.changed_weights):
        return _nothing_differs(e)
    if e.structure:
        return said_of_structure(e)
    if e.moved:
        return _reordered(e)
    if cast := _cast(e, different):
        return cast
    inferred = next(alpha(e), None)
    if inferred and all(p.record.alpha_sensitive for p in different) and not e.changed_weights and not e.broken:
        return inferred
    points = e.points(True) + e.points(False)
    if points and all(p.status.counts_as_same for p in points) and not e.broken:
        return _only_weights(e, different, points)
    return _several(e, different)


def _nothing_differs(e: Evidence) -> Finding:
    if _same_files(e.a, e.b):
        return reason("same-file", "A and B are the same file: there is nothing to compare.")
    no_scale = "" if some_fit(e.scales, lambda p: p.a and p.b) else " No scale was compared: neither has one."
    if no_scale and (e.a.checkpoint.inside or e.b.checkpoint.inside):
        text = f"No difference in what was opened ({_counted(e)}), but no scale is in both. {_left_inside(e)}"
        return reason("models-inside", text)
    if not e.weights_compared:
        return reason(
            "no-difference-read",
            f"No difference in headers{'' if no_scale else ' and scales'} ({_counted(e)}). Weights were not compared "
            f"({size(e.weight_bytes)}).{no_scale}",
        )
    equal = e.of_status(Status.EQUAL)
    otherwise = [p for p in equal if p.a and p.b]
    tied = _tied_said([p for p in equal if not (p.a and p.b)])
    if e.renamed:
        form = f", {count(len(otherwise))} of them in another form" if otherwise else ""
        text = f"The same values{form}, but {said_of_names(e.renamed, e.n_paired)}.{tied}{no_scale}"
        return reason("same-under-other-names", text)
    if tied and not otherwise:
        return reason("same-values", f"The same values everywhere ({_counted(e)}).{tied}{no_scale}")
    if otherwise:
        return reason(
            "same-values",
            f"The same values everywhere, {count(len(otherwise))} of {count(e.n_paired)} stored in another form "
            f"({_FORMS}), first {visible(otherwise[0].role, 120)}.{tied}{no_scale}",
        )
    text = (
        f"Identical everywhere: {_counted(e)}, to the bit and by name. Either one is a copy of the other, or the "
        "second run loaded an existing directory instead of calibrating, or what was changed reaches no tensor."
    )
    return reason("bit-identical", text + no_scale)


def _left_inside(e: Evidence) -> str:
    """`Of A, adapter_model.safetensors was opened; its folder holds other models, which were not: m.`"""
    said = []
    for model, fmt in (("A", e.a), ("B", e.b)):
        c = fmt.checkpoint
        if c.inside:
            opened = some_names((f.path.name for f in c.files), 2)
            folders = some_names(os.path.relpath(p, c.path) for p in c.inside)
            said.append(f"Of {model}, {opened} was opened; models in folders inside were not: {folders}.")
    return " ".join(said)


_FORMS = "container, number type, layout, padding, one tensor or several, signs of zero or bits of NaN"
"""In what the same values can be stored otherwise."""


def _tied_said(tied: list[ScalePair | WeightPair]) -> str:
    """` Only B stores lm_head.weight, equal to its embedding.`, of what only one model stores and equals nothing new;
    empty where there is no such thing."""
    said = ""
    for model, what in product("AB", (_AGAIN, _NONE)):
        roles = [
            visible(p.role, 120)
            for p in tied
            if (p.a if model == "A" else p.b) and (what is _NONE) == (isinstance(p, WeightPair) and p.is_none)
        ]
        if roles:
            more = f" and {count(len(roles) - 1)} more" if roles[1:] else ""
            said += f" Only {model} stores {roles[0]}{more}, {what}."
    return said


_AGAIN = "equal to an embedding or output layer that both have"
_NONE = "which is None: no value"


def _counted(e: Evidence) -> str:
    """`32 scales, 8 code tensors and 20 other entries`: what is in both."""
    n_scales = how_many(e.scales, lambda p: p.a and p.b)
    n_codes = how_many(e.weights, lambda w: w.a and w.b and w.quantized)
    parts = [some(n_scales, "scale")] if n_scales else []
    parts += [some(n_codes, "code tensor")] if n_codes else []
    if others := e.n_paired - n_scales - n_codes:
        other = "other " if parts else ""
        parts.append(some(others, f"{other}entry", f"{other}entries"))
    return " and ".join(([", ".join(parts[:-1])] if parts[:-1] else []) + parts[-1:])


def _nothing_in_common(e: Evidence) -> Finding:
    """No name has a partner, and where bytes were read, no tensor that varies is equal to one of the other's."""
    a, b = e.alone
    fit = n_of_same_shape(a, b)
    looked = "; values were not compared"
    if e.weights_compared:
        looked = " and no tensor has the bits of another (small and constant ones prove nothing)"
    if fit and 2 * fit > max(len(a), len(b)):
        text = (
            f"No name of A is in B{looked}, but shapes fit: {count(fit)} of A's {some(len(a), 'tensor')} find one of "
            f"the same shape among B's {count(len(b))}. They can be one architecture under the names of two "
            "libraries; nothing was compared number by number."
        )
        return reason("no-common-names", text)
    n_scales = [how_many(e.scales, lambda p: p.a), how_many(e.scales, lambda p: p.b)]
    held = [
        f"{model} holds {some(len(tensors), 'tensor')} and {some(n, 'scale')}"
        for model, tensors, n in zip("AB", (a, b), n_scales, strict=True)
    ]
    text = (
        f"Two different models, or one that was fused, split or transposed for another library: no name is in both, "
        f"{some(fit, 'tensor')} of A find{'s' * (fit == 1)} one of the same shape{looked}. {', '.join(held)}."
    )
    return reason("no-common-roles", text)


def _cast(e: Evidence, different: list[ScalePair]) -> Finding | None:
    """All that differs is one model rounded to the other's dtype."""
    rounded = [w for w in e.changed_weights if w.deviation and w.deviation.rounded]
    ways = {w.deviation.rounded for w in rounded if w.deviation}
    if different or e.broken or not rounded or len(rounded) < len(e.changed_weights) or len(ways) > 1:
        return None
    (way,) = ways
    which = "the" if len(rounded) == 1 else "all"
    text = (
        f"{way}: {which} {some(len(rounded), 'tensor')} that {differ(len(rounded))}, every element checked; "
        f"{sizes_said(rounded)}."
    )
    return reason("rounded", text)


def _only_weights(e: Evidence, different: list[ScalePair], points: list[ScalePair]) -> Finding:
    quantized = [w for w in e.changed_weights if w.quantized]
    others = len(e.changed_weights) - len(quantized)
    parts = [some(len(different), "weight scale")] if different else []
    parts += [f"the codes of {some(len(quantized), 'tensor')}"] if quantized else []
    parts += [some(others, "unquantized tensor")] if others else []
    text = f"Only weights differ: {', '.join(parts)}. {_all_equal(len(points))}"
    if different and quantized and not others:
        text += ": the calibration is the same, the weights' quantizer is not (its method, its data, its order)."
    elif different and not quantized and e.weights_compared:
        text += ", and so are the codes: quantizing never changes a scale without its codes, so the file was edited."
    else:
        text += "."
    return reason("only-weights", text)


def _all_equal(n: int) -> str:
    return "The only activation scale is equal" if n == 1 else f"All {n} activation scales are equal"


def _reordered(e: Evidence) -> Finding:
    sorted_pairs = where(e.scales, lambda p: p.difference is not None and p.difference.sorted_cells)
    points = [p for p in sorted_pairs if p.record.kind is Kind.ACTIVATION]
    what = "grouped activation scales" if points else "scales of weights"
    points = points or sorted_pairs
    equal = sum(p.status is Status.PERMUTED for p in points)
    apart = [abs(p.difference.largest) for p in points if p.status is Status.DIFFERENT and p.difference]
    text = (
        "Heads or channels are in another order, so nothing there is comparable cell by cell. "
        f"Sorted, {equal} of {len(points)} {what} hold the same values"
    )
    text += f", the others differ by up to {magnitude(max(apart))}." if apart else "."
    owed = e.said(Topic.REORDERED, [p.role for p in e.of_status(Status.DIFFERENT, Status.INCOMPARABLE)])
    text += f" {owed}" if owed else ""
    return reason("reordered", text)


def _several(e: Evidence, different: list[ScalePair]) -> Finding:
    s = e.summary
    parts = []
    if different:
        size_said = "none has a percentage" if math.isnan(s.largest) else f"by up to {magnitude(s.largest)}"
        pattern = f"{s.sign_pattern}, {size_said}"
        parts.append(f"{len(different)} of {some(s.n_pairs, 'scale')} {differ(len(different))} ({pattern})")
    if e.changed_weights:
        said = sizes_said(e.changed_weights, brief=True)
        what = "code or other tensor" if any(w.quantized for w in e.changed_weights) else "tensor or value"
        what = "tensor" if all(w.deviation and not w.quantized for w in e.changed_weights) else what
        many = "tensors or values" if what == "tensor or value" else ""
        n = len(e.changed_weights)
        parts.append(f"{some(n, what, many)} {differ(n)}" + (f" ({said})" if said else ""))
    if e.broken:
        parts.append(f"{len(e.broken)} could not be read, first {visible(e.broken[0].role, 120)}")
    text = "; ".join(parts)
    return reason("several-differences", text[:1].upper() + text[1:] + ".")


def _same_files(a: Format, b: Format) -> bool:
    """Whether both are made of the same files, by device and inode (hard and symbolic links included)."""

    def inodes(f: Format) -> set[tuple[object, ...]]:
        return {file.identity[:2] for file in f.checkpoint.files}

    return inodes(a) == inodes(b)
