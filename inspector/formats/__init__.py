"""Quantization families: recognise, pair each scale with what it scales, dequantize.

`format_of` gives the family of a checkpoint. A new family is one module here and one line in FAMILIES; families do
not know each other.
"""

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.contract import Copy, Format, Kind, QuantizedWeight, ScaleRecord
from qinspect.inspector.formats.native import NativeFormat
from qinspect.inspector.formats.plain import PlainFormat
from qinspect.inspector.formats.quamba import QuambaFormat
from qinspect.inspector.formats.torch_quantized import TorchQuantizedFormat

FAMILIES: tuple[type[Format], ...] = (NativeFormat, TorchQuantizedFormat, QuambaFormat, PlainFormat)
"""In the order of asking: the first that recognises a checkpoint gets it. The plain one takes all."""


def format_of(checkpoint: Checkpoint) -> Format:
    """The family of `checkpoint`, bound to it. One that is recognised but too damaged to be understood becomes plain,
    with a note."""
    for family in FAMILIES:
        if family.recognise(checkpoint) is not None:
            try:
                return family(checkpoint)
            except CannotDequantize as e:
                checkpoint.notes = (*checkpoint.notes, f"looks like {family.family}, but {e}")
    raise AssertionError("the plain family takes every checkpoint")


__all__ = ["FAMILIES", "Copy", "Format", "Kind", "PlainFormat", "QuantizedWeight", "ScaleRecord", "format_of"]
