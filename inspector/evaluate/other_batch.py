"""The reference against itself in another batch: other kernels, or another order of their sums. What that alone does to
predictions is part of the noise floor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.evaluate.batching import Batch
from qinspect.inspector.evaluate.executor import Executor
from qinspect.inspector.evaluate.tokens import TokenFigures, figures_of, joined

BATCH = 4
"""Windows of one length that share a forward, where each ran alone."""
MOST_ALONE = 16
"""Windows that run alone, where they shared a forward: enough to see what it does."""
One = tuple[int, Tensor, Tensor]
"""A window: its number, ids [1, length], and what went into the head."""


def with_another_batch(
    executor: Executor, batches: Sequence[Batch], hidden: Sequence[Tensor]
) -> tuple[int, TokenFigures | None]:
    """(how many windows share a forward now, their figures). hidden: what went into the head, of each batch. No figures
    where no BATCH windows are of one length, or memory does not hold them."""
    windows = [
        (batch.first + i, batch.ids[i : i + 1], known[i : i + 1])
        for batch, known in zip(batches, hidden, strict=True)
        for i in range(len(batch.ids))
    ]
    alone = all(len(batch.ids) == 1 for batch in batches)
    groups = list(_alike(windows)) if alone else [[one] for one in windows[:MOST_ALONE]]
    heads = (executor.reference_logits, executor.reference_logits)
    device, parts = executor.model.device, list[TokenFigures]()
    try:
        for group in groups:
            found = executor.hidden(torch.cat([ids for _, ids, _ in group]).to(device))
            with executor.room(len(group), found.shape[1]):
                parts += [
                    figures_of(known.to(device), found[i : i + 1], *heads, ids.to(device), number)
                    for i, (number, ids, known) in enumerate(group)
                ]
    except QinspectError:
        parts = []
    return BATCH if alone else 1, joined(parts) if parts else None


def _alike(windows: Sequence[One]) -> Iterator[list[One]]:
    """BATCH windows of one length, as often as there are such."""
    waiting: dict[int, list[One]] = {}
    for one in windows:
        group = waiting.setdefault(one[1].numel(), [])
        group.append(one)
        if len(group) == BATCH:
            yield waiting.pop(one[1].numel())
