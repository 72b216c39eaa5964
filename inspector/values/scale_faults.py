"""Numbers that a scale should not be: NaN, Inf, zero, negative, denormal.

One vector operation looks at thousands of scales at once: a numpy call for each of 20,000 scalars takes longer than
reading them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from qinspect.inspector.text import count, number, share, some, visible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qinspect.inspector.formats import ScaleRecord

    Array = NDArray[Any]

Tag = tuple[int, str]
"""Number of a pair, and the model."""

_FLUSH_BYTES = 1 << 20
_SIGNED_ELEMENTS = 16
"""A tensor with fewer does not tell whether its scales are signed by convention."""


@dataclass(frozen=True, slots=True)
class ScaleFaults:
    """What is wrong with the numbers of one scale. n: its elements; of them NaN, Inf, zero, negative, denormal (below
    the smallest normal number of its dtype, so with fewer digits). first: flat index of the first of them; value: what
    is there.

    A float8 scale of a block may be zero or denormal, and an integer is a scale's code: neither counts. Nor do negative
    scales where they are a quarter to three quarters of a tensor: there the sign is a convention (round-to-nearest
    that gives the larger end of a group the full range).
    """

    n: int
    n_nan: int
    n_inf: int
    n_zero: int
    n_negative: int
    n_denormal: int
    first: int
    value: float

    @property
    def n_broken(self) -> int:
        """NaN, Inf, zero and negative."""
        return self.n_nan + self.n_inf + self.n_zero + self.n_negative

    @property
    def n_faulty(self) -> int:
        """All of them."""
        return self.n_broken + self.n_denormal

    def __str__(self) -> str:
        kinds = ((self.n_nan, "NaN"), (self.n_inf, "Inf"), (self.n_zero, "zero"), (self.n_negative, "negative"),
                 (self.n_denormal, "denormal"))  # fmt: skip
        found = [(n, word) for n, word in kinds if n]
        if self.n == 1:
            return found[0][1] if found[0][1] in ("NaN", "Inf", "zero") else f"{found[0][1]}, {number(self.value)}"
        listed = ", ".join(f"{count(n)} {word}" for n, word in found)
        return f"{listed} of {count(self.n)} ({share(self.n_faulty, self.n)}), first [{self.first}]"


def _with_ones_for_zeros(values: Array) -> Array:
    import numpy as np

    return np.where(values == 0, values.dtype.type(1), values)


class FaultScan:
    """Collects scales under a tag each, and looks at them together. A scale may come in consecutive pieces."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Any, int, list[tuple[Hashable, int, bytes]]]] = {}
        """By name of the dtype: numpy's dtype, bytes of an element, (tag, index of the first element, bytes)."""
        self._bytes = 0
        self._sizes: dict[Hashable, int] = {}
        self._found: dict[Hashable, _Held] = {}

    def add(self, tag: Hashable, values: Array) -> None:
        """Look at values of the scale `tag`, now or later."""
        dtype = values.dtype
        if dtype.kind not in "iub":
            self.add_bytes(tag, dtype.name, lambda: dtype, values.tobytes())

    def add_scale(self, tag: Hashable, record: ScaleRecord, values: Array) -> None:
        """The same, of values that `record` describes: zero points may be anything, and some scales are negative by
        convention."""
        if record.quantity.is_step:
            magnitudes = abs(values) if record.may_be_negative else values
            if record.may_be_zero:
                magnitudes = _with_ones_for_zeros(magnitudes)
            self.add(tag, magnitudes)

    def add_bytes(self, tag: Hashable, name: str, dtype: Callable[[], Any], raw: bytes) -> None:
        """The same, of the bytes of floating-point numbers. dtype: gives numpy's, asked once for each `name`."""
        held = self._held_of(name, dtype)
        at = self._sizes.get(tag, 0)
        self._sizes[tag] = at + len(raw) // held[1]
        held[2].append((tag, at, raw))
        self._bytes += len(raw)
        if self._bytes > _FLUSH_BYTES:
            self._flush()

    def add_whole(self, name: str, dtype: Callable[[], Any], scales: Sequence[tuple[Tag, bytes]]) -> None:
        """The same, of many scales of one dtype, each of them whole."""
        held = self._held_of(name, dtype)
        held[2].extend([(tag, 0, raw) for tag, raw in scales])
        self._bytes += sum([len(raw) for _, raw in scales])
        if self._bytes > _FLUSH_BYTES:
            self._flush()

    def add_rows(self, tags: Sequence[Tag], values: Array) -> None:
        """The same, of floating-point numbers, each row a scale, whole. Mostly all are sound, which two looks tell."""
        if not _all_sound(values):
            dtype = values.dtype
            self.add_whole(dtype.name, lambda: dtype, [(t, v.tobytes()) for t, v in zip(tags, values, strict=True)])

    def _held_of(self, name: str, dtype: Callable[[], Any]) -> tuple[Any, int, list[tuple[Hashable, int, bytes]]]:
        held = self._held.get(name)
        if held is None:
            made = dtype()
            held = self._held[name] = (made, made.itemsize, [])
        return held

    def forget(self, tag: Hashable) -> None:
        """Take back what came of `tag` in pieces; what was already looked at too."""
        if tag in self._sizes:
            del self._sizes[tag]
            self._found.pop(tag, None)
            for _, _, held in self._held.values():
                held[:] = [h for h in held if h[0] != tag]

    def found(self) -> dict[Any, ScaleFaults]:
        """What is wrong with those that have something wrong, by tag."""
        self._flush()
        made = {tag: held.result(self._sizes[tag]) for tag, held in self._found.items()}
        return {tag: faults for tag, faults in made.items() if faults is not None}

    def _flush(self) -> None:
        import numpy as np

        for dtype, _, held in self._held.values():
            numbers = np.frombuffer(b"".join(raw for _, _, raw in held), dtype)
            if not _all_sound(numbers):
                self._look(dtype, held, numbers)
            held.clear()
        self._bytes = 0

    def _look(self, dtype: Any, held: list[tuple[Hashable, int, bytes]], numbers: Array) -> None:
        """Look at numbers of which some are not sound, or are -0."""
        import numpy as np

        with np.errstate(all="ignore"):  # a signalling NaN in the file is no event
            values = numbers if dtype.kind == "f" else numbers.astype(np.float32)
            least, zero_allowed = _least(dtype)
            sound = (values >= least) & np.isfinite(values)
            if zero_allowed:
                sound |= values == 0
        ends = np.cumsum([len(raw) // dtype.itemsize for _, _, raw in held])
        # np.unique would import numpy.ma.
        for i in sorted(set(np.searchsorted(ends, np.flatnonzero(~sound), side="right").tolist())):
            tag, at, _ = held[i]
            part = slice(int(ends[i - 1]) if i else 0, int(ends[i]))
            self._note(tag, at, values[part], ~sound[part])

    def _note(self, tag: Hashable, at: int, values: Array, faulty: Array) -> None:
        self._sizes.setdefault(tag, values.size)  # of one that came whole
        held = self._found.setdefault(tag, _Held())
        held.add(at, values, faulty)


class _Held:
    """Counts of one scale's faults, and the first of the negative and of the others: (flat index, value)."""

    def __init__(self) -> None:
        self.n_nan = self.n_inf = self.n_zero = self.n_negative = self.n_denormal = 0
        self.negative: tuple[int, float] | None = None
        self.other: tuple[int, float] | None = None

    def add(self, at: int, values: Array, faulty: Array) -> None:
        import numpy as np

        negative = faulty & (values < 0) & np.isfinite(values)
        others = faulty & ~negative
        self.negative = self.negative or _first(at, values, negative)
        self.other = self.other or _first(at, values, others)
        x = values[others]
        nan, inf, zero = int(np.isnan(x).sum()), int(np.isinf(x).sum()), int((x == 0).sum())
        self.n_nan += nan
        self.n_inf += inf
        self.n_zero += zero
        self.n_denormal += x.size - nan - inf - zero
        self.n_negative += int(negative.sum())

    def result(self, n: int) -> ScaleFaults | None:
        """Of a scale with `n` elements."""
        signed = n >= _SIGNED_ELEMENTS and n // 4 <= self.n_negative <= n - n // 4
        n_negative = 0 if signed else self.n_negative
        firsts = [f for f in (self.other, None if signed else self.negative) if f is not None]
        if not firsts:
            return None
        return ScaleFaults(n, self.n_nan, self.n_inf, self.n_zero, n_negative, self.n_denormal, *min(firsts))


def _all_sound(values: Array) -> bool:
    """Whether no number is a fault, nor -0."""
    low, high = _sound_bits(values.dtype)
    bits = values.view(f"u{values.dtype.itemsize}")
    return not bits.size or (bool(bits.min() >= low) and bool(bits.max() <= high))


def _first(at: int, values: Array, mask: Array) -> tuple[int, float] | None:
    i = int(mask.argmax())
    return (at + i, float(values[i])) if mask[i] else None


@lru_cache(16)
def _sound_bits(dtype: Any) -> tuple[int, int]:
    """The bit patterns, as unsigned integers, between which every number is sound: those of positive numbers rise with
    their value."""
    import numpy as np

    ends = np.array([_least(dtype)[0], float(_limits(dtype).max)]).astype(dtype)
    low, high = ends.view(f"u{dtype.itemsize}").tolist()
    return low, high


@lru_cache(16)
def _least(dtype: Any) -> tuple[float, bool]:
    """(the smallest number of a dtype that no fault is, whether zero is none either)."""
    if dtype.itemsize == 1:
        return 0.0, True
    return float(_limits(dtype).smallest_normal), False


def index_of(faults: ScaleFaults, shape: tuple[int, ...]) -> list[int]:
    """Index of the first fault in `shape`; the flat one where that is not the shape of the values."""
    import numpy as np

    if math.prod(shape) != faults.n:
        return [faults.first]
    return [int(i) for i in np.unravel_index(faults.first, shape)]


FAULT_RULES = (
    ("broken-scale", "n_broken", "with numbers that no scale should be"),
    ("denormal-scale", "n_denormal", "with denormal numbers, which have fewer digits than their dtype"),
)
"""(code, what it counts, how it is said), the worse first."""


@dataclass(frozen=True, slots=True)
class FaultyScale:
    """A scale of one model with what is wrong with it. shape: as its values come, or as stored."""

    role: str
    shape: tuple[int, ...]
    faults: ScaleFaults


def faults_said(found: Sequence[FaultyScale], what: str) -> str:
    """`3 scales with numbers that no scale should be (2 NaN, 1 zero; 0.1 % of their elements), first ...`."""
    each = [s.faults for s in found]
    kinds = ((sum(f.n_nan for f in each), "NaN"), (sum(f.n_inf for f in each), "Inf"),
             (sum(f.n_zero for f in each), "zero"), (sum(f.n_negative for f in each), "negative"),
             (sum(f.n_denormal for f in each), "denormal"))  # fmt: skip
    listed = ", ".join(f"{count(n)} {word}" for n, word in kinds if n)
    part = share(sum(f.n_faulty for f in each), sum(f.n for f in each))
    first = found[0]
    at = str(index_of(first.faults, first.shape)) if first.faults.n > 1 else ""
    return (
        f"{some(len(found), 'scale')} {what} ({listed}; {part} of their elements), first "
        f"{visible(first.role, 120)}{at} = {number(first.faults.value)}"
    )


def model_faults_said(found: Sequence[FaultyScale]) -> list[tuple[str, str]]:
    """(code, sentence) of one model alone."""
    said = []
    for code, of, what in FAULT_RULES:
        if faulty := [s for s in found if getattr(s.faults, of)]:
            said.append((code, f"The model has {faults_said(faulty, what)}."))
    return said


def _limits(dtype: Any) -> Any:
    """Its largest and smallest numbers, from ml_dtypes only where the type is one of its own: it takes time to import,
    and leaves them unannotated."""
    if dtype.kind == "f" and dtype.itemsize > 1:  # ml_dtypes calls its float8_e5m2 so too
        import numpy as np

        return np.finfo(dtype)
    import ml_dtypes

    limits: Any = ml_dtypes.finfo
    return limits(dtype)
