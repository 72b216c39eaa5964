"""Where config.json and the tensors disagree: both sides, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator

from qinspect.inspector.formats.families.compressed_tensors.declared import Declared
from qinspect.inspector.formats.said import Contradiction
from qinspect.inspector.text import some, visible


class Differences:
    """Collects what was said of modules, and what was found."""

    def __init__(self) -> None:
        self._modules: dict[tuple[str, str], list[str]] = {}
        self._plain: dict[tuple[str, str], list[str]] = {}
        self.without_scale: list[str] = []
        self.of_usual_blocks: list[str] = []

    def add(self, module: str, said: str, found: str) -> None:
        """said, found: clauses; equal ones of several modules are one note."""
        self._modules.setdefault((said, found), []).append(module)

    def add_plain(self, module: str, dtype: str) -> None:
        """A module that is not quantized, though it should be."""
        self._plain.setdefault(("it is quantized", f"a weight in {dtype}"), []).append(module)

    def contradictions(self, declared: Declared) -> tuple[Contradiction, ...]:
        """Of modules that are quantized."""
        return tuple(
            Contradiction(declared.where, said, found, tuple(modules))
            for (said, found), modules in self._modules.items()
        )

    def notes(self, declared: Declared) -> Iterator[str]:
        """One sentence each."""
        where = declared.where
        for (said, found), modules in (*self._modules.items(), *self._plain.items()):
            others = f" and {some(len(modules) - 1, 'other')}" if len(modules) > 1 else ""
            yield f"{where} says of {_named(modules)}{others}: {said}; stored is {found}, and it is read as stored"
        if self.without_scale:
            n, first = len(self.without_scale), _named(self.without_scale)
            yield (
                f"{some(n, 'module')} {'has' if n == 1 else 'have'} no stored input scale, {first} first, "
                f"though {where} says that what goes in is quantized with one"
            )
        if self.of_usual_blocks:
            n, first = len(self.of_usual_blocks), _named(self.of_usual_blocks)
            yield (
                f"nothing says how large the blocks of {some(n, 'module')} are, {first} first: 128 x 128 fit the "
                "shapes of their scales, and are taken"
            )
        untried = [x for t in (*(g.targets for g in declared.groups), declared.ignore) for x in t.untried]
        if untried:
            are = "is" if len(untried) == 1 else "are"
            yield (
                f"{some(len(untried), 'expression')} in {where} {are} not tried, being invalid or able to take for "
                f"ever, first {visible(untried[0], 80)}"
            )


def _named(modules: list[str]) -> str:
    return visible(modules[0], 120) or "the model"
