"""As what weights are stored, in the cells of a map: whole where the cells have room, else a letter and its meaning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from string import ascii_letters

from qinspect.inspector.compare.results import StoredAs, WeightPair
from qinspect.inspector.text import some
from qinspect.tui.labels import fill, side_by_side

_FULL_BITS = 16
"""From here on a number is of full precision."""


class StoredLabels:
    """Of all tensors of a map. Where one model has them all in full precision, a label is what the other has; of two
    that are both quantized, what A has and what B has. longest: cells of the longest label."""

    def __init__(self, tensors: Iterable[WeightPair]) -> None:
        both = [(t.stored_a, t.stored_b) for t in tensors if t.stored_a and t.stored_b]
        self._of = _of_one_side([a for a, _ in both], [b for _, b in both])
        self._others = sorted({(a if self._of == "B" else b).name for a, b in both})
        self._counts = Counter(self._label(a, b) for a, b in both)
        self._letters = dict(zip((name for name, _ in self._counts.most_common()), ascii_letters, strict=False))
        self.longest = max(map(len, self._counts), default=0)

    def _label(self, a: StoredAs, b: StoredAs) -> str:
        if self._of:
            return (b if self._of == "B" else a).name
        return a.name if a == b else f"{a.name}>{b.name}"

    def of(self, tensor: WeightPair) -> str:
        """The label of one tensor; "" where one of the models has none."""
        return self._label(tensor.stored_a, tensor.stored_b) if tensor.stored_a and tensor.stored_b else ""

    def drawn(self, tensor: WeightPair, room: int) -> str:
        """The same in so many cells, for all tensors alike: whole, or as a letter."""
        label = self.of(tensor)
        return label if not label or self.longest <= room else self._letters.get(label, "?")

    def legend(self, room: int, width: int, most: int, cut: str) -> list[str]:
        """What the labels say and how many tensors each is of, in at most so many lines. room: cells of a label."""
        whole = self.longest <= room
        names = [f"{name} {n:,}" for name, n in self._counts.most_common()]
        if not whole:
            names = [f"{self._letters.get(name, '?')} {name} {n:,}" for name, n in self._counts.most_common()]
        if not names:
            return []
        said = "stored in A > in B" if not self._of else f"stored in {self._of}"
        other = f"in {'A' if self._of == 'B' else 'B'} {', '.join(self._others)}"
        names[0] = f"{said}: {names[0]}"
        if self._of and len(self._others) <= _MOST_OTHERS:
            names.append(f"({other})")
        lines = side_by_side(names, width)
        if len(lines) <= most:
            return lines
        return [*lines[: most - 1], f"{fill(lines[most - 1], width - 2, cut).rstrip()} {cut}"]

    def said_of(self, tensors: Iterable[WeightPair]) -> str:
        """How many of several are stored how: `3 NVFP4, 1 BF16`."""
        found = Counter(label for t in tensors if (label := self.of(t)))
        said = ", ".join(f"{n:,} {name}" for name, n in found.most_common())
        return f"{some(sum(found.values()), 'tensor')}: {said}"


_MOST_OTHERS = 3


def _of_one_side(a: list[StoredAs], b: list[StoredAs]) -> str:
    """The model whose storage a label shows, the other being of full precision; "" where neither is, or both are."""
    full = [all(s.bits >= _FULL_BITS for s in found) for found in (a, b)]
    return "" if full[0] == full[1] else "B" if full[0] else "A"
