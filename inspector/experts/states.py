"""The states that an expert, or one of its scales, can be in."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The worse, the later."""

    UNREAD = "not read"
    SOUND = "sound"
    SHARED = "shared on purpose"
    """One number for all experts of the layer: libraries that load them as one write such."""
    DYNAMIC = "no static scale by design"
    """What goes in is quantized as it comes, or not at all."""
    OUTLYING = "outlying"
    """An input scale far from those of its siblings."""
    DEFAULT = "default"
    """The number that a library puts where no calibration has been."""
    ZERO = "zero"
    NEGATIVE = "negative"
    NOT_FINITE = "not finite"
    MISSING = "missing"
    """Its siblings have it."""
    DAMAGED = "damaged"
    """It is there, and does not fit what it belongs to."""

    @property
    def rank(self) -> int:
        """Its place among STATES: the worse, the larger."""
        return STATES.index(self)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.rank <= State.DYNAMIC.rank


STATES = tuple(State)
"""What numbers in `Column.states` mean."""
NO_EXPERT = -1
"""In a matrix: a layer with fewer experts has none there."""
