"""All engines asked about one checkpoint."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from qinspect.inspector.errors import UsageError
from qinspect.inspector.formats import Format
from qinspect.inspector.loaders.comfyui import COMFYUI
from qinspect.inspector.loaders.engine import Engine
from qinspect.inspector.loaders.llama_cpp import LLAMA_CPP
from qinspect.inspector.loaders.sglang import SGLANG
from qinspect.inspector.loaders.statement import (
    Affected,
    Effect,
    EngineStatements,
    Loaders,
    Statement,
    number_of_times,
)
from qinspect.inspector.loaders.tensorrt_llm import TENSORRT_LLM
from qinspect.inspector.loaders.transformers import TRANSFORMERS
from qinspect.inspector.loaders.view import View
from qinspect.inspector.loaders.vllm import VLLM

ENGINES: tuple[Engine, ...] = (VLLM, SGLANG, TENSORRT_LLM, TRANSFORMERS, LLAMA_CPP, COMFYUI)
_AFTER = re.compile("[.:#]")
"""What stands behind the role of a module in the role of what belongs to it."""


def statements_of(
    fmt: Format,
    engines: Sequence[str] | None = None,
    backend: str | None = None,
    effects: Collection[Effect] | None = None,
) -> Loaders:
    """What engines do when they load this checkpoint. engines: by name, None for all. backend: leaves out what holds
    for other backends of an engine that has this one. effects: only what has one of these, which leaves most rules out;
    None for all. Reads settings, the header, and scales that are single numbers.

    Raises UsageError for an engine or a backend that no rule knows.
    """
    asked = _asked(engines, backend)
    view = View(fmt)
    found = tuple(EngineStatements(e.title, e.version, e.read, e.statements(view, backend, effects)) for e in asked)
    return Loaders(str(fmt.checkpoint.path), view.stored, backend, found, view.unread, view.incomplete)


def _asked(engines: Sequence[str] | None, backend: str | None) -> list[Engine]:
    names = [e.name for e in ENGINES]
    for name in engines or ():
        if name not in names:
            raise UsageError("--engine names no engine that is known", expected=", ".join(names), found=name)
    asked = [e for e in ENGINES if engines is None or e.name in engines]
    backends = sorted({b for e in asked for b in e.backends})
    if backend is not None and backend not in backends:
        raise UsageError(
            "--backend names no backend of these engines", expected=", ".join(backends) or "none", found=backend
        )
    return asked


def said_of(
    loaders: Loaders, roles: Iterable[str], which: Callable[[Statement], bool] | None = None
) -> Iterator[tuple[Statement, str]]:
    """What engines do with these modules, weights or scales, the worst first of each engine: the statement, and it in a
    clause of one line. roles: as records and weights have them, or of modules. which: of these statements only.
    Statements of the whole checkpoint are not of any module."""
    wanted = set(roles)
    modules = {head for role in wanted for head in _heads(role)}
    for statement in filter(which, loaders.statements):
        of = [a for a in statement.affected if a.role in modules or not wanted.isdisjoint(_heads(a.role))]
        if of:
            yield statement, _clause(statement, of)


def _heads(role: str) -> Iterator[str]:
    """A role, and the modules that it is in."""
    yield role
    for after in _AFTER.finditer(role):
        yield role[: after.start()]


def _clause(statement: Statement, of: Sequence[Affected]) -> str:
    factors = [a.factor for a in of if a.factor is not None]
    if not factors:
        return statement.clause
    worst = max(factors, key=lambda f: abs(f - 1))
    return f"{statement.clause}, {number_of_times(worst)}"
