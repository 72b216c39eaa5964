"""What the parts of a weight are: by its class where the file says it, else by their types and shapes. Shapes are held
against each other, and nothing is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.element import FLOAT8, Element, integer, small_float, unsigned
from qinspect.inspector.formats.families.torchao.described import CODES, Found
from qinspect.inspector.formats.families.torchao.kernel_order import STEP, KernelOrder
from qinspect.inspector.formats.families.torchao.weights import Blocks, Layout
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, channels, groups, tiles
from qinspect.inspector.formats.modular import QuantizedModule, record_of, required
from qinspect.inspector.formats.records import (
    NOT_KNOWN,
    Kind,
    Quantity,
    QuantizedWeight,
    ScaleRecord,
    Slice,
)
from qinspect.inspector.formats.scale_tiles import padded

_FLOATS = ("float32", "bfloat16", "float16")
_INTEGERS = ("int8", "int16", "int32", "int64")
_E8M0, _E4M3 = "float8_e8m0fnu", "float8_e4m3fn"
_FP4 = small_float("float4_e2m1fn")
_INT4 = integer(4)
_BYTES = ("uint8", "int8")
_INT8_CLASSES = ("Int8Tensor", "IntxUnpackedToInt8Tensor", "AffineQuantizedTensor")
_BLOCKS = {_E8M0: 32, _E4M3: 16}
"""Columns that share a scale of this type, where it is not said."""
MAX_EXPERTS = 1 << 12
"""Of one stack: each becomes a weight with records, however little it holds."""
_INPUTS = ("act_quant_scale", "act_per_tensor_scale")


@dataclass(frozen=True, slots=True)
class Site:
    """A weight, or one expert of a stack. codes: the entry of its codes."""

    checkpoint: Checkpoint
    found: Found
    codes: Tensor
    name: str
    role: str
    part: Slice | None = None

    def wrong(self, key: str, what: str, expected: str, found: str) -> CannotDequantize:
        """An error for the caller to raise."""
        return CannotDequantize(what, file=self.checkpoint.path, key=key, expected=expected, found=found)

    def form(self, part: str) -> tuple[str, tuple[int, ...]]:
        """dtype and shape of a part, of a stack those of all its experts; ("", ()) where it is none."""
        key = self.found.parts.get(part)
        form = self.checkpoint.entries.form(key) if key else None
        if form is not None:
            return form[0].name, form[1]
        tensor = self.checkpoint.tensor(key) if key else None  # in pickles
        return (tensor.dtype.name, tensor.shape) if tensor is not None else ("", ())

    def required(self, part: str, dtypes: Sequence[str], *shapes: tuple[int, ...]) -> None:
        """Raises CannotDequantize where a part is not as it has to be."""
        dtype, shape = self.form(part)
        if dtype in dtypes and shape in shapes:
            return
        key = self.found.parts.get(part)
        what = f"codes {self.codes.dtype.name} of shape {list(self.codes.shape)}"
        if key is None:
            key = self.found.codes_key.removesuffix(CODES).removesuffix("packed_weight") + part
        required(self.checkpoint, key, dtypes, shapes, what)

    def record(self, part: str, element: Element, grid: Grid, end: str = "", **more: Any) -> ScaleRecord:
        """Of the weight, stored in a part that is there."""
        _, shape = self.form(part)
        own = self.part if self.part is not None and len(shape) == 3 else None
        return record_of(
            self.checkpoint, f"{self.role}{end}", self.found.parts[part], Kind.WEIGHT, f"weight {self.name}", element,
            grid, slice=own, **more,
        )  # fmt: skip


def module_of(site: Site) -> QuantizedModule:
    """Raises CannotDequantize where the parts do not fit each other, or the class is not known."""
    dtype, shape = site.codes.dtype.name, site.codes.shape
    if 0 in shape or len(shape) != (2 if site.part is None else 3) or site.codes.strides is not None:
        raise site.wrong(
            site.codes.name, "cannot be the codes of a weight", "a matrix in C order", f"{dtype} {list(shape)}"
        )
    kind, (scale, _) = site.found.said.kind, site.form("scale")
    zeros, _ = site.form("zero_point")
    if CODES not in site.found.parts:
        return _kernel_order(site)
    if kind in _INT8_CLASSES or (not kind and dtype == "int8" and zeros not in _FLOATS):
        return _affine(site, dtype) if dtype not in FLOAT8 else _float8(site, dtype)
    if kind == "Float8Tensor" or (not kind and dtype in FLOAT8 and scale != _E8M0):
        return _float8(site, dtype)
    if kind in ("MXTensor", "NVFP4Tensor") or (not kind and scale in _BLOCKS):
        return _small_blocks(site, dtype, scale)
    if kind == "Int4Tensor" or (not kind and dtype in ("int8", "uint8") and zeros in _FLOATS):
        return _int4(site)
    known = "Int8Tensor, IntxUnpackedToInt8Tensor, Float8Tensor, MXTensor, NVFP4Tensor, Int4Tensor"
    raise site.wrong(
        site.codes.name, "is of a class whose codes are not decoded", known,
        f"{kind or 'no class'}, {dtype} {list(shape)}",
    )  # fmt: skip


def _made(site: Site, shape: tuple[int, int], records: list[ScaleRecord], layout: Layout) -> Blocks:
    records += _factor(site, shape, records[0].element)
    weight = QuantizedWeight(
        site.name, site.role, site.found.codes_key, shape, records[0].element,
        tuple(r.role for r in records), records[0].grid, slice=site.part,
    )  # fmt: skip
    return Blocks(site.checkpoint, weight, (*records, *_inputs(site)), layout)


def _factor(site: Site, shape: tuple[int, int], element: Element) -> Iterator[ScaleRecord]:
    if "act_pre_scale" in site.found.parts:
        site.required("act_pre_scale", _FLOATS, (shape[1],), (1, shape[1]))
        yield site.record(
            "act_pre_scale", element, channels(1), "#pre_quant", quantity=Quantity.FACTOR, reach=NOT_KNOWN
        )


def _inputs(site: Site) -> Iterator[ScaleRecord]:
    module = site.role.removesuffix(".weight")
    element = _FP4 if site.form("scale")[0] == _E4M3 else integer(8) if site.codes.dtype.name == "int8" else None
    for part in _INPUTS:
        dtype, shape = site.form(part)
        if dtype in _FLOATS:
            grid = PER_TENSOR if all(n == 1 for n in shape) else Grid(n_dims=len(shape))
            yield record_of(
                site.checkpoint, f"{module}:input", site.found.parts[part], Kind.ACTIVATION,
                f"the input of {module}", element or small_float(_E4M3), grid,
            )  # fmt: skip


def _affine(site: Site, dtype: str) -> QuantizedModule:
    """A code in each int8, of as many bits as are said."""
    if dtype != "int8":
        raise site.wrong(site.codes.name, "cannot be codes of integers", "int8", dtype)
    said = site.found.said.name_of("target_dtype")
    bits = int(said[3:]) if said.startswith("int") and said[3:] in tuple("12345678") else 0 if said else 8
    if not bits:
        raise site.wrong(site.codes.name, "is of integers that are not known", "int1 to int8", said)
    shape = _two(site.codes.shape)
    block, scales = _blocks(site, shape)
    site.required("scale", _FLOATS, scales)
    element, more = integer(bits), []
    if "zero_point" in site.found.parts:
        zeros = site.form("zero_point")[0]
        if zeros in _FLOATS:
            raise site.wrong(
                site.found.parts["zero_point"], "is a zero point of which it is not said what it is added to",
                "integers", zeros,
            )  # fmt: skip
        site.required("zero_point", _INTEGERS, scales)
        element = with_zero_points(bits)
        more.append(
            site.record("zero_point", element, _grid(shape, block), "#zero_point", quantity=Quantity.ZERO_POINT)
        )
    records = [site.record("scale", element, _grid(shape, block)), *more]
    return _made(site, shape, records, Layout(block))


@lru_cache(8)
def with_zero_points(bits: int) -> Element:
    """Signed codes beside which zero points are stored."""
    return replace(integer(bits), offset=None)


def _float8(site: Site, dtype: str) -> QuantizedModule:
    if dtype not in FLOAT8:
        raise site.wrong(site.codes.name, "cannot be codes of FP8", " or ".join(FLOAT8[:2]), dtype)
    shape = _two(site.codes.shape)
    block, scales = _blocks(site, shape)
    site.required("scale", _FLOATS, scales)
    return _made(site, shape, [site.record("scale", small_float(dtype), _grid(shape, block))], Layout(block))


def _small_blocks(site: Site, dtype: str, scale: str) -> QuantizedModule:
    """MXFP8, MXFP4, NVFP4: scales of blocks along the rows, perhaps in tiles."""
    if site.part is not None:
        raise site.wrong(
            site.codes.name, "is a stack, whose order is not known", "a matrix", str(list(site.codes.shape))
        )
    rows, width = _two(site.codes.shape)
    pairs = dtype in _BYTES
    if not pairs and (dtype not in FLOAT8 or scale == _E4M3):
        raise site.wrong(site.codes.name, "cannot be codes of small floats", "uint8 or float8", dtype)
    shape = rows, 2 * width if pairs else width
    said = site.found.said.block or (site.found.said.settings.get("block_size"),)
    size = said[-1] if type(said[-1]) is int and said[-1] > 0 else _BLOCKS.get(scale, 32)
    if shape[1] % size:
        raise site.wrong(
            site.codes.name, "is cut in blocks that do not fit", f"a multiple of {size} columns", str(shape[1])
        )
    flat, full = (rows, shape[1] // size), padded(rows, shape[1] // size)
    in_tiles = (full[0] // 4, full[1] * 4), full, (full[0] * full[1],)
    site.required("scale", (_E8M0, _E4M3), flat, *in_tiles)
    element = _FP4 if pairs else small_float(dtype)
    told = site.found.said.settings.get("is_swizzled_scales")
    tiled = site.form("scale")[1] != flat or (told is True and flat == full)
    packed = f"{'E8M0' if scale == _E8M0 else 'E4M3'} in tiles of 128x4" if tiled else ""
    records = [site.record("scale", element, groups(size), packed=packed, may_be_zero=scale == _E4M3)]
    if "per_tensor_scale" in site.found.parts:
        site.required("per_tensor_scale", _FLOATS, (), (1,))
        records.append(site.record("per_tensor_scale", element, PER_TENSOR, "#global", quantity=Quantity.GLOBAL_SCALE))
    return _made(site, shape, records, Layout((1, size), pairs, tiled))


def _int4(site: Site) -> QuantizedModule:
    """Two signed codes a byte; scales and minima with the groups first."""
    if site.part is not None:
        raise site.wrong(
            site.codes.name, "is a stack, whose order is not known", "a matrix", str(list(site.codes.shape))
        )
    site_shape, (_, scales) = _two(site.codes.shape), site.form("scale")
    shape = site_shape[0], 2 * site_shape[1]
    n = scales[0] if len(scales) == 2 and scales[0] and shape[1] % scales[0] == 0 else 1
    if site.codes.dtype.name not in ("int8", "uint8"):
        raise site.wrong(site.codes.name, "cannot be two codes a byte", "int8 or uint8", site.codes.dtype.name)
    for part in ("scale", "zero_point"):
        site.required(part, _FLOATS, (n, shape[0]))
    grid = groups(shape[1] // n)
    records = [
        site.record("scale", _INT4, grid, with_minimum=True),
        site.record("zero_point", _INT4, grid, "#minimum", quantity=Quantity.MINIMUM, signed=True),
    ]
    return _made(site, shape, records, Layout((1, shape[1] // n), True, turned=True))


def _kernel_order(site: Site) -> QuantizedModule:
    dtype, stored = site.codes.dtype.name, site.codes.shape
    if dtype != "uint8" or len(stored) != 2 or stored[0] % 2:
        raise site.wrong(
            site.codes.name, "lies in the order of a kernel that is not known", "uint8 [out, in / 2] of a CPU",
            f"{dtype} {list(stored)}",
        )  # fmt: skip
    shape, (_, numbers) = (stored[0], 2 * stored[1]), site.form("scale_and_zero")
    n = numbers[0] if len(numbers) == 3 and numbers[0] and shape[1] % numbers[0] == 0 else 1
    site.required("scale_and_zero", _FLOATS, (n, shape[0], 2))
    element, grid, part = unsigned(4, 8), groups(shape[1] // n), "scale_and_zero"
    records = (
        site.record(part, element, grid, with_minimum=True, packed="scales beside minima"),
        site.record(
            part, element, grid, "#minimum", quantity=Quantity.MINIMUM, signed=True, packed="minima beside scales"
        ),
    )
    weight = QuantizedWeight(
        site.name, site.role, site.codes.name, shape, element, tuple(r.role for r in records), grid, row_step=STEP
    )
    return KernelOrder(site.checkpoint, weight, records)


def _two(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[-2], shape[-1]


def _blocks(site: Site, shape: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Rows and columns that share a scale, and the shape in which scales are stored, of a stack that of all: as the
    shape of the scales has it. Raises CannotDequantize where that fits nothing."""
    _, stored = site.form("scale")
    above = site.codes.shape[:-2]
    inner = stored[len(above) :] if stored[: len(above)] == above else stored
    rows, columns = shape
    if all(n == 1 for n in inner) and not (rows == 1 and len(inner) == 2):
        return shape, stored
    if inner in ((rows,), (rows, 1)):
        return (1, columns), stored
    if len(inner) == 2 and all(n and size % n == 0 for n, size in zip(inner, shape, strict=True)):
        return (rows // inner[0], columns // inner[1]), stored
    raise site.wrong(
        site.found.parts.get("scale", f"{site.codes.name.removesuffix(CODES)}scale"),
        f"{'cannot scale' if stored or site.form('scale')[0] else 'is missing: it scales'} codes of shape "
        f"{list(site.codes.shape)}",
        f"[], [{rows}, 1], or blocks that divide rows and columns",
        f"{site.form('scale')[0]} {list(stored)}" if site.form("scale")[0] else "nothing",
    )  # fmt: skip


def _grid(shape: tuple[int, int], block: tuple[int, int]) -> Grid:
    if block == shape:
        return PER_TENSOR
    if block[0] > 1:
        return tiles(*block)
    return channels(0) if block[1] == shape[1] else groups(block[1])
