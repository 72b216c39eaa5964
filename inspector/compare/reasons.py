"""The supporting rules: each yields nothing where it does not apply. docs/verdicts.md says what they rest on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from qinspect.inspector.compare.chance import beyond_noise
from qinspect.inspector.compare.copies import PRODUCT_TOLERANCE
from qinspect.inspector.compare.deviation import is_tail
from qinspect.inspector.compare.evidence import (
    SEED_NOT_APPLIED_PERCENT,
    SEED_SIGNIFICANT_PERCENT,
    Evidence,
    size_of,
)
from qinspect.inspector.compare.names import said_of_names
from qinspect.inspector.compare.next_steps import reason
from qinspect.inspector.compare.results import ScalePair, Status, WeightPair, copies_differ
from qinspect.inspector.finding import Finding, Where
from qinspect.inspector.formats import Kind, Topic
from qinspect.inspector.json_text import finite
from qinspect.inspector.noise.band import FLOORS
from qinspect.inspector.provenance import claimed_alpha
from qinspect.inspector.rows import some_fit, where
from qinspect.inspector.text import count, differ, digits, magnitude, number, share, size, some, visible
from qinspect.inspector.values.scale_faults import FAULT_RULES, FaultyScale, ScaleFaults, faults_said


def alpha(e: Evidence) -> Iterator[Finding]:
    """What the points say about percentile_alpha, where only points that it makes differ."""
    sensitive, minmax = e.points(True), e.points(False)
    changed = [p for p in sensitive if p.status is Status.DIFFERENT and p.difference]
    roles = {p.role for p in changed}
    if not changed or any(not p.status.counts_as_same for p in minmax):
        return
    if some_fit(e.scales, lambda p: p.status is Status.DIFFERENT and p.record.kind is Kind.WEIGHT):
        return
    if any(p.difference and (p.difference.n_bad_a or p.difference.n_bad_b) for p in changed):
        return
    if any(c.role in roles for c in e.copies):
        return
    if minmax:
        alike = f"All {len(minmax)} min-max points are identical"
        if len(minmax) == 1:
            alike = "The only min-max point is identical"
        grid = e.said(Topic.MAXIMA, [p.role for p in minmax])
        fingerprint = (
            f"{alike}{f' ({grid})' if grid else ''}, the "
            f"fingerprint of the same calibration data{'' if e.changed_weights else ' and weights'}"
        )
    else:
        fingerprint = (
            "There is no min-max point to tell whether the data are the same: alpha and data cannot be separated"
        )
    largest = max(abs(p.difference.largest) for p in changed if p.difference)
    if not beyond_noise(sensitive, e.noise, "repeat").pairs:
        band = e.noise.of(changed[0].role, "repeat")
        yield reason(
            "repeat-noise",
            f"Only alpha-sensitive points differ ({len(changed)}), by at most {magnitude(largest)}: no more than a "
            f"repeat of the same run does ({band}). {fingerprint}.",
        )
        return
    if not minmax and not beyond_noise(sensitive, e.noise).pairs:
        return  # other samples explain it, and nothing says that there were none
    directions = {p.difference.direction for p in changed if p.difference}
    if len(directions) == 1 and directions <= {"up", "down"}:
        up = directions == {"up"}
        few = " A change of alpha normally moves nearly all of them." if 2 * len(changed) < len(sensitive) else ""
        yield reason(
            "alpha-signature",
            f"This is what a change of percentile_alpha looks like: only alpha-sensitive points differ "
            f"({len(changed)} of {len(sensitive)}), and all go {'up' if up else 'down'} (B's alpha is the "
            f"{'larger' if up else 'smaller'} one).{few} {fingerprint}.",
        )
        return
    n_up = sum(p.difference is not None and p.difference.direction == "up" for p in changed)
    if all(p.difference and p.difference.direction == e.asked_ways.get(p.role) for p in changed):
        yield reason(
            "alpha-signature",
            f"This is what a separate alpha for each point looks like: only alpha-sensitive points differ "
            f"({len(changed)} of {len(sensitive)}), and each goes the way that its declared alpha asks for ({n_up} up, "
            f"{len(changed) - n_up} down). {fingerprint}.",
        )
        return
    yield reason(
        "mixed-signs",
        f"Only alpha-sensitive points differ, but with mixed signs ({n_up} up, {len(changed) - n_up} not). That cannot "
        f"come from alpha alone: a quantile, and its moving average, is monotone in alpha. {fingerprint}, so another "
        f"observer setting differs (sigma, sample order), or a file was edited.",
    )


def hand_edited(e: Evidence) -> bool:
    """Copies disagree, and not alike in both models: no convention of a saver, and more than a last bit."""
    apart = [c for c in e.copies if not abs(c.found - c.expected) <= PRODUCT_TOLERANCE * abs(c.expected)]
    return copies_differ(apart)


def bad_scales(e: Evidence) -> Iterator[Finding]:
    """Numbers that no scale should be, in one model or in both."""
    faulty = where(e.scales, lambda p: p.faults_a or p.faults_b)
    alike = all(p.status is Status.IDENTICAL for p in faulty)
    for rule, of, what in FAULT_RULES:
        for model in "A" if alike else "AB":
            found = [p for p in faulty if (f := _faults(p, model)) and getattr(f, of)]
            if not found:
                continue
            text = faults_said([s for p in found if (s := _faulty(p, model))], what)
            if alike:
                yield reason(rule, f"A and B both have {text}. They are the same in both.")
            else:
                said = _other_said(found, model, rule == "broken-scale")
                yield reason(rule, f"{model} has {text}.{said}", Where(model, found[0].role))


def _faults(p: ScalePair, model: str) -> ScaleFaults | None:
    return p.faults_a if model == "A" else p.faults_b


def _faulty(p: ScalePair, model: str) -> FaultyScale | None:
    record, faults = (p.a if model == "A" else p.b), _faults(p, model)
    return None if faults is None or record is None else FaultyScale(p.role, record.shape, faults)


def _other_said(found: list[ScalePair], model: str, broken: bool) -> str:
    """Whether the other model's are sound, where it has them. broken: numbers that no scale should be; a denormal one
    can be what a cast makes of a sound one."""
    other = "B" if model == "A" else "A"
    partners = [_faults(p, other) for p in found if p.a and p.b]
    if not partners:
        return f" {other} does not have {'it' if len(found) == 1 else 'them'}."
    n_sound = sum(f is None for f in partners)
    if n_sound == len(found):
        sound = f" {other}'s {'is' if len(found) == 1 else 'are'} sound"
        if broken:
            return f"{sound}: {model} is broken or was edited."
        cast = all(p.a and p.b and p.a.dtype != p.b.dtype for p in found)
        return f"{sound}, and stored in another number type." if cast else f"{sound}."
    return f" Of {other}'s, {n_sound} are sound." if n_sound else f" {other}'s are not sound either."


def copies_disagree(e: Evidence) -> Iterator[Finding]:
    """Stored copies of one scale that are other numbers, or are not there."""
    for model in ("A", "B"):
        missing = [c for c in e.copies if c.model == model and c.missing]
        found = [c for c in e.copies if c.model == model and not c.missing]
        if found:
            c = found[0]
            yield reason(
                "copies-disagree",
                f"{model} has {some(len(found), 'stored copy', 'stored copies')} of scales with a different number, "
                f"first {visible(c.copy_key, 120)} ({c.relation}): {visible(c.key, 120)} makes it "
                f"{digits(c.expected)}, found {digits(c.found)}. The saver writes both from one number: "
                f"the file is corrupt, was edited, or cast.",
                Where(model, c.copy_key),
                {"copies": len(found), "expected": finite(c.expected), "found": finite(c.found)},
            )
        if missing:
            yield reason(
                "copies-missing",
                f"{model} lacks {some(len(missing), 'stored copy', 'stored copies')} that the other model has, first "
                f"{visible(missing[0].copy_key, 120)}: an entry was dropped, or is None.",
                Where(model, missing[0].copy_key),
                {"copies": len(missing)},
            )


def _permuted(e: Evidence) -> Iterator[Finding]:
    pairs = where(e.scales, lambda p: p.difference is not None and p.difference.sorted_cells)
    if pairs:
        layers = {_layer_of(p.role) for p in pairs}
        why = e.said(Topic.ORDER) or "what was reordered with the cells holds the same values in another order"
        yield reason(
            "head-order-differs",
            f"In {some(len(layers), 'layer')}, {why}: equal indices are not the same cell, so "
            f"{some(len(pairs), 'scale tensor')} were "
            f"compared sorted, not cell by cell.",
        )


def _layer_of(role: str) -> str:
    """`layers.3` of `layers.3.mixer.x_proj:input`: the name up to its first number."""
    parts = role.split(".")
    number_at = next((i for i, part in enumerate(parts) if part.isdigit()), len(parts))
    return ".".join(parts[: number_at + 1])


def _data_differ(e: Evidence) -> Iterator[Finding]:
    minmax = [p for p in e.points(False) if size_of(p) is not None and p.status is Status.DIFFERENT]
    if not minmax:
        return
    largest = max(size_of(p) or 0.0 for p in minmax)
    sensitive = [p for p in e.points(True) if p.status is Status.DIFFERENT]
    text = (
        f"{some(len(minmax), 'min-max point')} {differ(len(minmax))}, by up to {magnitude(largest)}. percentile_alpha "
        f"cannot reach them: the calibration data, the weights or the arithmetic differ."
    )
    if not beyond_noise(minmax, e.noise, "repeat").pairs:
        text += " That is no more than a repeat of the same run does."
    elif not beyond_noise(minmax, e.noise, "data").pairs:
        text += " Other calibration samples move scales that far."
    if sensitive:
        text += (
            f" {some(len(sensitive), 'alpha-sensitive point')} also {differ(len(sensitive))}, perhaps from the same "
            f"cause: alpha and data cannot be separated."
        )
    yield reason("data-differ", text)


def _alpha_unreachable(e: Evidence) -> Iterator[Finding]:
    scales = (e.a.scales(), e.b.scales())
    if any(not its or some_fit(its, lambda r: r.alpha_sensitive is not False) for its in scales):
        return
    calibrated = [some_fit(its, lambda r: r.kind is Kind.ACTIVATION) for its in scales]
    why = list(zip((e.a.says(Topic.UNREACHED), e.b.says(Topic.UNREACHED)), calibrated, strict=True))
    if why[0] == why[1]:
        said = why[0][0]
    else:  # what a calibrated one has to say comes first
        order = sorted(zip("AB", why, strict=True), key=lambda one: not one[1][1])
        said = "; ".join(f"in {model} {text}" for model, (text, _) in order if text)
    yield reason(
        "alpha-is-dead", f"No scale in these files can depend on percentile_alpha{f': {said}' if said else ''}."
    )


def _claimed(e: Evidence) -> Iterator[Finding]:
    a, b = claimed_alpha(e.a.checkpoint.path), claimed_alpha(e.b.checkpoint.path)
    if a is None or b is None or float(a) == float(b):
        return
    sensitive = e.points(True)
    differing = [p for p in sensitive if p.status is Status.DIFFERENT and p.difference]
    names = f"The directory names claim percentile_alpha {a} and {b}"
    if not differing or any(p.difference is None and p.status is not Status.IDENTICAL for p in sensitive):
        return  # none differs, or not all of them could be compared
    expected = "up" if float(b) > float(a) else "down"
    against = [p for p in differing if p.difference and p.difference.direction != expected]
    if against:
        yield reason(
            "claim-contradicted",
            f"{names}; then every alpha-sensitive scale must go {expected}, but {len(against)} of {len(differing)} "
            f"{'does' if len(against) == 1 else 'do'} not.",
        )
    else:
        yield reason(
            "claim-agrees", f"{names}; all {len(differing)} alpha-sensitive differences go {expected}, as they must."
        )


def _weights(e: Evidence) -> Iterator[Finding]:
    if not e.weights_compared:
        yield reason("weights-not-compared", f"weights: not compared ({size(e.weight_bytes)}). --codes reads them.")
        return
    quantized = [w for w in e.changed_weights if w.quantized]
    others = [w for w in e.changed_weights if not w.quantized]
    for found, what in ((quantized, "code tensor"), (others, "unquantized tensor or value")):
        if not found:
            continue
        first = found[0]
        part = f", {share(first.n_changed, first.n)} of its elements" if first.n_changed is not None else ""
        said = sizes_said(found)
        part += f"; {said}" if said else ""
        many = what.replace("tensor", "tensors").replace("value", "values")
        text = f"{some(len(found), what, many)} {differ(len(found))}, first {visible(first.role, 120)}{part}."
        points = e.points(True) + e.points(False)
        sensitive_only = points and all(p.status.counts_as_same for p in e.points(False))
        if sensitive_only and any(p.status is Status.DIFFERENT for p in e.points(True)):
            text += " An activation setting such as percentile_alpha cannot do this: something else differs too."
        yield reason("weights-differ", text)


def sizes_said(changed: Sequence[WeightPair], brief: bool = False) -> str:
    """By how much tensors differ: the smallest and the largest relative error, the largest distance and its place, and
    what is zero in B only. brief: for a headline. Empty where nothing was measured."""
    measured = [(w, w.deviation) for w in changed if w.deviation]
    if not measured:
        return ""
    parts = []
    relative = sorted((d.relative, w.role) for w, d in measured if d.has_size and not math.isnan(d.relative))
    if relative:
        low, high = (magnitude(100 * x) for x, _ in (relative[0], relative[-1]))
        ends = high if low == high else f"{low} to {high}"
        most = f", most in {visible(relative[-1][1], 120)}" if low != high and not brief else ""
        parts.append(f"relative error |B - A|/|A| {ends}{most}")
    worst, d = max(measured, key=lambda m: m[1].largest)
    if d.has_size and not (brief and relative):
        unit = " codes" if worst.quantized else ""
        parts.append(f"largest |B - A| {number(d.largest)}{unit} at {visible(worst.role, 120)}{list(d.where)}")
    parts += _zeros_said(
        [(w, d.zero_from) for w, d in measured if d.zero_from is not None and is_tail(d.zero_from, w.n)]
    )
    for model, n in zip("AB", (sum(d.n_bad_a for _, d in measured), sum(d.n_bad_b for _, d in measured)), strict=True):
        if n:
            are = "is" if n == 1 else "are"
            parts.append(f"{some(n, 'element')} of {model} {are} NaN or Inf and left out")
    return "; ".join(parts)


def _zeros_said(ends: list[tuple[WeightPair, int]]) -> Iterator[str]:
    """Tensors of B that are zero from an element on, and not in A."""
    if ends:
        w, start = ends[0]
        how = "is all zeros" if start == 0 else f"is zero from element {start:,} to its end"
        yield (
            f"{some(len(ends), 'tensor')} of B end{'s' * (len(ends) == 1)} in zeros that A does not have, first "
            f"{visible(w.role, 120)}, which {how}"
        )


def _renamed(e: Evidence) -> Iterator[Finding]:
    if e.renamed:
        yield reason("renamed", f"{said_of_names(e.renamed, e.n_paired)}. They were paired by what they are.")


def _joined(e: Evidence) -> Iterator[Finding]:
    """What one model stores in one tensor and the other in several."""
    said = []
    joined = where(e.weights, lambda w: w.joined)
    for model, other in ("AB", "BA"):
        pairs = [w for w in joined if w.joined == model]
        if pairs:
            whole = {w.a if model == "A" else w.b for w in pairs}
            first = pairs[0]
            named = (first.a if model == "A" else first.b) or ""
            said.append(
                f"{some(len(pairs), 'tensor')} of {other} {'is a part' if len(pairs) == 1 else 'are parts'} of "
                f"{count(len(whole))} in {model}, first {visible(first.role, 120)} of {visible(named, 120)}"
            )
    if said:
        yield reason("joined", f"{'; '.join(said)}: compared part by part.")


def _config(e: Evidence) -> Iterator[Finding]:
    a, b = e.a.checkpoint.config, e.b.checkpoint.config
    if not a or not b:
        return
    keys = sorted(k for k in a.keys() | b.keys() if a.get(k, ...) != b.get(k, ...))
    if keys:
        more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
        yield reason("config-differs", f"config.json differs in {', '.join(visible(k, 60) for k in keys[:5])}{more}.")


def _bands(e: Evidence) -> Iterator[Finding]:
    compared = [p for p in e.points(False) + e.points(True) if p.difference or p.status is Status.IDENTICAL]
    apart = [p for p in compared if p.status is Status.DIFFERENT and size_of(p) is not None]
    if (
        not apart
        or next(bad_scales(e), None)
        or any(isinstance(p, ScalePair) and p.status in (Status.ONLY_A, Status.ONLY_B) for p in e.structure)
    ):
        return  # bands are of one model against itself
    yield reason("noise-bands", " ".join(_noise_said(e, compared, len(apart))))
    if all(p.bands and p.bands[0].origin != "measured elsewhere" for p in apart):
        return
    reachable = [p for p in compared if p.record.alpha_sensitive] or compared
    sizes = [size_of(p) or 0.0 for p in reachable]
    significant = sum(d > SEED_SIGNIFICANT_PERCENT for d in sizes)
    tiny = sum(d < SEED_NOT_APPLIED_PERCENT for d in sizes)
    which = "alpha-sensitive " if reachable is not compared else ""
    yield reason(
        "rule-of-thumb",
        f"Rule of thumb only (no measurement behind it): over {SEED_SIGNIFICANT_PERCENT:g} % is called significant - "
        f"{significant} of {len(sizes)} {which}activation scales; under {SEED_NOT_APPLIED_PERCENT:g} % probably not "
        f"applied - {tiny} of {len(sizes)}.",
    )


def _noise_said(e: Evidence, compared: list[ScalePair], n_apart: int) -> Iterator[str]:
    """Which floor applies and why, what lies beyond it and beyond the others, where the bands come from."""
    noise, n_fixed = e.noise, len(e.points(False))
    if noise.same_data is None:
        yield "Noise: no min-max point tells whether the data are the same, so the floor of other samples applies."
    elif noise.same_data:
        agree = f"all {n_fixed} min-max points agree" if n_fixed > 1 else "the only min-max point agrees"
        why = f"{agree}, so the data are the same" if n_fixed else "both models come from one pass"
        yield f"Noise: {why}: the repeat floor applies."
    else:
        yield "Noise: min-max points differ, so the data do and the floor of other samples applies."
    for floor in (noise.floor, *(f for f in FLOORS if f != noise.floor)):
        found = beyond_noise(compared, noise, floor)
        if not found.n or (floor == "order" and noise.same_order):
            continue
        how = "" if found.p is None else f" (Holm-adjusted over {found.n_chances}, p <= {found.p:.2g})"
        yield f"Beyond {FLOORS[floor]}: {len(found.pairs)} of {n_apart} activation scales that differ{how}."
    yield f"Bands: {'; '.join(noise.sources)}."


REASONS = (
    bad_scales,
    copies_disagree,
    alpha,
    _claimed,
    _data_differ,
    _weights,
    _permuted,
    _renamed,
    _joined,
    _config,
    _bands,
    _alpha_unreachable,
)
