"""ggml's blocks in safetensors, as GPTQModel writes them: one type for all modules, named in the settings alone.

`M.qweight` is uint8 [out, bytes of a row]; rows are filled up to whole blocks. How wide they are without that follows
from the modules beside them: what goes into q_proj is as wide as what comes out of o_proj.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.dtypes import BLOCKS
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.families.gguf.block_types import BLOCK_TYPES, Array, BlockType
from qinspect.inspector.formats.families.gguf.modules import Beside, BlockModule
from qinspect.inspector.formats.grid import groups
from qinspect.inspector.formats.modular import ModularFormat, Part, by_module
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.records import QuantizedWeight
from qinspect.inspector.text import brief, dims, some, visible

_SIDE_FILES = ("quantization_config", "quantize_config.json")
_WRITTEN = ("q4_0", "q8_0", "q4_k", "q5_k", "q6_k")
_AS_WIDE = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj", "qkv_proj"), ("o_proj",)),
    "o_proj": ("q_proj",),
    **dict.fromkeys(("gate_proj", "up_proj", "gate_up_proj"), ("down_proj",)),
    "down_proj": ("up_proj", "gate_proj"),
    **dict.fromkeys(("w1", "w3"), ("w2",)),
    "w2": ("w3", "w1"),
}
"""Modules whose rows say how wide those of another are."""
_FORMAT = re.compile(r"q(?P<bits>\d)?_(?P<kind>k|0)(_[sml])?")


class GgufInSafetensors(ModularFormat):
    """A model of GPTQModel's method `gguf`."""

    family = "gguf-safetensors"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._settings = _settings(checkpoint) or {}
        self._filled: list[str] = []
        self._of_another_type: list[str] = []
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        if checkpoint.kind == "GGUF" or _settings(checkpoint) is None:
            return None
        return "its settings name the method gguf"

    def _find(self) -> Iterator[Part]:
        modules = by_module(self.checkpoint.entries)
        for module in sorted(modules, key=forward_key):
            inside = modules[module]
            if "qweight" in inside:
                key = inside["qweight"]
                yield self._or_problem(key, partial(self._module, module, key, modules))

    def _module(self, module: str, key: str, modules: Mapping[str, Mapping[str, str]]) -> Part:
        tensor = self.checkpoint.tensor(key)
        if tensor is None or tensor.dtype.name != "uint8" or len(tensor.shape) != 2 or tensor.strides is not None:
            raise CannotDequantize(
                "does not fit ggml's blocks", file=self.checkpoint.path, key=key,
                expected="uint8 [out, bytes of a row]",
                found="no tensor" if tensor is None else f"{tensor.dtype.name} {dims(tensor.shape)}",
            )  # fmt: skip
        n_bytes = tensor.shape[1]
        width = self._width(module, modules)
        name = self._type_of(key, n_bytes, width)
        dtype, kind = BLOCKS[name], BLOCK_TYPES[name]
        stored = n_bytes // dtype.block_bytes * dtype.block
        if width is None or -(-width // dtype.block) * dtype.block != stored:
            self._filled.append(key)
            width = stored
        role = self.role_of(f"{module}.weight")
        roles = (role, f"{role}#minimum") if kind.minima is not None else (role,)
        weight = QuantizedWeight(
            f"{module}.weight", role, key, (tensor.shape[0], width), kind.element, roles, groups(kind.group),
            called=name.upper(),
        )  # fmt: skip
        return _InBytes(self.checkpoint, weight, kind, dtype.block_bytes)

    def _width(self, module: str, modules: Mapping[str, Mapping[str, str]]) -> int | None:
        """How many columns a module has, by the rows of one beside it; None where there is none."""
        parent, _, last = module.rpartition(".")
        for other in _AS_WIDE.get(last, ()):
            inside = modules.get(f"{parent}.{other}", {})
            tensor = self.checkpoint.tensor(inside.get("qweight") or inside.get("weight") or "")
            if tensor is not None and len(tensor.shape) == 2:
                return tensor.shape[0]
        return None

    def _type_of(self, key: str, n_bytes: int, width: int | None) -> str:
        """The type that the settings name, or the one that the bytes of a row fit where they do not fit that."""
        declared = _declared(self._settings)
        fitting = [name for name in _WRITTEN if _fits(name, n_bytes, width)]
        if declared in fitting:
            return declared
        if len(fitting) == 1 and width is not None:
            self._of_another_type.append(key)
            return fitting[0]
        raise CannotDequantize(
            "the rows do not fit the type that the settings name", file=self.checkpoint.path, key=key,
            expected=declared.upper() or f"one of {', '.join(_WRITTEN).upper()}",
            found=f"{n_bytes} bytes a row, format {brief(self._settings.get('format'))}, "
            f"bits {brief(self._settings.get('bits'))}",
        )  # fmt: skip

    @property
    def description(self) -> str:
        types = sorted({w.called for w in self.weights()})
        meta = self._settings.get("meta")
        made = meta.get("quantizer") if isinstance(meta, dict) else None
        by = f", {visible(str(made[0]), 40)}" if isinstance(made, list) and made else ""
        return f"GGUF blocks in safetensors: {', '.join(types)}{by}"

    def notes(self) -> tuple[str, ...]:
        found = []
        if self._filled:
            found.append(
                f"the rows of {some(len(self._filled), 'weight')} are shown with what fills their last block, first "
                f"{visible(self._filled[0], 120)}: nothing says how wide they are"
            )
        if self._of_another_type:
            declared = _declared(self._settings).upper() or "no type that is known"
            found.append(
                f"the settings name {declared}; {some(len(self._of_another_type), 'weight')} of another type by the "
                f"bytes of a row, first {visible(self._of_another_type[0], 120)}"
            )
        return (*found, *super().notes())


class _InBytes(BlockModule):
    """Of which a row is bytes that may be filled up."""

    def __init__(self, checkpoint: Checkpoint, weight: QuantizedWeight, kind: BlockType, block_bytes: int) -> None:
        super().__init__(checkpoint, weight, kind, 0, Beside(), "uint8")
        self._block_bytes = block_bytes

    def _blocks(self, start: int, stop: int) -> Array:
        tensor = self.codes_tensor
        rows = tensor.read_rows(start, stop)
        blocks: Array = rows.reshape(len(rows), -1, self._block_bytes)
        return blocks


def _settings(checkpoint: Checkpoint) -> Mapping[str, Any] | None:
    for place in _SIDE_FILES:
        found = checkpoint.config.get(place)
        if isinstance(found, dict):
            return found if "gguf" in (found.get("quant_method"), found.get("method")) else None
    return None


def _declared(settings: Mapping[str, Any]) -> str:
    """The type that settings name: bits 4 with format `q_k_m`, or bits `q4_k_m`; "" where that is none of those that
    are written."""
    for said in (settings.get("bits"), settings.get("format"), settings.get("checkpoint_format")):
        match = _FORMAT.fullmatch(said.lower()) if isinstance(said, str) else None
        if match:
            name = f"q{match['bits'] or settings.get('bits')}_{match['kind']}"
            return name if name in _WRITTEN else ""
    return ""


def _fits(name: str, n_bytes: int, width: int | None) -> bool:
    dtype = BLOCKS[name]
    if width is None:
        return n_bytes % dtype.block_bytes == 0
    return -(-width // dtype.block) * dtype.block_bytes == n_bytes
