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

Run = Callable[[str], Path]
"""Name of a base model to the folder of a calibration of it."""

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


@pytest.fixture(scope="session")
def run_of(source_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A calibration of a base model on all 64 samples of calibration_tokens.json, on the CPU, once a session."""
    from qinspect.inspector.calibrate.settings import Settings  # torch is slow to import, and few tests need it
    from qinspect.inspector.calibrate.work import calibrate

    data, made = source_root / "tests" / "data" / "models", dict[str, Path]()

    def folder(base: str) -> Path:
        if base not in made:
            (model,) = (data / base).iterdir()
            made[base] = tmp_path_factory.mktemp(base)
            calibrate(Settings(str(model), data=str(data / "calibration_tokens.json"), device="cpu"), made[base])
        return made[base]

    return folder
