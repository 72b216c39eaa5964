"""FP8 weights with a scale for each block, row or tensor, as transformers, DeepSeek and those who follow write them.

`weight` is FP8 and `weight_scale_inv` its scale, which multiplies, whatever its name says; DeepSeek-V4 calls it `scale`
and has experts of FP4. GPTQModel writes the same names with true reciprocals and says so in its settings. Libraries
with formats of their own (compressed-tensors, ModelOpt) are other families. docs/formats.md has the layouts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.formats.element import FLOAT8, small_float
from qinspect.inspector.formats.families.fp8 import activations
from qinspect.inspector.formats.families.fp8.blocks import common_block
from qinspect.inspector.formats.families.fp8.experts import SCALE, experts_of
from qinspect.inspector.formats.families.fp8.linear import FP4, PAIRS, Fp8Weight, weight_of
from qinspect.inspector.formats.families.fp8.settings import METHODS, LeftOut, settings_of
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, channels, groups, tiles
from qinspect.inspector.formats.modular import ModularFormat, Part, by_module
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.records import DynamicPoint, Problem, QuantizedWeight
from qinspect.inspector.formats.said import Contradiction, ModuleNames, NamedModules, contradictions_of
from qinspect.inspector.text import some, visible

_SCALES = ("weight_scale_inv", "weight_scale", "scale", "qscale_weight")
_SURE = ("weight", "weight_scale", "qscale_weight")
_OTHERS = ("hf_quant_config.json",)
"""Settings of another family."""
_CALLED = {"float8_e4m3fn": "FP8 E4M3", "float8_e5m2": "FP8 E5M2", FP4.name: "FP4"}


class Fp8Format(ModularFormat):
    """One checkpoint. Raises CannotDequantize where its settings give scales a meaning that is not known."""

    family = "fp8"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._declared = declared(checkpoint)
        self._settings = settings_of(self._declared)
        self._stacks: set[str] = set()
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        said = declared(checkpoint)
        if (said.method and said.method not in METHODS) or any(name in checkpoint.config for name in _OTHERS):
            return None
        sure = bool(said.method)
        ends = (SCALE, "scale", *(_SURE if sure else ()))
        names = checkpoint.entries.ending(*ends) if sure or _may_speak(checkpoint) else []
        found = next((name for name in names if _speaks(checkpoint, name, sure)), None)
        if found is None:
            return None
        return f"{said.where} says {said.method}" if said.method else f"{found} scales codes of FP8 or FP4"

    @property
    def description(self) -> str:
        weights = self.weights()
        kinds = Counter((w.element.name, _grid_said(w.grid)) for w in weights)
        told = [f"{_CALLED.get(name, name)} {grid}" for (name, grid), _ in kinds.most_common(3)]
        how = {"dynamic": ["dynamic activations"], "static": ["static activations"]}.get(self._settings.activation, [])
        cached = ["FP8 cache"] if any(":k" in r.role for r in self.scales()) else []
        inverted = ["reciprocal scales"] if self._settings.inverted else []
        return ", ".join([*told, *inverted, *how, *cached])

    def _find(self) -> Iterator[Part]:
        if self._settings.unknown:
            raise CannotDequantize(
                "is a meaning of scales that is not known", file=self.checkpoint.path, key="weight_scale_semantics",
                expected="inverse, or no such setting", found=self._settings.unknown,
            )  # fmt: skip
        modules = by_module(self.checkpoint.entries)
        if self._settings.block is None:
            self._settings = replace(self._settings, block=common_block(self._shapes(modules)))
        lasts = {last for keys in modules.values() for last in keys}
        self._stacks = {last for last in lasts if last.endswith(SCALE) and last != f"weight{SCALE}"}
        for module in sorted(modules, key=forward_key):
            yield from self._of_module(module, modules[module])
        yield from self._left()

    def _left(self) -> Iterator[Problem]:
        """Stacks of float8 whose scales, if they have any, are not known."""
        entries = self.checkpoint.entries
        for name, form in zip(entries, entries.tensor_forms(), strict=True):
            if form is None or len(form[1]) < 3 or form[0].name not in FLOAT8 or f"{name}{SCALE}" in entries:
                continue
            error = CannotDequantize(
                "has no scales that are known", file=self.checkpoint.path, key=name, expected=f"{name}{SCALE}",
                found=f"{name}_scale" if f"{name}_scale" in entries else "nothing",
            )  # fmt: skip
            yield Problem(name, error)

    def _shapes(self, modules: dict[str, dict[str, str]]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Shapes of FP8 weights and of their scales, where both are matrices."""
        for keys in modules.values():
            for last, codes in [(s, keys.get("weight", "")) for s in _SCALES if s in keys]:
                weight, scale = self.checkpoint.tensor(codes), self.checkpoint.tensor(keys[last])
                if weight is not None and scale is not None and weight.dtype.name in FLOAT8:
                    match weight.shape, scale.shape:
                        case (int(), int()), (int(), int()):
                            yield weight.shape, scale.shape  # type: ignore[misc]  # two sizes each

    def _of_module(self, module: str, keys: dict[str, str]) -> Iterator[Part]:
        scale = next((s for s in _SCALES if s in keys), "")
        if "weight" in keys and (scale or self._is_fp8(keys["weight"])) and not self._is_norm(keys, scale):
            yield self._or_problem(keys["weight"], lambda: self._weight(module, keys, scale or _SCALES[0]))
        if not self._stacks.isdisjoint(keys):
            for last in [k.removesuffix(SCALE) for k in keys if k in self._stacks]:
                if last in keys:
                    yield from self._experts(module, last, keys[last])
        if not activations.ALL.isdisjoint(keys):
            yield from activations.inputs(self.checkpoint, self._role(module, keys), keys)

    def _weight(self, module: str, keys: dict[str, str], scale: str) -> Fp8Weight:
        name = keys["weight"]
        key = keys.get(scale) or (f"{module}.{scale}" if module else scale)
        return weight_of(self.checkpoint, name, key, self._settings, name, self.role_of(name))

    def _experts(self, module: str, last: str, key: str) -> Iterator[Part]:
        tensor = self.checkpoint.tensor(key)
        try:
            if tensor is not None and len(tensor.shape) == 2:
                yield weight_of(self.checkpoint, key, key + SCALE, self._settings, key, self.role_of(key))
            elif tensor is not None and len(tensor.shape) == 3:
                role = self.role_of(key).removesuffix(f".{last}")
                yield from list(experts_of(self.checkpoint, module, role, last, self._settings))
        except CannotDequantize as e:
            yield Problem(e.key or key, e)

    def _role(self, module: str, keys: dict[str, str]) -> str:
        name = next(iter(keys.values()))
        return self.role_of(name)[: -len(name) + len(module)].removesuffix(".")

    def _is_fp8(self, key: str) -> bool:
        tensor = self.checkpoint.tensor(key)
        return tensor is not None and tensor.dtype.name in FLOAT8 and len(tensor.shape) == 2

    def _is_norm(self, keys: dict[str, str], scale: str) -> bool:
        """Whether `scale` and `weight` are those of a module that is not quantized: only codes make it a scale."""
        return scale == "scale" and not _may_be_codes(self.checkpoint, keys["weight"])

    @property
    def declared_bits(self) -> tuple[float, ...]:
        if not self._declared:
            return ()
        return (4.0, 8.0) if self._declared.text("expert_dtype") == "fp4" else (8.0,)

    def named_modules(self) -> tuple[NamedModules, ...]:
        names, where = ModuleNames(self.checkpoint.entries), self._declared.where
        return tuple(
            NamedModules(entry, f"{key} of {where}", True, LeftOut.named(entry, names))
            for key, entry in self._left_out.entries
        )

    def says_quantized(self, module: str) -> bool | None:
        return module not in self._left_out if self._declared else None

    @cached_property
    def _left_out(self) -> LeftOut:
        return LeftOut(self._declared)

    def contradictions(self) -> tuple[Contradiction, ...]:
        block, others = settings_of(self._declared).block, self._of_other_blocks
        if block is None or not others:
            return ()
        said = f"blocks of {block[0]}x{block[1]}"
        differing = ((w.name.removesuffix(".weight"), said, _grid_said(w.grid)) for w in others)
        return contradictions_of(self._declared.where, differing)

    @property
    def _of_other_blocks(self) -> list[QuantizedWeight]:
        """Weights whose scales are of other blocks than the settings say. One number is that of one block."""
        block = settings_of(self._declared).block
        return [] if block is None else [w for w in self.weights() if w.element is not FP4 and _is_other(w, block)]

    def dynamic(self) -> tuple[DynamicPoint, ...]:
        if self._settings.activation != "dynamic":
            return ()
        block = self._settings.block
        if block is None and not self._settings.per_token:
            return ()  # a number for the tensor or one a token: each engine has its own way
        grid = groups(block[1]) if block else channels(0)
        element = small_float("float8_e4m3fn")
        modules = dict.fromkeys(w.role.removesuffix(".weight") for w in self.weights())
        return tuple(DynamicPoint(f"{m}:input", f"the input of {m}", element, grid) for m in modules)

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *self._blocks_said(), *self._unsaid())

    def _blocks_said(self) -> Iterator[str]:
        block, others = settings_of(self._declared).block, self._of_other_blocks
        if block is not None and others:
            first = others[0]
            yield (
                f"{self._declared.where} says blocks of {block[0]}x{block[1]}, the scale of {visible(first.name, 120)} "
                f"makes it {_grid_said(first.grid)}: the scale is believed ({some(len(others), 'weight')})"
            )

    def _unsaid(self) -> Iterator[str]:
        if not self._settings.settled:
            yield (
                "no setting says how scales are applied: they multiply, as transformers and DeepSeek have them, and "
                "blocks are read off the shapes"
            )


