"""Checkpoints without a configuration: what in names and shapes no other library has.

ComfyUI writes NVFP4 under the same names with the halves of a byte exchanged and the scales in tiles; it leaves a mark
in the file itself, so a file without the mark is none of its files. Models for images are not claimed all the same
where shapes do not tell: some are published in that order without a mark.
"""

from __future__ import annotations

import re

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.formats.families.modelopt.layouts import EXPONENTS, Layout, layout_of
from qinspect.inspector.formats.families.modelopt.names import SCALE, Names

_MARKS = ("comfy_quant", "scaled_fp8")
_METADATA_MARK = "_quantization_metadata"
_OF_OTHERS = frozenset((
    "weight_packed", "weight_global_scale", "weight_zero_point", "weight_shape", "weight_scale_inv",
    "input_global_scale", "qweight", "scales", "absmax", "SCB", "W_q", "input_zero_point", "weight_scale_3",
))  # fmt: skip
"""Last parts of names that other libraries write beside codes, and this one never does."""
_FOR_IMAGES = re.compile(
    r"(?:^|\.)(?:double_blocks|single_blocks|transformer_blocks|single_transformer_blocks|diffusion_model)\."
)


def marked_by_another(checkpoint: Checkpoint) -> bool:
    """Whether the file carries the mark of a library that uses the same names otherwise."""
    if _METADATA_MARK in checkpoint.metadata:
        return True
    return not checkpoint.entries.lasts.isdisjoint(_MARKS)


def signature(checkpoint: Checkpoint) -> str | None:
    """Evidence from names, dtypes and shapes alone; None where there is none, or some for another library."""
    if not checkpoint.entries.lasts.isdisjoint(_OF_OTHERS):
        return None
    found: dict[Layout, int] = {}
    for name in checkpoint.entries.ending(SCALE):
        module, _, last = name.rpartition(".")
        names = Names(module, last.removesuffix(SCALE).rstrip("_"))
        layout = _proof(checkpoint, names)
        if layout is None:
            return None
        found[layout] = found.get(layout, 0) + 1
    sure = [layout for layout in found if layout not in (Layout.MXFP4, Layout.MXFP8)]  # others write these as well
    if not sure:
        return None
    return f"names and shapes of {sure[0]} are as ModelOpt writes them"


def _proof(checkpoint: Checkpoint, names: Names) -> Layout | None:
    """The layout of a module, where it is one that this library writes, in the shapes that it alone gives to scales."""
    codes, steps = checkpoint.tensor(names.weight), checkpoint.tensor(names.scale)
    second = checkpoint.tensor(names.second)
    if codes is None or steps is None or len(codes.shape) not in (2, 3):
        return None
    layout = layout_of(codes, steps, second is not None, False)
    match layout:
        case Layout.NVFP4:
            image = _FOR_IMAGES.search(names.weight) is not None
            return layout if _in_rows(codes, steps) and not image else None
        case Layout.MXFP4 | Layout.MXFP8:
            return layout if steps.dtype.name in EXPONENTS else None
        case Layout.FP8:
            return layout if steps.shape == () and steps.dtype.name == "float32" else None
        case Layout.FP8_CHANNEL | Layout.INT8:
            # int8 with a scale of each row is what anybody writes who quantizes by hand
            own = layout is not Layout.INT8 or names.input in checkpoint or names.factor in checkpoint
            return layout if own and steps.shape == codes.shape[:1] and steps.dtype.name == "float32" else None
        case Layout.FP8_BLOCK:
            return layout if len(steps.shape) == 4 and steps.dtype.name == "float32" else None
        case Layout.INT4 | Layout.INT4_FP8:
            *above, n_pairs, _ = codes.shape
            rows = steps.shape[:-1] == (*above, 2 * n_pairs)
            return layout if rows and steps.dtype.name == "float32" else None
    return None


def _in_rows(codes: Tensor, steps: Tensor) -> bool:
    """Whether scales lie as the codes do, a sixteenth of the columns: not in padded tiles."""
    *above, rows, columns = codes.shape
    return steps.shape in ((*above, rows, -(-2 * columns // 16)), (*above, -(-2 * rows // 16), columns))
