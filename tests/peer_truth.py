"""Checkpoints that other libraries wrote, with the weights that these libraries make of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.formats import Format, format_of

ROOT = os.environ.get("QINSPECT_FIXTURES", "")
needs_fixtures = pytest.mark.skipif(not ROOT, reason="QINSPECT_FIXTURES names no folder of checkpoints")


def folder(name: str) -> Path:
    """The folder of a fixture."""
    return Path(ROOT) / name


def opened(name: str, inside: str = "model") -> Format:
    """The family of a fixture's checkpoint."""
    return format_of(open_checkpoint(folder(name) / inside))


def truth(name: str) -> dict[str, np.ndarray]:
    """float32 by the name of the weight."""
    return load_file(folder(name) / "expected.safetensors")


def same_bits(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two float32 arrays agree to the last bit; any NaN is as good as another, and -0 is not 0."""
    found, expected = np.asarray(found, np.float32), np.asarray(expected, np.float32)
    if found.shape != expected.shape:
        return False
    alike = found.view(np.uint32) == expected.view(np.uint32)
    return bool((alike | (np.isnan(found) & np.isnan(expected))).all())


def agree(name: str, family: str, inside: str = "model") -> Format:
    """The fixture's family, after every weight that the peer knows was dequantized to the peer's bits, and none is
    a quantized weight here that it has as another."""
    fmt, expected = opened(name, inside), truth(name)
    assert fmt.family == family, fmt.description
    assert not fmt.problems(), fmt.problems()[0].error
    weights = {w.name: w for w in fmt.weights()}
    absent = expected.keys() - weights.keys()
    assert not absent, sorted(absent)[:5]
    wrong = [n for n in expected if not same_bits(fmt.dequantize(weights[n]), expected[n])]
    assert not wrong, f"{len(wrong)} of {len(expected)}, {wrong[0]} first"
    return fmt
