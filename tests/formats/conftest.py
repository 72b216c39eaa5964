"""What tests of families share."""

from __future__ import annotations

import pytest

from qinspect.inspector.checkpoint import Tensor


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No number of a tensor may be read."""

    def read(*_: object) -> None:
        raise AssertionError("a tensor was read")

    for name in ("read", "read_rows", "read_range", "read_bytes"):
        monkeypatch.setattr(Tensor, name, read)
