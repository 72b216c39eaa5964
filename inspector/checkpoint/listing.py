"""What lies in a folder, read once: files, folders, links that lead nowhere, downloads that were not finished."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qinspect.inspector.text import natural_key, size, some, visible

INDEX = ".index.json"
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx")
EXPORTED = (".onnx",)
"""Of a model that is run elsewhere: where the model is beside it, that is meant."""
UNFINISHED = (".incomplete", ".part", ".partial", ".crdownload", ".download", ".aria2")
"""What programs append to the name of a file that they are fetching; `.aria2` lies beside it."""

MAX_ENTRIES = 100_000
_SHARD = re.compile(r"(?P<stem>.+?)[-_.](?P<number>\d{1,6})[-_]of[-_](?P<of>\d{1,6})(?P<rest>\D.*)")
_STATE = re.compile(
    r"(optimizer|scheduler|lr_scheduler|scaler|sampler|dl_state_dict|rng_state|random_states|training_args|trainer_state)"
    r"([._-][\w.-]*)?\.(bin|pt|pth|pkl|ckpt)|.*optim_states\.pt"
)


@dataclass(frozen=True, slots=True)
class Listing:
    """files, folders: names in natural order. dangling: links that lead to nothing. unfinished: downloads under way."""

    path: Path
    files: tuple[str, ...]
    folders: tuple[str, ...]
    dangling: tuple[str, ...]
    unfinished: tuple[str, ...]

    def weights(self) -> list[str]:
        """Files with the name of weights, other than the state of a training."""
        return [n for n in self.files if is_weights(n) and not is_state(n)]

    def states(self) -> list[str]:
        """Files with the name of the state of a training: optimizer, scheduler, random numbers."""
        return [n for n in self.files if is_state(n)]

    def indexes(self) -> list[str]:
        """Indexes of shards."""
        return [n for n in self.files if n.endswith(INDEX) and not n.startswith(".")]


@dataclass(slots=True)
class ShardSet:
    """Files whose names say that they belong together: number `i` of `total`."""

    stem: str
    total: int
    rest: str
    names: dict[int, str] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The name of the first that is there."""
        return self.names[min(self.names)]

    def missing(self) -> list[str]:
        """Names of those that are not there. Some number from 0."""
        first = 0 if 0 in self.names else 1
        pattern = _SHARD.fullmatch(self.first)
        assert pattern is not None
        start, end = pattern.span("number")
        return [
            f"{self.first[:start]}{i:0{end - start}}{self.first[end:]}"
            for i in range(first, first + self.total)
            if i not in self.names
        ]


def listing(folder: Path) -> Listing:
    """Raises OSError where the folder cannot be read."""
    found: dict[str, list[str]] = {"files": [], "folders": [], "dangling": [], "unfinished": []}
    with os.scandir(folder) as entries:
        for _, entry in zip(range(MAX_ENTRIES), entries, strict=False):
            if where := _sort_of(entry):
                found[where].append(entry.name)
    return Listing(folder, *(tuple(sorted(names, key=natural_key)) for names in found.values()))


def _sort_of(entry: os.DirEntry[str]) -> str:
    if entry.name.endswith(UNFINISHED):
        return "unfinished"
    try:
        if entry.is_dir():
            return "folders"
        if entry.is_file():
            return "files"
        return "dangling" if entry.is_symlink() and not os.path.exists(entry.path) else ""
    except OSError:  # a loop of links
        return "dangling"


def is_weights(name: str) -> bool:
    """Whether a file has the name of weights. macOS leaves `._model.bin`, which are none."""
    return name.endswith(SUFFIXES) and not name.startswith(".")


def is_state(name: str) -> bool:
    """Whether a file has the name of what a training keeps beside the weights."""
    return _STATE.fullmatch(name) is not None


def shard_sets(names: Iterable[str]) -> tuple[list[ShardSet], list[str]]:
    """Sets of shards by their names (`model-00001-of-00003.safetensors`), and the files that are in none."""
    sets: dict[tuple[str, int, str], ShardSet] = {}
    single = []
    for name in names:
        match = _SHARD.fullmatch(name)
        if match is None or not 0 <= int(match["number"]) <= int(match["of"]) or int(match["of"]) > MAX_ENTRIES:
            single.append(name)
            continue
        key = (match["stem"], int(match["of"]), match["rest"])
        sets.setdefault(key, ShardSet(*key)).names[int(match["number"])] = name
    return list(sets.values()), single


def unfinished_of(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """Of files that are missing, what a download left: `NAME.part (1.2 GB)`. Also where the hub's client keeps it."""
    here = listing(folder)
    for name in names:
        if name in here.dangling:
            yield f"{visible(name, 200)} is a link that leads nowhere"
        for part in here.unfinished:
            if part.startswith(name):
                yield f"{visible(part, 200)} ({_size(folder / part)}) is there"
    for place in (folder / ".cache" / "huggingface" / "download", _blobs(folder)):
        if place is not None and place.is_dir():
            parts = [p for p in listing(place).unfinished if p.endswith(".incomplete")]
            if parts:
                n_bytes = sum(_bytes(place / p) for p in parts)
                yield f"{some(len(parts), '.incomplete file')} ({size(n_bytes)}) in {visible(str(place))}"


def is_repository(here: Listing) -> bool:
    """Whether a folder is a repository in a cache of the hub's client."""
    return {"snapshots", "blobs"} <= set(here.folders)


def in_hub_cache(folder: Path) -> bool:
    """Whether a folder is a snapshot in a cache of the hub's client."""
    return _blobs(folder) is not None


def _blobs(folder: Path) -> Path | None:
    folder = Path(os.path.abspath(folder))
    blobs = folder.parent.parent / "blobs"
    return blobs if folder.parent.name == "snapshots" and blobs.is_dir() else None


def _size(path: Path) -> str:
    return size(_bytes(path))


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def some_names(names: Iterable[str], shown: int = 3) -> str:
    """`a, b, c and 7 more`, in a form that can be printed."""
    names = [visible(n, 200) for n in names]
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more:,} more" if more > 0 else "")
