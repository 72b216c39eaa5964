"""From a comparison to sentences, as an expert would reason, each with the name of its rule.

The rules rest on how Quamba calibrates (docs/verdict.md): percentile points are EMAs of quantiles, monotone in
alpha on equal inputs; the other points are running maxima, which alpha cannot reach, so that bit-identical min-max
points are the fingerprint of equal calibration data and weights.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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

    def weight_scales(self) -> list[ScalePair]:
        """Pairs of weight scales."""
        return [p for p in self.scales if p.a and p.b and p.a.kind is Kind.WEIGHT]

    @property
    def changed_weights(self) -> list[WeightPair]:
        """Codes and tensors whose bytes differ."""
        return [w for w in self.weights if w.status is Status.DIFFERENT]

    @property
    def structure(self) -> list[ScalePair | WeightPair]:
        """What cannot be compared number by number, or has no partner."""
        odd = (Status.ONLY_A, Status.ONLY_B, Status.SHAPE, Status.SCHEME)
        return [p for p in (*self.scales, *self.weights) if p.status in odd]


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
    matched = [p for p in e.scales if p.a and p.b] or [w for w in e.weights if w.a and w.b]
    if not matched and (e.scales or e.weights):
        return Reason("no-common-roles", "These are two different models: no scale and no weight has a partner.")
    if e.summary.n_different == 0 and not e.structure and not _broken(e) and not e.changed_weights and not _moved(e):
        return _nothing_differs(e)
    if different and not e.structure:
        sensitive, minmax = e.points(True), e.points(False)
        changed = [p for p in sensitive if p.status is Status.DIFFERENT]
        moved_minmax = [p for p in minmax if not p.status.counts_as_same]
        if (
            changed
            and len(changed) == len([p for p in different if p.record.kind is Kind.ACTIVATION])
            and not moved_minmax
        ):
            return _only_sensitive(e, changed, minmax)
    if e.structure:
        return _structure(e)
    if _moved(e):
        return _reordered(e)
    return _several(e, different)


def _nothing_differs(e: Evidence) -> Reason:
    if not e.weights_compared:
        return Reason(
            "no-difference-read",
            f"No difference in headers and scales. Weights were not compared ({size(e.weight_bytes)}).",
        )
    if _same_file(e.a.checkpoint.path, e.b.checkpoint.path):
        return Reason("same-file", "A and B are the same file.")
    text = (
        "Bit-identical everywhere: scales, codes and all other tensors. Either one is a copy of the other, or the "
        "second run loaded an existing directory instead of calibrating, or what was changed reaches no tensor."
    )
    return Reason("bit-identical", text)


def _only_sensitive(e: Evidence, changed: list[ScalePair], minmax: list[ScalePair]) -> Reason:
    directions = {p.difference.direction for p in changed if p.difference}
    identical = sum(p.status is Status.IDENTICAL for p in minmax)
    fingerprint = f"All {identical} min-max points are bit-identical, so the calibration data and the weights they saw are the same"
    if not minmax:
        fingerprint = (
            "There is no min-max point to tell whether the data are the same, so alpha and data cannot be separated"
        )
    if len(directions) == 1 and directions <= {"up", "down"}:
        up = directions == {"up"}
        text = (
            f"This is what a change of percentile_alpha looks like: only alpha-sensitive points differ "
            f"({len(changed)}), and all go {'up' if up else 'down'} "
            f"(B's alpha is the {'larger' if up else 'smaller'} one). {fingerprint}."
        )
        return Reason("alpha-signature", text)
    up_n = sum(p.difference is not None and p.difference.direction == "up" for p in changed)
    text = (
        f"Only alpha-sensitive points differ, but with mixed signs ({up_n} up, {len(changed) - up_n} down or mixed). "
        f"That cannot come from alpha alone: a quantile, and its moving average, is monotone in alpha. {fingerprint}, "
        f"so another observer setting differs (sigma, sample order) or a file was edited."
    )
    return Reason("mixed-signs", text)


def _structure(e: Evidence) -> Reason:
    counts: dict[Status, int] = {}
    for p in e.structure:
        counts[p.status] = counts.get(p.status, 0) + 1
    listed = ", ".join(f"{n} {status}" for status, n in counts.items())
    points = e.points(True) + e.points(False)
    same = sum(p.status.counts_as_same for p in points)
    text = f"The two are built differently ({e.a.description} against {e.b.description}): {listed}."
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
    if moved := _moved(e):
        parts.append(f"{len(moved)} tensors hold the same heads or channels in another order")
    if broken := _broken(e):
        parts.append(f"{len(broken)} could not be read")
    return Reason("several-differences", "; ".join(parts)[:1].upper() + "; ".join(parts)[1:] + ".")


def _broken(e: Evidence) -> list[ScalePair | WeightPair]:
    return [p for p in (*e.scales, *e.weights) if p.status is Status.BROKEN]


def _moved(e: Evidence) -> list[ScalePair | WeightPair]:
    return [p for p in (*e.scales, *e.weights) if p.status is Status.PERMUTED]


def _same_file(a: Path, b: Path) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


# --- supporting rules: each yields nothing where it does not apply ---


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
    if sensitive:
        text += f" The {len(sensitive)} alpha-sensitive points that differ too may owe it to the same cause: alpha and data cannot be separated."
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
            f"{names}; then every alpha-sensitive scale must go {expected}, but {len(against)} of {len(differing)} do not.",
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
        text += " All activation scales are equal: the difference is in the weights' quantizer (GPTQ, its data, its order) alone."
    elif points and all(p.status.counts_as_same for p in e.points(False)):
        text += " An activation setting such as percentile_alpha cannot do this: something else differs too."
    yield Reason("weights-differ", text)


def _bands(e: Evidence) -> Iterator[Reason]:
    n = e.summary.n_pairs
    different = [abs(p.difference.largest) for p in e.scales if p.status is Status.DIFFERENT and p.difference]
    if not different or not e.points(False) + e.points(True):
        return
    low, high = SAMPLES_BAND_PERCENT
    over = sum(d > high for d in different)
    repeat = sum(d <= REPEAT_BAND_PERCENT for d in different)
    yield Reason(
        "noise-bands",
        f"Measured bands ({BAND_ORIGIN}): repeating a run moves a scale by at most {REPEAT_BAND_PERCENT} %, other "
        f"calibration samples by {low}-{high} %. Here {repeat} of {len(different)} differences are within the first, "
        f"{over} beyond the second.",
    )
    significant = sum(d > SEED_SIGNIFICANT_PERCENT for d in different)
    tiny = n - sum(d >= SEED_NOT_APPLIED_PERCENT for d in different)
    yield Reason(
        "rule-of-thumb",
        f"Rule of thumb only (no measurement behind it): over {SEED_SIGNIFICANT_PERCENT:g} % is called significant - "
        f"{significant} of {n} scales; under {SEED_NOT_APPLIED_PERCENT:g} % probably not applied - {tiny} of {n}.",
    )


_SUPPORT = (_copies_disagree, _claimed, _alpha_unreachable, _permuted, _data_differ, _weights, _bands)
