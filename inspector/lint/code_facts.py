"""What the codes of all weights show, read in one pass on all cores.

Of each weight stays a table of counts and a few numbers. Pieces are read and counted in threads, numpy and the body in
C work without the interpreter's lock, and what comes back is added up in order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.cores import in_order, n_cores
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format, QuantizedWeight, ScaleRecord
from qinspect.inspector.formats.element import ElementKind
from qinspect.inspector.lint.code_piece import COUNTED_BITS, Cells, Reader
from qinspect.inspector.progress import Steps
from qinspect.kernels.counts import N_PATTERNS, signed_counts

T = TypeVar("T")
Array = NDArray[Any]
Counts = NDArray[np.int64]

PIECE_BYTES = 2 << 20
"""Codes, as they are stored, that one thread reads at once: the tables of a count take as much again."""
PIECE_CODES = 1 << 22
"""The same of codes that are taken apart one by one."""
WORKERS = 8
"""At most. Each holds 10 to 20 MB."""
COMMON = 0.005
"""Of halves of words: a word that is one in a hundred has two halves that are, together, no rarer."""
WORD = 4
"""Bytes: of a word of codes that are stored in whole parts of a byte. Of others eight codes are looked at together."""
NOTHING = 2.0**-125
"""Where scales are powers of two, the least of them is that of a block of zeros."""
FEWEST_HALVES = 2000
"""Of a weight with fewer, one in a hundred is a few words."""


@dataclass(slots=True)
class Groups:
    """What is said of the groups of a weight. n: of them. n_of_zeros: whose codes all stand for zero; n_zero: of these
    with a scale that is not zero: first: the place of the first, low, high: the least and the largest of their scales.
    others: the least and the largest scale of groups with other codes. n_dead: whose scale is 0 and whose codes are
    not; first_dead: the place of the first. All scales without their signs, of those that are finite."""

    n: int = 0
    n_of_zeros: int = 0
    n_zero: int = 0
    first: tuple[int, int] = (0, 0)
    low: float = np.inf
    high: float = -np.inf
    others: tuple[float, float] = (np.inf, -np.inf)
    n_dead: int = 0
    first_dead: tuple[int, int] = (0, 0)

    def add(self, cells: Cells, first_row: int, rows_of_cell: int) -> None:
        """Take in those of some rows."""
        zero, scales = cells.zero, np.broadcast_to(np.abs(cells.scales.astype(np.float32)), cells.zero.shape)
        if rows_of_cell > 1:
            at = np.arange(0, len(zero), rows_of_cell)
            zero, scales = np.logical_and.reduceat(zero, at, axis=0), scales[at]
        first_row //= rows_of_cell
        known = np.isfinite(scales)
        lost, dead = zero & known & (scales > NOTHING), ~zero & (scales == 0)
        if lost.any():
            self.first = self.first if self.n_zero else _place(lost, first_row)
            self.low, self.high = min(self.low, float(scales[lost].min())), max(self.high, float(scales[lost].max()))
            self.n_zero += int(lost.sum())
        if dead.any():
            self.first_dead = self.first_dead if self.n_dead else _place(dead, first_row)
            self.n_dead += int(dead.sum())
        usual = ~zero & known & (scales > 0)
        if usual.any():
            low, high = float(scales.min(where=usual, initial=np.inf)), float(scales.max(where=usual, initial=-np.inf))
            self.others = min(self.others[0], low), max(self.others[1], high)
        self.n_of_zeros += int(zero.sum())
        self.n += zero.size

    def merge(self, other: Groups) -> None:
        """Take in those of later rows."""
        self.first = self.first if self.n_zero else other.first
        self.first_dead = self.first_dead if self.n_dead else other.first_dead
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.others = min(self.others[0], other.others[0]), max(self.others[1], other.others[1])
        self.n_of_zeros += other.n_of_zeros
        self.n, self.n_zero, self.n_dead = self.n + other.n, self.n_zero + other.n_zero, self.n_dead + other.n_dead


def _place(found: NDArray[np.bool_], first_row: int) -> tuple[int, int]:
    row, cell = divmod(int(found.argmax()), found.shape[1])
    return row + first_row, cell


@dataclass(frozen=True, slots=True)
class CommonWord:
    """The stored word that occurs most, of those that are one in a hundred or more. value: its bytes, the first in the
    lowest place. n: how often. of: words. codes: that one word holds."""

    value: int
    n: int
    of: int
    codes: int

    @property
    def share(self) -> float:
        """Of all words."""
        return self.n / self.of


@dataclass(slots=True)
class CodeFacts:
    """Of one weight. counts: int64 by code, from the least of `Element.code_range`. groups: None where nothing is known
    of them. word: None where no word is common."""

    weight: QuantizedWeight
    counts: Counts
    groups: Groups | None
    word: CommonWord | None

    @property
    def n(self) -> int:
        """Codes."""
        return int(self.counts.sum())


@dataclass(slots=True)
class CodeTable:
    """facts: of the weights that were read. problems: why others were not, by role. n_other: weights of which a code is
    no number by itself. n_wide: those of which it has more bits than are counted."""

    facts: list[CodeFacts] = field(default_factory=list)
    problems: dict[str, QinspectError] = field(default_factory=dict)
    n_other: int = 0
    n_wide: int = 0

    @property
    def n_left(self) -> int:
        """Weights that were not read."""
        return len(self.problems) + self.n_other + self.n_wide

    @property
    def why_left(self) -> str:
        """A clause."""
        if self.problems:
            return str(next(iter(self.problems.values())))
        if self.n_other:
            return "a code of theirs is no number by itself"
        return f"a code of theirs has more than {COUNTED_BITS} bits" if self.n_wide else ""


def read_codes(fmt: Format, steps: Steps | None = None) -> CodeTable:
    """Read the codes of all weights. steps(done, total), in codes, may raise to cancel."""
    by_role: dict[str, ScaleRecord] = {r.role: r for r in fmt.scales()}
    table = CodeTable()
    works = []
    for weight in fmt.weights():
        if weight.element.kind in (ElementKind.VECTOR, ElementKind.UNKNOWN) or not weight.bits:
            table.n_other += 1
        elif weight.bits > COUNTED_BITS:
            table.n_wide += 1
        elif weight.shape and 0 not in weight.shape:
            works.append(_Work(Reader(fmt, weight, [by_role[r] for r in weight.scale_roles if r in by_role])))
    _run(works, steps)
    for work in works:
        if work.error:
            table.problems[work.weight.role] = work.error
        else:
            table.facts.append(work.facts())
    return table


def _run(works: list[_Work], steps: Steps | None) -> None:
    """Count all, then once more those in which a word may be common."""
    total = sum(w.n for w in works)
    done = 0
    stop = threading.Event()
    pool = ThreadPoolExecutor(_n_workers(), thread_name_prefix="codes")
    try:
        for work, part in _in_order(pool, stop, works, _Work.counted):
            work.add(part)
            done += part.n
            if steps:
                steps(done, max(done, total))
        again = [w for w in works if not w.error and w.common.size]
        total += sum(w.n for w in again)
        for work, words in _in_order(pool, stop, again, _Work.common_words):
            work.add_words(words.words, words.counts)
            done += words.n
            if steps:
                steps(done, max(done, total))
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _n_workers() -> int:
    return max(1, min(WORKERS, n_cores()))


def _in_order(
    pool: ThreadPoolExecutor, stop: threading.Event, works: list[_Work], body: Callable[[_Work, int, int], T]
) -> Iterator[tuple[_Work, T]]:
    """What `body` makes of every piece, in order. A weight that cannot be read is marked and left."""

    def call(work: _Work, start: int, end: int) -> T | None:
        if stop.is_set() or work.error:
            return None
        try:
            return body(work, start, end)
        except QinspectError as e:
            work.fail(e)
            return None

    jobs = ((work, start, end) for work in works for start, end in work.pieces())
    for (work, _, _), made in in_order(pool, call, jobs, 2 * _n_workers()):
        if made is not None:
            yield work, made


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Of a piece. n: codes. n_bytes: they take. patterns: int64[65536], counts of 16 bits; None of a small piece.
    others: int64[256], counts of bytes that are not in these. groups: None where nothing is known of them."""

    n: int
    n_bytes: int
    patterns: Counts | None
    others: Counts
    groups: Groups | None


