"""What an evaluation found: of each model its figures, with intervals, and what may be concluded. No torch in here: who
reads a stored evaluation has none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from qinspect.inspector.evaluate.intervals import Estimate, Floats, draws, estimate
from qinspect.inspector.significance import LEVEL, holm

if TYPE_CHECKING:
    from qinspect.inspector.evaluate.answers import TaskFigures
    from qinspect.inspector.evaluate.best import Best
    from qinspect.inspector.evaluate.tokens import TokenFigures

QUANTILES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
BUCKETS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Of the reference's confidence: its largest probability."""
STRETCHES = 8
"""Parts of a window, by position, that a curve has."""


class Answer(StrEnum):
    """What the perplexities say."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    UNRESOLVED = "not separable"
    EQUAL = "equal"
    """Every logit is that of the reference."""


@dataclass(frozen=True, slots=True)
class Part:
    """A bucket of confidence, or a stretch of positions: from and to, its tokens, and their mean KL divergence."""

    start: float
    stop: float
    n: int
    kl: float


@dataclass(frozen=True)
class ModelFigures:
    """Of one model against the reference.

    name, described: of the candidate. nbytes, bits_per_weight: None where that is not known. n_points: activations that
    were rounded; n_caches: of these, keys or values of a layer's KV cache. left_out: what was not simulated. n,
    n_not_finite: tokens that were predicted, and those of them where a logit of either is no number, which no figure
    counts. ln_ratio: of perplexities, the model's over the reference's. kl_quantiles, shift_quantiles: by QUANTILES.
    buckets: by confidence; stretches: by position.
    """

    name: str
    described: str
    nbytes: int | None
    bits_per_weight: float | None
    n_points: int
    left_out: tuple[str, ...]
    n: int
    n_not_finite: int
    perplexity_reference: float
    perplexity: float
    ln_ratio: Estimate
    kl: Estimate
    kl_back: Estimate
    kl_max: float
    kl_quantiles: Mapping[float, float]
    accuracy_reference: Estimate
    accuracy: Estimate
    same_top: Estimate
    shared_top: Estimate
    shift: Estimate
    shift_rms: float
    shift_quantiles: Mapping[float, float]
    buckets: tuple[Part, ...]
    stretches: tuple[Part, ...]
    answer: Answer
    margin: float
    n_caches: int = 0
    bits_per_byte_reference: float = math.nan
    bits_per_byte: float = math.nan


@dataclass(frozen=True, slots=True)
class Against:
    """One candidate against the first of them, on the same tokens.

    scales_percent: the largest difference of a scale, None where they are not of one calibration. accuracy: how much
    more often it predicts the right token, in percentage points. ln_ratio: of the perplexities. robust: whether the
    whole interval of accuracy lies within the margin, in points.
    """

    name: str
    scales_percent: float | None
    accuracy: Estimate
    ln_ratio: Estimate
    margin: float

    @property
    def robust(self) -> bool:
        """Whether accuracy is the same within the margin."""
        return self.accuracy.within(self.margin)


@dataclass(frozen=True, slots=True)
class Floor:
    """What rounding noise alone does: the reference with noise of half a step of bfloat16 added behind every block.

    seeds, n_windows: how often, on how many. kl, ln_ratio, same_top: means over the seeds; the largest of them in
    kl_most and ratio_most. batch: how many windows shared a forward when the reference was held against itself in
    another batch, 0 where it was not; batch_kl, batch_ratio, batch_same_top: what that alone does.
    """

    seeds: int
    n_windows: int
    kl: float
    kl_most: float
    ratio_most: float
    same_top: float
    batch: int = 0
    batch_kl: float = math.nan
    batch_ratio: float = math.nan
    batch_same_top: float = math.nan


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """A candidate that does not fit the reference, and why."""

    name: str
    problem: str


@dataclass(frozen=True, slots=True)
class Answered:
    """One model's items of a task by one metric, against the reference's. n: items. Shares of right ones; their
    difference and its interval in percentage points. n_only_reference, n_only_model: right in that one alone, None
    where they are not paired; p: McNemar's."""

    metric: str
    n: int
    share: float
    share_reference: float
    points: float
    low: float
    high: float
    n_only_reference: int | None
    n_only_model: int | None
    p: float


