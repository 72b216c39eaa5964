"""What an evaluation shows of each model, whether it has ended or goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from qinspect.inspector.evaluate.intervals import Estimate
from qinspect.inspector.evaluate.results import Answer, Evaluation, Floor
from qinspect.inspector.evaluate.stored import SoFar
from qinspect.tui.names import shown


@dataclass(frozen=True, slots=True)
class Row:
    """name: a short one, which no other row has. state: what stands where its figures have no end yet, or why there are
    none. answer: None while that is not known."""

    name: str
    ln_ratio: Estimate | None
    kl: Estimate | None
    same_top: Estimate | None
    answer: Answer | None = None
    state: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """margin: of the ln ratio, within which two models are equivalent; None where that is not known yet."""

    rows: tuple[Row, ...]
    floor: Floor | None
    margin: float | None


def rows_of(found: Evaluation) -> Rows:
    """All figures of one that has ended."""
    names = short_names([*(m.name for m in found.models), *(f.name for f in found.failed)])
    rows = [Row(name, m.ln_ratio, m.kl, m.same_top, m.answer) for name, m in zip(names, found.models, strict=False)]
    rows += [Row(name, None, None, None, state="not measured") for name in names[len(rows) :]]
    return Rows(tuple(rows), found.floor, found.models[0].margin if found.models else None)


def rows_so_far(found: SoFar) -> Rows:
    """Of one that goes on, or ended early."""
    names = short_names([m.name for m in found.models])
    rows = []
    for name, m in zip(names, found.models, strict=True):
        done = found.n_windows and m.n_windows >= found.n_windows
        of = f"{m.n_windows:,}/{found.n_windows:,}" if m.n_windows else "waiting"
        state = "not measured" if m.problem else "" if done else of
        rows.append(Row(name, m.ln_ratio, m.kl, m.same_top, None, state))
    return Rows(tuple(rows), found.floor, None)


def short_names(names: Sequence[str]) -> list[str]:
    """The last parts of paths, as many as tell them apart, as they may be shown."""
    parts = [PurePath(name).parts or ("",) for name in names]
    for n in range(1, max(map(len, parts), default=1) + 1):
        short = ["/".join(p[-n:]) for p in parts]
        if len(set(short)) == len(set(names)):
            return [shown(name, 200) for name in short]
    return [shown(name, 200) for name in names]
