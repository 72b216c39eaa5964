"""What the tensors of one module say of it: how its codes lie, on what grid its scales are. Where config.json says
otherwise, it is heard only in so far as the shapes allow it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.families.compressed_tensors.declared import Args, Declared
from qinspect.inspector.formats.families.compressed_tensors.modules import Words
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, channels, groups, tiles
from qinspect.inspector.formats.records import Slice, part_of
from qinspect.inspector.formats.small import integers, small_entries
from qinspect.inspector.text import dims

_MAX_SHAPE = 8
_DENSE_SINCE = (0, 17)
"""The first release that writes codes of 3, 5, 6 and 7 bits over the ends of words."""
USUAL_BLOCK = (128, 128)
"""Rows and columns of a block where nothing says otherwise."""


@dataclass(frozen=True, slots=True)
class Found:
    """A module's entries by the last part of their names.

    expert, n_experts: of experts in one module, which of how many these are; each entry is then the part of it."""

    checkpoint: Checkpoint
    module: str
    names: Mapping[str, str]
    _made: dict[str, Tensor | None] = field(default_factory=dict)
    expert: int | None = None
    n_experts: int = 0

    @property
    def name(self) -> str:
        """The module's name; of an expert, `experts.3.up_proj` in the module `experts.up_proj`."""
        if self.expert is None:
            return self.module
        above, dot, last = self.module.rpartition(".")
        return f"{above}{dot}{self.expert}.{last}"

    def part(self, last: str) -> Slice | None:
        """Which part of an entry is this expert's; None where it is all of it."""
        tensor = None if self.expert is None else self.checkpoint.tensor(self.names.get(last, ""))
        if tensor is None or tensor.shape[:1] != (self.n_experts,) or (len(tensor.shape) < 2 and self.n_experts < 2):
            return None
        assert self.expert is not None
        return Slice(rows=(self.expert, self.expert + 1)) if len(tensor.shape) < 2 else Slice((self.expert,))

    def tensor(self, last: str) -> Tensor | None:
        """The tensor of this last part; None where there is none. Raises CannotDequantize where it has no part for this
        expert."""
        name = self.names.get(last)
        if name is None:
            return None
        if last not in self._made:
            tensor, part = self.checkpoint.tensor(name), self.part(last)
            self._made[last] = tensor if tensor is None or part is None else part_of(tensor, part)
        return self._made[last]

    def key(self, last: str) -> str:
        """Its name, or what that would be."""
        return self.names.get(last) or (f"{self.module}.{last}" if self.module else last)

    def misfit(self, last: str, problem: str, expected: str) -> CannotDequantize:
        """The error of one of its entries."""
        tensor = self.tensor(last)
        found = "nothing" if tensor is None else f"{tensor.dtype.name} {dims(tensor.shape)}"
        return CannotDequantize(
            problem, file=self.checkpoint.path if tensor is None else tensor.file.path, key=self.key(last),
            expected=expected, found=found,
        )  # fmt: skip


