"""What all rules need of a checkpoint, gathered once: settings as engines read them, names by module, how each module
is stored, which ones are loaded as one, and scales that are single numbers. No weight is read.

Engines choose their loader by `quant_method` in config.json, and tell the entries of a module by the last parts of
their names. So does this view: it goes by the file, and not by the families of `inspector/formats/`, which are lent
for the role of a module only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from math import inf, prod
from typing import Any, TypeVar, cast

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.checkpoint.listing import shard_sets
from qinspect.inspector.checkpoint.single_numbers import is_sweepable, single_numbers
from qinspect.inspector.formats import Format
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.loaders.stored import Stored, stored_as
from qinspect.inspector.siblings import GATE_UP, QKV, Siblings, all_experts, siblings
from qinspect.inspector.text import are, some, visible

T = TypeVar("T")

OF_WEIGHTS = ("weight_scale", "weight_scale_2", "weight_global_scale")
OF_INPUTS = ("input_scale", "input_global_scale")
OF_CACHES = ("k_scale", "v_scale", "q_scale", "output_scale", "kv_scale")
_SCALARS = frozenset((*OF_WEIGHTS, *OF_INPUTS, *OF_CACHES, "scale_weight", "scale_input", "weight_scale_inv", "scale"))
_STACKED = ("gate_up_proj", "down_proj")
_STACKS = tuple(f".experts.{name}" for name in _STACKED)
_SIDE = "hf_quant_config.json"
FLOAT32_BEYOND = 2.0**128
"""What is as large is infinite in float32, in which engines divide."""
COMPRESSED = "compressed-tensors"
MODELOPT = "modelopt"
COMFY = "comfyui"


class View:
    """A checkpoint as a loader sees it before it reads a weight."""

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        self.checkpoint = fmt.checkpoint
        self.config: Mapping[str, Any] = fmt.checkpoint.config
        self.is_gguf = fmt.checkpoint.kind == "GGUF"
        self.incomplete = self._incomplete()
        self._roles: dict[str, str] = {}
        self._once: dict[Callable[[View], Any], Any] = {}
        self._groups_so: dict[tuple[frozenset[Stored], bool], list[Siblings[str]]] = {}
        self._steps: dict[tuple[str, bool], dict[str, float | None]] = {}

    def _incomplete(self) -> str:
        """Why entries that are not here may be elsewhere; "" where all files are open."""
        for shards in shard_sets(f.path.name for f in self.checkpoint.files)[0]:
            if len(shards.names) < shards.total and shards.missing():
                here = len(shards.names)
                return f"{here} of {some(shards.total, 'shard')} {are(here)} here"
        return ""

    def once(self, made_of: Callable[[View], T]) -> T:
        """What a function makes of this view, made when it is first asked for: several rules ask for the same."""
        if made_of not in self._once:
            self._once[made_of] = made_of(self)
        return cast(T, self._once[made_of])

    # --- settings ---

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """`quantization_config`, or what stands in its place; {} where there is nothing."""
        found = declared(self.checkpoint)
        return found.settings

    @cached_property
    def side(self) -> Mapping[str, Any]:
        """`quantization` of hf_quant_config.json; {} where there is none."""
        return _mapping(_mapping(self.config.get(_SIDE)).get("quantization"))

    @cached_property
    def method(self) -> str:
        """`quant_method` as engines take it, in small letters; "" where nothing says it."""
        said = self.settings.get("quant_method")
        if isinstance(said, str) and said:
            word = visible(said.strip().lower(), 60)
            return MODELOPT if word.startswith(MODELOPT) else word
        producer = _mapping(self.settings.get("producer")) or _mapping(_mapping(self.config.get(_SIDE)).get("producer"))
        if producer.get("name") == MODELOPT or isinstance(self.side.get("quant_algo"), str):
            return MODELOPT
        inner = _mapping(self.settings.get("quantization_config")) or self.settings
        return COMPRESSED if "config_groups" in inner else ""

    @cached_property
    def stored(self) -> str:
        """How the checkpoint was saved: the method, `gguf`, or where neither is said the family's word."""
        if self.is_gguf:
            return "gguf"
        if self.method:
            return self.method
        return COMFY if self.is_comfy else self.fmt.family

    @cached_property
    def is_comfy(self) -> bool:
        """Whether markers of ComfyUI are in it: beside each layer, in its header, or over all."""
        lasts = self.checkpoint.entries.lasts
        return bool({"comfy_quant", "scaled_fp8"} & lasts) or "_quantization_metadata" in self.checkpoint.metadata

    @cached_property
    def is_quantized(self) -> bool:
        """Whether there is anything to load otherwise than as it is."""
        if self.method or self.is_comfy or self.quantized:
            return True
        return self.fmt.claims and bool(len(self.fmt.weights()))

    @cached_property
    def architectures(self) -> tuple[str, ...]:
        """The classes that config.json names."""
        found = self.config.get("architectures")
        return tuple(x for x in found if isinstance(x, str)) if isinstance(found, list) else ()

    def is_of(self, *beginnings: str) -> bool:
        """Whether an architecture's name begins in one of these ways."""
        return any(name.startswith(beginnings) for name in self.architectures)

    @cached_property
    def n_layers(self) -> int | None:
        """`num_hidden_layers`, of the text model too."""
        for said in (self.config, _mapping(self.config.get("text_config"))):
            n = said.get("num_hidden_layers")
            if type(n) is int and n > 0:
                return n
        return None

    @cached_property
    def groups_said(self) -> list[Mapping[str, Any]]:
        """The objects in `config_groups`."""
        inner = _mapping(self.settings.get("quantization_config")) or self.settings
        return [g for g in _mapping(inner.get("config_groups")).values() if isinstance(g, dict)]

    @cached_property
    def algorithm(self) -> str:
        """`quant_algo` in capitals; "" where it is not said."""
        found = self.settings.get("quant_algo") or self.side.get("quant_algo")
        return visible(found.upper(), 60) if isinstance(found, str) else ""

    @cached_property
    def layer_algorithms(self) -> dict[str, str]:
        """`quantized_layers`: algorithms in capitals by the names as they are written."""
        listed = self.settings.get("quantized_layers") or self.side.get("quantized_layers")
        return {
            name: of["quant_algo"].upper()
            for name, of in _mapping(listed).items()
            if isinstance(of, dict) and isinstance(of.get("quant_algo"), str)
        }

    @cached_property
    def left_out(self) -> tuple[str, ...]:
        """Names and patterns of what settings leave as it is."""
        words = ("ignore", "exclude_modules", "ignored_layers", "modules_to_not_convert")
        return tuple(dict.fromkeys(x for word in words for x in self.listed(word)))

    def listed(self, word: str) -> list[str]:
        """The names in a list of the settings."""
        return [x for said in (self.settings, self.side) for x in _strings(said.get(word))]

    @cached_property
    def cache(self) -> str:
        """What settings say of the KV cache: `FP8`, another algorithm, or "" where it is not quantized."""
        for said in (self.settings, self.side):
            name = said.get("kv_cache_quant_algo")
            if isinstance(name, str):
                return "" if name.upper() == "NONE" else visible(name.upper(), 60)
        scheme = self.cache_scheme
        if not scheme:
            return ""
        return "FP8" if (scheme.get("type"), scheme.get("num_bits")) == ("float", 8) else "another"

    @cached_property
    def cache_scheme(self) -> Mapping[str, Any]:
        """`kv_cache_scheme`; {} where there is none."""
        inner = _mapping(self.settings.get("quantization_config")) or self.settings
        return _mapping(inner.get("kv_cache_scheme"))

    @cached_property
    def quantizes_inputs(self) -> bool | None:
        """Whether a group of the settings has quantized activations; None where there are no groups."""
        if not self.groups_said:
            return None
        return any(isinstance(g.get("input_activations"), dict) for g in self.groups_said)

    # --- entries ---

    @cached_property
    def forms(self) -> dict[str, Form | None]:
        """dtype and shape of each entry; None of what is no tensor."""
        entries = self.checkpoint.entries
        return dict(zip(entries, entries.tensor_forms(), strict=True))

    @cached_property
    def modules(self) -> dict[str, dict[str, str]]:
        """Keys of the entries of each module by the last parts of their names. Stacked experts, whose entries have no
        `.weight` (`experts.gate_up_proj_weight_scale`), are modules too."""
        made: dict[str, dict[str, str]] = {}
        for name in self.checkpoint.entries:
            module, _, last = name.rpartition(".")
            if last.startswith(_STACKED) and f".{module}".endswith(".experts"):
                base = next(b for b in _STACKED if last.startswith(b))
                module, last = f"{module}.{base}", last[len(base) + 1 :] or "weight"
            made.setdefault(module, {})[last] = name
        return made

    @cached_property
    def quantized(self) -> dict[str, Stored]:
        """How each module is stored that is quantized, in the order of the file."""
        if self.is_gguf:
            return {}
        forms = self.forms
        made: dict[str, Stored] = {}
        for module, entries in self.modules.items():
            if len(entries) > 1 or "weight" in entries:
                kind = stored_as({last: forms[key] for last, key in entries.items()})
                if kind is Stored.FP8_TENSOR and self.algorithm == "FP8_PB_WO":
                    kind = Stored.FP8_BLOCK  # one block, stored as a scalar
                if kind is not None and kind is not Stored.PLAIN:
                    made[module] = kind
        return made

    def stored_so(self, *kinds: Stored) -> list[str]:
        """The modules that are stored in one of these ways."""
        return [m for m, kind in self.quantized.items() if kind in kinds]

    @cached_property
    def groups(self) -> list[Siblings[str]]:
        """Modules that engines load as one, of which one at least is quantized."""
        return [g for g in _fused(self.modules) if any(m in self.quantized for m in g.members)]

    def groups_so(self, *kinds: Stored, experts: bool) -> list[Siblings[str]]:
        """Those whose modules are all stored in one of these ways: of experts, or of what is not."""
        asked = frozenset(kinds), experts
        if asked not in self._groups_so:
            quantized = self.quantized
            self._groups_so[asked] = [
                g for g in self.groups if g.of_experts == experts and all(quantized.get(m) in kinds for m in g.members)
            ]
        return self._groups_so[asked]

    def experts_so(self, *kinds: Stored) -> list[str]:
        """Projections of single experts that are stored in one of these ways."""
        return [m for m in self.stored_so(*kinds) if all_experts(m)]

    def linears_so(self, *kinds: Stored) -> list[str]:
        """Those that are of no expert, nor stacked ones."""
        return [m for m in self.stored_so(*kinds) if not all_experts(m) and not self.is_stacked(m)]

    def is_stacked(self, module: str) -> bool:
        """Whether a module is all experts of a layer in one."""
        return f".{module}".endswith(_STACKS)

    def key(self, module: str, last: str) -> str | None:
        """The name of an entry of a module; None where there is none."""
        return self.modules.get(module, {}).get(last)

    def has(self, module: str, *lasts: str) -> bool:
        """Whether a module has one of these entries."""
        return not self.modules.get(module, {}).keys().isdisjoint(lasts)

    def with_entry(self, *lasts: str) -> list[str]:
        """The modules that have one of these entries."""
        wanted = set(lasts)
        if self.checkpoint.entries.lasts.isdisjoint(wanted) and not self._stacks:
            return []
        return [m for m, entries in self.modules.items() if not wanted.isdisjoint(entries)]

    @cached_property
    def _stacks(self) -> bool:
        return any(self.is_stacked(m) for m in self.modules)

    def form(self, module: str, last: str) -> Form | None:
        """dtype and shape of an entry of a module; None where there is none, or it is no tensor."""
        key = self.key(module, last)
        return None if key is None else self.forms.get(key)

    def size(self, module: str, last: str) -> int:
        """Elements of an entry; 0 where there is none."""
        form = self.form(module, last)
        return 0 if form is None else prod(form[1])

    def shape(self, module: str) -> tuple[int, ...]:
        """The shape of the stored codes of a module."""
        form = self.form(module, "weight_packed") or self.form(module, "weight")
        return form[1] if form else ()

    # --- scales ---

    @cached_property
    def _scalars(self) -> tuple[dict[str, float], list[str]]:
        forms = self.forms
        wanted = [
            key for entries in self.modules.values() for last, key in entries.items()
            if last in _SCALARS and ((form := forms[key]) is None or prod(form[1]) == 1)
        ]  # fmt: skip
        return _read_numbers(self.checkpoint, wanted)

    @property
    def unread(self) -> tuple[str, ...]:
        """Entries that should be one number and cannot be read."""
        return tuple(self._scalars[1])

    def number(self, module: str, last: str) -> float | None:
        """The number of a scale; None where there is none, it is not one number, or cannot be read."""
        key = self.key(module, last)
        return None if key is None else self._scalars[0].get(key)

    def step(self, module: str, last: str, inverted: bool = False) -> float | None:
        """The same where a scale can be it: positive and finite, in float32 too. inverted: one over it."""
        return self.steps(last, inverted).get(module)

    def steps(self, last: str, inverted: bool = False) -> Mapping[str, float | None]:
        """The same of all modules that have such an entry."""
        asked = last, inverted
        if asked not in self._steps:
            numbers = self._scalars[0]
            self._steps[asked] = {
                module: _step(numbers.get(entries[last]), inverted)
                for module, entries in self.modules.items()
                if last in entries
            }
        return self._steps[asked]

    def lacking(self, modules: Sequence[str], *lasts: str) -> list[str]:
        """Modules without any of these entries. None of a checkpoint that is not whole, where they may be elsewhere."""
        return [] if self.incomplete else [m for m in modules if not self.has(m, *lasts)]

    # --- words ---

    def role(self, module: str) -> str:
        """The module in the words of scales and weights."""
        if module not in self._roles:
            self._roles[module] = self.fmt.place_of(f"{module}.weight").removesuffix(".weight") if module else ""
        return self._roles[module]

    def layers_with_attention(self) -> Iterator[str]:
        """Modules that have q, k and v, of which each has a cache."""
        for module in self.modules:
            if module.endswith(".k_proj") and f"{module[:-6]}q_proj" in self.modules:
                yield module[:-7]


