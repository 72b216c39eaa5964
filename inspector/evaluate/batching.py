"""How much of an evaluation is on a device at one time. The same on every device of a kind: what a forward holds
together decides which kernels run, and so the last bits of the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qinspect.inspector.calibrate.engine import batches

TOKENS_PER_GIB = 64
"""Of a GPU's memory: 8,192 tokens in a forward on one of 141 GB, which products fill."""
LOGITS = {"cuda": 1 << 28, "cpu": 1 << 24}
"""Of each of two models, that are there at one time: 512 MiB in 16 bits, 64 MiB in 32."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows that share a forward. first: number of the first. ids: int64[windows, length]."""

    first: int
    ids: Tensor


def batches_of(ids: Sequence[NDArray[np.int64]], most: int) -> list[Batch]:
    """Neighbours of equal length, at most so many."""
    found = batches(ids, (0, len(ids)), most)
    return [Batch(numbers[0], torch.from_numpy(np.stack([ids[i] for i in numbers]))) for numbers in found]


def windows_at_once(device: torch.device, seq_len: int) -> int:
    """One on a CPU, which one fills."""
    if device.type != "cuda":
        return 1
    gib = torch.cuda.get_device_properties(device).total_memory >> 30
    tokens = 1 << max(0, (TOKENS_PER_GIB * gib).bit_length() - 1)
    return max(1, tokens // seq_len)


def rows_at_once(device: torch.device, vocabulary: int) -> int:
    """Positions whose logits are there at one time: of many, a multiple of what products are cut into."""
    rows = LOGITS["cuda" if device.type == "cuda" else "cpu"] // vocabulary
    return rows // 256 * 256 or max(1, rows)
