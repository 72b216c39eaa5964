"""One executor for all formats: the reference's own modules, with the weights of a candidate in them and activations
rounded at its observation points. What differs then are the numbers alone, not the kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from qinspect.inspector.evaluate.candidate import Activations, Candidate, is_head
from qinspect.inspector.models.load import EditableModel, as_torch, failing_clearly
from qinspect.inspector.models.memory import no_room
from qinspect.inspector.roles import strip_root


class Executor:
    """A reference model that can run as a candidate would."""

    def __init__(self, model: EditableModel) -> None:
        self.model = model
        self._own = own = dict(model.names())
        head = next((key for key in own if is_head(key)), None)
        self._head = own[head or next(key for key in own if "embed" in key)]

    @contextmanager
    def running(self, candidate: Candidate) -> Iterator[Activations]:
        """The weights of a candidate in the place of the reference's, until the end. Raises as `Candidate.weights`."""
        others: list[str] = []
        try:
            for key, values in candidate.weights(self.model):
                others.append(key)
                self.model.put(key, as_torch(values))
            yield candidate.activations(self.model)
        finally:
            for key in others:
                self.model.put(key, self._own[key])

    def reference_logits(self, hidden: Tensor) -> Tensor:
        """Of what the reference gave its head, whatever weights its modules have by now."""
        return self.model.head(hidden, self._head)

    def hidden(self, ids: Tensor, rounds: Activations | None = None) -> Tensor:
        """What goes into the head. rounds: what passes its points."""
        quantizers = rounds.quantizers if rounds else {}

        def observe(name: str, x: Tensor) -> Tensor | None:
            quantize = quantizers.get(strip_root(name))
            return None if quantize is None else quantize(x)

        batch, length = ids.shape
        try:
            with failing_clearly(self.model, batch, length):
                return self.model.hidden(ids, observe)
        except torch.OutOfMemoryError as e:
            said = " ".join(str(e).split())
            raise no_room(self.model.path, said, str(self.model.device), batch, length) from e
