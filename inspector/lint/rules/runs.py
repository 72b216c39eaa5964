"""What shows only beside a calibration: whether the declared alpha made the scales, and what they clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qinspect.inspector.alpha.recover.answers import refuse_another_model
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.distribution.quantization import coverage
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.explain.claims import said
from qinspect.inspector.finding import Severity
from qinspect.inspector.formats import Kind, Quantity, ScaleRecord
from qinspect.inspector.formats.element import ElementKind
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.observers.rule import Ema
from qinspect.inspector.provenance import declared_alpha, effective_alphas
from qinspect.inspector.roles import strip_root
from qinspect.inspector.rows import where
from qinspect.inspector.text import count, some, visible


@rule(
    "P04", "alpha-excluded", Severity.WARNING, Needs.RUN, Needs.SCALARS,
    why="The scales of a checkpoint say which alpha made them, give or take the noise of its samples. Where that "
    "leaves out the alpha that is declared, the checkpoint is not what it is called.",
    next="`qinspect whence CHECKPOINT --run RUN` has the evidence; correct the name, or calibrate again.",
)  # fmt: skip
def alpha_excluded(subject: Subject, limits: Limits) -> Checked:
    """The alphas that give the scales of the checkpoint, by a calibration of its model, leave out the declared one."""
    claim = subject.claim
    verdict = claim.verdict
    found: tuple[Found, ...] = ()
    if claim.holds is False:
        found = (Found(said(claim)),)
    elif verdict is not None and verdict.wide:
        found = (Found(said(claim), severity=Severity.NOTE, next=verdict.cure or None),)
    asked = claim.holds is not None or (verdict is not None and verdict.interval is not None)
    return Checked(1 if asked else 0, "claim", found)


@dataclass(frozen=True, slots=True)
class _Clipped:
    """share: of the values of the run whose codes saturate. expected: 1 - alpha; 0 of a maximum."""

    role: str
    scale: float
    share: float
    expected: float | None


@rule(
    "P05", "clipped-inputs", Severity.WARNING, Needs.RUN, Needs.SCALARS,
    why="Values beyond the largest code are all taken for it. A percentile clips about 1 - alpha of them on the "
    "samples that it was made of; far more says that these activations are larger than those of the calibration, or "
    "that the scale is wrong.",
    threads=("TensorRT#2757",),
    next="Calibrate on data as the model sees it, or with a larger alpha; `qinspect alpha RUN` shows what each clips.",
    # Moving averages over samples whose loudness differs by a third clip up to 10 times 1 - alpha on the samples that
    # they are of (Student's t, alpha 0.9999).
    times=20.0, least=0.001,
)  # fmt: skip
def clipped_inputs(subject: Subject, limits: Limits) -> Checked:
    """Of the activations of the run, far more saturate at the stored scale than 1 - alpha."""
    run = subject.run
    assert run is not None
    records = _scales_of_points(subject, run)
    clipped = list(_clipped(subject, run, records))
    wrong = [c for c in clipped if c.share > max(limits["least"], limits["times"] * (c.expected or 0.0))]
    found: tuple[Found, ...] = ()
    if wrong:
        worst = max(wrong, key=lambda c: c.share)
        clip = "clips" if len(wrong) == 1 else "clip"
        text = (
            f"{count(len(wrong))} of {some(len(clipped), 'activation scale')} {clip} far more of the run's values than "
            f"expected, worst {visible(worst.role, 120)}: {worst.share:.3%}{_expected(worst)}."
        )
        places = tuple(Place(c.role, f"{c.share:.3%} clipped{_expected(c)}", (), c.scale, c.share) for c in wrong)
        found = (Found(text, places, {"scales": len(wrong), "of": len(clipped), "worst": worst.share}),)
    n_left = len(records) - len(clipped)
    return Checked(len(clipped), "activation scale", found, n_left, "they are no integers of one scale" * (n_left > 0))


def _expected(c: _Clipped) -> str:
    if c.expected is None:
        return ""
    return f", expected about {c.expected:.3%}" if c.expected else ", expected none: it is a maximum"


def _scales_of_points(subject: Subject, run: Calibration) -> list[ScaleRecord]:
    """Raises UnknownKey for a run of another model."""
    records = where(subject.fmt.scales(), lambda r: r.kind is Kind.ACTIVATION and r.quantity is Quantity.SCALE)
    refuse_another_model(run, subject.fmt, records)
    return [r for r in records if r.role in run]


def _clipped(subject: Subject, run: Calibration, records: list[ScaleRecord]) -> Iterator[_Clipped]:
    alphas = {strip_root(n): a for n, a in effective_alphas(subject.fmt).items()}
    declared = declared_alpha(subject.fmt)
    steps = subject.steps("reading distributions")
    for done, r in enumerate(records):
        if steps:
            steps(done, len(records))
        bits = r.element.bits
        if r.element.kind is not ElementKind.INTEGER or not r.element.symmetric or not 2 <= bits <= 16:
            continue
        try:
            stored = np.asarray(subject.fmt.values(r), np.float32).reshape(-1)
            table = run.pooled(r.role)
        except QinspectError:
            continue
        if stored.size != 1 or not (np.isfinite(stored[0]) and stored[0] > 0) or not table.n:
            continue
        alpha = alphas.get(strip_root(r.role), declared.value if declared else None)
        expected = 0.0 if r.alpha_sensitive is False else None if alpha is None else 1 - alpha
        yield _Clipped(r.role, float(stored[0]), 1 - float(coverage(table, stored, bits)[0]), expected)


@rule(
    "P06", "first-sample-decides", Severity.WARNING, Needs.RUN,
    why="A moving average begins at the first sample and forgets it slowly: with a constant of 0.01, 28 % of it are "
    "left after 128 samples. Another order of the same samples gives another scale.",
    threads=("ONE#3047",),
    next="Calibrate with more samples, or with a rule that takes all alike: `qinspect alpha RUN --rule pooled`.",
    weight=0.1,
)  # fmt: skip
def first_sample_decides(subject: Subject, limits: Limits) -> Checked:
    """The first sample of the run has a large part in scales that are moving averages."""
    run = subject.run
    assert run is not None
    weights = {r.role: w for r in _scales_of_points(subject, run) if (w := _first_weight(run, r)) is not None}
    wrong = {role: w for role, w in weights.items() if w > limits["weight"]}
    found: tuple[Found, ...] = ()
    if wrong:
        role, worst = max(wrong.items(), key=lambda kept: kept[1])
        text = (
            f"the first of {some(run.n_samples(role), 'sample')} has {worst:.0%} of the weight in {count(len(wrong))} "
            f"of {some(len(weights), 'moving average')}."
        )
        places = tuple(Place(r, f"{w:.1%} from the first sample", weight=w) for r, w in wrong.items())
        found = (Found(text, places, {"weight": worst, "scales": len(wrong)}),)
    return Checked(len(weights), "scale", found)


def _first_weight(run: Calibration, record: ScaleRecord) -> float | None:
    """Which part the first sample has in a moving average; None of another rule, or where samples are not known."""
    if record.alpha_sensitive is not True:
        return None
    reducer = run.applied(record.role, 0.5).rule.reducer
    n = run.n_samples(record.role)
    return (1 - reducer.sigma) ** (n - 1) if isinstance(reducer, Ema) and n else None


RULES = (alpha_excluded, clipped_inputs, first_sample_decides)
