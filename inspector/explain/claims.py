"""A declared alpha against the distributions that a calibration stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qinspect.inspector.alpha.recover.agreement import Interval
from qinspect.inspector.alpha.recover.answers import whence
from qinspect.inspector.alpha.recover.recovery import Recovery, bounds, recovery_of
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format
from qinspect.inspector.noise.sources import gives
from qinspect.inspector.progress import Progress
from qinspect.inspector.provenance import Declared, declared_alpha, several_alphas, several_said

NAME_ROUNDING = 5e-6
"""Quamba-SE writes alpha into the name of a folder in five decimals: `pa-1` may have been 0.999996."""
FLOAT32_STEP = 2**-24
"""Of the numbers just below 1: torch and Quamba take alpha as a float32."""
_BY_TABLES = ("recovered", "ambiguous", "most-points", "min-max", "no-alpha")
"""Verdicts that need no draws of other samples."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said of a model's alpha, and what a run says of it. model: `A` or `B`. verdict: None where no run could
    be asked, or none had to be. holds: whether the alpha that was declared is among those found, None where either is
    missing. several: where the provenance declares more than one alpha, which; they hold if a run gives every scale at
    its own."""

    model: str
    declared: Declared | None
    verdict: Recovery | None
    holds: bool | None
    several: str = ""


def claims(
    a: Format, b: Format, runs: Sequence[Calibration], progress: Progress | None = None, named: bool = True
) -> tuple[Claim, ...]:
    """Of A and of B, by the run that says most of it. Where none can be asked about a model: raises what asking raises
    if the runs were named, else nothing is known of it."""
    return tuple(claim_of(model, fmt, runs, progress, named) for model, fmt in (("A", a), ("B", b)))


def claim_of(
    model: str, fmt: Format, runs: Sequence[Calibration], progress: Progress | None = None, named: bool = True
) -> Claim:
    """The same of one model."""
    if (several := several_alphas(fmt)) and any(_gives(run, fmt, several) for run in runs):
        return Claim(model, None, None, True, several_said(several))
    declared = declared_alpha(fmt)
    found: list[Recovery] = []
    failed: QinspectError | None = None
    for run in runs:
        try:
            found.append(_asked(run, fmt, f"alpha of {model}", progress))
        except QinspectError as e:
            failed = e
    if failed is not None and not found and named:
        raise failed
    verdict = min(found, key=_rank, default=None)
    return Claim(model, declared, verdict, _holds(declared, verdict), several_said(several) if several else "")


def _asked(run: Calibration, fmt: Format, what: str, progress: Progress | None) -> Recovery:
    def tick(done: int, total: int) -> None:
        if progress:
            progress(what, done, total)

    verdict = recovery_of(whence(run, fmt, tick, chance=False))
    return verdict if verdict.kind in _BY_TABLES else recovery_of(whence(run, fmt, tick))


def _gives(run: Calibration, fmt: Format, alphas: Mapping[str, float]) -> bool:
    """Whether a run gives the scale of every point that has an alpha, to the bit."""
    records = {r.role: r for r in fmt.scales() if r.role in alphas}
    if records.keys() != alphas.keys() or any(n not in run.points for n in alphas):
        return False
    return all(gives(run, n, alphas[n], np.asarray(fmt.values(r), np.float32)) for n, r in records.items())


def _rank(v: Recovery) -> int:
    order = ("recovered", "most-points", "ambiguous", "min-max", "no-alpha", "other-order", "other-data", "no-rule")
    return order.index(v.kind)


def _holds(declared: Declared | None, verdict: Recovery | None) -> bool | None:
    if declared is None or verdict is None or verdict.interval is None:
        return None
    room = FLOAT32_STEP + (NAME_ROUNDING if declared.where == "directory name" else 0.0)
    return declared.value in Interval(verdict.interval.low - room, verdict.interval.high + room)


def said(c: Claim) -> str:
    """The claim and what became of it, a sentence."""
    who = f"{c.model} is said to have alpha {c.declared.text} ({c.declared.where})" if c.declared else (
        f"Nothing says which alpha {c.model} was made with"
    )  # fmt: skip
    if c.several:
        who = f"{c.model} is said to have {c.several}, each point its own (provenance)"
        if c.holds:
            return f"{who}; the run gives each of its scales at its alpha, to the bit: the claim holds."
    if c.verdict is None:
        return f"{who}."
    if c.verdict.interval is None:
        return f"{who}. {c.verdict.text}"
    found = f"its scales say {bounds(c.verdict.interval)}, by the rule {c.verdict.rule}"
    if c.holds is None:
        return f"{who}; {found}."
    return f"{who}; {found}: {'the claim holds' if c.holds else 'the claim does not hold'}."
