"""What a view depends on besides its data. No numpy, no plotext: imported before the first paint."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text

from qinspect.tui.widgets.lines import Piece

Rgb = tuple[int, int, int]
Line = list[Piece] | Text | str


@dataclass(frozen=True, slots=True)
class Look:
    """Size of the pane in cells, colours of A, B and of marks (None: none), whether only ASCII shows."""

    width: int
    height: int
    a: Rgb | None
    b: Rgb | None
    mark: Rgb | None
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """log_counts, log_axis: logarithmic. cursor: 0..1 along the axis, None without. zoom: part of the axis shown, from
    its right end: 1 all, 0.1 the last tenth."""

    log_counts: bool = False
    log_axis: bool = False
    cursor: float | None = None
    zoom: float = 1.0
