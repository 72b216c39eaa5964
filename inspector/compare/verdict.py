"""From a comparison to sentences, as an expert would reason, each with the name of its rule.

The rules rest on how Quamba calibrates (docs/verdict.md): percentile points are EMAs of quantiles, monotone in
alpha on equal inputs; the other points are running maxima, which alpha cannot reach, so that bit-identical min-max
points are the fingerprint of equal calibration data and weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from qinspect.inspector.compare.results import CopyProblem, Reason, ScalePair, Status, Summary, WeightPair
from qinspect.inspector.formats import Format, Kind
from qinspect.inspector.text import number, percent, share, size, visible

REPEAT_BAND_PERCENT = 0.0033
SAMPLES_BAND_PERCENT = (0.09, 1.07)
BAND_ORIGIN = "measured on Quamba-130m W8A8, layers 0-2, 512 samples"
SEED_SIGNIFICANT_PERCENT = 1.0
SEED_NOT_APPLIED_PERCENT = 0.1
_ALPHA_IN_NAME = re.compile(r"(?:^|[^a-z])pa[-_]?(0?\.\d+|[01](?:\.\d+)?)(?![\d.])", re.IGNORECASE)


@dataclass(frozen=True)
class Evidence:
    """What the rules look at."""

    a: Format
    b: Format
    scales: Sequence[ScalePair]
    weights: Sequence[WeightPair]
    copies: Sequence[CopyProblem]
    summary: Summary
    weights_compared: bool
    weight_bytes: int

    def points(self, alpha_sensitive: bool) -> list[ScalePair]:
        """Activation points in both models that a percentile makes (or that none does)."""
        return [
            p
            for p in self.scales
            if p.a and p.b and p.a.kind is Kind.ACTIVATION and (p.a.alpha_sensitive is True) is alpha_sensitive
        ]

    @cached_property
    def changed_weights(self) -> list[WeightPair]:
        """Codes and tensors whose bytes differ."""
        return [w for w in self.weights if w.status is Status.DIFFERENT]

    def of_status(self, *statuses: Status) -> list[ScalePair | WeightPair]:
        """Pairs of these statuses, scales first."""
        pairs: list[ScalePair | WeightPair] = [*self.scales, *self.weights]
        return [p for p in pairs if p.status in statuses]

    @cached_property
    def structure(self) -> list[ScalePair | WeightPair]:
        """What cannot be compared number by number, or has no partner."""
        return self.of_status(Status.ONLY_A, Status.ONLY_B, Status.SHAPE, Status.DTYPE, Status.SCHEME)

    @cached_property
    def broken(self) -> list[ScalePair | WeightPair]:
        """What could not be read."""
        return self.of_status(Status.BROKEN)

    @cached_property
    def moved(self) -> list[ScalePair | WeightPair]:
        """What holds the same cells in another order."""
        return self.of_status(Status.PERMUTED)


def judge(evidence: Evidence) -> tuple[Reason, tuple[Reason, ...]]:
    """(headline, supporting reasons)."""
    headline = _headline(evidence)
    reasons = [r for rule in _SUPPORT for r in rule(evidence) if r.rule != headline.rule]
    return headline, tuple(reasons)


def claimed_alpha(path: Path) -> str | None:
    """The percentile_alpha that a directory name claims (`pa-0.9995`, `m1_w8a8_pa0.9995`), as written."""
    for part in reversed(path.absolute().parts):
        if found := _ALPHA_IN_NAME.search(part):
            return found[1]
    return None


def _headline(e: Evidence) -> Reason:
    different = [p for p in e.scales if p.status is Status.DIFFERENT]
    matched = any(p.a and p.b for p in e.scales) or any(w.a and w.b for w in e.weights)
    if not matched and (e.scales or e.weights):
        return Reason("no-common-roles", "These are two different models: no scale and no tensor has a partner.")
    if _hand_edited(e):
        return next(_copies_disagree(e))
    if not (different or e.structure or e.broken or e.moved or e.changed_weights):
        return _nothing_differs(e)
    if e.structure:
        return _structure(e)
    if e.moved:
        return _reordered(e)
    inferred = next(_alpha(e), None)
    if inferred and all(p.record.alpha_sensitive for p in different) and not e.changed_weights and not e.broken:
        return inferred
    return _several(e, different)


def _nothing_differs(e: Evidence) -> Reason:
    if _same_files(e.a, e.b):
        return Reason("same-file", "A and B are the same file: there is nothing to compare.")
    if not e.weights_compared:
        return Reason(
            "no-difference-read",
            f"No difference in headers and scales. Weights were not compared ({size(e.weight_bytes)}).",
        )
    text = (
        "Identical everywhere: scales, codes and all other tensors. Either one is a copy of the other, or the "
        "second run loaded an existing directory instead of calibrating, or what was changed reaches no tensor."
    )
    return Reason("bit-identical", text)


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
    text = f"The two are built differently (A {e.a.description}; B {e.b.description}): scales and tensors {listed}."
    if points:
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
    text += f", the others differ by up to {percent(max(apart))}." if apart else "."
    if len(points) < len(sorted_pairs):
        text += " Weights are rotated after they are reordered, so their scales and codes differ whatever the cause."
    return Reason("reordered", text)


def _several(e: Evidence, different: list[ScalePair]) -> Reason:
    s = e.summary
    parts = []
    if different:
        parts.append(f"{len(different)} of {s.n_pairs} scales differ ({s.sign_pattern}), by up to {percent(s.largest)}")
    if e.changed_weights:
        parts.append(f"{len(e.changed_weights)} weight tensors differ")
    if e.broken:
        parts.append(f"{len(e.broken)} could not be read")
    text = "; ".join(parts)
    return Reason("several-differences", text[:1].upper() + text[1:] + ".")


def _same_files(a: Format, b: Format) -> bool:
    """Whether both are made of the same files, by device and inode (hard and symbolic links included)."""

    def inodes(f: Format) -> set[tuple[int, ...]]:
        return {file.identity[:2] for file in f.checkpoint.files}

    return inodes(a) == inodes(b)


# --- supporting rules: each yields nothing where it does not apply ---


def _alpha(e: Evidence) -> Iterator[Reason]:
    """What the points say about percentile_alpha, where only points that it makes differ."""
    sensitive, minmax = e.points(True), e.points(False)
    changed = [p for p in sensitive if p.status is Status.DIFFERENT and p.difference]
    if not changed or any(not p.status.counts_as_same for p in minmax):
        return
    if minmax:
        fingerprint = (
            f"All {len(minmax)} min-max points are identical (they sit on a float16 grid of about 0.05-0.1 %), the "
            f"fingerprint of the same calibration data and weights"
        )
    else:
        fingerprint = (
            "There is no min-max point to tell whether the data are the same: alpha and data cannot be separated"
        )
    largest = max(abs(p.difference.largest) for p in changed if p.difference)
    if largest <= REPEAT_BAND_PERCENT:
        yield Reason(
            "repeat-noise",
            f"Only alpha-sensitive points differ ({len(changed)}), by at most {percent(largest)}: no more than a "
            f"repeat of the same run does ({REPEAT_BAND_PERCENT} %). {fingerprint}.",
        )
        return
    directions = {p.difference.direction for p in changed if p.difference}
    if len(directions) == 1 and directions <= {"up", "down"}:
        up = directions == {"up"}
        yield Reason(
            "alpha-signature",
            f"This is what a change of percentile_alpha looks like: only alpha-sensitive points differ "
            f"({len(changed)} of {len(sensitive)}), and all go {'up' if up else 'down'} (B's alpha is the "
            f"{'larger' if up else 'smaller'} one). {fingerprint}.",
        )
        return
    n_up = sum(p.difference is not None and p.difference.direction == "up" for p in changed)
    yield Reason(
        "mixed-signs",
        f"Only alpha-sensitive points differ, but with mixed signs ({n_up} up, {len(changed) - n_up} not). That cannot "
        f"come from alpha alone: a quantile, and its moving average, is monotone in alpha. {fingerprint}, so another "
        f"observer setting differs (sigma, sample order), or a file was edited.",
    )


def _hand_edited(e: Evidence) -> bool:
    """Copies disagree in one model and not in the same places of the other: no convention of a saver."""
    places = [{(c.role, c.copy_key) for c in e.copies if c.model == model} for model in ("A", "B")]
    return places[0] != places[1]


def _copies_disagree(e: Evidence) -> Iterator[Reason]:
    for model in ("A", "B"):
        found = [c for c in e.copies if c.model == model]
        if found:
            c = found[0]
            yield Reason(
                "copies-disagree",
                f"In {model}, {len(found)} stored copies do not agree with the scale they copy, first "
                f"{visible(c.copy_key, 120)} ({c.relation}): expected {number(c.expected)}, found {number(c.found)}. "
                f"The saver writes them from one number: the file is corrupt or was edited by hand.",
            )


def _permuted(e: Evidence) -> Iterator[Reason]:
    pairs = [p for p in e.scales if p.difference is not None and p.difference.sorted_cells]
    if pairs:
        layers = {p.role.partition(".mixer")[0] for p in pairs}
        yield Reason(
            "head-order-differs",
            f"Heads or channels are in another order in {len(layers)} layers (or their base weights differ): equal "
            f"indices are not the same cell, so {len(pairs)} scale tensors were compared sorted, not cell by cell.",
        )


def _data_differ(e: Evidence) -> Iterator[Reason]:
    minmax = [p for p in e.points(False) if p.status is Status.DIFFERENT and p.difference]
    if not minmax:
        return
    largest = max(abs(p.difference.largest) for p in minmax if p.difference)
    sensitive = [p for p in e.points(True) if p.status is Status.DIFFERENT]
    text = (
        f"{len(minmax)} min-max points differ, by up to {percent(largest)}. percentile_alpha cannot reach them: the "
        f"calibration data, the weights or the arithmetic differ."
    )
    if largest <= SAMPLES_BAND_PERCENT[1]:
        text += " Other calibration samples move scales that far."
    if sensitive:
        text += (
            f" The {len(sensitive)} alpha-sensitive points that differ too may owe it to the same cause: alpha and "
            f"data cannot be separated."
        )
    yield Reason("data-differ", text)


def _alpha_unreachable(e: Evidence) -> Iterator[Reason]:
    sensitive = [r for f in (e.a, e.b) for r in f.scales() if r.alpha_sensitive]
    activations = [r for f in (e.a, e.b) for r in f.scales() if r.kind is Kind.ACTIVATION]
    if sensitive or e.a.family != "quamba":
        return
    if not activations:
        why = "there are no activation scales (A16)"
    else:
        why = "with --group_heads Quamba2 makes all of them from running maxima and never reads the flag"
    yield Reason("alpha-is-dead", f"No scale in these files can depend on percentile_alpha: {why}.")


def _claimed(e: Evidence) -> Iterator[Reason]:
    a, b = claimed_alpha(e.a.checkpoint.path), claimed_alpha(e.b.checkpoint.path)
    if a is None or b is None or float(a) == float(b):
        return
    sensitive = e.points(True)
    differing = [p for p in sensitive if p.status is Status.DIFFERENT and p.difference]
    names = f"The directory names claim percentile_alpha {a} and {b}"
    if not differing:
        yield Reason(
            "dead-parameter",
            f"{names}, but no scale that it should reach differs: the setting did not take effect.",
        )
        return
    expected = "up" if float(b) > float(a) else "down"
    against = [p for p in differing if p.difference and p.difference.direction != expected]
    if against:
        yield Reason(
            "claim-contradicted",
            f"{names}; then every alpha-sensitive scale must go {expected}, but {len(against)} of {len(differing)} do "
            f"not.",
        )
    else:
        yield Reason(
            "claim-agrees", f"{names}; all {len(differing)} alpha-sensitive differences go {expected}, as they must."
        )


def _weights(e: Evidence) -> Iterator[Reason]:
    if not e.weights_compared:
        yield Reason("weights-not-compared", f"weights: not compared ({size(e.weight_bytes)}). --codes reads them.")
        return
    changed = e.changed_weights
    if not changed:
        return
    first = changed[0]
    how_many = f", {share(first.n_changed, first.n)} of its elements" if first.n_changed is not None else ""
    text = f"{len(changed)} weight tensors differ, first {visible(first.role, 120)}{how_many}."
    points = e.points(True) + e.points(False)
    if points and all(p.status.counts_as_same for p in points):
        text += (
            " All activation scales are equal: the difference is in the weights' quantizer alone (GPTQ, its data, its "
            "order)."
        )
    elif points and all(p.status.counts_as_same for p in e.points(False)):
        text += " An activation setting such as percentile_alpha cannot do this: something else differs too."
    yield Reason("weights-differ", text)


def _bands(e: Evidence) -> Iterator[Reason]:
    points = e.points(False) + e.points(True)
    apart = [abs(p.difference.largest) for p in points if p.status is Status.DIFFERENT and p.difference]
    if not apart:
        return
    low, high = SAMPLES_BAND_PERCENT
    over = sum(d > high for d in apart)
    repeat = sum(d <= REPEAT_BAND_PERCENT for d in apart)
    yield Reason(
        "noise-bands",
        f"Noise bands ({BAND_ORIGIN}): repeating a run moves a scale by at most {REPEAT_BAND_PERCENT} %, other "
        f"calibration samples by {low}-{high} %. Of the {len(apart)} activation scales that differ here, {repeat} are "
        f"within the first and {over} beyond the second.",
    )
    n = len(points)
    significant = sum(d > SEED_SIGNIFICANT_PERCENT for d in apart)
    tiny = n - sum(d >= SEED_NOT_APPLIED_PERCENT for d in apart)
    yield Reason(
        "rule-of-thumb",
        f"Rule of thumb only (no measurement behind it): over {SEED_SIGNIFICANT_PERCENT:g} % is called significant - "
        f"{significant} of {n} activation scales; under {SEED_NOT_APPLIED_PERCENT:g} % probably not applied - {tiny} "
        f"of {n}.",
    )


_SUPPORT = (_copies_disagree, _alpha, _claimed, _alpha_unreachable, _permuted, _data_differ, _weights, _bands)
