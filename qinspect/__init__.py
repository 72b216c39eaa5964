"""Quantized checkpoints from Python: open one, ask what it holds, compare two. docs/api.md shows it at work.

    import qinspect

    m = qinspect.open("path/to/model")      # headers only
    m.scales()                              # what each scale is a scale of, and where it is stored
    m["lm_head.weight"].read()              # a stored tensor, as a numpy array
    m.dequantize("layers.0.mixer.in_proj.weight")
    print(qinspect.report(qinspect.compare("model_a", "model_b")))

What is in `__all__` here is the public API. Everything in it is made by `qinspect.inspector`, which may change more
freely. Importing this costs next to nothing: numpy, and each part, is imported when its first name is used. Nothing in
here imports torch, and nothing in a file is ever executed. What is wrong with an input is a `QinspectError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qinspect.inspector import __version__
    from qinspect.inspector.calibration.stored import Calibration
    from qinspect.inspector.calibration.stored import calibration_named as open_calibration
    from qinspect.inspector.checkpoint import Tensor, Value
    from qinspect.inspector.compare import Comparison, Difference, ScalePair, Status, WeightPair
    from qinspect.inspector.distribution import (
        MagnitudeTable,
        beyond,
        coverage,
        entropy_optimal_scale,
        merge,
        mse,
        mse_optimal_scale,
        sqnr_db,
    )
    from qinspect.inspector.errors import (
        BrokenFile,
        CannotDequantize,
        CannotOpen,
        CannotRead,
        QinspectError,
        UnknownKey,
        UnsafePickle,
    )
    from qinspect.inspector.finding import Finding
    from qinspect.inspector.formats import Kind, QuantizedWeight, ScaleRecord
    from qinspect.inspector.observers import Rule, quamba_absmax, quamba_percentile
    from qinspect.inspector.values.inspection import Inspection
    from qinspect.model import Model, as_dict, compare, open, report

_HOMES = {
    "qinspect.inspector": ("__version__",),
    "qinspect.inspector.calibration.stored": ("Calibration",),
    "qinspect.inspector.checkpoint": ("Tensor", "Value"),
    "qinspect.inspector.compare": ("Comparison", "Difference", "ScalePair", "Status", "WeightPair"),
    "qinspect.inspector.distribution": (
        *("MagnitudeTable", "beyond", "coverage", "entropy_optimal_scale", "merge", "mse", "mse_optimal_scale"),
        "sqnr_db",
    ),
    "qinspect.inspector.errors": (
        *("BrokenFile", "CannotDequantize", "CannotOpen", "CannotRead", "QinspectError", "UnknownKey", "UnsafePickle"),
    ),
    "qinspect.inspector.finding": ("Finding",),
    "qinspect.inspector.formats": ("Kind", "QuantizedWeight", "ScaleRecord"),
    "qinspect.inspector.observers": ("Rule", "quamba_absmax", "quamba_percentile"),
    "qinspect.inspector.values.inspection": ("Inspection",),
    "qinspect.model": ("Model", "as_dict", "compare", "open", "report"),
}
"""The module that each name comes from; as the imports above, which are for type checkers."""

_RENAMED = {"open_calibration": ("qinspect.inspector.calibration.stored", "calibration_named")}

__all__ = [
    "BrokenFile",
    "Calibration",
    "CannotDequantize",
    "CannotOpen",
    "CannotRead",
    "Comparison",
    "Difference",
    "Finding",
    "Inspection",
    "Kind",
    "MagnitudeTable",
    "Model",
    "QinspectError",
    "QuantizedWeight",
    "Rule",
    "ScalePair",
    "ScaleRecord",
    "Status",
    "Tensor",
    "UnknownKey",
    "UnsafePickle",
    "Value",
    "WeightPair",
    "__version__",
    "as_dict",
    "beyond",
    "compare",
    "coverage",
    "entropy_optimal_scale",
    "merge",
    "mse",
    "mse_optimal_scale",
    "open",
    "open_calibration",
    "quamba_absmax",
    "quamba_percentile",
    "report",
    "sqnr_db",
]


if not TYPE_CHECKING:  # or a checker would take any name for one of the API

    def __getattr__(name: str) -> object:
        """A name of the API, imported when it is first used. Raises AttributeError for another."""
        home, its_name = _RENAMED.get(name) or (next((h for h, names in _HOMES.items() if name in names), ""), name)
        if not home:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        found = globals()[name] = getattr(import_module(home), its_name)
        return found


def __dir__() -> list[str]:
    """The API, for completion."""
    return sorted({*globals(), *__all__})
