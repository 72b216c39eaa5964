"""Frozen dataclasses of which there may be 60,000, made as fast as such that are not frozen."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

T = TypeVar("T")


def quickly_made(cls: type[T]) -> type[T]:
    """A frozen dataclass with slots sets each field by a call that goes around the freezing, which takes most of the
    time of making one. This one is made as an object of a twin that is not frozen, and frozen when it is whole.

    cls: without fields of `default_factory`, `kw_only` or `init=False`.
    """
    made_of = fields(cls)  # type: ignore[arg-type]  # a dataclass
    twin = dataclass(slots=True, eq=False, repr=False)(
        type(
            cls.__name__,
            (),
            {
                "__annotations__": {f.name: f.type for f in made_of},
                **{f.name: f.default for f in made_of if f.default is not MISSING},
            },
        )
    )
    fill: Any = twin.__init__
    become = object.__setattr__

    def init(self: Any, *args: Any, **named: Any) -> None:
        become(self, "__class__", twin)
        fill(self, *args, **named)
        self.__class__ = cls

    init.__qualname__ = f"{cls.__qualname__}.__init__"
    cls.__init__ = init  # type: ignore[method-assign]  # callers see what the dataclass declares
    return cls
