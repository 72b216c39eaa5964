"""What engines make of scales that they load as one, in a clause behind a finding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from qinspect.inspector.formats import Format

if TYPE_CHECKING:
    from qinspect.inspector.loaders import Loaders, Statement

CLAUSES = 3
"""Of so many engines at most: `qinspect loaders` has all."""


class EnginesSaid:
    """Asked for modules of one checkpoint. The rules of engines are looked at when the first is asked for."""

    def __init__(self, fmt: Format) -> None:
        self._fmt = fmt

    @cached_property
    def _of_unequal(self) -> Loaders:
        """Only what may be of modules whose scales are unequal: most rules are of something else."""
        from qinspect.inspector.loaders import OF_UNEQUAL, statements_of

        return statements_of(self._fmt, effects=OF_UNEQUAL)

    def __call__(self, modules: Sequence[str], inputs: bool = False) -> str:
        """What becomes of the scales of these weights, or of their inputs: the worst of each engine; "" where no rule
        says so."""
        from qinspect.inspector.loaders import said_of

        def which(statement: Statement) -> bool:
            return statement.of_unequal_inputs if inputs else statement.of_unequal_weights

        first: dict[str, str] = {}
        for statement, clause in said_of(self._of_unequal, modules, which):
            first.setdefault(statement.engine, clause)
        return "; ".join(list(first.values())[:CLAUSES])
