"""The weights of two models as points: counted when they are looked at, and kept for the session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, Kind
from qinspect.inspector.observers import RULES
from qinspect.inspector.progress import Progress
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import dims, natural_key
from qinspect.inspector.values.clipping import Gauge, NamedTables
from qinspect.inspector.values.levels import levels_of
from qinspect.inspector.values.stored_values import StoredValues, count_values, stored_scale, stored_values
from qinspect.tui.compare.weight_of import weight_of
from qinspect.tui.distribution.alphas import STEPS
from qinspect.tui.distribution.source import Chart, KeptCharts, Series

if TYPE_CHECKING:
    from qinspect.inspector.compare.paired_tree import PairedNode
    from qinspect.inspector.compare.results import ScalePair
    from qinspect.inspector.distribution import MagnitudeTable
    from qinspect.tui.compare.session import Session

RULE = replace(RULES["pooled"].at(1.0), clamp=0.0)
"""A weight is one sample; numpy's rank holds for any number of values. The clamp is of observers: a weight has none."""
KEPT = 8
"""Weights whose tables are kept: up to 4 MB each, with what is computed from them."""
NO_ACTIVATIONS = "a checkpoint holds no activations; a run's tables do"


class WeightSource:
    """The values of A and B that a distribution can be counted of."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._formats = [(label, fmt) for label, fmt in (("A", session.a), ("B", session.b)) if fmt]
        self._values: dict[str, dict[str, StoredValues]] = {}
        self._names: list[str] = []
        self._kept = KeptCharts(KEPT)

    @property
    def names(self) -> Sequence[str]:
        """All there is, once it was listed."""
        return self._names

    def load(self, name: str, bits: int, check: Progress) -> Chart:
        """Counted, or as it was kept."""
        return self._kept.get(name, bits, check, self._count)

    def beside(self, name: str, steps: int) -> str:
        """The next one by name."""
        if not self._names or name not in self._names:
            return name
        return self._names[min(len(self._names) - 1, max(0, self._names.index(name) + steps))]

    def _find(self) -> None:
        """List what there is: once, in the thread that counts first."""
        if not self._values:
            self._values = {label: stored_values(fmt) for label, fmt in self._formats}
            self._names = sorted({role for found in self._values.values() for role in found}, key=natural_key)

    def _count(self, name: str, check: Progress) -> Chart:
        self._find()
        series, notes = [], []
        for label, _ in self._formats:
            values = self._values[label].get(name)
            if values is None:
                notes.append(f"{label} has no floating-point values of this name")
                continue
            try:
                series.append(_series(label, values, check))
            except QinspectError as e:
                notes.append(f"{label} {e}")
        return Chart(name, tuple(_merged(series)), tuple(notes))


def _series(label: str, values: StoredValues, check: Progress) -> Series:
    def counting(done: int, total: int) -> None:
        check(f"counting {label}", done, total)

    table = count_values(values, counting)
    marker = stored_scale(values, label, counting)
    point = NamedTables(
        values.role, [table], table, (marker,) if marker else (), values.weight.bits if values.weight else 8
    )
    return Series(label, values.what, Gauge(point, RULE, STEPS), dims(values.shape), _step(values, table))


def _step(values: StoredValues, table: MagnitudeTable) -> float:
    """Of all values, where one scale makes them of integers; 0 where they stand on no such levels."""
    levels = levels_of(values.fmt, values.weight) if values.weight else None
    known = table.middle[: table.magnitudes.size]
    return levels.step if levels is not None and table.exact and levels.hold(known) else 0.0


def _merged(series: list[Series]) -> list[Series]:
    """One where A and B have the same values, and scales that are stored for the same codes."""
    if len(series) != 2 or (series[0].what, series[0].shape) != (series[1].what, series[1].shape):
        return series
    a, b = (s.gauge.tables for s in series)
    scales = [[(m.low, m.middle, m.high, m.bits, m.limit) for m in point.markers] for point in (a, b)]
    if scales[0] != scales[1] or not _same(a.pooled, b.pooled):
        return series
    return [Series("AB", series[0].what, series[0].gauge, series[0].shape, series[0].step)]


def _same(a: MagnitudeTable, b: MagnitudeTable) -> bool:
    others = [(t.n_inf, t.n_nan, t.dropped_bits, repr(t.largest)) for t in (a, b)]
    return others[0] == others[1] and np.array_equal(a.magnitudes, b.magnitudes) and np.array_equal(a.counts, b.counts)


def role_of_pair(session: Session, pair: ScalePair) -> tuple[str, str]:
    """(role of the weight that a scale belongs to, ""), or ("", why there is none to look at)."""
    if pair.record.kind is Kind.ACTIVATION:
        return "", NO_ACTIVATIONS
    for fmt in (session.a, session.b):
        if weight := weight_of(fmt, pair):
            return weight.role, ""
    if pair.record.guess is Kind.ACTIVATION:
        return "", NO_ACTIVATIONS
    module, _, _last = pair.record.key.rpartition(".")
    return strip_root(f"{module}.weight" if module else "weight"), ""


def role_of_node(session: Session, node: PairedNode) -> tuple[str, str]:
    """The same of an entry in the tree: of codes their weight, of a scale the weight that it scales."""
    for fmt, entry in ((session.a, node.a), (session.b, node.b)):
        if fmt is None or entry is None:
            continue
        weight = next((w for w in fmt.weights() if w.codes_key == entry.name), None)
        if weight is not None:
            return weight.role, ""
        record = next((r for r in fmt.scales() if entry.name in (r.key, *(c.key for c in r.copies))), None)
        if record is not None:
            return _role_of_record(fmt, record.role, record.kind)
        if not isinstance(entry, Tensor):
            return "", "this entry is not a tensor"
        return fmt.role_of(entry.name), ""
    return "", "choose a tensor, or a weight's scale"


def _role_of_record(fmt: Format, role: str, kind: Kind) -> tuple[str, str]:
    weight = next((w for w in fmt.weights() if role in w.scale_roles), None)
    if weight is not None and kind is not Kind.ACTIVATION:
        return weight.role, ""
    return "", NO_ACTIVATIONS
