"""One linear layer as GPTQ packs it: `qweight` and `qzeros` of whole words, `scales` of each group of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.element import unsigned
from qinspect.inspector.formats.families.gptq.words import BITS, PLANAR_ONLY, codes_of, packing_of, zero_points_of
from qinspect.inspector.formats.grid import Grid, groups
from qinspect.inspector.formats.grouped import consecutive, dequantized, stored_index
from qinspect.inspector.formats.modular import QuantizedModule, required
from qinspect.inspector.formats.packed import PackedRows, in_order, levels_of, rows_of_bytes, singles
from qinspect.inspector.formats.packing import bytes_of
from qinspect.inspector.formats.records import (
    OF_WEIGHTS,
    CodeArray,
    FloatArray,
    Kind,
    Quantity,
    QuantizedWeight,
    ScaleRecord,
)
from qinspect.inspector.formats.stripes import Stripes

WORDS = ("int32", "int64", "int16", "int8", "uint32")
FLOATS = ("float16", "bfloat16", "float32")
PERHAPS = ", perhaps less 1"


@dataclass(frozen=True, slots=True)
class Packing:
    """How a checkpoint packs. planar: codes are cut into planes of bits. one_less: zero points are stored less 1; None
    where nothing says so, and their numbers have to. signed: scales may be negative, as AutoRound's are: of its
    symmetric codes the outermost, -8, is on the side of the larger number."""

    planar: bool
    one_less: bool | None
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """What the settings say of one module. bits, group_size: None where they do not say. reordered: whether columns are
    in groups by their activations, which `g_idx` then names."""

    bits: int | None
    group_size: int | None
    reordered: bool | None


@dataclass(frozen=True, slots=True)
class Fit:
    """What the tensors of a module are together: modules whose tensors are alike share it. packed: how zero points are,
    in words."""

    bits: int
    n_out: int
    n_in: int
    grid: Grid
    packing: Packing
    packed: str


class GptqLinear(QuantizedModule):
    """The weight of one layer, [out, in]."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        weight: QuantizedWeight,
        records: tuple[ScaleRecord, ...],
        keys: Mapping[str, str],
        packing: Packing,
        stripes: Stripes,
    ) -> None:
        super().__init__(checkpoint, weight, records)
        self._keys = keys
        self._packing = packing
        self._stripes = stripes

    @property
    def bits(self) -> int:
        """Of one code."""
        return self.weight.element.bits

    def codes(self, start: int, stop: int) -> CodeArray:
        words = self._rows("qweight", start, stop)
        return codes_of(words, self.bits, self.weight.shape[1], self._packing.planar)

    def dequantize(self, start: int, stop: int) -> FloatArray:
        rows = self._rows("scales", start, stop)
        return dequantized(self.codes(start, stop), rows, self._zeros(start, stop, self._one_less), self._group_of())

    def packed(self, start: int, stop: int) -> PackedRows | None:
        group_of, width = self._group_of(), self.weight.grid.block[-1]
        words = bytes_of(self._rows("qweight", start, stop))
        zeros = self._zeros(start, stop, self._one_less).astype(np.float32)
        scales = singles(self._rows("scales", start, stop))
        return PackedRows(
            rows_of_bytes(words), self.weight.shape[1], packing_of(self.bits, self._packing.planar),
            levels_of(self.weight.element), scales, width, zeros, cell_of=in_order(group_of, width),
        )  # fmt: skip

    def _group_of(self) -> NDArray[np.intp]:
        n_in, index = self.weight.shape[1], self._keys.get("g_idx")
        if index:
            return stored_index(self.checkpoint, index, n_in, self._tensor("scales").shape[0])
        return consecutive(n_in, self.weight.grid.block[-1])

    def values(self, record: ScaleRecord) -> FloatArray:
        """[out, groups]."""
        if record.quantity is Quantity.ZERO_POINT:
            return self._zeros(0, self.weight.shape[0], self._one_less)
        return self._tensor("scales").transposed().read()

    def _zeros(self, start: int, stop: int, one_less: bool) -> NDArray[np.int32]:
        """int32[rows, groups]: zero points lie along the output channels, `bits` words hold those of as many outputs as
        a word has bits."""
        tensor = self._tensor("qzeros")
        width, n_words = tensor.dtype.bits, tensor.shape[1]
        first, last = start // width * self.bits, min(-(-stop // width) * self.bits, n_words)
        words = self._rows("qzeros", first, last).T
        skipped = start - start // width * width
        found = zero_points_of(words, self.bits, skipped + stop - start, self._packing.planar, one_less)
        return found[:, skipped:].T

    @cached_property
    def _one_less(self) -> bool:
        if self._packing.one_less is not None:
            return self._packing.one_less
        stored = self._zeros(0, self.weight.shape[0], False)
        middle = 1 << (self.bits - 1)
        for zero, one_less in ((middle, False), (middle - 1, True)):
            if bool((stored == zero).all()):  # a symmetric model has one zero point, in the middle
                return one_less
        raise CannotDequantize(
            "holds zero points of which no setting says whether they are stored as they are (gptq_v2) or less 1 (gptq)",
            file=self.checkpoint.path, key=self._keys["qzeros"],
            expected="checkpoint_format in quantization_config, or packing_format of AutoRound",
            found=f"zero points from {stored.min()} to {stored.max()} as stored" if stored.size else "no zero points",
            cure="Put the config.json that was saved with these weights beside them.",
        )  # fmt: skip

    def _rows(self, part: str, start: int, stop: int) -> NDArray[Any]:
        """Of the transposed tensor."""
        return self._stripes.rows(self._tensor(part), start, stop)

    def _tensor(self, part: str) -> Tensor:
        return self.tensor(self._keys[part])


