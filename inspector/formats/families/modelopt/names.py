"""The entries of one quantized weight: `M.weight` with `M.weight_scale` beside it, or a parameter without a `.weight`,
as stacked experts are: `M.gate_up_proj` with `M.gate_up_proj_weight_scale`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SCALE = "weight_scale"
_SCALE_OF = f"_{SCALE}"
_CODES = ("uint8", "int8", "float8_e4m3fn", "float8_e5m2")
LOW_RANK = ("weight_quantizer._svdquant_lora_", "weight_quantizer.svdquant_lora_", "svdquant_lora_")
"""What stands before `a` and `b` in the names of a low-rank part: as 0.47 writes it, and as it may be renamed."""


@dataclass(frozen=True, slots=True)
class Names:
    """module: what the entries stand in. parameter: "" where the weight is `module.weight`, else its own name."""

    module: str
    parameter: str = ""

    @property
    def weight(self) -> str:
        """The key of the codes."""
        return self._in_module(self.parameter or "weight")

    @property
    def path(self) -> str:
        """The weight's name without `.weight`."""
        return self._in_module(self.parameter) if self.parameter else self.module

    @property
    def scale(self) -> str:
        """The key of the finest scale."""
        return self._of(SCALE)

    @property
    def second(self) -> str:
        """The key of the scale of all scales."""
        return self._of("weight_scale_2")

    @property
    def input(self) -> str:
        """The key of the scale of what goes in."""
        return self._of("input_scale")

    @property
    def factor(self) -> str:
        """The key of the factor of each input channel."""
        return self._of("pre_quant_scale")

    def low_rank(self, before: str) -> tuple[str, str]:
        """The keys of a and b of b @ a."""
        return self._in_module(f"{before}a"), self._in_module(f"{before}b")

    def _of(self, what: str) -> str:
        return self._in_module(f"{self.parameter}_{what}" if self.parameter else what)

    def _in_module(self, last: str) -> str:
        return f"{self.module}.{last}" if self.module else last


def names_in(module: str, inside: Mapping[str, str], dtype: str | None) -> Iterator[Names]:
    """The quantized weights of a module, by the last parts of the names in it: those with a scale, and those that are
    codes without one. dtype: of its `weight`, where it has one."""
    if SCALE in inside or "weight_scale_2" in inside or dtype in _CODES:
        yield Names(module)
    for last in inside:
        if last.endswith(_SCALE_OF) and last != SCALE:
            yield Names(module, last.removesuffix(_SCALE_OF))
