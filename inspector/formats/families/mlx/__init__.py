"""MLX: weights in words of 32 bits with a scale, and in the affine mode a minimum, for each group of a row.

packing.py has the modes, settings.py what config.json says, inputs.py what else tells how wide a code is, weight.py
reads a weight. docs/formats.md has the layouts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.families.mlx.inputs import Inputs
from qinspect.inspector.formats.families.mlx.packing import (
    AFFINE,
    BITS,
    MODES,
    Packing,
    columns,
    fits,
    listed,
    possible,
    usual,
)
from qinspect.inspector.formats.families.mlx.settings import METHODS, Said, settings_of
from qinspect.inspector.formats.families.mlx.weight import Keys, MlxWeight
from qinspect.inspector.formats.modular import ModularFormat, Part, by_module, required
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.records import Problem, Slice
from qinspect.inspector.formats.said import Contradiction, ModuleNames, NamedModules, contradictions_of, differing_said
from qinspect.inspector.text import some

_WORDS, _BYTES, _FLOATS = "uint32", "uint8", ("bfloat16", "float16", "float32")
_MINIMA = ("biases", "qbiases")
_ENTRIES = ("weight", "scales", *_MINIMA, "global_scale")
_STACK = "switch_mlp"
_MAX_EXPERTS = 1 << 12
"""Of one stack: each becomes a weight with records, however little it holds."""


class MlxFormat(ModularFormat):
    """One checkpoint."""

    family = "mlx"
    loaded_as_one = False

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._settings = settings_of(checkpoint)
        self._packings: dict[str, Packing] = {}
        self._differing: list[tuple[str, str, str]] = []
        self._by_inputs: list[str] = []
        self._fitting: set[tuple[int, ...]] = set()
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        entries = checkpoint.entries
        if not {"weight", "scales"} <= set(entries.lasts):
            return None
        said = settings_of(checkpoint)
        if said.method and said.method not in METHODS:
            return None
        for name in entries.ending("scales"):
            scales, weight = entries.form(name), entries.form(name.removesuffix("scales") + "weight")
            if name.rpartition(".")[2] == "scales" and scales and weight and _speak(weight, scales):
                return f"{name} scales words of codes"
        return None

    @property
    def description(self) -> str:
        counts = Counter(self._packings.values()).most_common()
        modes: dict[str, list[str]] = {}
        for p, _ in counts:
            modes.setdefault(p.mode, []).append(f"{p.bits}-bit g{p.group}" if p.mode == AFFINE else "")
        said = [f"{mode} {', '.join(how[:3])}{', ...' * (len(how) > 3)}".strip() for mode, how in modes.items()]
        return f"MLX {' and '.join(said)}"

    @property
    def declared_bits(self) -> tuple[float, ...]:
        return tuple(float(bits) for bits in sorted(self._settings.bits) if bits <= max(BITS))

    def _find(self) -> Iterator[Part]:
        modules = {m: keys for m, keys in by_module(self.checkpoint.entries).items() if self._is_quantized(keys)}
        for module in sorted(modules, key=forward_key):
            try:
                yield from self._of_module(module, modules[module])
            except CannotDequantize as e:
                yield Problem(e.key or next(iter(modules[module].values())), e)

    @cached_property
    def _forms(self) -> dict[str, Form | None]:
        entries = self.checkpoint.entries
        return dict(zip(entries, entries.tensor_forms(), strict=True))

    @cached_property
    def _inputs(self) -> Inputs:
        return Inputs(self._forms)

    def _is_quantized(self, keys: Mapping[str, str]) -> bool:
        form = self._forms.get(keys.get("weight", ""))
        return "scales" in keys or (form is not None and form[0].name == _WORDS and len(form[1]) > 1)

    def _of_module(self, module: str, keys: dict[str, str]) -> list[Part]:
        """The weight of a module, or those of the experts in it. Raises CannotDequantize."""
        words = self._words(module, keys)
        packing = self._packing(module, keys, words)
        self._packings[module] = packing
        name, role = (f"{module}.weight", self.role_of(keys["weight"])) if module else ("weight", "weight")
        shape = words[-2], columns(packing, words[-1])
        named = Keys(
            keys["weight"], keys["scales"], next((keys[k] for k in _MINIMA if k in keys), ""),
            keys.get("global_scale", "") if packing.mode == "nvfp4" else "",
        )  # fmt: skip
        if len(words) == 2:
            return [MlxWeight(self.checkpoint, named, packing, shape, name, role, None)]
        return [
            MlxWeight(self.checkpoint, named, packing, shape, _of_expert(name, e), _of_expert(role, e), Slice((e,)))
            for e in range(words[0])
        ]

    def _words(self, module: str, keys: Mapping[str, str]) -> tuple[int, ...]:
        """The shape of the codes of a module, after all its entries were found to fit. Raises CannotDequantize."""
        form = self._forms.get(keys.get("weight", ""))
        kind = tuple([id(self._forms.get(keys[last])) if last in keys else 0 for last in _ENTRIES])
        if form is None or kind not in self._fitting:  # 20,000 modules are of few kinds
            shape = self._checked(module, keys)
            self._fitting.add(kind)
            return shape
        return form[1]

    def _checked(self, module: str, keys: Mapping[str, str]) -> tuple[int, ...]:
        """As `_words`, of a module of a kind that was not seen before."""
        form, scales = (self._forms.get(keys.get(last, "")) for last in ("weight", "scales"))
        key = keys.get("weight") or (f"{module}.weight" if module else "weight")
        shape = form[1] if form else ()
        if form is None or form[0].name != _WORDS or len(shape) not in (2, 3) or 0 in shape:
            raise CannotDequantize(
                "is missing: the codes that are scaled" if form is None else "cannot be codes that are scaled",
                file=self.checkpoint.path, key=key, expected=f"{_WORDS} [out, words], or [experts, out, words]",
                found=f"{form[0].name} {list(shape)}" if form else "nothing",
            )  # fmt: skip
        if len(shape) == 3 and shape[0] > _MAX_EXPERTS:
            raise CannotDequantize(
                "is no stack of experts", file=self.checkpoint.path, key=key, expected=f"at most {_MAX_EXPERTS}",
                found=f"{shape[0]}",
            )  # fmt: skip
        if scales is None or scales[1][:-1] != shape[:-1] or scales[0].name not in (_BYTES, *_FLOATS):
            raise CannotDequantize(
                "is missing: the scales of codes" if scales is None else f"cannot scale codes of shape {list(shape)}",
                file=self.checkpoint.path, key=keys.get("scales") or f"{key.removesuffix('weight')}scales",
                expected=f"{_BYTES}, {' or '.join(_FLOATS)} [{', '.join(map(str, shape[:-1]))}, groups]",
                found=f"{scales[0].name} {list(scales[1])}" if scales else "nothing",
            )  # fmt: skip
        of_bytes = scales[0].name == _BYTES
        minima = next((keys[k] for k in _MINIMA if k in keys), f"{key.removesuffix('weight')}biases")
        if of_bytes and minima in self._forms:
            raise CannotDequantize(
                "stands beside scales in bytes, to which nothing is added", file=self.checkpoint.path, key=minima,
                expected="no such entry", found=f"scales {scales[0].name} {list(scales[1])}",
            )  # fmt: skip
        if not of_bytes:
            required(self.checkpoint, minima, _FLOATS, [scales[1]], f"the scales {keys['scales']}")
        if "global_scale" in keys:
            n = [(), (1,), *([(shape[0],)] if len(shape) == 3 else [])]
            required(self.checkpoint, keys["global_scale"], _FLOATS, n, f"the codes {key}")
        return shape

    def _packing(self, module: str, keys: Mapping[str, str], words: tuple[int, ...]) -> Packing:
        """What the settings say of a module where its tensors fit that, else the one that they can be. Raises
        CannotDequantize."""
        scales = self._forms[keys["scales"]]
        assert scales is not None
        n_groups, of_bytes = scales[1][-1], scales[0].name == _BYTES
        said = self._settings.of(module)
        if (said.mode and said.mode not in MODES) or (said.bits and said.bits not in BITS):
            raise CannotDequantize(
                "is of a kind that is not known", file=self.checkpoint.path, key=keys["weight"],
                expected=f"one of {', '.join(MODES)}, of {', '.join(map(str, BITS))} bits",
                found=f"{said.mode or AFFINE} of {said.bits or 'unsaid'} bits in {self._settings.where}",
            )  # fmt: skip
        wanted = _packings_said(said, self._settings.whole)
        for p in wanted:
            if (p.mode != AFFINE) == of_bytes and fits(p, words[-1], n_groups):
                if said.left_out:
                    self._differing.append((module, "it is not quantized", str(p)))
                return p
        found = possible(words[-1], n_groups, of_bytes)
        if len(found) > 1:
            found = self._told_by_inputs(module, found, words[-1])
        if len(found) != 1:
            raise self._untold(keys, words, n_groups, found, wanted)
        if wanted:
            self._differing.append((module, str(wanted[0]), str(found[0])))
        return found[0]

    def _told_by_inputs(self, module: str, found: list[Packing], n_words: int) -> list[Packing]:
        """Of several packings the one that has as many columns as the module has inputs; all where nothing tells."""
        n_in, known = self._inputs.of(module), found
        if n_in is None:  # what is likely counts where modules before it are packed so
            n_in, known = self._inputs.perhaps(module), [p for p in found if p in self._packings.values()]
        told = [p for p in known if columns(p, n_words) == n_in]
        self._by_inputs += [module] * len(told)
        return told or found

    def _untold(
        self, keys: Mapping[str, str], words: tuple[int, ...], n_groups: int, found: list[Packing], said: list[Packing]
    ) -> CannotDequantize:
        return CannotDequantize(
            "may be more than one thing" if found else "is of no width that is known", file=self.checkpoint.path,
            key=keys["weight"], expected=f"{said[0]}, as {self._settings.where} says" if said else
            "settings that say bits and group_size" if found else "rows of whole groups",
            found=f"{words[-1]} words and {n_groups} scales a row{f': {listed(found)}' if found else ''}",
            cure="" if said or not found else "Put the config.json that was saved with these weights beside them.",
        )  # fmt: skip

    def named_modules(self) -> tuple[NamedModules, ...]:
        names = ModuleNames(self.checkpoint.entries)
        return tuple(
            NamedModules(name, self._settings.where, said.left_out, names.called(name))
            for name, said in self._settings.named.items()
        )

    def contradictions(self) -> tuple[Contradiction, ...]:
        return contradictions_of(self._settings.where, self._differing)

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *differing_said(self._settings.where, self._differing, "tensors"), *self._unsaid())

    def _unsaid(self) -> Iterator[str]:
        if self._by_inputs and not self._settings.where:
            told = some(len(self._by_inputs), "module")
            yield f"no settings say how wide codes are: of {told} those around tell, by how many inputs there are"


def _speak(weight: Form, scales: Form) -> bool:
    """Whether entries of these forms are codes in words and the scales of their groups."""
    shape = weight[1]
    return (
        weight[0].name == _WORDS
        and scales[0].name in (_BYTES, *_FLOATS)
        and len(shape) in (2, 3)
        and scales[1][:-1] == shape[:-1]
    )


def _packings_said(said: Said, whole: Said) -> list[Packing]:
    """What settings say of a module: with what MLX takes where they do not say all, and with what they say of all
    modules; [] where they say nothing."""
    said = whole if said.left_out else said
    if said == Said():
        return []
    mode, default = said.mode or AFFINE, usual(said.mode)
    bits, group = said.bits or default.bits, said.group or default.group
    return [
        Packing(mode, bits, group),
        Packing(mode, said.bits or whole.bits or bits, said.group or whole.group or group),
    ]


def _of_expert(name: str, expert: int) -> str:
    """`mlp.experts.3.up_proj.weight` of `mlp.switch_mlp.up_proj.weight`."""
    module, last = name.removesuffix(".weight").rpartition(".")[::2]
    parent, _, inner = module.rpartition(".")
    inner = "experts" if inner == _STACK else inner
    return ".".join(filter(None, (parent, inner, str(expert), last, "weight")))
