"""Weights that do not go with the originals as they stand: what was done to them is found as `fidelity` finds it, and
where it can be undone they are judged by the originals that it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.fidelity.norms import Norms
from qinspect.inspector.fidelity.pairs import Doubt, NotCompared, Pair, Why
from qinspect.inspector.fidelity.recognition import Recognition, Suspect
from qinspect.inspector.fidelity.relation import moved
from qinspect.inspector.method.evidence import Sample
from qinspect.inspector.method.judge import Judged, Method
from qinspect.inspector.progress import Progress

Numbers = NDArray[Any]

_EXPLAINED = (
    Method.NEAREST, Method.LARGER, Method.SEARCHED, Method.FOUR_OVER_SIX, Method.FITTED_ZEROS, Method.LOW_RANK,
    Method.TWICE, Method.NOT_KNOWN,
)  # fmt: skip
"""Of a weight in codes: then nothing was done to it besides."""


def suspect_of_codes(pair: Pair, sample: Sample, judged: Judged, norms: Norms) -> Suspect | None:
    """A weight in codes to which something may have been done before it was quantized; None where nothing speaks for
    that. What smoothing put into it is a method, and stays one."""
    if judged.method in _EXPLAINED or pair.undoing is not None:
        return None
    x, y = np.nan_to_num(sample.original), np.nan_to_num(sample.values)
    rows, columns = (np.stack([(p * q).sum(axis=axis) for p, q in ((x, x), (x, y), (y, y))]) for axis in (1, 0))
    elsewhere = moved(rows)
    if elsewhere.size > 1 or moved(columns).size > 1:
        return Suspect(pair, rows=tuple(int(i) for i in sample.places[elsewhere]))
    norm = norms.in_columns(pair, columns)
    if norm is None or (judged.method is Method.SMOOTHED and not norm.folded):
        return None
    return Suspect(pair, norm=norm)


def suspect_of_plain(pair: Pair, judged: Judged) -> Suspect | None:
    """The same of a weight that is stored plainly."""
    if judged.method is not Method.CHANGED or pair.n < 2:
        return None
    return Suspect(pair, as_is=bool(pair.only_equal))


def brought_over(
    suspects: Sequence[Suspect], doubts: Sequence[Doubt], norms: Norms, progress: Progress
) -> tuple[list[Pair], dict[str, Judged], list[NotCompared]]:
    """What can be undone; of what cannot, what is said of it by its role; and what has no partner after all.

    Vectors are looked at only beside matrices: alone they show nothing. Pairs are given with what is undone.
    """
    matrices = [s for s in suspects if len(s.pair.shape) > 1]
    if not matrices and not doubts:
        return [], {}, []
    all_of = [*(Suspect(d.pair, d.refused) for d in doubts), *suspects]
    seen = Recognition(all_of, norms, progress)
    said: dict[str, Judged] = {}
    left: list[NotCompared] = []
    for i, s in enumerate(all_of):
        why = seen.why_not.get(i, "")
        if i in seen.undone:
            continue
        another_space = s.refused is not None and s.refused.why in _IN_ANOTHER_SPACE and s.pair.fit is None
        if s.refused is not None and not (another_space and s.pair.quantized):
            left.append(replace(s.refused, said=f"{s.refused.said}; {why}" if why else s.refused.said))
        elif s.refused is not None:
            said[s.pair.role] = Judged(Method.NOT_JUDGED, f"{s.refused.said}; {why}" if why else s.refused.said)
        elif why and s.pair.quantized:
            said[s.pair.role] = Judged(Method.NOT_JUDGED, why)
    return list(seen.undone.values()), said, left


_IN_ANOTHER_SPACE = (Why.ROTATED, Why.PERMUTED)


def undone_said(pair: Pair) -> str:
    """What was done to a weight and undone, for people; "" where nothing was."""
    return "; ".join(fact.said for fact in pair.undoing.facts) if pair.undoing else ""
