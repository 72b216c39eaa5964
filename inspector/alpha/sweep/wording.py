"""Numbers as people read them, the same in text and on the screen."""

from __future__ import annotations

import math

from qinspect.inspector.alpha.sweep.stored_scales import ScalePlace


def share(ratio: float) -> str:
    """In percent, never rounded to 0 or 100 where it is neither; "" for none."""
    if math.isnan(ratio):
        return ""
    if ratio in (0.0, 1.0):
        return f"{100 * ratio:.0f} %"
    return "<0.0001 %" if ratio < 5e-7 else ">99.9999 %" if ratio > 1 - 5e-7 else f"{100 * ratio:.4f} %"


def decibels(x: float) -> str:
    """Two decimals; "" for none."""
    return "" if math.isnan(x) else f"{x + 0.0:.2f}" if abs(x) >= 0.005 else "0.00"


def alpha_text(alpha: float) -> str:
    """All digits of an alpha of the grid, nine of any other."""
    return f"{alpha:.9g}"


def lies(p: ScalePlace | None) -> str:
    """Where a stored scale lies: one alpha, or the two between which it is; "" for none."""
    if p is None:
        return ""
    if p.min_max:
        return "largest |x|"
    if p.alphas is None:
        return p.beyond or "n/a"
    return between(p.alphas)


def between(alphas: tuple[float, float]) -> str:
    """Two alphas and what lies between, or the one that both are."""
    low, high = map(alpha_text, alphas)
    return low if low == high else f"{low}..{high}"


def lies_about(p: ScalePlace | None) -> str:
    """The same in little room."""
    return lies(p) if p is None or p.min_max or p.alphas is None else about(p.alphas)


def about(alphas: tuple[float, float] | None) -> str:
    """One alpha for two: the upper one, marked; "" for none."""
    if alphas is None:
        return ""
    low, high = map(alpha_text, alphas)
    return low if low == high else f"~{high}"
