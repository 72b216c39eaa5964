"""An engine and its rules. A rule is a function of the header; what it says stands beside it.

Tables in docs/loaders.md are made of these objects.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qinspect.inspector.loaders.statement import NO_COST, Affected, Cost, Deed, Effect, Mark, Says, Statement
from qinspect.inspector.loaders.stored import Stored

if TYPE_CHECKING:
    from qinspect.inspector.loaders.view import View


@dataclass(frozen=True)
class Match:
    """Where a rule applies.

    modules: in the order of the file; () where it is of the whole checkpoint. n, of, noun: how many of how many; n
    None for as many as there are modules, noun "" where there is nothing to count. factors: of each module, as in
    Affected; () where there are none. worst, cost: of the worst module. adds: clauses. known: as in Statement.
    """

    modules: Sequence[str] = ()
    of: int = 1
    noun: str = ""
    n: int | None = None
    factors: Sequence[float | None] = ()
    worst: str = ""
    cost: Cost = NO_COST
    adds: tuple[str, ...] = ()
    known: bool = True


Check = Callable[["View"], Match | None]


@dataclass(frozen=True)
class EngineRule:
    """One rule of one engine.

    number: V32. when: on what it looks, a clause. does: what the engine does there. The others as in Statement. check:
    where in a checkpoint it applies; None where it does not.
    """

    number: str
    when: str
    does: str
    deed: Deed
    effect: Effect | None
    says: Says
    source: str
    mark: Mark
    backends: tuple[str, ...]
    changed_lately: bool
    check: Check


@dataclass
class Engine:
    """An engine as it was read.

    name: what `--engine` takes. title: how it is called. read: the files and their date. knows: ways in which a
    checkpoint is saved that its rules speak of, with the kinds of modules that they know there, None for all. Of others
    what it does is not known. backends: what `--backend` takes of it.
    """

    name: str
    title: str
    version: str
    read: str
    knows: Mapping[str, frozenset[Stored] | None]
    backends: tuple[str, ...] = ()
    rules: list[EngineRule] = field(default_factory=list)

    def rule(
        self,
        number: str,
        when: str,
        does: str,
        effect: Effect | None,
        says: Says,
        source: str,
        *,
        deed: Deed | None = None,
        mark: Mark = Mark.SOURCE,
        backends: tuple[str, ...] = (),
        changed_lately: bool = False,
    ) -> Callable[[Check], Check]:
        """A decorator of the function that says where it applies. deed: by the effect, where it is not given."""
        assert set(backends) <= set(self.backends), backends

        def add(check: Check) -> Check:
            self.rules.append(
                EngineRule(
                    number, when, does, deed or _DEEDS[effect], effect, says, source, mark, backends, changed_lately,
                    check,
                )
            )  # fmt: skip
            return check

        return add

    def statements(
        self, view: View, backend: str | None, effects: Collection[Effect] | None = None
    ) -> tuple[Statement, ...]:
        """What its rules find, the worst first. effects: only of rules with one of these; what is not known is left out
        then."""
        made = []
        for rule in self.rules:
            if effects is not None and rule.effect not in effects:
                continue
            if backend in self.backends and rule.backends and backend not in rule.backends:
                continue
            found = rule.check(view)
            if found is not None:
                made.append(self._statement(view, rule, found))
        if effects is None and not any(s.effect is Effect.REFUSED and not (s.noun or s.backend) for s in made):
            made += self._unknown(view)
        return tuple(sorted(made, key=lambda s: (not s.known, not s.is_news, s.rank, bool(s.noun))))

    def _statement(self, view: View, rule: EngineRule, found: Match) -> Statement:
        factors = found.factors or [None] * len(found.modules)
        affected = tuple(Affected(m, view.role(m), f) for m, f in zip(found.modules, factors, strict=True))
        return Statement(
            self.title, self.version, rule.number, rule.does, rule.deed, rule.effect, rule.says, rule.source, rule.mark,
            rule.backends, (len(affected) or 1) if found.n is None else found.n, found.of, found.noun, affected,
            found.worst or (found.modules[0] if found.modules else ""), found.cost, found.adds, found.known,
            rule.changed_lately,
        )  # fmt: skip

    def _unknown(self, view: View) -> list[Statement]:
        """That it is not known, of a checkpoint, or of modules in it, stored in a way that no rule speaks of."""
        kinds = self.knows.get(view.stored, frozenset())
        if kinds is None or not view.is_quantized:
            return []
        known_here = view.stored in self.knows
        modules = [m for m, kind in view.quantized.items() if kind not in kinds] if known_here else []
        if known_here and not modules:
            return []
        what = f"modules in {', '.join(dict.fromkeys(view.quantized[m] for m in modules))}" if modules else view.stored
        affected = tuple(Affected(m, view.role(m)) for m in modules)
        made = Statement(
            self.title, self.version, "", f"what it does with {what} is not known", Deed.UNKNOWN, None, Says.UNKNOWN,
            "", Mark.UNCERTAIN, n=len(affected) or 1, of=len(view.quantized) if affected else 1,
            noun="module" if affected else "", affected=affected, worst=modules[0] if modules else "",
            adds=("its source was not read for that",), known=False,
        )  # fmt: skip
        return [made]


_DEEDS = {
    None: Deed.READS,
    Effect.UNCHANGED: Deed.READS,
    Effect.WRONG_CONSTANT: Deed.CHANGES,
    Effect.REQUANTIZED: Deed.CHANGES,
    Effect.POWERS_OF_TWO: Deed.CHANGES,
    Effect.ACTIVATIONS: Deed.CHANGES,
    Effect.DEFAULT: Deed.CHANGES,
    Effect.REFUSED: Deed.REFUSES,
}
