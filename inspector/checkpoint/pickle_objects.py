"""What the walker holds in place of the objects that a pickle would make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the pickle refers to. `build` makes the result of calling it; None: the call is recorded.

    copies: the result copies what it is given, so a pickle could multiply one large argument by calling again and
    again; all such calls together may copy twice as many items as the pickle has bytes. known: it stands in the table
    of what checkpoints need; calling any other gives an Opaque.
    """

    name: str
    build: Callable[..., object] | None = None
    copies: bool = False
    known: bool = True


class Record:
    """An object that is kept as what was called (`name`), with what (`args`), and the state set on it (None: none).

    Equal only to itself, so that it can be a dictionary's key without anything in it being looked at.
    """

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple[object, ...] = ()) -> None:
        self.name = name
        self.args = args
        self.state: object = None

    def set_state(self, state: object) -> None:
        """What BUILD does; a second state is kept with the first."""
        self.state = state if self.state is None else (self.state, state)

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Opaque(Record):
    """An object of a class that is not known: nothing of the class was imported, nothing was called.

    appended: what was appended to it, as to a list. set_items: keys and values in turn that were set on it, as on a
    dictionary. Python's own `__reduce__` for subclasses of list and dict gives these.
    """

    __slots__ = ("appended", "set_items")

    def __init__(self, name: str, args: tuple[object, ...] = ()) -> None:
        super().__init__(name, args)
        self.appended: list[object] = []
        self.set_items: list[object] = []


@dataclass(frozen=True, slots=True)
class Number:
    """A number that belongs to the tensors of an object which is not read, and is listed with them."""

    value: float


class SetItems(list[object]):
    """The items of a set or frozenset, in the order of the pickle. No set: what is in it may nest without bound, and
    hashing it recurses."""

    __slots__ = ()


class Parts(Record):
    """A tensor of another layout: `name` says which, `text` how it is shaped, `parts` are the tensors it is made of.

    One without a name is the tensor `parts[""]` with attributes, its state.
    """

    __slots__ = ("parts", "text")

    def __init__(self, name: str, text: str, parts: dict[str, object], state: object = None) -> None:
        super().__init__(name)
        self.text = text
        self.parts = parts
        self.state = state
