"""The scales of each KV cache, wherever a saver put them: beside the attention, or beside its k and v projections."""

from __future__ import annotations

from dataclasses import dataclass

from qinspect.inspector.loaders.view import View

_BESIDE = {"k_scale": "k", "v_scale": "v", "q_scale": "q"}


@dataclass(slots=True)
class Cache:
    """Of one attention. module: where it stands. k, v: the number, None where there is none or it is no single one.
    largest: elements of the largest of its scales."""

    module: str
    has_k: bool = False
    has_v: bool = False
    has_q: bool = False
    k: float | None = None
    v: float | None = None
    largest: int = 0

    def take(self, view: View, module: str, last: str, of: str) -> None:
        """Note one scale."""
        number = view.number(module, last)
        self.largest = max(self.largest, view.size(module, last))
        if of == "k":
            self.has_k, self.k = True, number
        elif of == "v":
            self.has_v, self.v = True, number
        else:
            self.has_q = True


def caches_of(view: View) -> list[Cache]:
    """One for each module with q and k projections, or with a scale of a cache, in the order of the file."""
    made: dict[str, Cache] = {m: Cache(m) for m in view.layers_with_attention()}
    for module, entries in view.modules.items():
        for last, of in _BESIDE.items():
            if last in entries:
                owner = module.removesuffix(f".{of}_proj")
                made.setdefault(owner, Cache(owner)).take(view, module, last, of)
        if "output_scale" in entries and module.endswith((".k_proj", ".v_proj", ".q_proj")):
            owner, _, leaf = module.rpartition(".")
            made.setdefault(owner, Cache(owner)).take(view, module, "output_scale", leaf[0])
    return list(made.values())
