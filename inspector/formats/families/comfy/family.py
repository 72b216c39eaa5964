"""The family: which modules of a file are quantized, in forward order, and what is odd about them."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.families.comfy.building import FLOAT8, KNOWN, TILED, Site, module_of
from qinspect.inspector.formats.families.comfy.markers import (
    MARK,
    METADATA,
    OLD_MARK,
    Marks,
    Said,
    listed,
    marks_of,
)
from qinspect.inspector.formats.modular import ModularFormat, Part, QuantizedModule, by_module
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.records import Problem
from qinspect.inspector.formats.said import ModuleNames, NamedModules
from qinspect.inspector.formats.small import A_FEW_NUMBERS, small_entries
from qinspect.inspector.text import some, visible

_OLD_SCALE = "scale_weight"
_CODEBOOK = "weight_codebook"
_SCALES = ("weight_scale", "weight_s_rel", _OLD_SCALE)
_CODES = (*FLOAT8, "uint8", "int8")
_OWN = (MARK, OLD_MARK)
_ATTENTION = ".comfy_attention.config"
_BITS = {"nvfp4": 4.0, "convrot_w4a4": 4.0, "awq_w4a16": 4.0}
_CALLED = {"float8_e4m3fn": "FP8 E4M3", "float8_e5m2": "FP8 E5M2", "nvfp4": "NVFP4", "mxfp8": "MXFP8"}


class ComfyFormat(ModularFormat):
    """One file."""

    family = "comfy"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._formats: Counter[str] = Counter()
        self._marks = Marks({}, {})
        self._differing: list[tuple[str, str, str]] = []
        self._filled: list[tuple[str, int, int]] = []
        self._old: list[str] = []
        self._of_e5m2: list[str] = []
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        entries = checkpoint.entries
        for name in entries.ending(MARK) if MARK in entries.lasts else ():
            form, module = _form(checkpoint, name), name.removesuffix(MARK)
            if form and form[0].name in ("uint8", "int8") and len(form[1]) == 1 and f"{module}weight" in entries:
                return f"{name} says how its module is quantized"
        layers = listed(checkpoint)
        if layers and not entries.lasts.isdisjoint(_SCALES):
            return f"{METADATA} in the metadata lists {some(len(layers), 'layer')}"
        for name in entries.ending(_OLD_SCALE) if _OLD_SCALE in entries.lasts else ():
            form = _form(checkpoint, name.removesuffix(_OLD_SCALE) + "weight")
            if name.rpartition(".")[2] == _OLD_SCALE and form and form[0].name in FLOAT8:
                return f"{name} scales FP8"
        return None

    @property
    def description(self) -> str:
        told = [_called(name) for name, _ in self._formats.most_common(3)]
        more = ["..."] if len(self._formats) > 3 else []
        old = [OLD_MARK] if self._old else []
        whole = ["full-precision products"] if self._full_precision else []
        return f"ComfyUI {', '.join([*told, *more, *old, *whole])}"

    @property
    def declared_bits(self) -> tuple[float, ...]:
        said = [s for of in (self._marks.of_marks, self._marks.of_metadata) for s in of.values() if not s.wrong]
        known = [name for s in said if (name := s.format) != "asym_w4a8_int8"]  # of 4 bits, or of 6
        return tuple(sorted({_BITS.get(name, 8.0) for name in known if name in (*_BITS, *_CALLED, "int8_tensorwise")}))

    def named_modules(self) -> tuple[NamedModules, ...]:
        """Those of the header, as they are written: ComfyUI looks for no other names."""
        names = frozenset(ModuleNames(self.checkpoint.entries).all)
        layers = listed(self.checkpoint) or {}
        return tuple(NamedModules(name, METADATA, False, (name,) if name in names else ()) for name in layers)

    @property
    def _full_precision(self) -> bool:
        """Whether the mark of an old file says that products are calculated in full precision."""
        forms = (_form(self.checkpoint, name) for name in self._old_marks)
        return any(form is not None and form[1] == (2,) for form in forms)

    @property
    def _old_marks(self) -> list[str]:
        names = self.checkpoint.entries.ending(OLD_MARK)
        return [name for name in names if name.rpartition(".")[2] == OLD_MARK]

    def _find(self) -> Iterator[Part]:
        modules = by_module(self.checkpoint.entries)
        self._marks = marks_of(self.checkpoint, modules)
        codebooks = (keys[_CODEBOOK] for keys in modules.values() if _CODEBOOK in keys)
        levels = small_entries(self.checkpoint, codebooks, A_FEW_NUMBERS, ("float32",))
        for module in sorted(modules, key=forward_key):
            keys = modules[module]
            said = self._marks.of(module)
            if not said and _OLD_SCALE in keys and self._is_float8(keys):
                said = (Said(self._dtype(keys)),)
                self._old.append(module)
            if said:
                found = levels.get(keys.get(_CODEBOOK, ""), b"")
                numbers = struct.unpack(f"<{len(found) // 4}f", found[: len(found) // 4 * 4])
                yield self._of_module(module, keys, said, numbers)
            elif MARK not in keys and self._has_scaled_codes(keys):
                yield self._unmarked(module, keys)

    def _of_module(
        self, module: str, keys: Mapping[str, str], said: tuple[Said, ...], levels: tuple[float, ...]
    ) -> Part:
        """What is said first is believed where the entries fit it, then what else is said, then what they are."""
        role = self.role_of(keys["weight"]) if "weight" in keys else module
        errors = []
        for each in (*said, *self._by_entries(keys, said)):
            try:
                made = module_of(Site(self.checkpoint, module, keys, role, each, levels))
            except CannotDequantize as e:
                errors.append(e)
                continue
            self._seen(module, keys, said, each, made)
            return made
        return Problem(errors[0].key or next(iter(keys.values())), errors[0])

    def _by_entries(self, keys: Mapping[str, str], said: tuple[Said, ...]) -> list[Said]:
        """What a module is whose codes are FP8 with one scale, where it is said to be of another format that is known.
        That it was rotated its entries do not say."""
        known = all(s.format in KNOWN and not s.rotated for s in said)
        return [Said(self._dtype(keys))] if known and self._is_float8(keys) and "weight_scale" in keys else []

    def _seen(
        self, module: str, keys: Mapping[str, str], said: tuple[Said, ...], taken: Said, made: QuantizedModule
    ) -> None:
        """Keep what is to be told of a module."""
        weight = made.weight
        stored = self._dtype(keys)
        kind = stored if taken.format in FLOAT8 else taken.format
        rotation = f" convrot {weight.rotation.size}" if weight.rotation else ""
        self._formats[f"{kind}{rotation}"] += 1
        if any(str(s) != f"{kind}{rotation}" for s in said):
            self._differing.append((module, " and ".join(map(str, said)), f"{kind}{rotation}"))
        form = _form(self.checkpoint, keys["weight"])
        if kind in TILED and form is not None and weight.shape[0] != form[1][0]:
            self._filled.append((weight.name, weight.shape[0], form[1][0]))
        if self._old and stored == "float8_e5m2" and module == self._old[-1]:
            self._of_e5m2.append(module)

    def _unmarked(self, module: str, keys: Mapping[str, str]) -> Problem:
        scale = next(keys[s] for s in _SCALES if s in keys)
        form = _form(self.checkpoint, keys["weight"])
        assert form is not None
        error = CannotDequantize(
            f"stands beside {visible(scale, 120)}, and no mark says how they make values: ComfyUI takes its numbers as "
            "they are stored", file=self.checkpoint.path, key=keys["weight"],
            expected=f"{module}.{MARK}" if module else MARK, found=f"none beside {form[0].name} {list(form[1])}",
        )  # fmt: skip
        return Problem(keys["weight"], error)

    def _dtype(self, keys: Mapping[str, str]) -> str:
        form = _form(self.checkpoint, keys.get("weight", ""))
        return form[0].name if form else ""

    def _is_float8(self, keys: Mapping[str, str]) -> bool:
        return self._dtype(keys) in FLOAT8

    def _has_scaled_codes(self, keys: Mapping[str, str]) -> bool:
        form = _form(self.checkpoint, keys.get("weight", ""))
        scaled = any(scale in keys for scale in _SCALES)
        return scaled and form is not None and form[0].name in _CODES and len(form[1]) > 1

    def taken(self) -> set[str]:
        entries = self.checkpoint.entries
        own = {name for name in entries.ending(*_OWN, "config") if name.rpartition(".")[2] in _OWN}
        return super().taken() | own | {name for name in entries.ending("config") if name.endswith(_ATTENTION)}

    # --- what is odd ---

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *self._differing_said(), *self._lists_said(), *self._old_said(), *self._filled_said())

    def _differing_said(self) -> Iterator[str]:
        if self._differing:
            module, said, stored = self._differing[0]
            yield (
                f"{visible(module, 120)} is said to be {visible(said, 120)}, its entries are {stored}: these are "
                f"believed ({some(len(self._differing), 'module')})"
            )

    def _lists_said(self) -> Iterator[str]:
        moved, absent = self._marks.moved, self._marks.absent
        if moved:
            name, module = moved[0]
            yield (
                f"{some(len(moved), 'name')} in {METADATA} {'is' if len(moved) == 1 else 'are'} written otherwise than "
                f"the entries, first {visible(name, 120)} for {visible(module, 120)}: ComfyUI finds no entry under "
                "such a name, and takes codes for values"
            )
        if absent:
            yield (
                f"{some(len(absent), 'name')} in {METADATA} {'is that' if len(absent) == 1 else 'are those'} of no "
                f"weight, first {visible(absent[0], 120)}"
            )

    def _old_said(self) -> Iterator[str]:
        if not self._old:
            return
        roots = [name.removesuffix(OLD_MARK) for name in self._old_marks]
        alone = [module for module in self._old if not any(module.startswith(root) for root in roots)]
        if alone:
            yield (
                f"no {OLD_MARK} stands before {some(len(alone), 'module')} with a {_OLD_SCALE}, first "
                f"{visible(alone[0], 120)}: ComfyUI takes such codes without their scale"
            )
        if self._of_e5m2:
            are = "is" if len(self._of_e5m2) == 1 else "are"
            yield (
                f"{some(len(self._of_e5m2), 'weight')} with a {_OLD_SCALE} {are} "
                "of float8_e5m2: ComfyUI makes float8_e4m3fn of them when it loads, which holds nothing above 448"
            )

    def _filled_said(self) -> Iterator[str]:
        if self._filled:
            name, rows, stored = self._filled[0]
            yield (
                f"{some(len(self._filled), 'weight')} {'is' if len(self._filled) == 1 else 'are'} filled up with rows, "
                f"which are left out where a bias tells how many (first {visible(name, 120)}: {rows} of {stored}); "
                "columns may be filled up too, which nothing tells: they are shown"
            )


def _form(checkpoint: Checkpoint, name: str) -> Form | None:
    found = checkpoint.entries.form(name)
    if found is None and name in checkpoint.entries:
        tensor = checkpoint.tensor(name)
        return None if tensor is None else (tensor.dtype, tensor.shape)
    return found


def _called(name: str) -> str:
    first, _, more = name.partition(" ")
    return f"{_CALLED.get(first, first)} {more}".strip()
