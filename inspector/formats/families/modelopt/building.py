"""From the names and forms of a checkpoint to its modules, and what in them is not as the configuration says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.contract import (
    NOT_KNOWN,
    OF_WEIGHTS,
    Kind,
    Problem,
    Quantity,
    QuantizedWeight,
    ScaleRecord,
    Slice,
    part_of,
)
from qinspect.inspector.formats.element import UNKNOWN, Element
from qinspect.inspector.formats.families.modelopt.declared import Algorithm, Declared
from qinspect.inspector.formats.families.modelopt.layouts import ALGORITHMS, FLOATS, FP4, FP8, Layout, layout_of
from qinspect.inspector.formats.families.modelopt.modules import Matrix, Stored
from qinspect.inspector.formats.families.modelopt.names import LOW_RANK, Names
from qinspect.inspector.formats.grid import PER_TENSOR, Grid, channels, groups, tiles
from qinspect.inspector.formats.modular import Part

_USUAL_GROUPS = {Layout.NVFP4: 16, Layout.MXFP4: 32, Layout.MXFP8: 32, Layout.INT4: 128, Layout.INT4_FP8: 128}
_USUAL_TILE = 128
_ANY_GROUP = (Layout.INT4, Layout.INT4_FP8)
"""Whose groups the library takes from the shapes; of the others, scales of another shape are damaged ones."""
_NOT_QUANTIZED = "not quantized"


class Builder:
    """Modules of one checkpoint.

    contradictions: (what the configuration says, what the tensors are) to the modules. path_of: role of a weight to
    that of the module that the configuration may name, one for all experts of a stack.
    """

    def __init__(self, checkpoint: Checkpoint, declared: Declared | None, role_of: Callable[[str], str]) -> None:
        self.checkpoint = checkpoint
        self.declared = declared
        self.role_of = role_of
        self.contradictions: dict[tuple[str, str], list[str]] = {}
        self.path_of: dict[str, str] = {}
        self._low_rank_somewhere = any("svdquant_lora_" in name for name in checkpoint.entries)

    def parts(self, names: Names) -> list[Part]:
        """The weights that the entries are: one, or one for each of stacked experts; or the problem that they have."""
        try:
            return list(self._parts(names))
        except CannotDequantize as e:
            return [Problem(e.key or names.weight, e)]

    def _parts(self, names: Names) -> Iterator[Part]:
        codes, steps = self._tensor(names.weight, names), self._tensor(names.scale, names)
        if len(codes.shape) == 3:
            yield from self._stack(names, codes, steps)
        elif len(codes.shape) == 2:
            role = self.role_of(names.weight)
            weight = (names.weight, role, None)
            path = role if names.parameter else role.removesuffix(".weight")
            yield self._matrix(names, path, weight, codes, steps, self.checkpoint.tensor(names.second))
        else:
            raise self._unfit(codes, "two axes, or three of stacked experts", names)

    def _tensor(self, key: str, names: Names) -> Tensor:
        found = self.checkpoint.tensor(key)
        if found is None:
            what = "codes and scale" if key == names.weight else f"scale of {names.weight}"
            raise CannotDequantize(
                "is missing", file=self.checkpoint.path, key=key, expected=f"the {what}", found="nothing"
            )
        return found

    def _unfit(self, tensor: Tensor, expected: str, names: Names) -> CannotDequantize:
        codes = self.checkpoint.tensor(names.weight)
        beside = "" if codes is None or codes.name == tensor.name else f" beside {names.weight} {list(codes.shape)}"
        return CannotDequantize(
            "does not fit the quantized weight that it belongs to", file=tensor.file.path, key=tensor.name,
            expected=expected, found=f"{tensor.dtype.name} {list(tensor.shape)}{beside}",
        )  # fmt: skip

    def _stack(self, names: Names, codes: Tensor, steps: Tensor) -> Iterator[Part]:
        """Experts in one tensor, each [I, O] or, where the scales say so, [O, I]."""
        n = codes.shape[0]
        turned = self._turned(names, codes, steps)
        path = self.role_of(names.path)
        above, _, last = path.rpartition(".")
        named_above = names.path.rpartition(".")[0]
        shared = f"{path}.weight"
        second = self.checkpoint.tensor(names.second)
        for e in range(n):
            name = f"{named_above}.{e}.{last}.weight" if named_above else f"{e}.{last}.weight"
            role = f"{above}.{e}.{last}.weight" if above else f"{e}.{last}.weight"
            its_codes = part_of(codes, Slice((e,)))
            step_slice = None if steps.n_elements == 1 else self._expert(steps, n, e, names)
            its_steps = steps if step_slice is None else part_of(steps, step_slice)
            if turned:
                its_codes = its_codes.transposed()
                its_steps = its_steps.transposed() if len(its_steps.shape) == 2 else its_steps
            yield self._matrix(
                names, path, (name, role, Slice((e,))), its_codes, its_steps, second, (e, n, step_slice, shared, steps)
            )

    def _turned(self, names: Names, codes: Tensor, steps: Tensor) -> bool:
        """Whether the matrices of a stack lie with input channels first, as the library exports experts that are one
        parameter. The scales of groups show it; of one scale, the parameter that takes what this one gives."""
        if len(steps.shape) == 3 and steps.n_elements > codes.shape[0]:
            return steps.shape[2] == codes.shape[2]
        for one, other, own_first in (("gate_up_proj", "down_proj", True), ("down_proj", "gate_up_proj", False)):
            if names.path.endswith(one):
                beside = self.checkpoint.tensor(names.weight.replace(one, other))
                if beside is not None and len(beside.shape) == 3:
                    up, down = (codes, beside) if own_first else (beside, codes)
                    return up.shape[1] == down.shape[2]
        return False

    def _expert(self, tensor: Tensor, n: int, e: int, names: Names) -> Slice:
        if tensor.shape[:1] != (n,):
            raise self._unfit(tensor, f"one number, or {n} along the first axis", names)
        return Slice(rows=(e, e + 1)) if len(tensor.shape) == 1 else Slice((e,))

    def _matrix(
        self, names: Names, path: str, weight: tuple[str, str, Slice | None], codes: Tensor, steps: Tensor,
        second: Tensor | None, stack: tuple[int, int, Slice | None, str, Tensor] | None = None,
    ) -> Matrix:  # fmt: skip
        name, role, part = weight
        said = self._said(names, path)
        in_blocks = said is not None and said.name.startswith("FP8_PB")
        layout = layout_of(codes, steps, second is not None, in_blocks)
        if layout is None:
            raise CannotDequantize(
                "is quantized in a way that is not known", file=codes.file.path, key=names.weight,
                expected="codes and scales of FP8, NVFP4, MXFP4, MXFP8, INT4 or INT8",
                found=f"{codes.dtype.name} with {steps.dtype.name} {list(steps.shape)}"
                f"{'' if second is None else ' and a second scale'}",
            )  # fmt: skip
        shape, tile = self._form(layout, codes, steps, said, names)
        self._compare(said, layout, tile, path)
        step_slice, shared = (stack[2], stack[3]) if stack else (None, role)
        grid = _grid(layout, steps, tile)
        step_role = role if stack is None or step_slice is not None else shared
        records = [
            _of_weight(
                stack[4] if stack else steps, step_role, f"weight {name}", layout.element, grid, slice=step_slice
            )
        ]
        of_scale = [step_role]
        its_second = second
        if second is not None:
            record, its_second = self._second(names, second, layout, role, shared, stack)
            records.append(record)
            of_scale.append(record.role)
        factor = self._factor(names, shape)
        if factor is not None:
            records.append(
                _of_weight(
                    factor, f"{shared}#pre_quant", f"what goes into {names.path}", layout.element, channels(1),
                    quantity=Quantity.FACTOR, reach=NOT_KNOWN,
                )
            )  # fmt: skip
        low_rank = self._low_rank(names, shape)
        records += self._inputs(names, path, layout, said)
        made = QuantizedWeight(
            name, role, names.weight, shape, layout.element, tuple(of_scale), grid,
            row_step=2 if layout in _ANY_GROUP else 1, slice=part,
        )  # fmt: skip
        self.path_of[role] = path
        stored = Stored(layout, codes, steps, its_second, tile, low_rank, factor)
        return Matrix(self.checkpoint, made, tuple(records), stored)

    def _said(self, names: Names, path: str) -> Algorithm | None:
        """What the configuration says of a module. Raises CannotDequantize where it is an algorithm that nobody here
        knows: its tensors may look like those of another."""
        said = self.declared.of(path) if self.declared else None
        if said is None or said.name in ALGORITHMS or (self.declared and self.declared.leaves_out(path)):
            return said
        assert self.declared is not None
        raise CannotDequantize(
            f"is quantized by an algorithm that is not known, as {self.declared.where} says", key=names.weight,
            file=self.checkpoint.path, expected=", ".join(ALGORITHMS), found=said.name,
        )  # fmt: skip

    def _compare(self, said: Algorithm | None, layout: Layout, tile: tuple[int, int], path: str) -> None:
        """Note what the configuration says otherwise."""
        if self.declared is None:
            return
        if self.declared.leaves_out(path) or (self.declared.mixed and said is None):
            says, found = _NOT_QUANTIZED, str(layout)
        elif said is not None and said.name not in ALGORITHMS:
            return
        elif said is not None and layout not in ALGORITHMS[said.name]:
            says, found = said.name, str(layout)
        elif said is not None and said.group_size and layout in _USUAL_GROUPS and said.group_size != tile[1]:
            says, found = f"groups of {said.group_size}", f"{layout} in groups of {tile[1]}"
        else:
            return
        self.contradictions.setdefault((says, found), []).append(path)

    def _form(
        self, layout: Layout, codes: Tensor, steps: Tensor, said: Algorithm | None, names: Names
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """The [O, I] of the weight, and rows and columns of its tiles or groups."""
        rows, columns = codes.shape
        if layout in _ANY_GROUP:
            rows *= 2
        elif layout in (Layout.NVFP4, Layout.MXFP4):
            columns *= 2
        shape = rows, columns
        if layout in _USUAL_GROUPS:
            size = said.group_size if said else None
            return shape, (1, self._group(layout, shape, steps, size, names))
        if layout is Layout.FP8_BLOCK:
            return shape, self._tile(shape, steps, names)
        if steps.n_elements != 1 and steps.shape not in ((rows,), (rows, 1)):
            raise self._unfit(steps, f"[] or [{rows}]", names)
        return shape, (1, columns)

    def _group(
        self, layout: Layout, shape: tuple[int, int], steps: Tensor, said: int | None, names: Names
    ) -> int:  # fmt: skip
        usual = _USUAL_GROUPS[layout]
        rows, columns = shape
        for size in (said, usual):
            if size and steps.shape == (rows, -(-columns // size)):
                return size
        n_groups = steps.shape[1] if len(steps.shape) == 2 else 0
        if layout in _ANY_GROUP and steps.shape[:1] == (rows,) and n_groups and columns % n_groups == 0:
            return columns // n_groups
        raise self._unfit(steps, f"{[rows, -(-columns // (said or usual))]}", names)

    def _tile(self, shape: tuple[int, int], steps: Tensor, names: Names) -> tuple[int, int]:
        """Rows and columns of a tile. The library writes the scales as [O/b, 1, I/b, 1], and one alone as []."""
        match steps.shape:
            case (a, 1, b, 1):
                pass
            case (a, b):
                pass
            case (n,) if n > 1 and shape[0] <= _USUAL_TILE:
                a, b = 1, n
            case (n,) if n > 1:
                a, b = n, 1
            case _ if steps.n_elements == 1:
                a, b = 1, 1
            case _:
                raise self._unfit(steps, "scales of tiles, [rows, 1, columns, 1] of them", names)
        size = _USUAL_TILE
        if (a, b) == (-(-shape[0] // size), -(-shape[1] // size)):
            return size, size
        if a and b and shape[0] % a == 0 and shape[1] % b == 0:
            return shape[0] // a, shape[1] // b
        raise self._unfit(steps, f"{[-(-shape[0] // size), 1, -(-shape[1] // size), 1]}", names)

    def _second(
        self, names: Names, second: Tensor, layout: Layout, role: str, shared: str,
        stack: tuple[int, int, Slice | None, str, Tensor] | None,
    ) -> tuple[ScaleRecord, Tensor]:  # fmt: skip
        part, owner = None, shared
        if second.n_elements != 1 and stack is not None:
            part, owner = self._expert(second, stack[1], stack[0], names), role
            one = part_of(second, part)
        else:
            one = second
        if one.n_elements != 1 or one.dtype.name not in FLOATS:
            raise self._unfit(second, "float32 []", names)
        return _of_weight(
            second, f"{owner}#global", f"the scales of {names.path}", layout.element, PER_TENSOR, quantity=Quantity.GLOBAL_SCALE, slice=part,
            through=FP8 if layout is Layout.INT4_FP8 else None,
        ), one  # fmt: skip

    def _factor(self, names: Names, shape: tuple[int, int]) -> Tensor | None:
        found = self.checkpoint.tensor(names.factor)
        if found is not None and (found.shape != (shape[1],) or found.dtype.name not in FLOATS):
            raise self._unfit(found, f"bfloat16 [{shape[1]}]", names)
        return found

    def _low_rank(self, names: Names, shape: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
        for before in LOW_RANK if self._low_rank_somewhere else ():
            a, b = (self.checkpoint.tensor(key) for key in names.low_rank(before))
            if a is None and b is None:
                continue
            if a is None or b is None:
                missing = names.low_rank(before)[0 if a is None else 1]
                raise CannotDequantize(
                    "is missing", file=self.checkpoint.path, key=missing, expected="the other part of b @ a",
                    found="nothing",
                )  # fmt: skip
            rank = a.shape[0] if a.shape else 0
            for part, expected in ((a, (rank, shape[1])), (b, (shape[0], rank))):
                if part.shape != expected or part.dtype.name not in FLOATS:
                    raise self._unfit(part, f"bfloat16 {list(expected)}", names)
            return a, b
        return None

    def _inputs(self, names: Names, path: str, layout: Layout, said: Algorithm | None) -> Iterator[ScaleRecord]:
        found = self.checkpoint.tensor(names.input)
        if found is None or not found.dtype.is_float:
            return
        element = _element_of_input(layout, said)
        yield input_record(found, f"{path}:input", names.path, element)


def input_record(tensor: Tensor, role: str, path: str, element: Element = UNKNOWN) -> ScaleRecord:
    """The scale of what goes into a module. Whether a percentile made it, the file does not say."""
    return ScaleRecord(
        role, tensor.name, Kind.ACTIVATION, f"input of {path}", element,
        PER_TENSOR if tensor.n_elements == 1 else Grid(n_dims=len(tensor.shape)), tensor.dtype.name, tensor.shape,
        called="" if element is not UNKNOWN else "input, of a type that is not said",
    )  # fmt: skip


def _of_weight(tensor: Tensor, role: str, of: str, element: Element, grid: Grid, **more: Any) -> ScaleRecord:
    """A record of a weight. tensor: the whole entry, whatever part of it the record is."""
    more.setdefault("reach", OF_WEIGHTS)
    return ScaleRecord(role, tensor.name, Kind.WEIGHT, of, element, grid, tensor.dtype.name, tensor.shape, **more)


def _element_of_input(layout: Layout, said: Algorithm | None) -> Element:
    match layout:
        case Layout.NVFP4:
            return FP4
        case Layout.FP8 | Layout.FP8_CHANNEL | Layout.FP8_BLOCK | Layout.INT4_FP8 | Layout.MXFP8:
            return FP8
        case Layout.INT8:
            return layout.element
    return FP8 if said is not None and said.name == "W4A8_MXFP4_FP8" else UNKNOWN


def _grid(layout: Layout, steps: Tensor, tile: tuple[int, int]) -> Grid:
    if layout is Layout.FP8_BLOCK:
        return tiles(*tile)
    if layout in _USUAL_GROUPS:
        return groups(tile[1])
    return PER_TENSOR if steps.n_elements == 1 else channels()


def unmatched(declared: Declared, quantized: Sequence[str]) -> list[str]:
    """Modules that have an algorithm by the configuration, and in which nothing is quantized."""
    above = set()
    for path in quantized:
        module = path
        while module and module not in above:
            above.add(module)
            module = module.rpartition(".")[0]
    return [role for role in declared.layers if role not in above]
