"""The family: what the entries of each module are, and where its settings and its entries do not agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.element import FLOAT8, UNKNOWN, Element, ElementKind, integer, small_float, unsigned
from qinspect.inspector.formats.families.quark.settings import METHOD, OfModule, Spec, settings_of
from qinspect.inspector.formats.families.quark.weights import QuarkWeight, Rows, Words
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, channels, groups
from qinspect.inspector.formats.modular import ModularFormat, Part, by_module, record_of, required
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.output_words import IN_ORDER, KERNEL_ORDER, PER_WORD
from qinspect.inspector.formats.records import (
    DynamicPoint,
    Kind,
    Quantity,
    QuantizedWeight,
    ScaleRecord,
)
from qinspect.inspector.formats.said import commonest, differing_said
from qinspect.inspector.formats.stripes import Stripes
from qinspect.inspector.text import visible

_FLOATS = ("float32", "bfloat16", "float16")
_INTEGERS = ("int8", "uint8", "int32")
_BYTES = ("uint8", "float8_e8m0fnu")
_ATTENTION = {"k_proj": "k_cache", "v_proj": "v_cache", "q_proj": "q"}
_GROUP = 32
_WIDTHS = {4: ("fp4",), 6: ("fp6_e2m3", "fp6_e3m2"), 8: ("fp8_e4m3", "fp8_e5m2")}
"""What can be said of small floats in groups, by the bits of a code."""


@dataclass(frozen=True, slots=True)
class _Site:
    """A module. codes: the form of its codes, None where it has none. said: of it."""

    name: str
    keys: Mapping[str, str]
    role: str
    codes: Form | None
    said: OfModule

    @property
    def dtype(self) -> str:
        """Of its codes."""
        return self.codes[0].name if self.codes else ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its codes, as they are stored."""
        return self.codes[1] if self.codes else ()


