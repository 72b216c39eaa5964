"""What the entries of a module are, by the format that is said of it: shapes and types are held against it, and nothing
is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.element import UNKNOWN, Element, integer, small_float, table, unsigned
from qinspect.inspector.formats.families.comfy.affine import Affine
from qinspect.inspector.formats.families.comfy.markers import Said
from qinspect.inspector.formats.families.comfy.scaled import Scaled
from qinspect.inspector.formats.families.comfy.tiled import Tiled
from qinspect.inspector.formats.families.comfy.two_level import TwoLevel
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, channels, groups
from qinspect.inspector.formats.hadamard_blocks import HadamardBlocks
from qinspect.inspector.formats.modular import QuantizedModule, record_of, required
from qinspect.inspector.formats.records import (
    NOT_KNOWN,
    Kind,
    Quantity,
    QuantizedWeight,
    ScaleRecord,
    Source,
    Use,
)
from qinspect.inspector.formats.scale_tiles import padded

FLOAT8 = ("float8_e4m3fn", "float8_e5m2")
_FLOATS = ("float32", "bfloat16", "float16")
_FP8, _FP4, _INT8, _INT4 = small_float("float8_e4m3fn"), small_float("float4_e2m1fn"), integer(8), integer(4)
_BYTES = ("int8", "uint8")
_SCALES = ("weight_scale", "scale_weight")
_INPUTS = ("input_scale", "scale_input")
TILED = ("nvfp4", "mxfp8")


@dataclass(frozen=True, slots=True)
class Site:
    """A module. keys: its entries by the last parts of their names. levels: what the indices of a codebook stand for,
    where there is one."""

    checkpoint: Checkpoint
    module: str
    keys: Mapping[str, str]
    role: str
    said: Said
    levels: tuple[float, ...] = ()

    @property
    def codes(self) -> Tensor:
        """The entry of the codes. Raises CannotDequantize where it is no tensor of rows."""
        found = self.checkpoint.tensor(self.key("weight"))
        if found is None or len(found.shape) < 2 or 0 in found.shape:
            raise CannotDequantize(
                f"is missing: the codes of {self.said.format}" if found is None else "has no rows of codes",
                file=self.checkpoint.path, key=self.key("weight"), expected="a matrix",
                found="nothing" if found is None else f"{found.dtype.name} {list(found.shape)}",
            )  # fmt: skip
        return found

    def key(self, *lasts: str) -> str:
        """The first of these entries that is there, or the name that the first would have."""
        for last in lasts:
            if last in self.keys:
                return self.keys[last]
        return f"{self.module}.{lasts[0]}" if self.module else lasts[0]

    def required(self, last: str, dtypes: Iterable[str], *shapes: tuple[int, ...]) -> Tensor:
        """An entry that has to be there. Raises CannotDequantize."""
        dtypes = tuple(dtypes)
        found = self.checkpoint.tensor(self.keys.get(last, ""))
        if found is not None and found.dtype.name in dtypes and found.shape in shapes:
            return found
        what = f"{self.said.format} codes of shape {list(self.codes.shape)}"
        return required(self.checkpoint, self.key(last), dtypes, shapes, what)

    def is_codes(self, dtypes: Iterable[str], n_dims: int | None = 2) -> Tensor:
        """The codes, of one of the dtypes. Raises CannotDequantize."""
        codes, dtypes = self.codes, list(dtypes)
        if codes.dtype.name in dtypes and n_dims in (None, len(codes.shape)):
            return codes
        raise CannotDequantize(
            f"does not fit {self.said.format}, which is said of it", file=self.checkpoint.path, key=codes.name,
            expected=f"{' or '.join(dtypes)}{' [out, in]' if n_dims else ''}",
            found=f"{codes.dtype.name} {list(codes.shape)}",
        )  # fmt: skip

    def record(self, last: str, element: Element, grid: Grid, part: str = "", **more: Any) -> ScaleRecord:
        """Of the weight. last: of the name of its entry, which is there."""
        role = f"{self.role}{part}"
        return record_of(
            self.checkpoint, role, self.keys[last], Kind.WEIGHT, f"weight {self.role}", element, grid, **more
        )

    def rotation(self, columns: int) -> HadamardBlocks | None:
        """What was done to the inputs. Raises CannotDequantize where it cannot have been."""
        if not self.said.rotated:
            return None
        size = self.said.block
        if size & (size - 1) or size.bit_length() % 2 == 0 or columns % size:
            raise CannotDequantize(
                "cannot have been rotated as is said of it", file=self.checkpoint.path, key=self.key("weight"),
                expected=f"a power of four that divides {columns} columns", found=f"convrot_groupsize {size}",
            )  # fmt: skip
        return HadamardBlocks(size, regular=True)

    def not_rotated(self) -> None:
        """Raises CannotDequantize where it is said to be: of this format nothing is known of that."""
        if self.said.rotated:
            raise CannotDequantize(
                f"is said to be rotated (convrot), which is not known of {self.said.format}",
                file=self.checkpoint.path, key=self.key("weight"), expected="no convrot", found="convrot",
            )  # fmt: skip


def module_of(site: Site) -> QuantizedModule:
    """The weight of a module. Raises CannotDequantize where its entries do not fit what is said, or that is not
    known."""
    build = _BUILD.get(site.said.format)
    if site.said.wrong or build is None:
        raise CannotDequantize(
            f"{site.said.wrong}: the mark of a module" if site.said.wrong else "is of a format that is not known",
            file=site.checkpoint.path, key=site.key("comfy_quant", "weight"), expected=", ".join(_BUILD),
            found=site.said.format or "none",
        )  # fmt: skip
    return build(site)


def _module(
    site: Site, made: type[QuantizedModule], shape: tuple[int, ...], records: list[ScaleRecord],
    rotation: HadamardBlocks | None = None, element_of_input: Element = UNKNOWN,
) -> QuantizedModule:  # fmt: skip
    scale = records[0]
    weight = QuantizedWeight(
        site.key("weight"), site.role, site.key("weight"), shape, scale.element, tuple(r.role for r in records),
        scale.grid, rotation=rotation, filled_up=site.said.format in _FILLED,
    )  # fmt: skip
    factors = list(_factor(site, shape, scale.element))
    inputs = list(_input(site, element_of_input))
    return made(site.checkpoint, weight, (*records, *factors, *inputs))


def _input(site: Site, element: Element) -> Iterator[ScaleRecord]:
    key = next((site.keys[last] for last in _INPUTS if last in site.keys), "")
    tensor = site.checkpoint.tensor(key) if key else None
    if tensor is None or tensor.dtype.name not in _FLOATS:
        return
    module = site.role.removesuffix(".weight")
    grid = PER_TENSOR if tensor.n_elements == 1 else Grid(n_dims=len(tensor.shape))
    yield record_of(
        site.checkpoint, f"{module}:input", key, Kind.ACTIVATION, f"the input of {module}", element, grid,
        called="" if element is not UNKNOWN else "input, of a type that is not said",
    )  # fmt: skip


def _factor(site: Site, shape: tuple[int, ...], element: Element) -> Iterator[ScaleRecord]:
    if "pre_quant_scale" in site.keys and site.said.format == "nvfp4":
        site.required("pre_quant_scale", _FLOATS, *((n,) for n in range(shape[1], shape[1] - 16, -1)))
        yield site.record(
            "pre_quant_scale", element, channels(1), "#pre_quant", quantity=Quantity.FACTOR, reach=NOT_KNOWN
        )


# --- one scale, or one a row ---


def _float8(site: Site) -> QuantizedModule:
    site.not_rotated()
    codes = site.is_codes(FLOAT8, None)
    return _scaled(site, small_float(codes.dtype.name), codes.shape, _FP8)


def _int8(site: Site) -> QuantizedModule:
    codes = site.is_codes(("int8",), 2 if site.said.rotated else None)
    return _scaled(site, _INT8, codes.shape, _INT8)


def _int4(site: Site) -> QuantizedModule:
    rows, width = site.is_codes(_BYTES).shape
    return _scaled(site, _INT4, (rows, 2 * width), _INT4)


def _scaled(site: Site, element: Element, shape: tuple[int, ...], of_input: Element) -> QuantizedModule:
    n, last = shape[0], next((s for s in _SCALES if s in site.keys), _SCALES[0])
    by_row = [(n,), (n, *(1,) * (len(shape) - 1))]
    scale = site.required(last, _FLOATS, (), (1,), (1, 1), *by_row)
    grid = channels(0) if scale.n_elements > 1 else PER_TENSOR
    rotation = site.rotation(shape[1]) if site.said.rotated else None
    records = [site.record(last, element, grid, rotation=rotation)]
    return _module(site, Scaled, shape, records, rotation, of_input)


# --- scales of groups in tiles ---


def _nvfp4(site: Site) -> QuantizedModule:
    site.not_rotated()
    rows, width = site.is_codes(("uint8",)).shape
    columns = 2 * width
    _whole_groups(site, columns, 16)
    site.required("weight_scale", ("float8_e4m3fn", "uint8"), padded(rows, columns // 16))
    site.required("weight_scale_2", _FLOATS, (), (1,))
    records = [
        site.record("weight_scale", _FP4, groups(16), packed="E4M3 in tiles of 128x4", may_be_zero=True),
        site.record("weight_scale_2", _FP4, PER_TENSOR, "#global", quantity=Quantity.GLOBAL_SCALE),
    ]
    return _module(site, Tiled, (_rows(site, rows), columns), records, None, _FP4)


def _mxfp8(site: Site) -> QuantizedModule:
    site.not_rotated()
    codes = site.is_codes(("float8_e4m3fn",))
    rows, columns = codes.shape
    _whole_groups(site, columns, 32)
    site.required("weight_scale", ("float8_e8m0fnu", "uint8"), padded(rows, columns // 32))
    records = [site.record("weight_scale", _FP8, groups(32), packed="E8M0 in tiles of 128x4")]
    return _module(site, Tiled, (_rows(site, rows), columns), records, None, _FP8)


_FILLED = {"nvfp4": 16, "mxfp8": 32}
"""Rows and columns are filled up to a multiple of it."""


def _rows(site: Site, stored: int) -> int:
    """How many rows are the weight's: as many as its bias has numbers, where the rest can be filling."""
    bias = site.checkpoint.tensor(site.key("bias"))
    filled = _FILLED[site.said.format]
    if bias is not None and len(bias.shape) == 1 and stored - filled < bias.shape[0] <= stored:
        return bias.shape[0]
    return stored


