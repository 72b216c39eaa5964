"""The observation points of a calibration: the tables that the run kept, and the scales that it made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format
from qinspect.inspector.observers import RULES, Quantile
from qinspect.inspector.progress import Progress
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import number, some
from qinspect.inspector.values.clipping import Gauge, Marker, NamedTables
from qinspect.tui.distribution.alphas import STEPS
from qinspect.tui.distribution.source import Chart, KeptCharts, Series

if TYPE_CHECKING:
    from qinspect.tui.alpha.origin import Origins

KEPT = 4
"""Points whose tables are kept: one of 512 samples takes some 60 MB."""
LABELS = "ABCDEFGH"


@dataclass(frozen=True)
class StoredScales:
    """The scales that two checkpoints store for the points of a run, instead of those that it made. of: the formats by
    label. run: its name. said: whose run it is, a line."""

    of: Mapping[str, Format]
    run: str
    said: str

    def markers(self, name: str, bits: int) -> list[Marker]:
        """Of each model that has a scale of this point. One that cannot be read is left out."""
        found = []
        for label, fmt in self.of.items():
            record = next((r for r in fmt.scales() if strip_root(name) == strip_root(r.role)), None)
            if record is None:
                continue
            try:
                scales = np.asarray(fmt.values(record), np.float64)
            except QinspectError:
                continue
            if scales.size:
                ends = float(scales.min()), float(np.median(scales)), float(scales.max())
                found.append(Marker(label, *ends, record.element.bits or bits))
        return found


class RunSource:
    """Points by name, in forward order. stored: whose scales are marked; None for the run's own."""

    def __init__(self, calibration: Calibration, stored: StoredScales | None = None) -> None:
        self.calibration = calibration
        self.stored = stored
        self.origins: Origins | None = None
        """Where the stored scales come from, once that was asked."""
        self.names = tuple(calibration.points)
        self._kept = KeptCharts(KEPT)

    def bits(self, name: str) -> int:
        """Of the codes that a scale of this point is for, by the recipe."""
        return self.calibration.applied(name, self.calibration.results[0].alpha).rule.bits

    def first(self) -> str:
        """The point to begin with: the first one that alpha reaches, else the first."""
        alpha = self.calibration.results[0].alpha
        reached = (n for n in self.names if self.calibration.applied(n, alpha).alpha is not None)
        return next(reached, self.names[0])

    def load(self, name: str, bits: int, check: Progress) -> Chart:
        """Read from the run's file, or as it was kept."""
        return self._kept.get(name, bits, check, self._read)

    def beside(self, name: str, steps: int) -> str:
        """The next one in forward order."""
        return self.names[min(len(self.names) - 1, max(0, self.names.index(name) + steps))]

    def _read(self, name: str, check: Progress) -> Chart:
        check("reading tables", 0, 1)
        calibration, notes = self.calibration, []
        alpha = calibration.results[0].alpha
        used = calibration.applied(name, alpha)
        samples, pooled = calibration.tables(name), calibration.pooled(name)
        rule = used.rule
        if not isinstance(rule.statistic, Quantile):
            rule = RULES["pooled"].at(alpha)
            notes.append(f"its scale is made by {used.rule}: alpha reaches nothing here")
            samples = [pooled]
        if calibration.points[name].rotated:
            notes.append("in rotated (Hadamard) space")
        if self.stored is not None:
            markers = self.stored.markers(name, used.rule.bits)
            notes.append(self.stored.said)
        else:
            markers = self._own_markers(name, used.rule.bits, notes)
        point = NamedTables(name, samples, pooled, tuple(markers), used.rule.bits)
        what = (
            f"activations of {some(len(samples), 'sample')}"
            if calibration.keeps_samples(name)
            else "activations, pooled"
        )
        label = "A" if self.stored is None else ""  # the values are neither model's: their scales stand over them
        return Chart(name, (Series(label, what, Gauge(point, rule, STEPS)),), tuple(notes))

    def _own_markers(self, name: str, bits: int, notes: list[str]) -> list[Marker]:
        """The scales that the run made, with what is to be said of them."""
        results = self.calibration.results
        if len(results) > len(LABELS):
            notes.append(f"of {some(len(results), 'alpha')} the first {len(LABELS)} are marked")
        markers = []
        for label, result in zip(LABELS, results, strict=False):
            scales = result.scales[name]
            low, middle, high = float(scales.min()), float(np.median(scales)), float(scales.max())
            markers.append(Marker(label, low, middle, high, bits))
        if len(results) > 1:
            told = ", ".join(f"{m.label} alpha {number(r.alpha)}" for m, r in zip(markers, results, strict=False))
            notes.append(f"scales of the run: {told}")
        return markers
