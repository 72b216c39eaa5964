"""What an engine does with one part of a checkpoint when it loads it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from qinspect.inspector.text import number, some, visible


class Effect(StrEnum):
    """What becomes of the numbers."""

    UNCHANGED = "E0"
    WRONG_CONSTANT = "E1"
    REQUANTIZED = "E2"
    POWERS_OF_TWO = "E3"
    ACTIVATIONS = "E4"
    DEFAULT = "E5"
    REFUSED = "E6"

    @property
    def meaning(self) -> str:
        """A clause for people."""
        return _MEANINGS[self]


_MEANINGS = {
    Effect.UNCHANGED: "the values are those of the file: repacked, transposed or padded at most",
    Effect.WRONG_CONSTANT: "codes and block scales are kept, and multiplied by another scale than the stored one",
    Effect.REQUANTIZED: "values are rounded once more, on the grid of one larger scale",
    Effect.POWERS_OF_TWO: "block scales become powers of two, and values are rounded once more",
    Effect.ACTIVATIONS: "activations are quantized with another scale than the stored one",
    Effect.DEFAULT: "a default stands in for a number, or memory that nothing was written to",
    Effect.REFUSED: "the checkpoint is refused",
}


class Says(StrEnum):
    """What the engine itself says of it."""

    SILENT = "silent"
    INFORMS = "one line of information"
    WARNS = "warns"
    WARNS_ONCE = "warns once"
    REFUSES = "refuses"
    UNKNOWN = "not known"


class Deed(StrEnum):
    """What sort of thing it does. Reports put CHANGES and REFUSES first."""

    CHANGES = "changes"
    REFUSES = "refuses"
    FILLS = "fills"
    DROPS = "drops"
    RENAMES = "renames"
    READS = "reads"
    UNKNOWN = "unknown"


class Mark(StrEnum):
    """How a statement is known."""

    SOURCE = "source"
    """Read in the engine's source."""
    THREAD = "thread"
    """Said in a thread of its project only."""
    UNCERTAIN = "uncertain"
    """Read, and not followed to its end."""


