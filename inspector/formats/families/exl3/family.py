"""The family: which modules of a checkpoint are of it, and where its settings and its entries do not agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.declared import Declared, declared
from qinspect.inspector.formats.families.exl3.linear import BLOCK, TrellisWeight
from qinspect.inspector.formats.families.exl3.trellis import CODEBOOKS, SIDE
from qinspect.inspector.formats.modular import ModularFormat, Part, by_module, required
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.said import commonest, differing_said
from qinspect.inspector.text import visible

_METHOD = "exl3"
_TRELLIS = "trellis"
_SIDES, _OLD_SIDES = ("suh", "svh"), ("su", "sv")
_NAMED = tuple(name for name in CODEBOOKS if name)
_MOST_BITS = 8


class Exl3Format(ModularFormat):
    """One checkpoint."""

    family = "exl3"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._declared = declared(checkpoint)
        if self._declared.method != _METHOD:
            self._declared = Declared()
        self._kinds: Counter[str] = Counter()
        self._differing: list[tuple[str, str, str]] = []
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        entries, said = checkpoint.entries, declared(checkpoint)
        if _TRELLIS not in entries.lasts or said.method not in ("", _METHOD):
            return None
        for name in entries.ending(_TRELLIS):
            module, _, last = name.rpartition(".")
            tensor = checkpoint.tensor(name)
            if last != _TRELLIS or tensor is None or tensor.dtype.name != "int16" or len(tensor.shape) != 3:
                continue
            beside = [f"{module}." * bool(module) + side for side in (*_SIDES, *_OLD_SIDES)]
            if said.method or any(side in entries for side in beside):
                return f"{said.where} says {_METHOD}" if said.method else f"{name} is a trellis between signs"
        return None

    @property
    def description(self) -> str:
        told = commonest(self._kinds)
        version = self._declared.settings.get("version")
        writer = [f"exllamav3 {visible(version, 20)}"] if isinstance(version, str) else []
        return f"EXL3 {', '.join([*told, *writer])}"

    @property
    def declared_bits(self) -> tuple[float, ...]:
        found = (self._declared.settings.get(key) for key in ("bits", "head_bits"))
        numbers = {float(b) for b in found if isinstance(b, int | float) and not isinstance(b, bool)}
        return tuple(sorted(b for b in numbers if 0 < b <= _MOST_BITS))

    def _find(self) -> Iterator[Part]:
        modules = {m: keys for m, keys in by_module(self.checkpoint.entries).items() if _TRELLIS in keys}
        for module in sorted(modules, key=forward_key):
            keys = modules[module]
            yield self._or_problem(keys[_TRELLIS], lambda m=module, k=keys: self._weight(m, k))  # type: ignore[misc]

    def _weight(self, module: str, keys: Mapping[str, str]) -> TrellisWeight:
        """Raises CannotDequantize where the entries of a module do not fit each other."""
        key, prefix = keys[_TRELLIS], f"{module}." if module else ""
        trellis = self.checkpoint.tensor(key)
        shape = trellis.shape if trellis is not None else ()
        bits = shape[2] // SIDE if len(shape) == 3 else 0
        fits = len(shape) == 3 and shape[2] == SIDE * bits and 1 <= bits <= _MOST_BITS and 0 not in shape
        if trellis is None or trellis.dtype.name != "int16" or not fits or trellis.strides is not None:
            raise CannotDequantize(
                "is not a trellis", file=self.checkpoint.path, key=key,
                expected=f"int16 [in / {SIDE}, out / {SIDE}, {SIDE} * bits] of 1 to {_MOST_BITS} bits",
                found="nothing" if trellis is None else f"{trellis.dtype.name} {list(shape)}",
            )  # fmt: skip
        n_in, n_out = SIDE * shape[0], SIDE * shape[1]
        if n_in % BLOCK or n_out % BLOCK:
            raise CannotDequantize(
                "is not cut in blocks of its rotation", file=self.checkpoint.path, key=key,
                expected=f"a multiple of {BLOCK} inputs and outputs", found=f"{n_in} and {n_out}",
            )  # fmt: skip
        if any(old in keys and side not in keys for side, old in zip(_SIDES, _OLD_SIDES, strict=True)):
            raise CannotDequantize(
                "is between signs in single bits, as the first releases wrote them, whose order is not known",
                file=self.checkpoint.path, key=key, expected=" and ".join(_SIDES), found=" and ".join(_OLD_SIDES),
            )  # fmt: skip
        for side, n in zip(_SIDES, (n_in, n_out), strict=True):
            what = f"a trellis of shape {list(shape)}"
            required(self.checkpoint, prefix + side, ("float16", "bfloat16", "float32"), [(n,)], what)
        codebook = self._codebook(prefix, keys)
        self._compare(module, bits, codebook)
        self._kinds[f"{bits}-bit{f' {codebook}' if codebook else ''}"] += 1
        role = f"{self.role_of(key).removesuffix(_TRELLIS)}weight"
        return TrellisWeight(self.checkpoint, prefix, role, bits, codebook)

    def _codebook(self, prefix: str, keys: Mapping[str, str]) -> str:
        named = [name for name in _NAMED if name in keys]
        if len(named) > 1:
            raise CannotDequantize(
                "stands beside a second one: each names another codebook", file=self.checkpoint.path,
                key=keys[named[1]], expected=f"{named[0]} or {named[1]}", found="both",
            )  # fmt: skip
        for name in named:
            required(self.checkpoint, prefix + name, ("int32", "uint32", "int64"), [(), (1,)], f"{prefix}{_TRELLIS}")
        return named[0] if named else ""

    def _compare(self, module: str, bits: int, codebook: str) -> None:
        """Keep what the settings say otherwise."""
        said = self._declared.text("codebook")
        if said in _NAMED and said != codebook:
            self._differing.append((module, f"codebook {said}", codebook or "no entry that names one"))
        storage = self._declared.mapping("tensor_storage").get(module)
        width = storage.get("bits_per_weight") if isinstance(storage, dict) else None
        if type(width) is int and width != bits:
            self._differing.append((module, f"{width} bits", f"{bits} bits"))

    def taken(self) -> set[str]:
        named = {f"{w.codes_key.removesuffix(_TRELLIS)}{name}" for w in self.weights() for name in _NAMED}
        return super().taken() | {name for name in named if name in self.checkpoint}

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *differing_said(self._declared.where, self._differing))
