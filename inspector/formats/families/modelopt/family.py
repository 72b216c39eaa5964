"""The format: recognised by its configuration or, without one, by names and shapes that no other library has."""

from __future__ import annotations

from collections.abc import Iterator

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats.contract import (
    DynamicPoint,
    FloatArray,
    Kind,
    QuantizedWeight,
    ScaleRecord,
)
from qinspect.inspector.formats.element import UNKNOWN
from qinspect.inspector.formats.families.modelopt.building import Builder, input_record, unmatched
from qinspect.inspector.formats.families.modelopt.cache import cache_records, is_cache_scale
from qinspect.inspector.formats.families.modelopt.declared import Declared, declared_of, names_another
from qinspect.inspector.formats.families.modelopt.layouts import FP8, Layout
from qinspect.inspector.formats.families.modelopt.modules import Matrix
from qinspect.inspector.formats.families.modelopt.names import Names, names_in
from qinspect.inspector.formats.families.modelopt.signature import marked_by_another, signature
from qinspect.inspector.formats.grid import PER_TENSOR, cells, groups
from qinspect.inspector.formats.modular import ModularFormat, Part, by_module
from qinspect.inspector.text import natural_key, some, visible

_ACTIVATION_BITS = {"float8_e4m3fn": 8, "int8": 8, "float4_e2m1fn": 4}


class ModelOptFormat(ModularFormat):
    """One checkpoint of ModelOpt. Raises CannotDequantize where nothing of it is understood."""

    family = "modelopt"
    ordered_by = "the order of names"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._declared = declared_of(checkpoint.config)
        self._matrices: list[Matrix] = []
        super().__init__(checkpoint)

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
        for module in sorted(modules, key=natural_key):
            inside = modules[module]
            names = list(names_in(module, inside, {last: dtypes[name] for last, name in inside.items()}))
            for its in names:
                for part in self._builder.parts(its):
                    if isinstance(part, Matrix):
                        self._matrices.append(part)
                    yield part
            if "input_scale" in inside and not names:
                yield input_record(self._builder, Names(module), UNKNOWN, PER_TENSOR)
            if any(map(is_cache_scale, inside)):
                yield from cache_records(
                    checkpoint, module, inside, declared.cache if declared else "", self.role_of
                )

    @property
    def description(self) -> str:
        kinds = list(dict.fromkeys(m.stored.layout for m in self._matrices))
        most = sorted(kinds, key=lambda k: -sum(m.stored.layout is k for m in self._matrices))
        what = " and ".join(map(self._described, most)) or "scales without weights"
        declared = self._declared
        cache = f", KV {declared.cache}" if declared and declared.cache else ""
        library = f", ModelOpt {visible(declared.version, 40)}".rstrip() if declared else ""
        return f"{what}{cache}{library}"

    def _described(self, layout: Layout) -> str:
        """`NVFP4 W4A4`: how weights of a layout are stored, and what goes into them."""
        own = [m for m in self._matrices if m.stored.layout is layout]
        inputs = {r.element for m in own for r in m.records if r.kind is Kind.ACTIVATION}
        said = self._declared.of(self._builder.path_of[own[0].weight.role]) if self._declared else None
        name = said.name if said else ""
        recipe = " SVDQuant" if own[0].stored.low_rank else " AWQ" if "AWQ" in name and layout is Layout.NVFP4 else ""
        bits = {_ACTIVATION_BITS[e.name] for e in inputs if e.name in _ACTIVATION_BITS} or _BITS_SAID.get(name, set())
        activations = "/".join(f"W{layout.bits}A{n}" for n in sorted(bits))
        return f"{layout}{recipe}{f' {activations}' if activations else ''}"

    def dynamic(self) -> tuple[DynamicPoint, ...]:
        """Of the algorithms whose name, or whose loaders, say how activations are quantized as they come."""
        declared, found = self._declared, {}
        for matrix in self._matrices if declared else ():
            path = self._builder.path_of[matrix.weight.role]
            said = declared.of(path) if declared else None
            has_scale = any(r.kind is Kind.ACTIVATION for r in matrix.records)
            if said is not None and said.name in _DYNAMIC and not has_scale:
                role = f"{path}:input"
                found[role] = DynamicPoint(role, f"input of {path}", FP8, _DYNAMIC[said.name])
        return tuple(found.values())

    def notes(self) -> tuple[str, ...]:
        return (*self._said_of_names(), *self._said_of_factors(), *self._contradictions(), *super().notes())

    def _said_of_names(self) -> Iterator[str]:
        declared = self._declared
        if declared is None:
            yield (
                "there is no configuration: told by names and shapes alone, and read as ModelOpt writes them (FP4 codes "
                "from the low half of a byte)"
            )
        elif declared.broken:
            yield (
                f"{some(declared.broken, 'name')} in the configuration end{'s' * (declared.broken == 1)} in a NUL and a "
                "word, as ModelOpt wrote them by mistake: read without, but a loader that goes by them finds no module"
            )

    def _said_of_factors(self) -> Iterator[str]:
        for names, what, formula in (
            (self._builder.with_low_rank, "a low-rank part beside the codes", "codes + b @ a"),
            (self._builder.with_factor, "a factor for each input channel (pre_quant_scale)", "columns times the factor"),
        ):
            if names:
                has, their = ("has", "its") if len(names) == 1 else ("have", "their")
                yield (
                    f"{some(len(names), 'weight')} {has} {what}, first {visible(names[0], 120)}: dequantized values are "
                    f"those of {their} codes alone; the weight in use is {formula}"
                )

    def _contradictions(self) -> Iterator[str]:
        declared = self._declared
        if declared is None:
            return
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
                f"{declared.where} says that {some(len(absent), 'module')} {'is' if len(absent) == 1 else 'are'} quantized "
                f"in which nothing is, first {visible(absent[0], 120)} ({visible(said, 60)})"
            )

    def _roles_of_problems(self) -> Iterator[str]:
        return (self.role_of(p.key.rpartition(".")[0]) for p in self.problems())


_DYNAMIC = {"FP8_PER_CHANNEL_PER_TOKEN": cells("token"), "MXFP8": groups(32)}
_BITS_SAID = {"FP8_PER_CHANNEL_PER_TOKEN": {8}, "MXFP8": {8}, "W4A8_MXFP4_FP8": {8}, "W4A16_NVFP4": {16},
              "W4A16_AWQ": {16}, "W8A16": {16}, "FP8_PB_WO": {16}}  # fmt: skip
"""Of algorithms that store no scale of activations, the bits that their names say these have."""
