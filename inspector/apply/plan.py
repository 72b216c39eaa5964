"""From new scales to every stored number that they change.

Which entries hold a scale, alone or in a product, is what the format's records say (`Copy`, `folded`): nothing here
knows one family from another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.apply.targets import Target
from qinspect.inspector.compare.copies import check_copies
from qinspect.inspector.errors import CannotApply
from qinspect.inspector.formats import Format, Kind, ScaleRecord, replaceable
from qinspect.inspector.formats.numbers import read_numbers
from qinspect.inspector.formats.records import Copy

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Replacement:
    """One scale that gets another value. was, now: float32, of one shape. keys: the entries that hold it or a product
    of it, and that change."""

    target: Target
    key: str
    was: Array
    now: Array
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What is to be done to a checkpoint. replacements: in its forward order. same: targets whose scale it has
    already, to the bit. numbers: what each changed entry shall hold."""

    fmt: Format
    replacements: tuple[Replacement, ...]
    same: tuple[Target, ...]
    numbers: Mapping[str, Array]


def check_family(fmt: Format) -> None:
    """Raises CannotApply for a family whose copies are not known, and for a checkpoint with a damaged module: what is
    in that is not known either."""
    if not fmt.copies_complete:
        raise CannotApply(
            "where copies of a scale are stored is not known for this format", file=fmt.checkpoint.path,
            expected=f"a checkpoint of a family that says it: {', '.join(replaceable())}", found=fmt.description,
        )  # fmt: skip
    if problems := fmt.problems():
        raise CannotApply(
            "has a module that is not understood, so where copies of its scales are stored is not known",
            file=fmt.checkpoint.path, key=problems[0].key, found=str(problems[0].error),
            cure="Repair the file, or quantize again.",
        )  # fmt: skip


def plan_of(fmt: Format, targets: Sequence[Target]) -> Plan:
    """Every number of the checkpoint that the targets change.

    Raises CannotApply for a family whose copies are not known, a point without a scale in the file, one whose scale is
    of another shape, copies that do not agree as they are, and a scale that is divided into stored weight scales.
    """
    check_family(fmt)
    records = {r.role: r for r in fmt.scales() if r.kind is Kind.ACTIVATION}
    wanted = {t.role: t for t in targets}
    for role in wanted:
        if role not in records:
            raise CannotApply(
                "the checkpoint has no scale of this point", file=fmt.checkpoint.path, key=role,
                cure="`qinspect scales CHECKPOINT` lists those that it has; --points chooses.",
            )  # fmt: skip
    chosen = [(r, wanted[r.role]) for r in records.values() if r.role in wanted]
    changed = {r.role: t for r, t in chosen if not _equal(_present(fmt, r, t), t.scale)}
    new = _exact(records, changed)
    _check_copies(fmt, {r.role for r in records.values() if r.role in changed or _products_of(r, new)})
    _check_folds(fmt, new)
    numbers: dict[str, Array] = new | _products(fmt, records.values(), new)
    made = tuple(
        Replacement(t, r.key, _present(fmt, r, t), _shaped(r, t), _keys(r, records.values(), numbers))
        for r, t in chosen
        if r.role in changed
    )
    return Plan(fmt, made, tuple(t for _, t in chosen if t.role not in changed), numbers)


def _present(fmt: Format, record: ScaleRecord, target: Target) -> Array:
    """The stored scale, float32, of the shape of the new one."""
    with np.errstate(all="ignore"):
        found = np.asarray(fmt.values(record)).astype(np.float32)
    if found.size != target.scale.size or (found.size > 1 and found.shape != target.scale.shape):
        grouped = f"one scale for each of {found.size} groups, made by min-max: alpha does not reach it"
        raise CannotApply(
            "the stored scale is of another shape", file=fmt.checkpoint.path, key=record.key,
            expected="one number" if target.scale.size == 1 else f"shape {list(target.scale.shape)}",
            found=grouped if target.scale.size == 1 else f"shape {list(found.shape)}",
        )  # fmt: skip
    return found


def _shaped(record: ScaleRecord, target: Target) -> Array:
    return target.scale.reshape(record.shape)


def _equal(a: Array, b: Array) -> bool:
    return np.array_equal(a.reshape(-1), b.reshape(-1))


def _check_copies(fmt: Format, roles: set[str]) -> None:
    for problem in check_copies("", fmt):
        if problem.role in roles:
            raise CannotApply(
                f"copies of the scale of {problem.role} disagree before anything is replaced",
                file=fmt.checkpoint.path, key=problem.copy_key, expected=f"{problem.expected:g}, as in {problem.key}",
                found=f"{problem.found:g} ({problem.relation})", cure="Quantize again, or repair the file.",
            )  # fmt: skip


def _exact(records: Mapping[str, ScaleRecord], changed: Mapping[str, Target]) -> dict[str, Array]:
    """What the entries that hold a scale itself shall hold."""
    made = {}
    for role, target in changed.items():
        record = records[role]
        for key in (record.key, *(c.key for c in record.copies if c.exact)):
            made[key] = target.scale
    return made


def _check_folds(fmt: Format, new: Mapping[str, Array]) -> None:
    for record in fmt.scales():
        if folded := next((key for key in record.folded if key in new), None):
            raise CannotApply(
                "is an output scale that the stored scales of weights are divided by: those would have to change, "
                "and weights are left as they are",
                file=fmt.checkpoint.path, key=folded, found=f"it divided into {record.key}",
                cure="Leave this point out (--points), or quantize again.",
            )  # fmt: skip


def _products(fmt: Format, records: Iterable[ScaleRecord], new: Mapping[str, Array]) -> dict[str, Array]:
    """What the entries that hold a scale in a product shall hold, where a factor changes.

    In float32, numerator first, as torch computes `b * s_in / s_out` of tensors.
    """
    made: dict[str, Array] = {}

    def value(key: str) -> Array:
        found = np.asarray(new[key] if key in new else read_numbers(fmt.checkpoint, key))
        if found.size != 1:
            raise CannotApply(
                "is multiplied by a scale, and is not a single number", file=fmt.checkpoint.path, key=key,
                found=f"shape {list(found.shape)}",
            )  # fmt: skip
        return found.astype(np.float32).reshape(())

    for record in records:
        for copy in _products_of(record, new):
            product = value(record.key)
            with np.errstate(all="ignore"):
                for key in copy.over:
                    product = value(key) * product
                for key in copy.times:
                    product = product / value(key)
            made[copy.key] = np.asarray(product)
    return made


def _products_of(record: ScaleRecord, new: Mapping[str, Array]) -> list[Copy]:
    """Copies that hold the scale in a product of which a factor is new."""
    return [
        c for c in record.copies if not c.exact and any(key in new for key in (record.key, *c.times, *c.over))
    ]  # fmt: skip


def _keys(record: ScaleRecord, records: Iterable[ScaleRecord], numbers: Mapping[str, Array]) -> tuple[str, ...]:
    """The entries that a scale has a part in."""
    own = [record.key, *(c.key for c in record.copies if c.exact)]
    products = [c.key for r in records for c in r.copies if not c.exact and (r is record or {*c.times} & {*own})]
    return tuple(dict.fromkeys(key for key in (*own, *products) if key in numbers))
