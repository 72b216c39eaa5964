"""What to say before a run is started: things that are no error, and that one would rather know now."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qinspect.inspector.runs import logind
from qinspect.inspector.runs.gpus import Gpu, GpuSample
from qinspect.inspector.runs.spec import RunSpec

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class LiveRun:
    """Another run that goes on: how to call it, and its spec."""

    label: str
    spec: RunSpec


def warnings_for(spec: RunSpec, live: Sequence[LiveRun], gpus: GpuSample, survival: logind.Survival) -> list[str]:
    """Sentences about what may go wrong. gpus: what they do now."""
    said = [survival.warning] if survival.warning else []
    mine = devices(spec.variable(VISIBLE), gpus.gpus)
    named: set[str] = set()
    for other in live:
        shared = overlap(mine, devices(other.spec.variable(VISIBLE), gpus.gpus))
        if shared is None or (not shared and not gpus.gpus):
            continue  # nothing in common, or both may use any GPU of a host that has none
        which = f"GPU {', '.join(sorted(shared))}" if shared else "any GPU"
        named.update(shared)
        said.append(f"run {other.label} is still running and may use {which} too ({VISIBLE})")
    said += _busy(mine, gpus.gpus)
    return said


def devices(value: str | None, gpus: Sequence[Gpu]) -> frozenset[str] | None:
    """GPUs that a value of CUDA_VISIBLE_DEVICES lets through, by index where it is known; None: all of them."""
    if value is None:
        return None
    made = set()
    for word in (w.strip() for w in value.split(",")):
        if not word or word == "-1":
            break  # CUDA looks no further
        made.add(next((str(g.index) for g in gpus if word.startswith("GPU-") and g.uuid.startswith(word)), word))
    return frozenset(made)


def overlap(a: frozenset[str] | None, b: frozenset[str] | None) -> frozenset[str] | None:
    """GPUs that both may use; None: there are none; empty: both may use any."""
    if a is None or b is None:
        both = a if b is None else b
        return frozenset() if both is None else (both or None)
    return (a & b) or None


def _busy(mine: frozenset[str] | None, gpus: Iterable[Gpu]) -> list[str]:
    """What already runs on the GPUs that the run may use."""
    said = []
    for g in gpus:
        others = [p for p in g.processes if p.pid != os.getpid()]
        if not others or (mine is not None and str(g.index) not in mine):
            continue
        listed = ", ".join(f"{p.name or 'process'} {p.pid}" for p in others[:3])
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        said.append(f"GPU {g.index} is in use by {listed}{more}")
    return said
