"""What a comparison is made of: plain frozen data that reports and screens read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from qinspect.inspector.finding import Finding
from qinspect.inspector.rows import some_fit
from qinspect.inspector.values.scale_faults import ScaleFaults

if TYPE_CHECKING:  # formats need numpy; a screen draws results before that is imported
    from qinspect.inspector.formats import Format, ScaleRecord
    from qinspect.inspector.noise.band import Band, Noise
    from qinspect.inspector.provenance import Declared


class Status(StrEnum):
    """How two entries of the same role relate."""

    IDENTICAL = "identical"
    """Equal to the bit."""
    EQUAL = "equal"
    """The same numbers, stored in another dtype, or apart by the rounding of a folded factor."""
    DIFFERENT = "different"
    ONLY_A = "only in A"
    ONLY_B = "only in B"
    SHAPE = "shape mismatch"
    DTYPE = "dtype mismatch"
    """Stored in another element type; how many values differ is counted where they were read."""
    SCHEME = "other scheme"
    """Codes or scales of two kinds (4 and 8 bits, group and channel): not comparable number by number."""
    PERMUTED = "other order"
    """The same values with heads or channels in another order: equal indices are not the same cell."""
    INCOMPARABLE = "not comparable"
    """Of a layer whose heads or channels are in another order, and not the same values in that order."""
    NOT_COMPARED = "not compared"
    """Headers agree; the bytes were not read."""
    BROKEN = "broken"
    """Could not be read; the reason is with it."""

    counts_as_same: bool
    """Whether it leaves exit code 0."""

    def __new__(cls, value: str) -> Status:  # noqa: D102  # asked 100,000 times, of which a property takes long
        made = str.__new__(cls, value)
        made._value_ = value
        made.counts_as_same = value in ("identical", "equal", "not compared")
        return made


@dataclass(frozen=True, slots=True)
class Difference:
    """How the numbers of one scale differ, B relative to A, in percent of A.

    n: elements. n_changed, n_up, n_down: of them. largest: signed difference of the element that differs most; for a
    scalar, the difference. where: its index in logical order (of the sorted values, if `sorted_cells`). a, b: its two
    values. median, mean: of |difference| over all elements. log2_ratio: log2(b/a) of that element.
    sorted_cells: cells are not the same sets in A and B, so both were sorted first.
    n_undefined: elements where A is zero or either is not finite; they count as changed but have no percentage. Where
    all that changed is so, `largest` is NaN. n_bad_a, n_bad_b: differing elements that no scale can be: not finite,
    zero or negative.
    sampled: the median is of an even sample, the tensor being large.
    """

    n: int
    n_changed: int
    n_up: int
    n_down: int
    largest: float
    where: tuple[int, ...]
    a: float
    b: float
    median: float
    mean: float
    log2_ratio: float
    sorted_cells: bool = False
    n_undefined: int = 0
    sampled: bool = False
    n_bad_a: int = 0
    n_bad_b: int = 0

    @property
    def undefined_said(self) -> str:
        """How many elements differ without a percentage, and why; empty for none."""
        return f"{self.n_undefined:,} without a percentage (A zero, or not finite)" if self.n_undefined else ""

    @property
    def direction(self) -> str:
        """`up`, `down`, `mixed`, or `none`."""
        if self.n_up and self.n_down:
            return "mixed"
        return "up" if self.n_up else "down" if self.n_down else "none"


@dataclass(frozen=True, slots=True)
class ScalePair:
    """One role in A and B. order: position in forward order. bands: of an activation's, what chance makes of it, the
    one that applies first; they come with the complete comparison. faults_a, faults_b: numbers that no scale should be,
    None where there are none or the scale was not read. joined: the model, `A` or `B`, whose record is of a whole that
    the other has in parts. tied: the model, `A` or `B`, that has no head, and whose record is that of its embedding."""

    role: str
    order: int
    a: ScaleRecord | None
    b: ScaleRecord | None
    status: Status
    difference: Difference | None = None
    note: str = ""
    bands: tuple[Band, ...] = ()
    faults_a: ScaleFaults | None = None
    faults_b: ScaleFaults | None = None
    joined: str = ""
    tied: str = ""

    @property
    def record(self) -> ScaleRecord:
        """A's record, or B's where A has none."""
        record = self.a or self.b
        assert record is not None
        return record

    @property
    def not_by_cell(self) -> str:
        """Why a number of A is not held against that of B at the same index; empty where it is."""
        if self.joined:
            return "one of them is of a whole, of which this is a part"
        if self.difference is not None:
            return "cells are in another order" if self.difference.sorted_cells else ""
        return "" if self.status.counts_as_same else str(self.status)


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far B's tensor lies from A's, over all elements; of codes, in codes.

    relative: |B - A| / |A|, Frobenius norms over the elements that are finite in both, a fraction; NaN for codes, and
    where A has nothing but zeros. largest: the largest |B - A|; where: its index; a, b: the values there. n_zeroed:
    elements that are zero in B only. zero_from: flat index from which on B is zero to its end and A is not; None where
    there is no such tail. n_bad_a, n_bad_b: NaN and Inf, which are left out of the norms. rounded: `B is A rounded to
    float16`, where all elements of B are A's in another dtype (or the other way round), else empty.
    """

    relative: float
    largest: float
    where: tuple[int, ...]
    a: float
    b: float
    n_zeroed: int = 0
    zero_from: int | None = None
    n_bad_a: int = 0
    n_bad_b: int = 0
    rounded: str = ""

    @property
    def has_size(self) -> bool:
        """Whether numbers differ that are finite in both. Where only NaN or Inf do, 0 % would say that nothing does."""
        return self.largest > 0


