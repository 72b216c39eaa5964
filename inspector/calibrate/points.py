"""Observation points: named places in a forward pass."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """name: `layers.3.mixer.x_conv_out:input`. dtype: what its values are stored as, `float16`, `bfloat16` or
    `float32`. shape: of one sample, for a forecast. rotated: its values are in Hadamard space. key: the name under
    which a checkpoint keeps its scale, in the tree of the weights."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    rotated: bool
    key: str
