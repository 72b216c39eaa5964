"""BitNet b1.58 as transformers packs it: weights of -1, 0 and 1, four rows a byte, and one scale.

Others write the same entries, so config.json has to name it; it also says whether codes are multiplied by the scale or
divided. docs/formats.md has the layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.formats.element import Element, ElementKind, integer
from qinspect.inspector.formats.grid import PER_TENSOR, cells
from qinspect.inspector.formats.modular import ModularFormat, Part, QuantizedModule, by_module, record_of, required
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.records import CodeArray, DynamicPoint, FloatArray, Kind, QuantizedWeight
from qinspect.inspector.formats.row_runs import read_row_runs
from qinspect.inspector.formats.said import left_out_said
from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import visible

_METHOD = "bitnet"
_FLOATS = ("bfloat16", "float16", "float32")
_PER_BYTE = 4
_TERNARY = Element(ElementKind.INTEGER, "ternary", 2, 0, 2, 1)
_DIVIDES = {"bitlinear": True, "autobitlinear": False}
"""Whether codes are divided by the scale, by the class of linear layers that settings name."""
_USUAL = "bitlinear"


class BitNetWeight(QuantizedModule):
    """A weight [out, in]. Of a quarter of the rows each has a byte a column: two bits of the row itself, of that a
    quarter of all rows further on, and so on, the first in the low ones."""

    def __init__(self, checkpoint: Checkpoint, keys: Mapping[str, str], role: str, divided: bool) -> None:
        stored = checkpoint.tensor(keys["weight"])
        assert stored is not None  # it was looked at
        scale = record_of(
            checkpoint, role, keys["weight_scale"], Kind.WEIGHT, f"weight {keys['weight']}", _TERNARY, PER_TENSOR,
            inverted=divided,
        )  # fmt: skip
        shape = _PER_BYTE * stored.shape[0], stored.shape[1]
        super().__init__(
            checkpoint, QuantizedWeight(keys["weight"], role, stored.name, shape, _TERNARY, (role,)), (scale,)
        )

    def codes(self, start: int, stop: int) -> CodeArray:
        tensor = self.tensor(self.weight.codes_key)
        found = read_row_runs(tensor, 8 // _PER_BYTE, start, stop)
        if found.size and found.max() == 3:
            raise CannotDequantize(
                "holds a code that stands for no number", file=self.checkpoint.path, key=tensor.name,
                expected="0, 1 or 2 in each two bits", found=f"{int((found == 3).sum())} times 3",
            )  # fmt: skip
        return found

    def dequantize(self, start: int, stop: int) -> FloatArray:
        values = self.codes(start, stop).astype(np.float32) - np.float32(1)
        scale = self.tensor(self.records[0].key).read().astype(np.float32).reshape(())
        with np.errstate(all="ignore"):  # a scale in the file that is 0 or not finite is the file's
            found: NDArray[Any] = values / scale if self.records[0].inverted else values * scale
        return found


class BitNetFormat(ModularFormat):
    """One checkpoint."""

    family = "bitnet"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._declared = declared(checkpoint)
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        said, entries = declared(checkpoint), checkpoint.entries
        if said.method != _METHOD:
            return None
        for name in entries.ending("weight_scale"):
            form = entries.form(name.removesuffix("_scale"))
            if form and form[0].name == "uint8" and len(form[1]) == 2:
                return f"{said.where} says {_METHOD}"
        return None

    @property
    def _class(self) -> str:
        return self._declared.text("linear_class") or _USUAL

    @property
    def description(self) -> str:
        return f"BitNet b1.58 W1.58A8, {visible(self._class, 20)}"

    @property
    def declared_bits(self) -> tuple[float, ...]:
        return (float(_TERNARY.bits),)

    def dynamic(self) -> tuple[DynamicPoint, ...]:
        return tuple(
            DynamicPoint(f"{base}:input", f"input of {base}", integer(8), cells("token"))
            for base in (w.role.removesuffix(".weight") for w in self.weights())
        )

    def _find(self) -> Iterator[Part]:
        entries = self.checkpoint.entries
        modules = by_module(entries)
        for module in sorted(modules, key=forward_key):
            keys = modules[module]
            form = entries.form(keys.get("weight", ""))
            if form is not None and form[0].name == "uint8":
                yield self._or_problem(keys["weight"], lambda m=module, k=keys, s=form[1]: self._weight(m, k, s))  # type: ignore[misc]

    def _weight(self, module: str, keys: Mapping[str, str], shape: tuple[int, ...]) -> BitNetWeight:
        """Raises CannotDequantize where the entries of a module do not fit each other."""
        if len(shape) != 2 or 0 in shape:
            raise CannotDequantize(
                "cannot be codes of four rows a byte", file=self.checkpoint.path, key=keys["weight"],
                expected="uint8 [out / 4, in]", found=f"uint8 {list(shape)}",
            )  # fmt: skip
        scale = keys.get("weight_scale") or f"{module}.weight_scale".lstrip(".")
        required(self.checkpoint, scale, _FLOATS, [(1,), (), (1, 1)], f"codes of shape {list(shape)}")
        if self._class not in _DIVIDES:
            raise CannotDequantize(
                "is of a linear layer that is not known: codes may be divided by the scale", file=self.checkpoint.path,
                key=keys["weight"], expected=" or ".join(_DIVIDES),
                found=f"linear_class {self._class} in {self._declared.where}",
            )  # fmt: skip
        return BitNetWeight(self.checkpoint, keys, self.role_of(keys["weight"]), _DIVIDES[self._class])

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *self._left_out_said())

    def _left_out_said(self) -> Iterator[str]:
        """Modules that the settings name as not converted: the tensors are believed."""
        found = self._declared.settings.get("modules_to_not_convert")
        names = {strip_root(n) for n in found if isinstance(n, str)} if isinstance(found, list) else set()
        bases = (w.role.removesuffix(".weight") for w in self.weights()) if names else ()
        left_out = [b for b in bases if b in names or any(b.startswith(f"{n}.") for n in names)]
        return left_out_said(self._declared.where, left_out, "BitNet's")
