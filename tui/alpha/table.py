"""The observation points, one a line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qinspect.inspector.alpha.sweep.report import INSTEAD
from qinspect.inspector.alpha.sweep.rules import BITS
from qinspect.inspector.alpha.sweep.wording import alpha_text, decibels, lies_about, share
from qinspect.inspector.text import number
from qinspect.tui.alpha.state import Explorer
from qinspect.tui.compare.columns import ColumnSpec, fitted
from qinspect.tui.compare.table import Headed
from qinspect.tui.glyphs import Glyphs
from qinspect.tui.labels import fill
from qinspect.tui.names import shown
from qinspect.tui.widgets.lines import Piece

COLUMNS = (
    ColumnSpec("point", 0),
    ColumnSpec("scale", 11, True),
    ColumnSpec("clipped", 10, True),
    ColumnSpec("coverage", 10, True, 116),
    *(ColumnSpec(f"dB {bits}", 6, True, 74 + 6 * i) for i, bits in enumerate(BITS)),
    ColumnSpec("lost", 6, True),
    ColumnSpec("best alpha", 12, True, 88),
)
NEAR = "~"
"""Marks a row whose numbers are those of the nearest alpha of the grid."""
LIES = ColumnSpec("lies at", 12, True, 96)


class PointTable(Headed):
    """Rows are points; their cells are looked up when they are drawn."""

    def __init__(self, glyphs: Glyphs, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.glyphs = glyphs
        self.explorer: Explorer | None = None
        self.points: list[int] = []

    @property
    def point(self) -> int | None:
        """The number of the point under the cursor."""
        return self.points[self.cursor] if self.cursor < len(self.points) else None

    def show(self, explorer: Explorer) -> None:
        """Show the rows that are chosen, keeping the cursor on the same point where it is still there."""
        before = self.point
        self.explorer, self.points = explorer, explorer.rows()
        if before in self.points:
            self.cursor = self.points.index(before)
        self.set_rows(len(self.points))
        if self.points:
            self.move_to(self.cursor, tell=False)

    def columns(self, width: int) -> list[tuple[ColumnSpec, int]]:
        stored = (LIES,) if self.explorer and self.explorer.stored is not None else ()
        return fitted((*COLUMNS, *stored), width)

    def line(self, row: int, width: int) -> Sequence[Piece]:
        assert self.explorer is not None
        point = self.points[row]
        near = self.explorer.is_between and self.explorer.exact_of(point) is None
        signs = (INSTEAD if self.explorer.numbers.instead[point] else " ") + (NEAR if near else " ")
        pieces: list[Piece] = [(signs, "dim")]
        for column, w in self.columns(width):
            text = cell(self.explorer, point, column.name)
            text = fill(text, w, self.glyphs.cut, right=column.right, keep_end=column.name == "point")
            pieces += [(text, "accent" if column.name == "lost" else ""), (" ", "")]
        return pieces[:-1]


def cell(x: Explorer, point: int, column: str) -> str:
    """The text of one cell."""
    scale, clipped, sqnr, lost = _numbers(x, point)
    match column:
        case "point":
            return shown(x.grid.points[point].name, 160)
        case "scale":
            return "none" if math.isnan(scale) else number(scale)
        case "clipped":
            return share(clipped)
        case "coverage":
            return share(1 - clipped)
        case "lost":
            return decibels(lost)
        case "best alpha":
            at = int(x.best_alphas(x.chosen.rule, x.chosen.bits)[point])
            return alpha_text(float(x.grid.alphas[at])) if at >= 0 and x.has_alpha else ""
        case "lies at":
            return lies_about(x.placed(x.chosen.rule)[point])
        case _:
            return decibels(sqnr[BITS.index(int(column.split()[1]))])


def _numbers(x: Explorer, point: int) -> tuple[float, float, list[float], float]:
    """Scale and share clipped at the chosen bits, SQNR at each of BITS, what is lost."""
    n, b, exact = x.numbers, x.b, x.exact_of(point)
    if exact is None:
        of_bits = [float(s) for s in n.sqnr_db[:, point]]
        return float(n.scale[b, point]), float(n.clipped[b, point]), of_bits, float(n.loss_db[b, point])
    sqnr, best = [r.sqnr_db.middle for r in exact], float(x.grid.optimum_db[b, point])
    return exact[b].scale, 1 - exact[b].coverage.middle, sqnr, 0.0 if sqnr[b] == best else best - sqnr[b]
