"""An evaluation from its settings to its results. This process imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qinspect.inspector.calibrate.records import log
from qinspect.inspector.calibration.stored import calibration_named
from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.demo import HELD_OUT_TEXT
from qinspect.inspector.errors import QinspectError, UsageError
from qinspect.inspector.evaluate import tasks
from qinspect.inspector.evaluate.answers import Answers, Task, TaskFigures
from qinspect.inspector.evaluate.batching import Batch, batches_of, rows_at_once, windows_at_once
from qinspect.inspector.evaluate.best import best_of
from qinspect.inspector.evaluate.candidate import (
    Activations,
    Candidate,
    OfAlpha,
    OfCheckpoint,
    OfNoise,
    identity_of,
    scales_of,
)
from qinspect.inspector.evaluate.executor import Executor
from qinspect.inspector.evaluate.kept import Kept
from qinspect.inspector.evaluate.live import LiveFigures
from qinspect.inspector.evaluate.other_batch import with_another_batch
from qinspect.inspector.evaluate.results import (
    EngineFigures,
    Evaluation,
    Floor,
    ModelFigures,
    NotMeasured,
    adjusted,
    compared,
    floor_of,
    model_figures,
    with_bits_per_byte,
)
from qinspect.inspector.evaluate.same_tokens import other_tokens_said
from qinspect.inspector.evaluate.seen_text import seen_said
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.evaluate.through import Text, control, engines
from qinspect.inspector.evaluate.tokens import TokenFigures, figures_of, joined
from qinspect.inspector.formats import format_of
from qinspect.inspector.models.device import device_named
from qinspect.inspector.models.free import free_on
from qinspect.inspector.models.load import EditableModel, open_model
from qinspect.inspector.progress import Progress, Steps, steps_of, unseen
from qinspect.inspector.samples.data import Samples, samples_for, tokenizer_for
from qinspect.inspector.text import some

FLOOR_SHARE = 4
"""One window in so many takes part in the noise floor."""
KEPT_SHARE = 4
"""Of the memory that a GPU has free, one part in so many may hold what goes into the reference's head."""


@dataclass(frozen=True, eq=False)
class _Passed:
    """The reference after its pass. batches: of windows that share a forward. hidden: what went into its head, of each
    batch: on its device where there is room, else on the host. at_once: positions whose logits are there at a time."""

    executor: Executor
    batches: list[Batch]
    hidden: list[Tensor]
    at_once: int

    @property
    def n_windows(self) -> int:
        """Of all batches."""
        return sum(len(batch.ids) for batch in self.batches)

    def start(self, n_windows: int) -> _Passed:
        """The first batches, of at least so many windows."""
        n = next(i + 1 for i, batch in enumerate(self.batches) if batch.first + len(batch.ids) >= n_windows)
        return _Passed(self.executor, self.batches[:n], self.hidden[:n], self.at_once)


@dataclass(eq=False)
class _Measured:
    """Of all candidates that fit the reference. numbers: which they are. rotated: the executor of rotated ones, where
    there was one."""

    numbers: list[int] = field(default_factory=list)
    tokens: list[TokenFigures] = field(default_factory=list)
    figures: list[ModelFigures] = field(default_factory=list)
    failed: list[NotMeasured] = field(default_factory=list)
    of_tasks: list[TaskFigures] = field(default_factory=list)
    rotated: Executor | None = None


