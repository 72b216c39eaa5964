"""The columns of tables: which of them fit. The name comes first: a column that can be done without gives way before a
name is cut."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from qinspect.inspector.compare.results import ScalePair
from qinspect.tui.names import shown


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """name; width in cells (0: what is left); right-aligned; least table width at which it is shown."""

    name: str
    width: int
    right: bool = False
    from_width: int = 0


ONE_COLUMNS = (
    ColumnSpec("scale", 0),
    ColumnSpec("value", 17, True),
    ColumnSpec("shape", 18),
    ColumnSpec("kind", 10),
    ColumnSpec("granularity", 26),
    ColumnSpec("copies", 6, True),
)
TWO_COLUMNS = (
    ColumnSpec("scale", 0),
    ColumnSpec("A", 15, True),
    ColumnSpec("B", 15, True),
    ColumnSpec("B vs A", 12, True),
    ColumnSpec("SQNR", 7, True),
    ColumnSpec("method", 14),
    ColumnSpec("changed", 15, True),
    ColumnSpec("shape", 18),
    ColumnSpec("kind", 10),
    ColumnSpec("copies", 6, True),
    ColumnSpec("band", 14),
)
_ALWAYS = ("scale", "value", "B vs A", "SQNR")
_OPTIONAL = (("method",), ("A", "B"), ("shape",), ("kind",), ("band",), ("changed",), ("granularity",), ("copies",))
"""The others, the first to be shown first; those of a group together or not at all."""
LEAST_NAME, MOST_NAME = 10, 64
"""Cells that a name gets in any table, and that it can ask for before other columns: one name may have thousands."""


@dataclass(frozen=True, slots=True)
class Names:
    """Of all scales of a model. prefix: what all names begin with, shown once. longest: cells of the longest name
    without it. empty: columns that say nothing of any. measured: whether fidelity is known of some. methods: whether a
    method can be told."""

    prefix: str = ""
    longest: int = LEAST_NAME
    empty: frozenset[str] = frozenset()
    measured: bool = False
    methods: bool = False

    def has(self, column: str) -> bool:
        """Whether anything is known for a column."""
        return {"SQNR": self.measured, "method": self.methods}.get(column, True)


def names_of(pairs: Sequence[ScalePair]) -> Names:
    """What the names of these scales ask of a table."""
    if not pairs:
        return Names()
    roles = [p.role for p in pairs]
    prefix = common_prefix(roles)
    longest = max(map(_cells, roles)) - _cells(prefix)
    says = {
        "shape": any(math.prod(p.record.shape) != 1 for p in pairs),
        "changed": any(p.difference is not None and p.difference.n > 1 for p in pairs),
        "copies": any(p.record.copies for p in pairs),
        "band": any(p.bands for p in pairs),
    }
    return Names(prefix, longest, frozenset(name for name, said in says.items() if not said))


def _cells(name: str) -> int:
    """Of a name as it is shown."""
    return len(name) if name.isascii() and name.isprintable() else cell_len(shown(name))


_NUMBER = re.compile(r"(?:^|(?<=\.))\d+(?=[.:#]|$)")


def common_prefix(names: Sequence[str]) -> str:
    """The parts that all names begin with, `model.layers.`, and no number among them: that one belongs to the name."""
    if len(names) < 2:
        return ""
    first, last = min(names), max(names)
    n = next((i for i, (x, y) in enumerate(zip(first, last, strict=False)) if x != y), len(first) - 1)
    number = _NUMBER.search(first)
    return first[: first.rfind(".", 0, min(n, number.start()) if number else n) + 1]


def layout(two: bool, width: int, names: Names = Names(longest=MOST_NAME)) -> list[tuple[ColumnSpec, int]]:
    """The columns of scales that fit and their widths."""
    known = [c for c in (TWO_COLUMNS if two else ONE_COLUMNS) if names.has(c.name)]
    widths = {c.name: c.width + 1 for c in known}
    free = width - 2 - sum(widths.get(name, 0) for name in _ALWAYS)
    need = max(LEAST_NAME, min(names.longest, MOST_NAME))
    chosen = set(_ALWAYS)
    for group in _OPTIONAL:
        wanted = [name for name in group if name in widths and name not in names.empty]
        cost = sum(widths[name] for name in wanted)
        if free - cost >= need:
            free -= cost
            chosen.update(wanted)
    return fitted([c for c in known if c.name in chosen], width)


def fitted(columns: Sequence[ColumnSpec], width: int) -> list[tuple[ColumnSpec, int]]:
    """The columns that fit and their widths; the first takes what is left."""
    columns = [c for c in columns if c.from_width <= width]
    fixed = sum(c.width + 1 for c in columns)
    return [(c, c.width or max(LEAST_NAME, width - fixed - 2)) for c in columns]
