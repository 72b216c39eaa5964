"""A checkpoint of arrays, with or without settings beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of

Array = NDArray[Any]


def of_modules(modules: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """Tensors by their names. modules: entries by their last names, by module."""
    return {f"{module}.{last}": t for module, entries in modules.items() for last, t in entries.items()}


def opened(folder: Path, tensors: Mapping[str, Array], said: Mapping[str, Any] | None = None) -> Format:
    """Its family. said: its `quantization_config`; None for no config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(t).reshape(t.shape) for name, t in tensors.items()},
              folder / "model.safetensors")  # fmt: skip
    if said is not None:
        (folder / "config.json").write_text(json.dumps({"quantization_config": dict(said)}))
    return format_of(open_checkpoint(folder))


def check_one_is_damaged(fmt: Format, module: str, fine: str = "fine.weight") -> None:
    """A module is named, with what was expected and found, and the other one is understood."""
    assert [w.role for w in fmt.weights()] == [fine]
    (problem,) = fmt.problems()
    assert module in (problem.error.key or "")
    assert problem.error.expected
    assert problem.error.found
