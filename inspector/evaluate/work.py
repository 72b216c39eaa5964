"""An evaluation from its settings to its results. This process imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from qinspect.inspector.evaluate.answers import TaskFigures
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
from qinspect.inspector.evaluate.other_batch import BATCH, with_another_batch
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
from qinspect.inspector.models.load import EditableModel, open_model
from qinspect.inspector.progress import Progress, Steps, steps_of, unseen
from qinspect.inspector.samples.data import Samples, samples_for, tokenizer_for
from qinspect.inspector.text import some

FLOOR_SHARE = 4
"""One window in so many takes part in the noise floor."""


@dataclass(frozen=True, eq=False)
class _Passed:
    """The reference after its pass. hidden: what went into its head, of each window, on the host."""

    executor: Executor
    ids: list[Tensor]
    hidden: list[Tensor]


def evaluate(settings: EvaluateSettings, progress: Progress = unseen, folder: Path | None = None) -> Evaluation:
    """Run the reference, then each candidate in its modules. folder: keeps what is done; what it has of the same
    evaluation is not done again. Raises QinspectError for what does not fit."""
    settings.check()
    device = torch.device(device_named(settings.device))
    candidates, gap = _candidates(settings)
    reference = open_model(settings.reference, False, device, settings.dtype)
    samples = _samples(settings, reference)
    asked = tasks.opened(settings, reference.vocab_size)
    passed = _pass_reference(Executor(reference), samples, steps_of(progress, "reference"))
    n_bytes = _bytes_of(settings, samples, reference.vocab_size)
    of_reference = tasks.answered(asked, passed.executor, None, progress)
    identities = [_files_of(settings.reference), samples.sha256, tasks.identity(asked)]
    kept = Kept(folder, settings, [*identities, *(c.identity() for c in candidates)])
    tasks.keep(asked, kept, -1, settings.reference, of_reference)
    of_tasks: list[TaskFigures] = []
    rotated: Executor | None = None
    tokens: list[TokenFigures] = []
    found: list[ModelFigures] = []
    measured: list[int] = []
    failed: list[NotMeasured] = []
    floor = _floor(settings, passed, progress)
    for number, candidate in enumerate(candidates):
        executor = passed.executor
        if candidate.rotated:
            rotated = rotated or Executor(open_model(settings.reference, True, device, settings.dtype), executor)
            executor = rotated
        log.info("Model: %s, %s", candidate.name, candidate.described)
        try:
            known, given = kept.tokens(number), tasks.known(asked, kept, number)
            rounds = executor.activations(candidate, passed.ids[0])
            if known is None or given is None:
                with executor.running(candidate):
                    known = _tokens(passed, executor, rounds, steps_of(progress, Path(candidate.name).name))
                    given = tasks.answered(asked, executor, rounds, progress)
                kept.keep(number, known)
                tasks.keep(asked, kept, number, candidate.name, given)
            of_tasks += tasks.compared(settings, asked, candidate.name, of_reference, given)
            measured.append(number)
            tokens.append(known)
            figures = _figures(settings, candidate, rounds, known, len(passed.ids))
            found.append(with_bits_per_byte(figures, known, n_bytes))
        except QinspectError as e:  # the others are measured all the same
            log.warning("%s is not measured: %s", candidate.name, e)
            failed.append(NotMeasured(candidate.name, str(e)))
    through, not_through, of_control = _through(
        settings, passed, rotated, [(n, candidates[n]) for n in measured], kept, progress
    )
    gaps = None if gap is None else gap[measured]
    warnings = (*samples.warnings, *reference.notes, *_seen(candidates, samples), *_other_tokens(settings))
    return Evaluation(
        settings.reference, len(passed.ids), sum(i.numel() - 1 for i in passed.ids), samples.describe(), floor,
        adjusted(found),
        compared([m.name for m in found], tokens, len(passed.ids), settings.margin_points, settings.seed, gaps),
        tuple(failed), warnings, tuple(of_tasks),
        through, not_through, of_control, best_of([m.name for m in found], tokens, len(passed.ids), settings.seed),
    )  # fmt: skip


def _through(
    settings: EvaluateSettings, passed: _Passed, rotated: Executor | None, measured: Sequence[tuple[int, Candidate]],
    kept: Kept, progress: Progress,
) -> tuple[tuple[EngineFigures, ...], tuple[NotMeasured, ...], float | None]:  # fmt: skip
    """Each checkpoint once more, as the library that was asked for runs it."""
    if not settings.through:
        return (), (), None
    text = Text(passed.executor, passed.ids, passed.hidden)
    models = {n: (c, rotated if c.rotated and rotated else passed.executor) for n, c in measured}
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
    n = -(-len(passed.ids) // FLOOR_SHARE)
    part = _Passed(passed.executor, passed.ids[:n], passed.hidden[:n])
    found = []
    for seed in range(settings.seed, settings.seed + settings.floor_seeds):
        candidate = OfNoise(seed)
        noise = part.executor.activations(candidate, part.ids[0])
        with part.executor.running(candidate):
            found.append(_tokens(part, part.executor, noise, steps_of(progress, "noise floor")))
    return floor_of(found, n, BATCH, with_another_batch(part.executor, part.ids, part.hidden))


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


def _pass_reference(executor: Executor, samples: Samples, steps: Steps) -> _Passed:
    ids = [torch.from_numpy(i) for i in samples.ids]
    return _Passed(executor, ids, [h.cpu() for h in _hidden(executor, None, ids, steps)])


def _hidden(executor: Executor, rounds: Activations | None, ids: Sequence[Tensor], steps: Steps) -> Iterator[Tensor]:
    """What goes into the head, of each window."""
    for done, of in enumerate(ids):
        steps(done, len(ids))
        yield executor.hidden(of[None].to(executor.model.device), rounds)[0]
    steps(len(ids), len(ids))


def _tokens(passed: _Passed, executor: Executor, rounds: Activations, steps: Steps) -> TokenFigures:
    device = executor.model.device
    parts = []
    for window, model in enumerate(_hidden(executor, rounds, passed.ids, steps)):
        reference, ids = passed.hidden[window].to(device), passed.ids[window].to(device)
        heads = (passed.executor.reference_logits, executor.model.head)
        with executor.room(1, len(ids)):
            parts.append(figures_of(reference, model, *heads, ids, window))
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
