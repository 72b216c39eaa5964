"""W4A5-SE and its relatives: what a bit that chooses between two steps does to the points of a calibration.

modes.py rules with several steps, by the names of Quamba's research modes, with the bits that they take. point.py one
point: the best pair of step and multiplier beside one step, fixed thresholds and the modes. surface.py the error over
thresholds and multipliers. view.py what was asked of a run, worst first; report.py and payload.py that as text, CSV and
JSON. The arithmetic of two steps is in `inspector/distribution/dual_scale.py`; docs/w4a5.md has the reasoning.
"""

from qinspect.inspector.alpha.dual.point import DualPoint, dual_point
from qinspect.inspector.alpha.dual.surface import Surface, surface
from qinspect.inspector.alpha.dual.view import DualView, dual_view

__all__ = ["DualPoint", "DualView", "Surface", "dual_point", "dual_view", "surface"]
