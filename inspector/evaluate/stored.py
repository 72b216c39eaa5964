"""An evaluation that was made, and the figures so far of one that goes on, read from their folder. No torch in here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from qinspect.inspector.accuracy.comparing import smallest_detectable
from qinspect.inspector.errors import BrokenFile, CannotOpen
from qinspect.inspector.evaluate.intervals import Estimate
from qinspect.inspector.evaluate.layout import LIVE, LIVE_SCHEMA, RESULT, SCHEMA
from qinspect.inspector.evaluate.results import (
    QUANTILES,
    Against,
    Answer,
    Answered,
    Evaluation,
    Floor,
    ModelFigures,
    NotMeasured,
    Part,
)
from qinspect.inspector.json_text import read_object
from qinspect.inspector.text import brief

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModelSoFar:
    """n_windows: that are measured. problem: why it is not measured, "" for one that is. The figures are None before
    the first window."""

    name: str
    n_windows: int
    problem: str
    kl: Estimate | None
    ln_ratio: Estimate | None
    same_top: Estimate | None


@dataclass(frozen=True, slots=True)
class SoFar:
    """Of an evaluation that goes on, or ended early. n_windows: in all, 0 while that is not known."""

    n_windows: int
    floor: Floor | None
    models: tuple[ModelSoFar, ...]


def stored_evaluation(folder: Path) -> Evaluation:
    """The result in a folder, without `tasks`, `best` and `through`. Raises CannotOpen where there is none, BrokenFile
    where it is damaged."""
    content = content_of(folder / RESULT, SCHEMA)
    try:
        return _evaluation(_converted(content, _Result, folder / RESULT))
    except (OverflowError, ValueError) as e:
        raise BrokenFile("does not hold what it should", file=folder / RESULT, found=brief(str(e))) from e


def stored_answers(folder: Path) -> list[tuple[str, str, tuple[Answered, ...]]]:
    """(model, task, its metrics) of the result in a folder, in their order. Raises as `stored_evaluation` does."""
    path = folder / RESULT
    found = _converted(content_of(path, SCHEMA), _Answers, path)
    return [(t.name, t.task, tuple(_answered(*m) for m in t.metrics.items())) for t in found.tasks]


def figures_so_far(folder: Path) -> SoFar:
    """What is known of one that goes on. Raises CannotOpen where nothing is, BrokenFile where it is damaged."""
    path = folder / LIVE
    found = _converted(content_of(path, LIVE_SCHEMA), _Live, path)
    models = tuple(
        ModelSoFar(m.name, m.windows, m.problem or "", *map(_estimate_or_none, (m.kl, m.ln_ratio, m.same_top)))
        for m in found.models
    )
    return SoFar(found.windows, _floor(found.noise_floor), models)


def content_of(path: Path, schema: str) -> dict[str, Any]:
    """The object in a file of this schema. Raises as `read_object` does."""
    return read_object(path, schema, CannotOpen("there is no finished evaluation", file=path))


def _converted(content: Mapping[str, Any], kind: type[T], path: Path) -> T:
    try:
        return msgspec.convert(content, kind)
    except UnicodeError as e:  # half a surrogate pair where something else should be
        raise BrokenFile("holds text that is not valid Unicode", file=path) from e
    except msgspec.ValidationError as e:
        what, _, key = str(e).partition(" - at `$")
        told = f"does not hold what it should: {what[:1].lower()}{what[1:]}"
        raise BrokenFile(told, file=path, key=key.strip(".`") or None) from e


# --- as it is written ---


class _Estimate(msgspec.Struct):
    """null is a number that JSON does not have, or one that is not known."""

    value: float | None
    low: float | None
    high: float | None
    smallest: float | None = None


class _Part(msgspec.Struct):
    start: float = msgspec.field(name="from")
    stop: float = msgspec.field(name="to")
    tokens: int
    kl: float | None


class _Floor(msgspec.Struct):
    seeds: int
    windows: int
    kl: float | None
    kl_most: float | None
    ln_ratio_most: float | None
    same_top: float | None
    batch: int = 0
    batch_kl: float | None = None
    batch_ln_ratio: float | None = None
    batch_same_top: float | None = None


class _Model(msgspec.Struct):
    name: str
    format: str
    bytes: int | None
    bits_per_weight: float | None
    points: int
    not_simulated: list[str]
    tokens: int
    not_finite: int
    perplexity_reference: float | None
    perplexity: float | None
    ln_ratio: _Estimate
    kl: _Estimate
    kl_back: _Estimate
    kl_max: float | None
    kl_quantiles: dict[str, float | None]
    accuracy_reference: _Estimate
    accuracy: _Estimate
    same_top: _Estimate
    shared_top: _Estimate
    shift: _Estimate
    shift_rms: float | None
    shift_quantiles: dict[str, float | None]
    by_confidence: list[_Part]
    by_position: list[_Part]
    answer: Answer
    margin: float
    cache_points: int = 0


class _Against(msgspec.Struct):
    name: str
    scales_percent: float | None
    accuracy_points: _Estimate
    ln_ratio: _Estimate
    margin_points: float
    smallest_points: float | None


class _NotMeasured(msgspec.Struct):
    name: str
    problem: str


class _Result(msgspec.Struct):
    reference: str
    windows: int
    tokens: int
    samples: dict[str, Any]
    noise_floor: _Floor | None
    not_measured: list[_NotMeasured]
    models: list[_Model]
    against_first: list[_Against]
    warnings: list[str]


class _Metric(msgspec.Struct):
    items: int
    accuracy_reference: float
    accuracy: float
    difference_points: _Estimate
    only_reference_right: int | None
    only_model_right: int | None
    mcnemar_p: float | None


class _Task(msgspec.Struct):
    name: str
    task: str
    metrics: dict[str, _Metric]


class _Answers(msgspec.Struct):
    tasks: list[_Task] = []


class _LiveModel(msgspec.Struct):
    name: str
    windows: int
    problem: str | None
    kl: _Estimate | None
    ln_ratio: _Estimate | None
    same_top: _Estimate | None


class _Live(msgspec.Struct):
    windows: int
    noise_floor: _Floor | None
    models: list[_LiveModel]


# --- as it is used ---


def _evaluation(r: _Result) -> Evaluation:
    if r.against_first and not r.models:
        raise ValueError("models are compared with the first, and there is none")
    return Evaluation(
        r.reference, r.windows, r.tokens, r.samples, _floor(r.noise_floor), tuple(map(_model, r.models)),
        tuple(map(_against, r.against_first)), tuple(NotMeasured(f.name, f.problem) for f in r.not_measured),
        tuple(r.warnings),
    )  # fmt: skip


def _model(m: _Model) -> ModelFigures:
    return ModelFigures(
        name=m.name, described=m.format, nbytes=m.bytes, bits_per_weight=m.bits_per_weight, n_points=m.points,
        left_out=tuple(m.not_simulated), n=m.tokens, n_not_finite=m.not_finite,
        perplexity_reference=_number(m.perplexity_reference), perplexity=_number(m.perplexity),
        ln_ratio=_estimate(m.ln_ratio), kl=_estimate(m.kl), kl_back=_estimate(m.kl_back), kl_max=_number(m.kl_max),
        kl_quantiles=_quantiles(m.kl_quantiles), accuracy_reference=_estimate(m.accuracy_reference),
        accuracy=_estimate(m.accuracy), same_top=_estimate(m.same_top), shared_top=_estimate(m.shared_top),
        shift=_estimate(m.shift), shift_rms=_number(m.shift_rms), shift_quantiles=_quantiles(m.shift_quantiles),
        buckets=tuple(map(_part, m.by_confidence)), stretches=tuple(map(_part, m.by_position)), answer=m.answer,
        margin=m.margin, n_caches=m.cache_points,
    )  # fmt: skip


def _against(a: _Against) -> Against:
    accuracy = msgspec.structs.replace(a.accuracy_points, smallest=a.smallest_points)
    return Against(a.name, a.scales_percent, _estimate(accuracy), _estimate(a.ln_ratio), a.margin_points)


def _answered(metric: str, m: _Metric) -> Answered:
    d = m.difference_points
    return Answered(
        metric, m.items, m.accuracy, m.accuracy_reference, _number(d.value), _number(d.low), _number(d.high),
        m.only_reference_right, m.only_model_right, _number(m.mcnemar_p),
    )  # fmt: skip


def _floor(f: _Floor | None) -> Floor | None:
    if f is None:
        return None
    kl, kl_most, ratio_most, same_top = map(_number, (f.kl, f.kl_most, f.ln_ratio_most, f.same_top))
    batch_kl, batch_ratio, batch_same_top = map(_number, (f.batch_kl, f.batch_ln_ratio, f.batch_same_top))
    return Floor(f.seeds, f.windows, kl, kl_most, ratio_most, same_top, f.batch, batch_kl, batch_ratio, batch_same_top)


def _part(p: _Part) -> Part:
    return Part(p.start, p.stop, p.tokens, _number(p.kl))


def _estimate(e: _Estimate) -> Estimate:
    """The spread of its draws is not written, but what it is a multiple of."""
    spread = _number(e.smallest) / smallest_detectable(1.0)
    return Estimate(_number(e.value), _number(e.low), _number(e.high), spread)


def _estimate_or_none(e: _Estimate | None) -> Estimate | None:
    return None if e is None else _estimate(e)


def _quantiles(found: Mapping[str, float | None]) -> dict[float, float]:
    return dict.fromkeys(QUANTILES, math.nan) | {float(q): _number(v) for q, v in found.items()}


def _number(x: float | None) -> float:
    return math.nan if x is None else x
