"""From what the user typed to an opened checkpoint: a file, a folder, a sharded index, or a name in the hub cache."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qinspect.inspector.checkpoint.beside import looks_like_pickle, not_opened
from qinspect.inspector.checkpoint.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.columns import Columns, Entries
from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.checkpoint.folder import MAX_DEPTH, USUAL_NAMES, ChosenFiles, choose
from qinspect.inspector.checkpoint.gguf import is_part_of_model, looks_like_gguf, missing_parts, read_gguf
from qinspect.inspector.checkpoint.graph import Graph, GraphEntries
from qinspect.inspector.checkpoint.hub import find_in_cache, snapshot_note
from qinspect.inspector.checkpoint.index import check_index, find_shards, read_weight_map
from qinspect.inspector.checkpoint.json_file import read_json
from qinspect.inspector.checkpoint.layouts import DCP_METADATA
from qinspect.inspector.checkpoint.listing import INDEX, listing, shard_sets, some_names, unfinished_of
from qinspect.inspector.checkpoint.nested import nested_models
from qinspect.inspector.checkpoint.safetensors import looks_like_safetensors, read_header
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.tensor import Entry
from qinspect.inspector.checkpoint.torch_file import is_old_pickle, kind_of_pickle, read_legacy, read_zip
from qinspect.inspector.collector import collector_resting
from qinspect.inspector.errors import BrokenFile, CannotOpen, QinspectError, UnsafePickle
from qinspect.inspector.progress import Steps
from qinspect.inspector.several_models import models_in, said_of
from qinspect.inspector.text import some

CONFIG_FILES = ("config.json", "quantize_config.json", "quant_config.json", "hf_quant_config.json",
                "quantization_config.json", "quantization_map.json", "quanto_qmap.json",
                "model.safetensors.index.json.meta.json", "adapter_config.json")  # fmt: skip
_TEXT_BYTES = 1 << 16
_AS_TEXT = (
    "It was saved as text once: bytes EF BF BD stand where others were, which are lost. Download or copy it again, "
    "as binary data."
)


Arrived = Callable[[Mapping[str, Entry]], None]
"""Called with all entries so far after each file of a sharded checkpoint but the last: for a screen that fills."""


def open_checkpoint(path: str | Path, progress: Steps | None = None, arrived: Arrived | None = None) -> Checkpoint:
    """Open a checkpoint, reading headers only.

    `path` is a file, a folder, an `*.index.json`, or `org/name` in the local Hugging Face cache.
    Raises CannotOpen, BrokenFile or UnsafePickle; never runs anything that the files contain.
    """
    try:
        place = Path(path).expanduser()
    except RuntimeError as e:  # ~user, and there is no such user
        raise CannotOpen(f"cannot be opened: {e}", file=str(path)) from e
    try:
        with collector_resting():
            return _open_place(place, str(path), progress, arrived)
    except (OSError, ValueError) as e:  # a name with NUL, a loop of links, no permission
        raise CannotOpen(f"cannot be opened: {getattr(e, 'strerror', None) or e}", file=str(path)) from e


def _open_place(place: Path, typed: str, progress: Steps | None, arrived: Arrived | None) -> Checkpoint:
    from_cache = not place.exists()
    if from_cache:
        place = _resolved(place, typed)
    if place.is_dir():
        made = _open_folder(place, progress, arrived)
        note = snapshot_note(place) if from_cache else ""
        made.notes = (note, *made.notes) if note else made.notes
        return made
    if place.name.endswith(INDEX):
        return _open_index(place, (), progress, arrived)
    if place.name == DCP_METADATA:
        return _open_distributed(place)
    return _open_file(place, progress, arrived)


def open_source(source: Source) -> Checkpoint:
    """The checkpoint that these bytes are, whatever they come from, without what may lie beside it. Raises as
    `open_checkpoint`."""
    kind, found = read_one(source)
    entries = Entries()
    entries.add(found)
    graph, beside = graph_of(found)
    return Checkpoint(source.path, kind, [source, *beside], entries, {}, metadata_of(found), graph=graph)


def _resolved(place: Path, name: str) -> Path:
    """A name in the hub cache. A link that leads nowhere says so."""
    if place.is_symlink():
        raise CannotOpen(
            "is a link that leads nowhere",
            file=place,
            expected=f"the file {place.readlink()}",
            found="; ".join(unfinished_of(place.parent, [])) or None,
            cure="The download was not finished, or the file was removed or not copied: download it again.",
        )
    return find_in_cache(name)


def _open_file(file: Path, progress: Steps | None, arrived: Arrived | None) -> Checkpoint:
    """One file, named by itself. A part of a split GGUF model is nothing alone: all its parts are opened."""
    checkpoint = _open_files(file, [file], file.parent, progress, arrived)
    if is_part_of_model(checkpoint.metadata):
        checkpoint.close()
        return _open_split(file, progress, arrived)
    for shards in shard_sets([file.name])[0]:
        if shards.total > 1:
            note = f"one of {shards.total} shards by its name: the others were not opened"
            checkpoint.notes = (*checkpoint.notes, note)
    return checkpoint


def _open_split(file: Path, progress: Steps | None, arrived: Arrived | None) -> Checkpoint:
    """All parts of a split GGUF model, by the name of one."""
    sets = [s for s in shard_sets(listing(file.parent).files)[0] if file.name in s.names.values()]
    names = [sets[0].names[i] for i in sorted(sets[0].names)] if sets else [file.name]
    path = file if len(names) == 1 else file.parent
    checkpoint = _open_files(path, [file.parent / n for n in names], file.parent, progress, arrived)
    lacking = _missing(ChosenFiles(file.parent, None, tuple(file.parent / n for n in names)))
    checkpoint.notes = (*lacking, *checkpoint.notes)
    return checkpoint


def _open_folder(folder: Path, progress: Steps | None, arrived: Arrived | None) -> Checkpoint:
    choice = choose(folder)
    if choice.index is not None:
        checkpoint = _open_index(choice.index, choice.files, progress, arrived)
    elif choice.files[0].name == DCP_METADATA:
        checkpoint = _open_distributed(choice.files[0])
    else:
        checkpoint = _open_files(choice.folder, list(choice.files), choice.folder, progress, arrived)
    opened = [f.path for f in checkpoint.files]
    here = listing(choice.folder)
    nested = nested_models(here, MAX_DEPTH, USUAL_NAMES)
    checkpoint.inside = tuple(p for p in nested if not any(o.is_relative_to(p) for o in opened))
    checkpoint.notes = (
        *choice.notes,
        *_missing(choice),
        *checkpoint.notes,
        *not_opened(here, opened, checkpoint.inside),
    )
    return checkpoint


def _open_distributed(metadata: Path) -> Checkpoint:
    """A folder of torch.distributed.checkpoint, by its `.metadata`."""
    from qinspect.inspector.checkpoint.distributed import read_metadata

    file = File(metadata)
    entries, pieces, others = read_metadata(file)
    config, notes = read_config(metadata.parent)
    if others:
        notes = (f"not listed: {some(others, 'object')} other than tensors", *notes)
    return Checkpoint(metadata.parent, "torch distributed", [file, *pieces], Entries(entries), config, {}, notes)


def _missing(choice: ChosenFiles) -> list[str]:
    """Shards that are not there by the names of those that are. With an index, that is an error."""
    if choice.index is not None:
        return []
    notes = []
    for shards in shard_sets(f.name for f in choice.files)[0]:
        if missing := shards.missing():
            one = len(missing) == 1
            lacking = f"{len(missing)} of {some(shards.total, 'shard')} {'is' if one else 'are'} missing"
            left = "".join(f"; {what}" for what in unfinished_of(choice.folder, missing[:20]))
            notes.append(f"{lacking}: {some_names(missing)}{left}. What {'it' if one else 'they'} held is not here")
    return notes


def _open_index(index: Path, beside: Sequence[Path], progress: Steps | None, arrived: Arrived | None) -> Checkpoint:
    """A sharded checkpoint. Raises BrokenFile for shards outside the folder or missing, and names in no shard."""
    weight_map = read_weight_map(index)
    shards = find_shards(index, weight_map, [p.name for p in beside])
    checkpoint = _open_files(index.parent, list(shards.values()), index.parent, progress, arrived)
    checkpoint.notes = (*checkpoint.notes, *check_index(index, weight_map, shards, checkpoint))
    return checkpoint


def _open_files(
    path: Path, paths: list[Path], config_folder: Path, progress: Steps | None, arrived: Arrived | None
) -> Checkpoint:
    so_far = Entries()
    all_found: list[Columns | Entries] = []
    metadata: dict[str, str] = {}
    files: list[Source] = []
    kind = ""
    for done, p in enumerate(paths):
        if progress:
            progress(done, len(paths))
        if arrived and so_far:
            arrived(so_far)
        file = File(p)
        files.append(file)
        kind, found = read_one(file)
        metadata.update(metadata_of(found))
        all_found.append(found)
        if arrived:
            so_far.add(found)
    if progress:
        progress(len(paths), len(paths))
    entries = Entries.of_files(all_found)
    if len(entries) < sum(map(len, all_found)):
        raise _in_two_files(paths, all_found)
    config, notes = read_config(config_folder)
    whole = not any(shards.missing() for shards in shard_sets(p.name for p in paths)[0])
    if whole and (lacking := missing_parts(metadata, len(entries))):
        notes = (lacking, *notes)
    if several := models_in(entries):
        notes = (*notes, said_of(several))
    graphs = [graph_of(found) for found in all_found]
    files += (file for _, beside in graphs for file in beside)
    graph = graphs[0][0] if len(graphs) == 1 else None
    return Checkpoint(path, kind, files, entries, config, metadata, notes, graph)


def metadata_of(found: Columns | Entries) -> Mapping[str, str]:
    """What the file of these entries says beside them."""
    return found.metadata if isinstance(found, (Columns, GraphEntries)) else {}


def graph_of(found: Columns | Entries) -> tuple[Graph | None, Sequence[Source]]:
    """(the graph of the file of these entries, the files beside it that some of them are in)."""
    return (found.graph, found.files) if isinstance(found, GraphEntries) else (None, ())


def _in_two_files(paths: Sequence[Path], all_found: Sequence[Columns | Entries]) -> BrokenFile:
    """An entry in one of the files is in one before it too."""
    entries = Entries()
    for path, found in zip(paths, all_found, strict=True):
        name = entries.first_shared(found)
        if name is not None:
            return BrokenFile(
                "the tensor is in two files",
                file=path,
                key=name,
                expected="each tensor once",
                found=f"it also in {entries[name].file.path.name}",
                cure="Remove the file that does not belong, or name the right one.",
            )
        entries.add(found)
    raise AssertionError("each name is in one file")


def read_one(file: Source) -> tuple[str, Columns | Entries]:
    """(kind, entries) of one file. A damaged one that a conversion of text went over is called that. Raises as
    `open_checkpoint`."""
    try:
        return _read_kind(file)
    except BrokenFile as e:
        if _went_through_text(file):
            e.cure = _AS_TEXT
        raise


def _went_through_text(file: Source) -> bool:
    """Whether the first bytes are UTF-8 whole and some are the sign that stands for what was none: in binary data
    those that are no text were lost then."""
    head = file.read(0, min(file.size, _TEXT_BYTES))
    try:
        return "\N{REPLACEMENT CHARACTER}" in getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False


def _read_kind(file: Source) -> tuple[str, Columns | Entries]:
    """(kind, entries), told by the first bytes; the name decides only where they do not."""
    if file.size == 0:
        raise BrokenFile("is empty", file=file.path, cure="Download or copy it again.")
    head = file.read(0, min(file.size, 16))
    if head[:4] == b"PK\x03\x04" or head[:4] == b"PK\x05\x06":
        return "torch zip", _read_zip(file)
    if looks_like_gguf(head):
        return "GGUF", read_gguf(file)
    # Before the pickles: a header of 640 bytes begins as a pickle of protocol 2 does, 80 02.
    if looks_like_safetensors(head, file.size):
        return "safetensors", read_header(file)
    if looks_like_pickle(head) or is_old_pickle(file):
        return kind_of_pickle(head), read_legacy(file)
    from qinspect.inspector.checkpoint.kinds import foreign_kind, looks_like_onnx

    if looks_like_onnx(head, file):
        from qinspect.inspector.checkpoint.onnx import read_onnx

        return "ONNX", read_onnx(file)
    if kind := foreign_kind(file):
        raise kind.error(file.path)
    if file.path.suffix == ".safetensors":  # the header may begin with spaces
        return "safetensors", read_header(file)
    raise _unknown(file, head)


def _read_zip(file: Source) -> Entries:
    try:
        return read_zip(file)
    except UnsafePickle:
        raise
    except QinspectError as e:
        from qinspect.inspector.checkpoint.kinds import zip_kind

        if kind := zip_kind(file):
            raise kind.error(file.path) from e
        raise


def _unknown(file: Source, head: bytes) -> CannotOpen:
    """A file whose content says nothing: perhaps its name does."""
    from qinspect.inspector.checkpoint.kinds import unknown_kind

    if kind := unknown_kind(file.path):
        return kind.error(file.path)
    return CannotOpen(
        "is not a checkpoint of a kind that qinspect knows",
        file=file.path,
        offset=0,
        expected="a safetensors or GGUF header, an ONNX model, a zip archive or a pickle",
        found=f"bytes {head[:8].hex(' ')}",
        cure="Give the checkpoint's file or folder.",
    )


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
