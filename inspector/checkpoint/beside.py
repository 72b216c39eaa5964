"""What lies beside the files that were opened, or instead of them: other savings of the model, files of other formats,
downloads that were not finished."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.checkpoint.gguf import counted_tensors, stands_beside
from qinspect.inspector.checkpoint.json_file import read_json
from qinspect.inspector.checkpoint.kinds.kind import SAVE_ARRAYS
from qinspect.inspector.checkpoint.listing import (
    INDEX,
    Listing,
    ShardSet,
    in_hub_cache,
    is_weights,
    shard_sets,
    some_names,
    unfinished_of,
)
from qinspect.inspector.checkpoint.safetensors import looks_like_safetensors, read_header
from qinspect.inspector.checkpoint.tensor import Tensor
from qinspect.inspector.checkpoint.zip_directory import ZipDirectory
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.text import some, visible

_MAX_COUNTED_BYTES = 1 << 22
"""Headers, pickles and indexes up to this size are read to count the tensors of a file that is not opened."""
_MAX_NAMED = 5
_OTHER_FORMATS = (
    ".h5", ".hdf5", ".keras", ".msgpack", ".tflite", ".npz", ".npy", ".nemo", ".engine", ".plan",
    ".trt", ".pte", ".pt2", ".ot", ".pb", ".mlmodel", ".ggml", ".tar", ".gz", ".xz", ".zst", ".zip",
    ".index",
)  # fmt: skip


_FOLDERS = (
    ({"Manifest.json", "Data"}, "a Core ML package", "Give the checkpoint that it was made from."),
    ({"manifest.ocdbt"}, "an Orbax checkpoint (JAX)", f"Restore it with orbax.checkpoint; {SAVE_ARRAYS}"),
    ({"_METADATA", "_sharding"}, "an Orbax checkpoint (JAX)", f"Restore it with orbax.checkpoint; {SAVE_ARRAYS}"),
    ({"_CHECKPOINT_METADATA"}, "an Orbax checkpoint (JAX)", f"Restore it with orbax.checkpoint; {SAVE_ARRAYS}"),
    ({".zgroup"}, "a Zarr store", f"Read its arrays with zarr; {SAVE_ARRAYS}"),
)
"""Names that a folder has, and what it then is."""


@dataclass(frozen=True, slots=True)
class Instead:
    """What a folder has instead of a checkpoint. found: a list with what each is. cure: what to do with the first."""

    found: str
    cure: str


def is_readable(path: Path) -> bool:
    """Whether a file can be what it is named. `.bin` may be anything, so its first bytes are asked."""
    if path.suffix != ".bin":
        return True
    try:
        with closing(File(path)) as file:
            head = file.read(0, min(file.size, 16))
            return head[:2] == b"PK" or looks_like_safetensors(head, file.size) or looks_like_pickle(head)
    except QinspectError:
        return False


def gguf_beside_model(path: Path) -> str:
    """What a GGUF file is that belongs to a model and is none, in its own word; "" for a model, and for others."""
    try:
        with closing(File(path)) as file:
            return stands_beside(file)
    except QinspectError:
        return ""


def looks_like_pickle(head: bytes) -> bool:
    """Whether the first bytes can be a pickle of protocol 2 to 5."""
    return head[:1] == b"\x80" and head[1:2] <= b"\x05" and any(head[2:8])


def not_opened(here: Listing, opened: Sequence[Path], inside: Sequence[Path]) -> Iterator[str]:
    """One sentence for each other model in the folder, and for what is broken off. inside: folders in it that hold
    models, none of which was opened."""
    names = {p.name for p in opened if p.parent == here.path}
    others = [n for n in here.weights() if n not in names and is_readable(here.path / n)]
    sets, single = shard_sets(others)
    told = [_told_set(here, s, opened) for s in sets] + [_told(here, n, opened) for n in single]
    taken = some_names(sorted(names)) if names else "the folder's other files"
    for sentence in told[:_MAX_NAMED]:
        yield f"opened {taken}; also here, not opened: {sentence}"
    if len(told) > _MAX_NAMED:
        yield f"also here, not opened: {some(len(told) - _MAX_NAMED, 'more model')}"
    if formats := [n for n in here.files if n.endswith(_OTHER_FORMATS)]:
        yield f"also here, in formats that are not read: {some_names(formats)}"
    if inside:
        yield f"folders inside hold models, not opened: {some_names(str(p.relative_to(here.path)) for p in inside)}"
    yield from _broken_off(here, names)


def _broken_off(here: Listing, opened: set[str]) -> Iterator[str]:
    if links := [n for n in here.dangling if is_weights(n)]:
        yield f"links that lead nowhere (a download not finished, or a copy without the files): {some_names(links)}"
    for part in here.unfinished:
        of = part.removesuffix(".aria2")
        if part.endswith(".aria2") and of in opened:
            yield f"{visible(part)} is beside it: aria2 has not finished {visible(of)}"
        elif is_weights(part.rpartition(".")[0]):
            yield f"a download that was not finished: {visible(part)}"


def _told_set(here: Listing, shards: ShardSet, opened: Sequence[Path]) -> str:
    names = [shards.names[i] for i in sorted(shards.names)]
    more = f" and {some(len(names) - 1, 'more shard')}" if len(names) > 1 else ""
    index = shards.stem + shards.rest + INDEX
    counted = _n_indexed(here.path / index, names) if index in here.files else 0
    said = (
        f"{some(counted, 'tensor')} by {visible(index)}"
        if counted
        else f"{len(names)} of {some(shards.total, 'shard')}"
    )
    return f"{some_names(names[:1])}{more} ({said}){_newer(here, names, opened)}"


def _told(here: Listing, name: str, opened: Sequence[Path]) -> str:
    n = _n_tensors(here.path / name)
    counted = "" if n is None else f" ({some(n, 'tensor')})"
    return f"{some_names([name])}{counted}{_newer(here, [name], opened)}"


def _newer(here: Listing, names: list[str], opened: Sequence[Path]) -> str:
    """`, newer` where it was written last. In a cache the time is that of the download."""
    if in_hub_cache(here.path):
        return ""
    try:
        of_others = max((here.path / n).stat().st_mtime_ns for n in names)
        return ", newer" if of_others > max(p.stat().st_mtime_ns for p in opened) else ""
    except OSError:
        return ""


def _n_indexed(index: Path, shards: list[str]) -> int:
    """How many tensors an index gives these files; 0 where it is too large to ask."""
    try:
        if index.stat().st_size > _MAX_COUNTED_BYTES:
            return 0
        weight_map = read_json(index).get("weight_map")
    except (OSError, QinspectError):
        return 0
    return sum(v in shards for v in weight_map.values()) if isinstance(weight_map, dict) else 0


def _n_tensors(path: Path) -> int | None:
    """How many tensors a file holds, where that is cheap to say."""
    from qinspect.inspector.checkpoint.torch_file import read_zip

    try:
        with closing(File(path)) as file:
            head = file.read(0, min(file.size, 16))
            if looks_like_safetensors(head, file.size):
                small = int.from_bytes(head[:8], "little") <= _MAX_COUNTED_BYTES
                return len(read_header(file)) if small else None
            if (n := counted_tensors(head)) is not None:
                return n
            if head[:2] == b"PK":
                members = ZipDirectory(file).members
                pickled = sum(size for name, (size, _) in members.items() if name.endswith("data.pkl"))
                if pickled <= _MAX_COUNTED_BYTES // 4:
                    return sum(isinstance(e, Tensor) for e in read_zip(file).values())
    except QinspectError:
        pass
    return None


def what_is_here(here: Listing) -> Instead:
    """What a folder without a checkpoint holds, for the error."""
    from qinspect.inspector.checkpoint.kinds import foreign_kind, unknown_kind

    told, cure = [], ""
    for marks, what, how in _FOLDERS:
        if marks <= {*here.files, *here.folders}:
            return Instead(what, how)
    candidates = [n for n in here.files if n.endswith(_OTHER_FORMATS) or n in here.weights()]
    for name in candidates[:_MAX_NAMED]:
        try:
            with closing(File(here.path / name)) as file:
                kind = foreign_kind(file) or unknown_kind(here.path / name)
        except QinspectError:
            kind = None
        told.append(f"{name} ({kind.what})" if kind else name)
        cure = cure or (kind.cure or "" if kind else "")
    if len(candidates) > _MAX_NAMED:
        told.append(f"{len(candidates) - _MAX_NAMED} more")
    if states := here.states():
        told.append(f"the state of a training run ({some_names(states)})")
        cure = cure or "Name one of these files to look into it."
    links = [n for n in here.dangling if is_weights(n)]
    missing = list(unfinished_of(here.path, links)) if links or in_hub_cache(here.path) or here.unfinished else []
    told += missing + [f"{n}, a download that was not finished" for n in here.unfinished if not links]
    if missing or here.unfinished:
        cure = "Finish the download, or copy the folder with the files that its links lead to."
    return Instead("; ".join(told), cure)
