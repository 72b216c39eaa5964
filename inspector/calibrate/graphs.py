"""Forwards as CUDA graphs: a small model spends its time on launches, and samples of one length launch the same."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qinspect.inspector.models.load import ProbedModel
from qinspect.inspector.models.mamba import unobserved

WORTH_FROM = 4
"""Forwards of one shape in a calibration from which on its graph is made."""
WARM_UPS = 2
"""Forwards before a capture, which must not do what a first one does."""
MAX_GRAPHS = 4
"""Each holds all activations of a forward."""


class Graph:
    """The forward of one shape of ids. shown: the tensors of every point, which stay where they are."""

    def __init__(self, model: ProbedModel, shape: tuple[int, ...], observed: bool = True) -> None:
        """observed: False leaves the points out. Raises RuntimeError for a model that does what a graph cannot."""
        self.shown: list[tuple[str, Tensor]] = []
        self._ids = torch.zeros(shape, dtype=torch.int64, device=model.device)
        for _ in range(WARM_UPS):
            model.forward(self._ids, unobserved)
        try:
            with _unnoticed():
                self._capture(model, observed)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # it looked at values: told of the capture, it may do without
            self._capture(model, observed)

    def _capture(self, model: ProbedModel, observed: bool) -> None:
        self.shown.clear()
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        try:
            with warnings.catch_warnings(), torch.cuda.graph(self._graph):
                warnings.simplefilter("ignore")  # what a failed capture is warned of is said by its error
                model.forward(self._ids, self._show if observed else unobserved)
        except RuntimeError:
            torch.cuda.set_stream(stream)  # a capture that fails leaves its own behind
            torch.cuda.synchronize()
            raise

    def _show(self, name: str, x: Tensor) -> None:
        self.shown.append((name, x))

    def run(self, ids: NDArray[np.int64]) -> list[tuple[str, Tensor]]:
        """What the points hold for these ids, once the stream is there."""
        self._ids.copy_(torch.from_numpy(ids), non_blocking=True)
        self._graph.replay()
        return self.shown


@contextmanager
def _unnoticed() -> Iterator[None]:
    """A model that asks is told that it is not captured: transformers would give attention an explicit mask then, and
    so another kernel, which rounds otherwise than that of a single launch."""
    asked = torch.cuda.is_current_stream_capturing
    torch.cuda.is_current_stream_capturing = lambda: False
    try:
        yield
    finally:
        torch.cuda.is_current_stream_capturing = asked


class Graphs:
    """A graph for each of the shapes that come most often.

    Which these are depends on the samples alone, not on those that are left to do: a product of a graph may round
    otherwise than that of a single launch, and a calibration that is resumed must give what an undisturbed one gives.
    """

    def __init__(self, model: ProbedModel, shapes: Iterable[tuple[int, ...]]) -> None:
        """shapes: of every forward of the calibration."""
        self._model = model
        often = Counter(shapes).most_common(MAX_GRAPHS)
        self._worth = {shape for shape, n in often if n >= WORTH_FROM}
        self._made: dict[tuple[int, ...], Graph | None] = {}

    @staticmethod
    def can_help(model: ProbedModel) -> bool:
        """Whether forwards go to one GPU, in 16 bits."""
        return model.device.type == "cuda" and model.dtype != "float32" and not model.is_spread

    def of(self, shape: tuple[int, ...]) -> Graph | None:
        """The graph of a shape, None where there is none."""
        if shape not in self._worth:
            return None
        if shape not in self._made:
            try:
                self._made[shape] = Graph(self._model, shape)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                self._made[shape] = None
        return self._made[shape]
