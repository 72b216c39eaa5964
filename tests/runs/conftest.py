"""What the tests of runs share: a state folder of their own, and no process left behind."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_processes import kill_all

from qinspect.inspector.runs.spec import INHERITED


@pytest.fixture(autouse=True)
def own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Runs are in a folder of this test, and what it started is gone after it."""
    folder = tmp_path / "state"
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(folder))
    for name in INHERITED:
        monkeypatch.delenv(name, raising=False)
    yield folder / "runs"
    kill_all()


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The state folder on a disk of 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not possible here")
    monkeypatch.setenv("QINSPECT_STATE_DIR", str(place))
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
