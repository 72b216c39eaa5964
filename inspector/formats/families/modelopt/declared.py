"""What the configuration says: the algorithm of all modules, or of each, what is left out, and the KV cache.

It stands in config.json (`quantization_config`, perhaps below `text_config`) and in hf_quant_config.json, with the same
meaning. Names in it may end in NUL and a word (`backbone.layers.0.mixer.in_proj.\\0backbone.pt_name_sentinel`), a fault
of the exporter: what comes from the NUL on is no part of the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any

from qinspect.inspector.formats.declared import in_config
from qinspect.inspector.roles import strip_root

HF_CONFIG = "hf_quant_config.json"
WILD = re.compile(r"[*?\[]")
_MAX_PATTERNS = 4096
_MAX_DEPTH = 64
"""Modules above a module that are asked for; names of a hostile file may have any number of parts."""
_MIXED = "MIXED_PRECISION"
_CACHES = {("float", 8): "FP8", ("int", 8): "INT8", ("float", 4): "NVFP4"}


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What is said of one module. name: in capitals, as some are written in small letters. group_size: None where
    nothing is said."""

    name: str
    group_size: int | None = None


@dataclass
class Declared:
    """One configuration. where: the file, for people. algorithm: of every module; None where each has its own, or
    nothing is said. layers: algorithms by role of the module, or of one above it. left_out: roles and patterns of what
    is not quantized. cache: the algorithm of the KV cache, "" where there is none. version: of the library. broken: how
    many names end in NUL and a word. disagree: the algorithms of config.json and of the file beside it, where they
    differ."""

    where: str
    algorithm: Algorithm | None
    layers: dict[str, Algorithm]
    left_out: tuple[str, ...]
    cache: str
    version: str
    broken: int
    disagree: tuple[str, str] | None = None
    _left: dict[str, bool] = field(default_factory=dict)

    @property
    def mixed(self) -> bool:
        """Whether what has no entry in `layers` is not quantized."""
        return bool(self.layers)

    def of(self, role: str) -> Algorithm | None:
        """What is said of a module, by its role or that of a module above it (`experts` of `experts.3.up_proj`)."""
        if not self.layers:
            return self.algorithm
        return next((self.layers[name] for name in _lineage(role) if name in self.layers), None)

    def leaves_out(self, role: str) -> bool:
        """Whether the configuration says that a module is not quantized: it, one above it, or by a pattern."""
        if not self.left_out:
            return False
        known = self._left.get(role)
        if known is None:
            known = self._left[role] = any(self._is_left_out(name) for name in _lineage(role))
        return known

    def _is_left_out(self, name: str) -> bool:
        return name in self._names or (self._patterns is not None and self._patterns.match(name) is not None)

    def __post_init__(self) -> None:
        self._names = {name for name in self.left_out if not WILD.search(name)}
        wild = [translate(name) for name in self.left_out if WILD.search(name)][:_MAX_PATTERNS]
        self._patterns = re.compile("|".join(wild)) if wild else None


def declared_of(config: Mapping[str, Any]) -> Declared | None:
    """What config.json, or the file beside it, says of a quantization by ModelOpt; None where neither does, or
    config.json names another library."""
    own = next(in_config(config), None)
    beside = config.get(HF_CONFIG)
    beside = beside if isinstance(beside, dict) else {}
    inner = beside.get("quantization")
    inner = inner if isinstance(inner, dict) else {}
    if own is not None:
        return _read(own.where, own.settings, inner) if _is_modelopt(own.settings) else None
    producer = beside.get("producer")
    named = isinstance(producer, dict) and producer.get("name") == "modelopt"
    if named or (producer is None and isinstance(inner.get("quant_algo"), str)):
        return _read(HF_CONFIG, {**inner, "producer": producer}, {})
    return None


def names_another(config: Mapping[str, Any]) -> bool:
    """Whether config.json speaks of a quantization, and not of one by ModelOpt."""
    own = next(in_config(config), None)
    return (own is not None and not _is_modelopt(own.settings)) or "quantization" in config


