"""torch.save files: the zip archives of torch >= 1.6, TorchScript's among them, the pickles before, plain pickles."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from qinspect.inspector.checkpoint.columns import Columns, Entries
from qinspect.inspector.checkpoint.dtypes import DType
from qinspect.inspector.checkpoint.pickle_objects import Global, Opaque
from qinspect.inspector.checkpoint.pickle_walker import PickleWalker
from qinspect.inspector.checkpoint.pickled_structure import MAX_PICKLE_BYTES
from qinspect.inspector.checkpoint.source import Memory, Source
from qinspect.inspector.checkpoint.tensor import Entry, Tensor, Value
from qinspect.inspector.checkpoint.torch_columns import TorchColumns, in_columns
from qinspect.inspector.checkpoint.torch_entries import entries_of
from qinspect.inspector.checkpoint.torch_kinds import outline, what_it_is
from qinspect.inspector.checkpoint.torch_objects import KNOWN
from qinspect.inspector.checkpoint.torch_shortcut import TensorShortcut
from qinspect.inspector.checkpoint.torch_storage import Checksum, Locate, Storage, bytes_of, storage_from_id
from qinspect.inspector.checkpoint.zip_directory import ZipDirectory
from qinspect.inspector.errors import BrokenFile, CannotOpen, QinspectError, UnsafePickle
from qinspect.inspector.text import brief, visible

MAX_LEGACY_PICKLE_BYTES = 1 << 26
"""How far into a legacy file its pickles may reach; the raw storages follow."""

_LARGE_PICKLE_BYTES = 1 << 15
"""From here on it is worth while to look whether another file has the same: 200 tensors."""

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MAGIC_BYTES = _LEGACY_MAGIC.to_bytes(10, "little")
_LEGACY_PROTOCOL = 1001
_OLD_BEGINNINGS = (b"(", b"]", b"}", b"c")
"""How a pickle of protocol 0 or 1 begins: a mark, an empty container, a name."""

_LOAD_BYTES = "torch.storage._load_from_bytes"
_COPY_AGAIN = "The file is damaged: copy it again."


def read_zip(file: Source, number: Callable[[float, int], object] | None = None) -> Entries:
    """Entries of a torch zip archive, in the order of the state_dict, its tensors in columns. number: as PickleWalker
    takes it; long lists of plain values are then not summed up. What is odd is added to the file's notes.

    Raises BrokenFile where the archive or its pickle is damaged, UnsafePickle where it would run something, CannotOpen
    for zip files that torch did not write and for an object that holds no tensor.
    """
    directory = ZipDirectory(file)
    names = [*directory.members, *directory.compressed]
    pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CannotOpen(
            "is a zip archive, but not one that torch.save wrote",
            file=file.path,
            expected="one member data.pkl",
            found=f"{len(pickles)} of {len(names)} members",
        )
    archive = _Archive(file, directory, pickles[0][: -len("data.pkl")])
    archive.check_byte_order()
    raw, start = archive.pickle("data.pkl")
    script = archive.has("constants.pkl")
    digest = b"" if number or script or len(raw) < _LARGE_PICKLE_BYTES else _digest(raw)
    made = archive.again(digest) if digest else None
    if made is None:
        n_notes = len(file.notes)
        root, storages = archive.walk(raw, start, "data/", number)
        entries = _listed(file, root, archive.n_pickled, number is None)
        if script:
            file.notes.append("is a TorchScript program: the tensors of its modules are shown, its code is not read")
            constants = archive.walk(*archive.pickle("constants.pkl"), "constants/")[0]
            if constants != ():
                entries = {**entries_of({"CONSTANTS": constants}, file, archive.n_pickled)[0], **entries}
        _check_object(file, root, entries)
        del raw, root
        directory.members.clear()  # 250 bytes each, and every storage knows its own place by now
        made = in_columns(entries, file, storages)
        if digest and made.in_columns and made.blocks and len(file.notes) == n_notes:
            _known[digest] = made.blocks[0]
    directory.members.clear()
    return made


def _digest(raw: bytes) -> bytes:
    from hashlib import blake2b  # OpenSSL comes with it, 3 MB

    return blake2b(raw, digest_size=32).digest()


_known: WeakValueDictionary[bytes, Columns] = WeakValueDictionary()
"""By the digest of the pickle. Two models that are compared mostly have the same: that of a file that is still open is
not walked again, where it holds nothing but tensors."""


def _note_names(file: Source, walker: PickleWalker) -> None:
    if names := walker.calls.only_named():
        listed = ", ".join(visible(name, 120) for name in names[:5]) + (", ..." if len(names) > 5 else "")
        file.notes.append(f"names {listed}, which can attack, without calling {'it' if len(names) == 1 else 'them'}")


def _listed(file: Source, root: object, n_bytes: int, summarise: bool = True) -> dict[str, Entry]:
    """The entries of what a pickle of `n_bytes` holds. What is to be said of it is added to the file's notes."""
    entries, notes = entries_of(root, file, n_bytes, summarise)
    about = what_it_is(root)
    file.notes.extend([f"is {about}"] if about else [])
    file.notes.extend(notes)
    return entries


