"""What the names of paired entries have not in common: the finding that pairing by role would hide."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qinspect.inspector.text import count, some, visible

_MAX_GROUPS = 3


@dataclass(frozen=True, slots=True)
class Renaming:
    """Entries whose names differ in the same parts. of_a, of_b: parts that only A's (B's) names have, joined by dots.
    pairs: (A's name, B's name)."""

    of_a: str
    of_b: str
    pairs: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        a, b = visible(self.of_a, 100), visible(self.of_b, 100)
        what = f"{a} is {b}" if a and b else f"without {a}" if a else f"with {b} added"
        return f"{what} ({count(len(self.pairs))})"


def renamings(names: Iterable[tuple[str, str]]) -> list[Renaming]:
    """Pairs of names that are not equal, by what differs, the largest group first."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for a, b in names:
        if a != b:
            groups.setdefault(_parts_apart(a, b), []).append((a, b))
    found = [Renaming(*apart, tuple(pairs)) for apart, pairs in groups.items()]
    return sorted(found, key=lambda r: -len(r.pairs))


def said_of_names(found: list[Renaming], n_pairs: int) -> str:
    """`3 of 8 entries in both have other names: ...`, with an example."""
    n = sum(len(r.pairs) for r in found)
    listed = "; ".join(map(str, found[:_MAX_GROUPS]))
    if len(found) > _MAX_GROUPS:
        listed += f"; {some(len(found) - _MAX_GROUPS, 'more such change')}"
    have = "has another name" if n == 1 else "have other names"
    a, b = found[0].pairs[0]
    return (
        f"{count(n)} of {some(n_pairs, 'entry', 'entries')} in both {have} in B: {listed}, first A {visible(a, 100)}, "
        f"B {visible(b, 100)}"
    )


def _parts_apart(a: str, b: str) -> tuple[str, str]:
    """What only one of two names has, each part once."""
    parts_a, parts_b = a.split("."), b.split(".")
    rest = list(parts_b)
    only_a = []
    for part in parts_a:
        if part in rest:
            rest.remove(part)
        else:
            only_a.append(part)
    if not only_a and not rest:
        return a, b  # the same parts in another order
    return ".".join(dict.fromkeys(only_a)), ".".join(dict.fromkeys(rest))
