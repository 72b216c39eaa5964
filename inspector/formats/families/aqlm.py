"""AQLM: each group of a weight is the sum of one vector of each codebook, times the scale of its row.

`M.codes`, `M.codebooks` and `M.scales` stand beside each other. docs/formats.md has the layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.formats.element import vector
from qinspect.inspector.formats.grid import Grid, channels
from qinspect.inspector.formats.modular import ModularFormat, Part, QuantizedModule, by_module, record_of, required
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.records import CodeArray, FloatArray, Kind, QuantizedWeight
from qinspect.inspector.formats.said import commonest, differing_said

_METHOD = "aqlm"
_CODES, _BOOKS, _SCALES = "codes", "codebooks", "scales"
_INTEGERS = {"int8": 8, "int16": 16, "int32": 32}
_FLOATS = ("float16", "bfloat16", "float32")
_MOST_BITS = 16
_SAID = ("num_codebooks", "nbits_per_codebook", "out_group_size", "in_group_size")


class AqlmWeight(QuantizedModule):
    """A weight [out, in], cut in groups of rows and columns. Of a group an index into each codebook is stored, as a
    signed number whose bits are those of the index."""

    def __init__(
        self, checkpoint: Checkpoint, prefix: str, role: str, codes: tuple[int, ...], books: tuple[int, ...]
    ) -> None:
        """codes: the shape [row groups, column groups, codebooks]. books: the shape [codebooks, vectors, rows,
        columns]. `kind` is both in a few characters: `2x8 g8`."""
        n, size, self._rows, self._columns = books
        bits = size.bit_length() - 1
        shape = codes[0] * self._rows, codes[1] * self._columns
        per_index = max(1, self._rows * self._columns // n)  # several indices stand for the values of a group
        self.kind = f"{n}x{bits} g{self._columns}{f' of {self._rows} rows' if self._rows > 1 else ''}"
        called = f"AQLM {self.kind}"
        element = vector(called, bits, per_index)
        grid = channels(0) if self._rows == 1 else Grid((0,), (self._rows,))
        scale = record_of(
            checkpoint,
            role,
            f"{prefix}{_SCALES}",
            Kind.WEIGHT,
            f"weight {prefix}weight",
            element,
            grid,
            may_be_learned=True,
        )
        weight = QuantizedWeight(
            f"{prefix}weight", role, f"{prefix}{_CODES}", shape, element, (role,), grid, called=called,
            row_step=self._rows,
        )  # fmt: skip
        super().__init__(checkpoint, weight, (scale,))
        self._prefix, self._bits = prefix, bits

    def codes(self, start: int, stop: int) -> CodeArray:
        """Of each row all its indices, those of a group beside each other; rows of a group have the same."""
        stored = self._indices(start, stop)
        rows = np.arange(start, stop) // self._rows - start // self._rows
        return stored.reshape(len(stored), -1)[rows]

    def dequantize(self, start: int, stop: int) -> FloatArray:
        indices = self._indices(start, stop)
        books = self._tensor(_BOOKS).read().astype(np.float32)
        first, last = self._groups(start, stop)
        scales = self._tensor(_SCALES).read_rows(first, last).astype(np.float32).reshape(-1, 1, 1, 1)
        with np.errstate(all="ignore"):  # numbers in the file that are not finite are the file's
            values = books[0][indices[..., 0]]
            for i in range(1, len(books)):
                values = values + books[i][indices[..., i]]
            values = values * scales
        whole: NDArray[Any] = values.swapaxes(1, 2).reshape(-1, self.weight.shape[1])
        begin = start - first * self._rows
        return whole[begin : begin + stop - start]

    def _groups(self, start: int, stop: int) -> tuple[int, int]:
        return start // self._rows, -(-stop // self._rows)

    def _indices(self, start: int, stop: int) -> CodeArray:
        """uint16[row groups, column groups, codebooks]."""
        stored = self._tensor(_CODES).read_rows(*self._groups(start, stop))
        return np.asarray(stored.astype(np.int64) & ((1 << self._bits) - 1)).astype(np.uint16)

    def _tensor(self, last: str) -> Tensor:
        return self.tensor(f"{self._prefix}{last}")


class AqlmFormat(ModularFormat):
    """One checkpoint."""

    family = "aqlm"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._declared = declared(checkpoint)
        self._kinds: Counter[str] = Counter()
        self._differing: list[tuple[str, str, str]] = []
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        said, entries = declared(checkpoint), checkpoint.entries
        if said.method not in ("", _METHOD) or not {_CODES, _BOOKS, _SCALES} <= set(entries.lasts):
            return None
        for name in entries.ending(_BOOKS):
            prefix = name.removesuffix(_BOOKS)
            codes, books = entries.form(f"{prefix}{_CODES}"), entries.form(name)
            if codes and books and _speak(codes, books) and f"{prefix}{_SCALES}" in entries:
                of = f"{name} holds the vectors of {prefix}{_CODES}"
                return f"{said.where} says {_METHOD}" if said.method else of
        return None

    @property
    def description(self) -> str:
        told = commonest(self._kinds)
        return f"AQLM {', '.join(told)}"

    @property
    def declared_bits(self) -> tuple[float, ...]:
        """Of a value: the bits of all indices of a group, over its values."""
        said = [self._declared.integer(name) for name in _SAID] if self._declared.method == _METHOD else []
        n, bits, rows, columns = said or (None,) * 4
        if n is None or bits is None or rows is None or columns is None or min(n, bits, rows, columns) < 1:
            return ()
        return (n * bits / (rows * columns),) if bits <= _MOST_BITS else ()

    def _find(self) -> Iterator[Part]:
        modules = {m: k for m, k in by_module(self.checkpoint.entries).items() if _CODES in k and _BOOKS in k}
        for module in sorted(modules, key=forward_key):
            keys = modules[module]
            yield self._or_problem(keys[_CODES], lambda m=module, k=keys: self._weight(m, k))  # type: ignore[misc]

    def _weight(self, module: str, keys: Mapping[str, str]) -> AqlmWeight:
        """Raises CannotDequantize where the entries of a module do not fit each other."""
        codes, books = (self.checkpoint.entries.form(keys[last]) for last in (_CODES, _BOOKS))
        size = books[1][1] if books and len(books[1]) == 4 else 0
        bits = size.bit_length() - 1
        if books is None or size != 1 << max(bits, 0) or not 1 <= bits <= _MOST_BITS or 0 in books[1]:
            raise self._wrong(keys[_BOOKS], "cannot be codebooks of vectors",
                              f"floats [codebooks, 2 to 2^{_MOST_BITS} vectors, rows, columns]", books)  # fmt: skip
        required(self.checkpoint, keys[_BOOKS], _FLOATS, [books[1]], f"codes {keys[_CODES]}")
        if codes is None or not _speak(codes, books) or 0 in codes[1] or _INTEGERS[codes[0].name] < bits:
            wide = " or ".join(name for name, n in _INTEGERS.items() if n >= bits)
            raise self._wrong(keys[_CODES], f"cannot be indices into {books[1][0]} codebooks of {size} vectors",
                              f"{wide} [row groups, column groups, {books[1][0]}]", codes)  # fmt: skip
        prefix = f"{module}." if module else ""
        required(
            self.checkpoint, f"{prefix}{_SCALES}", _FLOATS, [(codes[1][0], 1, 1, 1), (codes[1][0],), (codes[1][0], 1)],
            f"codes of shape {list(codes[1])}",
        )  # fmt: skip
        role = f"{self.role_of(keys[_CODES]).removesuffix(_CODES)}weight"
        made = AqlmWeight(self.checkpoint, prefix, role, codes[1], books[1])
        self._kinds[made.kind] += 1
        self._compare(module, dict(zip(_SAID, (books[1][0], bits, books[1][2], books[1][3]), strict=True)))
        return made

    def _wrong(self, key: str, what: str, expected: str, form: Form | None) -> CannotDequantize:
        found = f"{form[0].name} {list(form[1])}" if form else "no tensor"
        return CannotDequantize(what, file=self.checkpoint.path, key=key, expected=expected, found=found)

    def _compare(self, module: str, stored: Mapping[str, int]) -> None:
        """Keep what the settings say otherwise."""
        for name, number in stored.items():
            said = self._declared.integer(name)
            if said is not None and said != number:
                self._differing.append((module, f"{name} {said}", f"of {number}"))
                return

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *differing_said(self._declared.where, self._differing))


def _speak(codes: Form, books: Form) -> bool:
    """Whether entries of these forms are indices into codebooks."""
    shape = codes[1]
    return (
        codes[0].name in _INTEGERS and len(shape) == 3 and len(books[1]) == 4 and shape[2] == books[1][0]
        and books[0].name in _FLOATS
    )  # fmt: skip
