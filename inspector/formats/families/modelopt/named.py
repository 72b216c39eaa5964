"""For which modules the names in the configuration are, as the library takes them and as engines do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import translate
from typing import Any

from qinspect.inspector.formats.declared import in_config
from qinspect.inspector.formats.families.modelopt.declared import HF_CONFIG, WILD, role_of_name
from qinspect.inspector.formats.said import ModuleNames, NamedModules, strings
from qinspect.inspector.roles import strip_root

_SENTINEL = "each ends in a NUL and a word, as no module is called, a mistake of the exporter"
_PART = "an engine that takes a name for any part of a longer one (vLLM)"
_MAX_ENTRIES = 1 << 14


def named_modules(config: Mapping[str, Any], names: ModuleNames) -> tuple[NamedModules, ...]:
    """Of every entry, once."""
    found: dict[tuple[str, bool], NamedModules] = {}
    for entry, where, left_out in _entries(config):
        if len(found) < _MAX_ENTRIES and (entry, left_out) not in found:
            found[entry, left_out] = _named(entry, where, left_out, names)
    return tuple(found.values())


def _entries(config: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """(entry, where, whether it is left out). Targets of a group are names, or the class of all linear modules."""
    places = [(said.where, said.settings) for said in in_config(config)]
    beside = config.get(HF_CONFIG)
    inner = beside.get("quantization") if isinstance(beside, dict) else None
    if isinstance(inner, dict):
        places.append((HF_CONFIG, inner))
    for where, said in places:
        for key in ("ignore", "exclude_modules"):
            yield from ((entry, f"{key} of {where}", True) for entry in strings(said.get(key)))
        listed = said.get("quantized_layers")
        yield from ((entry, f"quantized_layers of {where}", False) for entry in strings(listed))
        groups = said.get("config_groups")
        for group in groups.values() if isinstance(groups, dict) else ():
            targets = strings(group.get("targets") if isinstance(group, dict) else None)
            yield from ((t, f"targets of {where}", False) for t in targets if "." in t)


def _named(entry: str, where: str, left_out: bool, names: ModuleNames) -> NamedModules:
    if "\0" in entry:
        meant = names.below(names.called(role_of_name(entry)))
        return NamedModules(entry, where, left_out, meant=meant, mistake=_SENTINEL)
    wild = WILD.search(entry) is not None
    modules = names.below(_like(entry, names) if wild else names.called(entry))
    part = entry.removesuffix("*")
    if not left_out or not part or WILD.search(part):
        return NamedModules(entry, where, left_out, modules, wild)
    own = {*modules}
    more = tuple(m for m in names.containing(part) if m not in own)
    return NamedModules(entry, where, left_out, modules, wild, taken_for=more, taken_by=_PART if more else "")


def _like(pattern: str, names: ModuleNames) -> tuple[str, ...]:
    try:
        fits = re.compile(translate(strip_root(pattern))).match
    except (re.error, RecursionError, OverflowError):
        return ()
    return tuple(m for m in names.all if fits(strip_root(m)))
