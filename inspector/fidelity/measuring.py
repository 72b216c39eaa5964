"""Measuring all pairs of two checkpoints: pieces go to as many threads as there are cores, numpy works without the
interpreter's lock, and what comes back is added up in order, so that the same files give the same digits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from qinspect.inspector.cores import in_order, n_cores
from qinspect.inspector.errors import NothingInCommon, QinspectError
from qinspect.inspector.fidelity.blocks import UNIT_ELEMENTS, Unit, bytes_of, units_of
from qinspect.inspector.fidelity.norms import Norms
from qinspect.inspector.fidelity.order import Arrange, as_they_come
from qinspect.inspector.fidelity.pairs import Doubt, NotCompared, Why, all_pairs_of
from qinspect.inspector.fidelity.piece import largest_of, measured
from qinspect.inspector.fidelity.recognition import Recognition, Suspect, told_why
from qinspect.inspector.fidelity.results import Fidelity, WeightFidelity
from qinspect.inspector.fidelity.sums import Piece
from qinspect.inspector.fidelity.work import Result, Work, works_of
from qinspect.inspector.formats import Format
from qinspect.inspector.formats.bits import model_bits
from qinspect.inspector.progress import Progress, unseen

T = TypeVar("T")

MOST_WORKERS = 16
"""Each holds about 50 MB: 1 << 20 values of both models and what dequantizing them takes."""
MOST_ELEMENTS = MOST_WORKERS << 20
"""Held by all of them together."""


def measure_fidelity(
    a: Format,
    b: Format,
    progress: Progress = unseen,
    told: Callable[[Result], None] = lambda _: None,
    arrange: Arrange = as_they_come,
    body: Callable[[Work, Unit], Piece] = measured,
    elements: int = UNIT_ELEMENTS,
) -> Fidelity:
    """How far B's values are from A's.

    progress: called with bytes of both, from this thread; it may raise to cancel. told: called with each weight once it
    is known, from this thread too. arrange: in which order they are measured; the result is in A's order. body: what
    measures a piece. elements: of a piece, about. A weight that cannot be read is among `not_compared`, with its
    reason. Raises NothingInCommon where no weight has a partner.
    """
    found = 0

    def tick(n: int) -> None:
        nonlocal found
        found += n
        progress("pairing", found, 0)

    lined_up = all_pairs_of(a, b, tick)
    for other in lined_up.others:
        told(other)
    if not lined_up.pairs and not lined_up.doubts:
        _check_common(lined_up.others, a, b)
    norms = Norms(lined_up.pairs, lined_up.others, a, b)
    works = works_of(a, b, arrange(lined_up.pairs), progress, norms)
    _run(works, progress, told, body, elements)
    again = _again(works, lined_up.doubts, norms, progress)
    _run([w for w in again if isinstance(w, Work)], progress, told, body, elements)
    results = [w.finished() for w in works if w.suspect is None]
    for once_more in again:
        if isinstance(once_more, Work):
            results.append(once_more.finished())
        else:
            told(once_more)
            results.append(once_more)
    results.sort(key=lambda r: lined_up.rank.get(r.role, 0))
    weights = tuple(r for r in results if isinstance(r, WeightFidelity))
    others = (*lined_up.others, *(r for r in results if isinstance(r, NotCompared)))
    if not weights:
        _check_common(others, a, b)
    changed = tuple(dict.fromkeys(str(path) for f in (a, b) for path in f.checkpoint.changed_files()))
    return Fidelity(a, b, weights, others, _bits(b), changed)


def _again(works: Sequence[Work], doubts: Sequence[Doubt], norms: Norms, progress: Progress) -> list[Work | Result]:
    """What is measured once more, with what was done to it undone; and of that in which nothing was found, what is said
    of it."""
    odd: list[tuple[Suspect, Result]] = [(Suspect(d.pair, d.refused), d.refused) for d in doubts]
    odd += [(w.suspect, w.finished()) for w in works if w.suspect is not None]
    if not odd:
        return []
    seen = Recognition([s for s, _ in odd], norms, progress)
    pair = odd[0][0].pair
    undone = works_of(pair.a.fmt, pair.b.fmt, list(seen.undone.values()), progress, norms)
    made = dict(zip(seen.undone, undone, strict=True))
    return [made[i] if i in made else told_why(result, s, seen.why_not.get(i, "")) for i, (s, result) in enumerate(odd)]


def _check_common(others: Sequence[NotCompared], a: Format, b: Format) -> None:
    """Raises NothingInCommon where all that is known of each weight is that it has no partner."""
    if all(o.why in (Why.ONLY_A, Why.ONLY_B, Why.SHAPE) for o in others):
        raise NothingInCommon(
            "no weight of A has a partner of its shape in B", file=b.checkpoint.path,
            expected=f"weights of the model in {a.checkpoint.path}", found=_found(others),
            cure="Give two checkpoints of one model; `qinspect tree` shows what each holds.",
        )  # fmt: skip


def _found(others: Iterable[NotCompared]) -> str:
    shapes = [f"{o.role} ({o.said})" for o in others if o.why is Why.SHAPE]
    names = [o.role for o in others if o.why is Why.ONLY_B]
    said = [f"{len(shapes)} of other shapes, such as {shapes[0]}"] if shapes else []
    said += [f"{len(names)} others, such as {names[0]}"] if names else []
    return "; ".join(said) or "none at all"


def _bits(fmt: Format) -> float | None:
    try:
        return model_bits(fmt).effective
    except QinspectError:
        return None


# --- threads ---


def _run(
    works: list[Work],
    progress: Progress,
    told: Callable[[Result], None],
    body: Callable[[Work, Unit], Piece],
    elements: int,
) -> None:
    total = sum(w.n_bytes for w in works)
    first = [w for w in works if not isinstance(w.grid, str) and w.grid.of_whole]
    total += sum(bytes_of(w.pair.a) for w in first)
    done = 0

    def step(work: Work, unit: Unit, n_bytes: int) -> None:
        nonlocal done
        done += n_bytes * unit.n // max(1, work.pair.n)
        progress("reading weights", done, total)

    n_workers = _n_workers(works, elements)
    stop = threading.Event()
    pool = ThreadPoolExecutor(n_workers, thread_name_prefix="fidelity")
    try:
        for work, unit, most in _in_order(pool, n_workers, stop, first, largest_of, UNIT_ELEMENTS):
            work.largest = max(work.largest, most)
            step(work, unit, bytes_of(work.pair.a))
        before: Work | None = None
        for work, unit, piece in _in_order(pool, n_workers, stop, works, body, elements):
            if before is not None and work is not before:
                _tell(before, told)
            before = work
            work.add(piece)
            step(work, unit, work.n_bytes)
        for work in works:
            new = work.found is None
            work.finished()
            if new:
                _tell(work, told)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _tell(work: Work, told: Callable[[Result], None]) -> None:
    """Of what is not looked at again."""
    result = work.finished()
    if work.suspect is None:
        told(result)


def _n_workers(works: list[Work], elements: int) -> int:
    """As many as there are cores, fewer where pieces are large: an expert is one where a stack is one weight."""
    largest = max((next(units_of(w.pair, w.together, elements)).n for w in works), default=1)
    return max(1, min(MOST_WORKERS, n_cores(), MOST_ELEMENTS // max(1, largest)))


def _in_order(
    pool: ThreadPoolExecutor,
    n_workers: int,
    stop: threading.Event,
    works: list[Work],
    body: Callable[[Work, Unit], T],
    elements: int,
) -> Iterator[tuple[Work, Unit, T]]:
    """What `body` makes of every piece, in order. A pair that cannot be read is marked and left."""

    def call(work: Work, unit: Unit) -> T | None:
        if stop.is_set() or work.error is not None:
            return None
        try:
            return body(work, unit)
        except QinspectError as e:
            work.error = e
            return None

    for (work, unit), made in in_order(pool, call, _all_units(works, elements), 2 * n_workers):
        if made is not None:
            yield work, unit, made


def _all_units(works: list[Work], elements: int) -> Iterator[tuple[Work, Unit]]:
    for work in works:
        for unit in units_of(work.pair, work.together, elements):
            if work.error is not None:
                break
            yield work, unit
