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
    """The newest complete snapshot of a model. Raises CannotOpen, with the command that fetches it."""
    if not _REPO.fullmatch(name):
        raise CannotOpen("no such file or folder", file=name)
    repository = cache_folder() / f"models--{name.replace('/', '--')}"
    main = repository / "refs" / "main"
    snapshots = repository / "snapshots"
    if main.is_file():
        revision = main.read_text(errors="replace").strip()
        if re.fullmatch(r"[0-9a-f]{6,64}", revision) and (snapshots / revision).is_dir():
            return snapshots / revision
    found = (
        sorted((p for p in snapshots.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
        if snapshots.is_dir()
        else []
    )
    if found:
        return found[-1]
    raise CannotOpen(
        "no such file or folder, and not in the local Hugging Face cache",
        file=name,
        cure=f"Fetch it with: hf download {name}",
    )
