"""What the settings of GPTQ's writers say: AutoGPTQ, GPTQModel, optimum, AutoRound."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from qinspect.inspector.formats.declared import Declared
from qinspect.inspector.formats.expressions import compiled
from qinspect.inspector.formats.families.gptq.linear import Packing, Said
from qinspect.inspector.formats.said import ModuleNames, NamedModules

AUTO_ROUND = ("auto-round", "autoround", "intel/auto-round")
QQQ = "qqq"
METHODS = ("gptq", QQQ, *AUTO_ROUND)
FORMATS = {"gptq": Packing(False, True), "gptq_v2": Packing(False, False), "gptq_p": Packing(True, False)}
"""By `checkpoint_format`; where it is not said, the first."""
MARLIN = "marlin"
_LEAVES_OUT = "-:"
_MAX_PATTERN = 300
"""Characters of a pattern that is tried, and of a name that it is tried on."""


def is_auto_round(declared: Declared) -> bool:
    """Whether AutoRound wrote the settings."""
    return declared.method in AUTO_ROUND


def format_name(declared: Declared) -> str:
    """`gptq`, `gptq_v2`, `marlin`, ...; of AutoRound its `packing_format`; "" where neither is said."""
    if is_auto_round(declared):
        return declared.text("packing_format", "backend")
    if declared.flag("is_marlin_format"):
        return MARLIN
    if declared.method == QQQ:
        return QQQ
    return declared.text("checkpoint_format", "format") or ("gptq" if declared else "")


def packing(declared: Declared) -> Packing | None:
    """How codes and zero points are packed; None where the settings name a packing that is not known."""
    name = format_name(declared)
    if not declared:
        return Packing(False, None)
    if is_auto_round(declared):
        if "gptq" in name:
            return Packing(False, True, signed=True)
        return Packing(False, False if name == "auto_round" else None, signed=True)
    return FORMATS.get(name)


class Settings:
    """What is said of each module."""

    def __init__(self, declared: Declared) -> None:
        self._declared = declared
        self.base = _said(declared.settings, Said(None, None, None)) if declared else Said(None, None, None)
        self._exact: Mapping[str, Any] = declared.mapping("extra_config")
        every = ((key, _compiled(key), override) for key, override in declared.mapping("dynamic").items())
        self._patterns = [(key, pattern, override) for key, pattern, override in every if pattern is not None]

    @property
    def overridden(self) -> bool:
        """Whether some modules have settings of their own."""
        return bool(self._exact or any(True for _ in self._overrides()))

    @property
    def widths(self) -> set[int]:
        """The bits of a code that are said, of all modules or of some."""
        overrides = (*self._exact.values(), *(override for _, override in self._overrides()))
        said = (self.base, *(_said(o, self.base) for o in overrides if isinstance(o, dict)))
        return {one.bits for one in said if one.bits is not None and 1 <= one.bits <= 8}  # of 16 a module is left out

    def leaves_out(self, module: str) -> bool:
        """Whether a module is said not to be quantized: by its name with 16 bits, or by the first pattern that fits."""
        own = self._exact.get(module)
        if isinstance(own, dict):
            return type(own.get("bits")) is int and own["bits"] >= 16
        patterns = self._patterns if len(module) <= _MAX_PATTERN else ()
        first = next((key for key, pattern, _ in patterns if pattern.match(module)), "")
        return first.startswith(_LEAVES_OUT)

    def named_modules(self, names: ModuleNames) -> tuple[NamedModules, ...]:
        """For which modules the keys of `extra_config` are, and the patterns of `dynamic`."""
        found = [
            NamedModules(name, f"extra_config of {self._declared.where}", self.leaves_out(name), names.called(name))
            for name in self._exact
        ]
        for key, pattern, _ in self._patterns:
            fitting = tuple(m for m in names.all if len(m) <= _MAX_PATTERN and pattern.match(m))
            where = f"dynamic of {self._declared.where}"
            found.append(NamedModules(key, where, key.startswith(_LEAVES_OUT), fitting, True))
        return tuple(found)

    def of(self, module: str) -> Said:
        """What is said of one module: of AutoRound by its name, of GPTQModel by the first pattern that fits."""
        override = self._exact.get(module)
        if override is None and len(module) <= _MAX_PATTERN:
            override = next((o for pattern, o in self._overrides() if pattern.match(module)), None)
        return _said(override, self.base) if isinstance(override, dict) else self.base

    def _overrides(self) -> Iterator[tuple[re.Pattern[str], Any]]:
        """The patterns of `dynamic` that do not leave modules out, and what is said of theirs."""
        return ((pattern, of) for key, pattern, of in self._patterns if not key.startswith(_LEAVES_OUT))


def _compiled(key: str) -> re.Pattern[str] | None:
    if len(key) > _MAX_PATTERN:
        return None
    return compiled(key.removeprefix(_LEAVES_OUT).removeprefix("+:"), _MAX_PATTERN)


def _said(settings: Mapping[str, Any], base: Said) -> Said:
    bits, size, reordered = (
        settings.get("bits", settings.get("wbits")),
        settings.get("group_size"),
        settings.get("desc_act"),
    )
    return Said(
        bits if type(bits) is int else base.bits,
        size if type(size) is int else base.group_size,
        reordered if isinstance(reordered, bool) else base.reordered,
    )
