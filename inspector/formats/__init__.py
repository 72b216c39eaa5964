"""Quantization families: recognise, pair each scale with what it scales, dequantize.

`format_of` gives the family of a checkpoint. contract.py says what a family is, records.py what it tells, element.py,
grid.py and words.py what that is made of; the families are in `families/`. Nothing outside of this folder knows one by
name.
"""

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.contract import Format, Topic
from qinspect.inspector.formats.families import FALLBACK, FAMILIES
from qinspect.inspector.formats.records import Copy, Kind, Quantity, QuantizedWeight, Refusal, ScaleRecord, Setting


def format_of(checkpoint: Checkpoint) -> Format:
    """The family of `checkpoint`, bound to it. Where one recognises it and then understands no module of it, nobody
    claims it, and a note says so."""
    refused = []
    for family in FAMILIES:
        if family.recognise(checkpoint) is not None:
            try:
                return family(checkpoint)
            except CannotDequantize as e:
                refused.append(Refusal(family.family, e))
    return FALLBACK(checkpoint, tuple(refused))


def replaceable() -> list[str]:
    """The families whose records name every entry that a scale has a part in."""
    return [family.family for family in FAMILIES if family.copies_complete]


__all__ = [
    "Copy", "Format", "Kind", "Quantity", "QuantizedWeight", "Refusal", "ScaleRecord", "Setting", "Topic",
    "format_of", "replaceable",
]  # fmt: skip
