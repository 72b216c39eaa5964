"""As much of a checkpoint as can be opened, and what is wrong with its files.

`open_checkpoint` refuses the whole where a part is damaged: who compares must not compare a part in silence. Who looks
for damage wants the rest looked at too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qinspect.inspector.checkpoint.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.columns import Columns, Entries
from qinspect.inspector.checkpoint.damage import Damage, DamageKind
from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.checkpoint.folder import ChosenFiles, choose
from qinspect.inspector.checkpoint.gguf import is_part_of_model, looks_like_gguf
from qinspect.inspector.checkpoint.graph import GraphEntries
from qinspect.inspector.checkpoint.hub import find_in_cache
from qinspect.inspector.checkpoint.index import absent_from_shards, agree, is_outside, read_weight_map
from qinspect.inspector.checkpoint.json_file import read_json
from qinspect.inspector.checkpoint.listing import INDEX, is_weights, listing, shard_sets, some_names, unfinished_of
from qinspect.inspector.checkpoint.opening import (
    CONFIG_FILES,
    graph_of,
    metadata_of,
    open_checkpoint,
    read_config,
    read_one,
)
from qinspect.inspector.checkpoint.sound_header import sound_part
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.tensor import Entry
from qinspect.inspector.errors import BrokenFile, CannotOpen, CannotRead, QinspectError, UnsafePickle
from qinspect.inspector.progress import Steps
from qinspect.inspector.text import count, size, some


@dataclass(frozen=True, slots=True)
class OpenedSound:
    """checkpoint: what could be opened. damage: what is wrong with its files. files: those that were looked at, opened
    or not. one_of: where a shard was named by itself, of how many."""

    checkpoint: Checkpoint
    damage: tuple[Damage, ...]
    files: tuple[Path, ...]
    one_of: int = 1


def open_sound(path: str | Path, progress: Steps | None = None) -> OpenedSound:
    """Open what can be of a checkpoint, reading headers only, and say what is wrong with its files.

    Raises CannotOpen as `open_checkpoint` for what is not there, may not be read, or is no checkpoint by its name
    either, and where nothing decides which of several models is meant.
    """
    try:
        checkpoint = open_checkpoint(path, progress)
    except QinspectError as e:
        return _Rest(str(path), e).opened()
    return looked_over(checkpoint, Path(path).expanduser())


def looked_over(checkpoint: Checkpoint, place: Path) -> OpenedSound:
    """What is odd about the files of a checkpoint that opens. place: what was named: a file, a folder, an index."""
    files = tuple(f.path for f in checkpoint.files)
    damage = [*_of_configs(files[0].parent)] if files else []
    index = _index_of(place)
    if index is not None and files:
        damage += _said_otherwise(index, checkpoint)
    elif index is None and files and (checkpoint.path.is_dir() or is_part_of_model(checkpoint.metadata)):
        damage += _missing_by_name(files[0].parent, files)
        damage += _left_over_index(files)
    alone = shard_sets([files[0].name])[0] if len(files) == 1 and place.is_file() else []
    return OpenedSound(checkpoint, tuple(damage), files, alone[0].total if alone else 1)


def _index_of(place: Path) -> Path | None:
    if place.name.endswith(INDEX):
        return place
    try:
        return choose(place if place.exists() else find_in_cache(str(place))).index
    except (QinspectError, OSError, ValueError):
        return None


def _left_over_index(files: Sequence[Path]) -> Iterator[Damage]:
    """An index beside a model in one file, which names other files."""
    index = files[0].with_name(files[0].name + INDEX)
    if len(files) != 1 or not index.is_file():
        return
    try:
        named = sorted({*read_weight_map(index).values()})
    except QinspectError as e:
        yield Damage(DamageKind.INDEX, e)
        return
    missing = [n for n in named if is_outside(n) or not (index.parent / n).is_file()]
    if missing:
        yield Damage(DamageKind.INDEX, BrokenFile(
            f"the index names {'a shard that is' if len(missing) == 1 else f'{count(len(missing))} shards that are'} "
            "not there, and not the one file that is", file=index, key="weight_map",
            expected=f"{files[0].name}, or no index", found=some_names(missing),
            cure="Remove the index: a loader that goes by it finds no file, another reads the one that is there.",
        ))  # fmt: skip


def _of_configs(folder: Path) -> Iterator[Damage]:
    for name in CONFIG_FILES:
        if (folder / name).is_file():
            try:
                read_json(folder / name, unique=True)
            except QinspectError as e:
                yield Damage(DamageKind.CONFIG, e)


def _missing_by_name(folder: Path, files: Sequence[Path]) -> Iterator[Damage]:
    for shards in shard_sets(f.name for f in files)[0]:
        if missing := shards.missing():
            one, left = len(missing) == 1, "; ".join(unfinished_of(folder, missing[:20]))
            yield Damage(DamageKind.MISSING, BrokenFile(
                f"{count(len(missing))} of {some(shards.total, 'shard')} {'is' if one else 'are'} missing by the names "
                "of the others", file=folder, expected=f"the {'file' if one else 'files'} {some_names(missing)}",
                found=left or "nothing of this name",
                cure=f"Download {'it' if one else 'them'}; an index would say what was in {'it' if one else 'them'}.",
            ))  # fmt: skip


def _said_otherwise(index: Path, checkpoint: Checkpoint) -> Iterator[Damage]:
    """Where an index and shards that are all there disagree."""
    weight_map = read_weight_map(index)
    shards = {name: index.parent / name for name in {*weight_map.values()}}
    if agree(weight_map, shards, checkpoint.entries):
        return
    wrong, extra = [], []
    for name, entry in checkpoint.entries.items():
        named = weight_map.get(name)
        if named is None:
            extra.append(name)
        elif shards[named] != entry.file.path:
            wrong.append((name, named, entry.file.path.name))
    if wrong:
        name, named, found = wrong[0]
        yield Damage(DamageKind.INDEX, BrokenFile(
            f"the index names another shard for {some(len(wrong), 'tensor')}", file=index, key=name,
            expected=f"it in {named}", found=f"it in {found}",
            cure="Save the model again, or take the index that belongs to the shards.",
        ))  # fmt: skip
    if extra:
        yield Damage(DamageKind.INDEX, BrokenFile(
            f"{some(len(extra), 'tensor')} in the shards {'is' if len(extra) == 1 else 'are'} not in the index",
            file=index, key=extra[0], expected="every tensor in weight_map",
            found="a loader that goes by the index leaves them out, others load them",
            cure="Save the model again, or take the index that belongs to the shards.",
        ))  # fmt: skip


class _Rest:
    """Of a checkpoint that is refused. refused: why."""

    def __init__(self, typed: str, refused: QinspectError) -> None:
        self.typed = typed
        self.refused = refused
        self.damage: list[Damage] = []
        self.weight_map: dict[str, str] = {}
        self.unread: set[Path] = set()

    def opened(self) -> OpenedSound:
        try:
            place, choice = self._place()
            files = self._files(choice)
        except (OSError, ValueError, RuntimeError, QinspectError) as e:  # RuntimeError: ~user, and there is none
            raise self.refused from e
        found = [self._of_file(path) for path in files]
        kept = [one for one in found if one is not None]
        entries, metadata = self._together(kept)
        self._check_index(choice, entries)
        if not self.weight_map and place.is_dir():  # no index, or none that can be read
            self.damage += _missing_by_name(choice.folder, files)
        if not self.damage:
            raise self.refused  # what is wrong is none of what is known
        self.damage += _of_configs(choice.folder)
        config, notes = read_config(choice.folder)
        said = tuple(str(d.error) for d in self.damage if d.kind is not DamageKind.CONFIG)
        sources = [one.source for one in kept]
        graph = graph_of(kept[0].entries)[0] if len(kept) == 1 else None
        kind = kept[-1].kind if kept else ""
        checkpoint = Checkpoint(place, kind, sources, entries, config, metadata, (*said, *notes), graph)
        return OpenedSound(checkpoint, tuple(self.damage), tuple(files))

    def _place(self) -> tuple[Path, ChosenFiles]:
        """What is meant, and its files. Raises as `choose`, and what refused it where it is no file or folder."""
        place = Path(self.typed).expanduser()
        if not place.exists():
            place = find_in_cache(self.typed)
        if place.is_dir():
            return place, choose(place)
        if place.name.endswith(INDEX):
            return place.parent, ChosenFiles(place.parent, place, ())
        return place, ChosenFiles(place.parent, None, (place,))

    def _files(self, choice: ChosenFiles) -> list[Path]:
        """Those to open, by the index where there is one."""
        if choice.index is None:
            return list(choice.files)
        try:
            self.weight_map = read_weight_map(choice.index)
        except BrokenFile as e:
            self.damage.append(Damage(DamageKind.INDEX, e))
            return self._without_index(choice.index) or list(choice.files)
        there, missing = [], []
        for name in dict.fromkeys(self.weight_map.values()):
            if is_outside(name):
                self.damage.append(_outside(choice.index, name))
            elif (choice.folder / name).is_file():
                there.append(choice.folder / name)
            else:
                missing.append(name)
        if missing:
            self.damage.append(_not_there(choice.index, sorted(missing), self.weight_map))
        return there

    def _without_index(self, index: Path) -> list[Path]:
        stem, _, rest = index.name.removesuffix(INDEX).rpartition(".")
        sets = shard_sets(listing(index.parent).files)[0]
        names = [n for s in sets if (s.stem, s.rest) == (stem, f".{rest}") for _, n in sorted(s.names.items())]
        return [index.parent / name for name in names]

    def _of_file(self, path: Path) -> _FoundFile | None:
        """The entries of one file; None where nothing of it can be had. Raises CannotOpen where it may not be read, and
        what refused the checkpoint where it is none."""
        file = File(path)
        try:
            kind, found = read_one(file)
            return _FoundFile(file, kind, found)
        except UnsafePickle as e:
            self.damage.append(Damage(DamageKind.UNSAFE, e))
        except CannotOpen as e:
            if not _is_surely_no_weights(file):
                raise self.refused from e
            self.damage.append(Damage(DamageKind.NO_WEIGHTS, e))
        except BrokenFile as e:
            return self._rest_of(file, e)
        except CannotRead as e:
            raise self.refused from e
        file.close()
        return None

    def _rest_of(self, file: File, refused: BrokenFile) -> _FoundFile | None:
        if not file.size:
            self.damage.append(Damage(DamageKind.NO_WEIGHTS, refused))
            return None
        part = sound_part(file)
        if part is None:
            self.damage.append(Damage(DamageKind.DAMAGED, refused))
            return None
        n, said = len(part.columns), part.n_said
        kept = f"; {count(n)} of {some(said, 'tensor')} {'is' if said == 1 else 'are'} sound"
        if part.said_bytes is not None:
            short = BrokenFile(
                "is truncated", file=file.path,
                expected=f"{part.said_bytes:,} bytes ({size(part.said_bytes)}) by its header",
                found=f"{file.size:,} ({file.size / part.said_bytes:.1%}){kept}",
                cure="Download or copy it again.",
            )  # fmt: skip
            self.damage.append(Damage(DamageKind.TRUNCATED, short, n < said))
        elif part.twice is not None:
            self.damage.append(Damage(DamageKind.TWICE, part.twice))
        else:
            self.damage.append(Damage(DamageKind.DAMAGED, refused, n < said))
        kind = "GGUF" if looks_like_gguf(file.read(0, 8)) else "safetensors"
        return _FoundFile(file, "ONNX" if isinstance(part.columns, GraphEntries) else kind, part.columns)

    def _together(self, found: Sequence[_FoundFile]) -> tuple[Entries, dict[str, str]]:
        """All entries. Of a tensor in two files that which the index means, else that in the first."""
        entries, metadata = Entries(), dict[str, str]()
        doubled: list[tuple[str, str, Path]] = []
        for one in found:
            metadata.update(metadata_of(one.entries))
            if entries.first_shared(one.entries) is None:
                entries.add(one.entries)
                continue
            rest: dict[str, Entry] = {}
            for name, entry in _items(one.entries):
                if name in entries:
                    doubled.append((name, entries[name].file.path.name, one.source.path))
                    if self.weight_map.get(name) != one.source.path.name:
                        continue
                rest[name] = entry
            entries = Entries({**dict(entries.items()), **rest})
        if doubled:
            name, first, second = doubled[0]
            n = len({d[0] for d in doubled})
            self.damage.append(Damage(DamageKind.TWICE, BrokenFile(
                f"{some(n, 'tensor')} {'is' if n == 1 else 'are'} in two files", file=second, key=name,
                expected="each tensor once", found=f"it also in {first}",
                cure="Remove the file that does not belong, or name the right one.",
            ), False))  # fmt: skip
        return entries, metadata

    def _check_index(self, choice: ChosenFiles, entries: Entries) -> None:
        """Names of the index that are in none of the shards that could be read whole."""
        if choice.index is None or not self.weight_map:
            return
        broken = {str(d.error.file) for d in self.damage}
        files = {n: choice.folder / n for n in {*self.weight_map.values()} if not is_outside(n)}
        read_whole = {n for n, path in files.items() if path.is_file() and str(path) not in broken}
        of_whole = {name: shard for name, shard in self.weight_map.items() if shard in read_whole}
        if error := absent_from_shards(choice.index, of_whole, entries):
            self.damage.append(Damage(DamageKind.INDEX, error, True))


@dataclass(frozen=True, slots=True)
class _FoundFile:
    source: Source
    kind: str
    entries: Columns | Entries = field(repr=False)


def _is_surely_no_weights(file: File) -> bool:
    """Of a file that no reader takes: whether it is text or zeros under a name of weights, or by its name of a format
    that is read. Another name may be that of a format that is not (`.bin`)."""
    from qinspect.inspector.checkpoint.kinds import HEAD_BYTES
    from qinspect.inspector.checkpoint.kinds.words import text_kind
    from qinspect.inspector.checkpoint.kinds.zeros import zeros_kind

    if not is_weights(file.path.name):
        return False
    head = file.read(0, min(file.size, HEAD_BYTES))
    sure = file.path.suffix in (".safetensors", ".gguf")
    return sure or text_kind(head, file.path) is not None or zeros_kind(file, head) is not None


def _items(found: Columns | Entries) -> Iterable[tuple[str, Entry]]:
    return ((t.name, t) for t in found.tensors()) if isinstance(found, Columns) else found.items()


def _outside(index: Path, name: str) -> Damage:
    error = BrokenFile(
        "a shard lies outside the checkpoint's folder", file=index, key="weight_map",
        expected="file names inside the folder", found=name, cure="Do not trust this checkpoint.",
    )  # fmt: skip
    return Damage(DamageKind.OUTSIDE, error, True)


def _not_there(index: Path, missing: list[str], weight_map: dict[str, str]) -> Damage:
    n, n_all = len(missing), len({*weight_map.values()})
    gone = {*missing}
    n_tensors = sum(shard in gone for shard in weight_map.values())
    left = "; ".join(unfinished_of(index.parent, missing[:20]))
    error = BrokenFile(
        f"{n} of {some(n_all, 'shard')} {'is' if n == 1 else 'are'} missing, and with {'it' if n == 1 else 'them'} "
        f"{count(n_tensors)} of {some(len(weight_map), 'tensor')}",
        file=index, key="weight_map", expected=f"the {'file' if n == 1 else 'files'} {some_names(missing)}",
        found=left or "nothing of this name",
        cure=f"Download {'it' if n == 1 else 'them'} into {index.parent}.",
    )  # fmt: skip
    return Damage(DamageKind.MISSING, error)
