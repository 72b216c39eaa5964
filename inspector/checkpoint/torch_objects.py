"""What a torch pickle may name, and the handles we make of it instead of torch's objects.

Sources of the shapes of these calls: torch/_utils.py (`_rebuild_*`) and torch/serialization.py
(persistent ids) of torch 1.6 to 2.13.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qinspect.inspector.checkpoint.dtypes import DTYPES, TORCH_DTYPES, TORCH_STORAGES, DType
from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.checkpoint.pickle_objects import Global, Record
from qinspect.inspector.checkpoint.tensor import MAX_DIMS, MAX_ELEMENTS, MAX_EMPTY_ELEMENTS, Entry, Tensor, Value
from qinspect.inspector.errors import BrokenFile
from qinspect.inspector.text import brief

MAX_DEPTH = 64
"""Containers may nest this deep; real checkpoints nest 3."""
MAX_NAME_BYTES_PER_BYTE = 64
"""Names together may be this much longer than the pickle: a long one over many short entries is repeated for each."""

_SHARED_FACTOR = 16
_SHARED_FREE = 10_000


Locate = Callable[[str, int, int], int]


class Storage:
    """A torch storage: a run of bytes that several tensors may share.

    place: where its header is. locate: finds, from key, nbytes and place, the offset of its first byte in the file, on
    first use (a zip member's header is read then).
    """

    __slots__ = ("_locate", "_offset", "dtype", "file", "key", "nbytes")

    def __init__(self, key: str, dtype: DType, nbytes: int, file: File, place: int, locate: Locate) -> None:
        self.key = key
        self.dtype = dtype
        self.nbytes = nbytes
        self.file = file
        self._locate = locate
        self._offset = ~place  # negative until it is located

    @property
    def offset(self) -> int:
        """Byte position of the storage in its file."""
        if self._offset < 0:
            self._offset = self._locate(self.key, self.nbytes, ~self._offset)
        return self._offset


class TorchTensor(Tensor):
    """A tensor in a torch storage; `_start` counts from the storage, not from the file."""

    __slots__ = ("storage",)

    def __init__(
        self, storage: Storage, dtype: DType, shape: tuple[int, ...], strides: tuple[int, ...] | None, start: int
    ) -> None:
        super().__init__("", dtype, shape, strides, storage.file, start)
        self.storage = storage

    @property
    def offset(self) -> int:
        """Byte position of the first element in the file."""
        return self.storage.offset + self._start

    @property
    def location(self) -> tuple[object, ...]:
        """Equal for tied tensors: the same view of the same storage."""
        return (id(self.storage), self._start, self.dtype.name, self.shape, self.strides)


def _tensor(storage: object, dtype: DType, offset: object, shape: object, strides: object) -> TorchTensor:
    if not isinstance(storage, Storage):
        raise TypeError("a tensor without a storage")
    if isinstance(shape, Record) and shape.name == "torch.Size" and shape.args:
        shape = shape.args[0]
    if not (isinstance(shape, tuple) and isinstance(strides, tuple) and type(offset) is int and offset >= 0):
        raise TypeError("a tensor's offset, shape or strides are of the wrong type")
    if len(shape) != len(strides) or len(shape) > MAX_DIMS:
        raise ValueError(f"a tensor's shape and strides differ in length, or are over {MAX_DIMS} dimensions")
    expected_stride = 1
    contiguous = True
    last = 0
    extent = 1
    empty = False
    for d, s in zip(reversed(shape), reversed(strides), strict=True):
        if type(d) is not int or type(s) is not int or not (0 <= d <= MAX_ELEMENTS and 0 <= s <= MAX_ELEMENTS):
            raise ValueError("a dimension or stride is no size")
        extent *= d or 1
        if d != 1 and s != expected_stride:
            contiguous = False
        expected_stride *= d
        empty = empty or d == 0
        last += (d - 1) * s if d else 0
    needed = 0 if empty else offset + last + 1
    if extent > MAX_ELEMENTS or (empty and extent > MAX_EMPTY_ELEMENTS) or offset > MAX_ELEMENTS:
        raise ValueError(f"a tensor's shape {list(shape)} or offset {brief(offset)} is larger than any file")
    if dtype.nbytes(needed) > storage.nbytes:
        raise ValueError(
            f"a tensor of shape {list(shape)[:8]}, strides {list(strides)[:8]} and offset {offset} needs "
            f"{dtype.nbytes(needed)} bytes, its storage {storage.key!r} has {storage.nbytes}"
        )
    width = dtype.bits // 8
    return TorchTensor(storage, dtype, shape, None if contiguous else strides, offset * width)


def _rebuild_tensor(storage: object, offset: object, shape: object, strides: object, *_: object) -> TorchTensor:
    if not isinstance(storage, Storage):
        raise TypeError("a tensor without a storage")
    return _tensor(storage, storage.dtype, offset, shape, strides)


def _rebuild_tensor_v3(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    _grad: object,
    _hooks: object,
    dtype: object,
    *_: object,
) -> TorchTensor:
    if not isinstance(dtype, Global) or not dtype.name.startswith("torch."):
        raise TypeError("a tensor without a dtype")
    return _tensor(storage, TORCH_DTYPES[dtype.name[6:]], offset, shape, strides)


def _rebuild_qtensor(storage: object, offset: object, shape: object, strides: object, *_: object) -> TorchTensor:
    return _rebuild_tensor(storage, offset, shape, strides)


def _same(data: object, *_: object) -> object:
    return data


def _ordered_dict(*args: object) -> dict[object, object]:
    if not args:
        return {}
    (pairs,) = args
    if not isinstance(pairs, list):
        raise TypeError("an OrderedDict is made of something that is no list of pairs")
    made: dict[object, object] = {}
    for pair in pairs:
        key, value = pair
        if not isinstance(key, (str, int)) or (isinstance(key, int) and abs(key) >= 1 << 63):
            raise TypeError("an OrderedDict key is no plain value")
        made[key] = value
    return made


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise TypeError("bytes in an unknown encoding")
    return text.encode("latin-1")


def _size(items: object = ()) -> tuple[object, ...]:
    if not isinstance(items, (tuple, list)):
        raise TypeError("a torch.Size is made of something that is no list of sizes")
    return tuple(items)


KNOWN: Mapping[str, Global] = {
    g.name: g
    for g in (
        Global("collections.OrderedDict", _ordered_dict, copies=True),
        Global("torch._utils._rebuild_tensor", _rebuild_tensor),
        Global("torch._utils._rebuild_tensor_v2", _rebuild_tensor),
        Global("torch._utils._rebuild_tensor_v3", _rebuild_tensor_v3),
        Global("torch._utils._rebuild_qtensor", _rebuild_qtensor),
        Global("torch._utils._rebuild_parameter", _same),
        Global("torch._utils._rebuild_parameter_with_state", _same),
        Global("torch.serialization._get_layout"),
        Global("torch.storage.UntypedStorage"),
        Global("torch.storage.TypedStorage"),
        Global("torch.UntypedStorage"),
        Global("torch.Size", _size, copies=True),
        Global("torch.device"),
        Global("torch.per_tensor_affine"),
        Global("torch.per_channel_affine"),
        Global("_codecs.encode", _encode, copies=True),
        *(Global(f"torch.{name}") for name in TORCH_STORAGES if name != "UntypedStorage"),
        *(Global(f"torch.{name}") for name in TORCH_DTYPES),
    )
}
"""Everything a checkpoint's pickle may name. Formats whose classes must be recorded (never run) add theirs."""


def storage_from_id(
    pid: Any, file: File, find: Callable[[str], tuple[int, int, Locate]], made: dict[str, Storage]
) -> Storage:
    """The storage of a persistent id `("storage", class, key, location, n_elements, ...)`.

    `find(key)` gives the number of bytes that are really there, their place and how to locate them. Raises BrokenFile
    where the id is malformed or claims more elements than are stored.
    """
    if not _is_storage_id(pid):
        raise BrokenFile(
            "a storage reference is malformed",
            file=file.path,
            expected="('storage', type, key, location, size)",
            found=brief(pid),
            cure="The file is damaged: copy it again.",
        )
    _, kind, key, _, n, *more = pid
    if any(m is not None for m in more):
        raise BrokenFile(
            "a storage is a view of another one, as torch before 0.4 wrote them",
            file=file.path,
            key=f"storage {key}",
            cure="Load it with torch and save it again.",
        )
    storage = made.get(key)
    dtype = DTYPES.get(TORCH_STORAGES.get(kind.name.rpartition(".")[2], ""))
    if dtype is None:
        raise BrokenFile("the storage type is unknown", file=file.path, key=f"storage {key}", found=kind.name)
    if storage is None:
        available, place, locate = find(key)
        if dtype.nbytes(n) > available:
            raise BrokenFile(
                "a storage is shorter than the pickle says",
                file=file.path,
                key=f"storage {key}",
                expected=f"{dtype.nbytes(n)} bytes",
                found=f"{available} bytes",
                cure="The file is truncated or damaged: copy it again.",
            )
        storage = made[key] = Storage(key, dtype, available, file, place, locate)
    elif storage.dtype is not dtype:
        raise BrokenFile(
            "one storage is used with two types",
            file=file.path,
            key=f"storage {key}",
            expected=storage.dtype.name,
            found=dtype.name,
            cure="The file is damaged: copy it again.",
        )
    return storage


def _is_storage_id(pid: Any) -> bool:
    """`("storage", Global, str, _, int, ...)`; a `match` would take thrice the time."""
    return (
        isinstance(pid, (tuple, list))
        and len(pid) >= 5
        and pid[0] == "storage"
        and isinstance(pid[1], Global)
        and isinstance(pid[2], str)
        and isinstance(pid[4], int)
        and 0 <= pid[4] <= MAX_ELEMENTS
    )


def entries_of(root: object, file: File, limit: int) -> dict[str, Entry]:
    """The tree of containers that a pickle holds as a flat mapping, names joined by dots.

    `limit`, the bytes of the pickle, bounds the entries and their names. Raises BrokenFile where containers are
    shared to multiply (a "billion laughs" file), for depth over MAX_DEPTH, for a name that two entries have, and
    where the root is no container.
    """
    if isinstance(root, TorchTensor):
        root = {"tensor": root}
    if not isinstance(root, (dict, list, tuple)):
        raise BrokenFile(
            "holds no dictionary of tensors",
            file=file.path,
            expected="a state_dict",
            found=type(root).__name__,
            cure="Save model.state_dict() rather than something else.",
        )
    entries: dict[str, Entry] = {}
    shapes: dict[tuple[int, ...], tuple[int, ...]] = {}  # a model has few: one object each saves 8 MB in 60,000 tensors
    seen: set[int] = set()
    n_distinct = n_characters = 0
    todo: list[tuple[str, Any, int]] = [("", root, 0)]
    while todo:
        prefix, node, depth = todo.pop()
        if isinstance(node, (dict, list, tuple)) and (node or not prefix):
            if depth > MAX_DEPTH:
                raise BrokenFile(
                    "containers nest too deeply, or hold themselves",
                    file=file.path,
                    key=prefix,
                    expected=f"at most {MAX_DEPTH} levels",
                    cure="Save model.state_dict() alone.",
                )
            if id(node) not in seen:
                seen.add(id(node))
                n_distinct += len(node)
            n = len(entries) + len(todo) + len(node)
            keys = node if isinstance(node, dict) else ()
            n_characters += len(prefix) * len(node) + sum(len(k) for k in keys if isinstance(k, (str, bytes)))
            if n > min(limit, _SHARED_FACTOR * n_distinct + _SHARED_FREE) or (
                n_characters > MAX_NAME_BYTES_PER_BYTE * limit
            ):
                raise BrokenFile(
                    "its containers or names are shared to multiply, or hold themselves",
                    file=file.path,
                    key=prefix or None,
                    expected="each entry stored once",
                    found=f"{n} entries or more, from a pickle of {limit} bytes",
                    cure="The file is damaged or made to exhaust memory.",
                )
            items = node.items() if isinstance(node, dict) else enumerate(node)
            children = [(f"{prefix}.{k}" if prefix else str(k), v, depth + 1) for k, v in items]
            todo.extend(reversed(children))
            continue
        if prefix in entries:
            raise BrokenFile(
                "two entries have the same name",
                file=file.path,
                key=prefix,
                expected="each name once",
                cure="Rename one where the file was made: 'a.b' and {'a': {'b': ...}} are told by the same path.",
            )
        entry = entries[prefix] = _entry(prefix, node, file)
        if isinstance(entry, Tensor):
            entry.shape = shapes.setdefault(entry.shape, entry.shape)
    return entries


def _entry(name: str, node: object, file: File) -> Entry:
    if isinstance(node, TorchTensor):
        if node.name:  # the same object under a second key: tied
            again = TorchTensor(node.storage, node.dtype, node.shape, node.strides, node._start)
            again.name = name
            return again
        node.name = name
        return node
    if isinstance(node, Global):
        return Value(name, node.name, file)
    if isinstance(node, Record):
        return Value(name, f"<{node.name}>", file)
    if isinstance(node, Storage):
        return Value(name, f"<storage of {node.dtype.name}, {node.nbytes} bytes>", file)
    return Value(name, node, file)
