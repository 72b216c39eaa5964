"""Two checkpoints side by side: pairs by role, differences with a stated base, and a verdict with named rules.

`compare` does all of it. Percentages are relative to A. What was not read is never called identical. The results are
plain data; what makes them (and numpy) is imported when a comparison starts, because a screen is drawn before that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from qinspect.inspector.collector import collector_resting
from qinspect.inspector.compare.results import (
    Comparison,
    CopyProblem,
    Deviation,
    Difference,
    Effect,
    ScalePair,
    Status,
    Summary,
    WeightPair,
)
from qinspect.inspector.progress import Progress
from qinspect.inspector.rows import Rows, column

if TYPE_CHECKING:
    from qinspect.inspector.compare.equality import Equality
    from qinspect.inspector.compare.items import Item
    from qinspect.inspector.formats import Format, ScaleRecord
    from qinspect.inspector.noise.sources import Sources
    from qinspect.inspector.values.scale_faults import FaultScan

CODES_LIMIT_BYTES = 8_000_000_000
"""Codes and other tensors are compared without asking when A and B together hold less than this."""

FIRST_SCREENFUL = 256
"""Scale pairs that a screen gets before the rest is compared."""


def compare(
    a: Format,
    b: Format,
    codes: bool | None = None,
    progress: Progress | None = None,
    scales_ready: Callable[[list[ScalePair], bool], None] | None = None,
    sources: Sources | Callable[[], Sources] | None = None,
) -> Comparison:
    """Compare B with A.

    codes: whether to read codes and unquantized tensors; None decides by size (CODES_LIMIT_BYTES). Headers and
    scales are always compared. A scale or tensor that cannot be read becomes Status.BROKEN, with its reason.
    scales_ready: called as scales_ready(pairs, complete) with the first screenful of scale pairs, and with all of them
    before codes are read: for a screen that shows them meanwhile.
    sources: what noise bands are made of besides the measured defaults (`qinspect.inspector.noise`), or what finds it,
    which is asked last; left open. Raises BrokenFile where the tables of a run in them are damaged, unless the run was
    only at hand.
    """
    from qinspect.inspector.compare.chance import with_bands
    from qinspect.inspector.compare.copies import check_copies, missing_copies
    from qinspect.inspector.compare.equality import Equality
    from qinspect.inspector.compare.evidence import Evidence
    from qinspect.inspector.compare.summary import summarise
    from qinspect.inspector.compare.unread import unread_alike
    from qinspect.inspector.compare.verdict import judge
    from qinspect.inspector.noise.sources import NOTHING

    equality = Equality(a, b)
    read = a.checkpoint.nbytes + b.checkpoint.nbytes < CODES_LIMIT_BYTES if codes is None else codes
    with collector_resting():
        alike = None if read else unread_alike(a, b)
    weights: Sequence[WeightPair]
    if alike:
        weights, total = alike
        with collector_resting():
            pairs = _compare_scales(a, b, {}, {}, _to_itself(weights), equality, progress, scales_ready)
    else:
        pairs, weights, total = _compare_items(a, b, read, equality, progress, scales_ready)
    copies = check_copies("A", a) + check_copies("B", b) + missing_copies(a, b)
    used = (sources() if callable(sources) else sources) or NOTHING
    noise, pairs = with_bands(a, b, pairs, used, progress)
    summary = summarise(pairs)
    evidence = Evidence(a, b, pairs, weights, copies, summary, read, total, noise)
    headline, reasons, effect = judge(evidence)
    notes = tuple(f"{model}: {note}" for model, f in (("A", a), ("B", b)) for note in (*f.checkpoint.notes, *f.notes()))
    return Comparison(
        a, b, pairs, weights, tuple(copies), summary, headline, reasons, notes, read, total, noise, effect
    )


def _to_itself(weights: Sequence[WeightPair]) -> dict[str, str]:
    roles = column(weights, "role")
    return dict(zip(roles, roles, strict=True))


def _compare_items(
    a: Format,
    b: Format,
    read: bool,
    equality: Equality,
    progress: Progress | None,
    scales_ready: Callable[[list[ScalePair], bool], None] | None,
) -> tuple[Sequence[ScalePair], Sequence[WeightPair], int]:
    """Compare scales, and one by one what is stored beside them; and the bytes of that, A and B."""
    from qinspect.inspector.compare.items import weight_bytes, weight_items
    from qinspect.inspector.compare.parts import in_parts
    from qinspect.inspector.compare.weights import compare_weights, partners_of

    with collector_resting():
        items_a, items_b = in_parts(weight_items(a), weight_items(b))
    total = weight_bytes(a, items_a) + weight_bytes(b, items_b)
    done = 0

    def tick(n: int) -> None:
        nonlocal done
        done += n
        if progress:
            progress("weights", done, total)

    partner = partners_of(items_a, items_b, equality, read, tick)
    with collector_resting():
        pairs = _compare_scales(a, b, items_a, items_b, partner, equality, progress, scales_ready)
    with nullcontext() if read else collector_resting():
        weights = compare_weights(a, b, items_a, items_b, partner, equality, read, tick)
    return pairs, weights, total


def _compare_scales(
    a: Format,
    b: Format,
    items_a: Mapping[str, Item],
    items_b: Mapping[str, Item],
    of_weights: Mapping[str, str],
    equality: Equality,
    progress: Progress | None,
    scales_ready: Callable[[list[ScalePair], bool], None] | None,
) -> Sequence[ScalePair]:
    """items_a, items_b: the tensors beside the scales, in the parts that pair. of_weights: A's role to B's of these."""
    from qinspect.inspector.compare.sweep import Sweep, compare_shared, shared_records
    from qinspect.inspector.values.scale_faults import FaultScan

    faults = FaultScan()
    if (shared := shared_records(a, b)) is None:
        pairs: Rows[ScalePair] | list[ScalePair]
        pairs = _compare_records(a, b, items_a, items_b, of_weights, equality, faults, progress, scales_ready)
    else:
        pairs = compare_shared(
            Sweep(shared, a, b, equality, faults),
            lambda done: progress("scales", done, len(shared)) if progress else None,
            FIRST_SCREENFUL,
            lambda found: scales_ready(list(found[:FIRST_SCREENFUL]), False) if scales_ready else None,
        )
    pairs = _with_faults(pairs, faults)
    if scales_ready:
        scales_ready(list(pairs), True)
    return pairs


def _with_faults(pairs: Rows[ScalePair] | list[ScalePair], faults: FaultScan) -> Rows[ScalePair] | list[ScalePair]:
    """The pairs, those with numbers that no scale should be with what these are."""
    found = faults.found()
    faulty = {}
    for order in {order for order, _ in found}:
        of_a = found.get((order, "A"))
        of_b = of_a if pairs[order].status is Status.IDENTICAL else found.get((order, "B"))
        faulty[order] = replace(pairs[order], faults_a=of_a, faults_b=of_b)
    if isinstance(pairs, Rows):
        return pairs.with_own(faulty)
    return [faulty.get(order, pair) for order, pair in enumerate(pairs)] if faulty else pairs


def _compare_records(
    a: Format,
    b: Format,
    items_a: Mapping[str, Item],
    items_b: Mapping[str, Item],
    of_weights: Mapping[str, str],
    equality: Equality,
    faults: FaultScan,
    progress: Progress | None,
    scales_ready: Callable[[list[ScalePair], bool], None] | None,
) -> list[ScalePair]:
    """Pair the records of two models by role, and compare them. As `_compare_scales`."""
    from operator import attrgetter

    from qinspect.inspector.compare import joined
    from qinspect.inspector.compare.ahead import read_ahead
    from qinspect.inspector.compare.content import module_names, pair_by_module
    from qinspect.inspector.compare.pairing import by_unique_role, line_up, partners
    from qinspect.inspector.compare.scales import compare_scale, compare_values
    from qinspect.inspector.compare.ties import said_tied, with_heads

    records_a = by_unique_role(a.scales(), attrgetter("role"), attrgetter("key"))
    records_b = by_unique_role(b.scales(), attrgetter("role"), attrgetter("key"))
    (records_a, cuts_a), (records_b, cuts_b) = (
        joined.in_parts(records_a, items_a, records_b),
        joined.in_parts(records_b, items_b, records_a),
    )

    def partner_of(a: Mapping[str, ScaleRecord], b: Mapping[str, ScaleRecord]) -> Mapping[str, str]:
        partner = partners(a, b, attrgetter("key"))
        if len(partner) < len(a) and (names := module_names(of_weights.items())):
            taken = set(partner.values())
            partner |= pair_by_module((r for r in a if r not in partner), [r for r in b if r not in taken], names)
        return partner

    pairs: list[ScalePair] = []
    matched, tied = with_heads(line_up((records_a, records_b), partner_of), items_a, items_b, records_a, records_b)
    ahead = read_ahead(matched, 0, a, b, faults)
    for order, (role, (ra, rb)) in enumerate(matched):
        if progress and order % 64 == 0:
            progress("scales", order, len(matched))
        if order == ahead.stop:
            ahead = read_ahead(matched, order, a, b, faults)
        cut = cuts_a.get(role), cuts_b.get(role)
        if ra and rb and any(cut):
            pair = joined.compare_joined(role, order, (ra, rb), (a, b), cut, equality, faults)
        elif order in ahead.same:
            pair = ScalePair(role, order, ra, rb, Status.IDENTICAL)
        elif order in ahead.apart and ra and rb:
            pair = compare_values(role, order, ra, rb, ahead.apart[order], faults)
        else:
            pair = compare_scale(role, order, ra, rb, a, b, equality, faults)
        if role in tied:
            pair = said_tied(pair, tied[role])
        if pair.status in (Status.ONLY_A, Status.ONLY_B) and role.partition("#")[0] in (records_b if ra else records_a):
            note = f"a part of the {'A' if ra else 'B'} scheme that the other does not have"
            pair = replace(pair, status=Status.SCHEME, note=note)
        pairs.append(pair)
        if scales_ready and len(pairs) == FIRST_SCREENFUL < len(matched):
            scales_ready(list(pairs), False)
    return pairs


__all__ = [
    "Comparison",
    "CopyProblem",
    "Deviation",
    "Difference",
    "Effect",
    "Progress",
    "ScalePair",
    "Status",
    "Summary",
    "WeightPair",
    "compare",
]
