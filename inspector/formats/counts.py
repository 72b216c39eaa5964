"""How many parameters of the model each tensor holds, where that is known.

An element of a packed tensor holds several parameters, and how many only the family knows that wrote it. A family that
is understood says the shape of each weight; of the others, files of some state it beside the codes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats.contract import Format
from qinspect.inspector.formats.signs import Modules, belongs_to_codes, is_packed, split
from qinspect.inspector.rows import where

_MAX_STATE_BYTES = 1 << 16
_STATE = ".quant_state."
"""bitsandbytes writes the state of `w` as JSON, in bytes, under `w.quant_state.bitsandbytes__nf4`."""


def parameter_counts(fmt: Format) -> dict[str, int | None]:
    """Parameters of every tensor, by key: None for codes whose shape is not known, 0 for what is no parameter (scales,
    zero points, indices, masks). Reads the shapes that are stored beside codes."""
    if not fmt.is_model:
        return {t.name: 0 for t in fmt.checkpoint.tensors()}
    entries = fmt.checkpoint.entries
    modules = Modules.of(entries)
    names, forms = modules.names, modules.forms
    states = {name[: name.index(_STATE)]: name for name in filter(_names_state, names)}
    # What depends on no other entry is told once of each kind.
    kinds, of_kind = modules.kinds, modules.form_of_kind
    known = {kind: _of_form(kind[0], form) if form else 0 for kind, form in of_kind.items()}
    counts: dict[str, int | None] = dict(zip(names, map(known.__getitem__, kinds), strict=True))
    unsure = {kind for kind, n in known.items() if n is None or (n and kind[0] == "biases")}
    if states or "weight_shape" in entries.lasts or any(last == "biases" for last, _ in unsure):
        for name, kind in zip(names, kinds, strict=True):
            if kind in unsure:
                counts[name] = _beside(name, of_kind[kind], known[kind], fmt.checkpoint, states)
    if None in forms:
        for name, form in zip(names, forms, strict=True):
            if form is None:
                del counts[name]
    counts.update(dict.fromkeys(states.values(), 0))
    of_records = {key for record in where(fmt.scales(), lambda r: r.cells) for key in record.cells}
    counts.update(dict.fromkeys(counts.keys() & (fmt.taken() | of_records), 0))
    of_codes: dict[str, int] = {}
    for weight in fmt.weights():  # several may be parts of one entry
        of_codes[weight.codes_key] = of_codes.get(weight.codes_key, 0) + math.prod(weight.shape)
    counts.update((key, n) for key, n in of_codes.items() if key in counts)
    return counts


_names_state = re.compile(re.escape(_STATE)).search


def _of_form(last: str, form: Form) -> int | None:
    """Parameters of a tensor by its last name and form; None of codes, of which one may hold several."""
    dtype, shape = form
    if belongs_to_codes(last):
        return 0
    if dtype.name == "float4_e2m1fn_x2":
        return 2 * math.prod(shape)
    if dtype.is_float or dtype.is_complex or dtype.block_bytes or dtype.name.startswith(("qint", "quint")):
        return math.prod(shape)
    return None if is_packed(last, form) else 0


def _beside(
    name: str, form: Form | None, alone: int | None, checkpoint: Checkpoint, states: Mapping[str, str]
) -> int | None:
    """Parameters of an entry by what stands beside it. alone: what it has by its form."""
    module, last = split(name)
    if last == "biases" and f"{module}.scales" in checkpoint:
        return 0
    if alone is not None or form is None:
        return alone
    state = states.get(name)
    shape = _state_shape(checkpoint, state) if state else _shape_beside(checkpoint, module)
    # A parameter takes at least one bit: what says more is not believed.
    fits = all(d > 0 for d in shape) and math.prod(shape) <= math.prod(form[1]) * form[0].bits
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
