"""AWQ: integer weights of 4 bits with a scale and a zero point for each group of input channels, in the layouts of the
kernels that read them: GEMM, GEMV, GEMV_FAST (which is llm-awq's), Marlin.

AutoAWQ, GPTQModel and llm-awq write them, and AutoRound writes the first. layouts.py has the layouts, linear.py says
which one a module has; docs/formats.md tells them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.formats.families.awq.layouts import AwqWeight
from qinspect.inspector.formats.families.awq.linear import layout_of, linear_of
from qinspect.inspector.formats.marlin_weight import marlin_weight
from qinspect.inspector.formats.modular import ModularFormat, Part, QuantizedModule, by_module
from qinspect.inspector.text import natural_key, some, visible

_AUTO_ROUND = ("auto-round", "autoround", "intel/auto-round")
_MARLIN = "marlin"
_PARTS = ("qweight", "scales", "qzeros", "scaled_zeros")


class AwqFormat(ModularFormat):
    """One checkpoint."""

    family = "awq"
    ordered_by = "the order of names"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._declared = declared(checkpoint)
        self._size = self._declared.integer("group_size", "q_group_size")
        self._layouts: Counter[str] = Counter()
        self._differing: list[tuple[str, int]] = []
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        said = declared(checkpoint)
        packing = said.text("packing_format", "backend")
        if (said.method and said.method not in ("awq", *_AUTO_ROUND)) or "gptq" in packing:
            return None
        for name in checkpoint.entries:
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

    def _find(self) -> Iterator[Part]:
        modules = {m: keys for m, keys in by_module(self.checkpoint.entries).items() if "qweight" in keys}
        for module in sorted(modules, key=natural_key):
            keys = modules[module]
            yield self._or_problem(keys["qweight"], lambda m=module, k=keys: self._linear(m, k))  # type: ignore[misc]

    def _linear(self, module: str, keys: dict[str, str]) -> QuantizedModule:
        role = f"{self.role_of(keys['qweight']).removesuffix('qweight')}weight"
        made: QuantizedModule
        if self._says_marlin and "qzeros" not in keys:
            name, scales = (f"{module}.{last}" if module else last for last in ("weight", "scales"))
            made = marlin_weight(self.checkpoint, keys["qweight"], scales, name, role)
            self._layouts["Marlin"] += 1
        else:
            made = linear_of(self.checkpoint, module, role, keys, self._size)
            assert isinstance(made, AwqWeight)
            self._layouts[made.layout] += 1
        stored, n_in = made.weight.grid.block[-1], made.weight.shape[1]
        if self._size is not None and stored != (n_in if self._size == -1 else self._size):
            self._differing.append((module, stored))
        return made

    @property
    def _says_marlin(self) -> bool:
        return _MARLIN in (self._declared.text(key) for key in ("version", "checkpoint_format", "format"))

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *self._differing_said())

    def _differing_said(self) -> Iterator[str]:
        if self._differing:
            module, stored = self._differing[0]
            yield (
                f"{self._declared.where} says group_size {self._size}, the tensors of {visible(module, 120)} are of "
                f"groups of {stored}: these are believed ({some(len(self._differing), 'module')})"
            )
