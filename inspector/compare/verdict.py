"""From a comparison to a sentence, as an expert would reason, with the name of its rule.

The rules rest on how Quamba calibrates (docs/verdicts.md): percentile points are EMAs of quantiles, monotone in
alpha on equal inputs; the other points are running maxima, which alpha cannot reach, so that bit-identical min-max
points are the fingerprint of equal calibration data and weights.
"""

from __future__ import annotations

from qinspect.inspector.compare.effect import effect_of
from qinspect.inspector.compare.evidence import Evidence
from qinspect.inspector.compare.reasons import REASONS, alpha, bad_scales, copies_disagree, hand_edited
from qinspect.inspector.compare.results import Effect, Reason, ScalePair, Status
from qinspect.inspector.formats import Format, Kind
from qinspect.inspector.text import count, differ, magnitude, size, some, visible


def judge(evidence: Evidence) -> tuple[Reason, tuple[Reason, ...], Effect | None]:
    """(headline, supporting reasons, the effect of percentile_alpha, which is the first of them)."""
    headline = _headline(evidence)
    effect = effect_of(evidence)
    found = [r for rule in REASONS for r in rule(evidence) if r.rule != headline.rule]
    return headline, tuple(found if effect is None else [effect.reason, *found]), effect


def _headline(e: Evidence) -> Reason:
    different = [p for p in e.scales if p.status is Status.DIFFERENT]
    matched = any(p.a and p.b for p in e.scales) or any(w.a and w.b for w in e.weights)
    if not matched and (e.scales or e.weights):
        return Reason("no-common-roles", "These are two different models: no scale and no tensor has a partner.")
    if bad := next(bad_scales(e), None):
        return bad
    if hand_edited(e):
        return next(copies_disagree(e))
    if not (different or e.structure or e.broken or e.moved or e.changed_weights):
        return _nothing_differs(e)
    if e.structure:
        return _structure(e)
    if e.moved:
        return _reordered(e)
    inferred = next(alpha(e), None)
    if inferred and all(p.record.alpha_sensitive for p in different) and not e.changed_weights and not e.broken:
        return inferred
    points = e.points(True) + e.points(False)
    if points and all(p.status.counts_as_same for p in points) and not e.broken:
        return _only_weights(e, different, points)
    return _several(e, different)


def _nothing_differs(e: Evidence) -> Reason:
    if _same_files(e.a, e.b):
        return Reason("same-file", "A and B are the same file: there is nothing to compare.")
    if not e.weights_compared:
        return Reason(
            "no-difference-read",
            f"No difference in headers and scales. Weights were not compared ({size(e.weight_bytes)}).",
        )
    otherwise = e.of_status(Status.EQUAL)
    if otherwise:
        return Reason(
            "same-values",
            f"The same values everywhere, {count(len(otherwise))} of them stored in another form (container, number "
            f"type, layout or padding), first {visible(otherwise[0].role, 120)}.",
        )
    text = (
        "Identical everywhere: scales, codes and all other tensors. Either one is a copy of the other, or the "
        "second run loaded an existing directory instead of calibrating, or what was changed reaches no tensor."
    )
    return Reason("bit-identical", text)


def _only_weights(e: Evidence, different: list[ScalePair], points: list[ScalePair]) -> Reason:
    quantized = [w for w in e.changed_weights if w.quantized]
    others = len(e.changed_weights) - len(quantized)
    parts = [some(len(different), "weight scale")] if different else []
    parts += [f"the codes of {some(len(quantized), 'tensor')}"] if quantized else []
    parts += [some(others, "unquantized tensor")] if others else []
    text = f"Only weights differ: {', '.join(parts)}. {_all_equal(len(points))}"
    if different and quantized and not others:
        text += ": the calibration is the same, the weights' quantizer is not (GPTQ or not, its data, its order)."
    elif different and not quantized and e.weights_compared:
        text += ", and so are the codes: a scale without its codes does not change by quantizing, the file was edited."
    else:
        text += "."
    return Reason("only-weights", text)


def _all_equal(n: int) -> str:
    return "The only activation scale is equal" if n == 1 else f"All {n} activation scales are equal"


def _structure(e: Evidence) -> Reason:
    counts: dict[Status, int] = {}
    for p in e.structure:
        counts[p.status] = counts.get(p.status, 0) + 1
    words = {
        Status.SCHEME: "stored in another scheme",
        Status.SHAPE: "of another shape",
        Status.DTYPE: "of another dtype",
        Status.ONLY_A: "only in A",
        Status.ONLY_B: "only in B",
    }
    listed = ", ".join(f"{n} {words[status]}" for status, n in counts.items())
    points = e.points(True) + e.points(False)
    same = sum(p.status.counts_as_same for p in points)
    if e.a.description == e.b.description:
        text = f"Both are {e.a.description}, but not built alike: of scales and tensors, {listed}"
    else:
        text = f"The two are built differently. A: {e.a.description}. B: {e.b.description}."
        text += f" Of scales and tensors, {listed}"
    text += f", first {visible(e.structure[0].role, 120)}."
    if points and same == len(points):
        text += f" All {same} activation points in both are equal: the same calibration."
    elif points:
        text += f" Of {len(points)} activation points in both, {same} are equal."
    return Reason("other-structure", text)


def _reordered(e: Evidence) -> Reason:
    sorted_pairs = [p for p in e.scales if p.difference is not None and p.difference.sorted_cells]
    points = [p for p in sorted_pairs if p.record.kind is Kind.ACTIVATION]
    equal = sum(p.status is Status.PERMUTED for p in points)
    apart = [abs(p.difference.largest) for p in points if p.status is Status.DIFFERENT and p.difference]
    text = (
        "Heads or channels are in another order, so nothing there is comparable cell by cell. "
        f"Sorted, {equal} of {len(points)} grouped activation scales hold the same values"
    )
    text += f", the others differ by up to {magnitude(max(apart))}." if apart else "."
    if any("out_proj" in p.role for p in e.of_status(Status.DIFFERENT, Status.INCOMPARABLE)):
        text += " out_proj is rotated after it is reordered: its scales and codes differ whatever the cause."
    return Reason("reordered", text)


def _several(e: Evidence, different: list[ScalePair]) -> Reason:
    s = e.summary
    parts = []
    if different:
        pattern = f"{s.sign_pattern}, by up to {magnitude(s.largest)}"
        parts.append(f"{len(different)} of {some(s.n_pairs, 'scale')} {differ(len(different))} ({pattern})")
    if e.changed_weights:
        parts.append(f"{some(len(e.changed_weights), 'code or other tensor')} {differ(len(e.changed_weights))}")
    if e.broken:
        parts.append(f"{len(e.broken)} could not be read, first {visible(e.broken[0].role, 120)}")
    text = "; ".join(parts)
    return Reason("several-differences", text[:1].upper() + text[1:] + ".")


def _same_files(a: Format, b: Format) -> bool:
    """Whether both are made of the same files, by device and inode (hard and symbolic links included)."""

    def inodes(f: Format) -> set[tuple[int, ...]]:
        return {file.identity[:2] for file in f.checkpoint.files}

    return inodes(a) == inodes(b)
