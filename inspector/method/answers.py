"""Which method made each weight of a checkpoint, by the model that it was made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from qinspect.inspector.errors import QinspectError, UsageError
from qinspect.inspector.fidelity.pairs import NotCompared, Pair, pairs_of
from qinspect.inspector.formats import Format
from qinspect.inspector.formats.records import ScaleRecord
from qinspect.inspector.method.evidence import Evidence, Numbers, measure
from qinspect.inspector.method.inverse import Inverse, inverses
from qinspect.inspector.method.judge import Judged, Method, judge
from qinspect.inspector.method.plainly import judge_plain
from qinspect.inspector.method.sampling import sample_of, scale_records
from qinspect.inspector.progress import Progress, steps_of
from qinspect.inspector.text import some


@dataclass(frozen=True, slots=True)
class WeightMethod:
    """What is known of one weight. element: of its codes, its dtype where it is stored plainly. shape: [out, in].
    evidence: None of what is stored plainly, and where it was not looked at."""

    role: str
    name: str
    element: str
    shape: tuple[int, ...]
    judged: Judged
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class Methods:
    """base, checkpoint: as they were opened. inverses: what took the inverse of the factors of channels."""

    base: Format
    checkpoint: Format
    weights: Sequence[WeightMethod]
    not_compared: Sequence[NotCompared]
    inverses: Sequence[Inverse]

    @property
    def counts(self) -> list[tuple[Method, int]]:
        """How many weights each method made, the most first."""
        return counted(self.weights)


def counted(weights: Iterable[WeightMethod]) -> list[tuple[Method, int]]:
    """How many of these each method made, the most first."""
    return Counter(w.judged.method for w in weights).most_common()


def methods_of(base: Format, checkpoint: Format, progress: Progress) -> Methods:
    """Raises UsageError where the base is quantized itself, or no weight of it is in the checkpoint."""
    if base.weights():
        raise UsageError(
            "the base is quantized itself", file=base.checkpoint.path, expected="the model that was quantized",
            found=base.description, cure="Give the model in full precision as --base.",
        )  # fmt: skip
    tick = steps_of(progress, "finding partners")
    pairs, others = pairs_of(base, checkpoint, lambda n: tick(n, 0))
    if not pairs:
        raise UsageError(
            "no weight of the checkpoint has a partner in the base", file=checkpoint.checkpoint.path,
            found=f"{some(len(others), 'weight')} without one", cure="Give the model that it was made of as --base.",
        )  # fmt: skip
    records = scale_records(checkpoint)
    step = steps_of(progress, "looking at codes")
    weights = []
    for done, pair in enumerate(pairs):
        step(done, len(pairs))
        weights.append(method_of(pair, records))
    return Methods(base, checkpoint, weights, others, tuple(inverses(_factors(weights), pairs)))


def method_of(pair: Pair, records: dict[str, ScaleRecord]) -> WeightMethod:
    """Of one weight. records: of the scales of the checkpoint, by role."""
    weight = pair.b.weight
    if weight is None:
        return WeightMethod(pair.role, pair.b.name, pair.b.form[0].name, pair.shape, judge_plain(pair))
    evidence, judged = None, _NOT_LOOKED_AT
    try:
        sample = sample_of(pair, records)
    except QinspectError as e:
        judged = Judged(Method.NOT_KNOWN, str(e))
    else:
        evidence = measure(sample) if sample else None
        judged = judge(evidence) if evidence else judged
    name = f"{weight.element.name}{' rotated' * (weight.rotation is not None)}"
    return WeightMethod(pair.role, pair.b.name, name, pair.shape, judged, evidence)


_NOT_LOOKED_AT = Judged(Method.NOT_KNOWN, "which values share a scale is not known, or a code alone is no number")


def _factors(weights: Sequence[WeightMethod]) -> Iterator[tuple[str, Numbers]]:
    """(role, factor of each input channel) of the weights that have one."""
    for w in weights:
        if w.judged.method is Method.SMOOTHED and w.evidence and w.evidence.factors:
            yield w.role, w.evidence.factors.columns