class QuarkFormat(ModularFormat):
    """One checkpoint."""

    family = "quark"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._settings = settings_of(checkpoint)
        self._kinds: Counter[str] = Counter()
        self._differing: list[tuple[str, str, str]] = []
        self._dynamic: list[DynamicPoint] = []
        self._stripes = Stripes()
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        said = settings_of(checkpoint).declared
        if said.method != METHOD:
            return None
        entries = checkpoint.entries
        for name in entries.ending("weight_scale"):
            weight, scale = entries.form(name.removesuffix("_scale")), entries.form(name)
            if weight and scale and _are_codes(weight):
                return f"{said.where} says {METHOD}"
        return None

    @property
    def description(self) -> str:
        told = commonest(self._kinds)
        version = self._settings.declared.settings.get("version")
        inputs = sorted({p.element.name for p in self._dynamic})
        writer = [visible(version, 20)] if isinstance(version, str) else []
        return " ".join(["Quark", *writer, ", ".join([*told, *(f"dynamic {name} inputs" for name in inputs)])])

    @property
    def declared_bits(self) -> tuple[float, ...]:
        element = self._settings.whole.weight.element
        return (float(element.bits),) if element is not UNKNOWN else ()

    def dynamic(self) -> tuple[DynamicPoint, ...]:
        return tuple(self._dynamic)

    def _find(self) -> Iterator[Part]:
        modules = by_module(self.checkpoint.entries)
        for module in sorted(modules, key=forward_key):
            keys = modules[module]
            form = self.checkpoint.entries.form(keys.get("weight", ""))
            if form is not None and _are_codes(form):
                yield self._or_problem(keys["weight"], lambda m=module, k=keys, f=form: self._weight(m, k, f))  # type: ignore[misc]
            elif "output_scale" in keys or "input_scale" in keys:
                yield from self._points(_Site(module, keys, self._role(keys), None, self._settings.of(module)))

    def _role(self, keys: Mapping[str, str]) -> str:
        if "weight" in keys:
            return self.role_of(keys["weight"])
        last = next(iter(keys))
        return f"{self.role_of(keys[last]).removesuffix(last)}weight"

    def _weight(self, module: str, keys: Mapping[str, str], form: Form) -> QuarkWeight:
        """Raises CannotDequantize where entries do not fit each other, or are of what is not known."""
        site = _Site(module, keys, self._role(keys), form, self._settings.of(module))
        spec, (dtype, shape) = site.said.weight, (form[0].name, form[1])
        if len(shape) != 2 or 0 in shape:
            raise self._wrong(site, "cannot be codes of a module", "[out, in]")
        if spec.several:
            raise self._wrong(site, "is quantized in several steps, which is not decoded", "one type of weights")
        if dtype == "int32":
            made = self._words(site)
        elif dtype in FLOAT8 and self._scale_dtype(keys) not in _BYTES:
            made = self._rows(site, small_float(dtype))
        elif dtype == "int8" or (dtype == "uint8" and self._scale_dtype(keys) in _FLOATS):
            made = self._rows(site, integer(8) if dtype == "int8" else unsigned(8))
        else:
            made = self._small_floats(site)
        self._seen(site, made)
        return made

    def _scale_dtype(self, keys: Mapping[str, str]) -> str:
        form = self.checkpoint.entries.form(keys.get("weight_scale", ""))
        return form[0].name if form else ""

    def _wrong(self, site: _Site, what: str, expected: str) -> CannotDequantize:
        spec = site.said.weight
        said = f", {visible(spec.dtype, 40)} in {self._settings.declared.where}" if spec.dtype else ""
        return CannotDequantize(
            what, file=self.checkpoint.path, key=site.keys["weight"], expected=expected,
            found=f"{site.dtype} {list(site.shape)}{said}",
        )  # fmt: skip

    def _required(self, site: _Site, last: str, dtypes: tuple[str, ...], *shapes: tuple[int, ...]) -> tuple[int, ...]:
        key = site.keys.get(last) or f"{site.name}.{last}".lstrip(".")
        what = f"codes {site.dtype} of shape {list(site.shape)}"
        return required(self.checkpoint, key, dtypes, shapes, what).shape

    def _rows(self, site: _Site, element: Element) -> QuarkWeight:
        """A code in each element."""
        n, columns = site.shape
        shape = self._required(site, "weight_scale", _FLOATS, (), (1,), (n,), (n, 1), *self._of_groups(site))
        grid = PER_TENSOR if shape in ((), (1,)) else channels(0)
        if len(shape) == 2 and shape[1] > 1:
            grid = groups(columns // shape[1])
        more = []
        if "weight_zero_point" in site.keys:
            self._required(site, "weight_zero_point", _INTEGERS, shape)
            element = replace(element, offset=None)
            more.append(self._record(site, "weight_zero_point", element, grid, quantity=Quantity.ZERO_POINT))
        elif element.unsigned and element.offset is None:
            raise self._wrong(site, "has no zero points beside unsigned codes", f"{site.name}.weight_zero_point")
        records = [self._record(site, "weight_scale", element, grid), *more]
        return self._made(site, Rows, (n, columns), records)

    def _of_groups(self, site: _Site) -> list[tuple[int, ...]]:
        n, columns = site.shape
        size = site.said.weight.group
        return [(n, columns // size)] if size and columns % size == 0 else []

    def _small_floats(self, site: _Site) -> QuarkWeight:
        """Groups of small floats with an exponent each."""
        rows, width = site.shape
        form = self.checkpoint.entries.form(site.keys.get("weight_scale", ""))
        scales = form[1] if form else ()
        size = site.said.weight.group or _GROUP
        columns = scales[1] * size if len(scales) == 2 else 0
        bits = next((b for b in _WIDTHS if columns and width * 8 == columns * b), 0)
        if not bits:
            self._required(site, "weight_scale", _BYTES, *((rows, width * 8 // b // size) for b in _WIDTHS))
            raise self._wrong(site, "has rows that are no whole groups", f"groups of {size} columns")
        self._required(site, "weight_scale", _BYTES, (rows, columns // size))
        said = site.said.weight.dtype
        if said not in _WIDTHS[bits] and bits != 4:
            raise self._wrong(site, f"holds {bits} bits a code, of which it is not said what they are",
                              " or ".join(_WIDTHS[bits]))  # fmt: skip
        element = Spec(said if said in _WIDTHS[bits] else "fp4").element
        packed = "E8M0 in a byte" if form and form[0].name == "uint8" else ""
        records = [self._record(site, "weight_scale", element, groups(size), packed=packed)]
        return self._made(site, Rows, (rows, columns), records)

    def _words(self, site: _Site) -> QuarkWeight:
        """Eight codes a word, along the outputs."""
        columns, words = site.shape
        rows, said = PER_WORD * words, site.said.weight.dtype
        if said not in ("int4", "uint4") or self._settings.pack_method not in ("order", "reorder"):
            raise self._wrong(site, "holds words of codes, of which it is not said what they are",
                              "int4 or uint4, packed by order or reorder")  # fmt: skip
        form = self.checkpoint.entries.form(site.keys.get("weight_scale", ""))
        n = form[1][0] if form and len(form[1]) == 2 and form[1][0] and columns % form[1][0] == 0 else 1
        shape = self._required(site, "weight_scale", _FLOATS, (n, rows), *([(rows,)] if n == 1 else []))
        grid = channels(0) if n == 1 and site.said.weight.group != columns else groups(columns // n)
        element = integer(4) if said == "int4" else unsigned(4)
        more = []
        if "weight_zero_point" in site.keys:
            self._required(site, "weight_zero_point", ("int32",), (n, words), *([(words,)] if len(shape) == 1 else []))
            element = replace(element, offset=None)
            how = "eight a word, reordered" if self._settings.reordered else "eight a word"
            more.append(
                self._record(site, "weight_zero_point", element, grid, quantity=Quantity.ZERO_POINT, packed=how)
            )
        elif said == "uint4":
            raise self._wrong(site, "has no zero points beside unsigned codes", f"{site.name}.weight_zero_point")
        order = KERNEL_ORDER if self._settings.reordered else IN_ORDER
        kind = partial(Words, order=order, stripes=self._stripes)
        return self._made(
            site, kind, (rows, columns), [self._record(site, "weight_scale", element, grid), *more], PER_WORD
        )

    def _record(self, site: _Site, last: str, element: Element, grid: Grid, **more: object) -> ScaleRecord:
        end = "#zero_point" if last == "weight_zero_point" else ""
        return record_of(
            self.checkpoint, f"{site.role}{end}", site.keys[last], Kind.WEIGHT, f"weight {site.keys['weight']}",
            element, grid, **more,
        )  # fmt: skip

    def _made(
        self,
        site: _Site,
        kind: Callable[..., QuarkWeight],
        shape: tuple[int, int],
        records: list[ScaleRecord],
        step: int = 1,
    ) -> QuarkWeight:
        key, scale = site.keys["weight"], records[0]
        weight = QuantizedWeight(
            key, site.role, key, shape, scale.element, tuple(r.role for r in records), scale.grid, row_step=step
        )
        return kind(self.checkpoint, weight, (*records, *self._points(site)))

    # --- activations ---

    def _points(self, site: _Site) -> Iterator[ScaleRecord]:
        """The scales of inputs, outputs and of what attention keeps."""
        base = site.role.removesuffix(".weight")
        above, _, last = base.rpartition(".")
        if "input_scale" in site.keys:
            yield from self._point(site, "input", f"{base}:input", f"input of {site.name}", site.said.inputs.element)
        if "output_scale" in site.keys and last in _ATTENTION:
            of = {"k_proj": "keys", "v_proj": "values", "q_proj": "queries"}[last]
            element = self._settings.cache_of(site.name).element
            where = site.name.rpartition(".")[0]
            yield from self._point(site, "output", f"{above}:{_ATTENTION[last]}", f"{of} of {where}", element)
        elif "output_scale" in site.keys:
            yield from self._point(
                site, "output", f"{base}:output", f"output of {site.name}", site.said.outputs.element
            )

    def _point(self, site: _Site, part: str, role: str, of: str, element: Element) -> Iterator[ScaleRecord]:
        forms = {
            end: self.checkpoint.entries.form(site.keys.get(f"{part}_{end}", "")) for end in ("scale", "zero_point")
        }
        if element.kind is ElementKind.INTEGER and forms["zero_point"] is not None:
            element = replace(element, offset=None)
        for end, quantity in (("scale", Quantity.SCALE), ("zero_point", Quantity.ZERO_POINT)):
            form = forms[end]
            if form is not None and form[0].name in (*_FLOATS, *_INTEGERS):
                grid = PER_TENSOR if all(n == 1 for n in form[1]) else Grid(n_dims=len(form[1]))
                yield record_of(
                    self.checkpoint, f"{role}#zero_point" if end == "zero_point" else role, site.keys[f"{part}_{end}"],
                    Kind.ACTIVATION, of, element, grid, quantity=quantity,
                    called="of a type that is not said" if element is UNKNOWN else "",
                )  # fmt: skip

    # --- what is to be told ---

    def _seen(self, site: _Site, made: QuarkWeight) -> None:
        weight, spec = made.weight, site.said.weight
        self._kinds[weight.stored_as] += 1
        if self._settings.leaves_out(site.name):
            self._differing.append((site.name, "left out", weight.scheme))
        elif spec.dtype and (spec.element.bits, spec.element.kind) != (weight.bits, weight.element.kind):
            self._differing.append((site.name, visible(spec.dtype, 40), weight.scheme))
        elif spec.group and weight.grid.group_size not in (None, spec.group):
            self._differing.append((site.name, f"groups of {spec.group}", weight.scheme))
        if site.said.inputs.is_dynamic and "input_scale" not in site.keys:
            base = site.role.removesuffix(".weight")
            inputs = site.said.inputs
            self._dynamic.append(DynamicPoint(f"{base}:input", f"input of {base}", inputs.element, inputs.grid))

    def absent_scales(self) -> tuple[str, ...]:
        there = {r.role for r in self.scales()}
        wanted = (
            f"{w.role.removesuffix('.weight')}:input" for w in self.weights()
            if (inputs := self._settings.of(w.name.removesuffix(".weight")).inputs).dtype and not inputs.is_dynamic
        )  # fmt: skip
        return tuple(role for role in wanted if role not in there)

    def notes(self) -> tuple[str, ...]:
        return (
            *super().notes(),
            *differing_said(self._settings.declared.where, self._differing),
            *self._classes_said(),
        )

    def _classes_said(self) -> Iterator[str]:
        if self._settings.by_class:
            yield (
                f"{self._settings.declared.where} says something of classes (layer_type_quant_config), of which no "
                "file tells which modules they are: modules are read as what is said of all"
            )


def _are_codes(form: Form) -> bool:
    return form[0].name in (*FLOAT8, *_INTEGERS) and len(form[1]) > 1
