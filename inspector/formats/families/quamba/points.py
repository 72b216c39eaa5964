"""Observation points of Quamba and Quamba2: which stored entries hold each point's scale.

One calibration scale is stored in up to four places and folded into up to two more. The first entry of a point
is the one it is read from; the others must agree, and are listed as its copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qinspect.inspector.checkpoint import Checkpoint, Value
from qinspect.inspector.formats.element import integer
from qinspect.inspector.formats.families.quamba.layout import Layer, head_path, scheme_of
from qinspect.inspector.formats.grid import ssd_cells
from qinspect.inspector.formats.numbers import stored_form
from qinspect.inspector.formats.records import MINMAX, PERCENTILE, Copy, Kind, ScaleRecord

_OBSERVERS = {True: "EMA of per-sample |x| quantiles at percentile_alpha", False: "running max of |x|"}
"""By whether percentile_alpha reaches it."""


@dataclass(frozen=True, slots=True)
class _Point:
    """name: the calibration key's operator. keys: entries under the mixer, the first preferred. linear: the linear
    layer that reads this point as its input. percentile: whether a percentile observer makes it (when per-tensor).
    """

    name: str
    keys: tuple[str, ...]
    linear: str = ""
    percentile: bool = False


_GROUPED_DIMS = 3
"""Per head group and channel group scales have [groups, 4, 4] and more; a percentile makes only one number."""

_RANGES = tuple(f"{m}.x_{r}_group_range" for m in ("conv1d", "qchunk_scan") for r in ("head", "dim"))
_MAMBA1 = (
    _Point("in_proj:output", ("conv1d.input_scale", "selective_scan.z_scale")),
    _Point("x_proj:input", ("conv1d.output_scale", "selective_scan.u_scale"), "x_proj", percentile=True),
    _Point("x_proj:output", ("selective_scan.B_scale", "selective_scan.C_scale"), "dt_proj"),
    _Point("dt_proj:output", ("selective_scan.dt_scale",)),
    _Point("ssm_state_act:input", ("selective_scan.ssm_state_scale",), percentile=True),
    _Point("out_proj:input", ("had.x_H_scale",), "out_proj"),
)
_MAMBA2 = (
    _Point("z_act:input", ("norm.z_scale",)),
    _Point("x_conv_in:input", ("conv1d.x_scale",)),
    _Point("B_conv_in:input", ("conv1d.B_scale",)),
    _Point("C_conv_in:input", ("conv1d.C_scale",)),
    _Point("dt_act:input", ("qchunk_scan.dt_scale",)),
    _Point("x_conv_out:input", ("conv1d.x_out_scales", "qchunk_scan.x_scales"), percentile=True),
    _Point("B_conv_out:input", ("conv1d.B_out_scales", "qchunk_scan.B_scale")),
    _Point("C_conv_out:input", ("conv1d.C_out_scales", "qchunk_scan.C_scale")),
    _Point("ssm_state_act:input", ("qchunk_scan.ssm_state_scale",), percentile=True),
    _Point("out_proj:input", ("had.x_H_scale",), "out_proj"),
)

OUTPUT_SCALES = {
    1: {
        "in_proj": {"": "conv1d.input_scale"},
        "x_proj": {"": "selective_scan.B_scale"},
        "dt_proj": {"": "selective_scan.dt_scale"},
    },
    2: {
        "in_proj": {
            "z": "norm.z_scale",
            "x": "conv1d.x_scale",
            "B": "conv1d.B_scale",
            "C": "conv1d.C_scale",
            "dt": "qchunk_scan.dt_scale",
        }
    },
}
"""Linear layers whose int8 outputs have a scale of their own, which is divided into the stored weight scale: for
each (Mamba version, layer), the entry of the mixer that holds it, per segment of the output ("" for all)."""


def points_of(checkpoint: Checkpoint, layer: Layer) -> Iterator[tuple[str, ScaleRecord]]:
    """(operator, record) of each calibrated point of one layer, in forward order."""
    record = _record(
        checkpoint,
        f"{layer.role}.in_proj:input",
        [f"{layer.norm}.output_scale"],
        _linear_copies(checkpoint, layer, "in_proj"),
    )
    if record:
        yield "in_proj:input", record
    for point in _MAMBA1 if layer.mamba == 1 else _MAMBA2:
        record = _record(
            checkpoint,
            f"{layer.role}.{point.name}",
            [f"{layer.mixer}.{key}" for key in point.keys],
            _linear_copies(checkpoint, layer, point.linear) if point.linear else [],
            percentile=point.percentile,
            cells=cells_of(checkpoint, layer) if point.percentile else (),
            witnesses=witnesses_of(checkpoint, layer) if point.percentile else (),
        )
        if record:
            yield point.name, record


def cells_of(checkpoint: Checkpoint, layer: Layer) -> tuple[str, ...]:
    """Entries that say which heads and channels a grouped scale's cell covers; () without head groups."""
    return tuple(f"{layer.mixer}.{key}" for key in _RANGES if f"{layer.mixer}.{key}" in checkpoint)


