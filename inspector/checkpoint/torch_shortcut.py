"""A tensor in a pickle at one stroke: the forty opcodes by which torch.save writes each of 60,000.

Everything here only ever says yes: a tensor that is written otherwise, refers to something else than torch's own names,
or does not fit its storage, is left to the walker, which goes opcode by opcode and knows what to say. That takes four
times as long, and makes twenty objects a tensor.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from qinspect.inspector.checkpoint.dtypes import DTYPES, TORCH_STORAGES, DType
from qinspect.inspector.checkpoint.pickle_objects import Global
from qinspect.inspector.checkpoint.torch_objects import KNOWN, tensor_in
from qinspect.inspector.checkpoint.torch_storage import Storage, TorchTensor

_GET = rb"(h.|j....)"
_INT = rb"(?:K.|M..|J....)"
_PUT = rb"r(....)"
_SIZES = rb"(?:\)|(\(?" + _INT + rb"{1,32}[\x85-\x87t])" + _PUT + rb")"
_TENSOR = (
    rb"\(\(" + _GET + _GET  # "storage", its class
    + rb"(?:X(.)\0\0\0(?P<key>[0-9]{1,20})" + _PUT + rb"|" + _GET + rb")"  # its key
    + rb"(?:X(.)\0\0\0([a-z]{1,16}(?::[0-9]{1,4})?)" + _PUT + rb"|" + _GET + rb")"  # its device
    + rb"(" + _INT + rb")N?t" + _PUT + rb"Q"  # its elements
    + rb"K\0" + _SIZES + _SIZES + rb"[\x88\x89]" + _GET + rb"\)R" + _PUT  # offset 0, shape, strides, hooks
    + rb"t" + _PUT + rb"R"
)  # fmt: skip
"""From the mark behind the function to its call. A number below 256 in the memo has a shorter opcode: the first twenty
tensors of a file are not written so."""
_FIRST = re.compile(_TENSOR, re.DOTALL)
_NEXT = re.compile(_PUT + _GET + _TENSOR, re.DOTALL)
"""From behind the text of the name: its number, the function."""

_TOKEN = re.compile(rb"K(.)|M(..)|J(....)", re.DOTALL)
_LENGTHS = {0x85: 1, 0x86: 2, 0x87: 3}
"""Of a tuple, by the opcode that makes it."""
_NEW, _OLD = KNOWN["torch._utils._rebuild_tensor_v2"], KNOWN["torch._utils._rebuild_tensor"]
_HOOKS = KNOWN["collections.OrderedDict"]
_MOST = 1 << 11
"""Tensors and names, before the walker looks whether the pickle holds too much."""

Find = Callable[[str, DType, int], Storage]
_Form = tuple[DType, tuple[int, ...], tuple[int, ...] | None, int]
"""dtype, shape, strides, and the bytes that a storage must have."""


class Memo(dict[int, Any]):
    """What the opcodes have numbered. Of what was passed over, texts and tensors are found again: they are what others
    refer to, where a storage is shared, a dictionary has the keys of another, a tensor stands under two names."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data
        self._passed = bytearray()
        self._texts = bytearray()
        self._places = array("I")
        self._results = bytearray()
        self._tensors: list[TorchTensor] = []
        self._again: dict[int, Any] = {}
        self._n_again = 0, 0
        self._found: set[int] = set()

    def pass_text(self, number: bytes, place: int) -> None:
        """A text of up to 255 bytes stands at `place`."""
        self._texts += number
        self._places.append(place)

    def pass_tensor(self, number: bytes, made: TorchTensor) -> None:
        """A tensor was made."""
        self._results += number
        self._tensors.append(made)

    def pass_others(self, numbers: bytes) -> None:
        """Four bytes each."""
        self._passed += numbers

    @property
    def has_gaps(self) -> bool:
        """Whether anything was passed over."""
        return bool(self._passed)

    @property
    def is_whole(self) -> bool:
        """Whether nothing that was passed over has a number that something else has which was referred to. Nothing else
        that was passed over was: the walker would have found nothing under its number."""
        passed = _numbers(self._passed + self._texts + self._results)
        found = self._found
        once = not found or sum(map(found.__contains__, passed)) == len(found)
        return once and frozenset(self).isdisjoint(passed)

    def __missing__(self, number: int) -> Any:
        texts, tensors = self._n_again
        if (texts, tensors) != (len(self._places), len(self._tensors)):
            self._again.update(zip(_numbers(self._texts[4 * texts :]), self._places[texts:], strict=True))
            self._again.update(zip(_numbers(self._results[4 * tensors :]), self._tensors[tensors:], strict=True))
            self._n_again = len(self._places), len(self._tensors)
        found = self._again[number]
        self._found.add(number)
        if not isinstance(found, int):
            return found
        return self._data[found : found + self._data[found - 4]].decode("utf-8", "surrogatepass")


def _numbers(raw: bytearray) -> array[int]:
    made = array("I")
    made.frombytes(raw)
    return made


