"""What must be fast: each kernel has one signature, a GPU body, a CPU body, a reference and a benchmark.

The public functions are imported when they are first named: `import qinspect.kernels` costs nothing. Nothing here
imports the inspector or the screen; torch is imported by what works on its tensors alone (`logits`, `rounding`), which
only an evaluation imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qinspect.kernels.counts import (
        N_MAGNITUDES,
        N_PATTERNS,
        magnitude_counts,
        segmented_magnitude_counts,
        signed_counts,
    )

__all__ = ["N_MAGNITUDES", "N_PATTERNS", "magnitude_counts", "segmented_magnitude_counts", "signed_counts"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("qinspect.kernels.counts"), name)
