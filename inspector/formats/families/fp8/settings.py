"""What the settings of FP8 checkpoints say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from qinspect.inspector.formats.declared import Declared
from qinspect.inspector.formats.expressions import compiled
from qinspect.inspector.formats.said import ModuleNames, strings
from qinspect.inspector.roles import strip_root

FBGEMM = "fbgemm_fp8"
METHODS = ("fp8", FBGEMM, "mxfp8")
_MAX_EXPRESSION = 500
_MAX_NAME = 300
_MAX_DEPTH = 64
_EXPRESSION = re.compile(r"[^\w.-]")
_DIRECTIONS = {"": False, "inverse": True}


@dataclass(frozen=True, slots=True)
class Settings:
    """Of a whole checkpoint.

    block: rows and columns that share a scale; None where they are not said. inverted: what scales weights is stored as
    one over it (GPTQModel). settled: whether settings say which of the two it is. activation: `dynamic`, `static`, or
    "". per_token: activations have a scale a token. unknown: a direction that is not known.
    """

    block: tuple[int, int] | None
    inverted: bool
    settled: bool
    activation: str
    per_token: bool
    unknown: str


def settings_of(declared: Declared) -> Settings:
    """What is said, where anything is."""
    direction = declared.text("weight_scale_semantics")
    match declared.settings.get("weight_block_size"):
        case [int(rows), int(columns)] if rows > 0 and columns > 0:
            block: tuple[int, int] | None = (rows, columns)
        case _:
            block = (1, 32) if declared.method == "mxfp8" else None
    fbgemm = declared.method == FBGEMM
    return Settings(
        block, _DIRECTIONS.get(direction, False), bool(declared.method),
        "dynamic" if fbgemm else declared.text("activation_scheme"), fbgemm,
        "" if direction in _DIRECTIONS else direction,
    )  # fmt: skip


def entries_of(declared: Declared) -> Iterator[tuple[str, str]]:
    """(setting, entry) of modules that are not quantized."""
    for key in ("modules_to_not_convert", "ignored_layers"):
        yield from ((key, entry) for entry in strings(declared.settings.get(key)))


class LeftOut:
    """Modules that are not quantized. An entry is an expression that fits from the beginning of a name to a dot or to
    its end, or the end of a name. Savers put other roots before the same module, so with any."""

    def __init__(self, declared: Declared) -> None:
        self.entries = tuple(entries_of(declared))
        self._ends = tuple(entry for _, entry in self.entries)
        self._plain = frozenset(e for e in self._ends if not _EXPRESSION.search(e))
        others = (compiled(_fitting(e), _MAX_EXPRESSION) for e in self._ends if e not in self._plain)
        self._expressions = tuple(p for p in others if p is not None)

    def __contains__(self, module: str) -> bool:
        if module.endswith(self._ends):
            return True
        names = {module, strip_root(module)}
        if any(above in self._plain for name in names for above in _and_above(name)):
            return True
        return len(module) <= _MAX_NAME and any(p.match(name) for p in self._expressions for name in names)

    @staticmethod
    def named(entry: str, names: ModuleNames) -> tuple[str, ...]:
        """The modules of one entry."""
        found = dict.fromkeys((*names.below(names.called(entry)), *names.ending(entry)))
        fits = compiled(_fitting(entry), _MAX_EXPRESSION) if _EXPRESSION.search(entry) else None
        if fits is not None:
            short = (m for m in names.all if len(m) <= _MAX_NAME)
            found |= dict.fromkeys(m for m in short if fits.match(m) or fits.match(strip_root(m)))
        return tuple(found)


def _and_above(module: str) -> Iterator[str]:
    for _ in range(_MAX_DEPTH):
        if not module:
            return
        yield module
        module = module.rpartition(".")[0]


def _fitting(entry: str) -> str:
    return f"(?:{entry})(?:\\.|$)"
