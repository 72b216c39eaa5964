"""Largest magnitudes of groups: what grouped min-max observers keep instead of a distribution."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qinspect.inspector.observers.recipes import Grouping

BLOCKS = 4
"""Head groups of an SSD group, and channel groups of a head."""


class GroupedAbsmax:
    """The largest |x| of each group over samples. Groups are contiguous blocks of heads and channels: what Quamba
    sorts and clusters into its groups is not reordered here.

    groupings: name of a point to how it is divided. n_groups, head_dim: of the model's heads.
    """

    def __init__(self, groupings: Mapping[str, Grouping], n_groups: int, head_dim: int) -> None:
        self.groupings, self.n_groups, self.head_dim = groupings, n_groups, head_dim
        self._largest: dict[str, Tensor] = {}

    def observe(self, name: str, x: Tensor) -> None:
        """The probe of a forward."""
        grouping = self.groupings.get(name)
        if not grouping:
            return
        found = self._of_groups(x.abs()) if grouping == "groups" else self._of_heads(x.abs())
        before = self._largest.get(name)
        self._largest[name] = found if before is None else torch.maximum(before, found)

    def _of_groups(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_groups, -1)).amax(-1).flatten(0, -2).amax(0)

    def _of_heads(self, x: Tensor) -> Tensor:
        is_state = x.ndim == 4
        heads = x if is_state else x.unflatten(-1, (-1, self.head_dim)).flatten(0, 1)[..., None]
        n_heads, head_dim = heads.shape[1:3]
        if n_heads % (self.n_groups * BLOCKS) or head_dim % BLOCKS:
            raise ValueError(f"{n_heads} heads of {head_dim} do not divide into {BLOCKS} x {BLOCKS} blocks a group")
        blocks = heads.unflatten(2, (BLOCKS, -1)).unflatten(1, (self.n_groups, BLOCKS, -1))
        largest = blocks.amax((0, 3, 5))  # [G, BLOCKS, BLOCKS, N]
        return largest if is_state else largest[..., 0]

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """float32: [G], [G, 4, 4] or [G, 4, 4, N] of every point seen."""
        return {name: x.float().cpu().numpy() for name, x in self._largest.items()}

    def reset(self) -> None:
        """Forget what was seen."""
        self._largest = {}
