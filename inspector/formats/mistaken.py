"""Settings of another model: what a checkpoint is that nobody understands with the settings that lie beside it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from qinspect.inspector.checkpoint.opening import CONFIG_FILES
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.contract import Format
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.formats.families import FAMILIES

_SETTINGS = {"quantization_config", "compression_config", "quantization", *CONFIG_FILES}
"""Where settings stand in a checkpoint's config, that of files beside config.json by the names of these."""


def understood_without_settings(fmt: Format) -> Format | None:
    """The family that understands all modules of a checkpoint once its settings of quantization are taken away, where
    none finds a quantized weight with them; None where there is none, or the settings are of a library that nobody here
    knows."""
    method = declared(fmt.checkpoint).method
    known = method in {family.family for family in FAMILIES}
    if fmt.weights() or fmt.problems() or not (fmt.refusals or known):
        return None
    bare = copy.copy(fmt.checkpoint)
    bare.config = _without_settings(fmt.checkpoint.config)
    for family in FAMILIES:
        if family.recognise(bare) is not None:
            try:
                found = family(bare)
            except CannotDequantize:
                continue
            return found if found.weights() and not found.problems() else None
    return None


def _without_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same with no word of quantization in it, nor in a part of the model (`text_config`)."""
    return {
        key: _without_settings(value) if key.endswith("_config") and isinstance(value, dict) else value
        for key, value in config.items()
        if key not in _SETTINGS
    }
