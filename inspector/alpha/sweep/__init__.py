"""What every alpha does to every observation point of a calibration, without the model.

alphas.py the grid that stretches near 1. rules.py the rules that are swept. measure.py many scales of one table at
once. grid.py all numbers as arrays. build.py the grid of a calibration. grid_file.py the same in its folder. one.py a
point between the alphas of the grid. kinds.py layers by kinds of points. best.py the best alphas and what they give up.
stored_scales.py where a checkpoint's scales lie. view.py a question and its answer; report.py and wording.py that as
text, CSV and JSON.

How a scale is made is in `inspector/observers`, the tables come from `inspector/calibration/stored.py`.
docs/alpha.md has the reasoning.
"""

from qinspect.inspector.alpha.sweep.grid import Grid, Numbers
from qinspect.inspector.alpha.sweep.grid_file import OpenedGrid, opened
from qinspect.inspector.alpha.sweep.view import Asked, View, view

__all__ = ["Asked", "Grid", "Numbers", "OpenedGrid", "View", "opened", "view"]
