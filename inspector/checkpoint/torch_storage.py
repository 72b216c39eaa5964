"""Torch storages and the tensors in them: handles on bytes of the file."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qinspect.inspector.checkpoint.dtypes import DTYPES, TORCH_STORAGES, DType
from qinspect.inspector.checkpoint.pickle_objects import Global
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.tensor import MAX_ELEMENTS, Tensor
from qinspect.inspector.errors import BrokenFile
from qinspect.inspector.text import brief

if TYPE_CHECKING:
    from qinspect.inspector.checkpoint.tensor import Array

Locate = Callable[[str, int, int], int]
"""From key, bytes and place of a storage to the offset of its first byte in the file."""

Checksum = Callable[[str, int], tuple[str, int]]
"""From key and offset of a storage to the name of its zip member and the CRC-32 of it; 0 where there is none."""


class Storage:
    """A torch storage: a run of bytes that several tensors may share.

    place: where its header is. locate: finds the offset of its first byte on first use (a zip member's header is read
    then). checksum: None where nothing vouches for the bytes. identity: equal for two handles on the same storage.
    """

    __slots__ = ("_checksum", "_locate", "_offset", "dtype", "file", "identity", "key", "nbytes")

    def __init__(
        self,
        key: str,
        dtype: DType,
        nbytes: int,
        file: Source,
        place: int,
        locate: Locate,
        checksum: Checksum | None = None,
        identity: object = None,
    ) -> None:
        self.key = key
        self.dtype = dtype
        self.nbytes = nbytes
        self.file = file
        self._locate = locate
        self._checksum = checksum
        self._offset = ~place  # negative until it is located
        self.identity = id(self) if identity is None else identity

    @property
    def place(self) -> int:
        """As it was given; negative, and its offset inverted, where it was located or placed since."""
        return ~self._offset

    @property
    def offset(self) -> int:
        """Byte position of the storage in its file."""
        if self._offset < 0:
            self._offset = self._locate(self.key, self.nbytes, ~self._offset)
        return self._offset

    def place_at(self, offset: int, n: int) -> None:
        """Say where it is and how many of torch's elements it has."""
        self._offset = offset
        self.nbytes = bytes_of(self.dtype, n)

    @property
    def n_elements(self) -> int:
        """How many elements of its own dtype its bytes are."""
        return self.nbytes * 8 // self.dtype.bits

    def check(self, raw: bytes) -> None:
        """Compare all bytes of the storage, which were just read, with their checksum, once. A mismatch is noted on the
        file: torch itself does not look."""
        if self._checksum is None or len(raw) != self.nbytes:
            return
        member, expected = self._checksum(self.key, self.offset)
        self._checksum = None
        if expected and zlib.crc32(raw) != expected:
            self.file.notes.append(f"{self.file.path.name} is damaged: the CRC of {member} does not match its bytes")


def bytes_of(dtype: DType, n: int) -> int:
    """Bytes of a storage of `n` of torch's elements: those that share a byte count as bytes in torch."""
    return n if dtype.packed else dtype.nbytes(n)


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
        return (self.storage.identity, self._start, self.dtype.name, self.shape, self.strides)

    def read_bytes(self) -> bytes:
        """The stored bytes that `span_bytes` counts, untouched."""
        raw = super().read_bytes()
        if self._start == 0:
            self.storage.check(raw)
        return raw

    def read_range(self, start: int, stop: int) -> Array:
        """As of any tensor. Raises CannotRead for strided and sub-byte tensors."""
        if start == 0 and stop == self.n_elements and self.strides is None and not self.dtype.packed:
            return self.read().reshape(-1)  # which looks at the checksum
        return super().read_range(start, stop)

    def again(self) -> TorchTensor:
        """The same tensor without a name, for a second key."""
        return TorchTensor(self.storage, self.dtype, self.shape, self.strides, self._start)


@dataclass(frozen=True, slots=True)
class Quantizer:
    """How a torch quantized tensor means its codes: value = (code - zero_point) * scale.

    scheme: as torch names it, `per_tensor_affine`. scale, zero_point: numbers, or one-dimensional tensors along `axis`.
    """

    scheme: str
    scale: object
    zero_point: object
    axis: int | None = None


class QuantizedTensor(TorchTensor):
    """The codes of a torch quantized tensor, with its quantizer."""

    __slots__ = ("quantizer",)

    def __init__(self, codes: TorchTensor, quantizer: Quantizer) -> None:
        super().__init__(codes.storage, codes.dtype, codes.shape, codes.strides, codes._start)
        self.quantizer = quantizer

    def again(self) -> QuantizedTensor:
        """The same tensor without a name, for a second key."""
        return QuantizedTensor(self, self.quantizer)


def storage_from_id(
    pid: Any, find: Callable[[str, DType, int], Storage], file: Source, made: dict[str, Storage]
) -> Any:
    """The storage of a persistent id `("storage", class, key, location, n_elements, view)`.

    `find(key, dtype, n_elements)` makes it from what is in the file. Of `("module", class, source file, source)`, which
    torch before 1.6 wrote for classes, the class. Raises BrokenFile where the id is malformed, and what `find` raises.
    """
    if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
        return pid[1]
    if not _is_storage_id(pid):
        raise BrokenFile(
            "a storage reference is malformed",
            file=file.path,
            expected="('storage', type, key, location, size)",
            found=brief(pid),
            cure="The file is damaged: copy it again.",
        )
    _, kind, key, _, n, *more = pid
    dtype = DTYPES.get(TORCH_STORAGES.get(kind.name.rpartition(".")[2], ""))
    if dtype is None:
        raise BrokenFile("the storage type is unknown", file=file.path, key=f"storage {key}", found=kind.name)
    storage = made.get(key)
    if storage is None:
        storage = made[key] = find(key, dtype, n)
    elif storage.dtype is not dtype:
        raise BrokenFile(
            "one storage is used with two types",
            file=file.path,
            key=f"storage {key}",
            expected=storage.dtype.name,
            found=dtype.name,
            cure="The file is damaged: copy it again.",
        )
    return _view(storage, n, more[0], file) if more and more[0] is not None else storage


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


def _view(storage: Storage, n: int, view: Any, file: Source) -> Storage:
    """A storage that is a part of another one, `(key, first element, number of elements)`: torch before 0.4."""
    match view:
        case (str(key), int(start), int(size)) if start >= 0 and size >= 0 and start + size <= n:
            pass
        case _:
            raise BrokenFile(
                "a view of a storage is malformed", file=file.path, key=f"storage {storage.key}",
                expected="(key, first element, number of elements) inside the storage",
                cure="The file is damaged: copy it again.",
            )  # fmt: skip
    first = storage.dtype.nbytes(start)

    def locate(_key: str, _size: int, _place: int) -> int:
        return storage.offset + first

    return Storage(key, storage.dtype, storage.dtype.nbytes(size), file, 0, locate)
