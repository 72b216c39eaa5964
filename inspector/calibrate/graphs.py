"""Forwards as CUDA graphs: a small model spends its time on launches, and samples of one length launch the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qinspect.inspector.calibrate.models.load import ProbedModel
from qinspect.inspector.calibrate.models.mamba import unobserved

WORTH_AFTER = 2
"""Samples of one length before its graph is made: these also warm up what a capture must not do."""
MAX_GRAPHS = 4
"""Each holds all activations of a forward."""


class Graph:
    """The forward of one shape of ids. shown: the tensors of every point, which stay where they are."""

    def __init__(self, model: ProbedModel, shape: tuple[int, ...], observed: bool = True) -> None:
        """observed: False leaves the points out. Raises RuntimeError for a model that does what a graph cannot."""
        self.shown: list[tuple[str, Tensor]] = []
        self._ids = torch.zeros(shape, dtype=torch.int64, device=model.device)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            model.forward(self._ids, self._show if observed else unobserved)

    def _show(self, name: str, x: Tensor) -> None:
        self.shown.append((name, x))

    def run(self, ids: NDArray[np.int64]) -> list[tuple[str, Tensor]]:
        """What the points hold for these ids, once the stream is there."""
        self._ids.copy_(torch.from_numpy(ids), non_blocking=True)
        self._graph.replay()
        return self.shown


class Graphs:
    """A graph for each length that comes again."""

    def __init__(self, model: ProbedModel) -> None:
        self._model = model
        self._seen: Counter[tuple[int, ...]] = Counter()
        self._made: dict[tuple[int, ...], Graph | None] = {}

    @staticmethod
    def can_help(model: ProbedModel) -> bool:
        """Whether forwards go to one GPU, in 16 bits."""
        return model.device.type == "cuda" and model.dtype != "float32" and not model.is_spread

    def of(self, shape: tuple[int, ...]) -> Graph | None:
        """The graph of a shape, None where there is none (yet)."""
        self._seen[shape] += 1
        if shape not in self._made:
            if self._seen[shape] <= WORTH_AFTER or len(self._made) >= MAX_GRAPHS:
                return None
            try:
                self._made[shape] = Graph(self._model, shape)
            except torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError:
                torch.cuda.synchronize()
                self._made[shape] = None
        return self._made[shape]
