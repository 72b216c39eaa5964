"""Families that are not read yet, by name: a file is at least called what it is, and what it is not read as.

A name is given for entries that one library alone writes beside each other. Where several write the same entries, the
settings decide between them, and without settings there is no name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.formats.signs import Modules


@dataclass(frozen=True, slots=True)
class Part:
    """One of the entries that stand together. end: of its name, from the module on. dtypes: () for any. n_dims: None
    for any number."""

    end: str
    dtypes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """What speaks for a family: entries of one module, and the methods that settings have to name, () for none."""

    name: str
    parts: tuple[Part, ...]
    methods: tuple[str, ...] = ()


def _mark(name: str, *parts: str | Part, methods: tuple[str, ...] = ()) -> Mark:
    return Mark(name, tuple(p if isinstance(p, Part) else Part(p) for p in parts), methods)


_INT8_WEIGHT = Part("weight", ("int8",))
_MARKS = (
    _mark("EXL2", Part("q_weight", ("int32",)), "q_scale", "q_groups"),
    _mark("VPTQ", "centroids.weight", "indices"),
    _mark("QuIP#", "Qidxs", "SU", "SV"),
    _mark("HIGGS", "tables2", "tables", "scales", "weight"),
    _mark("SpQR", "dense_weights", "row_offsets", "col_vals"),
    _mark("FP-Quant", "forward_hadamard_matrix", "qweight", "scales"),
    _mark("SVDQuant (Nunchaku)", "wscales", "smooth_factor", "qweight"),
    _mark("SVDQuant (Nunchaku)", "wscales", "proj_down", "qweight"),
    _mark("SVDQuant (Nunchaku)", "wscales", "lora_down", "qweight"),
    _mark("EETQ", "weight_scales", _INT8_WEIGHT, methods=("eetq",)),
)
"""In this order: of two that fit the same entries, the first is said. The first part of each is the rarest name."""

_METHODS = {
    "bitsandbytes": "bitsandbytes", "quanto": "quanto", "hqq": "HQQ",
    "quip": "QuIP#", "vptq": "VPTQ", "spqr": "SpQR", "higgs": "HIGGS", "fp_quant": "FP-Quant",
    "eetq": "EETQ", "exl2": "EXL2",
    "bitblas": "BitBLAS", "gptq_bitblas": "BitBLAS",
    "svdquant": "SVDQuant", "nunchaku": "SVDQuant (Nunchaku)",
}  # fmt: skip
"""Libraries by the `quant_method` of their settings, where entries do not tell: they may be of another version."""
_BREVITAS = (".tensor_quant.scaling_impl.", ".tensor_quant.int_scaling_impl.")


def named(checkpoint: Checkpoint, modules: Modules) -> str:
    """The families that wrote a checkpoint, which nobody here understands: `bitsandbytes NF4 and ...`; "" where nothing
    names one. modules: of its entries."""
    settings = declared(checkpoint)
    found = list(dict.fromkeys(_by_entries(modules, settings.method)))
    if not found and settings.text("checkpoint_format", "format") == "bitblas" and modules.speak_of_quantization:
        found = ["BitBLAS"]
    if not found and settings.method in _METHODS and modules.speak_of_quantization:
        found = [_METHODS[settings.method]]
    return " and ".join(found)


def _by_entries(modules: Modules, method: str) -> Iterator[str]:
    places: dict[str, list[int]] = {}
    looked_at = {"value", "buffer"}
    rare = {mark.parts[0].end.rpartition(".")[2] for mark in _MARKS}
    looked_at |= rare
    looked_at &= set(modules.lasts)
    for place, last in enumerate(modules.lasts) if looked_at else ():
        if last not in looked_at:
            continue
        if last in rare:
            places.setdefault(last, []).append(place)
        elif last in ("value", "buffer") and any(inside in modules.names[place] for inside in _BREVITAS):
            places.setdefault("Brevitas", []).append(place)
    for mark in _MARKS:
        if mark.methods and method not in mark.methods:
            continue
        end = mark.parts[0].end
        candidates = [p for p in places.get(end.rpartition(".")[2], ()) if modules.names[p].endswith(end)]
        if any(_fits(mark, modules, p) for p in candidates):
            yield mark.name
    if "Brevitas" in places:
        yield "Brevitas"


def _fits(mark: Mark, modules: Modules, place: int) -> bool:
    """Whether all entries of a mark stand where the one at `place` does."""
    first, name = mark.parts[0], modules.names[place]
    stem = name.removesuffix(first.end)
    if stem == name or (stem and first.end[0] not in "_." and stem[-1] not in "./"):
        return False
    return all(_is_part(part, modules, stem) for part in mark.parts)


def _is_part(part: Part, modules: Modules, stem: str) -> bool:
    at = modules.place_of.get(stem + part.end)
    if at is None:
        return False
    form = modules.forms[at]
    if form is None:
        return not part.dtypes
    return not part.dtypes or form[0].name in part.dtypes
