"""AWQ: integer weights of 4 bits with a scale and a zero point for each group of input channels, in the layouts of the
kernels that read them: GEMM, GEMV, GEMV_FAST (which is llm-awq's), Marlin.

AutoAWQ, GPTQModel and llm-awq write them, and AutoRound writes the first. layouts.py has the layouts, linear.py says
which one a module has; docs/formats.md tells them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.formats.families.awq.linear import Fit, fit_of, layout_of, linear_of
from qinspect.inspector.formats.marlin_weight import marlin_weight
from qinspect.inspector.formats.modular import ModularFormat, Part, QuantizedModule, by_module
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.records import Problem
from qinspect.inspector.formats.said import Contradiction, ModuleNames, NamedModules, contradictions_of, strings
from qinspect.inspector.formats.stripes import Stripes
from qinspect.inspector.text import some, visible

_AUTO_ROUND = ("auto-round", "autoround", "intel/auto-round")
_MARLIN = "marlin"
_LEFT_OUT = "modules_to_not_convert"
_PARTS = ("qweight", "scales", "qzeros", "scaled_zeros")


class AwqFormat(ModularFormat):
    """One checkpoint."""

    family = "awq"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._declared = declared(checkpoint)
        self._size = self._declared.integer("group_size", "q_group_size")
        self._layouts: Counter[str] = Counter()
        self._forms: dict[str, Form | None] = {}
        self._stripes = Stripes()
        self._fits: dict[tuple[int, ...], Fit] = {}
        self._differing: list[tuple[str, int]] = []
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        said = declared(checkpoint)
        packing = said.text("packing_format", "backend")
        if (said.method and said.method not in ("awq", *_AUTO_ROUND)) or "gptq" in packing:
            return None
        for name in checkpoint.entries.ending("qweight"):
            if name == "qweight" or name.endswith(".qweight"):
                if said.method == "awq":
                    return f"{said.where} says awq"
                module = name.removesuffix("qweight")
                keys = {part: module + part for part in _PARTS if module + part in checkpoint}
                if (found := layout_of(checkpoint, keys)) is not None:
                    return f"{name} is packed as {found.layout} of AWQ has it"
        return None

    @property
    def description(self) -> str:
        weights = self.weights()
        sizes = [f"group {size}" for size, _ in Counter(w.grid.block[-1] for w in weights).most_common(3)]
        layouts = [layout for layout, _ in self._layouts.most_common()]
        written = self._declared.settings.get("autoround_version")
        quantizer = self._declared.mapping("meta").get("quantizer")
        first = quantizer[0] if isinstance(quantizer, list) and quantizer else quantizer
        writer = [visible(first.replace(":", " "), 40)] if isinstance(first, str) else []
        if self._declared.method in _AUTO_ROUND:
            writer = [f"auto-round {visible(written, 20)}" if isinstance(written, str) else "auto-round"]
        return ", ".join([f"AWQ {' and '.join(layouts)} W4", *sizes, *writer])

    @property
    def declared_bits(self) -> tuple[float, ...]:
        bits = self._declared.integer("bits", "w_bit")
        return (float(bits),) if bits is not None and 1 <= bits <= 8 else ()

    def _find(self) -> Iterator[Part]:
        entries = self.checkpoint.entries
        self._forms = dict(zip(entries, entries.tensor_forms(), strict=True))
        modules = {m: keys for m, keys in by_module(entries).items() if "qweight" in keys}
        for module in sorted(modules, key=forward_key):
            try:
                yield self._linear(module, modules[module])
            except CannotDequantize as e:
                yield Problem(e.key or modules[module]["qweight"], e)

    def _linear(self, module: str, keys: dict[str, str]) -> QuantizedModule:
        role = f"{self.role_of(keys['qweight']).removesuffix('qweight')}weight"
        made: QuantizedModule
        if self._says_marlin and "qzeros" not in keys:
            name, scales = (f"{module}.{last}" if module else last for last in ("weight", "scales"))
            made = marlin_weight(self.checkpoint, keys["qweight"], scales, name, role)
            self._layouts["Marlin"] += 1
        else:
            fit = self._fit(module, keys)
            made = linear_of(self.checkpoint, module, role, keys, self._forms, fit, self._stripes)
            self._layouts[fit.layout.layout] += 1
        stored, n_in = made.weight.grid.block[-1], made.weight.shape[1]
        if self._size is not None and stored != (n_in if self._size == -1 else self._size):
            self._differing.append((module, stored))
        return made

    def _fit(self, module: str, keys: dict[str, str]) -> Fit:
        """Found once for all modules whose tensors have the same forms."""
        forms = tuple(id(self._forms.get(keys.get(last, ""))) for last in _PARTS)
        fit = self._fits.get(forms)
        if fit is None:
            fit = self._fits[forms] = fit_of(self.checkpoint, module, keys, self._size)
        return fit

    @cached_property  # asked for each of 20,000 modules
    def _says_marlin(self) -> bool:
        return _MARLIN in (self._declared.text(key) for key in ("version", "checkpoint_format", "format"))

    def named_modules(self) -> tuple[NamedModules, ...]:
        names, where = ModuleNames(self.checkpoint.entries), f"{_LEFT_OUT} of {self._declared.where}"
        return tuple(NamedModules(entry, where, True, names.containing(entry)) for entry in self._left_out)

    def says_quantized(self, module: str) -> bool | None:
        return False if any(entry in module for entry in self._left_out) else None

    @cached_property
    def _left_out(self) -> list[str]:
        """Parts of names, as loaders take them."""
        return list(filter(None, strings(self._declared.settings.get(_LEFT_OUT))))

    def contradictions(self) -> tuple[Contradiction, ...]:
        said = f"group_size {self._size}"
        differing = ((module, said, f"groups of {stored}") for module, stored in self._differing)
        return contradictions_of(self._declared.where, differing)

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *self._differing_said())

    def _differing_said(self) -> Iterator[str]:
        if self._differing:
            module, stored = self._differing[0]
            yield (
                f"{self._declared.where} says group_size {self._size}, the tensors of {visible(module, 120)} are of "
                f"groups of {stored}: these are believed ({some(len(self._differing), 'module')})"
            )