def evaluate(settings: EvaluateSettings, progress: Progress = unseen, folder: Path | None = None) -> Evaluation:
    """Run the reference, then each candidate in its modules. folder: keeps what is done; what it has of the same
    evaluation is not done again. Raises QinspectError for what does not fit."""
    settings.check()
    device = torch.device(device_named(settings.device))
    candidates, gap = _candidates(settings)
    reference = open_model(settings.reference, False, device, settings.dtype)
    samples = _samples(settings, reference)
    asked = tasks.opened(settings, reference.vocab_size)
    batches = batches_of(samples.ids, settings.batch or windows_at_once(device, settings.seq_len))
    passed = _pass_reference(Executor(reference), batches, steps_of(progress, "reference"))
    of_reference = tasks.answered(asked, passed.executor, None, progress)
    shared = [len(batch.ids) for batch in batches]  # what a forward holds together is part of the result
    identities = [_files_of(settings.reference), samples.sha256, shared, tasks.identity(asked)]
    kept = Kept(folder, settings, [*identities, *(c.identity() for c in candidates)])
    live = LiveFigures(folder, [c.name for c in candidates])
    tasks.keep(asked, kept, -1, settings.reference, of_reference)
    floor = _floor(settings, passed, progress)
    live.begin(passed.n_windows, floor)
    n_bytes = _bytes_of(settings, samples, reference.vocab_size)
    found = _Measured()
    for number, candidate in enumerate(candidates):
        log.info("Model: %s, %s", candidate.name, candidate.described)
        try:
            executor = _executor_of(settings, candidate, passed.executor, found)
            known, rounds, given = _measured(number, candidate, executor, passed, kept, live, asked, progress)
            found.of_tasks += tasks.compared(settings, asked, candidate.name, of_reference, given)
            figures = _figures(settings, candidate, rounds, known, passed.n_windows)
            found.figures.append(with_bits_per_byte(figures, known, n_bytes))
            found.numbers.append(number)
            found.tokens.append(known)
        except QinspectError as e:  # the others are measured all the same
            log.warning("%s is not measured: %s", candidate.name, e)
            found.failed.append(NotMeasured(candidate.name, str(e)))
            live.failed(number, str(e))
    live.end()
    through, not_through, of_control = _through(settings, passed, candidates, found, kept, progress)
    names, gaps = [m.name for m in found.figures], None if gap is None else gap[found.numbers]
    warnings = (*samples.warnings, *reference.notes, *_seen(candidates, samples), *_other_tokens(settings))
    return Evaluation(
        settings.reference, passed.n_windows, sum(ids.size - 1 for ids in samples.ids), samples.describe(), floor,
        adjusted(found.figures),
        compared(names, found.tokens, passed.n_windows, settings.margin_points, settings.seed, gaps),
        tuple(found.failed), warnings, tuple(found.of_tasks), through, not_through, of_control,
        best_of(names, found.tokens, passed.n_windows, settings.seed),
    )  # fmt: skip


def _executor_of(settings: EvaluateSettings, candidate: Candidate, plain: Executor, found: _Measured) -> Executor:
    """That of the reference, or for a rotated candidate of the rotated reference, which is opened once."""
    if not candidate.rotated:
        return plain
    if found.rotated is None:
        found.rotated = Executor(open_model(settings.reference, True, plain.model.device, settings.dtype), plain)
    return found.rotated


def _measured(
    number: int, candidate: Candidate, executor: Executor, passed: _Passed, kept: Kept, live: LiveFigures,
    asked: Sequence[Task], progress: Progress,
) -> tuple[TokenFigures, Activations, list[Answers]]:  # fmt: skip
    """A candidate's tokens, what was rounded, and its answers: kept ones where there are."""
    known, given = kept.tokens(number), tasks.known(asked, kept, number)
    rounds = executor.activations(candidate, passed.batches[0].ids[0])
    if known is not None and given is not None:
        live.add(number, known)
        return known, rounds, given
    with executor.running(candidate):
        steps = steps_of(progress, Path(candidate.name).name)
        known = _tokens(passed, executor, rounds, steps, partial(live.add, number))
        given = tasks.answered(asked, executor, rounds, progress)
    kept.keep(number, known)
    tasks.keep(asked, kept, number, candidate.name, given)
    return known, rounds, given


def _through(
    settings: EvaluateSettings, passed: _Passed, candidates: Sequence[Candidate], found: _Measured, kept: Kept,
    progress: Progress,
) -> tuple[tuple[EngineFigures, ...], tuple[NotMeasured, ...], float | None]:  # fmt: skip
    """Each checkpoint once more, as the library that was asked for runs it."""
    if not settings.through:
        return (), (), None
    text = Text(passed.executor, passed.batches, passed.hidden, passed.at_once)
    models = {n: (c := candidates[n], _executor_of(settings, c, passed.executor, found)) for n in found.numbers}
    made, failed = engines(settings, text, models, kept, progress)
    return made, failed, control(settings, text, progress) if made else None


def _seen(candidates: Sequence[Candidate], samples: Samples) -> Iterator[str]:
    """Of candidates whose calibration saw text of this evaluation."""
    described, by_sentence = samples.describe(), dict[str, list[str]]()
    for candidate in candidates:
        text = seen_said(candidate.calibrated_on, described)
        if text:
            by_sentence.setdefault(text, []).append(candidate.name)
    for text, names in by_sentence.items():
        more = f" and {some(len(names) - 1, 'other')}" if len(names) > 1 else ""
        yield f"{names[0]}{more}: {text}, which may make it look better than it is"


def _other_tokens(settings: EvaluateSettings) -> Iterator[str]:
    """Of checkpoints whose tokenizer is not the reference's."""
    for path in settings.models:
        if text := other_tokens_said(settings.reference, path):
            yield f"{path}: {text}"


def _files_of(path: str) -> object:
    checkpoint = open_checkpoint(path)
    try:
        return identity_of(checkpoint)
    finally:
        checkpoint.close()


