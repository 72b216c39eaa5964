"""AMD Quark: linear layers in the types that config.json names, under names that other libraries write too.

settings.py reads what is said of a module, weights.py its weight, family.py goes through the modules and says what
their entries are. docs/formats.md has the layouts.
"""

from qinspect.inspector.formats.families.quark.family import QuarkFormat

__all__ = ["QuarkFormat"]
