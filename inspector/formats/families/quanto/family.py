"""The modules of one checkpoint of quanto."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.formats.element import UNKNOWN, Element, integer, small_float, unsigned
from qinspect.inspector.formats.families.quanto.settings import ELEMENTS, METHOD, NONE, Types, settings_of
from qinspect.inspector.formats.families.quanto.shapes import Shapes
from qinspect.inspector.formats.families.quanto.weights import QuantoBits, QuantoBytes
from qinspect.inspector.formats.grid import PER_TENSOR
from qinspect.inspector.formats.modular import ModularFormat, Part, record_of, required
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.records import Kind, ScaleRecord
from qinspect.inspector.formats.said import Contradiction, commonest, contradictions_of, differing_said
from qinspect.inspector.text import dims, some, visible

_BYTES, _PACKED, _SCALE, _SHIFT = "._data", "._data._data", "._scale", "._shift"
_WEIGHT = ".weight"
_FLOATS = ("bfloat16", "float16", "float32")
_INTEGERS = ("int8", "uint8")
_OF_BYTES = {"int8": integer(8)} | {
    name: small_float(name) for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz")
}
_POINTS = ("input", "output")
_UNSAID = "8 bits, of a type that nothing says"
_UNSET = 1.0


class QuantoFormat(ModularFormat):
    """One checkpoint."""

    family = "quanto"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._settings = settings_of(checkpoint)
        self._shapes = Shapes(checkpoint)
        self._unset: set[str] = set()
        self._shapeless: list[str] = []
        self._differing: list[tuple[str, str, str]] = []
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        entries = checkpoint.entries
        if "_data" not in entries.lasts or "_scale" not in entries.lasts:
            return None
        if declared(checkpoint).method not in ("", METHOD):
            return None
        for codes, weight in _codes_in(checkpoint):
            if f"{weight}{_SCALE}" in entries:
                return f"{codes} is beside {weight.rpartition('.')[2]}{_SCALE}"
        return None

    @property
    def description(self) -> str:
        told = commonest(Counter(w.stored_as for w in self.weights()))
        inputs = {r.element for r in self.scales() if r.kind is Kind.ACTIVATION} - {UNKNOWN}
        said = f", {' or '.join(sorted(e.name for e in inputs))} activations" if inputs else ""
        return f"quanto {', '.join(told)}{said}"

    @property
    def declared_bits(self) -> tuple[float, ...]:
        return self._settings.bits

    def says_quantized(self, module: str) -> bool | None:
        types = self._settings.types
        if not types:
            return None
        named = module.removesuffix(_BYTES).removesuffix(_WEIGHT)  # codes stand in a module of their own, so to say
        said = self._settings.of(self._base(named))
        return said is not None and said.weights != NONE

    def contradictions(self) -> tuple[Contradiction, ...]:
        return contradictions_of(self._settings.where, self._differing)

    def taken(self) -> set[str]:
        """With the scales of activations that are not quantized, which are no numbers of the model."""
        return super().taken() | self._unset

    def on_purpose(self, record: ScaleRecord, value: float) -> str:
        if record.kind is Kind.ACTIVATION and record.element is UNKNOWN and value == _UNSET:
            return "quanto stores 1 where activations are not quantized, and nothing says whether they are"
        return ""

    def _find(self) -> Iterator[Part]:
        found = {weight: codes for codes, weight in _codes_in(self.checkpoint)}
        modules = {_module_of(weight) for weight in found} | set(self._with_points_alone())
        for module in sorted(modules, key=forward_key):
            name = f"{module}{_WEIGHT}".lstrip(".")
            role = self.role_of(name)
            codes = found.get(name)
            if codes is None:
                yield from self._points(module, role, ("output",))  # what goes in is not quantized without a weight
            else:
                yield self._or_problem(codes, lambda m=module, n=name, r=role, c=codes: self._weight(m, n, r, c))  # type: ignore[misc]

    def _with_points_alone(self) -> Iterator[str]:
        """Modules, norms above all, of which the map says that nothing but activations is quantized."""
        roles = {role for role, types in self._settings.types.items() if types.weights == NONE}
        for name in self.checkpoint.entries.ending("output_scale") if roles else ():
            module = name.rpartition(".")[0]
            if name == f"{module}.output_scale" and self._base(module) in roles:
                yield module

    def _base(self, module: str) -> str:
        return self.role_of(f"{module}{_WEIGHT}").removesuffix(_WEIGHT)

    def _weight(self, module: str, name: str, role: str, key: str) -> QuantoBytes | QuantoBits:
        """Raises CannotDequantize where the entries of a module do not fit each other."""
        codes = self.checkpoint.tensor(key)
        form = self.checkpoint.entries.form(f"{name}{_SCALE}")
        if codes is None or not codes.shape or 0 in codes.shape:
            raise self._wrong(key, codes, "cannot be codes of a weight", "a tensor that is not empty")
        if form is None or form[0].name not in _FLOATS:
            required(self.checkpoint, f"{name}{_SCALE}", _FLOATS, [(codes.shape[0], 1)], f"codes {key}")
        if key.endswith(_PACKED):
            element, shape = self._packed(module, name, role, codes)
        else:
            element, shape = self._of_bytes(name, codes), codes.shape
        self._compare(module, role, element)
        points = tuple(self._points(module, role, _POINTS))
        if key.endswith(_PACKED):
            columns = prod(codes.shape[1:])
            return QuantoBits(self.checkpoint, name, role, codes, element, shape, columns, points)
        return QuantoBytes(self.checkpoint, name, role, codes, element, points)

    def _of_bytes(self, name: str, codes: Tensor) -> Element:
        if codes.dtype.name not in _OF_BYTES or len(codes.shape) < 2:
            raise self._wrong(codes.name, codes, "cannot be codes of a byte each", " or ".join(_OF_BYTES))
        ones = (1,) * (len(codes.shape) - 1)
        shapes = [(codes.shape[0], *ones), (), (1,)]
        required(self.checkpoint, f"{name}{_SCALE}", _FLOATS, shapes, f"codes of shape {dims(codes.shape)}")
        return _OF_BYTES[codes.dtype.name]

    def _packed(self, module: str, name: str, role: str, codes: Tensor) -> tuple[Element, tuple[int, ...]]:
        """What codes in runs of rows are, and the shape of the weight."""
        scale = self.checkpoint.entries.form(f"{name}{_SCALE}")
        assert scale is not None  # it was looked at
        if codes.dtype.name != "uint8" or len(codes.shape) < 2:
            raise self._wrong(codes.name, codes, "cannot be codes of several rows a byte", "uint8 [rows of a run, ...]")
        rows = scale[1][0] if scale[1] else 0
        ones = (1,) * (len(codes.shape) - 1)
        fitting = [bits for bits in (4, 2) if rows and -(-rows // (8 // bits)) == codes.shape[0]]
        said = ELEMENTS.get((self._settings.of(role.removesuffix(_WEIGHT)) or Types()).weights)
        if said is not None and said.bits in fitting:
            fitting = [said.bits]
        if len(fitting) != 1 or scale[1] != (rows, *ones):
            half, fourth = codes.shape[0] * 2, codes.shape[0] * 4
            raise CannotDequantize(
                f"does not tell of codes {dims(codes.shape)} whether they are of 4 or 2 bits" if len(fitting) > 1 else
                f"does not scale the rows of codes {dims(codes.shape)}",
                file=self.checkpoint.path, key=f"{name}{_SCALE}",
                expected=f"{dims((half, *ones))} of 4 bits, {dims((fourth, *ones))} of 2", found=dims(scale[1]),
            )  # fmt: skip
        what = f"codes of shape {dims(codes.shape)}"
        shift = required(self.checkpoint, f"{name}{_SHIFT}", (*_FLOATS, *_INTEGERS), [scale[1]], what)
        offset = None if shift.dtype.name in _INTEGERS else 0  # what is subtracted is a minimum, or a zero point
        return unsigned(fitting[0], offset), self._shape(module, name, rows, codes.shape[1:])

    def _shape(self, module: str, name: str, rows: int, inner: tuple[int, ...]) -> tuple[int, ...]:
        if len(inner) > 1:
            return (rows, *inner)  # in groups there is one axis
        found = self._shapes.of(module, rows, inner[0])
        if found is None:
            self._shapeless.append(name)
        return found or (rows, inner[0])

    def _wrong(self, key: str, tensor: Tensor | None, what: str, expected: str) -> CannotDequantize:
        found = "no tensor" if tensor is None else f"{tensor.dtype.name} {dims(tensor.shape)}"
        return CannotDequantize(what, file=self.checkpoint.path, key=key, expected=expected, found=found)

    def _compare(self, module: str, role: str, element: Element) -> None:
        """Keep what is said otherwise of a module."""
        said = self._settings.of(role.removesuffix(_WEIGHT))
        if said is None and self._settings.types:
            self._differing.append((module, "not quantized", _called(element)))
        elif said is not None and said.weights in ELEMENTS and ELEMENTS[said.weights].name != element.name:
            self._differing.append((module, said.weights, _called(element)))
        elif said is not None and said.weights == NONE:
            self._differing.append((module, "weights not quantized", _called(element)))

    def _points(self, module: str, role: str, points: tuple[str, ...]) -> Iterator[ScaleRecord]:
        """The scales of what goes in and comes out, where it is quantized or nothing says that it is not."""
        base = role.removesuffix(_WEIGHT)
        activations = (self._settings.of(base) or Types()).activations
        for point in _POINTS:
            key = f"{module}.{point}_scale".lstrip(".")
            form = self.checkpoint.entries.form(key)
            if form is None or form[0].name not in _FLOATS or form[1] not in ((), (1,)):
                continue
            if activations == NONE or point not in points:
                self._unset.add(key)
                continue
            element, of = ELEMENTS.get(activations, UNKNOWN), f"{point} of {module or 'the model'}"
            called = _UNSAID if element is UNKNOWN else ""
            role_of_point = f"{base}:{point}"
            yield record_of(
                self.checkpoint, role_of_point, key, Kind.ACTIVATION, of, element, PER_TENSOR, called=called
            )  # fmt: skip

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *differing_said(self._settings.where, self._differing), *self._shapeless_said())

    def _shapeless_said(self) -> Iterator[str]:
        if self._shapeless:
            yield (
                f"{some(len(self._shapeless), 'weight')} may be stored in groups, and nothing tells how many of them "
                f"make a row: shown with one in each row, first {visible(self._shapeless[0], 120)}"
            )


def _codes_in(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """Entries of codes, and the weights that they are of."""
    for name in checkpoint.entries.ending("_data"):
        for end in (_PACKED, _BYTES):
            weight = name.removesuffix(end)
            if weight != name and (weight == "weight" or weight.endswith(_WEIGHT)):
                yield name, weight
                break


def _module_of(weight: str) -> str:
    return weight.rpartition(".")[0]


def _called(element: Element) -> str:
    """As quanto calls it."""
    named = (name for name, known in ELEMENTS.items() if known.name == element.name and name != "qfloat8")
    return next(named, element.name)
