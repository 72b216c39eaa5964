"""How many parameters of the model each tensor holds, where that is known.

An element of a packed tensor holds several parameters, and how many only the family knows that wrote it. A family that
is understood says the shape of each weight; of the others, files of some state it beside the codes.
"""

from __future__ import annotations

import json
import math

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats.contract import Format
from qinspect.inspector.formats.signs import belongs_to_codes, is_packed, last_parts, split

_MAX_STATE_BYTES = 1 << 16
_STATE = ".quant_state."
"""bitsandbytes writes the state of `w` as JSON, in bytes, under `w.quant_state.bitsandbytes__nf4`."""


def parameter_counts(fmt: Format) -> dict[str, int | None]:
    """Parameters of every tensor, by key: None for codes whose shape is not known, 0 for what is no parameter (scales,
    zero points, indices, masks). Reads the shapes that are stored beside codes."""
    checkpoint = fmt.checkpoint
    if not fmt.is_model:
        return {t.name: 0 for t in checkpoint.tensors()}
    counts: dict[str, int | None] = {}
    states = {name[: name.index(_STATE)]: name for name in checkpoint.entries if _STATE in name}
    counts.update(dict.fromkeys(states.values(), 0))
    entries = checkpoint.entries
    known: dict[tuple[str, int], int | None] = {}  # a model has few forms: by the identity of theirs
    names = list(entries)
    forms = list(entries.tensor_forms())
    for name, last, form in zip(names, last_parts(names), forms, strict=True):
        if form is None or name in counts:
            continue
        if (last, id(form)) in known:
            counts[name] = known[last, id(form)]
            continue
        tensor = entries[name]
        assert isinstance(tensor, Tensor)
        counts[name] = _of(tensor, checkpoint, states)
        if last != "biases" and not is_packed(last, tensor):  # what depends on the entries beside it
            known[last, id(form)] = counts[name]
    for record in fmt.scales():
        for key in (*record.keys, *(c.key for c in record.copies)):
            if key in counts:
                counts[key] = 0
    of_codes: dict[str, int] = {}
    for weight in fmt.weights():  # several may be parts of one entry
        of_codes[weight.codes_key] = of_codes.get(weight.codes_key, 0) + math.prod(weight.shape)
    counts.update((key, n) for key, n in of_codes.items() if key in counts)
    return counts


def _of(tensor: Tensor, checkpoint: Checkpoint, states: dict[str, str]) -> int | None:
    module, last = split(tensor.name)
    if belongs_to_codes(last) or (last == "biases" and f"{module}.scales" in checkpoint):
        return 0
    dtype = tensor.dtype.name
    if dtype == "float4_e2m1fn_x2":
        return 2 * tensor.n_elements
    if (
        tensor.dtype.is_float
        or tensor.dtype.is_complex
        or dtype.startswith(("qint", "quint"))
        or tensor.dtype.block_bytes
    ):
        return tensor.n_elements
    if not is_packed(last, tensor):
        return 0
    state = states.get(tensor.name)
    shape = _state_shape(checkpoint, state) if state else _shape_beside(checkpoint, module)
    # A parameter takes at least one bit: what says more is not believed.
    fits = all(d > 0 for d in shape) and math.prod(shape) <= tensor.n_elements * tensor.dtype.bits
    return math.prod(shape) if fits else None


def _shape_beside(checkpoint: Checkpoint, module: str) -> tuple[int, ...]:
    """The shape in `weight_shape`, as compressed-tensors writes it; (0,) where there is none."""
    entry = checkpoint.tensor(f"{module}.weight_shape" if module else "weight_shape")
    if entry is None or not entry.dtype.is_integer or not 1 <= entry.n_elements <= 8:
        return (0,)
    try:
        return tuple(int(d) for d in entry.read().reshape(-1))
    except QinspectError:
        return (0,)


def _state_shape(checkpoint: Checkpoint, key: str) -> tuple[int, ...]:
    entry = checkpoint.tensor(key)
    if entry is None or entry.dtype.name != "uint8" or entry.n_elements > _MAX_STATE_BYTES:
        return (0,)
    try:
        state = json.loads(entry.read().tobytes())
    except (QinspectError, ValueError, RecursionError):
        return (0,)
    shape = state.get("shape") if isinstance(state, dict) else None
    if not isinstance(shape, list) or not 1 <= len(shape) <= 8:
        return (0,)
    return tuple(shape) if all(isinstance(d, int) and not isinstance(d, bool) and d > 0 for d in shape) else (0,)
