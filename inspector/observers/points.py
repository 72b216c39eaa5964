"""Observation points: named places in a forward pass."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """name: `layers.3.mixer.x_conv_out:input`. dtype: what its values are stored as, `float16`, `bfloat16` or
    `float32`. rotated: its values are in Hadamard space. n_token, n_fixed: values of a sample for each of its tokens,
    and those that do not depend on its length, for a forecast."""

    name: str
    dtype: str
    rotated: bool
    n_token: float = 0.0
    n_fixed: float = 0.0

    def n_values(self, length: int) -> float:
        """About how many values a sample of this length has here."""
        return max(self.n_fixed + self.n_token * length, 0.0)
