"""The rules of all engines as the tables of docs/loaders.md."""

from __future__ import annotations

from collections.abc import Iterator

from qinspect.inspector.loaders.answers import ENGINES
from qinspect.inspector.loaders.engine import Engine, EngineRule
from qinspect.inspector.loaders.statement import Effect, Mark

BEGIN = "<!-- made by docs/make_loaders.py from the rules -->"
END = "<!-- end of what is made -->"
_MARKS = {Mark.SOURCE: "", Mark.THREAD: " (said in a thread only)", Mark.UNCERTAIN: " (not followed to its end)"}


def tables() -> str:
    """Markdown between BEGIN and END, with both."""
    return "\n".join([BEGIN, *_effects(), *(line for e in ENGINES for line in _engine(e)), "", END])


def _effects() -> Iterator[str]:
    yield from ("", "| effect | what becomes of the numbers |", "|---|---|")
    yield from (f"| {e} | {e.meaning} |" for e in Effect)


def _engine(engine: Engine) -> Iterator[str]:
    yield from ("", f"### {engine.title} {engine.version}", "", f"Read: {engine.read}.")
    if engine.backends:
        yield f"Backends: {', '.join(f'`{b}`' for b in engine.backends)}."
    yield from ("", "| rule | where | what it does | effect | it says | source |", "|---|---|---|---|---|---|")
    yield from (_row(r) for r in sorted(engine.rules, key=_number))


def _number(rule: EngineRule) -> int:
    return int("".join(c for c in rule.number if c.isdigit()) or 0)


def _row(rule: EngineRule) -> str:
    lately = " Δ" if rule.changed_lately else ""
    backends = f" [{', '.join(rule.backends)}]" if rule.backends else ""
    cells = (
        rule.number + lately, rule.when + backends, rule.does + _MARKS[rule.mark], rule.effect or "-", str(rule.says),
        rule.source or "-",
    )  # fmt: skip
    return f"| {' | '.join(c.replace('|', chr(92) + '|').replace('*', chr(92) + '*') for c in cells)} |"
