"""Headers in columns: names, forms (dtype and shape) and places of many tensors, with no object for each.

A large model has 60,000 tensors of a handful of forms. Here a tensor is a name, two numbers, and a row; a `Tensor` is
made of them when somebody looks at it.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Collection, ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, TypeVar, overload
from weakref import WeakValueDictionary

from qinspect.inspector.checkpoint.dtypes import DType
from qinspect.inspector.checkpoint.source import Source
from qinspect.inspector.checkpoint.tensor import Entry, Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
Form = tuple[DType, tuple[int, ...]]
"""dtype and shape."""


@lru_cache(4096)
def shared_form(dtype: DType, shape: tuple[int, ...]) -> Form:
    """dtype and shape, one and the same tuple for all files and models: who goes by identity has few to look at."""
    return dtype, shape


_FEW_DIMS = 8
"""Any array may have as many."""
_BLOCK = 32
_ROW = (1 << _BLOCK) - 1
"""A row of all is the number of its block, and in the low bits its row there."""


class Columns:
    """The tensors of one file: contiguous in C order, no two in the same bytes. Those of a subclass that is not `plain`
    may be otherwise; none of theirs is `expanded` or `shapeless`.

    names: in the order of the header. forms: each dtype and shape that occurs, once, in the order in which they first
    do. form_of: for each name the place in `forms`. starts: for each name where its bytes begin, counted from `base`.
    metadata: what else the header says.
    """

    __slots__ = ("__weakref__", "_bytes", "_lasts", "base", "file", "form_of", "forms", "metadata", "names", "starts")

    plain = True

    def __init__(
        self,
        file: Source,
        names: list[str],
        forms: list[Form],
        form_of: array[int],
        starts: array[int],
        base: int,
        metadata: Mapping[str, str],
    ) -> None:
        self.file = file
        self.names = names
        self.forms = forms
        self.form_of = form_of
        self.starts = starts
        self.base = base
        self.metadata = metadata
        self._lasts: frozenset[str] | None = None
        self._bytes: list[int] | None = None

    @classmethod
    def of(cls, file: Source, tensors: Iterable[Tensor], metadata: Mapping[str, str]) -> Columns:
        """Of handles on contiguous tensors of `file`."""
        names = []
        forms: dict[Form, int] = {}
        numbers, starts = array("I"), array("Q")
        for t in tensors:
            names.append(t.name)
            numbers.append(forms.setdefault((t.dtype, t.shape), len(forms)))
            starts.append(t.offset)
        return cls(file, names, [shared_form(*form) for form in forms], numbers, starts, 0, metadata)

    def of_file(self, file: Source) -> Columns:
        """The same for another file with the same header."""
        columns = Columns(file, self.names, self.forms, self.form_of, self.starts, self.base, self.metadata)
        columns._lasts, columns._bytes = self._lasts, self._bytes
        return columns

    def same_header(self, other: Columns) -> bool:
        """Whether its header is known to be the same, without a look at each name."""
        return self.names is other.names and self.form_of is other.form_of and self.forms is other.forms

    @property
    def lasts(self) -> frozenset[str]:
        """The last part of each name, as `last_parts_of` gives them."""
        if self._lasts is None:
            self._lasts = last_parts_of(self.names)
        return self._lasts

    def __len__(self) -> int:
        return len(self.names)

    def tensor(self, row: int) -> Tensor:
        """A handle on the tensor of this row."""
        dtype, shape = self.forms[self.form_of[row]]
        return Tensor(self.names[row], dtype, shape, None, self.file, self.base + self.starts[row])

    def tensors(self) -> Iterator[Tensor]:
        """Handles on all, in order."""
        file, forms, base = self.file, self.forms, self.base
        for name, form, start in zip(self.names, self.form_of, self.starts, strict=True):
            dtype, shape = forms[form]
            yield Tensor(name, dtype, shape, None, file, base + start)

    def located(self, row: int) -> tuple[Source, int, Form] | None:
        """Source, offset, dtype and shape of the tensor of this row; None where it is not in C order. Raises BrokenFile
        where what says its place is damaged."""
        return self.file, self.base + self.starts[row], self.forms[self.form_of[row]]

    def same_places(self) -> Iterator[list[str]]:
        """Names that are the same view of the same bytes, of each that has several."""
        return iter(())

    def bytes_of_forms(self) -> list[int]:
        """Bytes of all tensors of each form."""
        if self._bytes is None:
            counts = Counter(self.form_of)
            sizes = (dtype.nbytes(math.prod(shape)) for dtype, shape in self.forms)
            self._bytes = [counts[i] * size for i, size in enumerate(sizes)]
        return self._bytes


class Entries(Mapping[str, Entry]):
    """Name to entry of a whole checkpoint, or of one file, in file order.

    Names cost nothing to go through. A `Tensor` is made when it is asked for, each time anew, unless it was given as
    such rather than in columns.
    """

    __slots__ = ("__weakref__", "_lasts", "_rows", "blocks")

    def __init__(self, entries: Mapping[str, Entry] | None = None) -> None:
        self._rows: dict[str, int | Entry] = dict(entries or {})
        self.blocks: list[Columns] = []
        self._lasts: tuple[int, frozenset[str]] | None = None

    def add(self, found: Columns | Mapping[str, Entry]) -> None:
        """Take the entries of one more file, none of which may be here: see `first_shared`."""
        first = len(self.blocks) << _BLOCK
        if isinstance(found, Columns):
            self.blocks.append(found)
            self._rows.update(zip(found.names, range(first, first + len(found)), strict=True))
        elif isinstance(found, Entries):
            self.blocks.extend(found.blocks)
            rows = found._rows.items()
            self._rows.update({name: row + first if isinstance(row, int) else row for name, row in rows})
        else:
            self._rows.update(found)

    @classmethod
    def of_files(cls, found: Sequence[Columns | Mapping[str, Entry]]) -> Entries:
        """Those of several files; of a name that is in two of them, one. Two models that are compared mostly have the
        same headers: what was made of those of a model that is still open is copied."""
        made, latest = cls(), _latest.get("entries")
        made.blocks = [its for its in found if isinstance(its, Columns)]
        if latest is not None and len(made.blocks) == len(found) and latest.has_headers(made.blocks):
            made._rows = latest._rows.copy()
        else:
            made.blocks = []
            for its in found:
                made.add(its)
        _latest["entries"] = made
        return made

    @classmethod
    def of_rows(cls, columns: Columns, rows: dict[str, int | Entry]) -> Entries:
        """Rows of `columns`, all of them and in order, and what else is among them."""
        made = cls()
        made.blocks.append(columns)
        made._rows = rows
        return made

    def first_shared(self, found: Columns | Mapping[str, Entry]) -> str | None:
        """The first name, in the order of letters, that is here too; None where there is none."""
        names = found.names if isinstance(found, Columns) else found
        return None if self._rows.keys().isdisjoint(names) else min(n for n in names if n in self._rows)

    def has_headers(self, blocks: Sequence[Columns]) -> bool:
        """Whether its names and forms are known to be those of `blocks`, without a look at each."""
        alike = len(self.blocks) == len(blocks) and self.in_columns
        return alike and all(map(Columns.same_header, self.blocks, blocks))

    @property
    def in_columns(self) -> bool:
        """Whether all entries are tensors in columns."""
        return sum(map(len, self.blocks)) == len(self._rows)

    @property
    def columnar(self) -> bool:
        """Whether all entries are tensors in columns, contiguous in C order, and no two share bytes."""
        return self.in_columns and all(block.plain for block in self.blocks)

    @property
    def untied(self) -> bool:
        """Whether all entries are tensors in columns, and no two are the same view of the same bytes."""
        return self.in_columns and not any(True for block in self.blocks for _ in block.same_places())

    @property
    def lasts(self) -> frozenset[str]:
        """The last parts of all names, each once: few in 60,000. Who looks for names that end in one way finds here at
        once that there are none."""
        if self._lasts is None or self._lasts[0] != len(self._rows):
            if self.in_columns:
                found = frozenset[str]().union(*(block.lasts for block in self.blocks))
            else:
                found = last_parts_of(self._rows)
            self._lasts = len(self._rows), found
        return self._lasts[1]

    @property
    def dtypes(self) -> set[str]:
        """The names of the dtypes of all tensors."""
        found = {dtype.name for block in self.blocks for dtype, _ in block.forms}
        return found.union(e.dtype.name for e in self.others() if isinstance(e, Tensor))

    def ending(self, *ends: str) -> Iterator[str]:
        """The names whose last part ends in one of these, in order."""
        lasts = {last for last in self.lasts if last.endswith(ends)}
        return (name for name in self._rows if name.rpartition(".")[2] in lasts) if lasts else iter(())

    def modules_with(self, lasts: Collection[str]) -> list[str]:
        """The modules, each once and in order, in which a name of one of these last parts stands."""
        if self.lasts.isdisjoint(lasts):
            return []
        parted = (name.rpartition(".") for name in self._rows)
        return list(dict.fromkeys(module for module, dot, last in parted if dot and last in lasts))

    def one_of_each_kind(self, modules: Iterable[str], lasts: Iterable[str]) -> Iterator[str]:
        """Of modules whose entries of these last parts are of the same forms, the first. Only files in columns say so
        cheaply: of others, all modules."""
        looked_at = [f".{last}" for last in lasts if last in self.lasts]
        forms = dict(zip(self._rows, self.tensor_forms(), strict=True))
        seen: set[tuple[int, ...]] = set()
        for module in modules:
            kind = tuple([id(forms.get(module + last)) for last in looked_at])
            if kind not in seen:
                seen.add(kind)
                yield module

    def _entry(self, row: int | Entry) -> Entry:
        return self.blocks[row >> _BLOCK].tensor(row & _ROW) if isinstance(row, int) else row

    def __getitem__(self, name: str) -> Entry:
        return self._entry(self._rows[name])

    @overload
    def get(self, key: str, /) -> Entry | None: ...
    @overload
    def get(self, key: str, /, default: Entry | T) -> Entry | T: ...
    def get(self, key: str, /, default: Entry | T | None = None) -> Entry | T | None:
        """The entry of this name, or `default`."""
        row = self._rows.get(key)
        return default if row is None else self._entry(row)

    def tensor(self, name: str) -> Tensor | None:
        """The tensor of this name; None where there is none, it is no tensor, or its shape is far beyond its bytes."""
        row = self._rows.get(name)
        if isinstance(row, int):
            block, at = self.blocks[row >> _BLOCK], row & _ROW
            if not block.plain:
                return block.tensor(at)
            dtype, shape = block.forms[block.form_of[at]]
            made = Tensor(block.names[at], dtype, shape, None, block.file, block.base + block.starts[at])
            return None if (0 in shape or len(shape) > _FEW_DIMS) and made.shapeless else made
        return row if isinstance(row, Tensor) and not (row.expanded or row.shapeless) else None

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._rows.keys()

    def values(self) -> ValuesView[Entry]:
        """The entries, each made as it comes."""
        return _Values(self)

    def items(self) -> ItemsView[str, Entry]:
        """Names with entries, each made as it comes."""
        return _Items(self)

    def form(self, name: str) -> Form | None:
        """dtype and shape of a tensor in columns; None where the name is no such."""
        row = self._rows.get(name)
        if not isinstance(row, int):
            return None
        block = self.blocks[row >> _BLOCK]
        return block.forms[block.form_of[row & _ROW]]

    def located(self, name: str) -> tuple[Source, int, Form] | None:
        """Source, offset, dtype and shape of a tensor in columns; None where the name is no such, or its elements are
        not in C order. Raises BrokenFile where what says its place is damaged."""
        row = self._rows.get(name)
        return self.blocks[row >> _BLOCK].located(row & _ROW) if isinstance(row, int) else None

    def place(self, name: str) -> tuple[Source, int, Form] | None:
        """`located`, of tensors in plain columns, where it takes no reading."""
        return self.places((name,))[0]

    def places(self, names: Iterable[str]) -> list[tuple[Source, int, Form] | None]:
        """`place` of each."""
        rows, blocks = self._rows, self.blocks
        found: list[tuple[Source, int, Form] | None] = []
        for row in map(rows.get, names):
            if isinstance(row, int) and blocks[row >> _BLOCK].plain:
                block, at = blocks[row >> _BLOCK], row & _ROW
                found.append((block.file, block.base + block.starts[at], block.forms[block.form_of[at]]))
            else:
                found.append(None)
        return found

    def starts_of(self, names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each of these tensors in plain columns, the place in `blocks` of its file, and where its bytes begin
        there."""
        import numpy as np  # most who read headers do without

        rows = np.fromiter(map(self._rows.__getitem__, names), np.int64, len(names))
        numbers, at = rows >> _BLOCK, rows & _ROW
        starts = np.empty(len(names), np.int64)
        for number in set(numbers.tolist()):
            block, here = self.blocks[number], numbers == number
            starts[here] = np.asarray(block.starts)[at[here]] + block.base
        return numbers, starts

    def others(self) -> Iterator[Entry]:
        """The entries that are not in columns, in order."""
        return iter(()) if self.in_columns else (e for e in self._rows.values() if not isinstance(e, int))

    def made(self) -> Iterator[Entry]:
        """All entries, in order."""
        if self.in_columns:
            return chain.from_iterable(block.tensors() for block in self.blocks)
        return map(self._entry, self._rows.values())

    def tensor_forms(self) -> Iterator[Form | None]:
        """For each name in order, dtype and shape of the tensor; None for a value. Of a file in columns, one and the
        same tuple for all that are alike."""
        if self.in_columns:
            return chain.from_iterable(map(block.forms.__getitem__, block.form_of) for block in self.blocks)
        return map(self._form, self._rows.values())

    def _form(self, row: int | Entry) -> Form | None:
        if isinstance(row, int):
            block = self.blocks[row >> _BLOCK]
            return block.forms[block.form_of[row & _ROW]]
        return (row.dtype, row.shape) if isinstance(row, Tensor) else None


_latest: WeakValueDictionary[str, Entries] = WeakValueDictionary()


class _Values(ValuesView[Entry]):
    _mapping: Entries

    def __iter__(self) -> Iterator[Entry]:
        return self._mapping.made()


class _Items(ItemsView[str, Entry]):
    _mapping: Entries

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        return zip(self._mapping, self._mapping.made(), strict=True)


def last_parts_of(names: Iterable[str]) -> frozenset[str]:
    """What stands behind the last dot of each name, each once; the name where there is none."""
    return frozenset({name.rpartition(".")[2] for name in names})


def rows_in_order(starts: Sequence[int], ends: Sequence[int], size: int) -> bool:
    """Whether ranges of bytes, one after another, fill `size` bytes."""
    return bool(starts) and starts[0] == 0 and ends[-1] == size and starts[1:] == ends[:-1]