class TensorShortcut:
    """The tensors of the pickles of one file. find, storages: as `storage_from_id` takes them.

    held: what a tensor and its name count, of the objects that a pickle may hold. used: whether one was read.
    """

    held = 14

    def __init__(self, find: Find, storages: dict[str, Storage]) -> None:
        self._find = find
        self._storages = storages
        self._forms: dict[tuple[str, bytes | None, bytes | None], _Form | None] = {}
        self.used = False

    @staticmethod
    def memo(data: bytes) -> Memo:
        """The memo of one more pickle."""
        return Memo(data)

    def __call__(self, data: bytes, at: int, function: object, memo: Memo) -> tuple[list[Any], int] | None:
        """The tensor that is made by calling `function` with what begins at `at`, and the position behind the call;
        where more follow, each under a name, they and their names too. None where it is unusual. Raises what `find`
        raises."""
        if not _is_function(function) or (found := _FIRST.match(data, at)) is None:
            return None
        seen: dict[bytes, Any] = {}
        made = self._made(found, found.groups(), memo, seen)
        if made is None:
            return None
        self.used = True
        line: list[Any] = [made]
        end = found.end()
        # "r", the number of the last tensor, "X", the length of the next name in four bytes, the name.
        while (
            len(line) < _MOST
            and data[end : end + 1] == b"r"
            and data[end + 5 : end + 6] == b"X"
            and data[end + 7 : end + 10] == b"\0\0\0"
        ):
            name = end + 10
            found = _NEXT.match(data, name + data[end + 6])
            if found is None:
                break
            number, get, *groups = found.groups()
            if not _is_function(_of(memo, get, seen)) or (after := self._made(found, groups, memo, seen)) is None:
                break
            memo.pass_tensor(data[end + 1 : end + 5], made)
            memo.pass_text(number, name)
            made = after
            line += data[name : found.start()].decode("utf-8", "surrogatepass"), made
            end = found.end()
        return line, end

    def _made(
        self, found: re.Match[bytes], groups: Sequence[bytes | Any], memo: Memo, seen: dict[bytes, Any]
    ) -> TorchTensor | None:
        (word, kind, length, key, put_key, get_key, n_device, device, put_device, get_device, n, put_id, shape,
         put_shape, strides, put_strides, hooks, put_hooks, put_args) = groups  # fmt: skip
        if _of(memo, word, seen) != "storage" or _of(memo, hooks, seen) is not _HOOKS:
            return None
        if (_of(memo, get_device, seen) is None) if device is None else len(device) != n_device[0]:
            return None
        named = _of(memo, get_key, {}) if key is None else key.decode() if len(key) == length[0] else None
        dtype = _dtype_of(_of(memo, kind, seen))
        if type(named) is not str or dtype is None:
            return None
        storage = self._storages.get(named)
        if storage is None:
            if (size := _int(n)) < 0:
                return None
            storage = self._storages[named] = self._find(named, dtype, size)
        elif storage.dtype is not dtype:
            return None
        form = self._form(storage, shape, strides)
        if form is None or form[3] > storage.nbytes:
            return None
        memo.pass_others(
            b"".join((put_device or b"", put_id, put_shape or b"", put_strides or b"", put_hooks, put_args))
        )
        if key is not None:
            memo.pass_text(put_key, found.start("key"))
        return TorchTensor(storage, form[0], form[1], form[2], 0)

    def _form(self, storage: Storage, shape: bytes | None, strides: bytes | None) -> _Form | None:
        key = (storage.dtype.name, shape, strides)
        if key not in self._forms:
            self._forms[key] = _read_form(storage, shape, strides)
        return self._forms[key]


def _read_form(storage: Storage, shape: bytes | None, strides: bytes | None) -> _Form | None:
    """None where it is no form, or not one of this storage: it is not asked for again in a sound file."""
    sizes, steps = _tuple(shape), _tuple(strides)
    try:
        made = tensor_in(storage, storage.dtype, 0, sizes, steps)
    except (TypeError, ValueError):
        return None
    return made.dtype, made.shape, made.strides, made.span_bytes()


def _of(memo: Memo, get: bytes, seen: dict[bytes, Any]) -> Any:
    """What stands under the number; None where there is nothing. seen: what was found, while nothing is added."""
    if get not in seen:
        try:
            seen[get] = memo[int.from_bytes(get[1:], "little")]
        except KeyError:
            seen[get] = None
    return seen[get]


def _is_function(function: object) -> bool:
    return function is _NEW or function is _OLD


def _int(token: bytes) -> int:
    return int.from_bytes(token[1:], "little", signed=token[0] == 0x4A)


def _tuple(opcodes: bytes | None) -> tuple[int, ...] | None:
    """The tuple that these opcodes make; None where they make another thing too."""
    if opcodes is None:
        return ()
    sizes = tuple(_int(token[0]) for token in _TOKEN.finditer(opcodes, 1 if opcodes[0] == 0x28 else 0))
    marked = opcodes[0] == 0x28
    ends = opcodes[-1] == 0x74 if marked else _LENGTHS.get(opcodes[-1]) == len(sizes)
    return sizes if ends else None


def _dtype_of(kind: object) -> DType | None:
    if not isinstance(kind, Global):
        return None
    if kind.name not in _dtypes:
        return DTYPES.get(TORCH_STORAGES.get(kind.name.rpartition(".")[2], ""))
    return _dtypes[kind.name]


_dtypes = {f"torch.{name}": DTYPES[dtype] for name, dtype in TORCH_STORAGES.items() if dtype in DTYPES}
