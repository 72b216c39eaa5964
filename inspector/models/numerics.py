"""Where a forward stores 16 bits.

A GPU multiplies 16-bit tensors, adds up in float32 and stores 16 bits. A CPU has no fast 16-bit products: there
everything is computed in float32 and rounded where the GPU would store, so that observed values are 16-bit values on
every device and their tables are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Numerics:
    """store: the dtype that values are kept in between operations. compute: the dtype of weights and products."""

    store: torch.dtype
    compute: torch.dtype

    @classmethod
    def on(cls, device: torch.device, store: torch.dtype) -> Numerics:
        """What a device does with a model of this dtype."""
        return cls(store, store if device.type == "cuda" else torch.float32)

    def stored(self, x: Tensor) -> Tensor:
        """x as it is kept: of dtype `store`."""
        return x.to(self.store)

    def computed(self, x: Tensor) -> Tensor:
        """x as operations take it: of dtype `compute`."""
        return x.to(self.compute)
