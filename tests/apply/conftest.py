"""What the tests of `apply` share: the command, and a small calibration with two alphas."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from apply_cases import Apply


@dataclass(frozen=True)
class Own:
    """A calibration of ours and the checkpoints that it wrote, by scheme and alpha."""

    run: Path
    out: Path

    def of(self, alpha: float, scheme: str = "w8a8") -> Path:
        return self.out / f"pa-{alpha:g}-{scheme}"


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Own:
    from qinspect.inspector.calibrate.work import calibrate
    from qinspect.inspector.calibration.settings import Settings
    from qinspect.inspector.demo import MODEL

    folder = tmp_path_factory.mktemp("own")
    made = Own(folder / "run", folder / "out")
    calibrate(
        Settings(
            str(MODEL), samples=6, seq_len=24, device="cpu", alphas=(0.98, 0.999), out=str(made.out),
            weights=("w8a8", "w4a8"),
        ),
        made.run,
    )  # fmt: skip
    return made


@pytest.fixture
def apply(capsys: pytest.CaptureFixture[str], source_root: Path) -> Apply:
    return Apply("apply", capsys, source_root)
