"""quanto (optimum-quanto): a code a byte with a scale a row, or 2 and 4 bits in groups with scales and shifts.

settings.py has what is said of modules, shapes.py what shape a weight in groups has, weights.py reads them, family.py
goes through the modules. docs/formats.md has the layout.
"""

from qinspect.inspector.formats.families.quanto.family import QuantoFormat

__all__ = ["QuantoFormat"]
