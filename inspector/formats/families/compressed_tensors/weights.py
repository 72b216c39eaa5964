"""Modules of quantized weights: which layout their entries are, and whether they fit each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.element import FLOAT8, Element, integer, small_float, unsigned
from qinspect.inspector.formats.families.compressed_tensors.declared import FORMATS, Args, Declared, Group
from qinspect.inspector.formats.families.compressed_tensors.layout import (
    USUAL_BLOCK,
    Found,
    columns_of,
    grid_of,
    words_of,
)
from qinspect.inspector.formats.families.compressed_tensors.modules import (
    InWords,
    Module,
    TwoAByte,
    Whole,
    Words,
    ZeroPoints,
)
from qinspect.inspector.formats.families.compressed_tensors.stacks import experts_of, is_stack
from qinspect.inspector.formats.families.compressed_tensors.steps import E8M0, Spread
from qinspect.inspector.formats.grid import PER_TENSOR
from qinspect.inspector.formats.modular import record_of, required
from qinspect.inspector.formats.records import Kind, Quantity, QuantizedWeight, ScaleRecord

FP4 = small_float("float4_e2m1fn")
_FLOATS = ("bfloat16", "float16", "float32", "float64")
_SCALES = (*_FLOATS, "float8_e4m3fn", *E8M0)
_KNOWN_BITS = {"int": range(1, 9), "float": (4, 8), "": range(1, 9)}
_NVFP4_GROUP, _MX_GROUP = 16, 32


def is_codes(tensor: Tensor | None) -> bool:
    """Whether `weight` holds codes, one an element."""
    return tensor is not None and (tensor.dtype.name == "int8" or tensor.dtype.name in FLOAT8)


Activations = Callable[[Found, str, Group | None], Iterator[ScaleRecord]]
"""The further records of a module, by its entries, its role and its group."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The entries of a module that make its weight. made: what reads them. whole: the scale of the scales."""

    made: Callable[..., Module]
    codes: Tensor
    shape: tuple[int, ...]
    element: Element
    scale: Tensor
    spread: Spread
    zero: ZeroPoints | None = None
    whole: Tensor | None = None

    def records(self, found: Found, role: str, of: str) -> list[ScaleRecord]:
        """The scale, the scale of the scales, the zero points."""
        checkpoint = found.checkpoint
        grid = self.spread.grid
        exponents = "E8M0 in a byte" if self.scale.dtype.name == "uint8" else ""
        made = [record_of(checkpoint, role, self.scale.name, Kind.WEIGHT, of, self.element, grid, packed=exponents,
                           slice=found.part("weight_scale"))]  # fmt: skip
        if self.whole is not None:
            key, quantity = self.whole.name, Quantity.GLOBAL_SCALE
            made.append(
                record_of(
                    checkpoint, f"{role}#global", key, Kind.WEIGHT, of, self.element, PER_TENSOR, quantity=quantity,
                    inverted=True, slice=found.part("weight_global_scale"),
                )
            )  # fmt: skip
        if self.zero is not None:
            key, quantity = self.zero.tensor.name, Quantity.ZERO_POINT
            made.append(
                record_of(
                    checkpoint, f"{role}#zero_point", key, Kind.WEIGHT, of, self.element, grid, quantity=quantity,
                    packed=self.zero.packed, slice=found.part("weight_zero_point"),
                )
            )  # fmt: skip
        return made