def _check_object(file: Source, root: object, entries: Mapping[str, Entry]) -> None:
    """Raises CannotOpen for one object of an unknown class in which there is no tensor: nothing could be shown."""
    if isinstance(root, Opaque) and not any(isinstance(e, Tensor) for e in entries.values()):
        about = what_it_is(root)
        raise CannotOpen(
            f"is {about or 'one pickled object'} (class {root.name[:200]}), not a checkpoint",
            file=file.path,
            expected="a state_dict",
            found="no tensor in it",
            cure="qinspect runs no pickle. Name the file of the weights.",
        )


class _Archive:
    """The members of one torch archive. root: the folder that they are in, with its slash."""

    def __init__(self, file: Source, directory: ZipDirectory, root: str) -> None:
        self.file = file
        self.directory = directory
        self.root = root
        self.n_pickled = 0

    def has(self, name: str) -> bool:
        """Whether there is a member of this name below the root."""
        return self.root + name in self.directory.members or self.root + name in self.directory.compressed

    def check_byte_order(self) -> None:
        """Raises CannotOpen for the numbers of a big-endian machine."""
        order = self.root + "byteorder"
        if order not in self.directory.members:
            return
        n = min(16, self.directory.members[order][0])
        if (found := self.file.read(self.directory.locate(order), n)) != b"little":
            raise CannotOpen(
                "was not written on a little-endian machine",
                file=self.file.path,
                key=order,
                expected="little",
                found=found.decode("latin-1"),
                cure="Save it again on this one.",
            )

    def pickle(self, name: str) -> tuple[bytes, int]:
        """The pickle `name` and where it begins."""
        member = self.root + name
        self.directory.refuse_compressed(member)
        size, _ = self.directory.members[member]
        if size > MAX_PICKLE_BYTES:
            raise _too_large(self.file, size, member)
        start = self.directory.locate(member)
        raw = self.file.read(start, size)
        self.n_pickled += size
        if (crc := self.directory.checksum_at(start)) and zlib.crc32(raw) != crc:
            self.file.notes.append(f"{self.file.path.name} is damaged: the CRC of {member} does not match its bytes")
        return raw, start

    def walk(
        self, raw: bytes, start: int, data: str, number: Callable[[float, int], object] | None = None
    ) -> tuple[Any, dict[str, Storage]]:
        """The object in a pickle, and its storages by key: the members below `data`."""
        storages: dict[str, Storage] = {}
        find = self._finder(self.root + data)
        walker = PickleWalker(
            raw,
            self.file.path,
            _with_nested(self.file),
            lambda pid: storage_from_id(pid, find, self.file, storages),
            start,
            number,
            TensorShortcut(find, storages),
        )
        root = walker.load()
        _note_names(self.file, walker)
        return root, storages

    def again(self, digest: bytes) -> Entries | None:
        """What it holds, where a file that is still open has the same pickle and storages of the same sizes."""
        known = _known.get(digest)
        if not isinstance(known, TorchColumns):
            return None
        folder = self.root + "data/"
        storages = known.storages.of_file(self.file, self.directory.members, folder, *self._places(folder))
        if storages is None:
            return None
        made = Entries()
        made.add(known.with_storages(storages))
        return made

    def _places(self, folder: str) -> tuple[Locate, Checksum]:
        """What finds the data of the members below `folder`, and their checksums."""
        directory = self.directory

        def locate(key: str, size: int, position: int) -> int:
            return directory.locate_at(folder + key, size, position)

        def checksum(key: str, offset: int) -> tuple[str, int]:
            return folder + key, directory.checksum_at(offset)

        return locate, checksum

    def _finder(self, folder: str) -> Callable[[str, DType, int], Storage]:
        """What makes a storage of the members below `folder`."""
        directory, file = self.directory, self.file
        locate, checksum = self._places(folder)

        def find(key: str, dtype: DType, n: int) -> Storage:
            member = directory.members.get(folder + key)
            if member is None:
                directory.refuse_compressed(folder + key)
                raise BrokenFile(
                    "a storage is missing from the archive", file=file.path, key=folder + key, cure=_COPY_AGAIN
                )
            available, place = member
            if bytes_of(dtype, n) > available:
                raise _shorter(file, key, bytes_of(dtype, n), available)
            return Storage(key, dtype, available, file, place, locate, checksum)

        return find


