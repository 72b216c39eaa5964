"""What config.json says of a module: a type for each of its tensors, of all modules, of some by patterns of names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Generic, TypeVar

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats.declared import Declared, declared
from qinspect.inspector.formats.element import UNKNOWN, Element, integer, small_float, unsigned
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, cells, groups
from qinspect.inspector.roles import strip_root

METHOD = "quark"
_MAX_PATTERNS, _MAX_STARS = 1 << 8, 8
_GLOB = frozenset("*?[")
T = TypeVar("T")
_FLOATS = {
    "fp8_e4m3": "float8_e4m3fn", "fp8_e5m2": "float8_e5m2", "fp4": "float4_e2m1fn", "fp6_e2m3": "float6_e2m3fn",
    "fp6_e3m2": "float6_e3m2fn",
}  # fmt: skip
_INTEGERS = {"int4": 4, "uint4": 4, "int8": 8, "uint8": 8}


@dataclass(frozen=True, slots=True)
class Spec:
    """Of one tensor. dtype: in Quark's words; "" where it is not quantized. several: it is quantized in steps."""

    dtype: str = ""
    group: int = 0
    symmetric: bool | None = None
    is_dynamic: bool = False
    scheme: str = ""
    several: bool = False

    @classmethod
    def of(cls, said: object) -> Spec:
        """Of what stands in config.json."""
        if isinstance(said, list):
            return replace(cls.of(said[0]), several=len(said) > 1) if said else cls()
        if not isinstance(said, dict):
            return cls()
        dtype, group, symmetric = said.get("dtype"), said.get("group_size"), said.get("symmetric")
        return cls(
            dtype if isinstance(dtype, str) else "", group if type(group) is int and group > 0 else 0,
            symmetric if isinstance(symmetric, bool) else None, said.get("is_dynamic") is True,
            str(said.get("qscheme")),
        )  # fmt: skip

    @property
    def element(self) -> Element:
        """Of its codes, with an offset where nothing is said of zero points; UNKNOWN where the type is not known."""
        if self.dtype in _FLOATS:
            return small_float(_FLOATS[self.dtype])
        bits = _INTEGERS.get(self.dtype)
        if bits is None:
            return UNKNOWN
        if self.dtype.startswith("u"):
            return unsigned(bits)
        return integer(bits) if self.symmetric is not False else replace(integer(bits), offset=None)

    @property
    def grid(self) -> Grid:
        """Of an activation, over [tokens, features]."""
        if self.group:
            return groups(self.group)
        return PER_TENSOR if self.scheme == "per_tensor" else cells("token")


@dataclass(frozen=True, slots=True)
class OfModule:
    """Of the tensors of a module."""

    weight: Spec = Spec()
    inputs: Spec = Spec()
    outputs: Spec = Spec()

    @classmethod
    def of(cls, said: object) -> OfModule:
        """Of what stands in config.json."""
        found = said if isinstance(said, dict) else {}
        return cls(*(Spec.of(found.get(key)) for key in ("weight", "input_tensors", "output_tensors")))


class Named(Generic[T]):
    """What is said of modules, by names and by patterns with `*` and `?`. Savers put other roots before the same
    module: a name is so with any."""

    def __init__(self, said: Mapping[str, T]) -> None:
        self._exact = {strip_root(name): of for name, of in said.items() if not _GLOB.intersection(name)}
        globs = [(name, of) for name, of in said.items() if _GLOB.intersection(name)]
        self._globs = [(name, of) for name, of in globs[:_MAX_PATTERNS] if name.count("*") <= _MAX_STARS]

    def of(self, module: str) -> T | None:
        """Of a module: by its name, else by the first pattern that fits; None where nothing is said."""
        bare = strip_root(module)
        if bare in self._exact:
            return self._exact[bare]
        return next((of for name, of in self._globs if fnmatchcase(module, name) or fnmatchcase(bare, name)), None)


@dataclass(frozen=True)
class Settings:
    """All that is said."""

    declared: Declared = field(default_factory=Declared)

    @cached_property
    def whole(self) -> OfModule:
        """Of modules of which nothing else is said."""
        return OfModule.of(self.declared.mapping("global_quant_config"))

    @cached_property
    def _patterns(self) -> Named[OfModule]:
        said = self.declared.mapping("layer_quant_config")
        return Named({pattern: OfModule.of(of) for pattern, of in said.items()})

    @cached_property
    def _of_cache(self) -> Named[OfModule]:
        said = self.declared.mapping("kv_cache_quant_config")
        return Named({pattern: OfModule.of(of) for pattern, of in said.items()})

    @property
    def by_class(self) -> bool:
        """Whether something is said of classes, of which no file tells which modules they are."""
        return bool(self.declared.mapping("layer_type_quant_config"))

    def of(self, module: str) -> OfModule:
        """Of a module by its name: that of the first pattern that fits, else what is said of all."""
        return self._patterns.of(module) or self.whole

    def cache_of(self, module: str) -> Spec:
        """Of what attention keeps of a projection's output."""
        return (self._of_cache.of(module) or self.of(module)).outputs

    @cached_property
    def _excluded(self) -> Named[bool]:
        found = self.declared.settings.get("exclude")
        return Named(dict.fromkeys((n for n in found if isinstance(n, str)), True) if isinstance(found, list) else {})

    def leaves_out(self, module: str) -> bool:
        """Whether a module is said to be in full precision."""
        return self._excluded.of(module) is not None

    @property
    def reordered(self) -> bool:
        """Whether eight codes of a word lie in the order of AWQ's kernel."""
        return self.pack_method != "order"

    @property
    def pack_method(self) -> str:
        """`reorder`, `order`, or what else is said."""
        said: Any = self.declared.mapping("export").get("pack_method")
        return said if isinstance(said, str) else "reorder"


def settings_of(checkpoint: Checkpoint) -> Settings:
    """Those of a checkpoint; nothing where they are of another library."""
    said = declared(checkpoint)
    return Settings(said if said.method == METHOD else Declared())
