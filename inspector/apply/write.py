"""The new checkpoint: every file copied, with the bytes changed that a plan changes. Whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qinspect.inspector.apply.archive import with_checksums
from qinspect.inspector.apply.edits import Edits, edited
from qinspect.inspector.apply.places import edits_of
from qinspect.inspector.apply.plan import Plan
from qinspect.inspector.apply.provenance import (
    Origin,
    SourceFile,
    config_bytes,
    entry_of,
    sidecar_bytes,
    updated_metadata,
)
from qinspect.inspector.calibrate.checkpoint import check_target
from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.json_file import read_json
from qinspect.inspector.checkpoint.listing import SUFFIXES
from qinspect.inspector.checkpoint.opening import CONFIG_FILES
from qinspect.inspector.checkpoint.safetensors import header_bytes
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.errors import CannotOpen, CannotRead, QinspectError
from qinspect.inspector.noise.declared import SIDECAR
from qinspect.inspector.whole_file import new_folder

Progress = Callable[[str, int, int], None]
"""Called with a phase, bytes done, bytes in all. May raise to cancel."""

CONFIG = "config.json"
METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class Written:
    """A new checkpoint. files: source, size and hash of each weights file. n_changed: bytes of those that are others,
    the safetensors header apart. left_out: files beside them that were not copied: other weights."""

    folder: Path
    files: tuple[SourceFile, ...]
    n_changed: int
    left_out: tuple[str, ...]


def write(plan: Plan, out: Path, origin: Origin, progress: Progress | None = None) -> Written:
    """Write the checkpoint to a new folder `out`, which appears when it is complete.

    Raises CannotOpen where it cannot be written or is not empty, CannotApply where a number cannot be replaced where it
    stands, BrokenFile for a damaged archive, CannotRead where the source changes meanwhile.
    """
    check_target(out)
    checkpoint = plan.fmt.checkpoint
    edits = {
        file: with_checksums(file, e) if checkpoint.kind == "torch zip" else e
        for file, e in edits_of(checkpoint, plan.numbers).items()
    }
    report = progress or _silent
    names = {file: _name(checkpoint, file) for file in checkpoint.files}
    sources = tuple(_hashed(names, report))
    entry = entry_of(plan, origin, sources)
    beside, left_out = _beside(checkpoint)
    total, done = sum(f.size for f in checkpoint.files), 0
    try:
        with new_folder(out) as made:
            for file, name in names.items():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                with (made / name).open("wb") as f:
                    start = 0
                    if checkpoint.kind == "safetensors":
                        start, head = _head(file, plan, entry)
                        f.write(head)
                    for block in edited(file, start, file.size, edits.get(file, {})):
                        f.write(block)
                        done += len(block)
                        report("writing", done, total)
            for path in beside:
                shutil.copyfile(path, made / path.name)
            _describe(made, _folder(checkpoint), plan, entry)
            _check_unchanged(checkpoint)
    except OSError as e:
        raise CannotOpen(f"cannot be written: {e.strerror}", file=out) from e
    return Written(out, sources, sum(_n_changed(file, e) for file, e in edits.items()), left_out)


def _silent(phase: str, done: int, total: int) -> None:
    pass


def _folder(checkpoint: Checkpoint) -> Path:
    return checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent


def _name(checkpoint: Checkpoint, file: Source) -> Path:
    """Where in the folder a file is, and will be."""
    return file.path.relative_to(_folder(checkpoint))


def _hashed(names: Mapping[Source, Path], report: Progress) -> Iterator[SourceFile]:
    total, done = sum(f.size for f in names), 0
    for file, name in names.items():
        digest = hashlib.sha256()
        for block in edited(file, 0, file.size, {}):
            digest.update(block)
            done += len(block)
            report("hashing", done, total)
        yield SourceFile(str(name), file.size, digest.hexdigest())


def _head(file: Source, plan: Plan, entry: Mapping[str, object]) -> tuple[int, bytes]:
    """(where the data of a safetensors file begin, what is to stand before them)."""
    start = 8 + int.from_bytes(file.read(0, 8), "little")
    header = json.loads(file.read(8, start - 8))
    metadata = header.get(METADATA) or {}
    changed = updated_metadata(metadata, plan, entry)
    if changed == metadata:
        return 0, b""
    return start, header_bytes({**header, METADATA: changed})


def _beside(checkpoint: Checkpoint) -> tuple[list[Path], tuple[str, ...]]:
    """Files of the folder that go with the weights, and the names of those that do not: other weights have the scales
    that they had. Of a checkpoint that was named by its file, only what describes it."""
    folder = _folder(checkpoint)
    own = {file.path for file in checkpoint.files}
    found = sorted(p for p in folder.iterdir() if p.is_file() and p not in own)
    if not checkpoint.path.is_dir():
        return [p for p in found if p.name in CONFIG_FILES], ()
    others = [
        p for p in found if p.suffix in SUFFIXES or (p.name.endswith(".index.json") and not _is_of(p, checkpoint))
    ]
    return [p for p in found if p not in others], tuple(p.name for p in others)


def _is_of(index: Path, checkpoint: Checkpoint) -> bool:
    """Whether an index names these files."""
    try:
        weight_map = read_json(index).get("weight_map")
    except QinspectError:
        return False
    named = weight_map.values() if isinstance(weight_map, dict) else ()
    return {n for n in named if isinstance(n, str)} == {str(_name(checkpoint, f)) for f in checkpoint.files}


def _describe(made: Path, source: Path, plan: Plan, entry: Mapping[str, object]) -> None:
    """Add what was done to what the checkpoint says of itself."""
    if plan.fmt.family != "qinspect":
        (made / SIDECAR).write_bytes(sidecar_bytes(source / SIDECAR, entry))
    elif config := config_bytes(source / CONFIG, plan, entry):
        (made / CONFIG).write_bytes(config)


def _check_unchanged(checkpoint: Checkpoint) -> None:
    if changed := checkpoint.changed_files():
        raise CannotRead("the file changed while it was copied", file=changed[0], cure="Apply again.")


def _n_changed(file: Source, edits: Edits) -> int:
    return sum(
        a != b for at, new in edits.items() for a, b in zip(file.read(at, len(new)), new, strict=True)
    )  # fmt: skip
