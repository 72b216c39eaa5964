"""Rows of a weight cost the bytes of these rows: their scales are not read for all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_files import opened
from numpy.typing import NDArray

ROWS, COLUMNS, ASKED = 32768, 32, 64
_RNG = np.random.default_rng(0)
_CODES = _RNG.integers(-127, 128, (ROWS, COLUMNS)).astype(np.int8)
_STEPS = _RNG.random(ROWS, np.float32)
_MARK = np.frombuffer(json.dumps({"format": "int8_tensorwise"}).encode(), np.uint8)
_MODULE = "model.layers.0.self_attn.q_proj"
CASES: dict[str, tuple[dict[str, NDArray[Any]], float]] = {
    "bitsandbytes": ({f"{_MODULE}.weight": _CODES, f"{_MODULE}.SCB": _STEPS}, 1 / 127),
    "comfy": (
        {f"{_MODULE}.weight": _CODES, f"{_MODULE}.weight_scale": _STEPS[:, None], f"{_MODULE}.comfy_quant": _MARK}, 1.0
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", CASES)
def test_one_scale_a_row_is_read_for_the_rows_asked(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors, unit = CASES[family]
    fmt = opened(tmp_path, tensors)
    (weight,) = fmt.weights()
    assert fmt.family == family
    read = 0
    real = os.pread

    def counted(fd: int, n: int, offset: int) -> bytes:
        nonlocal read
        data = real(fd, n, offset)
        read += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    start = ROWS // 2
    found = fmt.dequantize(weight, start, start + ASKED)
    assert 0 < read <= 2 * ASKED * (COLUMNS + 4)
    asked = slice(start, start + ASKED)
    np.testing.assert_allclose(found, _CODES[asked] * _STEPS[asked, None] * unit, rtol=1e-6)
