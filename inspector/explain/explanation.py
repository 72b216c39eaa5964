"""The whole answer about a pair: what was declared, what it can reach, what reacted, whether it is real, what next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.compare import Comparison
from qinspect.inspector.explain.claims import Claim, claims
from qinspect.inspector.explain.reach import ACTIVATIONS, PERCENTILES, PlaceFinding, Reacted, places, reacted
from qinspect.inspector.explain.settings import ALPHA, DeclaredSetting, differing_settings
from qinspect.inspector.finding import Finding
from qinspect.inspector.progress import Progress
from qinspect.inspector.text import some


@dataclass(frozen=True)
class Explanation:
    """answer: the verdict. settings: declared differences, each with what reacted to it (None where its reach is not
    known). claims: about the alphas of A and B. places: activation scales by their place in a layer. activations: of
    all of them. alpha: of those that percentile_alpha can reach. rivals: names of other settings that are declared to
    differ and reach the same scales. runs: names of the calibrations that were asked. next: what to do now, sentences.
    """

    comparison: Comparison
    answer: Finding
    settings: tuple[tuple[DeclaredSetting, Reacted | None], ...]
    claims: tuple[Claim, ...]
    places: tuple[PlaceFinding, ...]
    activations: Reacted
    alpha: Reacted
    rivals: tuple[str, ...]
    runs: tuple[str, ...]
    next: tuple[str, ...]


def explain(
    c: Comparison,
    runs: Mapping[str, Calibration] | None = None,
    progress: Progress | None = None,
    named: bool = True,
) -> Explanation:
    """Everything that can be said of a comparison. runs: by name, calibrations that are asked which alpha made each
    model; left open. named: somebody gave them, so raises what asking them raises; one that was at hand may be of
    neither model, or of one."""
    runs = runs or {}
    settings = tuple(
        (s, None if s.reach is None else reacted(c, s.reach)) for s in differing_settings(c.a, c.b)
    )  # fmt: skip
    checked = claims(c.a, c.b, tuple(runs.values()), progress, named)
    if all(claim.verdict is None and claim.holds is None for claim in checked):
        runs = {}
    rivals = _rivals(c, settings)
    answer = c.effect.reason if c.effect else c.headline
    activations, alpha = reacted(c, ACTIVATIONS), reacted(c, PERCENTILES)
    found = Explanation(c, answer, settings, checked, places(c), activations, alpha, rivals, tuple(runs), ())
    return replace(found, next=tuple(_next(found)))


def _rivals(c: Comparison, settings: Sequence[tuple[DeclaredSetting, Reacted | None]]) -> tuple[str, ...]:
    """Settings beside alpha that may have moved the scales that alpha reaches."""
    if c.effect is None or not c.effect.n_changed:
        return ()
    sensitive = [p for p in c.scales if PERCENTILES.has(p)]
    return tuple(
        s.name
        for s, _ in settings
        if s.name != ALPHA and s.reach and not s.reach.by_rounding and any(s.reach.has(p) for p in sensitive)
    )


def _next(e: Explanation) -> list[str]:
    """The next experiment worth making, the most telling first."""
    c = e.comparison
    steps = []
    if e.rivals:
        they = "differs too and reaches" if len(e.rivals) == 1 else "differ too and reach"
        steps.append(f"Change one setting at a time: {_listed(e.rivals)} {they} the same scales.")
    contradicted = [claim.model for claim in e.claims if claim.holds is False]
    if contradicted:
        how = "was made: its scales come from another alpha than it is" if len(contradicted) == 1 else (
            "were made: their scales come from other alphas than they are"
        )  # fmt: skip
        steps.append(
            f"Find out how {_listed(contradicted)} {how} said to have. "
            f"A run that loads an existing directory keeps the old scales; `qinspect logs` on its log says so."
        )
    if c.next:
        steps.append(c.next)
    changes = c.effect is not None and c.effect.n_changed
    if changes and not e.runs:
        steps.append("`qinspect explain A B --run RUN`, with a calibration of the base model, checks each alpha.")
    if changes and e.runs and not contradicted:
        run = shlex.quote(e.runs[0])
        steps.append(f"`qinspect alpha {run}` shows what every other alpha would have given, without another pass.")
    return list(dict.fromkeys(steps))


def alpha_said(e: Explanation) -> str:
    """What percentile_alpha can reach, and what it cannot, a sentence or two."""
    n_all, n_fixed = e.activations.n, sum(p.n for p in e.places if p.alpha_sensitive is False)
    if not n_all:
        return f"{ALPHA} can reach nothing: there are no activation scales in both."
    unknown = n_all - n_fixed - sum(p.n for p in e.places if p.alpha_sensitive)
    if unknown == n_all:
        them = "the only activation scale" if n_all == 1 else f"the {some(n_all, 'activation scale')}"
        return (
            f"What made {them} the format does not say, nor whether {ALPHA} can reach {'it' if n_all == 1 else 'them'}."
        )
    said = f"{ALPHA} can reach {e.alpha.n or 'none'} of {some(n_all, 'activation scale')}"
    if e.alpha.n and n_fixed:
        are = "one is a running maximum" if n_fixed == 1 else f"{n_fixed} are running maxima"
        said += f"; {are}, which no alpha moves"
    if unknown:
        said += f"; for {unknown} the format does not say what made {'it' if unknown == 1 else 'them'}"
    return f"{said}."


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 2 else names)
