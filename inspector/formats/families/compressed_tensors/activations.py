"""Scales of what goes into a module, of attention and of the KV cache: none of them has a part in a weight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.formats.element import UNKNOWN, Element, ElementKind, integer, small_float
from qinspect.inspector.formats.families.compressed_tensors.declared import Args, Declared
from qinspect.inspector.formats.families.compressed_tensors.layout import Found
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, cells, dimensions, groups
from qinspect.inspector.formats.modular import record_of
from qinspect.inspector.formats.records import DynamicPoint, Kind, Quantity, ScaleRecord

_NUMBERS = ("bfloat16", "float16", "float32", "float64")
FP4 = small_float("float4_e2m1fn")
ATTENTION = {"k": "k_cache", "v": "v_cache", "q": "q"}
"""`k_scale` of attention to the point that it is the scale of."""


def element_of(args: Args | None, zero_points: bool = False) -> Element:
    """Of an activation that is quantized as `args` say."""
    if args is None or args.bits is None:
        return UNKNOWN
    if args.kind == "float":
        names = {8: "float8_e4m3fn", 4: "float4_e2m1fn"}
        return small_float(names[args.bits]) if args.bits in names else UNKNOWN
    if not 2 <= args.bits <= 16:
        return UNKNOWN
    element = integer(args.bits)
    return replace(element, offset=None) if zero_points or args.symmetric is False else element


def of_input(found: Found, base: str, args: Args | None) -> Iterator[ScaleRecord]:
    """The stored scales of what goes into a module. base: its role."""
    return _of_point(found, base, "input", args)


def of_output(found: Found, base: str, args: Args | None) -> Iterator[ScaleRecord]:
    """The stored scales of what comes out of a module. base: its role."""
    return _of_point(found, base, "output", args)


def _of_point(found: Found, base: str, point: str, args: Args | None) -> Iterator[ScaleRecord]:
    role, of = f"{base}:{point}", f"{point} of {found.name or 'the model'}"
    scale, zero = found.tensor(f"{point}_scale"), found.tensor(f"{point}_zero_point")
    whole = found.tensor(f"{point}_global_scale")
    if _is_number(scale):
        element = element_of(args, zero is not None)
        yield _record(found, role, scale, of, element)
        if zero is not None:
            yield _record(found, f"{role}#zero_point", zero, of, element, Quantity.ZERO_POINT)
        role = f"{role}#global"
    if _is_number(whole):
        yield _record(found, role, whole, of, element_of(args) if args else FP4, inverted=True)


def of_unquantized(found: Found, base: str, args: Args | None) -> Iterator[ScaleRecord]:
    """The scale beside a weight that is still in full precision. base: the module's role."""
    scale = found.tensor("weight_scale")
    if _is_number(scale) and scale is not None:
        of = f"weight {found.key('weight')}, which is stored unquantized"
        yield record_of(found.checkpoint, f"{base}.weight", scale.name, Kind.WEIGHT, of, element_of(args), _grid(scale))


def of_attention(found: Found, base: str, declared: Declared) -> Iterator[ScaleRecord]:
    """The scales of the KV cache and of queries that stand in an attention module: one for all, or one a head."""
    for letter, point in ATTENTION.items():
        scale, zero = found.tensor(f"{letter}_scale"), found.tensor(f"{letter}_zero_point")
        if scale is None or not _is_number(scale) or not _per_head(scale):
            continue
        element = kv_element(declared, found.module, zero)
        of = f"{'queries' if letter == 'q' else 'keys' if letter == 'k' else 'values'} of {found.module}"
        yield _record(found, f"{base}:{point}", scale, of, element)
        if zero is not None and _per_head(zero):
            yield _record(found, f"{base}:{point}#zero_point", zero, of, element, Quantity.ZERO_POINT)


def of_old_cache(found: Found, letter: str, base: str, declared: Declared) -> Iterator[ScaleRecord]:
    """The scale of the KV cache where it is still called the output of `k_proj` and `v_proj`. base: the role of the
    attention module."""
    scale = found.tensor("output_scale")
    if _is_number(scale):
        of = f"{'keys' if letter == 'k' else 'values'} of {found.module.rpartition('.')[0]}"
        yield _record(found, f"{base}:{ATTENTION[letter]}", scale, of, element_of(declared.kv))


def kv_element(declared: Declared, module: str, zero: Tensor | None) -> Element:
    """Of what attention keeps: as the KV cache's scheme says, or the group that has no weights."""
    args = declared.kv
    if args is None:
        args = next((g.inputs for g in declared.groups_of(module) if g.weights is None), None)
    if args is None and zero is not None and zero.dtype.name == "float8_e4m3fn":
        return small_float("float8_e4m3fn")
    found = element_of(args)
    return replace(found, offset=None) if found.kind is ElementKind.INTEGER and zero is not None else found


def dynamic_point(base: str, module: str, args: Args) -> DynamicPoint:
    """An input that is quantized as it comes."""
    size = args.group_size
    grid = PER_TENSOR if args.strategy == "tensor" else groups(size) if size else cells("token")
    return DynamicPoint(f"{base}:input", f"input of {module}", element_of(args), grid)


def _is_number(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.dtype.name in _NUMBERS and tensor.n_elements > 0


def _per_head(tensor: Tensor) -> bool:
    """Whether it is one number, or one a head, and no trained vector of the head's width."""
    shape = tensor.shape
    return tensor.n_elements == 1 or (len(shape) == 3 and shape[1:] == (1, 1))


def _grid(tensor: Tensor) -> Grid:
    if tensor.n_elements == 1:
        return PER_TENSOR
    return cells("head") if len(tensor.shape) == 3 and tensor.shape[1:] == (1, 1) else dimensions(len(tensor.shape))


def _record(
    found: Found,
    role: str,
    tensor: Tensor | None,
    of: str,
    element: Element,
    quantity: Quantity = Quantity.SCALE,
    inverted: bool = False,
) -> ScaleRecord:
    assert tensor is not None
    return record_of(
        found.checkpoint, role, tensor.name, Kind.ACTIVATION, of, element, _grid(tensor), quantity=quantity,
        inverted=inverted, slice=found.part(tensor.name.rpartition(".")[2]),
    )  # fmt: skip
