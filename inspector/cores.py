"""How many cores there are for this program, and work on all of them whose results come in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar, TypeVarTuple

Job = TypeVarTuple("Job")
T = TypeVar("T")


def n_cores() -> int:
    """Cores that this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    pool: Executor, call: Callable[[*Job], T], jobs: Iterable[tuple[*Job]], most: int
) -> Iterator[tuple[tuple[*Job], T]]:
    """Each job with what `call` makes of it, in the order of the jobs. most: how many are begun, or wait to
    be taken, when one is given."""
    waiting: deque[tuple[tuple[*Job], Future[T]]] = deque()
    for job in jobs:
        waiting.append((job, pool.submit(call, *job)))
        if len(waiting) > most:
            oldest, future = waiting.popleft()
            yield oldest, future.result()
    while waiting:  # taken out, so that what is done with is let go
        oldest, future = waiting.popleft()
        yield oldest, future.result()
