"""One point between the alphas of the grid: exact, from its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from qinspect.inspector.alpha.sweep.grid import PointInfo
from qinspect.inspector.calibration.stored import Calibration
from qinspect.inspector.distribution import AlphaInterval, MagnitudeTable
from qinspect.inspector.observers import RULES, NamedRule
from qinspect.inspector.values.clipping import Gauge, NamedTables, Reading


@dataclass(frozen=True, eq=False)
class ExactPoint:
    """info: of the grid. samples: a table of each, empty where only the sum was kept. pooled: that sum."""

    info: PointInfo
    samples: Sequence[MagnitudeTable]
    pooled: MagnitudeTable
    _gauges: dict[str, Gauge] = field(default_factory=dict)

    @classmethod
    def read(cls, calibration: Calibration, info: PointInfo) -> ExactPoint:
        """Raises BrokenFile where the tables are damaged."""
        samples = calibration.tables(info.name) if info.n_samples else []
        return cls(info, samples, calibration.pooled(info.name))

    def at(self, rule: str, alpha: float, bits: int) -> Reading:
        """What a rule with an alpha gives. Where it cannot answer, the pooled one does, as `PointInfo` says."""
        named = self._answering(rule)
        if named.name not in self._gauges:
            tables = NamedTables(self.info.name, [t.upper for t in self._tables(named)], self.pooled)
            self._gauges[named.name] = Gauge(tables, named.at(alpha, bits))
        return self._gauges[named.name].at(alpha, bits)

    def alphas_of(self, rule: str, scale: float, bits: int) -> AlphaInterval | None:
        """The alphas with which a rule gives a scale; of tables that are not exact, all that may. None where none
        does."""
        named = self._answering(rule)
        if not named.takes_alpha or not self.info.n:
            return None
        return named.alphas(self._tables(named), scale, bits)[0]

    def _answering(self, rule: str) -> NamedRule:
        named = RULES[rule]
        return RULES["pooled"] if named.per_sample and self.info.pooled_instead else named

    def _tables(self, named: NamedRule) -> Sequence[MagnitudeTable]:
        return self.samples if named.per_sample else [self.pooled]


def default_rule(calibration: Calibration) -> str:
    """The rule that makes scales where an alpha reaches them: by the recipe."""
    alpha = calibration.results[0].alpha
    used = (calibration.applied(name, alpha) for name in calibration.points)
    return next((u.name for u in used if u.alpha is not None), "pooled")