def stored_shapes(checkpoint: Checkpoint, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The shapes that `weight_shape` entries hold, a few bytes each, read together: without them the width of packed
    rows is known to a word only. What is no shape, or cannot be read, is left out."""
    wanted: dict[str, int] = {}
    for name in names:
        tensor = checkpoint.tensor(name)
        if tensor is not None and tensor.dtype.name in ("int32", "int64") and len(tensor.shape) == 1:
            wanted[name] = tensor.dtype.bits // 8
    found = small_entries(checkpoint, wanted, 8 * _MAX_SHAPE)
    sizes = {name: integers(data, wanted[name]) for name, data in found.items()}
    return {name: shape for name, shape in sizes.items() if len(shape) <= _MAX_SHAPE}


def words_of(
    found: Found, packed: Tensor, n_columns: int, args: Args | None, declared: Declared
) -> tuple[Words, str | None]:
    """How the codes of `packed` lie, and what config.json says otherwise. Raises CannotDequantize where their number of
    bits cannot be told."""
    n_words = packed.shape[-1]
    fitting = _fitting(n_columns, n_words)
    said = args.bits if args else None
    choice = [w for w in fitting if w.bits == said] or [w for w in fitting if w.dense] or list(fitting)
    if len({w.bits for w in choice}) != 1:
        bits = f" of {said} bits" if said else ""
        raise found.misfit(
            "weight_packed" if "weight_packed" in found.names else "weight",
            f"does not hold {n_columns} codes{bits} a row, as weight_shape says", "the words that such codes take",
        )  # fmt: skip
    chosen = choice[0]
    if len(choice) == 2 and n_columns > 32 // chosen.bits:
        if not declared.version or declared.version == (0, 16):
            raise found.misfit(
                "weight_packed", f"holds codes of {chosen.bits} bits, and how they lie in words depends on the version "
                "of the library, which is not said", "a version in config.json",
            )  # fmt: skip
        chosen = choice[0] if declared.version >= _DENSE_SINCE else choice[1]
    other = f"{said} bits" if said is not None and said != chosen.bits else None
    return chosen, other


@lru_cache(1024)  # few shapes occur in 20,000 modules
def _fitting(n_columns: int, n_words: int) -> tuple[Words, ...]:
    """The ways in which so many codes take so many words."""
    ways = (Words(bits, dense) for bits in range(1, 9) for dense in (True, False) if dense or 32 % bits)
    return tuple(w for w in ways if w.of(n_columns) == n_words)


def columns_of(found: Found, packed: Tensor, shape: tuple[int, ...] | None, args: Args | None) -> int:
    """The columns of a packed weight: what `weight_shape` says, or without one, what the words and groups hold. Raises
    CannotDequantize."""
    if shape is not None:
        if len(shape) != len(packed.shape) or shape[:-1] != packed.shape[:-1] or shape[-1] < 0:
            raise CannotDequantize(
                "does not fit the codes beside it", file=packed.file.path, key=found.key("weight_shape"),
                expected=f"{list(packed.shape[:-1])} and the number of columns", found=str(list(shape)),
            )  # fmt: skip
        return shape[-1]
    if "weight_shape" in found.names or args is None or not args.bits or not 1 <= args.bits <= 8:
        raise found.misfit("weight_shape", "does not say how wide the packed weight is", "int64 [2]")
    words, scale = Words(args.bits), found.tensor("weight_scale")
    if args.group_size and scale is not None and len(scale.shape) == 2:
        in_groups = scale.shape[1] * args.group_size
        if words.of(in_groups) == packed.shape[-1]:
            return in_groups
    return packed.shape[-1] * 32 // args.bits


def grid_of(
    found: Found, scale: Tensor, shape: tuple[int, ...], args: Args | None, usual: int = 0
) -> tuple[Grid, str | None]:
    """The grid of a weight's scale, and what config.json says otherwise. usual: the size of groups that its layout
    always has. Raises CannotDequantize where the shape is that of no grid."""
    grid, said = _grid(scale.shape, shape, args, usual)
    if grid is not None:
        return grid, said
    expected = " or ".join(dict.fromkeys(f"{_in_words(g)} {dims(_shape(g, shape))}" for g in _said(args, usual)))
    raise found.misfit("weight_scale", f"does not fit a weight of shape {dims(shape)}", expected or "a scale a row")


@lru_cache(1024)
def _grid(
    scale: tuple[int, ...], shape: tuple[int, ...], args: Args | None, usual: int
) -> tuple[Grid | None, str | None]:
    said = _said(args, usual)
    for grid in said:
        if _fits(grid, scale, shape):
            return grid, None
    for grid in _by_shape(scale, shape, usual):
        if _fits(grid, scale, shape):
            return grid, _in_words(said[0]) if said and args and args.strategy else None
    return None, None


def _said(args: Args | None, usual: int) -> list[Grid]:
    if args is None:
        return []
    match args.strategy:
        case "tensor":
            return [PER_TENSOR]
        case "channel" | "token":
            return [channels()]
        case "block":
            return [tiles(*(args.block or USUAL_BLOCK))]
        case "group" | "tensor_group":
            size = args.group_size or usual
            return [groups(size)] if size else [channels()]
    return [groups(args.group_size)] if args.group_size else []


def _by_shape(scale: tuple[int, ...], shape: tuple[int, ...], usual: int) -> list[Grid]:
    """Grids that a scale of this shape may be on where nothing is said."""
    if math.prod(scale) == 1 and len(scale) < 2:
        return [PER_TENSOR]
    found = [channels()]
    if len(scale) == 2 and len(shape) == 2 and scale[1] > 0:
        sizes = (usual, shape[1] // scale[1] if shape[1] % scale[1] == 0 else 0)
        found += [groups(size) for size in sizes if size]
        found.append(tiles(*USUAL_BLOCK))
    return [*found, PER_TENSOR] if math.prod(scale) == 1 else found


def _shape(grid: Grid, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of the scale of a weight of this shape."""
    if not grid.axes:
        return (1,)
    if len(grid.axes) == 1:
        return (shape[0], *(1,) * (len(shape) - 1)) if shape else (1,)
    return tuple(-(-d // b) for d, b in zip(shape, grid.block, strict=False))


def _fits(grid: Grid, scale: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    if not grid.axes:
        return math.prod(scale) == 1
    if len(grid.axes) == 2 and len(shape) != 2:
        return False
    return scale == _shape(grid, shape) or (len(grid.axes) == 1 and scale == shape[:1])


def _in_words(grid: Grid) -> str:
    if not grid.axes:
        return "one scale a tensor"
    if len(grid.axes) == 1:
        return "one scale a channel"
    return f"groups of {grid.group_size}" if grid.group_size else f"blocks of {grid.block[0]}x{grid.block[1]}"
