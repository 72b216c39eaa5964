"""Folders inside a folder that hold models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qinspect.inspector.checkpoint.hub import newest_snapshot
from qinspect.inspector.checkpoint.layouts import is_distributed
from qinspect.inspector.checkpoint.listing import EXPORTED, Listing, is_repository, is_weights, listing, shard_sets

_MAX_FOLDERS = 500
"""More are not looked into."""


def nested_models(here: Listing, depth: int, usual: tuple[str, ...]) -> list[Path]:
    """Folders that hold a model, by the names of their files; where none does, folders inside those, `depth` levels in
    all. usual: names of .bin files that count: others may be anything."""
    level = [here.path / n for n in here.folders if _may_hold_models(n)]
    for _ in range(depth):
        listings = list(_listings(level))
        if found := [inner.path for inner in listings if _holds_model(_current(inner), usual)]:
            return found
        level = [inner.path / n for inner in listings for n in inner.folders if _may_hold_models(n)]
    return []


def holds_exports_alone(folder: Path) -> bool:
    """Whether what a folder holds was exported from a model elsewhere."""
    names = [n for here in _listings([folder]) for n in here.weights()]
    return bool(names) and all(n.endswith(EXPORTED) for n in names)


def _may_hold_models(name: str) -> bool:
    """Accelerate keeps the optimizer in a folder like the model's, the hub's client data sets."""
    return not name.startswith((".", "optimizer", "__pycache__", "datasets--", "spaces--"))


def _current(here: Listing) -> Listing:
    """Of a repository in the hub client's cache, the snapshot that stands for it: one model, however many there are."""
    if not is_repository(here) or (snapshot := newest_snapshot(here.path)) is None:
        return here
    return next(_listings([snapshot]), here)


def _listings(folders: list[Path]) -> Iterator[Listing]:
    for folder in folders[:_MAX_FOLDERS]:
        try:
            yield listing(folder)
        except OSError:  # not ours to read
            continue


def _holds_model(here: Listing, usual: tuple[str, ...]) -> bool:
    named = (n for n in here.weights() if not n.endswith(".bin") or n in usual or shard_sets([n])[0])
    # A link that leads nowhere is what a half copied cache has for weights.
    return bool(here.indexes()) or any(named) or any(map(is_weights, here.dangling)) or is_distributed(here)