class _PlacedFloat(float):
    """A float that knows where its eight bytes are."""

    offset = 0

    @classmethod
    def at(cls, value: float, offset: int) -> _PlacedFloat:
        made = cls(value)
        made.offset = offset
        return made


def float_places(file: Source) -> dict[str, int]:
    """Where in a torch zip archive the eight bytes, big-endian, of each Python float are, by the name of its entry.

    Two names may share a place. Numbers that are stored otherwise (as text) are left out. Raises as `read_zip` does.
    """
    found: dict[str, int] = {}
    for entry in read_zip(file, _PlacedFloat.at).others():
        if isinstance(entry, Value) and isinstance(entry.value, _PlacedFloat):
            found[entry.name] = entry.value.offset
    return found


def kind_of_pickle(head: bytes) -> str:
    """`torch legacy` or `pickle`, by the first 16 bytes."""
    return "torch legacy" if _MAGIC_BYTES in head else "pickle"


def is_old_pickle(file: Source) -> bool:
    """Whether the file is a pickle of protocol 0 or 1, which has no mark of its own: it can be walked to an end that is
    the file's, or would run something on the way. Much text begins as such a pickle does."""
    if file.read(0, 1) not in _OLD_BEGINNINGS:
        return False
    head = file.read(0, min(file.size, MAX_PICKLE_BYTES))
    walker = PickleWalker(head, file.path, {}, lambda pid: pid)
    try:
        walker.load()
    except UnsafePickle:
        return bool(walker.calls.attack())
    except BrokenFile:
        return False
    return not head[walker.position :].strip()


def read_legacy(file: Source) -> Entries:
    """Entries of a pre-1.6 torch.save file, pickles in a row and then the raw bytes of the storages; or of a plain
    pickle with tensors in it.

    Raises CannotOpen, with what it is, for a pickle without tensors; UnsafePickle and BrokenFile as the walker does.
    """
    is_torch = _MAGIC_BYTES in file.read(0, min(file.size, 16))
    if not is_torch and file.size > MAX_PICKLE_BYTES:
        raise _too_large(file, file.size, None)
    head = file.read(0, min(file.size, MAX_LEGACY_PICKLE_BYTES if is_torch else MAX_PICKLE_BYTES))
    storages: dict[str, Storage] = {}
    find = _unplaced(file)
    walker = PickleWalker(
        head,
        file.path,
        _with_nested(file),
        lambda pid: storage_from_id(pid, find, file, storages),
        shortcut=TensorShortcut(find, storages),
    )
    root = walker.load()
    if root == _LEGACY_MAGIC and walker.position < len(head):
        root = _legacy_root(file, walker, storages)
        _note_names(file, walker)
        entries = _listed(file, root, walker.position)
        _check_object(file, root, entries)
        return in_columns(entries, file, storages)
    _note_names(file, walker)
    return Entries(_plain(file, root, walker.position))


def _plain(file: Source, root: object, n_bytes: int) -> dict[str, Entry]:
    """Entries of a pickle that torch.save did not write. Raises CannotOpen where there is no tensor in it."""
    entries: dict[str, Entry] = {}
    if isinstance(root, (dict, list, tuple, Opaque)):
        entries = _listed(file, root, n_bytes)
    if not any(isinstance(e, Tensor) for e in entries.values()):
        about = what_it_is(root)
        raise CannotOpen(
            "is a pickle, but not one that torch.save wrote" + (f": {about}" if about else ""),
            file=file.path,
            expected="tensors or arrays in it, torch's magic number, or a zip archive",
            found=outline(root),
            cure="qinspect runs no pickle. Load it where you trust it and save its tensors as safetensors.",
        )
    return entries


