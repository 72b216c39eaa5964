"""Which modules an engine takes as not quantized: each reads the same lists in its own way.

Names are those of the file. Engines look at names of their own classes, which mostly differ in what stands in front.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate

from qinspect.inspector.formats.expressions import compiled
from qinspect.inspector.loaders.view import View
from qinspect.inspector.siblings import all_experts

_MAX_PATTERNS = 2048
_MAX_EXPRESSION = 500
_EXPRESSION = "re:"
_ALWAYS_PLAIN = ("vision_tower", "vision_model", "vit_large_projector")

Leaves = Callable[[str], bool]
"""Whether a module is taken as not quantized."""


def units(view: View) -> dict[str, list[str]]:
    """What engines ask for by name: single modules, and all experts of a layer as one. Of each, its quantized modules
    in the file."""
    made: dict[str, list[str]] = {}
    for module in view.quantized:
        unit = all_experts(module) or (module.rpartition(".")[0] if view.is_stacked(module) else module)
        made.setdefault(unit, []).append(module)
    return made


def plain_units(view: View, leaves: Leaves) -> list[str]:
    """Quantized modules in the file that are taken as not quantized."""
    return [m for unit, modules in units(view).items() if leaves(unit) for m in modules]


def by_name_or_expression(patterns: Sequence[str]) -> Leaves:
    """The name itself, or an expression behind `re:`, matched at the beginning (vLLM, of compressed-tensors)."""
    exact = {p for p in patterns if not p.startswith(_EXPRESSION)}
    said = [p.removeprefix(_EXPRESSION) for p in patterns if p.startswith(_EXPRESSION)][:_MAX_PATTERNS]
    found = [c for c in (compiled(p, _MAX_EXPRESSION) for p in said) if c is not None]
    return lambda name: name in exact or (len(name) < _MAX_EXPRESSION and any(c.match(name) for c in found))


def by_part_of_name(patterns: Sequence[str]) -> Leaves:
    """The name, a part of it, or a pattern; `x*` is `x` and `x.*` first (vLLM, of ModelOpt). So `layers.1` is a part of
    `layers.10` too."""
    said = [p for pattern in patterns[:_MAX_PATTERNS] if pattern for p in _spread(pattern)]
    wild = [re.compile(translate(p)) for p in said if re.search(r"[*?\[]", p)]
    always = _ALWAYS_PLAIN

    def leaves(name: str) -> bool:
        return any(p in name for p in (*said, *always)) or any(p.match(name) for p in wild)

    return leaves


def _spread(pattern: str) -> tuple[str, ...]:
    return (pattern[:-1], f"{pattern[:-1]}.*") if pattern.endswith("*") and not pattern.endswith(".*") else (pattern,)


def means(patterns: Sequence[str]) -> Leaves:
    """What whoever wrote the list meant: a module, all that is in it, or a pattern of either."""
    said = [p.rstrip("*").rstrip(".") if p.endswith("*") else p for p in patterns[:_MAX_PATTERNS]]
    exact = {p for p in said if p and not re.search(r"[*?\[]", p)}
    wild = [re.compile(translate(p)) for pattern in patterns[:_MAX_PATTERNS] for p in (pattern, f"{pattern}.*")
            if re.search(r"[*?\[]", pattern[:-1])]  # fmt: skip

    def leaves(name: str) -> bool:
        return any(part in exact for part in _lineage(name)) or any(p.match(name) for p in wild)

    return leaves


def _lineage(name: str) -> list[str]:
    parts = name.split(".")[:64]
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def by_whole_name_or_part(patterns: Sequence[str]) -> Leaves:
    """A pattern of the whole name, or of one part between dots; some shards of fused projections as a part of it
    (SGLang, of ModelOpt)."""
    found = [re.compile(translate(p)) for p in patterns[:_MAX_PATTERNS] if p]

    def leaves(name: str) -> bool:
        parts = {name, *name.split(".")[:64]}
        return any(p.match(x) for p in found for x in parts)

    return leaves


def by_exact_name(patterns: Sequence[str]) -> Leaves:
    """The name itself; of experts, a name that holds it (vLLM, of `fp8`)."""
    exact = set(patterns)
    return lambda name: name in exact or (name.endswith(".experts") and any(name in p for p in patterns))


def not_left_out(view: View, leaves: Leaves) -> list[str]:
    """Projections that are stored as plain floats though nothing leaves them out."""
    found = []
    for module, entries in view.modules.items():
        leaf = module.rpartition(".")[2]
        if leaf.endswith("_proj") or leaf in ("w1", "w2", "w3"):
            form = view.form(module, "weight")
            plain = form is not None and form[0].is_float and form[0].bits >= 16 and len(form[1]) == 2
            plain = plain and "weight_packed" not in entries and not _of_other_layers(view, module)
            if plain and not leaves(all_experts(module) or module):
                found.append(module)
    return found


def _of_other_layers(view: View, module: str) -> bool:
    """Whether a module is of multi-token prediction, which engines load by themselves."""
    return "mtp" in module.split(".") or bool(beyond_last_layer(view, [module]))


_LAYER = re.compile(r"(?:^|\.)layers\.(\d{1,9})\.")


def beyond_last_layer(view: View, modules: Iterable[str]) -> list[str]:
    """Modules of layers that the settings do not count."""
    if view.n_layers is None:
        return []
    found = ((m, _LAYER.search(f"{m}.")) for m in modules)
    return [m for m, layer in found if layer is not None and int(layer[1]) >= view.n_layers]


def halves(view: View, leaves: Leaves) -> list[str]:
    """Modules of groups that are loaded as one, of which settings leave out some shards and others not."""
    groups = (g.members for g in view.groups if not g.of_experts)
    return [m for members in groups if 0 < sum(map(leaves, members)) < len(members) for m in members]
