"""One executor for all formats: the reference's own modules, with the weights of a checkpoint dequantized into them and
activations rounded at its observation points. What differs then are the numbers alone, not the kernels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from qinspect.inspector.errors import CannotOpen, QinspectError
from qinspect.inspector.evaluate import fake_quantize
from qinspect.inspector.evaluate.fake_quantize import Quantizer
from qinspect.inspector.formats import Format, Kind, Quantity
from qinspect.inspector.formats.records import DynamicPoint, ScaleRecord
from qinspect.inspector.models.load import ProbedModel, as_torch
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import some, visible


@dataclass(frozen=True, slots=True)
class Simulated:
    """What of a checkpoint takes part. quantizers: by role of the point. n_weights: dequantized ones; n_plain: others.
    left_out: what is not simulated, a sentence each."""

    quantizers: Mapping[str, Quantizer] = field(default_factory=dict)
    n_weights: int = 0
    n_plain: int = 0
    left_out: tuple[str, ...] = ()


class Executor:
    """A reference model that can run as a checkpoint would."""

    def __init__(self, model: ProbedModel) -> None:
        self.model = model
        self._keys = {_role(key): key for key in model.weights()}
        self._head = next((w for key, w in model.weights().items() if _is_head(key)), None)
        if self._head is None:  # tied
            self._head = next(w for key, w in model.weights().items() if "embed" in key)

    @contextmanager
    def running(self, fmt: Format) -> Iterator[Simulated]:
        """The weights of a checkpoint in the place of the reference's, until the end.

        Raises CannotOpen where a weight of the model is in no entry of the checkpoint, or has another shape.
        """
        own = self.model.weights()
        try:
            yield self._load(fmt)
        finally:
            for key, values in own.items():
                self.model.put(key, values)

    def _load(self, fmt: Format) -> Simulated:
        quantized = {w.role: w for w in fmt.weights()}
        plain = {_role(name): name for name, _ in fmt.other_forms()}
        shapes = {key: tuple(w.shape) for key, w in self.model.weights().items()}
        n_weights = n_plain = 0
        missing = [key for role, key in self._keys.items() if role not in quantized and role not in plain]
        missing = [key for key in missing if not (_is_head(key) and self._is_tied(plain))]
        if missing:
            raise CannotOpen(
                f"{some(len(missing), 'weight')} of the reference {'is' if len(missing) == 1 else 'are'} not in it",
                file=fmt.checkpoint.path, key=missing[0], expected="a weight of this name",
                cure="Name the reference that it was made from.",
            )  # fmt: skip
        for role, key in self._keys.items():
            if role in quantized:
                values = fmt.effective(quantized[role])
                n_weights += 1
            else:
                name = plain.get(role) or plain[next(r for r in plain if r.startswith("embedding"))]
                tensor = fmt.plain_tensor(name)
                assert tensor is not None
                values = tensor.read()
                n_plain += 1
            if values.size != int(np.prod(shapes[key], dtype=np.int64)):
                raise CannotOpen(
                    "has another shape than in the reference", file=fmt.checkpoint.path, key=key,
                    expected=str(list(shapes[key])), found=str(list(values.shape)),
                    cure="Name the reference that it was made from.",
                )  # fmt: skip
            self.model.put(key, as_torch(values))
        quantizers, left_out = self._quantizers(fmt)
        return Simulated(quantizers, n_weights, n_plain, tuple(left_out))

    def _is_tied(self, plain: Mapping[str, str]) -> bool:
        return any(role.startswith("embedding") for role in plain)

    def _quantizers(self, fmt: Format) -> tuple[dict[str, Quantizer], list[str]]:
        """By the role of the point; and what is left out."""
        made: dict[str, Quantizer] = {}
        refused: dict[str, list[str]] = {}
        dynamic = {p.role: p for p in fmt.dynamic()}
        for record in fmt.scales():
            if record.kind is Kind.ACTIVATION and record.quantity is Quantity.SCALE and record.role not in dynamic:
                quantizer = self._static(fmt, record)
                if isinstance(quantizer, str):
                    refused.setdefault(quantizer, []).append(record.role)
                else:
                    made[record.role] = quantizer
        for role, point in dynamic.items():
            quantizer = self._dynamic(point)
            if isinstance(quantizer, str):
                refused.setdefault(quantizer, []).append(role)
            else:
                made[role] = quantizer
        said = [f"{some(len(roles), 'activation')} not simulated, first {visible(roles[0], 120)}: {why}"
                for why, roles in refused.items()]  # fmt: skip
        return made, said

    def _static(self, fmt: Format, record: ScaleRecord) -> Quantizer | str:
        """How a stored scale rounds, or why that is not simulated."""
        if not record.role.endswith((":input", ":output")):
            return "there is no such point in the reference's modules"
        try:
            values = np.asarray(fmt.values(record), np.float32)
        except QinspectError as e:
            return f"its scale cannot be read: {e}"
        if values.size != 1:
            return "its scale is of groups"
        if not (np.isfinite(values).all() and (values > 0).all()):
            return "its scale is not a positive number"
        scale = torch.tensor(float(values.reshape(-1)[0]), device=self.model.device)
        if record.through is not None and record.group_size:
            found = fake_quantize.of_blocks(record.element, record.group_size, scale)
        elif record.element.name == "float4_e2m1fn":
            found = fake_quantize.of_blocks(record.element, 16, scale)
        else:
            found = fake_quantize.static(record.element, scale)
        return found or f"no rule for codes of {record.element}"

    def _dynamic(self, point: DynamicPoint) -> Quantizer | str:
        grid = point.grid
        if grid.block and grid.block[-1] > 1 and 1 in grid.axes:
            found = fake_quantize.of_blocks(point.element, grid.block[-1], None)
        elif grid.axes == (0,):
            found = fake_quantize.of_each_token(point.element)
        else:
            return "its scale is of the whole tensor, whatever is in a batch"
        return found or f"no rule for codes of {point.element}"

    def reference_logits(self, hidden: Tensor) -> Tensor:
        """Of what the reference gave its head, whatever weights its modules have by now."""
        return self.model.head(hidden, self._head)

    def hidden(self, ids: Tensor, simulated: Simulated | None = None) -> Tensor:
        """What goes into the head. simulated: rounds what passes its points."""
        quantizers = simulated.quantizers if simulated else {}

        def observe(name: str, x: Tensor) -> Tensor | None:
            quantize = quantizers.get(strip_root(name))
            return None if quantize is None else quantize(x)

        return self.model.hidden(ids, observe)


def _role(key: str) -> str:
    return strip_root(key.replace("embeddings.", "embedding."))


def _is_head(key: str) -> bool:
    return strip_root(key).startswith("lm_head.")
