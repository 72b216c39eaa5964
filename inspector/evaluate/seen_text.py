"""Whether the text of an evaluation is text that a calibration saw: that may make a quantization look better than it
is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qinspect.inspector.text import some


def seen_said(calibrated: object, evaluated: Mapping[str, Any]) -> str | None:
    """A sentence where both are of one source; None where they are not, or that is not known. calibrated: what a
    calibration recorded of its samples, from a file of anybody's. evaluated: as Samples.describe() has it."""
    if not isinstance(calibrated, Mapping):
        return None
    if calibrated.get("sha256") == evaluated["sha256"]:
        return f"all {some(evaluated['samples'], 'window')} are text that it was calibrated on"
    source, own = calibrated.get("source"), evaluated["source"]
    if not isinstance(source, Mapping) or not isinstance(own, Mapping) or own.get("sha256") is None:
        return None
    if any(source.get(key) != own.get(key) for key in ("sha256", "sha256_of_bytes", "bytes", "kind", "field")):
        return None
    alike = all(calibrated.get(key) == evaluated[key] for key in ("tokenizer", "seq_len"))
    order = calibrated.get("order")
    if not alike or not isinstance(order, list):
        return "its text is of the file that it was calibrated on; which of it is the same is not known"
    seen = {n for n in order if isinstance(n, int)}
    n = sum(number in seen for number in evaluated["order"])
    return f"{n} of {some(len(evaluated['order']), 'window')} are text that it was calibrated on" if n else None
