"""torch.save files: the zip archives of torch >= 1.6, and what can be had of the pickles before them."""

from __future__ import annotations

from collections.abc import Callable

from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.checkpoint.pickle_walker import PickleWalker
from qinspect.inspector.checkpoint.tensor import Entry, Value
from qinspect.inspector.checkpoint.torch_objects import (
    KNOWN,
    Locate,
    Storage,
    TorchTensor,
    entries_of,
    storage_from_id,
)
from qinspect.inspector.checkpoint.zip_directory import ZipDirectory
from qinspect.inspector.errors import BrokenFile, CannotOpen
from qinspect.inspector.text import brief

MAX_PICKLE_BYTES = 1 << 27
"""Largest data.pkl that is walked: 60,000 tensors take 11 MB. An opcode of one byte can make an object of 100."""

MAX_LEGACY_PICKLE_BYTES = 1 << 26
"""How far into a legacy file its pickles may reach; the raw storages follow."""

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def read_zip(file: File, number: Callable[[float, int], object] | None = None) -> dict[str, Entry]:
    """Entries of a torch zip archive, in the order of the state_dict. number: as PickleWalker takes it.

    Raises BrokenFile where the archive or its pickle is damaged, UnsafePickle where it names anything but
    tensors, CannotOpen for TorchScript and for zip files that torch did not write.
    """
    directory = ZipDirectory(file)
    pickles = [name for name in directory.members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CannotOpen(
            "is a zip archive, but not one that torch.save wrote",
            file=file.path,
            expected="one member data.pkl",
            found=f"{len(pickles)} of {len(directory.members)} members",
        )
    root = pickles[0][: -len("data.pkl")]
    if root + "constants.pkl" in directory.members:
        raise CannotOpen(
            "is a TorchScript program, not a checkpoint",
            file=file.path,
            cure="Load it with torch.jit.load and save its state_dict.",
        )
    order = root + "byteorder"
    if order in directory.members:
        n_order = min(16, directory.members[order][0])
        if (found := file.read(directory.locate(order), n_order)) != b"little":
            raise CannotOpen(
                "was not written on a little-endian machine",
                file=file.path,
                key=order,
                expected="little",
                found=found.decode("latin-1"),
                cure="Save it again on this one.",
            )
    size, _ = directory.members[pickles[0]]
    if size > MAX_PICKLE_BYTES:
        raise BrokenFile(
            "the pickle is too large",
            file=file.path,
            key=pickles[0],
            expected=f"at most {MAX_PICKLE_BYTES} bytes",
            found=f"{size}",
            cure="Save model.state_dict() alone.",
        )
    start = directory.locate(pickles[0])
    storages: dict[str, Storage] = {}

    def locate(key: str, size: int, position: int) -> int:
        return directory.locate_at(f"{root}data/{key}", size, position)

    def find(key: str) -> tuple[int, int, Locate]:
        member = directory.members.get(f"{root}data/{key}")
        if member is None:
            raise BrokenFile(
                "a storage is missing from the archive",
                file=file.path,
                key=f"{root}data/{key}",
                cure="The file is damaged: copy it again.",
            )
        return *member, locate

    walker = PickleWalker(
        file.read(start, size),
        file.path,
        KNOWN,
        lambda pid: storage_from_id(pid, file, find, storages),
        start,
        number,
    )
    entries = entries_of(walker.load(), file, size)
    directory.members.clear()  # 250 bytes each, and every storage knows its own place by now
    return entries


class _PlacedFloat(float):
    """A float that knows where its eight bytes are."""

    offset = 0

    @classmethod
    def at(cls, value: float, offset: int) -> _PlacedFloat:
        made = cls(value)
        made.offset = offset
        return made


def float_places(file: File) -> dict[str, int]:
    """Where in a torch zip archive the eight bytes, big-endian, of each Python float are, by the name of its entry.

    Two names may share a place. Numbers that are stored otherwise (as text) are left out. Raises as `read_zip` does.
    """
    found: dict[str, int] = {}
    for name, entry in read_zip(file, _PlacedFloat.at).items():
        if isinstance(entry, Value) and isinstance(entry.value, _PlacedFloat):
            found[name] = entry.value.offset
    return found


def read_legacy(file: File) -> dict[str, Entry]:
    """Entries of a pre-1.6 torch.save file: pickles in a row, then the storages' raw bytes.

    Raises CannotOpen, with what is and is not possible, where the file is another kind of pickle.
    """
    head = file.read(0, min(file.size, MAX_LEGACY_PICKLE_BYTES))
    storages: dict[str, Storage] = {}
    offsets: dict[str, int] = {}

    def find(_: str) -> tuple[int, int, Locate]:
        return file.size, 0, lambda key, _size, _position: offsets[key]

    walker = PickleWalker(head, file.path, KNOWN, lambda pid: storage_from_id(pid, file, find, storages))
    if walker.load() != _LEGACY_MAGIC or walker.load() != _LEGACY_PROTOCOL:
        raise CannotOpen(
            "is a pickle, but not one that torch.save wrote",
            file=file.path,
            expected="torch's magic number, or a zip archive",
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
            cure="The file is damaged: copy it again.",
        )
    position = walker.position
    for key in keys:
        storage = storages[key]
        n = int.from_bytes(file.read(position, 8), "little")
        storage.nbytes = storage.dtype.nbytes(n)
        offsets[key] = position + 8
        position += 8 + storage.nbytes
        if position > file.size:
            raise BrokenFile(
                "a storage reaches beyond the end of the file",
                file=file.path,
                key=f"storage {key}",
                offset=offsets[key],
                expected=f"{storage.nbytes} bytes",
                found=f"{file.size - offsets[key]} bytes",
                cure="The file is truncated: copy it again.",
            )
    entries = entries_of(root, file, walker.position)
    _check_inside(file, entries)
    return entries


def _check_inside(file: File, entries: dict[str, Entry]) -> None:
    """Every tensor lies inside its storage: legacy sizes are known only after the pickle was walked."""
    for e in entries.values():
        if isinstance(e, TorchTensor) and e.n_elements and e._start + e.span_bytes() > e.storage.nbytes:
            raise BrokenFile(
                "a tensor is larger than its storage",
                file=file.path,
                key=e.name,
                expected=f"at most {e.storage.nbytes} bytes",
                found=f"{e._start + e.span_bytes()} bytes",
                cure="The file is damaged: copy it again.",
            )
