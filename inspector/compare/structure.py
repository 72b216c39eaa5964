"""What is said of two models that cannot be compared number by number: built differently, or quantized otherwise."""

from __future__ import annotations

from qinspect.inspector.compare.content import n_of_same_shape
from qinspect.inspector.compare.evidence import Evidence
from qinspect.inspector.compare.next_steps import reason
from qinspect.inspector.compare.results import Status, WeightPair
from qinspect.inspector.finding import Finding
from qinspect.inspector.text import count, some, visible


def said_of_structure(e: Evidence) -> Finding:
    """The headline where scales or tensors cannot be compared number by number, or have no partner."""
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
    if counts.keys() == {Status.DTYPE}:
        text = (
            f"The same names and shapes, but {some(len(e.structure), 'tensor')} of another dtype, first "
            f"{visible(e.structure[0].role, 120)}; whether the values are the same was not read."
        )
        return reason("other-dtype", text)
    if scheme := _one_quantized(e) or _two_schemes(e):
        return scheme
    listed = ", ".join(f"{n} {words[status]}" for status, n in counts.items())
    if e.a.description == e.b.description:
        text = f"Both are {e.a.description}, but not built alike: of scales and tensors, {listed}"
    else:
        text = f"The two are built differently. A: {e.a.description}. B: {e.b.description}."
        text += f" Of scales and tensors, {listed}"
    text += f", first {visible(e.structure[0].role, 120)}.{_partners_said(e)}"
    if fit := n_of_same_shape(*e.alone):
        text += (
            f" {count(fit)} of the {count(len(e.alone[0]))} tensors without a partner in A and the "
            f"{count(len(e.alone[1]))} in B have the same shapes: perhaps the same under other names."
        )
    return reason("other-structure", text + _points_said(e))


def _points_said(e: Evidence) -> str:
    """` Of 8 activation points in both, 2 are equal.`; "" where there are none, or none can be compared."""
    points = [p for p in e.points(True) + e.points(False) if p.status is not Status.SCHEME]
    same = sum(p.status.counts_as_same for p in points)
    if points and same == len(points):
        return f" All {same} activation points in both are equal: the same calibration."
    return f" Of {len(points)} activation points in both, {same} are equal." if points else ""


def _one_quantized(e: Evidence) -> Finding | None:
    """One model with codes where the other has floats of the same shape, most tensors being in both: None for others,
    and where the plain one has scales."""
    if bool(e.a.weights()) == bool(e.b.weights()):
        return None
    quantized, letter, other = (e.b, "B", "A") if e.b.weights() else (e.a, "A", "B")
    of_quantized = Status.ONLY_B if letter == "B" else Status.ONLY_A
    both = [w for w in e.weights if w.a and w.b]
    stored = [w for w in both if w.status is Status.SCHEME]
    odd = any(w.status in (Status.SHAPE, Status.BROKEN) for w in both)
    odd = odd or any(p.status is not of_quantized for p in e.scales)
    if odd or not stored or len(e.weights) > 2 * len(both) or not all(_in_full(w, e, other) for w in stored):
        return None
    scales = f", with {some(len(e.scales), 'scale')} of its own" if e.scales else ""
    text = (
        f"{letter} stores as codes what {other} stores in full precision: {count(len(stored))} of "
        f"{some(len(both), 'tensor')} in both ({quantized.description}){scales}{_rest_said(both)}.{_partners_said(e)}"
    )
    return reason("one-quantized", text)


def _two_schemes(e: Evidence) -> Finding | None:
    """The same weights as codes of two schemes, most tensors being in both: None for others."""
    both = [w for w in e.weights if w.a and w.b]
    stored = [w for w in both if w.status is Status.SCHEME]
    odd = any(w.status in (Status.SHAPE, Status.BROKEN) for w in both)
    if odd or not stored or len(e.weights) > 2 * len(both) or not (e.a.weights() and e.b.weights()):
        return None
    if e.a.description == e.b.description:
        text = f"Two quantizations, both {e.a.description}, in schemes that differ: "
    else:
        text = f"Two quantizations in other schemes. A: {e.a.description}. B: {e.b.description}. "
    of_both = f"{count(len(stored))} of {some(len(both), 'tensor')} in both"
    text += f"{of_both} {'is' if len(stored) == 1 else 'are'} stored in another scheme{_rest_said(both)}."
    return reason("two-schemes", text + _partners_said(e) + _points_said(e))


def _in_full(w: WeightPair, e: Evidence, model: str) -> bool:
    fmt, name = (e.a, w.a) if model == "A" else (e.b, w.b)
    tensor = fmt.checkpoint.tensor(name or "")
    return tensor is not None and tensor.dtype.is_float and tensor.dtype.bits >= 16


def _rest_said(both: list[WeightPair]) -> str:
    """`; of the others 2 are the same, 5 differ (first lm_head.weight)`, of what is codes in neither."""
    parts = []
    for statuses, one, several in (
        ((Status.IDENTICAL, Status.EQUAL), "is the same", "are the same"),
        ((Status.DIFFERENT,), "differs", "differ"),
        ((Status.NOT_COMPARED, Status.DTYPE), "was not read", "were not read"),
    ):
        if found := [w for w in both if w.status in statuses]:
            first = f" (first {visible(found[0].role, 120)})" if Status.DIFFERENT in statuses else ""
            parts.append(f"{count(len(found))} {one if len(found) == 1 else several}{first}")
    return f"; of the others {', '.join(parts)}" if parts else ""


def _partners_said(e: Evidence) -> str:
    """` 15 of A's 24 tensors and 15 of B's 17 have a partner.`; "" where there are none."""
    of_a, of_b = sum(bool(w.a) for w in e.weights), sum(bool(w.b) for w in e.weights)
    n = sum(bool(w.a and w.b) for w in e.weights)
    if not n:
        return ""
    joined = ", parts of larger ones counted one by one" if any(w.joined for w in e.weights) else ""
    if n == of_a == of_b:
        said = "The only tensor of each has" if n == 1 else f"All {count(n)} tensors of each have"
    else:
        said = f"{count(n)} of A's {some(of_a, 'tensor')} and {count(n)} of B's {count(of_b)} have"
    return f" {said} a partner{joined}."
