"""Modules that engines load as one: q, k and v of an attention, gate and up of an MLP or of one expert."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

_QKV = ("q_proj", "k_proj", "v_proj")
_GATE_UP = ("gate_proj", "up_proj")
_PLACE = {name: (kind, i) for kind, names in (("q/k/v", _QKV), ("gate/up", _GATE_UP)) for i, name in enumerate(names)}
_PLACE |= {"w1": ("gate/up", 0), "w3": ("gate/up", 1)}
_SIZES = {"q/k/v": 3, "gate/up": 2}
_EXPERT = re.compile(r"^(.*\.experts)\.(\d{1,9})$")


@dataclass(frozen=True, slots=True)
class Group:
    """Modules that become one. kind: `q/k/v` or `gate/up`. modules: in the order in which they are put together; None
    for one that is not there. layer: of experts, the module that holds them all; "" of others."""

    kind: str
    modules: tuple[str | None, ...]
    layer: str = ""

    @property
    def present(self) -> tuple[str, ...]:
        """Those that are there."""
        return tuple(m for m in self.modules if m is not None)


@lru_cache(1 << 16)  # every engine asks for each of 20,000 experts
def expert_layer(module: str) -> str:
    """`model.layers.3.mlp.experts` of `model.layers.3.mlp.experts.7.up_proj`; "" of what is no expert."""
    found = _EXPERT.match(module.rpartition(".")[0])
    return found[1] if found else ""


def groups_of(modules: Iterable[str]) -> list[Group]:
    """The groups of which at least two modules are there, in the order of the first."""
    parts: dict[tuple[str, str], list[str | None]] = {}
    for module in modules:
        parent, _, leaf = module.rpartition(".")
        place = _PLACE.get(leaf)
        if place is not None:
            kind, i = place
            parts.setdefault((parent, kind), [None] * _SIZES[kind])[i] = module
    made = []
    for (parent, kind), members in parts.items():
        if sum(m is not None for m in members) > 1:
            found = _EXPERT.match(parent)
            made.append(Group(kind, tuple(members), found[1] if found else ""))
    return made
