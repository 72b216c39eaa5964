"""The weights of a checkpoint: the entries that each is made of, and what the file says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from qinspect.inspector.checkpoint import Checkpoint, Value
from qinspect.inspector.formats.modular import by_module
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.text import visible

CODES = "qdata"
_STORED = re.compile(r"_(\w+)_qdata")
"""Of the part `qdata` of the parameter `weight`, in safetensors."""
_INSIDE = ".tensor_impl"
_AROUND = ".original_weight_tensor"
"""In pickles of releases before 0.14: what a weight is inside of where its input is quantized too."""
_OLD_CODES = {"int_data": CODES, "float8_data": CODES, "packed_weight": "packed_weight"}
_PLAIN = ("Tensor", "Parameter")
_MAX_METADATA = 1 << 14
"""Characters of what is said of one weight: 500 are usual."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the file says of a weight. kind: its class, "" where that is not said. settings: its attributes that are no
    tensors. wrapped: whether it is inside of an object that quantizes inputs by a function of its own."""

    kind: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    wrapped: bool = False

    def name_of(self, key: str) -> str:
        """A setting that is a dtype or one of several names; "" where it is none."""
        found = self.settings.get(key)
        found = found.get("_data") if isinstance(found, dict) else found
        return found.removeprefix("torch.") if isinstance(found, str) else ""

    @property
    def block(self) -> tuple[int, ...]:
        """How many elements share a scale along each axis; () where that is not said."""
        found = self.settings.get("block_size")
        good = isinstance(found, list) and all(type(n) is int and n > 0 for n in found)
        return tuple(found) if good and isinstance(found, list) else ()


@dataclass(frozen=True, slots=True)
class Found:
    """A weight. name: of the parameter. parts: its entries by the names of attributes, the codes under CODES or
    `packed_weight`. tail: what the codes are called behind the module, `instead` what the parameter is."""

    name: str
    parts: Mapping[str, str]
    said: Said
    tail: str
    instead: str

    @property
    def codes_key(self) -> str:
        """The entry of its codes."""
        return self.parts[CODES] if CODES in self.parts else self.parts["packed_weight"]


def is_here(checkpoint: Checkpoint) -> str:
    """The first entry that torchao alone calls so, with a scale beside it; ""."""
    entries = checkpoint.entries
    lasts = entries.lasts
    if not any(last.endswith("_qdata") for last in lasts) and lasts.isdisjoint({CODES, *_OLD_CODES}):
        return ""
    for name in entries.ending("qdata", *_OLD_CODES):
        module, _, last = name.rpartition(".")
        stored = _STORED.fullmatch(last)
        if stored:
            scale = f"{module}." * bool(module) + f"_{stored[1]}_scale"
            beside = any(f"{scale}{end}" in entries for end in ("", "_and_zero"))
        elif last == CODES:
            beside = f"{module}.scale" in entries
        else:
            beside = module.endswith(_INSIDE) and any(f"{module}.scale{end}" in entries for end in ("", "_and_zero"))
        form = entries.form(name) if beside else None
        tensor = checkpoint.tensor(name) if beside and form is None else None
        shape = form[1] if form else tensor.shape if tensor else ()
        if len(shape) > 1:
            return name
    return ""


def weights_of(checkpoint: Checkpoint, role_of: Callable[[str], str]) -> list[Found]:
    """All, in forward order. role_of: of a name, what is the same however a saver called it."""
    said = _Metadata(checkpoint, role_of)
    found = []
    for module, keys in by_module(checkpoint.entries).items():
        found += list(_in_module(checkpoint, module, keys, said))
    return sorted(found, key=lambda f: forward_key(f.name))


def _in_module(checkpoint: Checkpoint, module: str, keys: Mapping[str, str], said: _Metadata) -> Iterator[Found]:
    for last in keys:
        if not last.endswith(("qdata", "data", "packed_weight")):
            continue
        stored = _STORED.fullmatch(last)
        if stored:
            parameter, start = stored[1], f"_{stored[1]}_"
            parts = {other[len(start) :]: key for other, key in keys.items() if other.startswith(start)}
            name = f"{module}.{parameter}" if module else parameter
            yield Found(name, parts, said.of(name), last, parameter)
        elif last == CODES and "scale" in keys:
            yield Found(module, keys, _class_of(checkpoint, module), f".{CODES}", "")
        elif last in _OLD_CODES and module.endswith(_INSIDE):
            name = module.removesuffix(_INSIDE)
            tail = module[len(name.removesuffix(_AROUND)) :]
            name = name.removesuffix(_AROUND)
            parts = {_OLD_CODES.get(other, other): key for other, key in keys.items()}
            yield Found(name, parts, _class_of(checkpoint, name), f"{tail}.{last}", "")


class _Metadata:
    """What the metadata of safetensors say of each weight, by its name, or by what is the same of it."""

    def __init__(self, checkpoint: Checkpoint, role_of: Callable[[str], str]) -> None:
        self._said = checkpoint.metadata
        self._role_of = role_of
        self._by_role: dict[str, str] | None = None

    def of(self, name: str) -> Said:
        text = self._said.get(name)
        if text is None:
            if self._by_role is None:
                self._by_role = {self._role_of(key): text for key, text in self._said.items() if '"_type"' in text}
            text = self._by_role.get(self._role_of(name), "")
        return _parsed(text) if text else Said()


@lru_cache(1024)  # few kinds occur in 20,000 weights
def _parsed(text: str) -> Said:
    if len(text) > _MAX_METADATA:
        return Said()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return Said()
    kind = found.get("_type") if isinstance(found, dict) else None
    settings = found.get("_data") if isinstance(found, dict) else None
    if not isinstance(kind, str) or kind in _PLAIN:
        return Said()
    return Said(visible(kind, 60), settings if isinstance(settings, dict) else {})


def _class_of(checkpoint: Checkpoint, name: str) -> Said:
    """What a pickle says: the class of the object that the entries are in. Its attributes are not read."""
    entry = checkpoint.entries.get(name)
    if not isinstance(entry, Value):
        return Said()
    kind = entry.kind.partition(",")[0].rpartition(".")[2]
    wrapped = kind == "LinearActivationQuantizedTensor"
    return Said("" if wrapped else visible(kind, 60), wrapped=wrapped)
