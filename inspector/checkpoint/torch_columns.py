"""The tensors of a torch file in columns, and the storages that they are in.

A tensor is a name, a form, the number of a storage and where in it it starts; a storage is a key, a size and a place.
Handles on both are made when a tensor is looked at. What is more than that stays an entry of its own: plain values,
quantized tensors, arrays and storages within the pickle, views that are much larger than what is stored.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping
from copy import copy

from qinspect.inspector.checkpoint.columns import Columns, Entries, Form, shared_form
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.tensor import Entry
from qinspect.inspector.checkpoint.torch_storage import Checksum, Locate, Storage, TorchTensor

_MAX_DIGITS = 19
"""Of a number that surely fits into 64 bits."""
Strides = tuple[int, ...] | None


class Storages:
    """The storages of one file by number: that of its place in `made`, which has them by key."""

    __slots__ = ("_checked", "_checksum", "_dtypes", "_keys", "_kinds", "_locate", "_places", "_sizes", "file")

    def __init__(self, file: Source, made: Mapping[str, Storage]) -> None:
        first = next(iter(made.values()))
        self.file = file
        self._locate = first._locate
        self._checksum = first._checksum
        self._checked: set[str] = set()
        self._keys = _compact(list(made))
        self._sizes = array("Q", [s.nbytes for s in made.values()])
        self._places = array("q", [s.place for s in made.values()])
        dtypes = {id(s.dtype): s.dtype for s in made.values()}
        self._dtypes = list(dtypes.values())
        kinds = {dtype: kind for kind, dtype in enumerate(dtypes)}
        self._kinds = array("B", [kinds[id(s.dtype)] for s in made.values()])

    def of_file(
        self, file: Source, members: Mapping[str, tuple[int, int]], folder: str, locate: Locate, checksum: Checksum
    ) -> Storages | None:
        """The same of another file with the same pickle, from the (size, place) of its members; None where one is not
        there or is of another size."""
        found = [members.get(f"{folder}{key}") for key in self._keys]
        there = [member for member in found if member is not None]
        if len(there) < len(found) or array("Q", [size for size, _ in there]) != self._sizes:
            return None
        made = copy(self)
        made.file, made._locate, made._checksum, made._checked = file, locate, checksum, set()
        made._places = array("q", [place for _, place in there])
        return made

    def storage(self, number: int) -> Storage:
        """A handle on it."""
        checksum = self._check_once if self._checksum else None
        dtype = self._dtypes[self._kinds[number]]
        identity = (id(self), number)
        key = str(self._keys[number])
        return Storage(key, dtype, self._sizes[number], self.file, number, self._find, checksum, identity)

    def offset(self, number: int) -> int:
        """Where its data begin. Raises BrokenFile where the member of the archive is damaged."""
        place = self._places[number]
        return ~place if place < 0 else self._find(str(self._keys[number]), self._sizes[number], number)

    def _find(self, key: str, size: int, number: int) -> int:
        """Its offset. In the column stands its place until it is found, then the offset inverted."""
        place = self._places[number]
        if place >= 0:
            place = self._places[number] = ~self._locate(key, size, place)
        return ~place

    def _check_once(self, key: str, offset: int) -> tuple[str, int]:
        assert self._checksum is not None
        member, expected = self._checksum(key, offset)
        done = key in self._checked
        self._checked.add(key)
        return member, 0 if done else expected


class TorchColumns(Columns):
    """Tensors in torch storages: strided and tied ones among them.

    storages, storage_of: the storages of the file, and for each name the number of its own. strides: of each form in
    `forms`, None where the elements are in C order; a form of several strides stands there several times. `starts`
    count from the storage.
    """

    __slots__ = ("_same", "storage_of", "storages", "strides")
    plain = False

    def __init__(
        self,
        names: list[str],
        forms: list[Form],
        strides: list[Strides],
        form_of: array[int],
        storages: Storages,
        storage_of: array[int],
        starts: array[int],
    ) -> None:
        super().__init__(storages.file, names, forms, form_of, starts, 0, {})
        self.strides = strides
        self.storages = storages
        self.storage_of = storage_of
        self._same: list[list[str]] | None = None

    def with_storages(self, storages: Storages) -> TorchColumns:
        """The same for another file with the same pickle."""
        made = TorchColumns(self.names, self.forms, self.strides, self.form_of, storages, self.storage_of, self.starts)
        made._lasts, made._same = self._lasts, self._same
        return made

    def tensor(self, row: int) -> TorchTensor:
        """A handle on the tensor of this row."""
        number = self.form_of[row]
        dtype, shape = self.forms[number]
        storage = self.storages.storage(self.storage_of[row])
        made = TorchTensor(storage, dtype, shape, self.strides[number], self.starts[row])
        made.name = self.names[row]
        return made

    def tensors(self) -> Iterator[TorchTensor]:
        """Handles on all, in order."""
        return map(self.tensor, range(len(self.names)))

    def located(self, row: int) -> tuple[Source, int, Form] | None:
        """As of any columns."""
        number = self.form_of[row]
        if self.strides[number] is not None:
            return None
        return self.file, self.storages.offset(self.storage_of[row]) + self.starts[row], self.forms[number]

    def same_places(self) -> Iterator[list[str]]:
        """Names that are the same view of the same bytes, of each that has several."""
        if self._same is None:
            self._same = self._alike() if len(set(self.storage_of)) < len(self.storage_of) else []
        return iter(self._same)

    def _alike(self) -> list[list[str]]:
        groups: dict[tuple[int, int, int], list[str]] = {}
        for name, *place in zip(self.names, self.storage_of, self.starts, self.form_of, strict=True):
            groups.setdefault(tuple(place), []).append(name)  # type: ignore[arg-type]
        return [names for names in groups.values() if len(names) > 1]


def _compact(keys: list[str]) -> range | array[int] | list[str]:
    """The same keys, whose `str` they are: mostly the numbers from 0, and addresses in old files."""
    if all(key == str(number) for number, key in enumerate(keys)):
        return range(len(keys))
    numbers = [int(k) if len(k) <= _MAX_DIGITS and k.isascii() and k.isdecimal() else -1 for k in keys]
    return array("Q", numbers) if list(map(str, numbers)) == keys else keys


def in_columns(entries: Mapping[str, Entry], file: Source, storages: Mapping[str, Storage]) -> Entries:
    """The entries, with the tensors of these storages by key, which lie in `file`, in columns."""
    if not storages:
        return Entries(entries)
    numbers = {id(storage): number for number, storage in enumerate(storages.values())}
    forms: dict[tuple[str, tuple[int, ...], Strides], int] = {}  # by name: a DType takes long to hash
    kinds: list[Form] = []
    names: list[str] = []
    form_of, storage_of, starts = array("I"), array("I"), array("Q")
    rows: dict[str, int | Entry] = {}
    for given, entry in entries.items():
        name = sys.intern(given)  # the index and the other model have the same: one string for all
        is_row = type(entry) is TorchTensor and id(entry.storage) in numbers and not (entry.strides and entry.expanded)
        if not is_row or not isinstance(entry, TorchTensor):
            rows[name] = entry
            continue
        form = forms.setdefault((entry.dtype.name, entry.shape, entry.strides), len(kinds))
        if form == len(kinds):
            kinds.append(shared_form(entry.dtype, entry.shape))
        rows[name] = len(names)
        names.append(name)
        form_of.append(form)
        storage_of.append(numbers[id(entry.storage)])
        starts.append(entry._start)
    strides = [steps for *_, steps in forms]
    columns = TorchColumns(names, kinds, strides, form_of, Storages(file, storages), storage_of, starts)
    return Entries.of_rows(columns, rows)
