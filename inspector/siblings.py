"""Weights that engines load as one: q, k and v, gate and up, and the experts of a layer.

Told by the names of roles, which are the same whatever library saved the model. Where one number is stored for each of
them, an engine that keeps one for all has to choose.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from qinspect.inspector.roles import common_spelling

T = TypeVar("T")

QKV, GATE_UP = ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")
FUSED = (
    QKV,
    GATE_UP,
    ("q_a_proj", "kv_a_proj_with_mqa"),
    ("in_proj_qkv", "in_proj_z"),
    ("in_proj_b", "in_proj_a"),
)
"""Projections of one input that engines multiply at once."""

_GROUP_OF = {name: group for group in FUSED for name in group}
_EXPERTS = ".experts."


@dataclass(frozen=True, slots=True)
class Siblings(Generic[T]):
    """Projections of one module that are loaded as one.

    module: `layers.3.mlp` or `layers.3.mlp.experts.7`. names: those that are there, in the order of FUSED. members: of
    each, what `siblings` was given it as.
    """

    module: str
    names: tuple[str, ...]
    members: tuple[T, ...]

    @property
    def kind(self) -> str:
        """`gate/up`, `q/k/v`."""
        return "/".join(name.removesuffix("_proj") for name in self.names)

    @property
    def of_experts(self) -> bool:
        """Whether the module is one of several experts."""
        return _EXPERTS in f".{self.module}."


def siblings(modules: Iterable[tuple[T, str]]) -> list[Siblings[T]]:
    """Those among modules, each behind what the caller knows it by, that have at least one sibling."""
    found: dict[tuple[str, tuple[str, ...]], dict[str, T]] = {}
    for member, module in modules:
        parent, _, name = common_spelling(f"{module}.")[:-1].rpartition(".")
        group = _GROUP_OF.get(name)
        if group is not None:
            found.setdefault((parent, group), {})[name] = member
    return [
        Siblings(parent, names, tuple(there[n] for n in names))
        for (parent, group), there in found.items()
        if len(there) > 1
        for names in (tuple(n for n in group if n in there),)
    ]


@dataclass(frozen=True, slots=True)
class Expert:
    """layer: `layers.3.mlp`, the module that has the experts. number: which of them. name: the projection in it."""

    layer: str
    number: int
    name: str


def expert_of(module: str) -> Expert | None:
    """Which expert a module belongs to: `layers.3.mlp.experts.7.up_proj` is (`layers.3.mlp`, 7, `up_proj`)."""
    return _expert(common_spelling(f"{module}.")[:-1])


@lru_cache(1 << 16)  # every engine asks for each of 20,000 experts
def all_experts(module: str) -> str:
    """The module that holds all experts, as the file calls it, of a projection of one: `model.layers.3.mlp.experts` of
    `model.layers.3.mlp.experts.7.up_proj`; "" of what is none."""
    found = _expert(module)
    return f"{found.layer}{_EXPERTS[:-1]}".removeprefix(".") if found and found.name and "." not in found.name else ""


def _expert(module: str) -> Expert | None:
    layer, found, inside = f".{module}".rpartition(_EXPERTS)  # the experts may be at the root of a file
    number, _, name = inside.partition(".")
    return (
        Expert(layer.removeprefix("."), int(number), name) if found and number.isdecimal() and len(number) < 7 else None
    )
