"""Blocks of FP8: their size by the settings, and shapes that do not fit it."""

from __future__ import annotations

from collections.abc import Sequence

from qinspect.inspector.loaders.stored import Stored
from qinspect.inspector.loaders.view import View
from qinspect.inspector.siblings import Siblings

_WIDTHS = {Stored.FP8_BLOCK: 128, Stored.NVFP4: 16, Stored.MXFP8: 32}
_SCALES = ("weight_scale_inv", "weight_scale", "scale")


def block_of(view: View) -> tuple[int, int] | None:
    """Rows and columns of a block; None where the settings do not say."""
    found = view.settings.get("weight_block_size")
    if found is None:
        said = ((g.get("weights") or {}) for g in view.groups_said)
        found = next((w.get("block_structure") for w in said if isinstance(w, dict) and w.get("block_structure")), None)
    match found:
        case [int(rows), int(columns)] if rows > 0 and columns > 0:
            return rows, columns
    return None


def is_block(view: View) -> bool:
    """Whether the settings speak of blocks."""
    return block_of(view) is not None


def block_scales_so(view: View, modules: Sequence[str], *dtypes: str) -> list[str]:
    """The modules whose block scales are of one of these types."""
    found = []
    for module in modules:
        form = next((f for last in _SCALES if (f := view.form(module, last)) is not None), None)
        if form is not None and form[0].name in dtypes:
            found.append(module)
    return found


def ragged_inputs(view: View, modules: Sequence[str]) -> list[str]:
    """The modules whose inputs are no multiple of the block along them."""
    found = []
    for module in modules:
        kind = view.quantized[module]
        shape = view.shape(module)
        width = _WIDTHS.get(kind)
        if width is not None and len(shape) == 2 and shape[1] * (1 + (kind is Stored.NVFP4)) % width:
            found.append(module)
    return found


def ragged_shards(view: View, groups: Sequence[Siblings[str]]) -> list[str]:
    """Shards that end inside a block and have another behind them; of experts, gate and up of such a width."""
    block = block_of(view)
    if block is None:
        return []
    found = []
    for group in groups:
        for module in group.members:
            shape = view.shape(module)
            last = module == group.members[-1] and not group.of_experts
            if len(shape) == 2 and shape[0] % block[0] and not last:
                found.append(module)
    return found


def last_is_missing(view: View, groups: Sequence[Siblings[str]]) -> tuple[list[str], int]:
    """(last shards without a scale, though another of the group has one; all shards)."""
    found = []
    for group in groups:
        last = group.members[-1]
        if not view.has(last, "weight_scale") and any(view.has(m, "weight_scale") for m in group.members):
            found.append(last)
    return ([] if view.incomplete else found), sum(len(g.members) for g in groups)


def some_lack(view: View, modules: Sequence[str], lasts: Sequence[str]) -> list[str]:
    """The modules that lack one of these entries."""
    return [] if view.incomplete else [m for m in modules if not all(view.has(m, last) for last in lasts)]
