"""Which files of a folder are the model. One is taken where a loader would take it or only one is there; what was left
aside is said, and where nothing decides it is an error that lists the possibilities."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from qinspect.inspector.checkpoint.beside import gguf_beside_model, is_readable, what_is_here
from qinspect.inspector.checkpoint.hub import newest_snapshot, snapshot_note
from qinspect.inspector.checkpoint.index import shards_named
from qinspect.inspector.checkpoint.layouts import trainer_layout
from qinspect.inspector.checkpoint.listing import (
    EXPORTED,
    INDEX,
    SUFFIXES,
    Listing,
    is_repository,
    listing,
    shard_sets,
    some_names,
)
from qinspect.inspector.checkpoint.nested import holds_exports_alone, nested_models
from qinspect.inspector.errors import CannotOpen
from qinspect.inspector.text import some, visible

USUAL_NAMES = (
    "model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin",
    "adapter_model.safetensors", "adapter_model.bin",
)  # fmt: skip
"""In the order in which transformers 5 looks (modeling_utils, `_get_resolved_checkpoint_files`): of each the one file,
then its index. Then diffusers' name, and peft's."""

MAX_DEPTH = 4
"""How many folders deep a model is looked for: `hub/models--org--name/snapshots/REVISION`."""


@dataclass(frozen=True, slots=True)
class ChosenFiles:
    """folder: where it lies, perhaps inside the one that was named. index: of a sharded model, else None. files: those
    to open; beside an index, those that could be opened instead. notes: how it was chosen."""

    folder: Path
    index: Path | None
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def choose(folder: Path, depth: int = 0) -> ChosenFiles:
    """The model of a folder. Raises CannotOpen where there is none, or several and nothing decides; OSError."""
    here = listing(folder)
    if is_repository(here) and (snapshot := newest_snapshot(folder)):
        inner = choose(snapshot, depth + 1)
        return replace(inner, notes=(*filter(None, [snapshot_note(snapshot)]), *inner.notes))
    if usual := _by_usual_name(here):
        return usual
    if found := trainer_layout(here):
        return ChosenFiles(folder, None, (found.file,), (found.note,))
    _refuse_pipeline(here)
    indexes = here.indexes()
    if len(indexes) == 1:
        return ChosenFiles(folder, folder / indexes[0], _single_files(here))
    names = _models(here, [n for n in here.weights() if is_readable(folder / n)])
    if len(indexes) > 1 or names:
        return _by_what_there_is(here, names, indexes)
    return _inside(here, depth)


def _by_usual_name(here: Listing) -> ChosenFiles | None:
    for name in USUAL_NAMES:
        index = here.path / (name + INDEX)
        if name in here.files and not (index.name in here.files and name in shards_named(index)):
            return ChosenFiles(here.path, None, (here.path / name,))
        if index.name in here.files:
            return ChosenFiles(here.path, index, _single_files(here))
    return None


def _single_files(here: Listing) -> tuple[Path, ...]:
    return tuple(here.path / n for n in shard_sets(here.weights())[1] if is_readable(here.path / n))


def _models(here: Listing, names: list[str]) -> list[str]:
    """`names` without what belongs to a model (an importance matrix, a projector) or was exported from it, where there
    is one."""
    names = [n for n in names if not n.endswith(EXPORTED)] or names
    several = len(names) > 1
    beside = [n for n in names if several and n.endswith(".gguf") and gguf_beside_model(here.path / n)]
    return [n for n in names if n not in beside] or names


def _by_what_there_is(here: Listing, names: list[str], indexes: list[str]) -> ChosenFiles:
    sets, single = shard_sets(names)
    safetensors = [n for n in names if n.endswith(".safetensors")]
    nested = [p for p in _nested(here) if not holds_exports_alone(p)]
    listed = [*indexes, *(f"{s.first} ({len(s.names)} of {s.total} shards)" for s in sets), *single]
    if nested:
        raise CannotOpen(
            "holds several models, here and in folders, and nothing says which is meant",
            file=here.path,
            found=f"{some_names(listed)}; in folders {some_names(_names_of(nested, here))}",
            cure=f"Name the file or the folder: {here.path / listed[0].partition(' (')[0]}, or {nested[0]}",
        )
    chosen = safetensors or names
    if not indexes and (len(listed) == 1 or (safetensors and _one_model(chosen))):
        notes: tuple[str, ...] = ()
        if len(safetensors) > 1 and len(shard_sets(safetensors)[0]) != 1:
            notes = (f"no index says which files belong together: opened all, {some_names(safetensors, 5)}",)
        return ChosenFiles(here.path, None, tuple(here.path / n for n in chosen), notes)
    if not indexes and len(shard_sets(chosen)[0]) == 1 and not shard_sets(chosen)[1]:
        return ChosenFiles(here.path, None, tuple(here.path / n for n in chosen))
    raise CannotOpen(
        "holds several checkpoints and no index" if not indexes else "holds several indexes",
        file=here.path,
        expected=f"one file, or an *{INDEX}",
        found=some_names(listed, 5),
        cure="Name the file.",
    )


def _one_model(names: list[str]) -> bool:
    """Whether files may be one model: two sets of shards are two savings of it."""
    return len(shard_sets(names)[0]) <= 1


def _refuse_pipeline(here: Listing) -> None:
    if "model_index.json" not in here.files:
        return
    parts = _names_of(_nested(here), here)
    if parts:
        raise CannotOpen(
            f"is a diffusers pipeline of {some(len(parts), 'model')}",
            file=here.path,
            expected="one model",
            found=some_names([*parts, *here.weights()], 8),
            cure=f"Name one of them: {here.path / parts[0]}",
        )


def _inside(here: Listing, depth: int) -> ChosenFiles:
    nested = _nested(here) if depth < MAX_DEPTH else []
    if len(nested) == 1:
        inner = choose(nested[0], depth + 1)
        return ChosenFiles(
            inner.folder, inner.index, inner.files, (f"the only model inside {visible(str(here.path))}", *inner.notes)
        )
    if nested:
        latest = _latest(nested)
        names = _names_of(nested, here)
        raise CannotOpen(
            f"holds no checkpoint itself, but {len(nested)} folders that do",
            file=here.path,
            expected="one model",
            found=some_names(names, 8),
            cure=f"Did you mean {latest or nested[0]}{', the last one' if latest else ''}?",
        )
    what = what_is_here(here)
    raise CannotOpen(
        "holds no checkpoint that qinspect reads" if what.found else "holds no checkpoint",
        file=here.path,
        expected=f"a file ending in {', '.join(SUFFIXES)}",
        found=what.found or None,
        cure=what.cure or "Give the folder that the model was saved to.",
    )


def _nested(here: Listing) -> list[Path]:
    return nested_models(here, MAX_DEPTH, USUAL_NAMES)


def _names_of(folders: list[Path], here: Listing) -> list[str]:
    return [str(p.relative_to(here.path)) for p in folders]


def _latest(folders: list[Path]) -> Path | None:
    """The last of `checkpoint-500`, `checkpoint-1000`."""
    numbered = {p: re.fullmatch(r"(.*?)[-_]?(\d{1,12})", p.name) for p in folders}
    stems = {m[1] for m in numbered.values() if m}
    if not all(numbered.values()) or len(stems) != 1:
        return None
    return max(folders, key=lambda p: int(m[2]) if (m := numbered[p]) else -1)