def _whole_groups(site: Site, columns: int, size: int) -> None:
    if columns % size:
        raise CannotDequantize(
            "is not cut in whole groups", file=site.checkpoint.path, key=site.key("weight"),
            expected=f"a multiple of {size} columns", found=f"{columns}",
        )  # fmt: skip


# --- scales of groups and of rows ---


def _levels(site: Site) -> QuantizedModule:
    codes = site.is_codes(_BYTES)
    rows, width = codes.shape
    scale = site.checkpoint.tensor(site.key("weight_s_rel"))
    n_groups = scale.shape[1] if scale is not None and len(scale.shape) == 2 else 0
    columns = n_groups * site.said.group
    bits = 4 if columns == 2 * width else 6 if 3 * columns == 4 * width else 0
    if not bits:
        raise CannotDequantize(
            f"does not scale groups of {site.said.group} of {codes.name}, {codes.dtype.name} [{rows}, {width}]",
            file=site.checkpoint.path, key=site.key("weight_s_rel"), expected="as many groups as codes of 4 or 6 bits",
            found="nothing" if scale is None else f"{scale.dtype.name} {list(scale.shape)}",
        )  # fmt: skip
    site.required("weight_s_rel", ("float8_e4m3fn", "uint8", *_FLOATS), (rows, n_groups))
    site.required("weight_s_channel", _FLOATS, (rows,), (rows, 1))
    rotation = site.rotation(columns)
    codebook = bits == 4 and "weight_codebook" in site.keys
    if codebook:
        site.required("weight_codebook", ("float32",), (16,))
    exact = bits == 6 or codebook
    element = _of_codebook(site) if codebook else unsigned(bits, 32 if bits == 6 else 8)
    of_int8: dict[str, Any] = {"rotation": rotation, "through": _INT8 if exact else None}
    table_of = (Source(site.keys["weight_codebook"], Use.PART),) if codebook else ()
    added = not exact and "weight_correction" in site.keys
    records = [
        site.record("weight_s_rel", element, groups(site.said.group), sources=table_of, may_be_zero=True,
                    packed="E4M3 in a byte" if scale is not None and scale.dtype.name == "uint8" else "",
                    with_minimum=added, **of_int8),
        site.record("weight_s_channel", element, channels(0), "#channel", quantity=Quantity.GLOBAL_SCALE, **of_int8),
    ]  # fmt: skip
    if added:
        site.required("weight_correction", _FLOATS, (n_groups, rows))
        records.append(
            site.record("weight_correction", element, groups(site.said.group), "#minimum", signed=True,
                        quantity=Quantity.MINIMUM, rotation=rotation)
        )  # fmt: skip
    return _module(site, TwoLevel, (rows, columns), records, rotation, _INT8)