@dataclass(frozen=True, slots=True, eq=False)
class _Words:
    """Of a piece. n: codes. words, counts: different ones, and how often each is there."""

    n: int
    words: Array
    counts: Counts


class _Work:
    """One weight, whose pieces come in order."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.weight = reader, reader.weight
        self.n = int(np.prod(self.weight.shape, dtype=np.int64))
        self.error: QinspectError | None = None
        self._patterns: Counts | None = None
        self._others: Counts = np.zeros(256, np.int64)
        self._n = self._n_bytes = 0
        self._groups: Groups | None = Groups()
        self._counts: Counts = np.zeros(0, np.int64)
        self.common: NDArray[np.int64] = np.zeros(0, np.int64)
        self._words: dict[int, int] = {}

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Ranges of rows, of whole groups."""
        step = int(np.lcm(self.weight.row_step, self.reader.rows_of_cell))
        codes = PIECE_BYTES * self.reader.per_byte if self.reader.is_packed else PIECE_CODES
        rows = max(1, codes // max(1, self.reader.n_columns) // step) * step
        n = self.weight.shape[0]
        return ((start, min(start + rows, n)) for start in range(0, n, rows))

    def counted(self, start: int, stop: int) -> _Part:
        """Read some rows, in whatever thread."""
        piece = self.reader.read(start, stop)
        data = piece.data
        n_words = data.size // 2 if data.size >= 2 * FEWEST_HALVES else 0  # the large table takes a millisecond
        patterns = signed_counts(data[: 2 * n_words].view(np.uint16)) if n_words else None
        others = np.bincount(data[2 * n_words :], minlength=256)
        groups = None
        if piece.cells is not None:
            groups = Groups()
            groups.add(piece.cells, start, self.reader.rows_of_cell)
        filled = data.size * piece.per_byte - piece.n  # zeros behind the last code
        return _Part(piece.n, data.size, patterns, others, groups if not filled else None)

    def add(self, part: _Part) -> None:
        """Take in what `counted` made."""
        if self._patterns is None:
            self._patterns = part.patterns
        elif part.patterns is not None:
            self._patterns += part.patterns
        self._others += part.others
        self._n += part.n
        self._n_bytes += part.n_bytes
        if part.groups is None or self._groups is None:
            self._groups = None
        else:
            self._groups.merge(part.groups)
        if self._n >= self.n:
            self._all_are_in()

    def _all_are_in(self) -> None:
        """Keep of the large table what is asked of it: 60,000 weights have one each. common: halves of words that are
        so common that a word of them can be one in a hundred."""
        patterns = self._patterns
        if patterns is not None:
            self.common = np.flatnonzero(patterns >= COMMON * int(patterns.sum()))
        self._counts = _by_code(patterns, self._others, self.weight.bits, self.reader.per_byte)
        self._patterns = None
        self.reader.forget()

    def fail(self, why: QinspectError) -> None:
        """It cannot be read."""
        self.error = why
        self._patterns = None
        self.reader.forget()

    def common_words(self, start: int, stop: int) -> _Words:
        """Words of which all halves are common."""
        piece = self.reader.read(start, stop, groups=False)
        size = self._word
        halves = piece.data[: piece.data.size // size * size].view(np.uint16).reshape(-1, size // 2)
        common = np.zeros(N_PATTERNS, bool)
        common[self.common] = True
        kept = np.ascontiguousarray(halves[common[halves].all(axis=1)])
        words, counts = np.unique(kept.view(f"<u{size}"), return_counts=True)
        return _Words(piece.n, words, counts)

    @property
    def _word(self) -> int:
        """Bytes of a word, in pieces."""
        return WORD if self.weight.bits in (1, 2, 4, 8) else 2 * WORD

    def add_words(self, words: Array, counts: Counts) -> None:
        """Take in what `common_words` made: of at most 200 halves."""
        for word, found in zip(words.tolist(), counts.tolist(), strict=True):
            self._words[word] = self._words.get(word, 0) + found

    def facts(self) -> CodeFacts:
        """When all pieces are in."""
        element, per_byte = self.weight.element, self.reader.per_byte
        by_pattern = self._counts
        by_pattern[0] -= self._n_bytes * per_byte - self._n
        low = element.code_range[0]
        counts = np.roll(by_pattern, -low)[: element.code_range[1] - low + 1]
        groups = self._groups if self._groups is not None and self._groups.n else None
        word = None
        if self._words:
            value, n = max(self._words.items(), key=lambda found: found[1])
            word = CommonWord(value, n, self._n_bytes // self._word, self._word * per_byte)
        return CodeFacts(self.weight, counts, groups or self._of_the_whole(counts), word)

    def _of_the_whole(self, counts: Counts) -> Groups | None:
        """Where one scale is that of all codes."""
        try:
            scale = self.reader.one_scale()
        except QinspectError:  # the rules of scales say so
            return None
        element = self.weight.element
        if scale is None or not element.zero_codes:
            return None
        of_zero = sum(int(counts[code - element.code_range[0]]) for code in element.zero_codes)
        groups = Groups()
        groups.add(Cells(np.array([[of_zero == int(counts.sum())]]), np.array([[scale]])), 0, 1)
        return groups


def _by_code(patterns: Counts | None, others: Counts, bits: int, per_byte: int) -> Counts:
    """int64[1 << bits]: how often each pattern of `bits` bits is there, from counts of 16 bits, and of other bytes."""
    of_byte: Counts = others.astype(np.int64)
    if patterns is not None:
        pairs = patterns.reshape(256, 256)
        of_byte += pairs.sum(axis=0) + pairs.sum(axis=1)
    if per_byte == 1:
        return of_byte[: 1 << bits]
    fields = of_byte.reshape((1 << bits,) * per_byte)
    axes = set(range(per_byte))
    found: Counts = sum((fields.sum(axis=tuple(axes - {at})) for at in axes), np.zeros(1 << bits, np.int64))
    return found
