"""A weight out of the entries of a module. Their shapes decide; what is stored beside them is held against these."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.families.hqq.facts import Facts
from qinspect.inspector.formats.families.hqq.groups import Grouping
from qinspect.inspector.formats.families.hqq.packing import packing_of
from qinspect.inspector.formats.families.hqq.weight import HqqWeight, Numbers, Quantized
from qinspect.inspector.formats.records import Slice
from qinspect.inspector.text import dims

_FLOATS = ("bfloat16", "float16", "float32")
_BOTH = "zero_scale"
"""An entry of two, zero points and scales, in this order (`offload_meta`)."""
_MAX_SIZE = 1 << 40


class Differing(NamedTuple):
    """What is said of an entry and what its shape says. where: the entry, or file, that says it."""

    key: str
    where: str
    said: str
    stored: str


def module_of(checkpoint: Checkpoint, facts: Facts, name: str, role: str) -> tuple[HqqWeight, list[Differing]]:
    """The weight of a module, and what is said of it that its tensors do not have. Raises CannotDequantize."""
    stored = _quantized(checkpoint, facts, 2)
    shape = facts.shape
    bits = math.ceil(facts.number("nbits") or 0)
    if not 1 <= bits <= stored.packing.bits or (bits < stored.packing.bits and stored.packing.bits not in (2, 8)):
        bits = stored.packing.bits  # 5 and 6 bits take 8, 1.58 take 2
    weight = HqqWeight(checkpoint, stored, (shape[0], shape[1]), bits, name, role)
    return weight, list(_differing(facts, stored, bits))


def _differing(facts: Facts, stored: Quantized, bits: int) -> Iterator[Differing]:
    nbits, group, axis = (facts.number(n) for n in ("nbits", "group_size", "axis"))
    if nbits is not None and math.ceil(nbits) != bits:
        yield Differing(facts.codes, facts.entries["nbits"], f"{nbits:g} bits", f"{bits} bits")
    if group is not None and group != stored.grouping.size and stored.grouping.n_groups > 1:
        size = stored.grouping.size
        yield Differing(facts.codes, facts.entries["group_size"], f"groups of {group:g}", f"groups of {size}")
    if axis is not None and axis != stored.grouping.axis and stored.grouping.n_groups > 1:
        yield Differing(facts.codes, facts.entries["axis"], f"axis {axis:g}", f"axis {stored.grouping.axis}")


def _quantized(checkpoint: Checkpoint, facts: Facts, n_dims: int | None) -> Quantized:
    """n_dims: that the shape has to have; None for any."""
    tensor = checkpoint.tensor(facts.codes)
    if tensor is None:
        raise CannotDequantize(
            "is missing: the codes of scales", file=checkpoint.path, key=facts.codes, expected="uint8",
            found="no tensor",
        )  # fmt: skip
    shape = facts.shape
    if not shape or not all(0 < d < _MAX_SIZE for d in shape) or len(shape) != (n_dims or len(shape)):
        where = facts.entries.get("shape") or (facts.sizes or (f"{facts.codes.removesuffix('W_q')}shape",))[0]
        raise CannotDequantize(
            "does not say the shape of codes" if shape else "is missing: the shape of codes", file=checkpoint.path,
            key=where, expected=f"{n_dims or 'some'} sizes", found=dims(shape) if shape else "nothing",
        )  # fmt: skip
    n = math.prod(shape)
    scale, form = _numbers(checkpoint, facts, "scale")
    zero, of_zero = _numbers(checkpoint, facts, "zero")
    grouping = _grouping(checkpoint, facts, scale, form, n)
    if zero.n != 1 and of_zero != form:
        raise CannotDequantize(
            f"does not fit the scales {scale.key}", file=checkpoint.path, key=zero.key,
            expected=f"one number, or {dims(form)}", found=dims(of_zero),
        )  # fmt: skip
    nbits = facts.number("nbits")
    packing = packing_of(tensor, n, grouping.columns, None if nbits is None else math.ceil(nbits))
    if packing is None:
        raise CannotDequantize(
            f"does not hold the codes of {dims(shape)} in rows of {grouping.columns}", file=checkpoint.path,
            key=tensor.name, expected="uint8 of 1, 2, 4 or 8 codes a byte, or int32 of ten",
            found=f"{tensor.dtype.name} {dims(tensor.shape)}",
        )  # fmt: skip
    return Quantized(tensor, packing, grouping, scale, zero)


def _grouping(
    checkpoint: Checkpoint, facts: Facts, scale: Numbers | Quantized, form: tuple[int, ...], n: int
) -> Grouping:
    n_groups = scale.n
    said = facts.number("axis")
    axis = {(n_groups, 1): 1, (1, n_groups): 0}.get(form if len(form) == 2 else (0, 0))
    if n_groups == 1:
        axis = 1
    if axis is None and len(form) == 1 and said in (0, 1):
        axis = int(said)
    if axis is None or not n_groups or n % n_groups:
        raise CannotDequantize(
            f"does not scale groups of {n} codes", file=checkpoint.path, key=scale.key,
            expected="[groups, 1] or [1, groups], of groups that divide them", found=dims(form),
        )  # fmt: skip
    return Grouping(axis, n, n_groups, facts.number("group_size") is not None)


def _numbers(checkpoint: Checkpoint, facts: Facts, what: str) -> tuple[Numbers | Quantized, tuple[int, ...]]:
    """Scales or zero points, and their shape. Raises CannotDequantize."""
    if what in facts.nested:
        inner = facts.nested[what]
        return _quantized(checkpoint, inner, None), inner.shape
    both = facts.entries.get(_BOTH, "") if what not in facts.entries else ""
    key = both or facts.entries.get(what) or f"{facts.codes.removesuffix('W_q')}{what}"
    tensor = checkpoint.tensor(key)
    shape = () if tensor is None else tensor.shape[1:] if both else tensor.shape
    if tensor is None or tensor.dtype.name not in _FLOATS or (both and tensor.shape[:1] != (2,)):
        raise _no_numbers(checkpoint, key, tensor, what, facts.codes)
    part = Slice((int(what == "scale"),)) if both else None
    return Numbers(key, math.prod(shape), part), shape


def _no_numbers(checkpoint: Checkpoint, key: str, tensor: Tensor | None, what: str, codes: str) -> CannotDequantize:
    called = "scales" if what == "scale" else "zero points"
    return CannotDequantize(
        f"is missing: the {called} of {codes}" if tensor is None else f"cannot be the {called} of {codes}",
        file=checkpoint.path, key=key, expected=" or ".join(_FLOATS),
        found="nothing" if tensor is None else f"{tensor.dtype.name} {dims(tensor.shape)}",
    )  # fmt: skip