def _unplaced(file: Source) -> Callable[[str, DType, int], Storage]:
    """Makes storages of which the place is known only after the pickle: they lie behind it."""

    def find(key: str, dtype: DType, n: int) -> Storage:
        return Storage(key, dtype, bytes_of(dtype, n), file, 0, _not_placed)

    return find


def _not_placed(key: str, _size: int, _place: int) -> int:
    raise AssertionError(f"storage {key} was used before it was placed")


def _legacy_root(file: Source, walker: PickleWalker, storages: dict[str, Storage]) -> Any:
    """What a legacy file holds, behind its magic number. Each storage gets its place."""
    if walker.load() != _LEGACY_PROTOCOL:
        raise CannotOpen(
            "is a pickle, but not one that torch.save wrote",
            file=file.path,
            expected=f"torch's protocol {_LEGACY_PROTOCOL} behind its magic number",
            cure="qinspect runs no pickle. Load it where you trust it and save its tensors as safetensors.",
        )
    system = walker.load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CannotOpen("was written on a big-endian machine", file=file.path, cure="Save it again on this one.")
    root = walker.load()
    keys = walker.load()
    if (
        not isinstance(keys, list)
        or not all(isinstance(k, str) for k in keys)  # str() of what else may be there has no bound
        or sorted(keys) != sorted(storages)
    ):
        raise BrokenFile(
            "the list of storages does not match the pickle",
            file=file.path,
            offset=walker.position,
            expected=f"the keys of {len(storages)} storages, once each",
            found=brief(keys),
            cure=_COPY_AGAIN,
        )
    position = walker.position
    for key in keys:
        storage = storages[key]
        n = int.from_bytes(file.read(position, 8), "little")
        said = storage.nbytes
        position += 8
        storage.place_at(position, n)
        if storage.nbytes < said:
            raise _shorter(file, key, said, storage.nbytes)
        if position + storage.nbytes > file.size:
            raise BrokenFile(
                "a storage reaches beyond the end of the file",
                file=file.path,
                key=f"storage {key}",
                offset=position,
                expected=f"{storage.nbytes} bytes",
                found=f"{file.size - position} bytes",
                cure="The file is truncated: copy it again.",
            )
        position += storage.nbytes
    return root


def _with_nested(file: Source) -> Mapping[str, Global]:
    """The known names, and the one by which a tensor that was pickled without torch.save holds a legacy file of its
    storage."""
    return {**KNOWN, _LOAD_BYTES: Global(_LOAD_BYTES, partial(_nested_storage, file), copies=True)}


def _nested_storage(file: Source, raw: object) -> Storage:
    """The one storage in the bytes of a legacy file. Nothing is nested further."""
    if not isinstance(raw, (bytes, bytearray)):
        raise TypeError("a storage is made of something that is not bytes")
    inner = Memory(bytes(raw), file)
    storages: dict[str, Storage] = {}
    walker = PickleWalker(
        inner.read(0, inner.size), file.path, KNOWN, lambda pid: storage_from_id(pid, _unplaced(inner), inner, storages)
    )
    try:
        root = _legacy_root(inner, walker, storages) if walker.load() == _LEGACY_MAGIC else None
    except QinspectError as e:
        e.offset = None  # it counted from the start of the inner file
        raise
    if not isinstance(root, Storage):
        raise TypeError("the bytes of a storage hold something else")
    return root


def _too_large(file: Source, size: int, key: str | None) -> BrokenFile:
    return BrokenFile(
        "the pickle is too large",
        file=file.path,
        key=key,
        expected=f"at most {MAX_PICKLE_BYTES} bytes",
        found=f"{size}",
        cure="Save model.state_dict() alone.",
    )


def _shorter(file: Source, key: str, expected: int, found: int) -> BrokenFile:
    return BrokenFile(
        "a storage is shorter than the pickle says",
        file=file.path,
        key=f"storage {key}",
        expected=f"{expected} bytes",
        found=f"{found} bytes",
        cure="The file is truncated or damaged: copy it again.",
    )
