"""Builders of pickles that hold more than tensors: objects of other classes, calls, torch's older and rarer forms."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from qinspect.inspector.checkpoint import Checkpoint, Tensor, Value, open_checkpoint


class Runs:
    """Pickles as a call of whatever it was given."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


class Plain:
    """An object with attributes."""

    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)


class Items(dict[str, object]):
    """A dictionary of a class of its own."""


class Row(list[object]):
    """A list of a class of its own."""


class Slots:
    """An object without a dictionary."""

    __slots__ = ("a", "b")

    def __init__(self, a: object, b: object) -> None:
        self.a = a
        self.b = b


class Net(torch.nn.Module):
    """A module that people save whole."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)
        self.norm = torch.nn.BatchNorm1d(2)
        self.note = "not a tensor"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.fc(x))  # type: ignore[no-any-return]


def namespace(**options: object) -> argparse.Namespace:
    return argparse.Namespace(**options)


def saved(path: Path, content: object, zipped: bool = True, protocol: int = 2) -> Checkpoint:
    """`content` as torch.save writes it, opened."""
    torch.save(content, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    return open_checkpoint(path)


def pickled(path: Path, content: object, protocol: int) -> Path:
    """`content` as pickle itself writes it."""
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def tensor_of(checkpoint: Checkpoint, name: str) -> Tensor:
    entry = checkpoint[name]
    assert isinstance(entry, Tensor)
    return entry


def value_of(checkpoint: Checkpoint, name: str) -> Any:
    entry = checkpoint[name]
    assert isinstance(entry, Value)
    return entry.value


def kinds(checkpoint: Checkpoint) -> dict[str, str]:
    """Name to kind of what is not a tensor."""
    return {n: e.kind for n, e in checkpoint.entries.items() if isinstance(e, Value)}


def shown(checkpoint: Checkpoint) -> dict[str, Any]:
    """Name to numbers, or to the value."""
    return {n: e.read().tolist() if isinstance(e, Tensor) else e.value for n, e in checkpoint.entries.items()}
