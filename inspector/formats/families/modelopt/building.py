"""From the entries of a weight to a module: what the configuration says of it against what its tensors are, experts out
of a stack, and what stands beside the codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.families.modelopt.declared import Algorithm, Declared
from qinspect.inspector.formats.families.modelopt.layouts import ALGORITHMS, FP8, NAMED, Layout, layout_of
from qinspect.inspector.formats.families.modelopt.modules import Matrix, Stored
from qinspect.inspector.formats.families.modelopt.names import LOW_RANK, Names
from qinspect.inspector.formats.families.modelopt.records import element_of_input, of_factor, of_input, of_weight
from qinspect.inspector.formats.families.modelopt.shapes import (
    IN_PAIRS_OF_ROWS,
    USUAL_GROUPS,
    check,
    form_of,
    grid_of,
    unfit,
)
from qinspect.inspector.formats.grid import PER_TENSOR
from qinspect.inspector.formats.modular import Part
from qinspect.inspector.formats.records import Problem, Quantity, QuantizedWeight, ScaleRecord, Slice, part_of

MAX_EXPERTS = 1 << 12
"""Of one stack: each becomes a weight with records, however little it holds."""
NOT_QUANTIZED = "not quantized"


@dataclass(frozen=True, slots=True)
class Piece:
    """A tensor of which a matrix has a part, or all. entry: as it is stored. role: of the record that it becomes."""

    entry: Tensor
    part: Tensor
    slice: Slice | None
    role: str


@dataclass(frozen=True, slots=True)
class Site:
    """One matrix to be.

    path: the role of the module that the configuration may name and that has the input; one for all experts of a stack.
    shared: the role of what all of these have in common. codes, steps: output channels first.
    """

    names: Names
    path: str
    shared: str
    name: str
    role: str
    codes: Piece
    steps: Piece
    second: Piece | None


class Builder:
    """Modules of one checkpoint.

    contradictions: (what the configuration says, what the tensors are) to the modules. path_of: role of a weight to
    the `path` of its site.
    """

    def __init__(self, checkpoint: Checkpoint, declared: Declared | None, role_of: Callable[[str], str]) -> None:
        self.checkpoint = checkpoint
        self.declared = declared
        self.role_of = role_of
        self.contradictions: dict[tuple[str, str], list[str]] = {}
        self.path_of: dict[str, str] = {}
        self._low_rank_somewhere = any("svdquant_lora_" in name for name in checkpoint.entries)

    def parts(self, names: Names) -> list[Part]:
        """The weights that the entries are: one, or one for each of stacked experts; or the problem that they have.
        Codes without a scale that the configuration leaves out are nothing."""
        try:
            return [self._matrix(site) for site in self._sites(names)]
        except CannotDequantize as e:
            if self._left_out(names) and names.scale not in self.checkpoint:
                return []
            return [Problem(e.key or names.weight, e)]

    def _left_out(self, names: Names) -> bool:
        return self.declared is not None and self.declared.leaves_out(self.role_of(names.path))

    def _sites(self, names: Names) -> Iterator[Site]:
        codes = self._tensor(names.weight, "the codes of the weight")
        steps = self._tensor(names.scale, f"the scale of {names.weight}")
        second = self.checkpoint.tensor(names.second)
        if second is None and (codes.dtype.name, steps.dtype.name) == ("uint8", "float8_e4m3fn"):
            self._tensor(names.second, f"the scale of {names.scale}")
        if len(codes.shape) == 3:
            yield from self._stack(names, codes, steps, second)
        elif len(codes.shape) == 2:
            role = self.role_of(names.weight)
            path = role if names.parameter else role.removesuffix(".weight")
            yield Site(
                names, path, role, names.weight, role, Piece(codes, codes, None, role), Piece(steps, steps, None, role),
                None if second is None else Piece(second, second, None, f"{role}#global"),
            )  # fmt: skip
        else:
            raise unfit(codes, "two axes, or three of stacked experts", codes)

    def _tensor(self, key: str, what: str) -> Tensor:
        found = self.checkpoint.tensor(key)
        if found is None:
            raise CannotDequantize("is missing", file=self.checkpoint.path, key=key, expected=what, found="nothing")
        return found

    def _stack(self, names: Names, codes: Tensor, steps: Tensor, second: Tensor | None) -> Iterator[Site]:
        """Experts in one tensor, each [I, O] or, where the scales say so, [O, I]."""
        n = codes.shape[0]
        if not 0 < n <= MAX_EXPERTS or not codes.n_elements:
            raise unfit(codes, f"1 to {MAX_EXPERTS} experts", codes)
        turned = self._turned(names, codes, steps)
        path = self.role_of(names.path)
        shared = f"{path}.weight"
        for e in range(n):
            name, role = (f"{_inside(whole, e)}.weight" for whole in (names.path, path))
            its_codes = part_of(codes, Slice((e,)))
            its_steps = _of_expert(steps, n, e, codes, shared, role)
            yield Site(
                names, path, shared, name, role,
                Piece(codes, its_codes.transposed() if turned else its_codes, Slice((e,)), role),
                _turned(its_steps) if turned else its_steps,
                None if second is None
                else _of_expert(second, n, e, codes, f"{shared}#global", f"{role}#global"),
            )  # fmt: skip

    def _turned(self, names: Names, codes: Tensor, steps: Tensor) -> bool:
        """Whether the matrices of a stack lie with input channels first, as the library exports experts that are one
        parameter. The scales of groups show it; of one scale, the parameter that takes what this one gives."""
        if len(steps.shape) == 3 and steps.n_elements > codes.shape[0]:
            return steps.shape[2] == codes.shape[2]
        for own, other in (("gate_up_proj", "down_proj"), ("down_proj", "gate_up_proj")):
            beside = self.checkpoint.tensor(names.weight.replace(own, other)) if own in names.weight else None
            if beside is not None and len(beside.shape) == 3:
                up, down = (codes, beside) if own == "gate_up_proj" else (beside, codes)
                return up.shape[1] == down.shape[2]
        return False

    def _matrix(self, site: Site) -> Matrix:
        names, codes, steps, second = site.names, site.codes.part, site.steps.part, site.second
        said = self._said(site)
        layout = layout_of(codes, steps, second is not None, said is not None and said.name.startswith("FP8_PB"))
        if layout is None:
            raise self._unknown(site)
        shape, together = form_of(layout, codes, steps, said.group_size if said else None)
        self._compare(said, layout, together, site.path)
        grid = grid_of(layout, steps, together)
        of_codes = [
            of_weight(
                site.steps.entry,
                site.steps.role,
                f"weight {site.name}",
                layout.element,
                grid,
                slice=site.steps.slice,
                packed="E8M0 in a byte" if steps.dtype.name == "uint8" else "",
            )
        ]
        if second is not None:
            of_codes.append(self._second(second, layout, site))
        # Of INT4 in FP8 the second scale is not multiplied: it says to what the values are rounded.
        scaling = of_codes[:1] if layout is Layout.INT4_FP8 else of_codes
        weight = QuantizedWeight(
            site.name, site.role, names.weight, shape, layout.element, tuple(r.role for r in scaling), grid,
            row_step=2 if layout in IN_PAIRS_OF_ROWS else 1, slice=site.codes.slice,
        )  # fmt: skip
        factor, low_rank = self._factor(names, shape, codes), self._low_rank(names, shape, codes)
        others = [of_factor(factor, f"{site.shared}#pre_quant", names.path, layout.element)] if factor else []
        entry = self.checkpoint.tensor(names.input)
        if entry is not None and entry.dtype.is_float:
            element = element_of_input(layout, said.name if said else "")
            others.append(of_input(entry, f"{site.path}:input", names.path, element))
        self.path_of[site.role] = site.path
        stored = Stored(layout, codes, steps, second.part if second else None, together, low_rank, factor)
        return Matrix(self.checkpoint, weight, (*of_codes, *others), stored)

    def _second(self, second: Piece, layout: Layout, site: Site) -> ScaleRecord:
        check(second.part, [(), (1,), (1, 1)], site.codes.entry)
        return of_weight(
            second.entry, second.role, f"the scales of {site.names.path}", layout.element, PER_TENSOR,
            quantity=Quantity.GLOBAL_SCALE, slice=second.slice, through=FP8 if layout is Layout.INT4_FP8 else None,
        )  # fmt: skip

    def _factor(self, names: Names, shape: tuple[int, int], codes: Tensor) -> Tensor | None:
        found = self.checkpoint.tensor(names.factor)
        return None if found is None else check(found, [(shape[1],)], codes)

    def _low_rank(self, names: Names, shape: tuple[int, int], codes: Tensor) -> tuple[Tensor, Tensor] | None:
        for before in LOW_RANK if self._low_rank_somewhere else ():
            keys = names.low_rank(before)
            if any(key in self.checkpoint for key in keys):
                a, b = (self._tensor(key, f"what is added to {names.weight}, b @ a") for key in keys)
                rank = a.shape[0] if a.shape else 0
                return check(a, [(rank, shape[1])], codes), check(b, [(shape[0], rank)], codes)
        return None

    def _said(self, site: Site) -> Algorithm | None:
        """What the configuration says of a module. Raises CannotDequantize where it is an algorithm that nobody here
        knows: its tensors may look like those of another."""
        if self.declared is None or self.declared.leaves_out(site.path):
            return None
        said = self.declared.of(site.path)
        if said is None or said.name in ALGORITHMS:
            return said
        unknown = "is quantized by an algorithm that is not known, as {where} says"
        raise CannotDequantize(
            NAMED.get(said.name, unknown).format(where=self.declared.where), key=site.names.weight,
            file=self.checkpoint.path, expected=", ".join(ALGORITHMS), found=said.name,
        )  # fmt: skip

    def _unknown(self, site: Site) -> CannotDequantize:
        codes, steps = site.codes.entry, site.steps.entry
        return CannotDequantize(
            "is quantized in a way that is not known", file=codes.file.path, key=site.names.weight,
            expected="codes and scales of FP8, NVFP4, MXFP4, MXFP8, INT4 or INT8",
            found=f"{codes.dtype.name} with {steps.dtype.name} {list(steps.shape)}"
            f"{' and a second scale' if site.second else ''}",
        )  # fmt: skip

    def _compare(self, said: Algorithm | None, layout: Layout, together: tuple[int, int], path: str) -> None:
        """Note what the configuration says otherwise."""
        if self.declared is None or (said is None and not self.declared.mixed and not self.declared.leaves_out(path)):
            return
        if said is None:
            differs = NOT_QUANTIZED, str(layout)
        elif layout not in ALGORITHMS[said.name]:
            differs = said.name, str(layout)
        elif said.group_size and layout in USUAL_GROUPS and said.group_size != together[1]:
            differs = f"groups of {said.group_size}", f"{layout} in groups of {together[1]}"
        else:
            return
        modules = self.contradictions.setdefault(differs, [])
        if modules[-1:] != [path]:  # of a stack, one for all experts
            modules.append(path)


def _inside(path: str, expert: int) -> str:
    """The name of one expert's parameter: `experts.3.down_proj` of `experts.down_proj`."""
    above, dot, last = path.rpartition(".")
    return f"{above}{dot}{expert}.{last}"


def _of_expert(entry: Tensor, n: int, expert: int, codes: Tensor, shared: str, role: str) -> Piece:
    """The part of a scale that is one expert's, or all of it where there is one for all of them."""
    if entry.n_elements == 1 and len(entry.shape) < 2:
        return Piece(entry, entry, None, shared)
    if entry.shape[:1] != (n,):
        raise unfit(entry, f"one number, or {n} along the first axis", codes)
    part = Slice(rows=(expert, expert + 1)) if len(entry.shape) == 1 else Slice((expert,))
    return Piece(entry, part_of(entry, part), part, role)


def _turned(piece: Piece) -> Piece:
    if len(piece.part.shape) != 2:
        return piece
    return Piece(piece.entry, piece.part.transposed(), piece.slice, piece.role)
