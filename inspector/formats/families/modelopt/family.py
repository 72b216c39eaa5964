"""The format: recognised by its configuration or, without one, by names and shapes that no other library has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.contract import Topic
from qinspect.inspector.formats.families.modelopt.building import NOT_QUANTIZED, Builder
from qinspect.inspector.formats.families.modelopt.cache import cache_records, is_cache_scale
from qinspect.inspector.formats.families.modelopt.declared import HF_CONFIG, declared_of, names_another, unmatched
from qinspect.inspector.formats.families.modelopt.layouts import ALGORITHMS, FP8, Layout
from qinspect.inspector.formats.families.modelopt.modules import Matrix
from qinspect.inspector.formats.families.modelopt.named import named_modules
from qinspect.inspector.formats.families.modelopt.names import Names, names_in
from qinspect.inspector.formats.families.modelopt.records import of_input
from qinspect.inspector.formats.families.modelopt.signature import marked_by_another, signature
from qinspect.inspector.formats.grid import cells, groups
from qinspect.inspector.formats.modular import ModularFormat, Part, by_module
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.records import DynamicPoint, Kind, ScaleRecord
from qinspect.inspector.formats.said import Contradiction, ModuleNames, NamedModules
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import some, visible

_MAX_DESCRIBED = 3
_ACTIVATION_BITS = {"float8_e4m3fn": 8, "int8": 8, "float4_e2m1fn": 4}


class ModelOptFormat(ModularFormat):
    """One checkpoint of ModelOpt. Raises CannotDequantize where nothing of it is understood."""

    family = "modelopt"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._declared = declared_of(checkpoint.config)
        self._matrices: list[Matrix] = []
        super().__init__(checkpoint)
        if not self.scales():
            says = self._declared.where if self._declared else "its signature"
            raise CannotDequantize(
                "no tensor is quantized", file=checkpoint.path, expected=f"weights with scales, as {says} says",
                found="none",
            )  # fmt: skip

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        if marked_by_another(checkpoint):
            return None
        declared = declared_of(checkpoint.config)
        if declared is not None:
            return f"{declared.where} names it"
        return None if names_another(checkpoint.config) else signature(checkpoint)

    def _find(self) -> Iterator[Part]:
        checkpoint, declared = self.checkpoint, self._declared
        self._builder = Builder(checkpoint, declared, self.role_of)
        entries = checkpoint.entries
        dtypes = {n: f[0].name for n, f in zip(entries, entries.tensor_forms(), strict=True) if f is not None}
        modules = by_module(dtypes)
        for module in sorted(modules, key=forward_key):
            inside = modules[module]
            names = sorted(names_in(module, inside, dtypes.get(inside.get("weight", ""))), key=_place)
            for its in names:
                for part in self._builder.parts(its):
                    if isinstance(part, Matrix):
                        self._matrices.append(part)
                    yield part
            alone = None if names or "input_scale" not in inside else checkpoint.tensor(inside["input_scale"])
            if alone is not None and alone.dtype.is_float:
                yield of_input(alone, f"{self.role_of(module)}:input", module)
            if any(map(is_cache_scale, inside)):
                yield from cache_records(checkpoint, module, inside, declared.cache if declared else "", self.role_of)

    @property
    def description(self) -> str:
        kinds = list(dict.fromkeys(m.stored.layout for m in self._matrices))
        most = sorted(kinds, key=lambda k: -sum(m.stored.layout is k for m in self._matrices))
        told = [
            *map(self._described, most[:_MAX_DESCRIBED]),
            *([f"{n} more"] if (n := len(most) - _MAX_DESCRIBED) > 0 else []),
        ]
        what = " and ".join(filter(None, (", ".join(told[:-1]), *told[-1:]))) or "scales without weights"
        declared = self._declared
        cache = f", KV {declared.cache}" if declared and declared.cache else ""
        library = f", ModelOpt {visible(declared.version, 40)}".rstrip() if declared else ""
        return f"{what}{cache}{library}"

    @property
    def declared_bits(self) -> tuple[float, ...]:
        declared = self._declared
        said = [*declared.layers.values(), *filter(None, [declared.algorithm])] if declared else []
        return tuple(sorted({float(layout.bits) for one in said for layout in ALGORITHMS.get(one.name, ())}))

    @property
    def declared_cache(self) -> str:
        return self._declared.cache if self._declared else ""

    def says(self, topic: Topic, roles: Sequence[str] = ()) -> str:
        if topic is Topic.CACHE and self.declared_cache:
            return "ModelOpt stores none for a cache that it casts without a calibration (fp8_cast), and means that"
        return ""

    def named_modules(self) -> tuple[NamedModules, ...]:
        return named_modules(self.checkpoint.config, ModuleNames(self.checkpoint.entries)) if self._declared else ()

    def says_quantized(self, module: str) -> bool | None:
        declared, role = self._declared, strip_root(module)
        if declared is None:
            return None
        if declared.leaves_out(role):
            return False
        return declared.of(role) is not None if declared.mixed else True if declared.algorithm else None

    def contradictions(self) -> tuple[Contradiction, ...]:
        if self._declared is None:
            return ()
        where, found = self._declared.where, self._builder.contradictions.items()
        of_modules = [Contradiction(where, *both, tuple(paths)) for both, paths in found if both[0] != NOT_QUANTIZED]
        if self._declared.disagree:
            here, there = self._declared.disagree
            of_modules.append(Contradiction(where, here, f"{there} in {HF_CONFIG}", ()))
        return tuple(of_modules)

    def _described(self, layout: Layout) -> str:
        """`NVFP4 W4A4`: how weights of a layout are stored, and what goes into them."""
        own = [m for m in self._matrices if m.stored.layout is layout]
        inputs = {r.element for m in own for r in m.records if r.kind is Kind.ACTIVATION}
        name = self._algorithm(own[0])
        recipe = " SVDQuant" if own[0].stored.low_rank else " AWQ" if "AWQ" in name and layout is Layout.NVFP4 else ""
        bits = {_ACTIVATION_BITS[e.name] for e in inputs if e.name in _ACTIVATION_BITS} or _BITS_SAID.get(name, set())
        activations = "/".join(f"W{layout.bits}A{n}" for n in sorted(bits))
        return f"{layout}{recipe}{f' {activations}' if activations else ''}"

    def _algorithm(self, matrix: Matrix) -> str:
        """What the configuration says of its module; "" where it says nothing."""
        said = self._declared.of(self._builder.path_of[matrix.weight.role]) if self._declared else None
        return said.name if said else ""

    def dynamic(self) -> tuple[DynamicPoint, ...]:
        """Of the algorithms whose name, or whose loaders, say how activations are quantized as they come."""
        found = {}
        for matrix in self._matrices:
            grid = _DYNAMIC.get(self._algorithm(matrix))
            if grid is not None and not any(r.kind is Kind.ACTIVATION for r in matrix.records):
                path = self._builder.path_of[matrix.weight.role]
                found[path] = DynamicPoint(f"{path}:input", f"input of {path}", FP8, grid)
        return tuple(found.values())

    def on_purpose(self, record: ScaleRecord, value: float) -> str:
        if record.kind is not Kind.ACTIVATION or value != 1:
            return ""
        cached = record.role.endswith(("k_cache", "v_cache"))
        amax = {("float4_e2m1fn", False): 2688, ("float8_e4m3fn", True): 448}.get((record.element.name, cached))
        return f"recipes of ModelOpt write 1 whatever the data are, a constant amax of {amax}" if amax else ""

    def notes(self) -> tuple[str, ...]:
        return (*self._said_of_names(), *self._said_of_factors(), *self._contradictions(), *super().notes())

    def _said_of_names(self) -> Iterator[str]:
        declared = self._declared
        if declared is None:
            yield (
                "there is no quantization_config: told by names and shapes alone, and read as ModelOpt writes them "
                "(FP4 codes from the low half of a byte)"
            )
        elif declared.broken:
            yield (
                f"{some(declared.broken, 'name')} in the configuration end{'s' * (declared.broken == 1)} in a NUL and "
                "a word, a mistake of ModelOpt's: read without, but a loader that goes by them finds no module"
            )

    def _said_of_factors(self) -> Iterator[str]:
        by_formula: dict[str, list[str]] = {}
        for matrix in self._matrices:
            if formula := _in_use(matrix):
                by_formula.setdefault(formula, []).append(matrix.weight.name)
        for formula, names in by_formula.items():
            one = len(names) == 1
            yield (
                f"{some(len(names), 'weight')} {'is' if one else 'are'} more than {'its' if one else 'their'} codes "
                f"stand for, {'' if one else 'first '}{visible(names[0], 120)}: in use is {formula}, and dequantized "
                "values are W"
            )
        folded = [m.weight for m in self._matrices if "AWQ" in self._algorithm(m) and not _in_use(m)]
        if folded:
            one = len(folded) == 1
            yield (
                f"AWQ may have multiplied columns of {some(len(folded), 'weight')} without a factor of "
                f"{'its' if one else 'their'} own, {'' if one else 'first '}{visible(folded[0].name, 120)}, and "
                "divided what stands before it: then a weight is not close to the original's"
            )

    def _contradictions(self) -> Iterator[str]:
        declared = self._declared
        if declared is None:
            return
        if declared.disagree:
            here, there = (visible(name, 60) for name in declared.disagree)
            yield f"config.json says {here}, {HF_CONFIG} says {there}: weights are read as their tensors are"
        for (says, found), paths in self._builder.contradictions.items():
            one = len(paths) == 1
            yield (
                f"{declared.where} says {visible(says, 60)} of {some(len(paths), 'module')} whose tensors are {found}, "
                f"{'' if one else 'first '}{visible(paths[0], 120)}: read as the tensors are"
            )
        paths = [self._builder.path_of[m.weight.role] for m in self._matrices]
        if absent := unmatched(declared, [*paths, *self._roles_of_problems()]):
            said = declared.layers[absent[0]].name
            yield (
                f"{declared.where} says that {some(len(absent), 'module')} {'is' if len(absent) == 1 else 'are'} "
                f"quantized in which nothing is, first {visible(absent[0], 120)} ({visible(said, 60)})"
            )

    def _roles_of_problems(self) -> Iterator[str]:
        return (self.role_of(p.key.rpartition(".")[0]) for p in self.problems())


def _place(names: Names) -> list[str]:
    return forward_key(names.parameter)


def _in_use(matrix: Matrix) -> str:
    """What a layer multiplies its input by, where that is more than W, which the codes stand for; else ""."""
    stored = matrix.stored
    factor = " * pre_quant_scale, a factor for each column" if stored.factor is not None else ""
    if stored.low_rank is not None:
        return f"(W + b @ a){factor}, with b and a of rank {stored.low_rank[0].shape[0]} stored beside it"
    return f"W{factor}" if factor else ""


_DYNAMIC = {"FP8_PER_CHANNEL_PER_TOKEN": cells("token"), "MXFP8": groups(32)}
_BITS_SAID = {"FP8_PER_CHANNEL_PER_TOKEN": {8}, "MXFP8": {8}, "W4A8_MXFP4_FP8": {8}, "W4A16_NVFP4": {16},
              "W4A16_AWQ": {16}, "W8A16": {16}, "FP8_PB_WO": {16}}  # fmt: skip
"""Of algorithms that store no scale of activations, the bits that their names say these have."""
