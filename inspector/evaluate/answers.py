"""How a model answers items: the log-probability of each choice, and what it makes right."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qinspect.inspector.accuracy import AccuracyComparison, Score, compared
from qinspect.inspector.evaluate.items import Item, Request
from qinspect.inspector.json_text import finite
from qinspect.inspector.progress import Steps
from qinspect.inspector.whole_file import replacing


@dataclass(frozen=True, eq=False)
class Answers:
    """Of each choice of each item, one after the other: ln of its probability, and whether each of its tokens was the
    likeliest."""

    ln_p: NDArray[np.float64]
    greedy: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Task:
    """Items with their requests. name: of the task. file: that they are of."""

    name: str
    file: str
    items: Sequence[Item]
    requests: Sequence[Sequence[Request]]


@dataclass(frozen=True)
class TaskFigures:
    """One model's answers to a task against the reference's: of each metric, item by item."""

    model: str
    task: str
    metrics: Mapping[str, AccuracyComparison]


def answers(task: Task, hidden: Callable[[Tensor], Tensor], head: Callable[[Tensor], Tensor], most: int | None,
            steps: Steps) -> Answers:  # fmt: skip
    """hidden: int64[1, length] -> what goes into the head. most: positions that the model has; of what is longer the
    end is taken, as lm_eval does it."""
    ln_p: list[float] = []
    greedy: list[bool] = []
    for done, each in enumerate(task.requests):
        steps(done, len(task.requests))
        for request in each:
            ids = torch.tensor(request.ids[-(most + 1) :] if most else request.ids)
            n = min(request.n_last, len(ids) - 1)
            logits = head(hidden(ids[None, :-1])[0][-n:]).double()
            right = ids[-n:].to(logits.device)
            ln_p.append(float(logits.log_softmax(-1).gather(-1, right[:, None]).sum()))
            greedy.append(bool((logits.argmax(-1) == right).all()) and bool(torch.isfinite(logits).all()))
    steps(len(task.requests), len(task.requests))
    return Answers(np.array(ln_p), np.array(greedy, np.bool_))


def rights(task: Task, given: Answers) -> dict[str, list[bool]]:
    """Of each metric, whether each item is right: `acc`, and of choices `acc_norm`, by ln p over the number of
    characters, as lm_eval has it. Where a probability is no number, nothing is."""
    made: dict[str, list[bool]] = {"acc": []}
    start = 0
    for item in task.items:
        ln_p = given.ln_p[start : start + len(item.choices)]
        sound = bool(np.isfinite(ln_p).all())
        if item.of_words:
            made["acc"].append(sound and bool(given.greedy[start]))
        else:
            lengths = np.array([len(c.removeprefix(" ")) for c in item.choices], float)
            made["acc"].append(sound and int(ln_p.argmax()) == item.answer)
            made.setdefault("acc_norm", []).append(sound and int((ln_p / lengths).argmax()) == item.answer)
        start += len(item.choices)
    return made


def figures(task: Task, model: str, reference: Answers, given: Answers, margin: float) -> TaskFigures:
    """McNemar's test, interval and smallest difference of each metric, of the same items. margin: a share."""
    before, after = rights(task, reference), rights(task, given)
    made = {
        metric: compared(_score(task, metric, "reference", before[metric]), _score(task, metric, model, right), margin)
        for metric, right in after.items()
    }
    return TaskFigures(model, task.name, made)


def _score(task: Task, metric: str, source: str, right: Sequence[bool]) -> Score:
    items = {f"{item.name} {item.content}": r for item, r in zip(task.items, right, strict=True)}
    return Score(sum(right) / len(right), len(right), source, task.name, metric, items)


def write_samples(path: Path, task: Task, given: Answers) -> None:
    """As lm_eval logs them: `qinspect accuracy` pairs two of these, or one with lm_eval's own."""
    right, start = rights(task, given), 0
    with replacing(path) as f:
        for number, item in enumerate(task.items):
            ends = slice(start, start + len(item.choices))
            responses = [[finite(float(p)), bool(g)] for p, g in zip(given.ln_p[ends], given.greedy[ends], strict=True)]
            line: dict[str, Any] = {
                "doc_id": item.name,
                "doc": dict(item.doc),
                "target": item.choices[0] if item.of_words else item.answer,
                "arguments": [[item.context, c] for c in item.choices],
                "resps": [[r] for r in responses],
                "filtered_resps": responses,
                "doc_hash": item.content,
                **{metric: float(found[number]) for metric, found in right.items()},
            }
            f.write(json.dumps(line).encode() + b"\n")
            start = ends.stop
