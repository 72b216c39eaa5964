"""What is kept of results is in a folder of the test."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(folder))
    return folder
