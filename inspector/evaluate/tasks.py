"""Files of items, as an evaluation asks them: of the reference once, then of each candidate in its modules."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from qinspect.inspector.accuracy.samples import task_of
from qinspect.inspector.errors import CannotOpen, UsageError
from qinspect.inspector.evaluate import items
from qinspect.inspector.evaluate.answers import Answers, Task, TaskFigures, answers, figures, write_samples
from qinspect.inspector.evaluate.candidate import Activations
from qinspect.inspector.evaluate.executor import Executor
from qinspect.inspector.evaluate.kept import Kept
from qinspect.inspector.evaluate.settings import EvaluateSettings
from qinspect.inspector.progress import Progress, steps_of
from qinspect.inspector.samples.data import tokenizer_for


def opened(settings: EvaluateSettings, vocab_size: int) -> list[Task]:
    """Every file, with the ids of its requests. Raises as `items.read` does, and CannotOpen without a tokenizer."""
    if not settings.items:
        return []
    tokenizer = tokenizer_for(settings.reference, vocab_size)
    if tokenizer is None:
        raise CannotOpen(
            "items are text, and the model has no tokenizer", file=settings.reference,
            cure="Put tokenizer.json beside the model.",
        )  # fmt: skip
    ends = tokenizer.encode("")
    made = []
    for path in settings.items:
        found = items.read(path, settings.limit or None)
        requests = [items.requests(item, tokenizer, path) for item in found]
        if ends and all(r.ids[-1] == ends[-1] for each in requests for r in each):
            raise CannotOpen(
                "ends every text with a token of its own, so that no text goes on", file=settings.reference,
                key="tokenizer.json", cure="Take that out of its post_processor.",
            )  # fmt: skip
        made.append(Task(task_of(path) or Path(path).stem, path, found, requests))
    if len({task.name for task in made}) < len(made):
        raise UsageError("two files of items have one name", found=", ".join(task.name for task in made))
    return made


def identity(tasks: Sequence[Task]) -> list[object]:
    """What the answers depend on, as JSON."""
    return [
        [t.name, _hash([(i.name, i.content, i.answer, i.of_words) for i in t.items]), _hash(t.requests)] for t in tasks
    ]


def _hash(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()


def answered(
    tasks: Sequence[Task], executor: Executor, rounds: Activations | None, progress: Progress
) -> list[Answers]:
    """By what the modules of an executor are by now."""
    model = executor.model

    def hidden(ids: Tensor) -> Tensor:
        return executor.hidden(ids.to(model.device), rounds)

    return [answers(t, hidden, model.head, model.max_length, steps_of(progress, t.name)) for t in tasks]


def known(tasks: Sequence[Task], kept: Kept, number: int) -> list[Answers] | None:
    """What is kept of a candidate; None where any is missing."""
    found = [kept.answers(number, i) for i in range(len(tasks))]
    whole = [f for f in found if f is not None]
    return whole if len(whole) == len(tasks) else None


def keep(tasks: Sequence[Task], kept: Kept, number: int, name: str, given: Sequence[Answers]) -> None:
    """For a killed evaluation to find, and as per-item samples for others."""
    for i, (task, of_task) in enumerate(zip(tasks, given, strict=True)):
        kept.keep_answers(number, i, of_task)
        if kept.folder is not None:
            folder = kept.folder / "samples" / f"{number + 1}-{_plain(name)}"
            folder.mkdir(parents=True, exist_ok=True)
            write_samples(folder / f"samples_{_plain(task.name)}.jsonl", task, of_task)


def compared(
    settings: EvaluateSettings, tasks: Sequence[Task], name: str, reference: Sequence[Answers], given: Sequence[Answers]
) -> list[TaskFigures]:
    """A candidate against the reference."""
    margin = settings.margin_points / 100
    return [figures(t, name, a, b, margin) for t, a, b in zip(tasks, reference, given, strict=True)]


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", Path(name).name)[:100] or "model"
