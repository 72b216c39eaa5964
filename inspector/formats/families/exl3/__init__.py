"""EXL3: weights as paths through a trellis, rotated on both sides.

trellis.py makes numbers of the paths, linear.py undoes the rotation, family.py goes through the modules.
docs/formats.md has the layout.
"""

from qinspect.inspector.formats.families.exl3.family import Exl3Format

__all__ = ["Exl3Format"]
