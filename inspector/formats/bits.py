"""Bits per weight: what the weights of a model take in its files, and what its settings declare.

All bytes of codes, scales, zero points, indices, codebooks and padding count, over the elements that the weights have
in the model. Scales of activations do not count, and of tied weights one does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.formats.contract import Format
from qinspect.inspector.formats.counts import parameter_counts
from qinspect.inspector.formats.records import Kind
from qinspect.inspector.rows import where


@dataclass(frozen=True, slots=True)
class Bits:
    """effective: of all weights together; None where it is not known how many elements some codes hold. declared: what
    the settings say that a code has, each width once, the least first; () where they say nothing."""

    effective: float | None
    declared: tuple[float, ...] = ()

    @property
    def short(self) -> str:
        """`4.53 bits per weight`."""
        return "bits per weight not known" if self.effective is None else f"{self.effective:.4g} bits per weight"

    @property
    def sentence(self) -> str:
        """`4.53 bits per weight (4 declared)`."""
        said = self.short
        declared = " and ".join(f"{bits:g}" for bits in self.declared)
        return f"{said} ({declared} declared)" if declared else said


def bits_per_weight(nbytes: int, n_parameters: int, n_unknown: int = 0) -> float | None:
    """Of weights that take `nbytes` bytes; None where some of their elements are not counted, or there are none."""
    return 8 * nbytes / n_parameters if n_parameters and not n_unknown else None


def left_out(fmt: Format) -> set[str]:
    """Entries whose bytes are no weight's: scales of activations with their copies, and tied tensors but the first."""
    names = {name for group in fmt.checkpoint.tied() for name in group[1:]}
    for record in where(fmt.scales(), lambda r: (r.guess or r.kind) is Kind.ACTIVATION):
        names.update((*record.keys, *(c.key for c in record.copies if not c.times and not c.over)))
    return names


def model_bits(fmt: Format) -> Bits:
    """Of a whole model. Reads the shapes that some files store beside codes, and nothing else."""
    counts, without = parameter_counts(fmt), left_out(fmt)
    if None in counts.values() and any(n is None for name, n in counts.items() if name not in without):
        return Bits(None, fmt.declared_bits)
    n_parameters = sum(filter(None, counts.values())) - sum(counts.get(name) or 0 for name in without)
    nbytes = sum(fmt.checkpoint.bytes_by_dtype().values()) - _bytes_of(fmt.checkpoint, without)
    return Bits(bits_per_weight(nbytes, n_parameters), fmt.declared_bits)


def bits_of_quantized(fmt: Format) -> tuple[float | None, float | None]:
    """(of the weights that are quantized, with what scales them, of all weights): effective; None where not known."""
    counts, without = parameter_counts(fmt), left_out(fmt)
    taken, entries = fmt.taken(), fmt.checkpoint.entries
    nbytes: dict[int, int] = {}
    sums = {True: [0, 0, 0], False: [0, 0, 0]}
    for name, form in zip(entries, entries.tensor_forms(), strict=True):
        if form is None or name in without:
            continue
        size = nbytes.get(id(form))
        if size is None:
            size = nbytes[id(form)] = form[0].nbytes(math.prod(form[1]))
        found, n = sums[name in taken], counts[name]
        found[0] += size
        found[1] += n or 0
        found[2] += n is None
    quantized, all_of_it = sums[True], [a + b for a, b in zip(*sums.values(), strict=True)]
    return bits_per_weight(*quantized), bits_per_weight(*all_of_it)


def _bytes_of(checkpoint: Checkpoint, names: set[str]) -> int:
    found = (checkpoint.tensor(name) for name in names)
    return sum(t.nbytes for t in found if t is not None)


class WeightBits:
    """Bits per weight of a model, of each module of it and of each tensor, by where they stand in a tree of modules.

    Counts everything once, in one pass over the headers: for a thread of its own where there is a screen.
    """

    def __init__(self, fmt: Format) -> None:
        self._counts, self._without = parameter_counts(fmt), left_out(fmt)
        sums = _sums_of_modules(fmt, self._counts, self._without)
        self._modules = {path: bits_per_weight(*found) for path, found in sums.items()}
        self.whole = Bits(self._modules.get(""), fmt.declared_bits)

    def of_module(self, path: str) -> float | None:
        """Of everything below a module, "" for the model; None where that is not known, or none of it is a weight."""
        return self._modules.get(path)

    def of_tensor(self, tensor: Tensor) -> float | None:
        """Of one tensor; None of scales, and of codes whose number of elements is not known."""
        n = self._counts.get(tensor.name)
        return None if tensor.name in self._without or not n else bits_per_weight(tensor.nbytes, n)


def _sums_of_modules(fmt: Format, counts: dict[str, int | None], without: set[str]) -> dict[str, tuple[int, int, int]]:
    """(bytes, elements, tensors whose elements are not known) below each module, by its path."""
    sums = _of_entries(fmt, counts, without)
    levels: dict[int, list[str]] = {}
    for path in sums:
        levels.setdefault(_depth(path), []).append(path)
    for depth in range(max(levels, default=0), 0, -1):  # from below: each module is added to the one above once
        for path in levels.get(depth, ()):
            above = path.rpartition(".")[0]
            total = sums.get(above)
            if total is None:
                total = sums[above] = [0, 0, 0]
                levels.setdefault(_depth(above), []).append(above)
            for i, x in enumerate(sums[path]):
                total[i] += x
    return {path: (a, b, c) for path, (a, b, c) in sums.items()}


def _depth(path: str) -> int:
    return 1 + path.count(".") if path else 0


def _of_entries(fmt: Format, counts: dict[str, int | None], without: set[str]) -> dict[str, list[int]]:
    """The same of the tensors that stand directly in each module."""
    entries = fmt.checkpoint.entries
    forms = list(entries.tensor_forms())
    nbytes: dict[int, int] = {}  # a model has few forms, by the identity of theirs
    places: dict[str, str] = {}
    sums: dict[str, list[int]] = {}
    for name, form in zip(entries, forms, strict=True):
        if form is None or name in without:
            continue
        size = nbytes.get(id(form))
        if size is None:
            size = nbytes[id(form)] = form[0].nbytes(math.prod(form[1]))
        module = name if fmt.own_names else name.rpartition(".")[0]  # else entries of one module stand in one place
        place = places.get(module)
        if place is None:
            place = places[module] = fmt.place_of(name).rpartition(".")[0]
        found = sums.get(place)
        if found is None:
            found = sums[place] = [0, 0, 0]
        n = counts[name]
        found[0] += size
        found[1] += n or 0
        found[2] += n is None
    return sums
