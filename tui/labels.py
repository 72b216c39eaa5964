"""Names of two models on one line each: the part of the paths that tells them apart must stay."""

from __future__ import annotations

from pathlib import PurePath

from qinspect.inspector.text import visible


def short_paths(a: str, b: str | None) -> tuple[str, str]:
    """Both paths from the first part on in which they differ; whole where there is one, or no difference."""
    if b is None:
        return visible(a), ""
    parts_a, parts_b = PurePath(a).parts, PurePath(b).parts
    same = 0
    while same < min(len(parts_a), len(parts_b)) - 1 and parts_a[same] == parts_b[same]:
        same += 1
    if parts_a == parts_b:
        return visible(a), visible(b)
    return visible(str(PurePath(*parts_a[same:]))), visible(str(PurePath(*parts_b[same:])))


def fit(name: str, rest: str, width: int, cut: str) -> str:
    """`name` and `rest` in `width` cells: `rest` gives way first, then the middle of the name."""
    if len(name) + 2 + len(rest) <= width:
        return f"{name}  {rest}"
    room = width - len(name) - 3
    if room >= 12:
        return f"{name}  {rest[:room]}{cut}"
    if len(name) <= width:
        return name
    half = (width - len(cut)) // 2
    return name[: width - half - len(cut)] + cut + name[-half:]