def fit_of(checkpoint: Checkpoint, module: str, keys: Mapping[str, str], packing: Packing, said: Said) -> Fit:
    """How the tensors of a module fit each other. keys: the last parts of the names in it, and the names. Raises
    CannotDequantize where they do not."""
    qweight = _matrix(checkpoint, keys["qweight"], WORDS, "packed codes")
    of = f"the packed codes {keys['qweight']}"
    scales_key, zeros_key = keys.get("scales") or f"{module}.scales", keys.get("qzeros") or f"{module}.qzeros"
    scales = checkpoint.tensor(scales_key)
    n_groups, n_out = (scales.shape[0] if scales and len(scales.shape) == 2 else 0), qweight.shape[1]
    required(checkpoint, scales_key, FLOATS, [(n_groups or 1, n_out)], of)
    qzeros = _matrix(checkpoint, zeros_key, (qweight.dtype.name,), "packed zero points")
    index = keys.get("g_idx", "")
    n_in = _index_length(checkpoint, index) if index else None
    bits = _bits(checkpoint, keys["qweight"], qweight, qzeros, n_in, said.bits)
    n_in = n_in or qweight.shape[0] * qweight.dtype.bits // bits
    n_words = -(-n_out * bits // qweight.dtype.bits)
    required(checkpoint, zeros_key, [qweight.dtype.name], [(n_groups, n_words)], of)
    if said.reordered and not index and n_groups > 1:
        raise CannotDequantize(
            "is missing: the settings say that columns are in groups by their activations (desc_act)",
            file=checkpoint.path, key=f"{module}.g_idx", expected=f"int32 [{n_in}]", found="nothing",
        )  # fmt: skip
    size = group_size(checkpoint, scales_key, n_in, n_groups, said.group_size, bool(index))
    planar = packing.planar or bits in PLANAR_ONLY
    if planar and qweight.dtype.bits != 32:
        raise CannotDequantize(
            "is packed in planes, which are of words of 32 bits", file=checkpoint.path, key=keys["qweight"],
            expected="int32", found=qweight.dtype.name,
        )  # fmt: skip
    one_less = False if planar else packing.one_less
    how = f"{'planar' if planar else f'{bits} bits'}{ {True: ', less 1', None: PERHAPS}.get(one_less, '') }"
    return Fit(bits, n_out, n_in, groups(size), Packing(planar, one_less, packing.signed), how)


def linear_of(
    checkpoint: Checkpoint, module: str, role: str, keys: Mapping[str, str], forms: Mapping[str, Form | None], fit: Fit,
    ordered: bool, stripes: Stripes,
) -> GptqLinear:  # fmt: skip
    """The layer `module`, whose tensors fit. role: of its weight. forms: dtype and shape of each entry. ordered:
    whether something may put columns into other groups than those that lie in a row. stripes: of the checkpoint."""
    grid, element, of = fit.grid, unsigned(fit.bits), f"the weight {role}"
    if ordered and "g_idx" in keys and grid.block[-1] < fit.n_in:
        grid = groups(grid.block[-1], keys["g_idx"])
    zero_role = f"{role}#zero_point"
    records = (
        ScaleRecord(role, keys["scales"], Kind.WEIGHT, of, element, grid, *_form(forms, keys["scales"]),
                    signed=fit.packing.signed, reach=OF_WEIGHTS),
        ScaleRecord(zero_role, keys["qzeros"], Kind.WEIGHT, of, element, grid, *_form(forms, keys["qzeros"]),
                    Quantity.ZERO_POINT, packed=fit.packed, reach=OF_WEIGHTS),
    )  # fmt: skip
    name = f"{module}.weight" if module else "weight"
    shape = fit.n_out, fit.n_in
    weight = QuantizedWeight(name, role, keys["qweight"], shape, element, (role, zero_role), grid)
    return GptqLinear(checkpoint, weight, records, keys, fit.packing, stripes)


def _form(forms: Mapping[str, Form | None], key: str) -> tuple[str, tuple[int, ...]]:
    form = forms[key]
    assert form is not None  # its tensor fits
    return form[0].name, form[1]


def group_size(
    checkpoint: Checkpoint, key: str, n_in: int, n_groups: int, said: int | None, indexed: bool = False
) -> int:
    """Columns of a group: as the settings say where that makes the groups that are stored, else by the shapes. indexed:
    groups are told by `g_idx`, so that any number of them will do. Raises CannotDequantize."""
    if said is not None and said > 0 and -(-n_in // said) == n_groups:
        return said
    if n_groups and (n_in % n_groups == 0 or indexed):
        return max(1, -(-n_in // n_groups))
    raise CannotDequantize(
        f"does not fit a weight of {n_in} input channels", file=checkpoint.path, key=key,
        expected="scales of as many groups as the settings make" if said and said > 0 else "scales of equal groups",
        found=f"{n_groups} groups" + (f", and group_size {said} in the settings" if said else ""),
    )  # fmt: skip


def _matrix(checkpoint: Checkpoint, key: str, dtypes: tuple[str, ...], what: str) -> Tensor:
    tensor = checkpoint.tensor(key)
    if tensor is not None and tensor.dtype.name in dtypes and len(tensor.shape) == 2:
        return tensor
    raise CannotDequantize(
        f"is missing: {what} of this module" if tensor is None else f"cannot be {what}",
        file=checkpoint.path, key=key, expected=f"a matrix of {' or '.join(dtypes)}",
        found="nothing" if tensor is None else f"{tensor.dtype.name} {list(tensor.shape)}",
    )  # fmt: skip


def _index_length(checkpoint: Checkpoint, key: str) -> int:
    tensor = checkpoint.tensor(key)
    if tensor is not None and tensor.dtype.is_integer and len(tensor.shape) == 1 and tensor.shape[0]:
        return tensor.shape[0]
    raise CannotDequantize(
        "cannot say to which group each column belongs", file=checkpoint.path, key=key,
        expected="one integer for each input channel",
        found="nothing" if tensor is None else f"{tensor.dtype.name} {list(tensor.shape)}",
    )  # fmt: skip


def _bits(checkpoint: Checkpoint, key: str, qweight: Tensor, qzeros: Tensor, n_in: int | None, said: int | None) -> int:
    """Of one code: the settings' where the shapes allow it, else what the shapes allow alone."""
    width = qweight.dtype.bits
    n_words, n_out = qweight.shape
    possible = [
        bits for bits in BITS
        if -(-n_out * bits // width) == qzeros.shape[1]
        and (n_in is None or -(-n_in * bits // width) == n_words)
        and (n_in is not None or n_words * width % bits == 0)
    ]  # fmt: skip
    if said in possible:
        return said
    if len(possible) == 1:
        return possible[0]
    raise CannotDequantize(
        "may be of several numbers of bits" if possible else "is of no number of bits that its zero points are of too",
        file=checkpoint.path, key=key,
        expected=f"{said} bits" if said else "2 to 8 bits",
        found=f"{qweight.dtype.name} {list(qweight.shape)}, zero points {list(qzeros.shape)}"
        + (f", {n_in} input channels by g_idx" if n_in else ""),
    )  # fmt: skip


def settings_differ(fit: Fit, said: Said) -> dict[str, tuple[int | None, int]]:
    """What the settings say and the tensors do not: name to both."""
    found: dict[str, tuple[int | None, int]] = {}
    if said.bits is not None and said.bits != fit.bits:
        found["bits"] = said.bits, fit.bits
    stored = fit.grid.block[-1]
    wanted = fit.n_in if said.group_size == -1 else said.group_size
    if wanted is not None and min(wanted, fit.n_in) != stored and wanted != stored:
        found["group_size"] = said.group_size, stored
    return found
