"""From what the user typed to an opened checkpoint: a file, a folder, a sharded index, or a name in the hub cache."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from qinspect.inspector.checkpoint.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.checkpoint.hub import find_in_cache
from qinspect.inspector.checkpoint.safetensors import looks_like_safetensors, read_header
from qinspect.inspector.checkpoint.tensor import Entry
from qinspect.inspector.checkpoint.torch_file import is_old_pickle, kind_of_pickle, read_legacy, read_zip
from qinspect.inspector.errors import BrokenFile, CannotOpen, QinspectError

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""Whole-model files by their usual names, in the order of preference."""

INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
CONFIG_FILES = ("config.json", "quantize_config.json", "quant_config.json", "hf_quant_config.json",
                "quantization_config.json", "quantization_map.json", "quanto_qmap.json")  # fmt: skip
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
MAX_JSON_BYTES = 1 << 26
Progress = Callable[[int, int], None]
"""Called with (files read, files in all) while a sharded checkpoint opens. May raise to cancel."""


Arrived = Callable[[Mapping[str, Entry]], None]
"""Called with all entries so far after each file of a sharded checkpoint but the last: for a screen that fills."""


def open_checkpoint(path: str | Path, progress: Progress | None = None, arrived: Arrived | None = None) -> Checkpoint:
    """Open a checkpoint, reading headers only.

    `path` is a file, a folder, an `*.index.json`, or `org/name` in the local Hugging Face cache.
    Raises CannotOpen, BrokenFile or UnsafePickle; never runs anything that the files contain.
    """
    try:
        place = Path(path).expanduser()
    except RuntimeError as e:  # ~user, and there is no such user
        raise CannotOpen(f"cannot be opened: {e}", file=str(path)) from e
    try:
        if not place.exists():
            place = find_in_cache(str(path))
        if place.is_dir():
            return _open_folder(place, progress, arrived)
        if place.name.endswith(".index.json"):
            return _open_index(place, progress, arrived)
        return _open_files(place, [place], place.parent, progress, arrived)
    except (OSError, ValueError) as e:  # a name with NUL, a loop of links, no permission
        raise CannotOpen(f"cannot be opened: {getattr(e, 'strerror', None) or e}", file=str(path)) from e


def _open_folder(folder: Path, progress: Progress | None, arrived: Arrived | None) -> Checkpoint:
    for name in INDEX_FILES:
        if (folder / name).is_file():
            return _open_index(folder / name, progress, arrived)
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return _open_files(folder, [folder / name], folder, progress, arrived)
    found = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_file())
    safetensors = [p for p in found if p.suffix == ".safetensors"]
    index = sorted(p for p in folder.iterdir() if p.name.endswith(".index.json") and p.is_file())
    if len(index) == 1:
        return _open_index(index[0], progress, arrived)
    if safetensors:
        return _open_files(folder, safetensors, folder, progress, arrived)
    if len(found) == 1:
        return _open_files(folder, found, folder, progress, arrived)
    if not found:
        inside = [
            p for p in folder.iterdir() if p.is_dir() and any((p / n).is_file() for n in WEIGHT_FILES + INDEX_FILES)
        ]
        if len(inside) == 1:
            return _open_folder(inside[0], progress, arrived)
        hint = f"Did you mean {inside[0]}?" if inside else "Give the folder that the model was saved to."
        raise CannotOpen(
            "holds no checkpoint", file=folder, expected=f"a file ending in {', '.join(SUFFIXES)}", cure=hint
        )
    raise CannotOpen(
        "holds several checkpoints and no index",
        file=folder,
        expected="one file, or an *.index.json",
        found=", ".join(p.name for p in found[:5]),
        cure="Name the file.",
    )


def _open_index(index: Path, progress: Progress | None, arrived: Arrived | None) -> Checkpoint:
    """A sharded checkpoint. Raises BrokenFile for shards outside the folder or missing, and names in no shard."""
    content = read_json(index, unique=True)
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(v, str) for v in weight_map.values()):
        raise BrokenFile(
            "has no weight_map",
            file=index,
            key="weight_map",
            expected="an object of tensor name to file name",
            found=type(weight_map).__name__ if not isinstance(weight_map, dict) else "names that are no strings",
            cure="Download the index again, or open the shards one by one.",
        )
    if not weight_map:
        raise BrokenFile(
            "names no tensor", file=index, key="weight_map", expected="at least one", cure="Download the index again."
        )
    weight_map = {sys.intern(name): shard for name, shard in weight_map.items()}  # one string with the headers' names
    del content
    folder = index.parent
    shards: dict[str, Path] = {}
    for name in dict.fromkeys(weight_map.values()):
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or not pure.parts:
            raise BrokenFile(
                "a shard lies outside the checkpoint's folder",
                file=index,
                key="weight_map",
                expected="file names inside the folder",
                found=name,
                cure="Do not trust this checkpoint.",
            )
        shard = folder / name
        if not shard.is_file():
            raise BrokenFile(
                "a shard is missing",
                file=index,
                key="weight_map",
                expected=f"the file {name}",
                cure=f"Download {name} into {folder}.",
            )
        shards[name] = shard
    checkpoint = _open_files(folder, list(shards.values()), folder, progress, arrived)
    missing = [k for k in weight_map if k not in checkpoint.entries]
    if missing:
        raise BrokenFile(
            "names in the index are in no shard",
            file=index,
            key=missing[0],
            expected=f"it in {weight_map[missing[0]]}",
            found=f"{len(missing)} of {len(weight_map)} names missing",
            cure="Index and shards are of different versions: download all again.",
        )
    wrong = [
        k
        for k, e in checkpoint.entries.items()
        # `is` first: comparing two paths takes a microsecond, and there are as many as tensors.
        if k in weight_map and e.file.path is not (named := shards[weight_map[k]]) and e.file.path != named
    ]
    extra = sum(k not in weight_map for k in checkpoint.entries)
    notes = list(checkpoint.notes)
    if wrong:
        notes.append(f"the index names another shard for {len(wrong)} tensors, {wrong[0]} first")
    if extra:
        notes.append(f"{extra} tensors in the shards are not in the index")
    checkpoint.notes = tuple(notes)
    return checkpoint


