"""Which method made each weight of a checkpoint, by the model that it was made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

from qinspect.inspector.cores import n_cores
from qinspect.inspector.errors import QinspectError, UsageError
from qinspect.inspector.fidelity.norms import Layer, Norms, layer_of
from qinspect.inspector.fidelity.pairs import Doubt, Found, NotCompared, Pair, all_pairs_of
from qinspect.inspector.fidelity.recognition import Suspect
from qinspect.inspector.fidelity.undoing import Undone
from qinspect.inspector.formats import Format
from qinspect.inspector.formats.records import ScaleRecord
from qinspect.inspector.method.again import brought_over, suspect_of_codes, suspect_of_plain, undone_said
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
    evidence: None of what is stored plainly, and where it was not looked at. undone: what was done to it before, and
    done to the original before it was judged."""

    role: str
    name: str
    element: str
    shape: tuple[int, ...]
    judged: Judged
    evidence: Evidence | None = None
    undone: tuple[Undone, ...] = ()


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
    lined_up = all_pairs_of(base, checkpoint, lambda n: tick(n, 0))
    if not lined_up.pairs and not lined_up.doubts:
        raise UsageError(
            "no weight of the checkpoint has a partner in the base", file=checkpoint.checkpoint.path,
            found=f"{some(len(lined_up.others), 'weight')} without one",
            cure="Give the model that it was made of as --base.",
        )  # fmt: skip
    look = Look(base, checkpoint, lined_up)
    step = steps_of(progress, "looking at codes")
    look.at_all(lined_up.pairs, lambda done: step(done, len(lined_up.pairs)))
    look.again(lined_up.pairs, lined_up.doubts, progress)
    rank = lined_up.rank
    weights = sorted(look.weights.values(), key=lambda w: rank.get(w.role, 0))
    others = [*lined_up.others, *look.left]
    return Methods(base, checkpoint, weights, others, tuple(inverses(_factors(weights), lined_up.pairs)))


_MOST_WORKERS = 4
"""Each holds about 150 MB: two million values, and what is calculated of them."""


class Look:
    """What is found of the weights of two models, one after the other. weights: by role. left: what has no method."""

    def __init__(self, base: Format, checkpoint: Format, lined_up: Found) -> None:
        self.weights: dict[str, WeightMethod] = {}
        self.left: list[NotCompared] = []
        self._lined_up = lined_up
        self._norms = Norms(lined_up.pairs, lined_up.others, base, checkpoint)
        self._records = scale_records(checkpoint)
        self._suspects: dict[str, Suspect] = {}

    def at(self, pair: Pair) -> None:
        """Judge a pair as it stands."""
        self._take(*_looked_at(pair, self._records, self._norms))

    def at_all(self, pairs: Sequence[Pair], step: Callable[[int], None]) -> None:
        """The same of several, on a few cores: numpy works without the interpreter's lock. step: called with how many
        are done; it may raise."""
        pool = ThreadPoolExecutor(max(1, min(_MOST_WORKERS, n_cores())), thread_name_prefix="methods")
        try:
            found = pool.map(lambda pair: _looked_at(pair, self._records, self._norms), pairs)
            for done, (weight, suspect) in enumerate(found):
                step(done)
                self._take(weight, suspect)
        finally:
            pool.shutdown(cancel_futures=True)

    def _take(self, found: WeightMethod, suspect: Suspect | None) -> None:
        self.weights[found.role] = found
        if suspect is not None:
            self._suspects[found.role] = suspect

    def again(self, pairs: Iterable[Pair], doubts: Sequence[Doubt], progress: Progress) -> None:
        """Judge what was not explained of these, with what was done to it undone where that is found."""
        suspects = [self._suspects[p.role] for p in pairs if p.role in self._suspects]
        undone, said, left = brought_over(suspects, doubts, self._norms, progress)
        self.left += left
        for pair in undone:
            found, _ = _looked_at(pair, self._records, self._norms)
            assert pair.undoing is not None
            pair.undoing.drop()
            if pair.role not in self.weights or found.judged.method is not Method.UNRELATED:
                self.weights[pair.role] = found
        partners = {s.pair.role: s.pair for s in suspects} | {d.pair.role: d.pair for d in doubts}
        for role, judged in said.items():
            before = self.weights.get(role)
            if before is None:
                self.weights[role] = _of(partners[role], judged)
            elif before.judged.method in (Method.UNRELATED, Method.NONE):
                self.weights[role] = replace(before, judged=judged)

    def of_role(self, role: str, progress: Progress) -> dict[str, WeightMethod]:
        """Of one weight, as `methods_of` has it; with those of its layer, where something was done to them. {} of what
        is no weight of both."""
        if role not in self.weights:
            pair = self._pairs.get(role)
            if pair is not None:
                self.at(pair)
            if role in self._suspects or role in self._doubts:
                return self._of_layer(layer_of(role), progress)
        return {role: self.weights[role]} if role in self.weights else {}

    def _of_layer(self, layer: Layer, progress: Progress) -> dict[str, WeightMethod]:
        pairs = [p for p in self._lined_up.pairs if layer_of(p.role) == layer]
        for pair in pairs:
            if pair.role not in self.weights:
                self.at(pair)
        doubts = [d for d in self._lined_up.doubts if layer_of(d.pair.role) == layer]
        self.again(pairs, doubts, progress)
        roles = [*(p.role for p in pairs), *(d.pair.role for d in doubts)]
        return {role: self.weights[role] for role in roles if role in self.weights}

    @cached_property
    def _pairs(self) -> dict[str, Pair]:
        return {p.role: p for p in self._lined_up.pairs}

    @cached_property
    def _doubts(self) -> set[str]:
        return {d.pair.role for d in self._lined_up.doubts}


def _of(pair: Pair, judged: Judged, evidence: Evidence | None = None) -> WeightMethod:
    weight = pair.b.weight
    element = pair.b.form[0].name
    if weight is not None:
        element = f"{weight.element.name}{' rotated' * (weight.rotation is not None)}"
    facts = pair.undoing.facts if pair.undoing else ()
    if facts:
        judged = replace(
            judged, said=f"{undone_said(pair)}; with that undone {judged.said}" if weight else undone_said(pair)
        )
    return WeightMethod(pair.role, pair.b.name, element, pair.shape, judged, evidence, facts)


def _looked_at(pair: Pair, records: dict[str, ScaleRecord], norms: Norms) -> tuple[WeightMethod, Suspect | None]:
    """A weight, and what speaks for something that was done to it. records: of the checkpoint's scales, by role."""
    if pair.b.weight is None:
        judged = judge_plain(pair)
        return _of(pair, judged), suspect_of_plain(pair, judged)
    try:
        sample = sample_of(pair, records)
        evidence = measure(sample) if sample else None
    except QinspectError as e:
        return _of(pair, Judged(Method.NOT_KNOWN, str(e))), None
    if sample is None or evidence is None:
        return _of(pair, _NOT_LOOKED_AT), None
    judged = judge(evidence)
    return _of(pair, judged, evidence), suspect_of_codes(pair, sample, judged, norms)


_NOT_LOOKED_AT = Judged(Method.NOT_KNOWN, "which values share a scale is not known, or a code alone is no number")


def _factors(weights: Sequence[WeightMethod]) -> Iterator[tuple[str, Numbers]]:
    """(role, factor of each input channel) of the weights that have one."""
    for w in weights:
        if w.judged.method is Method.SMOOTHED and w.evidence and w.evidence.factors:
            yield w.role, w.evidence.factors.columns