def _step(stored: float | None, inverted: bool) -> float | None:
    if stored is None or not 0 < stored < inf:
        return None
    step = 1 / stored if inverted else stored
    return step if step < FLOAT32_BEYOND else None


def _read_numbers(checkpoint: Checkpoint, names: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    """The number under each name, and the names under which none could be read. NaN is a number that may be stored."""
    places = dict(zip(names, checkpoint.entries.places(names), strict=True))
    at_once = {n: (at[0], at[1], at[2][0]) for n, at in places.items() if at is not None and is_sweepable(at[2][0])}
    values, read = single_numbers(list(at_once.values()))
    found = {n: v for n, v, ok in zip(at_once, values.tolist(), read.tolist(), strict=True) if ok}
    others = {n: checkpoint.scalar(n) for n in names if n not in at_once}
    found |= {n: v for n, v in others.items() if v is not None}
    return found, [n for n in names if n not in found]


def _fused(modules: Iterable[str]) -> list[Siblings[str]]:
    """q, k and v, and gate and up, which engines look for as `w1` and `w3` too; each by its name in the file."""
    split = ((module, *module.rpartition(".")[::2]) for module in modules)
    named = ((module, f"{parent}.{_LEAVES[leaf]}") for module, parent, leaf in split if leaf in _LEAVES)
    return siblings(named)


_LEAVES = {name: name for name in (*QKV, *GATE_UP)} | {"w1": "gate_proj", "w3": "up_proj"}


def _mapping(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _strings(found: object) -> list[str]:
    return [x for x in found if isinstance(x, str)] if isinstance(found, (list, tuple)) else []
