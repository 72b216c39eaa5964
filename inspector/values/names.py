"""What a user calls a scale, a weight or a tensor: its key in the file, or the role that it has in any file."""

from __future__ import annotations

from collections.abc import Iterable

from qinspect.inspector.errors import CannotRead, UnknownKey
from qinspect.inspector.formats import Format, QuantizedWeight, ScaleRecord
from qinspect.inspector.values.inspection import unknown_name
from qinspect.inspector.values.stored_values import StoredValues, stored_values


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


def values_named(fmt: Format, name: str) -> StoredValues:
    """What a distribution is counted of, by role or key. Raises UnknownKey, and CannotRead for an entry that holds no
    floating-point values."""
    everything = stored_values(fmt)
    if name in everything:
        return everything[name]
    for values in everything.values():
        weight, tensor = values.weight, values.tensor
        if name in ((weight.name, weight.codes_key) if weight else (tensor.name,) if tensor else ()):
            return values
    if name not in fmt.checkpoint:
        raise unknown_name(fmt, name, list(everything))
    raise CannotRead(
        "holds no distribution of values",
        file=fmt.checkpoint.path,
        key=name,
        expected="a quantized weight, or a tensor of floats that is not a scale",
        found=repr(fmt.checkpoint[name])[:200],
    )


def _none_of(fmt: Format, name: str, problem: str, roles: Iterable[str]) -> UnknownKey:
    """For a name that may be an entry, but of another kind."""
    if name not in fmt.checkpoint:
        return unknown_name(fmt, name, list(roles))
    entry = fmt.checkpoint[name]
    return UnknownKey(problem, file=fmt.checkpoint.path, key=name, found=f"an entry of another kind, {entry!r}"[:200])
