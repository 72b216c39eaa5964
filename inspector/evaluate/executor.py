"""One executor for all formats: the reference's own modules, with the weights of a candidate in them and activations
rounded at its observation points. What differs then are the numbers alone, not the kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache

from torch import Tensor

from qinspect.inspector.evaluate.candidate import (
    LOGITS,
    NO_CACHE,
    NO_POINT,
    Activations,
    Candidate,
    is_cache,
    is_head,
    of_all_experts,
    role_of,
    said,
)
from qinspect.inspector.models.load import EditableModel, as_torch, failing_clearly
from qinspect.inspector.models.memory import telling_shortage

_LOGITS = "lm_head:output"
_role = lru_cache(maxsize=1 << 16)(role_of)


@lru_cache(maxsize=1 << 16)
def _of_all_experts(name: str) -> str:
    return of_all_experts(_role(name))


class Executor:
    """A reference model that can run as a candidate would."""

    def __init__(self, model: EditableModel, like: Executor | None = None) -> None:
        """like: one whose modules have the same names, and has run."""
        self.model = model
        self._own = own = dict(model.names())
        head = next((key for key in own if is_head(key)), None)
        self._head = own[head or next(key for key in own if "embed" in key)]
        self._points: set[str] = set(like._points) if like else set(map(_role, model.may_show))

    @contextmanager
    def running(self, candidate: Candidate) -> Iterator[None]:
        """The weights of a candidate in the place of the reference's, until the end. Raises as `Candidate.weights`."""
        others: list[str] = []
        try:
            for key, values in candidate.weights(self.model):
                others.append(key)
                with self.room():
                    self.model.put(key, as_torch(values))
            yield
        finally:
            for key in others:
                self.model.put(key, self._own[key])

    def activations(self, candidate: Candidate, ids: Tensor) -> Activations:
        """What rounds at which of the points that the modules have. ids: int64[length], on which a model that does not
        know its points shows them."""
        if not self._points:
            self.hidden(ids[None].to(self.model.device))
        found = candidate.activations(self.model)
        if found.n_caches and self.model.show_caches():
            self.hidden(ids[None].to(self.model.device))  # which attention shows them is seen when it does
        points = self._points | set(map(_of_all_experts, self._points))
        logits = [role for role in found.quantizers if role == _LOGITS]
        away = [role for role in found.quantizers if role not in points and role != _LOGITS]
        caches = [role for role in away if is_cache(role)]
        lost = [role for role in away if not is_cache(role)]
        there = {role: quantizer for role, quantizer in found.quantizers.items() if role not in {*logits, *away}}
        left = ((logits, LOGITS), (lost, NO_POINT), (caches, NO_CACHE))
        return Activations(there, (*found.left_out, *(said(roles, why) for roles, why in left if roles)))

    def room(self, batch: int = 0, length: int = 0) -> AbstractContextManager[None]:
        """Inside, memory that runs out is an error of the model's. Of a forward, or of the logits of one."""
        return telling_shortage(self.model.path, str(self.model.device), batch, length)

    def reference_logits(self, hidden: Tensor) -> Tensor:
        """Of what the reference gave its head, whatever weights its modules have by now."""
        return self.model.head(hidden, self._head)

    def hidden(self, ids: Tensor, rounds: Activations | None = None) -> Tensor:
        """What goes into the head. rounds: what passes its points."""
        quantizers = rounds.quantizers if rounds else {}

        def observe(name: str, x: Tensor) -> Tensor | None:
            self._points.add(_role(name))
            quantize = quantizers.get(_role(name)) or quantizers.get(_of_all_experts(name))
            return None if quantize is None else quantize(x)

        batch, length = ids.shape
        with self.room(batch, length), failing_clearly(self.model, batch, length):
            return self.model.hidden(ids, observe)
