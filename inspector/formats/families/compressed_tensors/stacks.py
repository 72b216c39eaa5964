"""Experts in one module: entries with an axis more in front, each a weight as a module alone has it. The library packs
every matrix of such a stack by itself, and its zero points too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.formats.families.compressed_tensors.layout import Found

MAX_EXPERTS = 1 << 12
"""Of one stack: each becomes a weight with records, however little it holds."""

_OF_EACH = ("weight_scale", "weight_zero_point", "weight_global_scale")


def is_stack(codes: Tensor, scale: Tensor | None) -> bool:
    """Whether these are the codes of several matrices: words and pairs always, a code an element where there are scales
    of the rows of each. (A convolution has three axes too, and one scale for each of its channels.)"""
    if len(codes.shape) != 3 or codes.strides is not None:
        return False
    packed = codes.dtype.name in ("int32", "uint8")
    return packed or (scale is not None and len(scale.shape) == 3 and scale.n_elements > codes.shape[0])


def experts_of(found: Found, codes: Tensor) -> Iterator[Found]:
    """The entries of each expert of a stack, as those of a module alone. Raises CannotDequantize."""
    n = codes.shape[0]
    if not 0 < n <= MAX_EXPERTS:
        raise found.misfit(codes.name.rpartition(".")[2], "is no stack of experts", f"1 to {MAX_EXPERTS} of them")
    if "weight_g_idx" in found.names:
        raise found.misfit(
            "weight_g_idx", "stands beside experts in a stack: which of them it is of is not known", "none"
        )
    for last in _OF_EACH:
        tensor = found.tensor(last)
        if tensor is not None and tensor.n_elements != 1 and tensor.shape[:1] != (n,):
            raise found.misfit(
                last, f"does not fit the {n} experts in {codes.name}", f"one number, or {n} along the first axis"
            )
    for expert in range(n):
        yield replace(found, expert=expert, n_experts=n, _made={})
