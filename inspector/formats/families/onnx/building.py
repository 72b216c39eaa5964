"""A weight and its records out of the entries that a node names, or what does not fit."""

from __future__ import annotations

from dataclasses import dataclass, replace

from qinspect.inspector.checkpoint import Checkpoint, Tensor, Value
from qinspect.inspector.checkpoint.graph import Graph, Node
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.element import Element, integer, small_float, unsigned
from qinspect.inspector.formats.families.onnx.in_blocks import Blocks, BlockWeight
from qinspect.inspector.formats.families.onnx.weights import ROUNDED, Layout, TypedWeight
from qinspect.inspector.formats.grid import Grid, channels, groups
from qinspect.inspector.formats.modular import record_of
from qinspect.inspector.formats.numbers import stored_form
from qinspect.inspector.formats.records import Kind, Quantity, QuantizedWeight, ScaleRecord
from qinspect.inspector.formats.stripes import Stripes

_INTEGERS = {
    "int2": 2, "int4": 4, "int8": 8, "int16": 16, "int32": 32, "uint2": 2, "uint4": 4, "uint8": 8, "uint16": 16,
}  # fmt: skip
_SCALES = ("float32", "float16", "bfloat16", "float8_e8m0fnu", "float8_e4m3fn", "float8_e5m2", "python float")
_FLOATS = ("float32", "float16", "bfloat16")
_TYPES = {1: "float32", 10: "float16", 16: "bfloat16"}
"""Of the attribute `output_dtype`."""
_SCALARS = {(), (1,)}
_MAX_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Named:
    """The entries of a weight, and what it is called. key: of its codes. scale, zero: "" where there is none. outer: of
    the scale of its scales, where these are codes themselves."""

    name: str
    role: str
    key: str
    scale: str
    zero: str
    outer: str = ""