def witnesses_of(checkpoint: Checkpoint, layer: Layer) -> tuple[str, ...]:
    """Unquantized tensors with one value a head, and one a channel: the permutation of heads and channels is not
    stored, but these were permuted with them."""
    if layer.mamba == 1:
        return ()
    keys = (f"{layer.mixer}.qchunk_scan.dt_bias", f"{layer.mixer}.dt_bias", f"{layer.mixer}.norm.weight")
    return tuple(key for key in keys if checkpoint.tensor(key) is not None)


def _linear_copies(checkpoint: Checkpoint, layer: Layer, name: str) -> list[Copy]:
    """Where the linear layer that reads a point stores its input scale, alone or in a product."""
    output = OUTPUT_SCALES[layer.mamba].get(name, {}).get("")
    return _input_copies(checkpoint, f"{layer.mixer}.{name}", f"{layer.mixer}.{output}" if output else "")


def _input_copies(checkpoint: Checkpoint, path: str, s_out: str) -> list[Copy]:
    """The input scale as the linear layer at `path` stores it. `s_out`: the output scale that it is divided by."""
    scheme = scheme_of(checkpoint, path)
    copies = []
    if scheme == "W4A8":
        copies.append(Copy(f"{path}.input_scale", "input scale of the linear layer", of_layer=True))
    elif scheme == "W8A8" and s_out:
        copies.append(Copy(f"{path}.a", "a = s_in / s_out", times=(s_out,), of_layer=True))
        copies.append(
            Copy(f"{path}.alpha", "alpha = s_w * s_in / s_out", times=(s_out,), over=(f"{path}.b",), of_layer=True)
        )
    elif scheme == "W8A8":
        copies.append(Copy(f"{path}.a", "a = s_in", of_layer=True))
        copies.append(Copy(f"{path}.alpha", "alpha = s_w * s_in", over=(f"{path}.b",), of_layer=True))
    return [c for c in copies if _is_scale(checkpoint, c.key)]


def head_point(checkpoint: Checkpoint, root: str) -> ScaleRecord | None:
    """`lm_head:input`; absent where neither norm_f nor lm_head is quantized (whatever config.json says)."""
    copies = _input_copies(checkpoint, head_path(checkpoint, root), "")
    return _record(checkpoint, "lm_head:input", [f"{root}norm_f.output_scale"], copies)


def _is_scale(checkpoint: Checkpoint, key: str) -> bool:
    """Whether the entry exists and holds numbers: Quamba stores None where a module does not quantize."""
    entry = checkpoint.entries.get(key)
    if isinstance(entry, Value):
        return isinstance(entry.value, (int, float)) and not isinstance(entry.value, bool)
    return entry is not None


def _record(
    checkpoint: Checkpoint,
    role: str,
    keys: list[str],
    more: list[Copy],
    percentile: bool = False,
    cells: tuple[str, ...] = (),
    witnesses: tuple[str, ...] = (),
) -> ScaleRecord | None:
    copies = [Copy(key, "the same scale") for key in keys if _is_scale(checkpoint, key)] + more
    first = next((c for c in copies if c.exact), None)
    if first is None:
        return None
    dtype, shape = stored_form(checkpoint, first.key)
    grouped = len(shape) >= _GROUPED_DIMS
    point = role.rpartition(".")[2]
    reached = percentile and not grouped
    return ScaleRecord(
        role=role,
        key=first.key,
        kind=Kind.ACTIVATION,
        of=f"activation at {point} ({_OBSERVERS[reached]})",
        element=integer(8),
        grid=ssd_cells(len(shape)),
        dtype=dtype,
        shape=shape,
        reach=PERCENTILE if reached else MINMAX,
        copies=tuple(c for c in copies if c.key != first.key),
        cells=cells,
        witnesses=witnesses if grouped else (),
    )
