"""The index of a sharded checkpoint: which tensor is in which file."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from qinspect.inspector.checkpoint.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.columns import Entries
from qinspect.inspector.checkpoint.json_file import json_type, parse_json, read_json_bytes
from qinspect.inspector.checkpoint.listing import some_names, unfinished_of
from qinspect.inspector.checkpoint.safetensors import LARGE_HEADER_BYTES
from qinspect.inspector.errors import BrokenFile, QinspectError


def read_weight_map(index: Path) -> dict[str, str]:
    """Tensor name to file name. Raises BrokenFile where the index is none, or names no tensor."""
    raw = read_json_bytes(index)
    if found := _large_map(raw):
        return found
    weight_map = parse_json(index, raw, unique=True).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(v, str) for v in weight_map.values()):
        raise BrokenFile(
            "has no weight_map",
            file=index,
            key="weight_map",
            expected="an object of tensor name to file name",
            found=json_type(weight_map) if not isinstance(weight_map, dict) else "file names that are not strings",
            cure="Download the index again, or open the shards one by one.",
        )
    if not weight_map:
        raise BrokenFile(
            "names no tensor", file=index, key="weight_map", expected="at least one", cure="Download the index again."
        )
    return weight_map


def _large_map(raw: bytes) -> dict[str, str] | None:
    if len(raw) < LARGE_HEADER_BYTES:
        return None
    from qinspect.inspector.checkpoint.header_columns import weight_map_of

    return weight_map_of(raw)


def shards_named(index: Path) -> frozenset[str]:
    """Files that an index names; none where it cannot be read."""
    try:
        return frozenset(read_weight_map(index).values())
    except QinspectError:
        return frozenset()


def find_shards(index: Path, weight_map: dict[str, str], beside: list[str]) -> dict[str, Path]:
    """Where each shard is, by its name in the index. Raises BrokenFile for those outside the folder, and one for all
    that are missing. beside: other files that could be opened instead."""
    folder = index.parent
    shards = {}
    for name in dict.fromkeys(weight_map.values()):
        if is_outside(name):
            raise BrokenFile(
                "a shard lies outside the checkpoint's folder",
                file=index,
                key="weight_map",
                expected="file names inside the folder",
                found=name,
                cure="Do not trust this checkpoint.",
            )
        shards[name] = folder / name
    missing = sorted(name for name, path in shards.items() if not path.is_file())
    if missing:
        raise _missing(index, missing, len(shards), beside)
    return shards


def is_outside(name: str) -> bool:
    """Whether the name of a shard leads out of the folder of its index."""
    pure = PurePosixPath(name)
    return pure.is_absolute() or ".." in pure.parts or "\\" in name or not pure.parts


def _missing(index: Path, missing: list[str], n_all: int, beside: list[str]) -> BrokenFile:
    n = len(missing)
    found = "; ".join(unfinished_of(index.parent, missing[:20]))
    cure = f"Download {'it' if n == 1 else 'them'} into {index.parent}"
    return BrokenFile(
        f"{n} of {n_all} shards {'is' if n == 1 else 'are'} missing",
        file=index,
        key="weight_map",
        expected=f"the {'file' if n == 1 else 'files'} {some_names(missing)}",
        found=found or None,
        cure=f"{cure}, or name {some_names(beside)}, also here." if beside else f"{cure}.",
    )


def check_index(index: Path, weight_map: dict[str, str], shards: dict[str, Path], checkpoint: Checkpoint) -> list[str]:
    """Notes on where index and shards disagree. Raises BrokenFile for names that are in no shard."""
    if agree(weight_map, shards, checkpoint.entries):
        return []
    if missing := absent_from_shards(index, weight_map, checkpoint.entries):
        raise missing
    wrong = [
        k
        for k, e in checkpoint.entries.items()
        # `is` first: comparing two paths takes a microsecond, and there are as many as tensors.
        if k in weight_map and e.file.path is not (named := shards[weight_map[k]]) and e.file.path != named
    ]
    extra = sum(k not in weight_map for k in checkpoint.entries)
    notes = []
    if wrong:
        notes.append(f"the index names another shard for {len(wrong)} tensors, {wrong[0]} first")
    if extra:
        notes.append(f"{extra} tensors in the shards are not in the index")
    return notes


def absent_from_shards(index: Path, weight_map: dict[str, str], entries: Entries) -> BrokenFile | None:
    """The error of names that are in no shard; None where there are none."""
    missing = [k for k in weight_map if k not in entries]
    return None if not missing else BrokenFile(
        "names in the index are in no shard",
        file=index,
        key=missing[0],
        expected=f"it in {weight_map[missing[0]]}",
        found=f"{len(missing)} of {len(weight_map)} names missing",
        cure="Index and shards are of different versions: download all again.",
    )  # fmt: skip


def agree(weight_map: dict[str, str], shards: dict[str, Path], entries: Entries) -> bool:
    """Whether all names are in both, and each in the shard that the index names, told without looking at each."""
    if not entries.in_columns or len(weight_map) != len(entries):
        return False
    return all(
        {shard and shards[shard] for shard in set(map(weight_map.get, block.names))} <= {block.file.path}
        for block in entries.blocks
    )
