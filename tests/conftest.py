"""What tests share: where the fixtures are, and checkpoints written on the spot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from safetensors.numpy import save_file

hypothesis.settings.register_profile("qinspect", deadline=None, print_blob=True)
hypothesis.settings.load_profile("qinspect")

Quamba = Callable[[str], Path]
"""Name of a fixture to the folder of its checkpoint."""

Plain = Callable[[str, Mapping[str, Any]], Path]
"""plain(name, tensors): a safetensors file with these tensors."""


@pytest.fixture(scope="session")
def source_root() -> Path:
    """The folder that pyproject.toml is in."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def quamba(source_root: Path) -> Quamba:
    def folder(name: str) -> Path:
        (found,) = (p for p in (source_root / "tests" / "data" / "quamba" / name).iterdir() if p.is_dir())
        return found

    return folder


@pytest.fixture
def plain(tmp_path: Path) -> Plain:
    def write(name: str, tensors: Mapping[str, Any]) -> Path:
        path = tmp_path / name
        save_file({key: np.asarray(value) for key, value in tensors.items()}, path)
        return path

    return write
