"""The reference against itself where windows share a forward: other kernels, or another order of their sums. What that
alone does to predictions is part of the noise floor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from qinspect.inspector.errors import QinspectError
from qinspect.inspector.evaluate.executor import Executor
from qinspect.inspector.evaluate.tokens import TokenFigures, figures_of, joined

BATCH = 4
"""Windows of one length that share a forward."""


def with_another_batch(executor: Executor, ids: Sequence[Tensor], hidden: Sequence[Tensor]) -> TokenFigures | None:
    """ids: int64[length] of each window. hidden: what went into the head, of each, when it ran alone. None where no
    BATCH windows are of one length, or memory does not hold them."""
    parts: list[TokenFigures] = []
    device = executor.model.device
    try:
        for windows in _alike(ids):
            found = executor.hidden(torch.stack([ids[w] for w in windows]).to(device))
            heads = (executor.reference_logits, executor.reference_logits)
            with executor.room(BATCH, ids[windows[0]].numel()):
                parts += [
                    figures_of(hidden[w].to(device), other, *heads, ids[w].to(device), w)
                    for w, other in zip(windows, found, strict=True)
                ]
    except QinspectError:
        return None
    return joined(parts) if parts else None


def _alike(ids: Sequence[Tensor]) -> Iterator[list[int]]:
    """Numbers of BATCH windows of one length, as often as there are such."""
    waiting: dict[int, list[int]] = {}
    for number, of in enumerate(ids):
        group = waiting.setdefault(of.numel(), [])
        group.append(number)
        if len(group) == BATCH:
            yield waiting.pop(of.numel())
