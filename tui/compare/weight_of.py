"""The weight that a scale belongs to."""

from __future__ import annotations

from qinspect.inspector.compare.results import ScalePair
from qinspect.inspector.formats import Format, QuantizedWeight


def weight_of(fmt: Format | None, pair: ScalePair) -> QuantizedWeight | None:
    """The weight that a scale belongs to: its own, or for an observation point that of the layer it stands at."""
    if fmt is None:
        return None
    weights = fmt.weights()
    role = pair.role.partition("#")[0]
    own = next((w for w in weights if pair.role in w.scale_roles or w.role == role), None)
    if own or ":" not in role:
        return own
    module = role.rpartition(":")[0]
    return next((w for w in weights if w.role == f"{module}.weight"), None)