@dataclass(frozen=True, slots=True)
class StoredAs:
    """What the numbers of a matrix are stored as. name: `NVFP4`, `int4 g128`, `BF16`. bits: of one of its codes."""

    name: str
    bits: float


@dataclass(frozen=True, slots=True)
class WeightPair:
    """Codes, an unquantized tensor, or a plain value, of one role. a, b: names in the files. n: elements; n_changed:
    codes (values) that differ, None if not counted. deviation: by how much, where numbers differ. is_none: a None that
    one model stores, and the other has nothing for. joined: the model, `A` or `B`, where it is a part of a larger
    tensor. tied: the model that has no head, and whose embedding stands for it. stored_a, stored_b: of what has two
    axes or more, as what; None of vectors, which nobody quantizes, and where a model has none."""

    role: str
    a: str | None
    b: str | None
    status: Status
    n: int = 0
    n_changed: int | None = None
    quantized: bool = False
    note: str = ""
    deviation: Deviation | None = None
    is_none: bool = False
    joined: str = ""
    tied: str = ""
    stored_a: StoredAs | None = None
    stored_b: StoredAs | None = None


@dataclass(frozen=True, slots=True)
class CopyProblem:
    """A stored copy that does not agree with the scale it is a copy of, or that only the other model has (`missing`:
    both numbers are NaN then). A measurement: what is to be said of all of them is a `Finding`. model: `A` or `B`."""

    model: str
    role: str
    key: str
    copy_key: str
    relation: str
    expected: float
    found: float
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Effect:
    """What a setting, percentile_alpha, did. kind: `effective`, `within-noise`, `dead-parameter` or `not-as-declared`.

    reason: it in words, of the rule of that name. declared: of A and B. n: scales that the setting reaches and that
    were compared; of them n_changed, n_up, n_down. beyond: roles of those that differ by more than noise. sign_p: of
    the exact sign test of those that changed, one-sided where both alphas are declared. holm_p: the largest adjusted p
    of those beyond, None where their noise has no distribution.
    """

    reason: Finding
    declared: tuple[Declared | None, Declared | None]
    n: int = 0
    n_changed: int = 0
    n_up: int = 0
    n_down: int = 0
    beyond: tuple[str, ...] = ()
    sign_p: float | None = None
    holm_p: float | None = None

    @property
    def kind(self) -> str:
        """The verdict in a word."""
        return self.reason.rule


@dataclass(frozen=True, slots=True)
class Summary:
    """Numbers over all paired scales; a point counts once, whatever copies it has. Percentages are of |difference|,
    a scale tensor counting with its largest element; base A. mean, median and largest are NaN where no scale that they
    are of has a percentage."""

    n_pairs: int
    n_same: int
    n_different: int
    n_reordered: int
    n_incomparable: int
    n_only_a: int
    n_only_b: int
    mean: float
    median: float
    largest: float
    largest_role: str
    first_role: str
    n_up: int
    n_down: int
    n_mixed: int
    histogram: tuple[tuple[str, int], ...]

    @property
    def sign_pattern(self) -> str:
        """`all up`, `all down`, `mixed` or `none`; `some up` (`down`) where others have no sign, being NaN."""
        if not self.n_different:
            return "none"
        if self.n_mixed or (self.n_up and self.n_down):
            return "mixed"
        how = "all" if self.n_different == self.n_up + self.n_down else "some"
        return f"{how} up" if self.n_up else f"{how} down" if self.n_down else "none"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything a comparison found.

    weights_compared: whether codes and other tensors were read. weight_bytes: how many bytes that is, A and B.
    noise: what chance does to the scales. effect: what percentile_alpha did, None where nothing was claimed or found.
    """

    a: Format
    b: Format
    scales: Sequence[ScalePair]
    weights: Sequence[WeightPair]
    copies: tuple[CopyProblem, ...]
    summary: Summary
    headline: Finding
    reasons: tuple[Finding, ...]
    notes: tuple[str, ...]
    weights_compared: bool
    weight_bytes: int
    noise: Noise
    effect: Effect | None = None

    @property
    def next(self) -> str:
        """What to do now: after the effect, where there is one, else after the headline."""
        return (self.effect.reason if self.effect else self.headline).next

    @property
    def same(self) -> bool:
        """No difference at the level that was compared. Copies that disagree in both alike are none."""
        apart = some_fit(self.scales, _is_apart) or some_fit(self.weights, _is_apart)
        return not apart and not copies_differ(self.copies)


def _is_apart(pair: ScalePair | WeightPair) -> bool:
    return not pair.status.counts_as_same


def copies_differ(problems: Sequence[CopyProblem]) -> bool:
    """Whether one model has a problem that the other does not have in the same place with the same number."""
    places = [{(c.role, c.copy_key, repr(c.found)) for c in problems if c.model == m} for m in ("A", "B")]
    return places[0] != places[1]
