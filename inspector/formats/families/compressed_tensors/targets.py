"""Which modules `targets` and `ignore` name: by their whole name, by an expression behind `re:`, or by a class."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from qinspect.inspector.formats.expressions import compiled
from qinspect.inspector.formats.said import ModuleNames, NamedModules
from qinspect.inspector.roles import strip_root

_PREFIX = "re:"
_MAX_EXPRESSION = 500
_MAX_NAME = 300
_CLASS = re.compile(r"[A-Z]\w*")


@dataclass(frozen=True)
class Targets:
    """names: as they stand in the file."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, said: object) -> Targets:
        """Of a list, or one name; what is no string in it is left out."""
        said = [said] if isinstance(said, str) else said
        return cls(tuple(x for x in said if isinstance(x, str)) if isinstance(said, list) else ())

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names that are of classes: `Linear`. A file does not say of which class a module is."""
        return tuple(n for n in self.names if _CLASS.fullmatch(n))

    @cached_property
    def _exact(self) -> frozenset[str]:
        plain = [n for n in self.names if not n.startswith(_PREFIX)]
        return frozenset((*plain, *map(strip_root, plain)))

    @cached_property
    def _expressions(self) -> tuple[re.Pattern[str], ...]:
        found = (compiled(n.removeprefix(_PREFIX), _MAX_EXPRESSION) for n in self.names if n.startswith(_PREFIX))
        return tuple(p for p in found if p is not None)

    @cached_property
    def untried(self) -> tuple[str, ...]:
        """Expressions that are none, or that could take too long."""
        said = (n for n in self.names if n.startswith(_PREFIX))
        return tuple(n for n in said if compiled(n.removeprefix(_PREFIX), _MAX_EXPRESSION) is None)

    def modules(self, name: str, names: ModuleNames) -> tuple[str, ...]:
        """The modules that one of the names is for."""
        if not name.startswith(_PREFIX):
            return names.called(name)
        one = Targets((name,))
        return tuple(m for m in names.all if one.names_module(m))

    def names_module(self, module: str) -> bool:
        """Whether a name or an expression is this module's. Savers put other roots before the same module, so with
        any."""
        return (self.rank(module) or 0) in (1, 2)

    def rank(self, module: str) -> int | None:
        """1 where it is named, 2 where an expression fits, 3 where it may be of a class; None where it is not."""
        bare = strip_root(module)
        if module in self._exact or bare in self._exact:
            return 1
        if self._expressions and len(module) <= _MAX_NAME:
            names = {module, bare, f"model.{bare}"}
            if any(p.match(name) for p in self._expressions for name in names):
                return 2
        return 3 if self.classes else None


NONE = Targets(())


def in_words(targets: Targets, where: str, left_out: bool, names: ModuleNames) -> Iterator[NamedModules]:
    """For which modules each of the names is. Of a class a file does not say which modules are."""
    skipped = {*targets.classes, *targets.untried}
    for name in dict.fromkeys(targets.names):
        if name not in skipped:
            yield NamedModules(name, where, left_out, targets.modules(name, names), name.startswith(_PREFIX))
