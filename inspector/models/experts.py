"""Experts that a transformers model holds in one tensor a projection: each projection of each expert is a linear layer
like any other, with a weight, and with an input and an output that are observed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_NAME = "qinspect"
_OWNER = "_qinspect_experts"

Shown = Callable[[str, Tensor], Tensor | None]
"""A point and what passes it -> what goes on in its place; None where that is the same."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A projection: rows `start` to `stop` of every expert's matrix in a parameter, [out, in] once it is transposed."""

    parameter: str
    start: int
    stop: int


class Experts:
    """The experts of one layer. name: of the module. numbers: of the experts."""

    def __init__(self, name: str, module: Any, shown: Shown) -> None:
        self.name, self._module, self._shown = name, module, shown
        self.numbers = range(int(module.num_experts))
        self.parts = _parts(module)
        self.fused = {f"{name}.{p}": p for p in dict.fromkeys(part.parameter for part in self.parts.values())}
        self._keys = {f"{name}.{e}.{part}.weight": (e, part) for e in self.numbers for part in self.parts}
        self._copies: dict[str, nn.Parameter] = {}
        setattr(module, _OWNER, self)

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the weight of each projection of each expert."""
        return tuple(self._keys)

    def keys_in(self, fused: str) -> tuple[str, ...]:
        """Those that are parts of one parameter, by its key."""
        return tuple(k for k, (_, part) in self._keys.items() if self.parts[part].parameter == self.fused[fused])

    def points(self) -> list[str]:
        """Names of all points."""
        return [f"{k.removesuffix('.weight')}:{suffix}" for k in self._keys for suffix in ("input", "output")]

    def inputs(self) -> tuple[tuple[str, int], ...]:
        """Of each expert in order, the point that shows the tokens it is sent, and how many values each has."""
        first = next(iter(self.parts))
        return tuple((f"{self.name}.{e}.{first}:input", int(self._matrix(e, first).shape[1])) for e in self.numbers)

    def weight(self, key: str) -> Tensor:
        """[out, in], over the parameter's memory."""
        return self._matrix(*self._keys[key])

    def put(self, key: str, values: Tensor) -> None:
        """In the place of a weight. The parameter that others may hold stays as it is."""
        number, part = self._keys[key]
        name = self.parts[part].parameter
        own = getattr(self._module, name)
        if own is not self._copies.get(name):
            self._copies[name] = nn.Parameter(own.detach().clone(), requires_grad=False)
            setattr(self._module, name, self._copies[name])
        place = self._matrix(number, part)
        place.copy_(values.to(place.device, place.dtype).reshape(place.shape))

    def forward(self, hidden: Tensor, chosen: Tensor, shares: Tensor) -> Tensor:
        """Every expert over the tokens that were sent to it. hidden: [tokens, width]. chosen: int64[tokens, k], numbers
        of experts. shares: of the same shape, by what their outputs are multiplied before they are added."""
        module, out = self._module, torch.zeros_like(hidden)
        for number in chosen.unique().tolist():
            if number not in self.numbers:  # no expert of this process
                continue
            token, place = torch.where(chosen == number)
            x = hidden[token]
            wide = [self._product(number, part, x) for part in self.parts if part != "down_proj"]
            made = torch.cat(wide, -1) if len(wide) > 1 else wide[0]
            inner = module._apply_gate(made) if module.has_gate else module.act_fn(made)
            found = self._product(number, "down_proj", inner) * shares[token, place, None]
            out.index_add_(0, token, found.to(out.dtype))
        return out

    def _matrix(self, number: int, part: str) -> Tensor:
        at = self.parts[part]
        w = getattr(self._module, at.parameter)[number].detach()
        return (w.mT if self._module.is_transposed else w)[at.start : at.stop]

    def _product(self, number: int, part: str, x: Tensor) -> Tensor:
        at, point = self.parts[part], f"{self.name}.{number}.{part}"
        given = self._shown(f"{point}:input", x)
        bias = None
        if self._module.has_bias:
            bias = getattr(self._module, f"{at.parameter}_bias")[number][at.start : at.stop]
        made = functional.linear(x if given is None else given, self._matrix(number, part), bias)
        found = self._shown(f"{point}:output", made)
        return made if found is None else found


def experts_of(model: Any, shown: Shown) -> list[Experts]:
    """Of every layer of a transformers model that leaves how its experts run to a registered function. From then on
    they run here, one expert after another. [] where the library has no such functions, or the model has no such layer:
    those are seen as they were."""
    try:
        from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
    except ImportError:  # a library from before: its experts are modules
        return []
    modules = [(n, m) for n, m in model.named_modules() if _is_fused(m)]
    if not modules:
        return []
    ALL_EXPERTS_FUNCTIONS.register(_NAME, _run)
    model.set_experts_implementation(_NAME)
    return [Experts(n, m, shown) for n, m in modules if m.config._experts_implementation == _NAME]


def _run(module: Any, hidden: Tensor, chosen: Tensor, shares: Tensor) -> Tensor:
    owner: Experts | None = getattr(module, _OWNER, None)
    if owner is None:  # a kind of experts that is not known here
        from transformers.integrations.moe import grouped_mm_experts_forward

        found: Tensor = grouped_mm_experts_forward(module, hidden, chosen, shares)
        return found
    return owner.forward(hidden, chosen, shares)


def _is_fused(module: Any) -> bool:
    """Whether the library's decorator of experts made it, and its tensors are as that says."""
    said = all(isinstance(getattr(module, a, None), bool) for a in ("has_gate", "has_bias", "is_transposed"))
    if not said or not isinstance(getattr(module, "num_experts", None), int):
        return False
    first = getattr(module, "gate_up_proj" if module.has_gate else "up_proj", None)
    tensors = (first, getattr(module, "down_proj", None))
    return all(isinstance(w, Tensor) and w.ndim == 3 and len(w) == module.num_experts for w in tensors)


def _parts(module: Any) -> dict[str, _Part]:
    """By name, in the order in which they run. Where gate and up are interleaved they are one."""
    first = "gate_up_proj" if module.has_gate else "up_proj"

    def rows(parameter: str) -> int:
        return int(getattr(module, parameter).shape[2 if module.is_transposed else 1])

    made = {first: _Part(first, 0, rows(first))}
    if module.has_gate and getattr(module, "is_concatenated", True):
        half = rows(first) // 2
        made = {"gate_proj": _Part(first, 0, half), "up_proj": _Part(first, half, 2 * half)}
    return {**made, "down_proj": _Part("down_proj", 0, rows("down_proj"))}