@dataclass(frozen=True, slots=True)
class Reader:
    """Makes modules of the entries of one checkpoint. role_of: as of `Format`. shapes: what `weight_shape` entries
    hold. differs: called with a module, what config.json says of it, and what its tensors say, where they disagree.
    assumes: called with one whose blocks are taken to be of the usual size, since nothing says how large they are."""

    declared: Declared
    role_of: Callable[[str], str]
    shapes: dict[str, tuple[int, ...]]
    differs: Callable[[str, str, str], None]
    assumes: Callable[[str], None]

    def read(self, found: Found, activations: Activations) -> list[Module]:
        """The modules whose entries `found` are, one for each of experts in a stack. Raises CannotDequantize."""
        codes = self._codes(found)
        group = self._group(found.module, codes)
        if not is_stack(codes, found.tensor("weight_scale")):
            return [self._made(found, self._layout(found, codes, group), group, activations)]
        return [
            self._made(one, self._layout(one, self._codes(one), group), group, activations)
            for one in experts_of(found, codes)
        ]

    def _codes(self, found: Found) -> Tensor:
        packed, whole = found.tensor("weight_packed"), found.tensor("weight")
        if "weight_packed" not in found.names and whole is not None and whole.dtype.name == "int32":
            packed = whole  # of releases before 0.4
        codes = packed if packed is not None else whole
        if codes is None:
            raise found.misfit("weight_packed", "is missing beside the scales of a weight", "codes")
        if codes.strides is not None:
            raise CannotDequantize("is not stored in C order", file=codes.file.path, key=codes.name)
        words = packed is not None and codes is packed
        if not codes.shape or (words and not 2 <= len(codes.shape) <= 3):
            raise found.misfit(_last(codes), "is no matrix", "2 dimensions, or 3 of stacked experts")
        return codes

    def _layout(self, found: Found, codes: Tensor, group: Group | None) -> Layout:
        match _last(codes), codes.dtype.name:
            case _, "int32":
                return self._in_words(found, codes, group)
            case "weight_packed", "uint8":
                return self._two_a_byte(found, codes, group)
            case "weight", _ if is_codes(codes):
                return self._whole(found, codes, group)
        expected = "int32 or uint8 in weight_packed, int8 or float8 in weight"
        raise found.misfit(_last(codes), "is of no known layout", expected)

    def _group(self, module: str, codes: Tensor) -> Group | None:
        """The group that config.json puts the module in: of several that may be meant, the first that its codes fit.
        Raises CannotDequantize where what it says is not known."""
        named = [g for g in self.declared.groups_of(module) if g.weights is not None]
        if not named:
            if self.declared.groups:
                self.differs(module, "it is not quantized, since no target names it", _stored(codes))
            self._known(module, codes, self.declared.format, None)
            return None
        if self.declared.ignore.names_module(module):
            self.differs(module, "it is ignored", _stored(codes))
        chosen = next((g for g in named if g.weights and _may_be(g.weights, codes)), None)
        if chosen is None:
            first = named[0].weights
            assert first is not None
            self._known(module, codes, named[0].format, first)
            if not _certain(codes):
                raise CannotDequantize(
                    "is not what config.json says of it, and what it is cannot be told", file=codes.file.path,
                    key=codes.name, expected=f"{_said(first)}", found=_stored(codes),
                )  # fmt: skip
            self.differs(module, _said(first), _stored(codes))
            return None
        self._known(module, codes, chosen.format, chosen.weights)
        return chosen

    def _known(self, module: str, codes: Tensor, format_: str, args: Args | None) -> None:
        """Raises CannotDequantize where the format or the numbers are of a kind that is not known here."""
        if format_ and format_ not in FORMATS:
            raise CannotDequantize(
                "is of a format that is not known", file=codes.file.path, key=codes.name,
                expected=f"one of {', '.join(FORMATS)}", found=f"{format_!r} in config.json",
            )  # fmt: skip
        if args is not None and args.bits is not None and args.bits not in _KNOWN_BITS.get(args.kind, ()):
            raise CannotDequantize(
                "is of numbers that are not known", file=codes.file.path, key=codes.name,
                expected="int of 1 to 8 bits, float of 4 or 8", found=f"{_said(args)} in config.json",
            )  # fmt: skip

    def _in_words(self, found: Found, packed: Tensor, group: Group | None) -> Layout:
        args = group.weights if group else None
        said_shape = self.shapes.get(found.key("weight_shape"))
        if said_shape and found.expert is not None and said_shape[:1] == (found.n_experts,):
            said_shape = said_shape[1:]
        shape = (packed.shape[0], columns_of(found, packed, said_shape, args))
        words, said = words_of(found, packed, shape[1], args, self.declared)
        if said:
            self.differs(found.module, said, f"{words.bits} bits")
        scale, spread = self._scale(found, shape, args, 0)
        zero = self._packed_zeros(found, words, scale, spread, shape)
        if zero is None and args is not None and args.symmetric is False:
            self.differs(found.module, "it has zero points", "none, so zero is the middle of the codes")
        element = unsigned(words.bits, None if zero else 1 << (words.bits - 1))
        return Layout(partial(InWords, words), packed, shape, element, scale, spread, zero)

    def _two_a_byte(self, found: Found, packed: Tensor, group: Group | None) -> Layout:
        shape = (packed.shape[0], 2 * packed.shape[1])
        usual = _MX_GROUP if _is_mx(found) else _NVFP4_GROUP
        scale, spread = self._scale(found, shape, group.weights if group else None, usual)
        whole = None
        if "weight_global_scale" in found.names or scale.dtype.name == "float8_e4m3fn":
            what = f"FP4 codes with scales in {scale.dtype.name}"
            whole = _required(found, "weight_global_scale", _FLOATS, ((1,), ()), what)
        return Layout(TwoAByte, packed, shape, FP4, scale, spread, whole=whole)

    def _whole(self, found: Found, codes: Tensor, group: Group | None) -> Layout:
        args = group.weights if group else None
        scale, spread = self._scale(found, codes.shape, args, _MX_GROUP if _is_mx(found) else 0)
        small = codes.dtype.name in FLOAT8
        zero = None
        if "weight_zero_point" in found.names:
            dtypes = (*FLOAT8, *_FLOATS) if small else ("int8",)
            zero = ZeroPoints(self._zeros(found, scale, dtypes), spread)
        if small:
            element = small_float(codes.dtype.name)
        else:
            element = integer(args.bits if args and args.kind == "int" and args.bits else 8)
            element = replace(element, offset=None) if zero else element
        return Layout(Whole, codes, codes.shape, element, scale, spread, zero)

    def _scale(self, found: Found, shape: tuple[int, ...], args: Args | None, usual: int) -> tuple[Tensor, Spread]:
        scale = found.tensor("weight_scale")
        if scale is None or scale.dtype.name not in _SCALES or scale.strides is not None:
            raise found.misfit(
                "weight_scale", "does not scale the codes beside it", f"a tensor of {' or '.join(_SCALES)}"
            )
        grid, said = grid_of(found, scale, shape, args, usual)
        if said:
            self.differs(found.module, said, f"a scale of shape {list(scale.shape)} for {list(shape)}")
        if grid.block == USUAL_BLOCK and not (args and args.block) and scale.n_elements > 1:
            self.assumes(found.module)
        if grid.group_size and scale.shape[-1] > 1 and "weight_g_idx" in found.names:
            what = f"a weight of shape {list(shape)}"
            index = _required(found, "weight_g_idx", ("int32", "int64"), ((shape[1],),), what)
            grid = replace(grid, group_index=index.name)
        return scale, Spread(grid, shape[-1], scale.shape[-1] if scale.shape else 1)

    def _packed_zeros(
        self, found: Found, words: Words, scale: Tensor, spread: Spread, shape: tuple[int, ...]
    ) -> ZeroPoints | None:
        """Packed as the codes are, along the other axis, or, of old releases, one an element in int8."""
        stored = found.tensor("weight_zero_point")
        if "weight_zero_point" not in found.names:
            return None
        if stored is not None and stored.dtype.name == "int8":
            return ZeroPoints(self._zeros(found, scale, ("int8",)), spread, offset=1 << (words.bits - 1))
        n_words = words.of(shape[0])
        tensor = _required(
            found, "weight_zero_point", ("int32",), ((n_words, *scale.shape[1:]),),
            f"{words.bits}-bit codes of shape {list(shape)} with a scale of {list(scale.shape)}",
        )  # fmt: skip
        return ZeroPoints(tensor, spread, words)

    def _zeros(self, found: Found, scale: Tensor, dtypes: tuple[str, ...]) -> Tensor:
        what = f"codes with a scale of {list(scale.shape)}"
        return _required(found, "weight_zero_point", dtypes, (scale.shape,), what)

    def _made(self, found: Found, layout: Layout, group: Group | None, activations: Activations) -> Module:
        name = f"{found.name}.weight" if found.name else "weight"
        base = self.role_of(layout.codes.name).removesuffix(_last(layout.codes))
        role = f"{base}weight" if found.expert is None else self.role_of(name)
        own = layout.records(found, role, f"weight {name}")
        weight = QuantizedWeight(
            name, role, layout.codes.name, layout.shape, layout.element, tuple(r.role for r in own), layout.spread.grid,
            slice=found.part(_last(layout.codes)),
        )  # fmt: skip
        records = (*own, *activations(found, role.removesuffix(".weight"), group))
        return layout.made(found.checkpoint, weight, records, layout.scale, layout.spread, layout.zero, layout.whole)


