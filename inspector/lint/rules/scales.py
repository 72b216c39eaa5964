"""Numbers that a scale should not be."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from qinspect.inspector.finding import Severity
from qinspect.inspector.formats import Kind, Quantity, ScaleRecord
from qinspect.inspector.formats.element import ElementKind
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.text import count, share, some
from qinspect.inspector.values.scale_faults import ScaleFaults, index_of


def looked_at(subject: Subject, found: Iterable[Found]) -> Checked:
    """Of a rule that looked at all scales that were read."""
    table = subject.scales
    why = "larger than a few numbers" if subject.fast else "they cannot be read" if table.n_left else ""
    return Checked(table.n_read, "scale", tuple(found), table.n_left, why)


def found_in(subject: Subject, places: list[Place], said: str, severity: Severity | None = None) -> list[Found]:
    """One finding over these places, or none. said: what their numbers are, behind `have`."""
    if not places:
        return []
    n = subject.scales.n_read
    text = f"{some(len(places), 'scale')} of {count(n)} {'has' if len(places) == 1 else 'have'} {said}"
    return [Found(text, tuple(places), {"scales": len(places), "of": n}, severity)]


def _place(subject: Subject, at: int, faults: ScaleFaults, n: int) -> Place:
    """Where a scale has n faulty numbers."""
    record = subject.scales.records[at]
    of = f"{count(n)} of {count(faults.n)} numbers" if faults.n > 1 else ""
    index = tuple(index_of(faults, record.shape)) if faults.n > 1 else ()
    return Place(record.role, of, index, faults.value, n / faults.n)


@rule(
    "S01", "not-finite", Severity.ERROR, Needs.SCALARS,
    why="All values that share a scale of NaN or infinity are NaN; an engine computes with it without a word. In eight "
    "bits the bytes 0x7f, 0xff and, of exponents, 0xff are NaN.",
    threads=("compressed-tensors#832", "ik_llama.cpp#649", "TensorRT#672", "TensorRT-LLM#16447", "vllm-omni#4025"),
    next="Quantize these modules again; look for NaN in the original's weights or in the calibration data first.",
)  # fmt: skip
def not_finite(subject: Subject, limits: Limits) -> Checked:
    """A scale, a global scale, a factor, a zero point or a minimum is NaN or infinite."""
    table, places = subject.scales, []
    for at in np.flatnonzero(table.n_not_finite).tolist():
        n, faults = int(table.n_not_finite[at]), table.faults.get(at)
        if faults is not None and faults.n_nan + faults.n_inf:
            places.append(_place(subject, at, faults, faults.n_nan + faults.n_inf))
        else:
            places.append(Place(table.records[at].role, some(n, "number"), weight=0.0))
    return looked_at(subject, found_in(subject, places, "NaN or infinite numbers"))


@rule(
    "S02", "not-positive", Severity.ERROR, Needs.SCALARS,
    why="A scale of 0 turns what it scales into zeros, or divides by zero where activations are quantized; a negative "
    "one flips all signs. Scales that are signed by convention, and zero scales in eight bits, which are those of "
    "blocks of zeros, are left alone.",
    threads=("auto-round#207", "TensorRT#3020", "AutoAWQ#519", "llm-compressor#1788"),
    next="Quantize these modules again; a dead channel, a scale too small for its dtype, or a point that saw no data "
    "is the usual cause.",
)  # fmt: skip
def not_positive(subject: Subject, limits: Limits) -> Checked:
    """A scale is zero, or negative in a format whose scales are not."""
    wrong, blocks, inputs, by_name = list[Place](), list[Place](), list[Place](), list[Place]()
    for at, faults in sorted(subject.scales.faults.items()):
        n, record = faults.n_zero + faults.n_negative, subject.scales.records[at]
        some_zeros = faults.n_negative == 0 and faults.n_zero < faults.n
        if n:
            activation = record.kind is Kind.ACTIVATION
            of = by_name if not record.verified else wrong if not some_zeros else inputs if activation else blocks
            of.append(_place(subject, at, faults, n))
    return looked_at(subject, [
        *found_in(subject, wrong, "numbers that are zero or negative"),
        *found_in(subject, inputs, f"zeros among their numbers: {_OF_INPUTS}", Severity.WARNING),
        *found_in(subject, blocks, f"zeros among their numbers: {_OF_BLOCKS}", Severity.WARNING),
        *found_in(subject, by_name, "zero or negative numbers, if names say what they are", Severity.NOTE),
    ])  # fmt: skip


_OF_INPUTS = "what is quantized is divided by them, unless the engine takes the largest of several"
_OF_BLOCKS = "those blocks or channels decode to zeros, which is right where the original's are"


FLOORS = (1e-5, 1e-6, 2.0**-23, 1e-12)
"""What libraries clamp scales, or the ranges that scales are made of, to from below."""


@rule(
    "S03", "at-the-floor", Severity.WARNING, Needs.SCALARS,
    why="A denormal number has fewer digits than its dtype, and some engines flush it to 0. One that is exactly an "
    "epsilon was not measured: what it scales was zero, or smaller than the library allows for.",
    threads=("ai-edge-quantizer#678",),
    next="Look at what these scale: a channel of zeros is harmless, a point that saw no data is not.",
)  # fmt: skip
def at_the_floor(subject: Subject, limits: Limits) -> Checked:
    """A scale is denormal in its dtype, or exactly an epsilon that libraries clamp to (1e-5, 1e-6, 2^-23, 1e-12, or
    one of these over the largest code)."""
    table = subject.scales
    denormal = [
        _place(subject, at, faults, faults.n_denormal) for at, faults in sorted(table.faults.items())
        if faults.n_denormal and faults.value != _LEAST_EXPONENT
    ]  # fmt: skip
    clamped = []
    for at in np.flatnonzero((table.low > 0) & (table.low < 2 * max(FLOORS))).tolist():
        record, low = table.records[at], float(table.low[at])
        floor = _floor_at(record, low, float(table.high[at]))
        if floor:
            clamped.append(Place(record.role, f"its least number is {floor}", value=low))
    return looked_at(subject, [
        *found_in(subject, denormal, "denormal numbers"),
        *found_in(subject, clamped, "a number that is exactly an epsilon"),
    ])  # fmt: skip


_LEAST_EXPONENT = 2.0**-127
"""Of a scale that is stored as an exponent of eight bits: denormal in float32 only, and that of a block of zeros."""


def _floor_at(record: ScaleRecord, low: float, high: float) -> str:
    """Which epsilon a number is; "" where it is none. Scales that are powers of two come upon 2^-23 by themselves."""
    if not record.quantity.is_step or not record.verified or record.packed:
        return ""
    powers = low < high and math.frexp(low)[0] == math.frexp(high)[0] == 0.5
    limit = record.element.limit or 1.0
    for floor in FLOORS:
        if powers and floor == 2.0**-23:
            continue
        if math.isclose(low, _rounded(floor, record.dtype), rel_tol=1e-6):
            return "2^-23" if floor == 2.0**-23 else f"{floor:g}"
        if limit != 1 and floor != 2.0**-23 and math.isclose(low, _rounded(floor / limit, record.dtype), rel_tol=1e-6):
            return f"{floor:g} / {limit:g}"
    return ""


def _rounded(value: float, dtype: str) -> float:
    """As the dtype holds it."""
    if dtype == "bfloat16":
        import ml_dtypes

        return float(np.asarray(value, np.float32).astype(ml_dtypes.bfloat16))
    return float(np.float16(value)) if dtype == "float16" else value


@rule(
    "S06", "outside-dtype", Severity.WARNING, Needs.SCALARS,
    why="The outer of two scales is a factor in every value of its tensor: off by up to 0.4 % in sixteen bits, "
    "and engines expect it in float32. Engines cast scales of integer codes to the dtype of the model: what float16 "
    "cannot hold becomes 0, infinite, or loses digits.",
    threads=("Model-Optimizer#1536", "vllm#51419", "vllm#42549", "vllm-ascend#16728"),
    next="Store outer scales in float32; serve a model with such scales in bfloat16, not float16.",
)  # fmt: skip
def outside_dtype(subject: Subject, limits: Limits) -> Checked:
    """An outer scale is stored in fewer than 32 bits, or a scale of integer codes does not fit the float16 that the
    model is served in."""
    table, narrow, lost = subject.scales, [], []
    half = str(subject.fmt.checkpoint.config.get("torch_dtype") or subject.fmt.checkpoint.config.get("dtype"))
    outer = subject.outer_scales
    for at in outer.values():
        record = table.records[at]
        if record.quantity is Quantity.GLOBAL_SCALE and record.dtype in ("float16", "bfloat16"):
            narrow.append(Place(record.role, record.dtype, value=_finite_or_none(float(table.value[at]))))
    if half == "float16":
        wide = (table.low > 0) & ((table.low < _HALF_LEAST) | (table.high > _HALF_LARGEST))
        for at in np.flatnonzero(wide).tolist():
            record = table.records[at]
            of_codes = record.element.kind is ElementKind.INTEGER and record.kind is Kind.WEIGHT
            if of_codes and record.quantity.is_step and record.dtype == "float32":
                low, high = float(table.low[at]), float(table.high[at])
                lost.append(Place(record.role, "denormal or infinite in float16", value=low if low < 1 else high))
    return looked_at(subject, [
        *found_in(subject, narrow, "the outer of two scales in sixteen bits"),
        *found_in(subject, lost, "numbers that float16 does not hold, in which config.json says the model is served"),
    ])  # fmt: skip


_HALF_LEAST, _HALF_LARGEST = 2.0**-14, 65504.0


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


@rule(
    "S08", "subnormal-blocks", Severity.WARNING, Needs.SCALES,
    why="In E4M3 a scale of a block below 2^-6 has three bits or fewer: such blocks are off by some 17 %, and engines "
    "that repack the scales turn them to 0. It happens where the outer scale is too large for most of the tensor.",
    threads=("flashinfer#2440", "flashinfer#3933", "Model-Optimizer#1382"),
    next="Give these weights an outer scale of their own (amax / 2688), or look for the outlier that sets it.",
    share=0.01,
)  # fmt: skip
def subnormal_blocks(subject: Subject, limits: Limits) -> Checked:
    """More than a hundredth of the scales of blocks in a weight are subnormal E4M3 numbers."""
    table, places, n_blocks, n_small = subject.scales, [], 0, 0
    for at, n in sorted(table.subnormal.items()):
        record = table.records[at]
        total = math.prod(record.shape) // math.prod(record.shape[: len(record.slice.index)] if record.slice else (1,))
        if n > limits["share"] * total:
            n_blocks, n_small = n_blocks + total, n_small + n
            said = f"{share(n, total)} of {count(total)} blocks"
            places.append(Place(record.role, said, value=float(table.low[at]), weight=n / total))
    n_eight = sum(r.dtype.startswith("float8_e4m3") for r, read in zip(table.records, table.read, strict=True) if read)
    said = f"scales of blocks that are subnormal ({share(n_small, n_blocks)} of theirs)" if n_blocks else ""
    return Checked(n_eight, "block scale", tuple(found_in(subject, places, said)))


RULES = (not_finite, not_positive, at_the_floor, outside_dtype, subnormal_blocks)
