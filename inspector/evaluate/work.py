"""An evaluation from its settings to its results. This process imports torch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.demo import HELD_OUT_TEXT
from qinspect.inspector.errors import UsageError
from qinspect.inspector.evaluate.executor import Executor, Simulated
from qinspect.inspector.evaluate.results import ModelFigures, model_figures
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.evaluate.tokens import TokenFigures, figures_of, joined
from qinspect.inspector.formats import Format, format_of
from qinspect.inspector.formats.bits import model_bits
from qinspect.inspector.models.load import ProbedModel, open_model
from qinspect.inspector.progress import Progress, unseen
from qinspect.inspector.samples.data import ByteTokenizer, Samples, Tokenizer, load_samples, load_tokenizer

log = logging.getLogger("qinspect")


@dataclass(frozen=True)
class Evaluation:
    """control: the reference against itself, through the same steps: every figure of it is exactly 0 or 1. samples:
    what they were made of, as JSON."""

    settings: EvaluateSettings
    reference: str
    n_windows: int
    n_tokens: int
    samples: dict[str, object]
    models: tuple[ModelFigures, ...]
    warnings: tuple[str, ...]


def evaluate(settings: EvaluateSettings, progress: Progress = unseen) -> Evaluation:
    """Run the reference, then each model in its modules. Raises QinspectError for what does not fit."""
    settings.check()
    device = torch.device(settings.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    formats = [format_of(open_checkpoint(path)) for path in settings.models]
    reference = open_model(settings.reference, False, device, settings.dtype)
    samples = _samples(settings, reference)
    ids = [torch.from_numpy(i) for i in samples.ids]
    first = Executor(reference)
    log.info("Reference: %s, %d windows", settings.reference, len(ids))
    kept = list(_hidden(first, None, ids, _phase(progress, "reference")))
    found = []
    for path, fmt in zip(settings.models, formats, strict=True):
        executor = first
        if fmt.rotated:
            executor = Executor(open_model(settings.reference, True, device, settings.dtype))
        found.append(_figures(settings, path, fmt, executor, first, kept, ids, progress))
    n_tokens = sum(i.numel() - 1 for i in ids)
    described = samples.describe()
    return Evaluation(
        settings, settings.reference, len(ids), n_tokens, described, tuple(found), (*samples.warnings, *reference.notes)
    )


def _figures(
    settings: EvaluateSettings,
    path: str,
    fmt: Format,
    executor: Executor,
    reference: Executor,
    kept: list[Tensor],
    ids: list[Tensor],
    progress: Progress,
) -> ModelFigures:
    """Of one model."""
    log.info("Model: %s, %s", path, fmt.description)
    with executor.running(fmt) as simulated:
        ours = _hidden(executor, simulated, ids, _phase(progress, Path(path).name))
        tokens = _tokens(kept, ours, reference.reference_logits, executor.model.head, ids)
        return model_figures(
            tokens, len(ids), settings.margin, settings.seed, path=path, described=fmt.description,
            nbytes=fmt.checkpoint.nbytes, bits_per_weight=model_bits(fmt).effective, n_weights=simulated.n_weights,
            n_points=len(simulated.quantizers), left_out=simulated.left_out,
        )  # fmt: skip


def _tokens(
    kept: list[Tensor],
    ours: Iterator[Tensor],
    own: Callable[[Tensor], Tensor],
    head: Callable[[Tensor], Tensor],
    ids: list[Tensor],
) -> TokenFigures:
    parts = []
    for window, (reference, model, of) in enumerate(zip(kept, ours, ids, strict=True)):
        parts.append(figures_of(reference, model, own, head, of.to(reference.device), window))
    return joined(parts)


def _hidden(
    executor: Executor, simulated: Simulated | None, ids: list[Tensor], steps: Callable[[int, int], None]
) -> Iterator[Tensor]:
    """What goes into the head, of each window."""
    for done, of in enumerate(ids):
        steps(done, len(ids))
        yield executor.hidden(of[None].to(executor.model.device), simulated)[0]
    steps(len(ids), len(ids))


def _phase(progress: Progress, phase: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(phase, done, total)


def _samples(settings: EvaluateSettings, model: ProbedModel) -> Samples:
    tokenizer: Tokenizer | None = load_tokenizer(Path(settings.reference))
    if tokenizer is None and model.vocab_size == 256:
        tokenizer = ByteTokenizer()
    source = settings.data or str(HELD_OUT_TEXT)
    samples = load_samples(
        source, tokenizer, settings.samples, settings.seq_len, settings.seed, False, model.vocab_size
    )
    longest = max(i.size for i in samples.ids)
    if longest < 2:
        raise UsageError("no sample has two tokens", file=source, expected="a token that another one predicts")
    if model.max_length is not None and longest > model.max_length:
        raise UsageError(
            "a sample is longer than the model takes", file=settings.reference,
            expected=f"at most {model.max_length} tokens", found=f"{longest} tokens",
            cure=f"Choose --seq-len {model.max_length}.",
        )  # fmt: skip
    return samples
