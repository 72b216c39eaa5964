"""What the settings of a checkpoint say of its modules by name, and what they say that its tensors do not.

How an entry is matched is a library's own: a whole name, an expression behind a prefix, a glob, the end of a name. Each
family says of its entries which modules they are for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from qinspect.inspector.roles import strip_root, without_roots
from qinspect.inspector.text import some, visible


@dataclass(frozen=True, slots=True)
class NamedModules:
    """Modules that one entry of the settings is for.

    entry: as it is written. where: `ignore of config.json`. left_out: whether it says that they are not quantized; else
    that they are, or how. modules: those in the file, by the rule of the library that wrote it. pattern: whether it may
    be for any number of modules, and so for none. meant: those that it would be for without a mistake of its writer,
    with the mistake, a clause behind `because`. taken_for: those that some engines take it for as well, and by which
    rule, a clause.
    """

    entry: str
    where: str
    left_out: bool
    modules: tuple[str, ...] = ()
    pattern: bool = False
    meant: tuple[str, ...] = ()
    mistake: str = ""
    taken_for: tuple[str, ...] = ()
    taken_by: str = ""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """What settings say of modules whose tensors are otherwise. where: the file. said, found: noun phrases."""

    where: str
    said: str
    found: str
    modules: tuple[str, ...]


class ModuleNames:
    """The modules of a checkpoint: those that entries stand in, and those above."""

    def __init__(self, entries: Iterable[str]) -> None:
        inside = dict.fromkeys(name.rpartition(".")[0] for name in entries)
        inside.pop("", None)
        self.inside = tuple(inside)
        found = dict(inside)
        for module in self.inside:
            above = module.rpartition(".")[0]
            while above and above not in found:
                found[above] = None
                above = above.rpartition(".")[0]
        self.all = tuple(found)

    @cached_property
    def _by_role(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for module, role in zip(self.all, without_roots(list(self.all)), strict=True):
            found.setdefault(role, []).append(module)
        return found

    def called(self, name: str) -> tuple[str, ...]:
        """The module of this name; where there is none, that of the name without what savers put in front."""
        if name in self._known:
            return (name,)
        return tuple(self._by_role.get(strip_root(name), ()))

    def containing(self, part: str) -> tuple[str, ...]:
        """The modules with a tensor whose names have this anywhere."""
        text, starts = self._text
        found, at = [], text.find(part) if part else -1
        while at >= 0:
            number = bisect_right(starts, at) - 1
            found.append(self.inside[number])
            at = text.find(part, starts[number] + len(self.inside[number]))
        return tuple(found)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.all)

    @cached_property
    def _text(self) -> tuple[str, list[int]]:
        """The names of `inside`, a line each, and where each begins."""
        ends = accumulate(len(name) + 1 for name in self.inside)
        return "\n".join(self.inside), [0, *ends]

    def below(self, modules: Iterable[str]) -> tuple[str, ...]:
        """Modules, and those inside of them."""
        found: dict[str, None] = {}
        for module in modules:
            found.setdefault(module)
            found |= dict.fromkeys(_beginning(self._sorted, f"{module}."))
        return tuple(found)

    def ending(self, end: str) -> tuple[str, ...]:
        """Modules whose names end like this."""
        return tuple(name[::-1] for name in _beginning(self._backwards, end[::-1]))

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self.all)

    @cached_property
    def _backwards(self) -> list[str]:
        return sorted(name[::-1] for name in self.all)


def commonest(counts: Counter[str]) -> list[str]:
    """The three that occur most, for a description, and `...` where there are more."""
    return [name for name, _ in counts.most_common(3)] + ["..."] * (len(counts) > 3)


def differing_said(where: str, differing: Sequence[tuple[str, str, str]], what: str = "entries") -> Iterator[str]:
    """The note on modules of which `where` says what their tensors are not: each a module, what is said of it, and what
    it has."""
    if differing:
        module, said, stored = differing[0]
        yield (
            f"{where} says of {visible(module, 120)}: {said}; its {what} are {stored}: these are believed "
            f"({some(len(differing), 'module')})"
        )


def contradictions_of(where: str, differing: Iterable[tuple[str, str, str]]) -> tuple[Contradiction, ...]:
    """The same of all modules, those together of which the same is said and found."""
    found: dict[tuple[str, str], list[str]] = {}
    for module, said, stored in differing:
        found.setdefault((said, stored), []).append(module)
    return tuple(Contradiction(where, said, stored, tuple(modules)) for (said, stored), modules in found.items())


def left_out_said(where: str, names: Sequence[str], whose: str, unit: str = "module") -> Iterator[str]:
    """The note on what `where` says is not converted, and has the entries of a library."""
    if names:
        yield (
            f"{where} says that {visible(names[0], 120)} is not converted, its entries are {whose}: these are believed "
            f"({some(len(names), unit)})"
        )


def _beginning(ordered: list[str], start: str) -> list[str]:
    """Those of sorted names that begin like this."""
    first = bisect_left(ordered, start)
    last = first
    while last < len(ordered) and ordered[last].startswith(start):
        last += 1
    return ordered[first:last]


def strings(found: object) -> Iterator[str]:
    """The strings of a list, or of an object's keys, whatever a file has there."""
    if isinstance(found, (list, tuple, dict)):
        yield from (x for x in found if isinstance(x, str))
