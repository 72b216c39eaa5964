"""Numbers that a scale should not be."""

from __future__ import annotations

from collections.abc import Callable

from qinspect.inspector.finding import Severity
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.text import count, some
from qinspect.inspector.values.scale_faults import ScaleFaults, index_of


def _with_faults(subject: Subject, n_of: Callable[[ScaleFaults], int], said: str) -> Checked:
    """Scales with faults of a sort. said: what their numbers are, behind `are`."""
    table = subject.scales
    places = []
    for at, faults in sorted(table.faults.items()):
        if n := n_of(faults):
            record = table.records[at]
            of = f"{count(n)} of {count(faults.n)} numbers" if faults.n > 1 else ""
            index = tuple(index_of(faults, record.shape)) if faults.n > 1 else ()
            places.append(Place(record.role, of, index, faults.value, n / faults.n))
    found: tuple[Found, ...] = ()
    if places:
        text = f"{some(len(places), 'scale')} of {count(table.n_read)} {'has' if len(places) == 1 else 'have'} {said}"
        found = (Found(text, tuple(places), {"scales": len(places), "of": table.n_read}),)
    return Checked(table.n_read, "scale", found, table.n_left, "larger than a few numbers" if subject.fast else "")


@rule(
    "S01", "not-finite", Severity.ERROR, Needs.SCALARS,
    why="All values that share a scale of NaN or infinity are NaN; an engine computes with it without a word.",
    threads=("compressed-tensors#832", "ik_llama.cpp#649", "TensorRT#672", "TensorRT-LLM#16447"),
    next="Quantize these modules again; look for NaN in the original's weights or in the calibration data first.",
)  # fmt: skip
def not_finite(subject: Subject, limits: Limits) -> Checked:
    """A scale, a global scale or a factor is NaN or infinite."""
    return _with_faults(subject, lambda f: f.n_nan + f.n_inf, "NaN or infinite numbers")


@rule(
    "S02", "not-positive", Severity.ERROR, Needs.SCALARS,
    why="A scale of 0 turns what it scales into zeros, or divides by zero where activations are quantized; a negative "
    "one flips all signs. Scales that are signed by convention, and zero scales of blocks of zeros, are left alone.",
    threads=("auto-round#207", "TensorRT#3020", "AutoAWQ#519", "llm-compressor#1788"),
    next="Quantize these modules again; a dead channel or a point that saw no data is the usual cause.",
)  # fmt: skip
def not_positive(subject: Subject, limits: Limits) -> Checked:
    """A scale is zero, or negative in a format whose scales are not."""
    return _with_faults(subject, lambda f: f.n_zero + f.n_negative, "numbers that are zero or negative")


RULES = (not_finite, not_positive)
