"""Which of the named rules are swept over all alphas, and for which codes."""

from __future__ import annotations

from qinspect.inspector.observers.registry import RULES
from qinspect.inspector.observers.registry import WITH_ALPHA as ALL_WITH_ALPHA
from qinspect.inspector.observers.registry import WITHOUT_ALPHA as WITHOUT

BITS = (8, 4)
"""Of the codes that everything is known for."""
WITH_ALPHA = tuple(r for r in ALL_WITH_ALPHA if not r.variant_of)
"""A variant's curve would lie on that of its rule."""
SWEPT = {r.name: r for r in RULES.values() if not r.variant_of}
"""Those without an alpha are one range, and that of mse is the optimum that every other is measured against."""

__all__ = ["BITS", "SWEPT", "WITHOUT", "WITH_ALPHA"]
