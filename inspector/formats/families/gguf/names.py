"""llama.cpp's names of tensors, and the names that the original has for them.

Only where architectures.py knows the architecture, and only for tensors whose values are the original's: llama.cpp
stores -exp(A_log) and not A_log, and of some models norms with one added. Everything else keeps its name.
"""

from __future__ import annotations

from collections.abc import Mapping

from qinspect.inspector.formats.families.gguf.architectures import ARCHITECTURES, EXPERTS_OF_MIXTRAL, Architecture

_UNKNOWN = Architecture({}, "", {})
_WHOLE = ("weight", "bias")
_FOR_IMAGES = ("glm4", "glm4moe")
"""Whose converter sorts the rows of q and k otherwise where positions have several axes."""


class Names:
    """Names of one model, by its facts.

    architecture: as the file says it, "" where it does not.
    """

    def __init__(self, facts: Mapping[str, str]) -> None:
        self.architecture = facts.get("general.architecture", "")
        self._outside, self._layers, inside = ARCHITECTURES.get(self.architecture, _UNKNOWN)
        self._inside = {**inside, **EXPERTS_OF_MIXTRAL} if self.architecture == "llama" else inside
        if self.architecture in _FOR_IMAGES and f"{self.architecture}.rope.dimension_sections" in facts:
            self._inside = {k: v for k, v in self._inside.items() if k not in ("attn_q", "attn_k")}
        self._of_mamba = self._inside.get("ssm_in", "").removesuffix(".in_proj")

    @property
    def known(self) -> bool:
        """Whether the originals of this architecture have names here."""
        return bool(self._layers)

    def original(self, name: str) -> str:
        """The original's name of a tensor, with `{e}` for the number of an expert where it is of several; "" where it
        is not known."""
        if name.startswith("blk."):
            _, layer, inside = (*name.split(".", 2), "", "")[:3]
            if not (layer.isascii() and layer.isdigit()):
                return ""
            found = _in(self._inside, inside)
            return f"{self._layers}.{layer}.{found}" if found else ""
        return _in(self._outside, name)

    def log_of(self, name: str) -> str:
        """The original's name of the logarithm of what `name` holds less: A_log of `ssm_a`; "" of all others."""
        if not self._of_mamba or not name.endswith("ssm_a"):
            return ""
        _, layer, inside = (*name.split(".", 2), "", "")[:3]
        known = inside == "ssm_a" and layer.isdecimal()
        return f"{self._layers}.{layer}.{self._of_mamba}.A_log" if known else ""


def _in(table: Mapping[str, str], name: str) -> str:
    """The name in a table of modules, with its last part; of a parameter that stands alone, the whole."""
    if name in table:
        return table[name]
    module, _, last = name.rpartition(".")
    found = table.get(module, "")
    return f"{found}.{last}" if found and last in _WHOLE else ""