def _of_codebook(site: Site) -> Element:
    if len(site.levels) != 16 or any(map(math.isnan, site.levels)):
        raise CannotDequantize(
            "does not say what the indices stand for", file=site.checkpoint.path, key=site.key("weight_codebook"),
            expected="16 numbers", found=f"{len(site.levels)} that are some",
        )  # fmt: skip
    return table("codebook of 16", site.levels, 4)


def _affine(site: Site) -> QuantizedModule:
    site.not_rotated()
    rows, width = site.is_codes(_BYTES).shape
    size, columns = site.said.group, 2 * width
    _whole_groups(site, columns, size)
    shape, element, grid = (columns // size, rows), unsigned(4, 8), groups(size)
    site.required("weight_scale", _FLOATS, shape)
    site.required("weight_zeros", _FLOATS, shape)
    records = [
        site.record("weight_scale", element, grid, with_minimum=True, may_be_zero=True),
        site.record("weight_zeros", element, grid, "#minimum", signed=True, quantity=Quantity.MINIMUM),
    ]
    return _module(site, Affine, (rows, columns), records)


_BUILD: dict[str, Callable[[Site], QuantizedModule]] = {
    **dict.fromkeys(FLOAT8, _float8),
    "nvfp4": _nvfp4,
    "mxfp8": _mxfp8,
    "int8_tensorwise": _int8,
    "convrot_w4a4": _int4,
    "asym_w4a8_int8": _levels,
    "awq_w4a16": _affine,
}
KNOWN = frozenset(_BUILD)
"""The formats that are read."""
