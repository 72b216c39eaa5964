"""What config.json says of the quantization: groups of modules, what is left out, the KV cache. Nothing in it is
believed before the tensors agree (find.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats.declared import every_declared
from qinspect.inspector.formats.families.compressed_tensors.targets import NONE, Targets, in_words
from qinspect.inspector.formats.said import ModuleNames, NamedModules
from qinspect.inspector.text import visible

METHODS = ("compressed-tensors", "sparseml")
AUTO_ROUND = ("auto-round", "intel/auto-round")
_AUTO_ROUND_PACKING = "llm_compressor"
_PRESET_BITS = {"W1A": 1, "W2A": 2, "W3A": 3, "W4A": 4, "W5A": 5, "W6A": 6, "W7A": 7, "W8A": 8}
SPARSE = ("sparse-bitmask", "sparse-24-bitmask", "marlin-24")
FORMATS = (
    "dense", "int-quantized", "float-quantized", "naive-quantized", "pack-quantized", "nvfp4-pack-quantized",
    "mxfp4-pack-quantized", "mxfp8-quantized", "mixed-precision", "fakequant", *SPARSE,
)  # fmt: skip
"""Formats whose entries are known; SPARSE are known and not decoded."""


class Dynamic(StrEnum):
    """When the scales of an activation are made."""

    STORED = "stored"
    ON_THE_FLY = "dynamic"
    LOCAL = "local"
    """Those of blocks on the fly, under a global scale that is stored."""


@dataclass(frozen=True, slots=True)
class Args:
    """How one tensor is quantized. kind: `int` or `float`. None and "" where it is not said."""

    bits: int | None = None
    kind: str = ""
    symmetric: bool | None = None
    strategy: str = ""
    group_size: int | None = None
    block: tuple[int, int] | None = None
    dynamic: Dynamic = Dynamic.STORED

    @classmethod
    def of(cls, said: object) -> Args | None:
        """None where it is no object, as for what is not quantized."""
        if not isinstance(said, dict):
            return None
        bits, kind, size = said.get("num_bits"), said.get("type"), said.get("group_size")
        symmetric, strategy = said.get("symmetric"), said.get("strategy")
        strategy = strategy.lower() if isinstance(strategy, str) else ""
        size = size if type(size) is int and size > 0 else None
        return cls(
            bits=bits if type(bits) is int else 8 if bits is None else 0,
            kind=kind.lower() if isinstance(kind, str) else "int",
            symmetric=symmetric if isinstance(symmetric, bool) else True,
            strategy=strategy or ("group" if size else "channel" if said.get("group_size") == -1 else "tensor"),
            group_size=size,
            block=_block(said.get("block_structure")),
            dynamic=_dynamic(said.get("dynamic")),
        )


def _block(said: object) -> tuple[int, int] | None:
    """Rows and columns of a block: `[128, 128]`, in old files `"128x128"`."""
    parts: object = said
    if isinstance(said, str):
        parts = [int(x) if x.isdecimal() and len(x) < 10 else 0 for x in said.split("x")]
    match parts:
        case [int(rows), int(columns)] if min(rows, columns) > 0:
            return rows, columns
    return None


def _dynamic(said: object) -> Dynamic:
    if isinstance(said, str):
        return Dynamic.LOCAL if said.lower() == "local" else Dynamic.STORED
    return Dynamic.ON_THE_FLY if said is True else Dynamic.STORED


@dataclass(frozen=True, slots=True)
class Group:
    """Modules that are quantized alike. known: whether what is said of it is an object at all, and no name of a
    preset."""

    name: str
    targets: Targets
    weights: Args | None
    inputs: Args | None
    outputs: Args | None
    format: str
    known: bool = True


@dataclass(frozen=True, slots=True)
class Declared:
    """groups: in the order of the file. ignore: modules that are left as they are. kv: of the KV cache. version: of the
    library that wrote it, (0, 19) for 0.19.0; () where it is not said. by: who wrote it, in words. where: the entry it
    was read from. rotated: whether a transformation of weights and activations is named."""

    groups: tuple[Group, ...] = ()
    ignore: Targets = NONE
    kv: Args | None = None
    format: str = ""
    version: tuple[int, ...] = ()
    by: str = ""
    status: str = ""
    where: str = ""
    rotated: bool = False

    def named_modules(self, names: ModuleNames) -> tuple[NamedModules, ...]:
        """For which modules what is left out, and the targets of each group, are."""
        found = [*in_words(self.ignore, f"ignore of {self.where}", True, names)]
        for group in self.groups:
            where = f"targets of {visible(group.name, 40)} in {self.where}"
            found += in_words(group.targets, where, False, names)
        return tuple(found)

    def groups_of(self, module: str) -> list[Group]:
        """Those that name a module, the most specific first: by its name, by an expression, by a class, which is not
        in the file and so may be any."""
        if len(self.groups) == 1 and self.groups[0].targets.classes:
            return [self.groups[0]]
        ranked = sorted((rank, i) for i, g in enumerate(self.groups) if (rank := g.targets.rank(module)) is not None)
        return [self.groups[i] for _, i in ranked]


def settings_of(checkpoint: Checkpoint) -> tuple[str, Mapping[str, Any]] | None:
    """Where the settings are, and they; None where none of this family's are there. Multimodal models have them below
    the configuration of their language model."""
    for said in every_declared(checkpoint.config):
        where, found = said.where, said.settings
        method = found.get("quant_method")
        if method in METHODS or (method is None and _speaks(found)):
            return where, found
        packing = found.get("packing_format")
        if method in AUTO_ROUND and isinstance(packing, str) and _AUTO_ROUND_PACKING in packing:
            return where, found
    return None


def speaks_for_another(checkpoint: Checkpoint) -> bool:
    """Whether a configuration names another library."""
    if any(said.settings.get("quant_method") is not None for said in every_declared(checkpoint.config)):
        return True
    return any(name.endswith(".json") for name in checkpoint.config) or "quantization" in checkpoint.config


def _speaks(found: Mapping[str, Any]) -> bool:
    """Whether settings without the name of a method are this family's, as in `compression_config` of old files."""
    inner = found.get("quantization_config")
    inner = inner if isinstance(inner, dict) else found
    return "config_groups" in inner or "sparsity_config" in found


