"""All scales that are one number, read in one sweep: twenty thousand of four bytes each."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.errors import QinspectError


def read_scalars(checkpoint: Checkpoint, names: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    """The number under each name, and the names under which none could be read. NaN is a number that may be stored."""
    found: dict[str, float] = {}
    unread: list[str] = []
    by_file: dict[int, tuple[Source, list[tuple[int, str, Form]]]] = {}
    for name, at in zip(names, checkpoint.entries.places(names), strict=True):
        if at is not None:
            source, offset, form = at
            by_file.setdefault(id(source), (source, []))[1].append((offset, name, form))
            continue
        number = checkpoint.scalar(name)
        if number is None:
            unread.append(name)
        else:
            found[name] = number
    for source, wanted in by_file.values():
        wanted.sort()
        try:
            _read(source, wanted, found)
        except QinspectError:
            for one in wanted:
                try:
                    _read(source, [one], found)
                except QinspectError:
                    unread.append(one[1])
    return found, unread


def _read(source: Source, wanted: Sequence[tuple[int, str, Form]], found: dict[str, float]) -> None:
    import numpy as np

    raw = source.read_ranges([(offset, form[0].nbytes(1)) for offset, _, form in wanted])
    by_dtype: dict[str, list[int]] = {}
    for i, (_, _, form) in enumerate(wanted):
        by_dtype.setdefault(form[0].name, []).append(i)
    for places in by_dtype.values():
        dtype = wanted[places[0]][2][0]
        if not dtype.numpy or dtype.packed or dtype.is_complex:
            continue
        with np.errstate(all="ignore"):  # a signalling NaN in the file is no event
            values = np.frombuffer(b"".join(raw[i] for i in places), dtype.to_numpy()).astype(np.float64)
        found.update(zip((wanted[i][1] for i in places), values.tolist(), strict=True))


def is_step(value: float | None) -> bool:
    """Whether it is a number that a scale can be."""
    return value is not None and math.isfinite(value) and value > 0
