"""Where the cursor over alpha can be: nine places a decade of what is left over, so that it stretches near 1."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

DECADES = 7
"""Down to 1 - 1e-7: float32, in which observers keep alpha, has hardly finer steps there."""
IN_A_DECADE = 9

STEPS = (0.0, *(float(f"0.{'9' * k}{digit}") for k in range(DECADES) for digit in range(1, 10)), 1.0)
"""0, 0.1 ... 0.9, 0.91 ... 0.99, 0.991 ..., 1. `float` of the text: as people write an alpha."""


def stepped(alpha: float, steps: int) -> float:
    """The alpha so many steps away; from between two steps, the next one counts as the first."""
    at = bisect_right(STEPS, alpha) - 1 if steps > 0 else bisect_left(STEPS, alpha)
    return STEPS[min(len(STEPS) - 1, max(0, at + steps))]


def parsed(text: str) -> float | None:
    """The alpha that was typed; None for what is no number from 0 to 1."""
    try:
        alpha = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return alpha if 0 <= alpha <= 1 else None