def _floor(settings: EvaluateSettings, passed: _Passed, progress: Progress) -> Floor | None:
    """On the first quarter of the windows: it is the size of it that matters."""
    if not settings.floor_seeds:
        return None
    part = passed.start(-(-passed.n_windows // FLOOR_SHARE))
    found = []
    for seed in range(settings.seed, settings.seed + settings.floor_seeds):
        candidate = OfNoise(seed)
        noise = part.executor.activations(candidate, part.batches[0].ids[0])
        with part.executor.running(candidate):
            found.append(_tokens(part, part.executor, noise, steps_of(progress, "noise floor")))
    return floor_of(found, part.n_windows, *with_another_batch(part.executor, part.batches, part.hidden))


def _candidates(settings: EvaluateSettings) -> tuple[list[Candidate], NDArray[np.float64] | None]:
    """What is evaluated; and of alphas, by how many percent the scales of each differ at most from the first's."""
    made: list[Candidate] = [OfCheckpoint(path, format_of(open_checkpoint(path))) for path in settings.models]
    if not settings.alphas:
        return made, None
    calibration = calibration_named(settings.run)
    try:
        scales = scales_of(calibration, settings.alphas)
    finally:
        calibration.close()
    data = calibration.record.get("data")
    alphas = [OfAlpha(calibration.recipe, alpha, of, data) for alpha, of in zip(settings.alphas, scales, strict=True)]
    gap = [max(_apart(s[name], scales[0][name]) for name in s) for s in scales]
    return [*made, *alphas], np.array([np.nan] * len(made) + gap)


def _apart(scale: NDArray[np.float32], first: NDArray[np.float32]) -> float:
    with np.errstate(all="ignore"):
        return float(100 * np.nanmax(np.abs(scale.astype(np.float64) / first - 1), initial=0.0))


def _pass_reference(executor: Executor, batches: list[Batch], steps: Steps) -> _Passed:
    model = executor.model
    n_tokens = sum(batch.ids.numel() for batch in batches)
    hidden: list[Tensor] = []
    stays = False
    for found in _hidden(executor, None, batches, steps):
        if not hidden:
            stays = KEPT_SHARE * n_tokens * found.shape[-1] * found.element_size() <= free_on(model.device)
        hidden.append(found if stays else found.cpu())
    return _Passed(executor, batches, hidden, rows_at_once(model.device, model.vocab_size))


def _hidden(executor: Executor, rounds: Activations | None, batches: Sequence[Batch], steps: Steps) -> Iterator[Tensor]:
    """What goes into the head, of each batch, [windows, length, width]."""
    n = sum(len(batch.ids) for batch in batches)
    for batch in batches:
        steps(batch.first, n)
        yield executor.hidden(batch.ids.to(executor.model.device), rounds)
    steps(n, n)


def _tokens(
    passed: _Passed, executor: Executor, rounds: Activations, steps: Steps,
    told: Callable[[TokenFigures], None] = lambda _: None,
) -> TokenFigures:  # fmt: skip
    """told: of each batch, as soon as it is known."""
    device = executor.model.device
    heads = (passed.executor.reference_logits, executor.model.head)
    parts = []
    every = zip(passed.batches, passed.hidden, _hidden(executor, rounds, passed.batches, steps), strict=True)
    for batch, reference, model in every:
        ids = batch.ids.to(device)
        with executor.room(*ids.shape):
            parts.append(figures_of(reference.to(device), model, *heads, ids, batch.first, passed.at_once))
        told(parts[-1])
    return joined(parts)


def _bytes_of(settings: EvaluateSettings, samples: Samples, vocab_size: int) -> NDArray[np.float64] | None:
    """Of each predicted token, how many bytes of text it stands for; None where any is not known."""
    tokenizer = tokenizer_for(settings.reference, vocab_size) if samples.tokenizer else None
    if tokenizer is None:  # ids that were given are of nobody knows which tokenizer
        return None
    lengths = [tokenizer.byte_lengths(ids.tolist()) for ids in samples.ids]
    known = [of[1:] for of in lengths if of is not None]
    return np.array([n for of in known for n in of], float) if len(known) == len(lengths) else None


def _figures(
    settings: EvaluateSettings, candidate: Candidate, rounds: Activations, tokens: TokenFigures, n_windows: int
) -> ModelFigures:
    return model_figures(
        tokens, n_windows, settings.margin, settings.seed, name=candidate.name, described=candidate.described,
        nbytes=candidate.nbytes, bits_per_weight=candidate.bits_per_weight, n_points=len(rounds.quantizers),
        n_caches=rounds.n_caches, left_out=rounds.left_out,
    )  # fmt: skip


def _samples(settings: EvaluateSettings, model: EditableModel) -> Samples:
    source = settings.data or str(HELD_OUT_TEXT)
    samples = samples_for(
        settings.reference, model.vocab_size, model.max_length, source, settings.samples, settings.seq_len,
        settings.seed,
    )  # fmt: skip
    if max(ids.size for ids in samples.ids) < 2:
        raise UsageError("no sample has two tokens", file=source, expected="a token that another one predicts")
    return samples
