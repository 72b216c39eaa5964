"""The family: which of a checkpoint's modules are of it, in forward order, and what is odd about them."""

from __future__ import annotations

from collections.abc import Iterator

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.families.compressed_tensors import activations, keys
from qinspect.inspector.formats.families.compressed_tensors.declared import (
    Args,
    Dynamic,
    Group,
    declared_of,
    settings_of,
    speaks_for_another,
)
from qinspect.inspector.formats.families.compressed_tensors.described import described
from qinspect.inspector.formats.families.compressed_tensors.differences import Differences
from qinspect.inspector.formats.families.compressed_tensors.layout import Found, stored_shapes
from qinspect.inspector.formats.families.compressed_tensors.weights import Reader, is_codes
from qinspect.inspector.formats.modular import ModularFormat, Part, by_module
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.records import DynamicPoint, Problem, ScaleRecord
from qinspect.inspector.formats.said import Contradiction, ModuleNames, NamedModules

_ATTENTION = ("k_scale", "v_scale", "q_scale")
_OF_ACTIVATIONS = ("input_scale", "input_global_scale", "output_scale", "output_global_scale")
_UNCOMPRESSED = ("initialized", "calibration", "frozen", "decompressed")


class CompressedTensorsFormat(ModularFormat):
    """A checkpoint in the layouts of compressed-tensors."""

    family = "compressed-tensors"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._declared = declared_of(checkpoint)
        self._differences = Differences()
        self._dynamic: list[DynamicPoint] = []
        self._inputs: dict[str, Args | None] = {}
        self._absent: list[str] = []
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        settings = settings_of(checkpoint)
        if settings is not None:
            return f"{settings[0]} names it"
        return None if speaks_for_another(checkpoint) else keys.evidence(checkpoint)

    def _find(self) -> Iterator[Part]:
        modules = by_module(self.checkpoint.entries)
        marked = {m: names for m, names in modules.items() if keys.may_be_quantized(names)}
        shaped = (names["weight_shape"] for names in marked.values() if "weight_shape" in names)
        shapes = stored_shapes(self.checkpoint, shaped)
        reader = Reader(
            self._declared, self.role_of, shapes, self._differences.add, self._differences.of_usual_blocks.append
        )
        for module in sorted(marked, key=forward_key):
            yield from self._parts_of(Found(self.checkpoint, module, marked[module]), reader)
        self._look_at_plain(modules)

    def _parts_of(self, found: Found, reader: Reader) -> Iterator[Part]:
        names = found.names
        sparse = keys.sparse_entry(names)
        if sparse:
            yield Problem(found.key(sparse), _not_decoded(found, sparse))
            return
        if any(last in names for last in _ATTENTION):
            key = next(names[last] for last in _ATTENTION if last in names)
            yield from activations.of_attention(found, self.role_of(key).rpartition(".")[0], self._declared)
        if self._has_codes(found):
            key = found.key("weight_packed" if "weight_packed" in names else "weight_scale")
            try:
                yield from reader.read(found, self._of_linear)
            except CannotDequantize as e:
                yield Problem(e.key or key, e)
        elif "weight_scale" in names and "weight" not in names:
            yield Problem(found.key("weight_scale"), found.misfit("weight", "is missing beside its scale", "codes"))
        else:
            base = self.role_of(next(iter(names.values()))).rpartition(".")[0]
            group = self._group_of(found.module)
            yield from activations.of_unquantized(found, base, group.weights if group else None)
            yield from self._stored_inputs(found, base, group)

    def _has_codes(self, found: Found) -> bool:
        if "weight_packed" in found.names:
            return True
        weight = found.tensor("weight")
        if weight is not None and weight.dtype.name == "int32" and "weight_shape" in found.names:
            return True
        return is_codes(weight) and ("weight_scale" in found.names or self._group_of(found.module) is not None)

    def _group_of(self, module: str) -> Group | None:
        """The first group with weights that names a module which is not left out."""
        if self._declared.ignore.names_module(module):
            return None
        return next((g for g in self._declared.groups_of(module) if g.weights is not None), None)

    def _of_linear(self, found: Found, base: str, group: Group | None) -> Iterator[ScaleRecord]:
        """The stored scales of what goes into a quantized module; that others are made as it comes is remembered."""
        stored = list(self._stored_inputs(found, base, group))
        yield from stored
        if group is None or not group.known:
            return
        args = group.inputs
        self._inputs[f"{base}.weight"] = args
        if args is None or any(r.role.startswith(f"{base}:input") for r in stored):
            return
        if args.dynamic is Dynamic.ON_THE_FLY:
            self._dynamic.append(activations.dynamic_point(base, found.name, args))
        else:
            self._differences.without_scale.append(found.name)
            self._absent.append(f"{base}:input")

    def _stored_inputs(self, found: Found, base: str, group: Group | None) -> Iterator[ScaleRecord]:
        """The stored scales of what goes into a module, and of what comes out of it: in releases before 0.6 that of
        `k_proj` and `v_proj` is the KV cache."""
        if found.names.keys().isdisjoint(_OF_ACTIVATIONS):
            return
        attention, _, last = found.module.rpartition(".")
        cached = (
            last in ("k_proj", "v_proj")
            and self._declared.kv is not None
            and f"{attention}.{last[0]}_scale" not in self.checkpoint
        )
        yield from activations.of_input(found, base, group.inputs if group else None)
        if cached:
            yield from activations.of_old_cache(found, last[0], base.rpartition(".")[0], self._declared)
        else:
            yield from activations.of_output(found, base, group.outputs if group else None)

    def _look_at_plain(self, modules: dict[str, dict[str, str]]) -> None:
        """Modules that config.json quantizes and the file does not: those that a name or an expression of it means, and
        those called as others are that are quantized."""
        if not self._declared.groups or self._declared.status in _UNCOMPRESSED:
            return
        coded = {m for m, names in modules.items() if "weight_packed" in names or "weight_scale" in names}
        called = {m.rpartition(".")[2] for m in coded}
        for module, names in modules.items():
            if "weight" not in names or module in coded:
                continue
            group = self._group_of(module)
            if group is None or not (group.targets.names_module(module) or module.rpartition(".")[2] in called):
                continue
            weight = self.checkpoint.tensor(names["weight"])
            if weight is not None and len(weight.shape) == 2 and weight.dtype.is_float and not is_codes(weight):
                self._differences.add_plain(module, weight.dtype.name)

    def absent_scales(self) -> tuple[str, ...]:
        return tuple(self._absent)

    @property
    def description(self) -> str:
        by = self._declared.by or "compressed-tensors"
        return described(self._modules.values(), self._inputs, self._records, by)

    @property
    def declared_bits(self) -> tuple[float, ...]:
        widths = {g.weights.bits for g in self._declared.groups if g.weights is not None}
        return tuple(float(bits) for bits in sorted(filter(None, widths)))

    @property
    def declared_cache(self) -> str:
        kv = self._declared.kv
        if kv is None or kv.dynamic is not Dynamic.STORED or kv.bits is None:
            return ""
        return f"{'FP' if kv.kind == 'float' else 'INT'}{kv.bits}"

    def named_modules(self) -> tuple[NamedModules, ...]:
        return self._declared.named_modules(ModuleNames(self.checkpoint.entries))

    def says_quantized(self, module: str) -> bool | None:
        if self._declared.ignore.names_module(module):
            return False
        if not self._declared.groups or self._declared.status in _UNCOMPRESSED:
            return None
        groups = self._declared.groups_of(module)
        return True if any(g.weights is not None for g in groups) else None if groups else False

    def contradictions(self) -> tuple[Contradiction, ...]:
        return self._differences.contradictions(self._declared)

    @property
    def rotated(self) -> bool | None:
        """True where a transformation is named; that none is, says nothing of one that was merged into the weights."""
        return True if self._declared.rotated else None

    def dynamic(self) -> tuple[DynamicPoint, ...]:
        return tuple(self._dynamic)

    def notes(self) -> tuple[str, ...]:
        return (*self._differences.notes(self._declared), *super().notes())

    def taken(self) -> set[str]:
        """With the shapes of packed weights, which are no numbers of the model."""
        return super().taken() | {_beside(m.weight.codes_key, "weight_shape") for m in self._modules.values()}


def _beside(key: str, last: str) -> str:
    module = key.rpartition(".")[0]
    return f"{module}.{last}" if module else last


def _not_decoded(found: Found, key: str) -> CannotDequantize:
    layout = "sparse-bitmask" if "row_offsets" in found.names else "sparse-24-bitmask, with 2:4 sparsity"
    return CannotDequantize(
        f"is stored as {layout if key == 'compressed' else 'marlin-24, with 2:4 sparsity'}, which is not decoded",
        file=found.checkpoint.path, key=found.key(key),
        cure="Decompress it with the release of compressed-tensors that wrote it.",
    )  # fmt: skip
