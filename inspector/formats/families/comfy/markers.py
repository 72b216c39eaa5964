"""What a file says of its modules: marks beside them, or a list in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats.small import A_FEW_NUMBERS, small_entries
from qinspect.inspector.roles import strip_root

MARK = "comfy_quant"
METADATA = "_quantization_metadata"
OLD_MARK = "scaled_fp8"
_USUAL_BLOCK = 256
_USUAL_GROUP = {"asym_w4a8_int8": 16, "awq_w4a16": 64}


@dataclass(frozen=True, slots=True)
class Said:
    """Of one module. format: as it is written; "" where nothing is. rotated: whether the inputs were rotated by
    Hadamard matrices before they were rounded. block: of this size. group: columns that share a scale. wrong: what is
    wrong with the mark itself, a clause."""

    format: str = ""
    rotated: bool = False
    block: int = _USUAL_BLOCK
    group: int = 0
    wrong: str = ""

    def __str__(self) -> str:
        return f"{self.format or 'unknown'}{f' convrot {self.block}' * self.rotated}"


@dataclass(frozen=True, slots=True)
class Marks:
    """of_marks: by module, what its mark says. of_metadata: the same of the list; moved: names in it that are written
    with another root than their tensors, and these. absent: names in it of which there is nothing."""

    of_marks: Mapping[str, Said]
    of_metadata: Mapping[str, Said]
    moved: tuple[tuple[str, str], ...] = ()
    absent: tuple[str, ...] = ()

    def of(self, module: str) -> tuple[Said, ...]:
        """What is said of a module, that which ComfyUI takes first; () where nothing is."""
        return tuple(dict.fromkeys(said[module] for said in (self.of_metadata, self.of_marks) if module in said))


def listed(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """The layers that the metadata list; None where there is no such list."""
    text = checkpoint.metadata.get(METADATA)
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    layers = found.get("layers") if isinstance(found, dict) else None
    return layers if isinstance(layers, dict) else None


def marks_of(checkpoint: Checkpoint, modules: Mapping[str, Mapping[str, str]]) -> Marks:
    """All marks, a few bytes each, read together. modules: of the checkpoint, with their entries."""
    marked = {module: keys[MARK] for module, keys in modules.items() if MARK in keys}
    texts = small_entries(checkpoint, marked.values(), A_FEW_NUMBERS, ("uint8", "int8"))
    of_marks = {module: _said(texts.get(key, b"").decode("utf-8", "replace")) for module, key in marked.items()}
    layers = listed(checkpoint) or {}
    weighted = {module for module, keys in modules.items() if "weight" in keys}
    by_root = {strip_root(f"{m}.weight").removesuffix(".weight"): m for m in weighted} if layers else {}
    of_metadata: dict[str, Said] = {}
    moved, absent = [], []
    for name, layer in layers.items():
        module = name if name in weighted else by_root.get(strip_root(f"{name}.weight").removesuffix(".weight"))
        if module is None:
            absent.append(name)
            continue
        if module != name:
            moved.append((name, module))
        of_metadata[module] = _said(json.dumps(layer))
    return Marks(of_marks, of_metadata, tuple(moved), tuple(absent))


@lru_cache(1024)  # few marks differ in 20,000 modules
def _said(text: str) -> Said:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return Said(wrong="is not valid JSON")
    if not isinstance(found, dict):
        return Said(wrong="is not a JSON object")
    name = found.get("format")
    if not isinstance(name, str):
        return Said(wrong="names no format")
    inner = found.get("params")
    params = {**inner, **found} if isinstance(inner, dict) else found
    wrong = ""
    sizes: list[Any] = []
    for key, usual in (("convrot_groupsize", _USUAL_BLOCK), ("group_size", _USUAL_GROUP.get(name, 0))):
        size = params.get(key)
        sizes.append(usual if size is None else size)
        if type(sizes[-1]) is not int or (size is not None and size <= 0):
            wrong = f"says {key} {str(size)[:40]}, which is no size"
    rotated = params.get("convrot") is True or name == "convrot_w4a4"
    return Said(name, wrong=wrong) if wrong else Said(name, rotated, sizes[0], sizes[1])
