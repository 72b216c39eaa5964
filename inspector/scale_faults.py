"""Numbers that a scale should not be: NaN, Inf, zero, negative, denormal.

One vector operation looks at thousands of scales at once: a numpy call for each of 20,000 scalars takes longer than
reading them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qinspect.inspector.text import count, number, share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_FLUSH_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ScaleFaults:
    """What is wrong with the numbers of one scale. n: its elements; of them NaN, Inf, zero, negative, denormal (below
    the smallest normal number of its dtype, so with fewer digits). first: flat index of the first of them; value: what
    is there.

    A float8 scale of a block may be zero or denormal, and an integer is a scale's code: neither counts.
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


def faults_of(values: Array) -> ScaleFaults | None:
    """Of one scale's values, of any real dtype; None where nothing is wrong."""
    scan = FaultScan()
    scan.add(None, values)
    return scan.found().get(None)


class FaultScan:
    """Collects scales under a tag each, and looks at them together. A scale may come in consecutive pieces."""

    def __init__(self) -> None:
        self._held: dict[Any, list[tuple[Hashable, int, bytes]]] = {}
        self._bytes = 0
        self._sizes: dict[Hashable, int] = {}
        self._found: dict[Hashable, ScaleFaults] = {}

    def add(self, tag: Hashable, values: Array) -> None:
        """Look at values of the scale `tag`, now or later."""
        self.add_bytes(tag, values.dtype, values.tobytes())

    def add_bytes(self, tag: Hashable, dtype: Any, raw: bytes) -> None:
        """The same, of the bytes of numpy's `dtype`."""
        if dtype.kind in "iub":
            return
        n = len(raw) // dtype.itemsize
        at = self._sizes.get(tag, 0)
        self._sizes[tag] = at + n
        self._held.setdefault(dtype, []).append((tag, at, raw))
        self._bytes += len(raw)
        if self._bytes > _FLUSH_BYTES:
            self._flush()

    def forget(self, tag: Hashable) -> None:
        """Take back what came of `tag`; what was already looked at too."""
        if tag in self._sizes:
            del self._sizes[tag]
            self._found.pop(tag, None)
            for dtype, held in self._held.items():
                self._held[dtype] = [h for h in held if h[0] != tag]

    def found(self) -> dict[Hashable, ScaleFaults]:
        """What is wrong with those that have something wrong, by tag."""
        from dataclasses import replace

        self._flush()
        return {tag: replace(f, n=self._sizes[tag]) for tag, f in self._found.items()}

    def _flush(self) -> None:
        import numpy as np

        for dtype, held in self._held.items():
            numbers = np.frombuffer(b"".join(raw for _, _, raw in held), dtype)
            with np.errstate(all="ignore"):  # a signalling NaN in the file is no event
                values = numbers.astype(np.float64 if dtype.itemsize == 8 else np.float32)
            least, zero_allowed = _least(dtype)
            sound = (values >= least) & np.isfinite(values)
            if zero_allowed:
                sound |= values == 0
            if sound.all():
                continue
            ends = np.cumsum([len(raw) // dtype.itemsize for _, _, raw in held])
            for i in np.unique(np.searchsorted(ends, np.flatnonzero(~sound), side="right")).tolist():
                tag, at, _ = held[i]
                part = slice(int(ends[i - 1]) if i else 0, int(ends[i]))
                self._note(tag, at, values[part], ~sound[part])
        self._held.clear()
        self._bytes = 0

    def _note(self, tag: Hashable, at: int, values: Array, faulty: Array) -> None:
        import numpy as np

        i = int(faulty.argmax())
        x = values[faulty]
        nan, inf = int(np.isnan(x).sum()), int(np.isinf(x).sum())
        zero, negative = int((x == 0).sum()), int(((x < 0) & np.isfinite(x)).sum())
        new = ScaleFaults(0, nan, inf, zero, negative, x.size - nan - inf - zero - negative, at + i, float(values[i]))
        old = self._found.get(tag)
        self._found[tag] = new if old is None else _together(old, new)


def _together(a: ScaleFaults, b: ScaleFaults) -> ScaleFaults:
    return ScaleFaults(
        0, a.n_nan + b.n_nan, a.n_inf + b.n_inf, a.n_zero + b.n_zero, a.n_negative + b.n_negative,
        a.n_denormal + b.n_denormal, a.first, a.value,
    )  # fmt: skip


def _least(dtype: Any) -> tuple[float, bool]:
    """(the smallest number of a dtype that no fault is, whether zero is none either)."""
    if dtype.itemsize == 1:
        return 0.0, True
    if dtype.kind == "f":
        import numpy as np

        return float(np.finfo(dtype).smallest_normal), False
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).smallest_normal), False


def index_of(faults: ScaleFaults, shape: tuple[int, ...]) -> list[int]:
    """Index of the first fault in `shape`; the flat one where that is not the shape of the values."""
    import numpy as np

    if math.prod(shape) != faults.n:
        return [faults.first]
    return [int(i) for i in np.unravel_index(faults.first, shape)]
