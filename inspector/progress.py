"""How work of some length tells how far it is, and how it is told to stop: said once, for every subject.

Whoever works calls between pieces; whoever waits may raise in the call (a closed screen, escape), which ends the work
there: a call may raise at any time, and what is being written is written whole or not at all. Nothing is returned, and
no call is certain: work that is over at once may report nothing.

`done` of `total` are counted in the unit of the work, such as bytes, tensors or points; they are shown as a share, and
units are not told. A total of 0 is one that is not known yet.
"""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""progress(phase, done, total). phase: what is being done, for people: `reading scales`."""

Steps = Callable[[int, int], None]
"""steps(done, total): of work that is one phase to whoever asked for it, who has its name."""


def steps_of(progress: Progress, phase: str) -> Steps:
    """What the work of one phase reports to."""
    return lambda done, total: progress(phase, done, total)


def unseen(_phase: str, _done: int, _total: int) -> None:
    """A `Progress` that nobody looks at."""


def untold(_done: int, _total: int) -> None:
    """Steps that nobody looks at."""
