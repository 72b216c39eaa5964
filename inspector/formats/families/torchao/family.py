"""The family: which weights of a checkpoint are of it, and what is odd about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.formats.element import FLOAT8, Element, integer, small_float
from qinspect.inspector.formats.families.torchao.building import MAX_EXPERTS, Site, module_of, with_zero_points
from qinspect.inspector.formats.families.torchao.described import Found, Said, is_here, weights_of
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, cells, groups
from qinspect.inspector.formats.modular import ModularFormat, Part, QuantizedModule
from qinspect.inspector.formats.records import DynamicPoint, Problem, Slice
from qinspect.inspector.formats.said import commonest
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import some, visible

_METHOD = "torchao"
_PER_TOKEN = {"int8_asym_per_token": with_zero_points(8), "int8_sym_per_token": integer(8)}


class TorchaoFormat(ModularFormat):
    """One checkpoint."""

    family = "torchao"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._kinds: Counter[str] = Counter()
        self._differing: list[tuple[str, str, str]] = []
        self._dynamic: list[DynamicPoint] = []
        self._wrapped: list[str] = []
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        said = declared(checkpoint)
        if said.method not in ("", _METHOD):
            return None
        name = is_here(checkpoint)
        if not name:
            return None
        return f"{said.where} says {_METHOD}" if said.method else f"{name} holds the codes of a tensor class"

    @property
    def description(self) -> str:
        told = commonest(self._kinds)
        inputs = sorted({p.element.name for p in self._dynamic})
        return f"torchao {', '.join([*told, *(f'dynamic {name} inputs' for name in inputs)])}"

    def dynamic(self) -> tuple[DynamicPoint, ...]:
        return tuple(self._dynamic)

    def _find(self) -> Iterator[Part]:
        for found in weights_of(self.checkpoint, strip_root):
            try:
                yield from self._of(found)
            except CannotDequantize as e:
                yield Problem(e.key or found.codes_key, e)

    def _of(self, found: Found) -> list[Part]:
        """The weight, or those of the experts in it. Raises CannotDequantize."""
        role = f"{self.role_of(found.codes_key).removesuffix(found.tail)}{found.instead}"
        tensor = self.checkpoint.tensor(found.codes_key)
        if tensor is None:
            raise CannotDequantize(
                "is no tensor of codes", file=self.checkpoint.path, key=found.codes_key, expected="a matrix",
                found="a value",
            )  # fmt: skip
        shape = tensor.shape
        if len(shape) != 3:
            made = [module_of(Site(self.checkpoint, found, tensor, found.name, role))]
        elif shape[0] > MAX_EXPERTS:
            raise CannotDequantize(
                "is no stack of experts", file=self.checkpoint.path, key=found.codes_key,
                expected=f"at most {MAX_EXPERTS}", found=str(shape[0]),
            )  # fmt: skip
        else:
            made = [
                module_of(
                    Site(self.checkpoint, found, tensor, _of_expert(found.name, e), _of_expert(role, e), Slice((e,)))
                )
                for e in range(shape[0])
            ]
        for module in made:
            self._seen(module, found.said)
        return list(made)

    def _seen(self, module: QuantizedModule, said: Said) -> None:
        """Keep what is to be told of a weight."""
        weight = module.weight
        self._kinds[weight.stored_as] += 1
        block = said.block[-2:]
        stored = _block_of(weight.grid, weight.shape)
        if len(said.block) >= 2 and block != stored:
            told = ["one scale for " + "x".join(map(str, b)) for b in (block, stored)]
            self._differing.append((weight.name, *told))  # type: ignore[arg-type]
        if said.wrapped:
            self._wrapped.append(weight.name)
        elif not any(r.role.endswith(":input") for r in module.records):
            point = _point(said)
            if point is not None:
                base = weight.role.removesuffix(".weight")
                self._dynamic.append(DynamicPoint(f"{base}:input", f"input of {base}", *point))

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *self._said())

    def _said(self) -> Iterator[str]:
        if self._differing:
            name, said, stored = self._differing[0]
            yield (
                f"the metadata say of {visible(name, 120)}: {said}; its scales are {stored}: these are believed "
                f"({some(len(self._differing), 'weight')})"
            )
        if self._wrapped:
            yield (
                f"what goes into {some(len(self._wrapped), 'weight')} is quantized as it comes, by a function that the "
                f"file only names (first {visible(self._wrapped[0], 120)})"
            )


def _block_of(grid: Grid, shape: tuple[int, ...]) -> tuple[int, ...]:
    if not grid.axes:
        return shape
    return (1, shape[1]) if len(grid.axes) == 1 else grid.block


def _point(said: Said) -> tuple[Element, Grid] | None:
    """The element and the grid of inputs that are quantized as they come; None where they are not."""
    per_token = _PER_TOKEN.get(str(said.settings.get("activation_quantization")))
    if per_token is not None:
        return per_token, cells("token")
    found = said.settings.get("act_quant_kwargs")
    settings: Any = found.get("_data") if isinstance(found, dict) else None
    if not isinstance(settings, dict):
        return None
    inner = Said("", settings)
    size = settings.get("block_size")
    dtype = inner.name_of("elem_dtype") or inner.name_of("float8_dtype")
    granularity = settings.get("granularity")
    whole = isinstance(granularity, dict) and granularity.get("_type") == "PerTensor"
    grid = groups(size) if type(size) is int and size > 0 else PER_TENSOR if whole else cells("token")
    kind = str(found.get("_type")) if isinstance(found, dict) else ""
    if dtype in FLOAT8:
        return small_float(dtype), grid
    if "Int8" in kind:
        symmetric = inner.name_of("mapping_type") != "ASYMMETRIC"
        return (integer(8) if symmetric else with_zero_points(8)), grid
    if "NVFP4" in kind or dtype.startswith("float4"):
        return small_float("float4_e2m1fn"), grid
    return (small_float(FLOAT8[0]), grid) if "Float8" in kind else None


def _of_expert(name: str, expert: int) -> str:
    """`experts.3.gate_up_proj.weight` of `experts.gate_up_proj`."""
    above, dot, last = name.removesuffix(".weight").rpartition(".")
    return f"{above}{dot}{expert}.{last}.weight"
