"""What the modules of TorchScript are pickled as, where that is not a dictionary of their attributes.

torch.ao's quantized convolutions pickle a tuple (`_ConvNd.__getstate__` in torch/ao/nn/quantized/modules/conv.py), its
linear modules the scale of their output as a Python number.
"""

from __future__ import annotations

from qinspect.inspector.checkpoint.pickle_objects import Number, Opaque

OF_SCRIPT = "__torch__."
"""How the names of classes begin that TorchScript made."""
_CONVOLUTION = 15
_PLACES = {10: "weight", 11: "bias", 12: "scale", 13: "zero_point"}
_OF_OUTPUT = ("scale", "zero_point")


def attributes_of_quantized(node: Opaque) -> dict[str, object] | None:
    """What a module that torch.ao quantized has, by the names that a state_dict gives it; None of any other."""
    if not node.name.startswith(OF_SCRIPT) or ".quantized." not in node.name or node.args:
        return None
    if ".dynamic." in node.name:  # its scale of the output is 1 and never used
        return None
    if isinstance(node.state, tuple) and len(node.state) == _CONVOLUTION and ".conv." in node.name:
        return {name: _listed(name, node.state[place]) for place, name in _PLACES.items()}
    if isinstance(node.state, dict) and all(isinstance(node.state.get(name), (int, float)) for name in _OF_OUTPUT):
        return {name: _listed(name, value) for name, value in node.state.items()}
    return None


def _listed(name: object, value: object) -> object:
    return Number(value) if name in _OF_OUTPUT and isinstance(value, (int, float)) else value
