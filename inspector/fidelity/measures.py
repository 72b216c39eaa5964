"""What is measured of a pair of weights: columns and orders of a table, fields of `--json`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qinspect.inspector.measure import ColourScale, Cost, Measure, by_key
from qinspect.inspector.text import magnitude

if TYPE_CHECKING:  # results need numpy; a screen has its measures before that is imported
    from qinspect.inspector.fidelity.results import WeightFidelity


def db(value: float | None, signed: bool = False) -> str:
    """Decibels with two decimals; `equal` where there is no error."""
    if value is None or math.isnan(value):
        return ""
    if math.isinf(value):
        return "equal" if value > 0 else "-inf"
    text = f"{value:+.2f}" if signed else f"{value:.2f}"
    return f"{0:.2f}" if float(text) == 0 else text


def cosine_text(value: float) -> str:
    """Six decimals; never 1 where it is less, beyond what rounding does."""
    if math.isnan(value):
        return ""
    return f"{value:.6f}" if not 1e-12 < 1 - value < 5e-7 else f"1 - {1 - value:.1e}"


def loss_of(w: WeightFidelity) -> float | None:
    """SQNR of rounding to nearest less that of the stored weight, in dB."""
    return w.nearest.loss if w.nearest else None


def best_loss_of(w: WeightFidelity) -> float | None:
    """SQNR of the best found less that of the stored weight, in dB."""
    return w.best.loss if w.best else None


def best_text(w: WeightFidelity) -> str:
    """`+1.42`, `+1.42 +-0.03` where blocks were drawn."""
    if w.best is None or w.best.loss is None:
        return ""
    return f"{db(w.best.loss, signed=True)}{f' +-{w.best.error:.2f}' if w.best.error is not None else ''}"


def error_text(relative: float) -> str:
    """A relative Frobenius error in percent; `n/a` where A is zero."""
    return magnitude(100 * relative) if math.isfinite(relative) else "n/a"


SQNR: Measure[WeightFidelity] = Measure(
    key="sqnr", name="SQNR dB", unit="dB", cost=Cost.WEIGHTS, colours=ColourScale(60.0, 10.0),
    sentence="10 log10(|A|^2 / |B - A|^2) over all values of the weight; infinite where every value is equal.",
    value=lambda w: w.sums.sqnr, text=lambda w: db(w.sums.sqnr),
)  # fmt: skip
ERROR: Measure[WeightFidelity] = Measure(
    key="relative_error", name="rel. error", unit="%", cost=Cost.WEIGHTS, colours=ColourScale(1e-4, 100.0),
    sentence="The distance between the two weights over the size of A's, both as Frobenius norms.",
    value=lambda w: 100 * w.sums.relative, text=lambda w: error_text(w.sums.relative),
)  # fmt: skip
COSINE: Measure[WeightFidelity] = Measure(
    key="cosine", name="cosine", unit="", cost=Cost.WEIGHTS, colours=ColourScale(1.0, 0.9),
    sentence="Of the angle between the two weights, all their values taken as one vector each.",
    value=lambda w: w.sums.cosine, text=lambda w: cosine_text(w.sums.cosine),
)  # fmt: skip
LOSS: Measure[WeightFidelity] = Measure(
    key="loss", name="loss vs RTN", unit="dB", cost=Cost.WEIGHTS, colours=ColourScale(0.1, 6.0, signed=True),
    sentence="SQNR of rounding A to nearest with max scales on B's grid, less B's SQNR: above zero where B is worse.",
    value=loss_of, text=lambda w: db(loss_of(w), signed=True),
)  # fmt: skip
BEST: Measure[WeightFidelity] = Measure(
    key="best_loss", name="loss vs best found", unit="dB", cost=Cost.WEIGHTS,
    colours=ColourScale(0.1, 6.0, signed=True),
    sentence="SQNR of the best scales that a search found for each block of A on B's grid, less B's SQNR: no bound.",
    value=best_loss_of, text=best_text,
)  # fmt: skip
OF_FIDELITY = by_key((SQNR, ERROR, COSINE, LOSS))