def declared_of(checkpoint: Checkpoint) -> Declared:
    """What the configuration says; of nothing at all where there is none."""
    found = settings_of(checkpoint)
    if found is None:
        return Declared()
    where, settings = found
    if settings.get("quant_method") in AUTO_ROUND:
        return _of_auto_round(where, settings)
    inner = settings.get("quantization_config")
    inner = inner if isinstance(inner, dict) else settings
    top = _text(inner.get("format"))
    groups = inner.get("config_groups")
    version = _text(inner.get("version")) or _text(settings.get("version"))
    provider = _text(inner.get("provider"))
    by = f"compressed-tensors {version}".rstrip() + (f" by {provider}" if provider else "")
    return Declared(
        groups=tuple(_group(n, g, top) for n, g in groups.items()) if isinstance(groups, dict) else (),
        ignore=Targets.of(inner.get("ignore")),
        kv=Args.of(inner.get("kv_cache_scheme")),
        format=top,
        version=_numbers(version),
        by=by,
        status=_text(inner.get("quantization_status")),
        where=where,
        rotated=_rotates(settings.get("transform_config")),
    )


def _rotates(said: object) -> bool:
    """Whether a `transform_config` has a group that is applied to something."""
    groups = said.get("config_groups") if isinstance(said, dict) else None
    return isinstance(groups, dict) and any(isinstance(g, dict) and g.get("apply") for g in groups.values())


def _group(name: str, said: object, top: str) -> Group:
    if not isinstance(said, dict):  # a preset: `"W4A16": ["Linear"]`
        bits = _PRESET_BITS.get(name[:3].upper())
        return Group(
            name, Targets.of(said), Args(bits=bits, kind="int") if bits else Args(), None, None, top, known=False
        )
    own = _text(said.get("format"))
    return Group(
        name, Targets.of(said.get("targets")), Args.of(said.get("weights")), Args.of(said.get("input_activations")),
        Args.of(said.get("output_activations")), own or ("" if top == "mixed-precision" else top),
    )  # fmt: skip


def _of_auto_round(where: str, said: Mapping[str, Any]) -> Declared:
    """AutoRound's own words for the same layout: one group of all linear modules."""
    kind = {"mx_fp": "float", "nv_fp": "float", "fp": "float", "int": "int"}.get(_text(said.get("data_type")), "")
    size, bits, sym = said.get("group_size"), said.get("bits"), said.get("sym")
    weights = Args(
        bits=bits if type(bits) is int else None, kind=kind, symmetric=sym if isinstance(sym, bool) else None,
        group_size=size if type(size) is int and size > 0 else None,
    )  # fmt: skip
    act_bits, act_size = said.get("act_bits"), said.get("act_group_size")
    inputs = None
    if type(act_bits) is int and act_bits < 16:
        act_size = act_size if type(act_size) is int and act_size > 0 else None
        act_kind = "int" if _text(said.get("act_data_type")).startswith("int") else "float"
        dynamic = Dynamic.ON_THE_FLY if said.get("act_dynamic") is True else Dynamic.STORED
        inputs = Args(act_bits, act_kind, True, "group" if act_size else "token", act_size, None, dynamic)
    version = _text(said.get("autoround_version"))
    group = Group("auto-round", Targets(("Linear",)), weights, inputs, None, "")
    return Declared((group,), by=f"AutoRound {version}".rstrip(), where=where)


def _text(said: object) -> str:
    return said[:80] if isinstance(said, str) else ""


def _numbers(version: str) -> tuple[int, ...]:
    """(0, 19) of `0.19.0`: the parts that order releases."""
    parts = version.split(".")[:2]
    return tuple(int(p) for p in parts) if all(p.isdecimal() and len(p) < 6 for p in parts) and version else ()
