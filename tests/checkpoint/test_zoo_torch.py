"""Files of torch that nobody of this project made: each opens with what torch loads, or is refused with one sentence.

They are not in the repository: the folder is QINSPECT_ZOO, or `shared/zoo` beside the checkout or above it.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import assert_one_line

from qinspect.inspector.checkpoint import Checkpoint, Tensor, open_checkpoint
from qinspect.inspector.compare import compare
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import format_of

SUFFIXES = (".pt", ".pth", ".bin", ".tar", ".pkl", ".ckpt")


def zoo() -> Path | None:
    if named := os.environ.get("QINSPECT_ZOO"):
        return Path(named)
    above = Path(__file__).resolve().parents[2:5]
    return next((p / "shared" / "zoo" for p in above if (p / "shared" / "zoo").is_dir()), None)


ZOO = zoo()
FILES = sorted(p for p in ZOO.rglob("*") if p.suffix in SUFFIXES) if ZOO else []
pytestmark = [
    pytest.mark.skipif(
        not FILES, reason="QINSPECT_ZOO names no folder, and there is no shared/zoo beside the checkout"
    ),
    pytest.mark.filterwarnings("ignore"),
]


def loaded(path: Path) -> Any:
    """What torch's safe loader makes of it; None where it refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # whatever torch raises for what it does not take
            return None


def tensors_of(node: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    if isinstance(node, torch.Tensor):
        return {prefix or "tensor": node}
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    found: dict[str, torch.Tensor] = {}
    for key, value in items:
        found |= tensors_of(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def same(ours: Tensor, theirs: torch.Tensor) -> bool:
    codes = theirs.int_repr() if theirs.is_quantized else theirs
    return (
        ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
        and ours.shape == tuple(theirs.shape)
        and ours.read().tobytes() == codes.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    )


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_names_dtypes_shapes_and_numbers_are_those_of_torch(path: Path) -> None:
    truth = loaded(path)
    try:
        checkpoint = open_checkpoint(path)
    except QinspectError as e:
        message = assert_one_line(e)
        assert truth is None, message
        assert path.name in message
        return
    assert_equal(checkpoint, truth)
    same_file = format_of(open_checkpoint(path))
    result = compare(format_of(checkpoint), same_file, codes=True)
    assert not [p for p in result.weights if not p.status.counts_as_same]
    assert result.summary.n_different == 0


def assert_equal(checkpoint: Checkpoint, truth: Any) -> None:
    if truth is None:  # torch's safe loader refuses what we only do not read
        assert list(checkpoint.tensors())
        return
    theirs = tensors_of(truth)
    ours = {t.name: t for t in checkpoint.tensors() if ".q_per_channel_" not in t.name}
    assert list(ours) == list(theirs)
    for name, t in theirs.items():
        assert same(ours[name], t), name


@pytest.mark.parametrize("path", [p for p in FILES if "quantized" in p.name], ids=lambda p: p.name)
def test_quantized_weights_are_those_of_torch(path: Path) -> None:
    fmt = format_of(open_checkpoint(path))
    truth = {name: t for name, t in tensors_of(loaded(path)).items() if t.is_quantized}
    weights = fmt.weights()
    assert {w.codes_key for w in weights} == set(truth)
    for weight in weights:
        values = truth[weight.codes_key].dequantize().numpy()
        assert fmt.dequantize(weight).tobytes() == values.tobytes()