def _open_files(
    path: Path, paths: list[Path], config_folder: Path, progress: Progress | None, arrived: Arrived | None
) -> Checkpoint:
    entries: dict[str, Entry] = {}
    metadata: dict[str, str] = {}
    files: list[File] = []
    kind = ""
    for done, p in enumerate(paths):
        if progress:
            progress(done, len(paths))
        if arrived and entries:
            arrived(entries)
        file = File(p)
        files.append(file)
        kind, found, more = _read_one(file)
        metadata.update(more)
        if not entries:
            entries = found
            continue
        twice = entries.keys() & found.keys()
        if twice:
            name = min(twice)
            raise BrokenFile(
                "the tensor is in two files",
                file=p,
                key=name,
                expected="each tensor once",
                found=f"it also in {entries[name].file.path.name}",
                cure="Remove the file that does not belong, or name the right one.",
            )
        entries.update(found)
    if progress:
        progress(len(paths), len(paths))
    config, notes = read_config(config_folder)
    return Checkpoint(path, kind, files, entries, config, metadata, notes)


def _read_one(file: File) -> tuple[str, dict[str, Entry], dict[str, str]]:
    """(kind, entries, metadata), told by the first bytes; the name decides only where they do not."""
    head = file.read(0, min(file.size, 16))
    if file.size == 0:
        raise BrokenFile("is empty", file=file.path, cure="Download or copy it again.")
    if head[:4] == b"PK\x03\x04" or head[:4] == b"PK\x05\x06":
        return "torch zip", read_zip(file), {}
    if head[:4] == b"GGUF":
        raise CannotOpen("is a GGUF file, which this version does not read yet", file=file.path)
    if head.startswith(b"version https://"):
        raise CannotOpen(
            "is a Git LFS pointer, not the checkpoint", file=file.path, cure="Run `git lfs pull` in its repository."
        )
    # Before the pickles: a header of 640 bytes begins as a pickle of protocol 2 does, 80 02.
    if looks_like_safetensors(head, file.size) or (file.path.suffix == ".safetensors" and not _looks_like_pickle(head)):
        tensors, metadata = read_header(file)
        return "safetensors", dict(tensors), metadata
    if _looks_like_pickle(head) or is_old_pickle(file):
        return kind_of_pickle(head), read_legacy(file), {}
    raise CannotOpen(
        "is no checkpoint",
        file=file.path,
        offset=0,
        expected="a safetensors header, a zip archive or a pickle",
        found=f"bytes {head[:8].hex(' ')}",
    )


def _looks_like_pickle(head: bytes) -> bool:
    return head[:1] == b"\x80" and head[1:2] <= b"\x05" and any(head[2:8])


def read_config(folder: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """config.json with the quantization side files under their own names; a broken one is a note, not an error."""
    config: dict[str, Any] = {}
    notes = []
    for name in CONFIG_FILES:
        path = folder / name
        if not path.is_file():
            continue
        try:
            content = read_json(path)
        except QinspectError as e:
            notes.append(str(e))
            continue
        if name == "config.json":
            config = {**content, **config}
        else:
            config[name] = content
    return config, tuple(notes)


def read_json(path: Path, unique: bool = False) -> dict[str, Any]:
    """A JSON object. Raises BrokenFile where the file is anything else, or larger than MAX_JSON_BYTES; with `unique`
    also where an object names a key twice."""
    file = File(path)
    try:
        if file.size > MAX_JSON_BYTES:
            raise BrokenFile(
                "is too large", file=path, expected=f"at most {MAX_JSON_BYTES} bytes", found=f"{file.size}"
            )
        hook = _unique if unique else None
        content = json.loads(file.read(0, file.size).decode("utf-8-sig"), object_pairs_hook=hook)
    except RecursionError as e:
        raise BrokenFile("nests too deeply to be read", file=path) from e
    except ValueError as e:
        raise BrokenFile(f"is no JSON: {e}", file=path, cure="Repair or download it again.") from e
    finally:
        file.close()
    if not isinstance(content, dict):
        raise BrokenFile("is no JSON object", file=path, found=type(content).__name__)
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        counts: dict[str, int] = {}
        for key, _ in pairs:
            counts[key] = counts.get(key, 0) + 1
        raise ValueError(f"the key {max(counts, key=lambda k: counts[k])[:120]!r} occurs twice")
    return made