@dataclass(frozen=True)
class EngineFigures:
    """A checkpoint as a library runs it. engine: the library with its version. modules: how many modules of which class
    hold weights of which dtype; dequantized: whether all are floating point. figures: against the reference. between:
    the library against the executor, whose perplexity is `perplexity_reference` there."""

    name: str
    engine: str
    modules: Mapping[str, int]
    dequantized: bool
    figures: ModelFigures
    between: ModelFigures


@dataclass(frozen=True)
class Evaluation:
    """n_tokens: that are predicted. samples: where they come from, as JSON. floor: None where none was asked for.
    against: the candidates but the first, against it. failed: those that do not fit. tasks: of each model, each
    file of items. engines: of checkpoints that a library ran too, engines_failed: those that it did not run.
    engine_control: KL of the reference through the library, None where that is not known.
    best: of three models or more, where the text has documents enough to choose and to test."""

    reference: str
    n_windows: int
    n_tokens: int
    samples: Mapping[str, object]
    floor: Floor | None
    models: tuple[ModelFigures, ...]
    against: tuple[Against, ...]
    failed: tuple[NotMeasured, ...]
    warnings: tuple[str, ...]
    tasks: tuple[TaskFigures, ...] = ()
    engines: tuple[EngineFigures, ...] = ()
    engines_failed: tuple[NotMeasured, ...] = ()
    engine_control: float | None = None
    best: Best | None = None


def compared(
    names: Sequence[str], tokens: Sequence[TokenFigures], n_windows: int, margin: float, seed: int, gap: Floats | None
) -> tuple[Against, ...]:
    """Each candidate but the first against it, by the tokens that are finite in both. gap: of scales, in percent."""
    times = draws(n_windows, seed)
    made = []
    for i in range(1, len(names)):
        first, other = tokens[0], tokens[i]
        ok = first.finite & other.finite
        window = first.window[ok]
        accuracy = estimate(100 * (other.right - first.right)[ok], window, times)
        ratio = estimate((other.nll - first.nll)[ok], window, times)
        percent = None if gap is None or math.isnan(gap[i]) or math.isnan(gap[0]) else float(gap[i])
        made.append(Against(names[i], percent, accuracy, ratio, margin))
    return tuple(made)


def model_figures(found: TokenFigures, n_windows: int, margin: float, seed: int, **of_model: object) -> ModelFigures:
    """All figures of a model's tokens. of_model: the fields that are not of tokens."""
    ok = found.finite
    window, position = found.window[ok], found.position[ok]
    times = draws(n_windows, seed)

    def mean(values: Floats) -> Estimate:
        return estimate(values[ok], window, times)

    kl, shift = found.kl[ok], found.shift[ok]
    ratio = mean(found.nll - found.nll_reference)
    return ModelFigures(
        n=int(ok.size),
        n_not_finite=int((~ok).sum()),
        perplexity_reference=_exp_mean(found.nll_reference[ok]),
        perplexity=_exp_mean(found.nll[ok]),
        ln_ratio=ratio,
        kl=mean(found.kl),
        kl_back=mean(found.kl_back),
        kl_max=float(kl.max()) if kl.size else math.nan,
        kl_quantiles=_quantiles(kl),
        accuracy_reference=mean(found.right_reference),
        accuracy=mean(found.right),
        same_top=mean(found.same_top),
        shared_top=mean(found.shared_top),
        shift=mean(found.shift),
        shift_rms=float(np.sqrt((shift**2).mean())) if shift.size else math.nan,
        shift_quantiles=_quantiles(shift),
        buckets=_parts(found.confidence[ok], kl, np.array(BUCKETS)),
        stretches=_parts(position.astype(float), kl, np.linspace(0, float(position.max(initial=0)) + 1, STRETCHES + 1)),
        answer=_answer(ratio, kl, margin),
        margin=margin,
        **of_model,  # type: ignore[arg-type]
    )


