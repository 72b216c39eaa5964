"""What a tensor is called in the model that was exported, where the graph calls it otherwise.

Quantizers append words to names, and exporters give a weight that they turned round a number (`onnx::MatMul_12`). Then
the name of the node that uses it tells: torch's exporters put the module's into it.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from qinspect.inspector.checkpoint.graph import Node

_APPENDED = re.compile(r"(_Transposed)?((_DQ)?_Q\d+(G\d+)?|_(quantized|quant|qweight))$", re.IGNORECASE)
_OF_BUILDER = re.compile(r"\.MatMul\.(qweight|weight|weight_Q\w+)$")
"""onnxruntime-genai's builder has the operation in its names."""
_NUMBERED = re.compile(r"onnx::\w+|[a-z_]*\d+|/.*")
_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(slots=True)
class Names:
    """originals: of entries, the name of the parameter that they hold, where it is another than that of the entry.
    by_scope: those of them that the name of a node told."""

    originals: dict[str, str] = field(default_factory=dict)
    by_scope: dict[str, str] = field(default_factory=dict)

    def of(self, key: str) -> str:
        """The name of the parameter that an entry holds."""
        return self.originals.get(key, key)


def names_of(used: Mapping[str, tuple[Node | None, str]], others: Iterable[str]) -> Names:
    """used: of each weight, by its key, the node that it goes into, and what it is for that (`weight`, `bias`). others:
    further entries, whose names are their own. A name that two would get, neither gets."""
    names = Names()
    wanted: dict[str, str] = {}
    for key, (node, part) in used.items():
        plain = without_additions(key)
        module = module_of(node) if node is not None and is_numbered(plain) else ""
        wanted[key] = f"{module}.{part}" if module else plain
        if module:
            names.by_scope[key] = wanted[key]
    claims = Counter(wanted.values())
    claims.update(key for key in others if key not in used)
    for key, name in wanted.items():
        if claims[name] == 1:
            names.originals[key] = name
        elif key in names.by_scope:
            del names.by_scope[key]
            if not claims[without_additions(key)]:
                names.originals[key] = without_additions(key)
    return names


def without_additions(key: str) -> str:
    """A name without what quantizers append: `fc1.weight` of `fc1.weight_quantized`."""
    found = _OF_BUILDER.sub(".weight", key)
    return _APPENDED.sub("", found) or found


def is_numbered(name: str) -> bool:
    """Whether a name says nothing of the model."""
    return _NUMBERED.fullmatch(name) is not None


def module_of(node: Node) -> str:
    """The module that a node was exported from, by what torch's exporters note: its name `/layer1/layer1.0/conv1/Conv`,
    or the list of its scopes. "" where neither is there."""
    scopes = _scopes(node.properties.get(_SCOPES, ""))
    if len(scopes) > 1:
        return scopes[-2]
    if not node.name.startswith("/"):
        return ""
    found: list[str] = []
    for part in node.name.split("/")[1:-1]:
        if found and part.startswith(f"{found[-1]}."):
            found.pop()  # a child of a Sequential repeats its parent's name
        found.append(part)
    return ".".join(found)


def _scopes(text: str) -> list[str]:
    try:
        found = ast.literal_eval(text) if text.startswith("[") else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return found if isinstance(found, list) and all(isinstance(s, str) for s in found) else []
