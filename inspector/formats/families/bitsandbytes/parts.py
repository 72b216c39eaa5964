"""Which weights a tensor of codes holds: one, or those of experts that are stacked in it."""

from __future__ import annotations

import math

from qinspect.inspector.formats.families.bitsandbytes.four_bit import Entries, Part

_FUSED, _DOWN = "gate_up_proj", "down_proj"
_HALVES = ("gate_proj", "up_proj")
_MAX_EXPERTS = 1 << 12
"""Of one stack: each becomes a weight with records, however little it holds."""


def parts_of(entries: Entries, role: str, down: tuple[int, ...]) -> list[Part]:
    """The weights in the codes. role: of the entry. down: the shape of the stack `down_proj` beside a stack
    `gate_up_proj`, () where there is none: by it is known whether gate lies above up.

    Experts of a stack are weights of their own where each of them begins with a block and with a unit of what the codes
    are stored as; else the stack is one weight of three dimensions.
    """
    key, shape = entries.codes.name, entries.state.shape
    whole = [Part(key, role, 0, shape, whole=True)]
    module, dot, last = key.rpartition(".")
    above = role.rpartition(".")[0]
    if len(shape) != 3 or shape[0] > _MAX_EXPERTS or not dot or last == "weight":
        return whole
    n_experts, n_rows, n_in = shape
    names = [last]
    if last == _FUSED and down == (n_experts, n_in, n_rows // 2) and n_rows % 2 == 0:
        names = list(_HALVES)
    for parted in (names, [last]):
        of_part = (n_rows // len(parted), n_in)
        if _is_whole(entries, math.prod(of_part)):
            return [
                Part(f"{module}.{e}.{name}.weight", f"{above}.{e}.{name}.weight".lstrip("."),
                     (e * len(parted) + i) * math.prod(of_part), of_part, whole=False)
                for e in range(n_experts) for i, name in enumerate(parted)
            ]  # fmt: skip
    return whole


def _is_whole(entries: Entries, n: int) -> bool:
    """Whether `n` elements are whole blocks and whole units of storage."""
    return n % entries.state.block == 0 and n % (2 * entries.codes.dtype.bits // 8) == 0
