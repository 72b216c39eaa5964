"""The weights that a checkpoint was made of, beside what its scales can hold of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.compare.items import logical_shape, weight_items
from qinspect.inspector.compare.parts import in_parts
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format
from qinspect.inspector.lint.reach import Reach
from qinspect.inspector.progress import Steps, untold
from qinspect.inspector.roles import common_spelling

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Originals:
    """Of each weight of a `Reach`, in its order, the largest magnitude in the original; NaN where the original has no
    such weight, or it is not finite, or cannot be read."""

    reach: Reach
    largest: NDArray[np.float64]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which of them have one."""
        return self.largest > 0


def originals(fmt: Format, base: Format, reach: Reach, steps: Steps | None = None) -> Originals:
    """Read the weights of `base` that those of `fmt` were made of. steps may raise to cancel."""
    own, theirs = in_parts(weight_items(fmt), weight_items(base))
    by_role = {common_spelling(role): item for role, item in theirs.items()}
    largest = np.full(len(reach.weights), np.nan)
    tell = steps or untold
    for at, weight in enumerate(reach.weights):
        tell(at, len(reach.weights))
        item = by_role.get(common_spelling(weight.role))
        if item is None or weight.role not in own or item.weight is not None or logical_shape(item) != weight.shape:
            continue
        try:
            largest[at] = _largest(item.tensor)
        except QinspectError:
            continue  # told by the rules of files, where it is asked for
    return Originals(reach, largest)


def _largest(tensor: Tensor) -> float:
    """The largest magnitude, a piece at a time."""
    if tensor.strides is not None or tensor.dtype.packed or not tensor.dtype.is_float:
        return float(np.abs(np.asarray(tensor.read(), np.float32)).max(initial=0))
    found = 0.0
    for start in range(0, tensor.n_elements, _CHUNK):
        piece = tensor.read_range(start, min(start + _CHUNK, tensor.n_elements))
        with np.errstate(all="ignore"):
            found = max(found, float(np.abs(piece.astype(np.float32)).max(initial=0)))
    return found