@dataclass(frozen=True, slots=True)
class Affected:
    """A module that a statement is of. name: as in the file; of the whole checkpoint, "". role: as scales and weights
    have it. factor: the scale that is used over the stored one, None where there is none, or it is no single number."""

    name: str
    role: str
    factor: float | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What it costs in the worst module.

    factor: the scale that is used over the stored one. error: relative error (root mean square) that the deed adds,
    of all values of the module. lost_db: how much less SQNR it has than as stored; None where that is not known.
    simulated: whether the numbers are those of normally distributed values, and not of these.
    """

    factor: float | None = None
    error: float | None = None
    lost_db: float | None = None
    simulated: bool = False

    @property
    def sqnr_db(self) -> float | None:
        """SQNR of what the engine works with, against what the file says; None where there is no error."""
        if self.error is None or not self.error > 0 or math.isinf(self.error):
            return None
        return -20 * math.log10(self.error)


NO_COST = Cost()


@dataclass(frozen=True)
class Statement:
    """One thing that one engine does with this checkpoint.

    rule: its number in docs/loaders.md, such as V32; several statements may be of one rule. backend: the ways of
    computing for which it holds, () for any. does: a clause with the verb in front. deed, effect, says: what sort it
    is; effect None where it is none of numbers, or not known. n, of, noun: how many of how many it concerns; noun "" of
    the whole checkpoint. affected: the modules, in the order of the file. worst: the first or the worst of them. cost:
    there. adds: what else is to be said, clauses. known: whether it is known what happens; `adds` says why not.
    changed_lately: whether other releases of the engine do it otherwise. source, mark: where it was read, and how.
    """

    engine: str
    version: str
    rule: str
    does: str
    deed: Deed
    effect: Effect | None
    says: Says
    source: str
    mark: Mark = Mark.SOURCE
    backend: tuple[str, ...] = ()
    n: int = 1
    of: int = 1
    noun: str = ""
    affected: tuple[Affected, ...] = ()
    worst: str = ""
    cost: Cost = NO_COST
    adds: tuple[str, ...] = ()
    known: bool = True
    changed_lately: bool = False

    @cached_property
    def text(self) -> str:
        """The whole of it for people: `takes gate's scale for up in 8 of 12 pairs, worst 10x at ...: SQNR ...`."""
        said = self.does + self._counted + self._at_worst
        left_out = self.says in (Says.REFUSES, Says.UNKNOWN)
        return "; ".join([said, *self.adds, *([] if left_out else [str(self.says)])])

    @property
    def clause(self) -> str:
        """Engine, deed and effect in a few words: for whoever quotes it."""
        says = () if self.says is Says.UNKNOWN else (str(self.says),)
        in_brackets = ", ".join((*((str(self.effect),) if self.effect else ()), *says))
        where = f" with {' and '.join(self.backend)}" if self.backend else ""
        return f"{self.engine} {self.version}{where} {self.does}{f' ({in_brackets})' if in_brackets else ''}"

    @property
    def _counted(self) -> str:
        if not self.noun or (not self.known and not self.n):
            return ""
        if self.n == self.of:
            return f" in {'the' if self.of == 1 else 'all'} {some(self.of, self.noun).removeprefix('1 ')}"
        return f" in {self.n:,} of {some(self.of, self.noun)}"

    @property
    def _at_worst(self) -> str:
        at = f" at {visible(self.worst, 120)}" if self.worst else ""
        cost = self.cost
        if cost.factor is not None:
            at = f", worst {number_of_times(cost.factor)}{at}"
        elif at and self.noun:
            at = f", first{at.removeprefix(' at')}"
        sqnr, lost = cost.sqnr_db, cost.lost_db
        if sqnr is not None and not cost.simulated:
            less = "" if lost is None else f" ({lost:.1f} dB less than the format has by itself, simulated)"
            return f"{at}: SQNR {sqnr:.1f} dB{less}"
        if lost is not None:
            at += f": {lost:.1f} dB lost (simulated)" if lost >= 0.05 else ": nothing lost (simulated)"
        return at

    @property
    def rank(self) -> tuple[int, float]:
        """The worse, the smaller."""
        place = _ORDER.index(self.effect) if self.effect in _ORDER else len(_ORDER)
        lost = self.cost.lost_db if self.cost.lost_db is not None else 0.0
        return place, -lost

    @property
    def of_unequal_weights(self) -> bool:
        """Whether it is what becomes of modules that are loaded as one and whose weights have unequal scales."""
        return self.known and self.noun in _AS_ONE and self.effect in _OF_VALUES

    @property
    def of_unequal_inputs(self) -> bool:
        """The same of their inputs: engines that refuse such modules refuse them for either."""
        of_activations = self.effect is Effect.ACTIVATIONS or (self.effect is Effect.REFUSED and self.noun in _AS_ONE)
        return self.known and of_activations

    @property
    def is_news(self) -> bool:
        """Whether numbers change or loading ends: not only what is read, renamed, dropped or filled."""
        return self.deed in (Deed.CHANGES, Deed.REFUSES)


_OF_VALUES = (Effect.WRONG_CONSTANT, Effect.REQUANTIZED, Effect.REFUSED)
OF_UNEQUAL = (*_OF_VALUES, Effect.ACTIVATIONS)
"""Whatever is `of_unequal_weights` or `of_unequal_inputs` has one of these."""
_AS_ONE = ("pair", "fused group")
"""Nouns of modules that are loaded as one."""
_ORDER = (
    Effect.REFUSED, Effect.DEFAULT, Effect.WRONG_CONSTANT, Effect.ACTIVATIONS, Effect.POWERS_OF_TWO,
    Effect.REQUANTIZED, Effect.UNCHANGED,
)  # fmt: skip
"""The worst first."""


def number_of_times(factor: float) -> str:
    """`10x`, `0.53x`, `16,384x`."""
    if 1e3 <= factor < 1e6:
        return f"{factor:,.0f}x"
    return f"{number(float(f'{factor:.3g}'))}x"


@dataclass(frozen=True, slots=True)
class EngineStatements:
    """What one engine does. read: which files of which date the rules were read in. statements: the worst first, those
    of what it reads, renames, drops and fills at the end."""

    engine: str
    version: str
    read: str
    statements: tuple[Statement, ...]

    @property
    def worst(self) -> Effect | None:
        """The worst effect; None where there is none."""
        found = [s for s in self.statements if s.effect is not None]
        return min(found, key=lambda s: s.rank).effect if found else None


@dataclass(frozen=True, slots=True)
class Loaders:
    """What engines do with one checkpoint. stored: how it was saved, in the word of its settings or of its family.
    backend: the one that was asked for; None for all. unread: entries that could not be read, which statements
    therefore leave out. incomplete: why nothing is said of what is missing; "" where all files are there."""

    path: str
    stored: str
    backend: str | None
    engines: tuple[EngineStatements, ...]
    unread: tuple[str, ...] = ()
    incomplete: str = ""

    @property
    def statements(self) -> tuple[Statement, ...]:
        """Those of all engines."""
        return tuple(s for e in self.engines for s in e.statements)
