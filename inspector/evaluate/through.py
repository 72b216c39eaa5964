"""Is it the file or the engine? Each checkpoint once more, as a library's own quantized model, on the same text.

Three distances between three models: the reference, the executor with the file's numbers, and the library. What lies
between the last two is the engine's: its kernels, its rounding, and what it leaves out or adds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from torch import Tensor

from qinspect.inspector.errors import CannotRead, QinspectError
from qinspect.inspector.evaluate.batching import Batch
from qinspect.inspector.evaluate.candidate import Activations, Candidate, OfCheckpoint
from qinspect.inspector.evaluate.executor import Executor
from qinspect.inspector.evaluate.kept import Kept
from qinspect.inspector.evaluate.results import EngineFigures, NotMeasured, model_figures
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.evaluate.tokens import TokenFigures, figures_of, joined
from qinspect.inspector.models.library import LibraryModel
from qinspect.inspector.progress import Progress, Steps, steps_of

CONTROL_SHARE = 4
"""One window in so many takes part in the control."""


@dataclass(frozen=True, eq=False)
class Text:
    """batches: of windows. hidden: what went into the reference's head, of each batch. at_once: positions whose logits
    are there at a time."""

    reference: Executor
    batches: Sequence[Batch]
    hidden: Sequence[Tensor]
    at_once: int

    @property
    def n_windows(self) -> int:
        """Of all batches."""
        return sum(len(batch.ids) for batch in self.batches)

    def windows(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Each alone, as a batch of one: its number, ids, and what went into the reference's head."""
        for batch, hidden in zip(self.batches, self.hidden, strict=True):
            for i in range(len(batch.ids)):
                yield batch.first + i, batch.ids[i : i + 1], hidden[i : i + 1]


def engines(
    settings: EvaluateSettings, text: Text, models: Mapping[int, tuple[Candidate, Executor]], kept: Kept,
    progress: Progress,
) -> tuple[tuple[EngineFigures, ...], tuple[NotMeasured, ...]]:  # fmt: skip
    """models: by number, those that the executor has measured; alphas have no file that a library could load."""
    made, failed = [], []
    for number, (candidate, executor) in models.items():
        if not isinstance(candidate, OfCheckpoint):
            continue
        try:
            made.append(_engine(settings, text, number, candidate, executor, kept, progress))
        except QinspectError as e:
            failed.append(NotMeasured(candidate.name, str(e)))
    return tuple(made), tuple(failed)


def control(settings: EvaluateSettings, text: Text, progress: Progress) -> float | None:
    """Mean KL of the reference as the library runs it, from the reference as it is run here: what of every distance to
    the library is no quantization's. None where the library does not run it."""
    n = -(-text.n_windows // CONTROL_SHARE)
    model = text.reference.model
    try:
        library = LibraryModel(settings.reference, model.device, model.dtype, False)
        found = joined([of for of, _ in _windows(text, library, None, None, steps_of(progress, "control"), n)])
    except QinspectError:
        return None
    return float(found.kl[found.finite].mean()) if found.finite.any() else None


def _engine(
    settings: EvaluateSettings, text: Text, number: int, candidate: OfCheckpoint, executor: Executor, kept: Kept,
    progress: Progress,
) -> EngineFigures:  # fmt: skip
    library = LibraryModel(candidate.name, executor.model.device, executor.model.dtype, bool(candidate.fmt.claims))
    library.logits(text.batches[0].ids[:1])  # some dequantize in their first forward
    names = (f"{number}-library", f"{number}-between")
    known = [kept.tokens(name) for name in names]
    if None in known:
        rounds = executor.activations(candidate, text.batches[0].ids[0])
        with executor.running(candidate):
            steps = steps_of(progress, f"{library.engine} {number + 1}")
            parts = list(_windows(text, library, executor, rounds, steps))
        known = [joined([of for of, _ in parts]), joined([of for _, of in parts if of is not None])]
        for name, tokens in zip(names, known, strict=True):
            assert tokens is not None
            kept.keep(name, tokens)
    of_model = {
        "name": candidate.name, "described": library.engine, "nbytes": candidate.nbytes,
        "bits_per_weight": candidate.bits_per_weight, "n_points": 0, "left_out": (),
    }  # fmt: skip
    figures, between = (
        model_figures(tokens, text.n_windows, settings.margin, settings.seed, **of_model)
        for tokens in known
        if tokens is not None
    )
    return EngineFigures(
        candidate.name, library.engine, dict(library.modules()), library.is_dequantized, figures, between
    )


def _windows(
    text: Text, library: LibraryModel, executor: Executor | None, rounds: Activations | None, steps: Steps,
    most: int | None = None,
) -> Iterator[tuple[TokenFigures, TokenFigures | None]]:  # fmt: skip
    """Of each window, or of the first `most`: the library from the reference, and from the executor where one is
    given."""
    device = text.reference.model.device
    n = text.n_windows if most is None else most
    for window, ids, hidden in islice(text.windows(), n):
        steps(window, n)
        there = ids.to(device)
        logits = library.logits(there)
        known = hidden.to(device)
        width = text.reference.reference_logits(known[:, :1]).shape[-1]
        if logits.shape[-1] != width:
            raise CannotRead(
                "has another vocabulary in transformers", file=library.path, expected=f"{width} logits",
                found=str(logits.shape[-1]),
            )  # fmt: skip
        with text.reference.room(1, ids.shape[1]):
            of = figures_of(known, logits, text.reference.reference_logits, _itself, there, window, text.at_once)
        if executor is None:
            yield of, None
            continue
        alone = executor.hidden(there, rounds)
        with executor.room(1, ids.shape[1]):
            between = figures_of(alone, logits, executor.model.head, _itself, there, window, text.at_once)
        yield of, between
    steps(n, n)


def _itself(logits: Tensor) -> Tensor:
    """The head of what are logits already."""
    return logits
