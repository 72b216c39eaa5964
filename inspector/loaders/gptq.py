"""Settings of integers in groups, of all modules and of those that `dynamic` names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qinspect.inspector.loaders.view import View


@dataclass(frozen=True, slots=True)
class Integers:
    """None where it is not said."""

    bits: int | None
    group_size: int | None
    symmetric: bool | None
    reordered: bool | None


def settings_of(view: View) -> list[Integers]:
    """Of all modules, then each of `dynamic` that does not leave modules out, with what it does not say from before."""
    return list(_settings(view.settings))


def reorders(said: Integers) -> bool:
    """Whether groups are of inputs in another order."""
    return said.reordered is True


def _settings(said: Mapping[str, Any]) -> Iterator[Integers]:
    yield _of(said, {})
    dynamic = said.get("dynamic")
    for pattern, override in dynamic.items() if isinstance(dynamic, dict) else ():
        if isinstance(override, dict) and not pattern.startswith("-:"):
            yield _of(override, said)


def _of(said: Mapping[str, Any], base: Mapping[str, Any]) -> Integers:
    def get(key: str) -> Any:
        return said.get(key, base.get(key))

    bits, size, sym, act = get("bits"), get("group_size"), get("sym"), get("desc_act")
    return Integers(
        bits if type(bits) is int else None, size if type(size) is int else None,
        sym if isinstance(sym, bool) else None, act if isinstance(act, bool) else None,
    )  # fmt: skip
