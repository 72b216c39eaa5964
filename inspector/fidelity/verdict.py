"""What it cost, in a sentence: what an expert would say who has read the table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median

from qinspect.inspector.fidelity.measures import loss_of
from qinspect.inspector.fidelity.pairs import Why
from qinspect.inspector.fidelity.results import Fidelity, WeightFidelity
from qinspect.inspector.fidelity.summary import Summary, grouped, summary_of
from qinspect.inspector.fidelity.undoing import What
from qinspect.inspector.text import count, differ, first_clause, magnitude, some, visible

AS_GOOD_DB = 0.1
"""A kind of weights whose loss against rounding to nearest is no more is as good."""
OUTLIER_DB = 3.0
"""A weight that lies so far below the median of its kind, or of all, stands out."""
ROUNDING_DB = 120.0
"""An error of 1e-6: what calculating in float32 leaves."""
CHANNEL_SHARE = 0.2
"""A channel with at least this share of the error of a weight with many is named."""
MOST_NAMED = 3
"""Kinds of untouched matrices."""
RTN = "round-to-nearest with max scales"


def sentence(found: Fidelity) -> str:
    """`NVFP4 W4A4: 14 quantized weights, mean SQNR 21.19 dB; ...`."""
    return "; ".join(part for part in (_unrelated(found), _measured(found)) if part)


def _unrelated(found: Fidelity) -> str:
    """What proves that B was not made from A, or not as it stands."""
    odd = [o for o in found.not_compared if o.why is Why.UNRELATED]
    if not odd:
        return ""
    n = len(odd) + sum(len(w.shape) > 1 for w in found.weights)
    return (
        f"{count(len(odd))} of {some(n, 'matrix', 'matrices')} of A and B do not go together, first "
        f"{visible(odd[0].role, 120)}: {odd[0].said}"
    )


def _measured(found: Fidelity) -> str:
    counted = found.counted
    s = summary_of(counted)
    what = "quantized weight" if any(w.quantized for w in counted) else "weight"
    if not counted:
        return f"no weight could be measured{_why_none(found)}"
    if s.n_exact == s.n:
        text = f"every value of {some(s.n, what)} is equal"
        return "; ".join(p for p in (text, _undone(found), _others(found)) if p)
    worst = f", worst {s.worst.sums.sqnr:.2f} dB in {visible(s.worst.role, 120)}" if s.worst and s.n > 1 else ""
    mean = "no SQNR" if s.mean is None else f"{'mean ' if s.n_sqnr > 1 else ''}SQNR {s.mean:.2f} dB"
    parts = [f"{some(s.n, what)}: {mean} (error {magnitude(100 * s.relative)} of all their values together){worst}"]
    if s.n_exact:
        parts.append(f"{count(s.n_exact)} of them equal")
    if s.zeros:
        parts.append(f"{count(len(s.zeros))} of them zero in A and not in B, first {visible(s.zeros[0].role, 120)}")
    parts += [p for p in (_against_nearest(counted, s), *_outliers(counted), _multiplied(counted), _undone(found)) if p]
    parts += [p for p in (_others(found),) if p]
    return "; ".join(parts)


def _why_none(found: Fidelity) -> str:
    """`: 17 rotated (B is rotated (Hadamard), A is not known to be)`: the reason that most have."""
    if not found.not_compared:
        return ""
    why, n = Counter(o.why for o in found.not_compared).most_common(1)[0]
    said = next(o.said for o in found.not_compared if o.why is why)
    return f": {count(n)} {why} ({visible(said, 120)})"


def _against_nearest(weights: Sequence[WeightFidelity], s: Summary) -> str:
    if s.loss is None:
        return ""
    losses = _losses(weights)
    good = [kind for kind, loss in losses.items() if loss <= AS_GOOD_DB]
    better = f"{against_nearest(s.loss)} on the mean"
    better += "" if s.n_nearest == s.n else f" of {some(s.n_nearest, 'weight')}"
    if len(good) == len(losses):
        return f"{better}, no kind worse by more than {AS_GOOD_DB} dB"
    worst = max(losses, key=losses.__getitem__)
    most = f"{visible(worst, 80)} loses {losses[worst]:.2f} dB"
    if not good:
        return f"{better}, no kind within {AS_GOOD_DB} dB of it, {most}"
    return f"{better}: {len(good)} of {some(len(losses), 'kind')} within {AS_GOOD_DB} dB of it or better, {most}"


def _losses(weights: Sequence[WeightFidelity]) -> dict[str, float]:
    """By kind, the mean loss against rounding to nearest in dB, of weights for which it is known."""
    kinds = grouped([w for w in weights if loss_of(w) is not None], "kind")
    return {kind: summary_of(of_kind).loss or 0.0 for kind, of_kind in kinds.items()}


def against_nearest(loss: float) -> str:
    """`0.77 dB better than round-to-nearest with max scales`."""
    size = f"{abs(loss):.2f}"
    return f"as {RTN}" if size == "0.00" else f"{size} dB {'better' if loss < 0 else 'worse'} than {RTN}"


def _outliers(weights: Sequence[WeightFidelity]) -> list[str]:
    """Weights that are far worse than the others of their kind, or where these are few, than all; among those that are
    stored alike: that 4 bits lose more than 8 is no news."""
    stored: dict[tuple[str, int], list[WeightFidelity]] = {}
    for w in weights:
        if math.isfinite(w.sums.sqnr) and not w.factors:
            stored.setdefault((w.stored_b, len(w.shape)), []).append(w)
    found = []
    for (_, n_axes), lossy in stored.items():
        for of_kind in grouped(lossy, "kind").values():
            peers = of_kind if len(of_kind) > 2 or n_axes < 2 else lossy
            if len(peers) < 3:
                continue
            usual = median(w.sums.sqnr for w in peers)
            found += [(usual - w.sums.sqnr, w) for w in of_kind if usual - w.sums.sqnr >= OUTLIER_DB]
    found.sort(key=lambda pair: -pair[0])
    said = [f"{visible(w.role, 120)} is {under:.1f} dB below its neighbours{_channels(w)}" for under, w in found[:2]]
    if len(found) > 2:
        said.append(f"so {'is' if len(found) == 3 else 'are'} {count(len(found) - 2)} more")
    return said


def _multiplied(weights: Sequence[WeightFidelity]) -> str:
    """Of the weights whose channels have factors."""
    found = [w for w in weights if w.factors]
    if not found:
        return ""
    have = "has" if len(found) == 1 else "have"
    return (
        f"{some(len(found), 'weight')} {have} channels that were multiplied (as smoothing does), which these numbers "
        "count as error"
    )


_UNDONE = {
    What.NORM: "norms that went into the weights behind them ({n})",
    What.ROTATION: "Hadamard rotations ({n})",
    What.ORDER: "other orders of rows or columns ({n})",
    What.FACTORS: "factors that one weight takes and the next gives back ({n})",
    What.PADDING: "padding ({n})",
    What.TIED: "a tied head ({n})",
}


def _undone(found: Fidelity) -> str:
    """What was done to the weights and is in none of the numbers."""
    counts = {
        what: sum(any(u.what is what for u in w.undone) for w in found.weights if len(w.shape) > 1) for what in What
    }
    said = [_UNDONE[what].format(n=some(n, "weight")) for what, n in counts.items() if n]
    return f"undone before comparing: {', '.join(said)}" if said else ""


def _channels(w: WeightFidelity) -> str:
    """` (channels 118 and 412 have 93 % of the error)`."""
    if w.n_channels < 16:
        return ""
    most = [c for c in w.channels if c.share >= CHANNEL_SHARE]
    if not most:
        return ""
    named = " and ".join(str(c.where[0]) for c in most)
    of_error = f"{100 * sum(c.share for c in most):.0f} % of the error"
    return f" (channel{'s' if len(most) > 1 else ''} {named} {'have' if len(most) > 1 else 'has'} {of_error})"


def _others(found: Fidelity) -> str:
    """Of the weights beside the quantized ones."""
    counted = {id(w) for w in found.counted}
    others = [w for w in found.weights if id(w) not in counted and not w.undone]
    if not others:
        return ""
    changed = [w for w in others if not w.sums.exact and not w.sums.sqnr >= ROUNDING_DB]
    if not changed:
        rounded = sum(not w.sums.exact for w in others)
        within = f", {count(rounded)} of them but for the rounding of float32" if rounded else ""
        return f"the {some(len(others), 'other')} untouched{within}"
    first = min(changed, key=lambda w: w.order)
    verb = differ(len(changed))
    return f"{count(len(changed))} of {some(len(others), 'other')} {verb}, most {visible(first.role, 120)}"


def answer(found: Fidelity) -> str:
    """The same in a line, the most telling first: `B IS A IN NVFP4 W4A4: 0.77 dB better than round-to-nearest with max
    scales ...; mean SQNR 21.19 dB, worst 21.10 in ...; lm_head, embed_tokens and 5 vectors untouched`."""
    unrelated = _unrelated(found)
    n_unrelated = sum(o.why is Why.UNRELATED for o in found.not_compared)
    if n_unrelated > sum(len(w.shape) > 1 for w in found.weights):
        return f"B IS NOT MADE OF A AS IT STANDS: {unrelated}"
    counted = found.counted
    s = summary_of(counted)
    if not any(w.quantized for w in counted) or s.n_sqnr == 0:
        return ""
    scheme = first_clause(found.b.description)
    head = f"B IS A IN {scheme}" if not any(w.quantized_a for w in counted) else f"B ({scheme}) AGAINST A"
    outliers = _outliers(counted)
    mean = f"{'mean ' if s.n_sqnr > 1 else ''}SQNR {s.mean:.2f} dB"
    if s.worst is not None and s.n > 1 and not outliers:
        mean += f", worst {s.worst.sums.sqnr:.2f} in {visible(s.worst.role, 120)}"
    parts = [
        unrelated,
        _kinds_as_good(counted, s),
        *outliers,
        mean,
        _multiplied(counted),
        _undone(found),
        _untouched(found),
    ]
    return f"{head}: {'; '.join(p for p in parts if p)}"


def _kinds_as_good(weights: Sequence[WeightFidelity], s: Summary) -> str:
    """`7 of 8 kinds as good as round-to-nearest with max scales, within 0.1 dB; down_proj loses 0.42 dB`."""
    losses = _losses(weights)
    if s.loss is None or not losses:
        return ""
    good = sum(loss <= AS_GOOD_DB for loss in losses.values())
    if good == len(losses):
        if s.loss < -AS_GOOD_DB:
            return f"{against_nearest(s.loss)} on the mean, no kind worse by more than {AS_GOOD_DB} dB"
        every = "every kind" if len(losses) > 1 else "its one kind"
        return f"{every} as good as {RTN}, within {AS_GOOD_DB} dB"
    worst = max(losses, key=losses.__getitem__)
    most = f"{visible(worst, 80)} loses {losses[worst]:.2f} dB against it"
    if not good:
        return f"{against_nearest(s.loss)} on the mean, {most}"
    return f"{good} of {some(len(losses), 'kind')} as good as {RTN}, within {AS_GOOD_DB} dB; {most}"


def _untouched(found: Fidelity) -> str:
    """Of what is not quantized: matrices by their kinds, vectors by their number; what differs, where it does."""
    counted = {id(w) for w in found.counted}
    others = [w for w in found.weights if id(w) not in counted]
    equal = [w for w in others if w.sums.exact or w.sums.sqnr >= ROUNDING_DB]
    if not others:
        return ""
    if len(equal) < len(others):
        return _others(found)
    matrices = grouped([w for w in equal if len(w.shape) > 1], "kind")
    named = [visible(kind.removesuffix(".weight"), 60) for kind in matrices]
    if len(named) > MOST_NAMED:
        named[MOST_NAMED:] = [f"{count(len(named) - MOST_NAMED)} kinds more"]
    n_vectors = sum(len(w.shape) < 2 for w in equal)
    named += [some(n_vectors, "vector")] if n_vectors else []
    return f"{_listed(named)} untouched"


def _listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