def _required(
    found: Found, last: str, dtypes: tuple[str, ...], shapes: tuple[tuple[int, ...], ...], what: str
) -> Tensor:
    """As `required`, of a module's entry or of an expert's part of it. Raises CannotDequantize."""
    tensor = found.tensor(last)
    if tensor is not None and tensor.dtype.name in dtypes and tensor.shape in shapes:
        return tensor
    return required(found.checkpoint, found.key(last), dtypes, shapes, what)


def _last(tensor: Tensor) -> str:
    return tensor.name.rpartition(".")[2]


def _is_mx(found: Found) -> bool:
    scale = found.tensor("weight_scale")
    return scale is not None and scale.dtype.name in E8M0


def _may_be(args: Args, codes: Tensor) -> bool:
    """Whether codes of this dtype may be what the arguments say."""
    dtype = codes.dtype.name
    if args.bits is None or not args.kind:
        return True
    if dtype == "int32":
        return args.kind == "int" and 1 <= args.bits <= 8
    if dtype == "int8":
        return args.kind == "int" and 1 <= args.bits <= 8
    return args.kind == "float" and args.bits == (4 if dtype == "uint8" else 8)


def _certain(codes: Tensor) -> bool:
    """Whether the dtype alone says what a code stands for."""
    return codes.dtype.name in FLOAT8


def _said(args: Args) -> str:
    return f"{args.kind or 'numbers'} of {args.bits} bits"


def _stored(codes: Tensor) -> str:
    return f"codes in {codes.dtype.name} {list(codes.shape)}"
