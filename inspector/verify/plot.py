"""The distribution of |x| and where each alpha cuts it, drawn by plotext: imported here, when a plot is wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qinspect.inspector.distribution import MagnitudeTable, log_histogram
from qinspect.inspector.text import number
from qinspect.inspector.verify.sweep import Sweep

HEIGHT = 16
MIN_WIDTH = 40
_LEFT_OUT = 1e-3
"""The axis begins at this part of the largest |x|: nothing is cut below."""
_ASCII = str.maketrans("┌┐└┘─│┤├┬┴┼", "++++-|+++++")


def plot_lines(pooled: MagnitudeTable, sweeps: Sequence[Sweep], width: int, color: bool, plain: bool) -> list[str]:
    """A histogram of |x|, both axes logarithmic, with a line at each w_max; none where there is nothing to draw.
    plain: in ASCII."""
    bins = max(MIN_WIDTH, width) - 12
    top = pooled.largest
    if not top > 0:
        return []
    h = log_histogram(pooled, bins, top * _LEFT_OUT, top)
    assert h is not None
    import plotext as plt

    edges = np.log10(h.edges)
    counts = np.log10(h.counts + 1.0)
    plt.clear_figure()
    plt.limit_size(False, False)
    plt.theme("clear")
    plt.plot_size(max(MIN_WIDTH, width), HEIGHT)
    marker = "#" if plain else "hd"
    plt.plot(((edges[1:] + edges[:-1]) / 2).tolist(), counts.tolist(), marker=marker, fillx=True, color="blue")
    ceiling = math.ceil(max(float(counts.max()), 1.0))
    marks = []
    for s, sign, hue in zip(sweeps, "|:", ("orange", "green"), strict=False):
        for row in s.rows:
            w = float(row.w_max.high)
            if math.isfinite(w) and h.edges[0] <= w <= h.edges[-1]:
                height = ceiling * np.linspace(0.0, 1.0, 4 * HEIGHT)
                plt.plot([math.log10(w)] * height.size, height.tolist(), marker=sign, color=hue)
        marks.append(f"{sign} {s.name}")
    plt.xlim(float(edges[0]), float(edges[-1]))
    plt.ylim(0, ceiling)
    at = np.linspace(edges[0], edges[-1], 5)
    plt.xticks(at.tolist(), [f"{10**x:.3g}" for x in at])
    plt.yticks(list(range(ceiling + 1)), ["0", *(f"1e{p}" for p in range(1, ceiling + 1))])
    built: str = plt.build() if color else plt.uncolorize(plt.build())
    if plain:
        built = built.translate(_ASCII)
    below = f", {h.n_zero + h.n_below:,} below {number(float(h.edges[0]))}" if h.n_zero + h.n_below else ""
    heading = f"COUNTS OF |x|{below}; w_max at each alpha: {', '.join(marks)}"
    return [heading, *(line.rstrip() for line in built.splitlines())]
