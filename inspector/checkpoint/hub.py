"""`org/name` in the local Hugging Face cache. Nothing is fetched here."""

from __future__ import annotations

import os
import re
from pathlib import Path

from qinspect.inspector.errors import CannotOpen

_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def cache_folder() -> Path:
    """Where huggingface_hub keeps repositories: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub."""
    if cache := os.environ.get("HF_HUB_CACHE"):
        return _expanded(cache)
    if home := os.environ.get("HF_HOME"):
        return _expanded(home) / "hub"
    return _expanded(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface" / "hub"


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no home: the path leads nowhere, and nothing is found there
        return Path(path)


def find_in_cache(name: str) -> Path:
    """The snapshot of a model, see `newest_snapshot`. Raises CannotOpen, with the command that fetches it."""
    if not _REPO.fullmatch(name):
        raise CannotOpen("no such file or folder", file=name)
    repository = cache_folder() / f"models--{name.replace('/', '--')}"
    if snapshot := newest_snapshot(repository):
        return snapshot
    raise CannotOpen(
        "no such file or folder, and not in the local Hugging Face cache",
        file=name,
        cure=f"Fetch it with: hf download {name}",
    )


def newest_snapshot(repository: Path) -> Path | None:
    """The snapshot of a `models--org--name` that its branch `main` stands for, else the last one that was written."""
    if (named := _main_snapshot(repository)) is not None:
        return named
    found = _snapshots(repository)
    return max(found, key=lambda p: p.stat().st_mtime) if found else None


def snapshot_note(snapshot: Path) -> str:
    """Why this snapshot, where there are others and no branch names it; else an empty text."""
    repository = snapshot.parent.parent
    if snapshot.parent.name != "snapshots" or _main_snapshot(repository) is not None:
        return ""
    n = len(_snapshots(repository))
    return f"the cache holds {n} snapshots and no branch main that names one: the newest was opened" if n > 1 else ""


def _main_snapshot(repository: Path) -> Path | None:
    main = repository / "refs" / "main"
    if not main.is_file():
        return None
    revision = main.read_text(errors="replace").strip()
    snapshot = repository / "snapshots" / revision
    return snapshot if re.fullmatch(r"[0-9a-f]{6,64}", revision) and snapshot.is_dir() else None


def _snapshots(repository: Path) -> list[Path]:
    snapshots = repository / "snapshots"
    return [p for p in snapshots.iterdir() if p.is_dir()] if snapshots.is_dir() else []
