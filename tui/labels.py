"""Names of two models on one line each: the part of the paths that tells them apart must stay."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from rich.cells import cell_len, set_cell_size

from qinspect.tui.names import shown


def short_paths(a: str, b: str | None) -> tuple[str, str]:
    """Both paths from the first part on in which they differ; whole where there is one, or no difference."""
    if b is None:
        return shown(a), ""
    parts_a, parts_b = PurePath(a).parts, PurePath(b).parts
    same = 0
    while same < min(len(parts_a), len(parts_b)) - 1 and parts_a[same] == parts_b[same]:
        same += 1
    if same == 1 and parts_a[0] == "/":
        same = 0
    if parts_a == parts_b:
        return shown(a), shown(b)
    return shown(str(PurePath(*parts_a[same:]))), shown(str(PurePath(*parts_b[same:])))


def fit(name: str, rest: str, width: int, cut: str) -> str:
    """`name` and `rest` in `width` cells: `rest` gives way first, then the middle of the name."""
    n = cell_len(name)
    if n + 2 + cell_len(rest) <= width:
        return f"{name}  {rest}"
    if width - n - 2 > 12:
        return f"{name}  {fill(rest, width - n - 2, cut)}"
    if n <= width:
        return name
    half = (width - len(cut)) // 2
    return set_cell_size(name, width - half - len(cut)) + cut + set_cell_size(name[::-1], half)[::-1]


def side_by_side(parts: Sequence[str], width: int) -> list[str]:
    """Parts beside each other, indented, on as many lines as they need."""
    lines: list[str] = []
    for part in parts:
        if lines and cell_len(lines[-1]) + 3 + cell_len(part) <= width:
            lines[-1] += f"   {part}"
        else:
            lines.append(f"  {part}")
    return lines


def fill(text: str, width: int, cut: str, right: bool = False, keep_end: bool = False) -> str:
    """`text` in exactly `width` cells: with spaces after it (before it, if `right`), or its end (start) cut away."""
    n = len(text) if text.isascii() else cell_len(text)
    if n <= width:
        return " " * (width - n) + text if right else text + " " * (width - n)
    room = max(0, width - len(cut))
    return cut + set_cell_size(text[::-1], room)[::-1] if keep_end else set_cell_size(text, room) + cut


_LAYER = re.compile(r"(?:^|(?<=\.))([^.]*\.)?(\d+)(?=[.:#]|$)")


def fill_name(name: str, width: int, cut: str) -> str:
    """A name of parts in exactly `width` cells: its middle is cut away, so that it begins with its layer, of which the
    number always stays, and ends with its last parts: `model.layers.12.…v_proj:input`, `…layers.12…proj:input`."""
    if (len(name) if name.isascii() else cell_len(name)) <= width:
        return fill(name, width, cut)
    layer = _LAYER.search(name)
    if layer is None:
        return _without_middle(name, max(0, (width - len(cut)) // 2), width, cut)
    heads = [name[: layer.end() + 1], f"{cut}{layer[0]}", f"{cut}{layer[2]}", layer[2]]
    for head in heads:
        left = width - cell_len(head) - len(cut)
        if left >= min(LEAST_TAIL, width // 2):
            return head + cut + _end(name, left)
    return fill(f"{layer[2]}{cut}", width, cut)


LEAST_TAIL = 12
"""Cells that the end of a name gets before its beginning gives way."""


def _without_middle(name: str, first: int, width: int, cut: str) -> str:
    return set_cell_size(name, first) + cut + _end(name, max(0, width - first - len(cut)))


def _end(name: str, width: int) -> str:
    """The last cells."""
    return set_cell_size(name[::-1], width)[::-1]
