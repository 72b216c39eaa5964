"""What a user calls a scale, a weight or a tensor: its key in the file, or the role that it has in any file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from qinspect.inspector.errors import UnknownKey
from qinspect.inspector.formats import Format, QuantizedWeight, ScaleRecord


def scale_named(fmt: Format, name: str) -> ScaleRecord:
    """The scale of this role, or the first that is read from the entry of this key; `ROLE#scale` is that of a weight.

    Raises UnknownKey where there is none.
    """
    records = fmt.scales()
    by_role = {r.role: r for r in records}
    found = by_role.get(name) or by_role.get(name.removesuffix("#scale"))
    found = found or next((r for r in records if r.key == name), None)
    if found is None:
        raise _none_of(fmt, name, "there is no scale of this name", by_role)
    return found


def weight_named(fmt: Format, name: str) -> QuantizedWeight:
    """The quantized weight of this role, of this name once dequantized, or whose codes are in the entry of this key.

    Raises UnknownKey where there is none.
    """
    weights = fmt.weights()
    found = next((w for w in weights if name in (w.role, w.name, w.codes_key)), None)
    if found is None:
        raise _none_of(fmt, name, "there is no quantized weight of this name", (w.role for w in weights))
    return found


def unknown_name(fmt: Format, name: str, roles: Iterable[str]) -> UnknownKey:
    """For a name that is neither key nor role: the nearest of both."""
    close = difflib.get_close_matches(name, list(roles), n=2, cutoff=0.6)
    try:
        fmt.checkpoint[name]
    except UnknownKey as e:
        if close:
            e.found = f"{e.found or ''}; the nearest role {' or '.join(close)}".lstrip("; ")
        return e
    raise AssertionError("the caller looked already")


def _none_of(fmt: Format, name: str, problem: str, roles: Iterable[str]) -> UnknownKey:
    """For a name that may be an entry, but of another kind."""
    if name not in fmt.checkpoint:
        return unknown_name(fmt, name, roles)
    entry = fmt.checkpoint[name]
    return UnknownKey(problem, file=fmt.checkpoint.path, key=name, found=f"an entry of another kind, {entry!r}"[:200])
