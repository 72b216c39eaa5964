"""The entries of an adapter put together by the modules that they adapt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats.adapted import AdaptedModule
from qinspect.inspector.formats.families.adapter import parts
from qinspect.inspector.formats.families.adapter.factors import rank_of, shape_of
from qinspect.inspector.formats.families.adapter.flat import branch_of, unfolded
from qinspect.inspector.formats.families.adapter.parts import Part, part_of_name
from qinspect.inspector.formats.families.adapter.settings import Settings, settings_of
from qinspect.inspector.roles import strip_root

_CALCULATED = (parts.LORA, parts.LOHA, parts.LOKR)
_BRANCHES = {
    "lora_unet": "", "lora_transformer": "", "lycoris": "", "unet": "", "lora_te": "text_encoder",
    "lora_te1": "text_encoder", "lora_text_encoder": "text_encoder", "lora_te2": "text_encoder_2",
    "lora_text_encoder_2": "text_encoder_2", "lora_te3": "text_encoder_3",
}  # fmt: skip
"""The words of savers for the model that is adapted; "" for the one that makes the image."""
_DOTTED = ("unet", "text_encoder", "text_encoder_2", "text_encoder_3")


@dataclass(slots=True)
class Entries:
    """The entries of one module: what each is called, and its name."""

    stem: str
    methods: set[str] = field(default_factory=set)
    keys: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a module stands: the model (a word of `_BRANCHES`), its path, and whether its dots could be told."""

    branch: str
    path: str
    told: bool = True


def place_of_stem(stem: str) -> Place:
    """Of a module, by its name in the file."""
    prefix, rest = branch_of(stem)
    if prefix:
        path = unfolded(rest)
        return Place(_BRANCHES.get(prefix, prefix), path or rest, path is not None)
    first, dot, behind = stem.partition(".")
    if dot and first in _DOTTED:
        return Place(_BRANCHES.get(first, first), strip_root(behind))
    return Place("", strip_root(stem))


class Adapted:
    """All modules of an adapter, in the order of the file."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self.settings: Settings = settings_of(checkpoint)
        self.part_of: dict[str, Part] = {}
        self._of_stem: dict[tuple[str, str], Entries] = {}
        for name in checkpoint.entries:
            if part := part_of_name(name):
                entries = self._of_stem.setdefault((part.stem, part.given), Entries(part.stem))
                if part.called not in entries.keys:
                    entries.keys[part.called] = name
                    self.part_of[name] = part
                    entries.methods.add(part.method)
        for place, entries in list(self._of_stem.items()):
            if entries.methods == {""}:  # an alpha or a magnitude of something else
                del self._of_stem[place]
                for name in entries.keys.values():
                    del self.part_of[name]

    @property
    def has_weights_of_base(self) -> bool:
        """Whether a weight stands beside the factors that change it: then this is a model, and no adapter to one."""
        ends = ("weight", "base_layer.weight", "qweight")
        return any(f"{e.stem}.{end}" in self._checkpoint.entries for e in self._of_stem.values() for end in ends)

    @cached_property
    def modules(self) -> tuple[AdaptedModule, ...]:
        """Each with what its shapes, its alpha and the settings say. Reads the alphas."""
        return tuple(self._module(entries) for entries in self._of_stem.values())

    @cached_property
    def entries_of(self) -> dict[AdaptedModule, Entries]:
        """What the modules are made of."""
        return dict(zip(self.modules, self._of_stem.values(), strict=True))

    @cached_property
    def branches(self) -> frozenset[str]:
        """The models that are adapted."""
        return frozenset(place_of_stem(e.stem).branch for e in self._of_stem.values())

    def _module(self, entries: Entries) -> AdaptedModule:
        place = place_of_stem(entries.stem)
        method = " and ".join(sorted(entries.methods - {""}))
        shapes = dict(self._shapes(entries))
        calculated = method in _CALCULATED and not any(name.endswith(".bias") for name in entries.keys)
        rank, shape = rank_of(method, shapes), shape_of(method, shapes) if method in _CALCULATED else None
        alpha, factor = self._factor(entries, place.path, method, rank)
        why = "" if calculated else f"what {method or 'it'} adds is not calculated"
        if calculated and shape is None:
            why = "its factors are incomplete or do not fit each other"
        elif calculated and factor is None:
            why = "alpha is not known"
        if self.settings.variant:
            why = why or f"the settings say {self.settings.variant}, and that is not calculated"
        if f"{entries.stem}.scalar" in self._checkpoint.entries:  # LyCORIS with use_scalar
            why = why or "a trained scalar stands beside its factors"
        dora = parts.MAGNITUDE in entries.keys
        if dora and not why and shape and not _by_rows(entries.keys[parts.MAGNITUDE], shapes, shape):
            why = "its magnitudes are not those of rows"
        if shape and self.settings.transposed and len(shape) == 2 and parts.DOWN in shapes:
            why = why or "the weight is stored transposed"
        said = method if not dora else "DoRA" if method == parts.LORA else f"{method} with magnitudes (DoRA)"
        return AdaptedModule(
            place.path, place.path.replace(".", "_"), place.branch, said, rank, alpha, factor, shape,
            tuple(entries.keys.values()), why,
        )  # fmt: skip

    def _shapes(self, entries: Entries) -> Iterator[tuple[str, tuple[int, ...]]]:
        for called, name in entries.keys.items():
            form = self._checkpoint.entries.form(name)
            tensor = None if form else self._checkpoint.tensor(name)
            if form or tensor:
                yield called, form[1] if form else tensor.shape if tensor else ()

    def _factor(
        self, entries: Entries, module: str, method: str, rank: int | None
    ) -> tuple[float | None, float | None]:
        """Alpha, and what the product is multiplied by. An alpha in the file goes before one of the settings."""
        said = self.settings
        if name := entries.keys.get(parts.ALPHA):
            alpha = self._checkpoint.scalar(name)
            if alpha is None or not math.isfinite(alpha):
                return None, None
            if method == parts.LOKR and rank is None:
                return alpha, 1.0  # both are whole, and LyCORIS writes its rank for alpha
            return alpha, alpha / rank if rank and alpha else None  # of 0 loaders make two things
        if said.factor is not None:
            return None, said.factor
        if not said.source or said.source == "ss_network_dim":
            return None, None
        alpha = said.alpha_of(module)
        declared = said.rank_of(module)
        rank = rank or (int(declared) if declared else None)
        if alpha is None or not rank:
            return alpha, None
        return alpha, alpha / (math.sqrt(rank) if said.rank_stabilized else rank)


def _by_rows(key: str, shapes: Mapping[str, tuple[int, ...]], weight: tuple[int, ...]) -> bool:
    """Whether there is one magnitude for each row of the weight. LyCORIS has them of columns too, [1, in, ...]; peft's
    of a convolution are [1, out, 1, 1]."""
    magnitude = shapes[parts.MAGNITUDE]
    n = math.prod(magnitude)
    of_columns = key.endswith("dora_scale") and magnitude[:2] == (1, n) and n > 1
    return n == weight[0] and parts.EMBEDDING_DOWN not in shapes and not of_columns


def said_of_numbers(numbers: set[float]) -> str:
    """`16`, or `4 to 32`."""
    low, high = min(numbers), max(numbers)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
