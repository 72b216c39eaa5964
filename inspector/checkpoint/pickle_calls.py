"""What becomes of the names in a pickle and of the calls that it asks for: nothing is imported, nothing is run.

A name in the table of what checkpoints need stands for a constructor of ours. Any other gives an `Opaque`. A call of a
name that is known to attack (`dangerous_names`), or one that is handed such a name and could make the call, is
remembered: `attack` is then the error to raise, with all names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy

from qinspect.inspector.checkpoint.dangerous_names import is_dangerous, is_harmless_attribute
from qinspect.inspector.checkpoint.pickle_objects import Global, Opaque, Record
from qinspect.inspector.errors import UnsafePickle
from qinspect.inspector.text import brief

_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg", "exceptions": "builtins"}
"""Python 2's names, as protocols 0 to 2 write them."""

_GETATTR = ("builtins.getattr", "__builtin__.getattr")
_MAKERS = ("copyreg._reconstructor", "copy_reg._reconstructor", "copyreg.__newobj__", "copy_reg.__newobj__")
"""What protocols 0 and 1 call to make an object of the class that is their first argument."""

_COPIED = (str, bytes, bytearray, list, tuple, dict)
_MAX_SHOWN = 12
_MAX_LISTED = 200
_NEAR_ARGUMENTS = 100


class Calls:
    """The names and calls of the pickles of one file.

    known: `module.name` to the Global that stands for it. n_bytes: of the pickle. unsafe: makes an UnsafePickle that
    names file and offset.
    """

    def __init__(self, known: Mapping[str, Global], n_bytes: int, unsafe: Callable[..., UnsafePickle]) -> None:
        self._known = known
        self._n_bytes = n_bytes
        self._unsafe = unsafe
        self._n_copied = 0
        self._n_opaque = 0
        self._attacks: dict[str, None] = {}
        self._takes_members: set[str] = set()
        self.globals: dict[str, Global] = {}

    def copy(self) -> Calls:
        """As they are now."""
        made = copy(self)
        made._attacks, made._takes_members = dict(self._attacks), set(self._takes_members)
        made.globals = dict(self.globals)
        return made

    @property
    def held(self) -> int:
        """What names and opaque objects count, in the objects that a pickle may hold: they are larger than others."""
        return 4 * len(self.globals) + 3 * self._n_opaque

    def named(self, name: str) -> Global:
        """The Global for `module.name`."""
        found = self.globals.get(name)
        if found is None:
            module, _, rest = name.partition(".")
            today = f"{_OLD_MODULES[module]}.{rest}" if module in _OLD_MODULES else name
            found = self.globals[name] = self._known.get(today) or Global(name, known=False)
        return found

    def call(self, target: object, args: object) -> object:
        """What stands for `target(*args)`. Raises UnsafePickle where this is no call of a name, or copies too much; and
        what the constructor raises."""
        if not isinstance(target, (Global, Opaque)) or not isinstance(args, tuple):
            raise self._unsafe("the pickle calls something that is not a known constructor", found=brief(target))
        if isinstance(target, Opaque) or not target.known:
            return self._not_called(target, args)
        if args and isinstance(args[0], Global) and not args[0].known:
            self._look_for_attacks(args)  # torch's constructors of subclasses call what they are given
        if target.build is None:
            return Record(target.name, args)
        if target.copies:
            self.copied(sum(len(a) for a in args if isinstance(a, _COPIED)), target.name)
        return target.build(*args)

    def copied(self, n: int, by: str) -> None:
        """Counts what is copied. Raises UnsafePickle where all together is over twice the bytes of the pickle."""
        self._n_copied += n
        if self._n_copied > 2 * self._n_bytes:
            raise self._unsafe("the pickle copies the same data again and again", found=by)

    def _not_called(self, target: Global | Opaque, args: tuple[object, ...]) -> Opaque:
        self._n_opaque += 1
        if args:
            self._look_for_attacks(args)
        if isinstance(target, Opaque):
            name = target.name if target.name.endswith("()") else f"{target.name}()"
            return Opaque(name, (target, *args))
        first = args[0] if args else None
        if isinstance(first, Global) and not first.known and not is_dangerous(first.name):
            if target.name in _MAKERS:
                return Opaque(first.name, args[1:])
            if target.name in _GETATTR and len(args) == 2 and is_harmless_attribute(args[1]):
                self._takes_members.add(target.name)
                return Opaque(f"{first.name}.{args[1]}")
        if is_dangerous(target.name):
            self._attacks[target.name] = None
        return Opaque(target.name, args)

    def _look_for_attacks(self, args: tuple[object, ...]) -> None:
        """Remembers those among the arguments, as far as the nearest of them are looked at."""
        todo: list[object] = [*args[:_NEAR_ARGUMENTS]]
        for _ in range(_NEAR_ARGUMENTS):
            if not todo:
                return
            node = todo.pop()
            if isinstance(node, Global) and not node.known and is_dangerous(node.name):
                self._attacks[node.name] = None
            elif isinstance(node, (list, tuple)):
                todo.extend(node[:_NEAR_ARGUMENTS])
            elif isinstance(node, dict) and len(node) <= _NEAR_ARGUMENTS:
                todo.extend(node.values())

    def only_named(self) -> list[str]:
        """Names that are known to attack, and are not called in this file. The getattr that takes members of classes
        is: that is how Python pickles them."""
        names = [g.name for g in self.globals.values() if not g.known and is_dangerous(g.name)]
        return [name for name in names if name not in self._takes_members]

    def attack(self) -> UnsafePickle | None:
        """The error for all that would be run and is known to attack; None where there is nothing."""
        if not self._attacks:
            return None
        run = list(self._attacks)
        more = f" and {len(run) - _MAX_SHOWN} more" if len(run) > _MAX_SHOWN else ""
        others = [g.name for g in self.globals.values() if not g.known and g.name not in self._attacks]
        n_known = sum(g.known for g in self.globals.values())
        names = ", ".join(name[:120] for name in [*run, *others][:_MAX_LISTED])
        return self._unsafe(
            f"this file would run {', '.join(name[:120] for name in run[:_MAX_SHOWN])}{more} when loaded",
            found=f"the names {names}" + (f", and {n_known} that checkpoints need" if n_known else ""),
            cure="It was not run. Do not load it with torch or pickle, and ask where it comes from.",
        )
