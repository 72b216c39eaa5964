"""`qinspect apply` asked by tests, and what two checkpoints have in common, byte by byte and by torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from commands import Command

from qinspect.inspector.checkpoint import Tensor, open_checkpoint

WEIGHTS = "pytorch_model.bin"


class Apply(Command):
    """`qinspect apply`."""

    def refused(self, out: Path, *words: str | Path) -> str:
        """One line on stderr, nothing on stdout, nothing at `out` or beside it. Returns the line."""
        before = {p.name for p in out.parent.iterdir()} if out.parent.is_dir() else set()
        said, err = self(*words, "--out", out, code=2)
        assert (said, err.count("\n")) == ("", 1)
        after = {p.name for p in out.parent.iterdir()} if out.parent.is_dir() else set()
        assert after == before
        return err


def entries(folder: Path) -> dict[str, Any]:
    """Every entry by our reader: bytes with their dtype and shape, or the value."""
    checkpoint = open_checkpoint(folder)
    return {
        name: (e.dtype.name, e.shape, e.strides, e.read_bytes()) if isinstance(e, Tensor) else e.value
        for name, e in checkpoint.entries.items()
    }


def loaded(folder: Path) -> dict[str, Any]:
    """Every entry by torch: bits with their dtype, shape and strides, or the value."""
    state = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True)
    return {name: _bits(v) if isinstance(v, torch.Tensor) else v for name, v in state.items()}


def _bits(t: torch.Tensor) -> tuple[object, ...]:
    return t.dtype, t.shape, t.stride(), t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def changed(a: Mapping[str, Any], b: Mapping[str, Any]) -> set[str]:
    """Names of what differs."""
    assert a.keys() == b.keys()
    return {name for name in a if a[name] != b[name]}


def data_of(path: Path) -> bytes:
    """A safetensors file without its header."""
    raw = path.read_bytes()
    return raw[8 + int.from_bytes(raw[:8], "little") :]


def header_of(path: Path) -> dict[str, Any]:
    """Its header, the metadata of qinspect parsed."""
    raw = path.read_bytes()
    header: dict[str, Any] = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    header["__metadata__"]["qinspect"] = json.loads(header["__metadata__"]["qinspect"])
    return header


def scale(folder: Path, key: str) -> np.float32:
    """One stored scale as float32."""
    found = open_checkpoint(folder).scalar(key)
    assert found is not None
    return np.float32(found)
