"""What holds of each rule of an engine: it fires on one model, and not on another that is nearly the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from loader_files import Model

from qinspect.inspector.formats import Format
from qinspect.inspector.loaders import ENGINES, Statement, statements_of
from qinspect.inspector.loaders.engine import Engine, Rule
from qinspect.inspector.loaders.view import View

Make = Callable[[], Model | Format]
Cases = Mapping[str, tuple[Make, Make]]
"""Name of a rule's function, with its module, to a model on which it fires and one on which it does not."""


def engine(name: str) -> Engine:
    """By the word that `--engine` takes."""
    (found,) = [e for e in ENGINES if e.name == name]
    return found


def rules(name: str) -> dict[str, Rule]:
    """The rules of an engine by the names of their functions."""
    found = engine(name).rules
    made = {f"{r.check.__module__.rpartition('.')[2]}.{r.check.__name__}": r for r in found}
    assert len(made) == len(found)
    return made


def check_both(name: str, rule: str, cases: Cases, folder: Path) -> None:
    """Also that what is found makes a statement with a sentence."""
    fires, near = cases[rule]
    check = rules(name)[rule].check
    found = check(View(_opened(fires, folder / "fires")))
    assert found is not None, "does not fire"
    assert found.modules or found.of == 1 or not found.known
    said = [
        s
        for s in statements_of(_opened(fires, folder / "again"), [name]).statements
        if s.does == rules(name)[rule].does
    ]
    assert said
    assert all(s.text.startswith(s.does) and "None" not in s.text for s in said)
    assert check(View(_opened(near, folder / "near"))) is None, "fires beside it too"


def check_complete(name: str, cases: Cases) -> None:
    """Every rule has a case."""
    assert set(cases) == set(rules(name))


def statements(model: Model | Format, folder: Path, name: str, backend: str | None = None) -> tuple[Statement, ...]:
    """What one engine does with a model."""
    fmt = model.opened(folder) if isinstance(model, Model) else model
    return statements_of(fmt, [name], backend).statements


def _opened(make: Make, folder: Path) -> Format:
    made = make()
    return made.opened(folder) if isinstance(made, Model) else made