def with_bits_per_byte(m: ModelFigures, found: TokenFigures, n_bytes: Floats | None) -> ModelFigures:
    """n_bytes: of text that each token stands for, None where that is not known."""
    ok = found.finite
    if n_bytes is None or not n_bytes[ok].any():
        return m
    bits = [float(nll[ok].sum() / math.log(2) / n_bytes[ok].sum()) for nll in (found.nll_reference, found.nll)]
    return replace(m, bits_per_byte_reference=bits[0], bits_per_byte=bits[1])


def adjusted(models: Sequence[ModelFigures]) -> tuple[ModelFigures, ...]:
    """The same with the answers that stand when many models are asked at once: Holm's correction, at 5 %."""
    asked = [i for i, m in enumerate(models) if m.answer in (Answer.BETTER, Answer.WORSE)]
    p = holm([models[i].ln_ratio.p for i in asked])
    falls = {i for i, of in zip(asked, p, strict=True) if of > LEVEL}
    return tuple(replace(m, answer=Answer.UNRESOLVED) if i in falls else m for i, m in enumerate(models))


def floor_of(found: Sequence[TokenFigures], n_windows: int, batch: int = 0, other: TokenFigures | None = None) -> Floor:
    """Of the reference with noise, once for each seed. other: of it where `batch` windows share a forward."""
    finite = [t.finite for t in found]
    kl = [float(t.kl[ok].mean()) for t, ok in zip(found, finite, strict=True)]
    ratio = [abs(float((t.nll - t.nll_reference)[ok].mean())) for t, ok in zip(found, finite, strict=True)]
    same = [float(t.same_top[ok].mean()) for t, ok in zip(found, finite, strict=True)]
    made = Floor(len(found), n_windows, float(np.mean(kl)), max(kl), max(ratio), float(np.mean(same)))
    if other is None or not other.finite.any():
        return made
    ok = other.finite
    apart = abs(float((other.nll - other.nll_reference)[ok].mean()))
    kl_of_batch, same_of_batch = float(other.kl[ok].mean()), float(other.same_top[ok].mean())
    return replace(made, batch=batch, batch_kl=kl_of_batch, batch_ratio=apart, batch_same_top=same_of_batch)


def _answer(ratio: Estimate, kl: Floats, margin: float) -> Answer:
    if kl.size and not kl.any():
        return Answer.EQUAL
    if math.isnan(ratio.low):
        return Answer.UNRESOLVED
    if ratio.within(margin):
        return Answer.EQUIVALENT
    return Answer.WORSE if ratio.low > 0 else Answer.BETTER if ratio.high < 0 else Answer.UNRESOLVED


def _exp_mean(nll: Floats) -> float:
    return float(np.exp(nll.mean())) if nll.size else math.nan


def _quantiles(values: Floats) -> dict[float, float]:
    if not values.size:
        return dict.fromkeys(QUANTILES, math.nan)
    return dict(zip(QUANTILES, np.quantile(values, QUANTILES).tolist(), strict=True))


def _parts(by: Floats, kl: Floats, ends: Floats) -> tuple[Part, ...]:
    """The mean of kl by where `by` lies; the last part has its end too."""
    at = np.clip(np.searchsorted(ends, by, side="right") - 1, 0, len(ends) - 2)
    counts = np.bincount(at, minlength=len(ends) - 1)
    sums = np.bincount(at, kl, len(ends) - 1)
    return tuple(
        Part(float(a), float(b), int(n), float(s / n) if n else math.nan)
        for a, b, n, s in zip(ends, ends[1:], counts, sums, strict=False)
    )
