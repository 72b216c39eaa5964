"""What the files of a model must hold before anything is made of them: floating point weights, whole and finite.

Told from headers where headers tell it, so that a calibration is refused before it is a run. No torch in here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor, open_checkpoint
from qinspect.inspector.errors import CannotOpen
from qinspect.inspector.formats import format_of
from qinspect.inspector.models.declared import Declared, check_layers, check_numbers, declared_of
from qinspect.inspector.text import some

MODEL_DTYPES = ("float16", "bfloat16", "float32")
_EXPECTED = "float16, bfloat16 or float32"
_UNQUANTIZED = "Calibrate the model that it was made from."
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "num_decoder_layers")
"""Keys of config.json that are a number of layers, each with tensors of its own."""
_SHARED_LAYERS = ("num_hidden_groups",)
"""Where one of these is declared, layers share their tensors, and the files do not tell how many there are."""
MOST_LAYERS = 10_000
"""More than ten times as many as any published model has."""
_NUMBER = re.compile(r"\.(\d{1,9})(?=\.)")
_BUFFERS = re.compile(r"(^|\.)((self_)?attn\.(masked_)?bias|attention\.(masked_)?bias|position_ids|token_type_ids|"
                      r"num_batches_tracked|relative_position_index)$")  # fmt: skip
"""Integers that models keep beside their weights: masks and positions."""
_BLOCK_ELEMENTS = 1 << 22


def check_model(path: str) -> None:
    """All that the headers of a model and its config tell of whether it can be calibrated. Raises what opening does,
    and CannotOpen."""
    checkpoint = open_checkpoint(path)
    try:
        check_headers(checkpoint, declared_of(checkpoint))
    finally:
        checkpoint.close()


def check_headers(checkpoint: Checkpoint, declared: Declared) -> None:
    """Raises CannotOpen for a quantized model, for weights in dtypes that are none of a model's, without elements, and
    for layers that are not in the files."""
    _check_quantized(checkpoint, declared)
    for t in checkpoint.tensors():
        _check_dtype(t)
        if not t.n_elements:
            raise CannotOpen(
                "has no elements", file=t.file.path, key=t.name, expected="a weight",
                found=f"the shape {list(t.shape)}",
                cure="Save the model again: a part of it was not gathered, or was cut off.",
            )  # fmt: skip
    check_numbers(declared)
    shared = any(k in declared for k in _SHARED_LAYERS)
    check_layers(declared, 0 if shared else _n_layers(checkpoint.entries), _LAYERS, MOST_LAYERS)


def check_finite(t: Tensor, values: NDArray[Any]) -> None:
    """Raises CannotOpen for NaN and infinities. values: the tensor's."""
    flat = values.reshape(-1)
    for start in range(0, flat.size, _BLOCK_ELEMENTS):
        block = flat[start : start + _BLOCK_ELEMENTS]
        with np.errstate(all="ignore"):  # a signalling NaN is no event
            finite = np.isfinite(block)
        if not finite.all():
            at = start + int(np.argmin(finite))
            place = np.unravel_index(at, t.shape) if t.shape else ()
            raise not_finite(t.file.path, t.name, f"{float(flat[at])} at {[int(i) for i in place]}")


def not_finite(file: Path | str, key: str, found: str) -> CannotOpen:
    """A weight that makes every number after it worthless."""
    return CannotOpen(
        "has a weight that is not a finite number", file=file, key=key, expected="finite values", found=found,
        cure="Take an earlier checkpoint: training diverged, or the file is damaged.",
    )  # fmt: skip


def overflows(file: Path | str, key: str, dtype: str, largest: float) -> CannotOpen:
    """A weight that the dtype asked for cannot hold."""
    return CannotOpen(
        f"has a weight that {dtype} cannot hold", file=file, key=key, found=f"the magnitude {largest:g}",
        cure="Choose --dtype bfloat16.",
    )  # fmt: skip


def _check_quantized(checkpoint: Checkpoint, declared: Declared) -> None:
    if (found := format_of(checkpoint)).claims:
        raise CannotOpen("is quantized already", file=checkpoint.path, found=found.family, cure=_UNQUANTIZED)
    for key in ("quantization_config", "compression_config"):
        if key in declared:
            raise CannotOpen(
                "is quantized already", file=declared.file, key=key, expected="a model that is not",
                found=str(declared.get(key))[:200], cure=_UNQUANTIZED,
            )  # fmt: skip


def _check_dtype(t: Tensor) -> None:
    if t.dtype.name in MODEL_DTYPES:
        return
    if t.dtype.name == "float64" or t.dtype.is_complex:
        raise CannotOpen(
            "has a weight in a dtype that no model is calibrated in", file=t.file.path, key=t.name, expected=_EXPECTED,
            found=t.dtype.name, cure="Convert the weights to float32, bfloat16 or float16.",
        )  # fmt: skip
    if not _BUFFERS.search(t.name):
        raise CannotOpen(
            "is quantized already, at least in part", file=t.file.path, key=t.name, expected=_EXPECTED,
            found=t.dtype.name, cure=_UNQUANTIZED,
        )  # fmt: skip


def _n_layers(names: Iterable[str]) -> int:
    """One more than the largest number that is a part of a name: of layers, or of what is in them."""
    return 1 + max((int(n) for name in names for n in _NUMBER.findall(name)), default=0)


def left_out(names: Iterable[str]) -> str:
    """The sentence about tensors of heads that the architecture does not have: they are no part of what runs."""
    every = sorted(names)
    return f"left out {some(len(every), 'tensor')} that no part of the architecture uses: {', '.join(every[:3])}"
