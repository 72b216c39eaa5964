"""Kinds of layers' entries as the numbered columns of a map: what they are called, in the lines beside it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from rich.cells import cell_len

from qinspect.tui.labels import fill_name, side_by_side
from qinspect.tui.names import shown


def short_kinds(kinds: Sequence[str], repeated: Sequence[str] | None = None) -> list[str]:
    """Kinds without the parts that all of them begin with; of `repeated`, where that is given: what is in no layer has
    a name of its own, and does not count."""
    parts = [k.split(".") for k in (kinds if repeated is None else repeated)]
    same = 0
    while len(parts) > 1 and all(len(p) > same + 1 and p[same] == parts[0][same] for p in parts):
        same += 1
    prefix = ".".join([*parts[0][:same], ""]) if same else ""
    return [k.removeprefix(prefix) for k in kinds]


def kind_legend(names: Sequence[str], first: int, width: int, most: int, cut: str) -> list[str]:
    """`1 in_proj   2 conv1d`, the first of them by its number, in at most so many lines of `width`: where there are
    more, the last line ends with how many are left out."""
    parts = [f"{i} {shown(name)}" for i, name in enumerate(names, first)]
    parts = [p if cell_len(p) <= width - 2 else fill_name(p, max(4, width - 2), cut).rstrip() for p in parts]
    lines = side_by_side(parts, width)
    if len(lines) <= most or most < 1:
        return lines[:most]

    def with_rest(n: int) -> list[str]:
        return side_by_side([*parts[:n], f"{cut} {len(parts) - n} more"], width)

    return with_rest(bisect_left(range(len(parts)), most + 1, key=lambda n: len(with_rest(n))) - 1)[:most]