def _is_other(weight: QuantizedWeight, block: tuple[int, int]) -> bool:
    if weight.grid == PER_TENSOR:
        return any(n > size for n, size in zip(weight.shape, block, strict=True))
    return weight.grid != tiles(*block)


def _grid_said(grid: Grid) -> str:
    if grid.group_size:
        return f"groups of {grid.group_size}"
    if len(grid.block) > 1:
        return f"blocks of {grid.block[0]}x{grid.block[1]}"
    return "per channel" if grid.axes else "per tensor"


def _may_be_codes(checkpoint: Checkpoint, key: str) -> bool:
    tensor = checkpoint.tensor(key)
    return tensor is not None and tensor.dtype.name in (*FLOAT8, *PAIRS) and len(tensor.shape) == 2


def _may_speak(checkpoint: Checkpoint) -> bool:
    """Whether a name is one of those that tell without settings."""
    return any(last == "scale" or last.endswith(SCALE) for last in checkpoint.entries.lasts)


def _speaks(checkpoint: Checkpoint, name: str, sure: bool) -> bool:
    """Whether `name` is the scale of FP8 or FP4 codes by the names and types of both. sure: settings say that the
    checkpoint is FP8, so that codes alone are enough, and scales that other families have too."""
    last = name[name.rfind(".") + 1 :]
    if name.endswith(SCALE):
        codes = checkpoint.tensor(name.removesuffix(SCALE))
        return codes is not None and codes.dtype.name in FLOAT8
    if last == "scale" or (sure and last in _SCALES):
        stored = checkpoint.tensor(name)
        beside = _may_be_codes(checkpoint, f"{name.removesuffix(last)}weight")
        exponents = stored is not None and stored.dtype.name == "float8_e8m0fnu" and len(stored.shape) == 2
        return beside and (sure or exponents)
    codes = checkpoint.tensor(name) if sure and last == "weight" else None
    return codes is not None and codes.dtype.name in FLOAT8