class Builder:
    """Of one checkpoint."""

    def __init__(self, checkpoint: Checkpoint, graph: Graph) -> None:
        self.checkpoint = checkpoint
        self.graph = graph
        self._stripes = Stripes()

    def stored(self, name: str) -> str:
        """The entry that a value is, as it is or handed on; "" where it is calculated."""
        for _ in range(4):
            if name in self.checkpoint.entries:
                return name
            maker = self.graph.makers.get(name)
            if maker is None or maker.op != "Identity":
                return ""
            name = maker.input(0)
        return ""

    def element(self, dtype: str, with_zero: bool) -> Element | None:
        """Of codes of a type; None of one that is none of codes. with_zero: zero points are stored."""
        bits = _INTEGERS.get(dtype)
        if bits is not None:
            if dtype.startswith("u"):
                return unsigned(bits, None if with_zero else 0)
            return replace(integer(bits), offset=None) if with_zero else integer(bits)
        try:
            return small_float(dtype)
        except KeyError:
            return None

    def typed(self, named: Named, layout: Layout, element: Element, shape: tuple[int, ...]) -> TypedWeight:
        """A weight whose codes have a type of their own."""
        grid, records = layout.grid, self._records(named, element, layout.grid)
        weight = QuantizedWeight(
            named.name, named.role, named.key, shape, element, tuple(r.role for r in records), grid,
            row_step=layout.axes[0][1] if layout.axes and not layout.axes[0][0] else 1,
        )  # fmt: skip
        return TypedWeight(self.checkpoint, weight, records, layout, self._stripes)

    def _records(
        self, named: Named, element: Element, grid: Grid, packed: str = "", no_code: bool = False
    ) -> tuple[ScaleRecord, ...]:
        of = f"the weight {named.role}"
        found = [record_of(self.checkpoint, named.role, named.scale, Kind.WEIGHT, of, element, grid)]
        if named.outer:
            found.append(
                record_of(
                    self.checkpoint, f"{named.role}#global", named.outer, Kind.WEIGHT, of, element, Grid(),
                    quantity=Quantity.GLOBAL_SCALE,
                )
            )  # fmt: skip
        if named.zero:
            found.append(
                record_of(
                    self.checkpoint, f"{named.role}#zero_point", named.zero, Kind.WEIGHT, of, element, grid,
                    quantity=Quantity.ZERO_POINT, packed=packed, no_code=no_code,
                )
            )  # fmt: skip
        return tuple(found)

    def layout(
        self, named: Named, tensor: Tensor, turned: bool, axis: int, block: int, rounded: int | None
    ) -> tuple[Layout, tuple[int, ...]]:
        """(how a weight lies, its shape in logical order). axis: of the stored weight. block: 0 where there are no
        blocks. rounded: what comes out by `output_dtype`, 0 where that is not said; None of operations that give
        float32. Raises CannotDequantize where scales and zero points do not fit."""
        n = len(tensor.shape)
        turned = turned and n > 1
        dtype, shape = self._scale_form(named)
        of_zero = stored_form(self.checkpoint, named.zero)[1] if named.zero else shape
        if of_zero != shape and not {of_zero, shape} <= _SCALARS:
            raise self._wrong(named.zero, f"zero points of shape {list(shape)}, as the scales {named.scale}")
        order = [*range(n - 2), n - 1, n - 2] if turned else [*range(n)]
        logical = tuple(tensor.shape[i] for i in order)
        place = order.index(axis % n) if n and -n <= axis < n else -1
        fits: tuple[tuple[int, int], ...] | None = None
        cells: tuple[str, ...] = ()
        if shape in _SCALARS:
            fits = ()
        elif block:
            expected = tuple(-(-d // block) if i == axis % n else d for i, d in enumerate(tensor.shape))
            if 0 < block <= _MAX_BLOCK and place >= 0 and shape == expected:
                fits = tuple((i, block if i == place else 1) for i in range(n))
        elif place >= 0 and shape == (tensor.shape[axis],):
            fits = ((place, 1),)
        elif n == 3 and axis == 0 and shape == (logical[0], logical[1]):
            cells, fits = ("direction", "channel"), ((0, 1), (1, 1))
        if fits is None:
            said = f"blocks of {block} along axis {axis}" if block else f"axis {axis}"
            raise self._wrong(named.scale, f"one scale, or scales of {said} of {named.key} {list(tensor.shape)}")
        if named.outer:
            dtype = stored_form(self.checkpoint, named.outer)[0]
        comes_out = "float32" if rounded is None else _TYPES.get(rounded, dtype)
        rounds = comes_out if comes_out in ROUNDED else ""
        zero = named.zero if tensor.dtype.name in _INTEGERS else ""  # that of floats is 0
        return Layout(named.scale, zero, turned, fits, rounds, cells, named.outer), logical

    def _scale_form(self, named: Named) -> tuple[str, tuple[int, ...]]:
        if not named.scale:
            raise CannotDequantize(
                "has scales that the graph calculates", file=self.checkpoint.path, key=named.key,
                expected="an initializer or a constant", found="the output of a node",
            )  # fmt: skip
        dtype, shape = stored_form(self.checkpoint, named.scale)
        if dtype not in _SCALES or (isinstance(self.checkpoint[named.scale], Value) and shape):
            raise self._wrong(named.scale, f"floats, as scales of {named.key}")
        if named.outer:
            outer, of_outer = stored_form(self.checkpoint, named.outer)
            if outer not in _FLOATS or of_outer not in _SCALARS:
                raise self._wrong(named.outer, f"one float, as the scale of the scales {named.scale}")
        return dtype, shape

    def _wrong(self, key: str, expected: str) -> CannotDequantize:
        dtype, shape = stored_form(self.checkpoint, key)
        return CannotDequantize(
            "does not fit the weight that a node of the graph uses it for", file=self.checkpoint.path, key=key,
            expected=expected, found=f"{dtype} {list(shape)}",
        )  # fmt: skip

    def in_blocks(
        self, named: Named, node: Node, shape: tuple[int, int], bits: int, block: int, index: str = ""
    ) -> BlockWeight:
        """A weight [out, in] of streams of bits. Raises CannotDequantize where its entries do not fit."""
        tensor = self.checkpoint.tensor(named.key)
        n_out, n_in = shape
        if not (2 <= bits <= 8 and 8 <= block <= _MAX_BLOCK and n_out > 0 and n_in > 0 and block * bits % 8 == 0):
            raise CannotDequantize(
                "belongs to a node whose attributes no weight can have", file=self.checkpoint.path, key=named.key,
                expected="2 to 8 bits, and blocks of 8 columns or more",
                found=f"{node.op} with bits {bits}, block_size {block}, shape {list(shape)}",
            )  # fmt: skip
        n_groups = -(-n_in // block)
        n_bytes = -(-n_in * bits // 8) if node.op == "GatherBlockQuantized" else n_groups * block * bits // 8
        if tensor is None or tensor.dtype.name != "uint8" or tensor.n_elements != n_out * n_bytes:
            raise self._wrong(named.key, f"{n_out * n_bytes} bytes, of {bits} bits in blocks of {block}")
        self._fits(named.scale, named.key, _FLOATS, n_out * n_groups)
        zero_bits = 0
        if named.zero:
            in_bits = stored_form(self.checkpoint, named.zero)[0] == "uint8"
            zero_bits = bits if in_bits else 0
            n = n_out * -(-n_groups * bits // 8) if in_bits else n_out * n_groups
            self._fits(named.zero, named.key, ("uint8", *_FLOATS), n)
        if index and (bits != 4 or zero_bits):
            raise CannotDequantize(
                "is in groups by an index, with packed zero points or other than 4 bits: the CPU kernel of ONNX "
                "Runtime makes other values of such a weight than its documentation says", file=self.checkpoint.path,
                key=named.key, expected="4 bits, and no zero points or floats",
                found=f"{bits} bits{', packed zero points' if zero_bits else ''}, and {index}",
            )  # fmt: skip
        if index:
            self._fits(index, named.key, ("int32",), n_in)
        element = unsigned(bits, None if named.zero else 1 << (bits - 1))
        packed = f"{zero_bits} bits" if zero_bits else ""
        grid = groups(block, index)
        records = self._records(named, element, grid, packed, bool(named.zero) and not zero_bits)
        flat = Tensor(named.key, tensor.dtype, (n_out, n_bytes), None, tensor.file, tensor.offset)
        weight = QuantizedWeight(
            named.name, named.role, named.key, shape, element, tuple(r.role for r in records), grid
        )
        blocks = Blocks(named.scale, named.zero, zero_bits, index, block)
        return BlockWeight(self.checkpoint, weight, records, blocks, flat)

    def _fits(self, key: str, of: str, dtypes: tuple[str, ...], n: int) -> None:
        if not key:
            self._scale_form(Named("", "", of, "", ""))
        tensor = self.checkpoint.tensor(key)
        if tensor is None or tensor.dtype.name not in dtypes or tensor.n_elements != n:
            raise self._wrong(key, f"{n} numbers of {' or '.join(dtypes)} for {of}")

    def point(
        self, role: str, of: str, scale: str, zero: str, element: Element, axis: int, kind: Kind = Kind.ACTIVATION
    ) -> list[ScaleRecord]:
        """The records of what is quantized when the model runs: its scale, and its zero point."""
        grid = Grid() if stored_form(self.checkpoint, scale)[1] in _SCALARS else channels(axis, any_axis=True)
        found = [record_of(self.checkpoint, role, scale, kind, of, element, grid)]
        if zero:
            found.append(
                record_of(
                    self.checkpoint, f"{role}#zero_point", zero, kind, of, element, grid,
                    quantity=Quantity.ZERO_POINT,
                )
            )  # fmt: skip
        return found