def _is_modelopt(said: Mapping[str, Any]) -> bool:
    """`modelopt`, and the words that loaders take for one of its algorithms: `modelopt_fp4`, `modelopt_mixed`, ..."""
    method = said.get("quant_method")
    if isinstance(method, str):
        return method.lower() == "modelopt" or method.lower().startswith("modelopt_")
    producer = said.get("producer")
    return method is None and isinstance(producer, dict) and producer.get("name") == "modelopt"


def _read(where: str, said: Mapping[str, Any], beside: Mapping[str, Any]) -> Declared:
    """beside: the same of hf_quant_config.json, for what config.json says in other words or not at all."""
    listed = said.get("quantized_layers") or beside.get("quantized_layers")
    layers = {
        role_of_name(name): algorithm
        for name, of_layer in (listed.items() if isinstance(listed, dict) else ())
        if (algorithm := _algorithm(of_layer)) is not None
    }
    left = (said.get("ignore"), said.get("exclude_modules"), beside.get("exclude_modules"))
    left_out = [name for found in left for name in _strings(found)]
    groups = said.get("config_groups")
    targets = [g.get("targets") for g in groups.values() if isinstance(g, dict)] if isinstance(groups, dict) else []
    named = [*left_out, *_strings(listed), *(name for found in targets for name in _strings(found))]
    algorithm, other = _algorithm(said), _algorithm(beside)
    disagree = None
    if algorithm is not None and other is not None and algorithm.name != other.name:
        disagree = algorithm.name, other.name
    elif other is not None and (algorithm is None or algorithm.group_size is None):
        algorithm = other
    producer = said.get("producer")
    version = producer.get("version") if isinstance(producer, dict) else None
    return Declared(
        where, None if algorithm is None or algorithm.name == _MIXED else algorithm, layers,
        tuple(dict.fromkeys(filter(None, map(role_of_name, left_out)))), _cache(said, beside),
        version if isinstance(version, str) else "",
        len({name for name in named if "\0" in name}), disagree,
    )  # fmt: skip


def _strings(found: object) -> list[str]:
    return [x for x in found if isinstance(x, str)] if isinstance(found, (list, tuple, dict)) else []


def role_of_name(name: str) -> str:
    """A declared name, a pattern perhaps, as roles are: without what a NUL begins, and without the words of savers."""
    return strip_root(name.partition("\0")[0].rstrip(".")) if "\0" in name else strip_root(name)


def _algorithm(said: object) -> Algorithm | None:
    if not isinstance(said, Mapping) or not isinstance(said.get("quant_algo"), str):
        return None
    size = said.get("group_size")
    return Algorithm(said["quant_algo"].upper(), size if type(size) is int and size > 0 else None)


def _cache(said: Mapping[str, Any], beside: Mapping[str, Any]) -> str:
    for place in (said, beside):
        name = place.get("kv_cache_quant_algo")
        if isinstance(name, str):
            return "" if name.upper() == "NONE" else name.upper()
    scheme = said.get("kv_cache_scheme")
    if not isinstance(scheme, dict):
        return ""
    kind, bits = scheme.get("type"), scheme.get("num_bits")
    if isinstance(kind, str) and type(bits) is int:
        return _CACHES.get((kind, bits), f"{kind.upper()}{bits}")
    return "unknown"


def unmatched(declared: Declared, quantized: Iterable[str]) -> list[str]:
    """Modules that have an algorithm by the configuration, and in which nothing is quantized. quantized: the roles of
    those in which something is."""
    if not declared.layers:
        return []
    above: set[str] = set()
    for role in quantized:
        above.update(_lineage(role))
    return [role for role in declared.layers if role not in above]


def _lineage(role: str) -> Iterator[str]:
    """A module and those above it, without what savers put in front."""
    name = strip_root(role)
    for _ in range(_MAX_DEPTH):
        if not name:
            return
        yield name
        name = name.rpartition(".")[0]
