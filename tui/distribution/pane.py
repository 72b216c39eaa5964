"""The widget: a point, and a cursor over alpha. It knows tables and scales, and nothing of where they come from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qinspect.tui.distribution.alphas import STEPS, stepped
from qinspect.tui.distribution.layout import Layout, Shown, span_of
from qinspect.tui.widgets.text_pane import TextPane

if TYPE_CHECKING:
    from qinspect.tui.distribution.source import Chart
    from qinspect.tui.glyphs import Glyphs
    from qinspect.tui.look import Look

LEAST_OCTAVES = 0.25


class DistributionPane(TextPane):
    """Shows one `Chart`. `look` has to be set before anything is shown."""

    def __init__(self, glyphs: Glyphs, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.glyphs = glyphs
        self.chart: Chart | None = None
        self.asked = Shown()
        self.alpha = STEPS[-1]
        self._drawn: Layout | None = None

    def show_chart(self, chart: Chart, look: Look) -> None:
        """Another point, or the same with a curve that it did not have."""
        self.chart = chart
        self.lay_out(look)

    def lay_out(self, look: Look) -> None:
        """Lay it out for a size and for what is asked."""
        if self.chart is not None:
            self._drawn = Layout(self.chart, self.asked, look, self.glyphs)
            self.move_to(self.alpha)

    def move_to(self, alpha: float) -> None:
        """Put the cursor at an alpha: every number is computed anew."""
        self.alpha = alpha
        if self._drawn is not None:
            self.show(self._drawn.lines(alpha))

    def move_by(self, steps: int) -> None:
        """Move it by so many steps."""
        self.move_to(stepped(self.alpha, steps))

    @property
    def alphas(self) -> dict[int, float]:
        """Of the lines of the table that have one: where on the screen, and which."""
        area, top = self.content_region, self.content_region.y - self.scroll_offset.y
        found = self._drawn.alphas(self.alpha) if self._drawn is not None else {}
        return {top + line: alpha for line, alpha in found.items() if area.contains(area.x, top + line)}

    def best_alpha(self) -> float | None:
        """The step nearest to the best scale of the first model; None where none is known, or no alpha reaches it."""
        for series in self.chart.series[:1] if self.chart else ():
            curve = series.curves.get(self.asked.bits)
            if curve and curve.best:
                target, gauge = curve.best.w_max.middle, series.gauge
                if target <= gauge.range_at(STEPS[-1]).high * (1 + 1e-6):
                    return min(STEPS, key=lambda a: abs(gauge.range_at(a).middle - target))
        return None

    def zoom(self, factor: float, look: Look) -> None:
        """Show more or less of the axis, from its right end."""
        if self.chart is not None:
            most = span_of(self.chart.series)
            octaves = min(most, max(LEAST_OCTAVES, min(self.asked.octaves, most) * factor))
            self.ask(replace(self.asked, octaves=octaves), look)

    def ask(self, asked: Shown, look: Look) -> None:
        """Show it in another way."""
        self.asked = asked
        self.lay_out(look)
