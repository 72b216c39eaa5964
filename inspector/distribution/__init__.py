"""The exact distribution of |x|, and every question that can be asked of it without the model.

table.py the magnitude table: counting, merging, bounds. single.py how float32 values become one. quantile.py ranks,
interpolation and their inverse. quantization.py codes, coverage, error of a scale. optimal.py the scales that minimise
error or divergence. dual_scale.py two steps and a selector bit. drawing.py bins for a plot. packing.py a table as
bytes. storage.py many in a file.

How a calibration makes a scale out of tables is in `inspector/observers`. docs/distributions.md has the reasoning.
"""

from qinspect.inspector.distribution.drawing import LogHistogram, log_histogram
from qinspect.inspector.distribution.dual_scale import DualScale, best_dual_scale, dual_scale
from qinspect.inspector.distribution.optimal import OptimalScale, entropy_optimal_scale, mse_optimal_scale
from qinspect.inspector.distribution.quantile import AlphaInterval, Rank, remembered, solve_alpha, solve_alpha_between
from qinspect.inspector.distribution.quantization import (
    CodeUsage,
    Rounding,
    beyond,
    code_usage,
    coverage,
    mse,
    mse_bounds,
    sqnr_db,
)
from qinspect.inspector.distribution.storage import DistributionFile, write_distributions
from qinspect.inspector.distribution.table import Bounds, MagnitudeTable, merge

__all__ = [
    "AlphaInterval",
    "Bounds",
    "CodeUsage",
    "DistributionFile",
    "DualScale",
    "LogHistogram",
    "MagnitudeTable",
    "OptimalScale",
    "Rank",
    "Rounding",
    "best_dual_scale",
    "beyond",
    "code_usage",
    "coverage",
    "dual_scale",
    "entropy_optimal_scale",
    "log_histogram",
    "merge",
    "mse",
    "mse_bounds",
    "mse_optimal_scale",
    "remembered",
    "solve_alpha",
    "solve_alpha_between",
    "sqnr_db",
    "write_distributions",
]
