"""GPTQ: integer weights of 2 to 8 bits in words of 32, with a scale and a zero point for each group of input channels.

AutoGPTQ, GPTQModel and optimum write them, and AutoRound writes the same tensors. Versions differ in nothing but the
settings: v1 stores zero points less 1, v2 as they are, `gptq_p` cuts codes into planes. linear.py has the tensors,
words.py the packing, settings.py what is said of them; docs/formats.md the layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.columns import Form
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.contract import Topic
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.formats.families.gptq.linear import (
    PERHAPS,
    WORDS,
    Fit,
    Packing,
    Said,
    fit_of,
    linear_of,
    settings_differ,
)
from qinspect.inspector.formats.families.gptq.qqq import qqq_weight
from qinspect.inspector.formats.families.gptq.settings import (
    FORMATS,
    MARLIN,
    METHODS,
    QQQ,
    Settings,
    format_name,
    is_auto_round,
    packing,
)
from qinspect.inspector.formats.marlin_weight import marlin_weight
from qinspect.inspector.formats.modular import ModularFormat, Part, QuantizedModule, by_module
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.records import Problem
from qinspect.inspector.formats.said import Contradiction, ModuleNames, NamedModules, contradictions_of
from qinspect.inspector.formats.stripes import Stripes
from qinspect.inspector.text import some, visible

_MAX_SIZES = 3
_PARTS = ("qweight", "qzeros", "scales", "g_idx")
T = TypeVar("T", str, int)


class GptqFormat(ModularFormat):
    """One checkpoint. Raises CannotDequantize where its settings name a packing that is not known."""

    family = "gptq"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._declared = declared(checkpoint)
        self._settings = Settings(self._declared)
        self._differing: dict[str, tuple[Said, Fit]] = {}
        self._forms: dict[str, Form | None] = {}
        self._stripes = Stripes()
        self._fits: dict[tuple[object, ...], Fit] = {}
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        said = declared(checkpoint)
        if (said.method and said.method not in METHODS) or (is_auto_round(said) and "awq" in format_name(said)):
            return None
        sure = said.method in ("gptq", QQQ)
        names = checkpoint.entries.ending("qweight", "B")
        found = next((key for key in names if _is_codes(checkpoint, key, sure)), None)
        if found is None:
            return None
        return f"{said.where} says {said.method}" if sure else f"{found} is packed along the input channels"

    @property
    def description(self) -> str:
        weights = self.weights()
        bits = _most_first(f"W{w.bits}" for w in weights)
        if all(w.grid.block[-1] >= w.shape[1] for w in weights):
            grouped = ["one group a channel"]
        else:
            grouped = [f"group {size}" for size in _most_first(w.grid.block[-1] for w in weights)]
        reordered = self._settings.base.reordered and any(w.grid.group_index for w in weights)
        more = ["activation order"] if reordered else []
        return ", ".join([f"{self._version} {' and '.join(bits)}", *grouped[:_MAX_SIZES], *more, *self._writer])

    @property
    def declared_bits(self) -> tuple[float, ...]:
        return tuple(map(float, sorted(self._settings.widths)))

    @property
    def _version(self) -> str:
        if is_auto_round(self._declared):
            return "AutoRound (GPTQ's packing)"
        weights = self.weights()
        if weights and all(w.scale_roles[-1].endswith("#channel") for w in weights):
            return "QQQ"
        return {"gptq": "GPTQ v1", MARLIN: "GPTQ in Marlin's order", "gptq_v2": "GPTQ v2", "gptq_p": "GPTQ planar"}.get(
            format_name(self._declared), "GPTQ"
        )

    @property
    def _writer(self) -> list[str]:
        told = self._declared.mapping("meta").get("quantizer")
        first = told[0] if isinstance(told, list) and told else told
        written = self._declared.settings.get("autoround_version")
        if isinstance(first, str):
            return [visible(first.replace(":", " "), 40)]
        return [f"auto-round {visible(written, 20)}"] if isinstance(written, str) else []

    def _find(self) -> Iterator[Part]:
        name, how = format_name(self._declared), packing(self._declared)
        if how is None and name not in (MARLIN, QQQ):
            raise CannotDequantize(
                "is a packing that is not known", file=self.checkpoint.path, key="checkpoint_format",
                expected=" or ".join(FORMATS), found=name,
            )  # fmt: skip
        entries = self.checkpoint.entries
        self._forms = dict(zip(entries, entries.tensor_forms(), strict=True))
        modules = {m: keys for m, keys in by_module(entries).items() if "qweight" in keys or "B" in keys}
        for module in sorted(modules, key=forward_key):
            keys = modules[module]
            if how is None or "qweight" not in keys:
                yield from self._marlin(module, keys)
                continue
            try:
                yield self._linear(module, keys, how)
            except CannotDequantize as e:
                yield Problem(e.key or keys["qweight"], e)

    def _marlin(self, module: str, keys: dict[str, str]) -> Iterator[Part]:
        """A module whose codes were saved in the order of Marlin's kernel: `B`, with scales `s` and a workspace; or
        under the names of the others, without zero points. Of QQQ's kernel: `B` with scales of groups and channels."""
        if "B" in keys and "s_channel" in keys:
            name = f"{module}.weight" if module else "weight"
            role = f"{self.role_of(keys['B']).removesuffix('B')}weight"
            yield self._or_problem(keys["B"], lambda: qqq_weight(self.checkpoint, keys, name, role))
            return
        codes, scales = ("qweight", "scales") if "qweight" in keys else ("B", "s")
        if scales in keys and (self._says_marlin or "workspace" in keys):
            role = f"{self.role_of(keys[codes]).removesuffix(codes)}weight"
            name = f"{module}.weight" if module else "weight"
            yield self._or_problem(
                keys[codes], lambda: marlin_weight(self.checkpoint, keys[codes], keys[scales], name, role)
            )

    @property
    def _says_marlin(self) -> bool:
        return format_name(self._declared) == MARLIN

    def taken(self) -> set[str]:
        """With the group indices that are just in order, and the kernels' scratch."""
        modules = {w.codes_key.rpartition(".")[0] for w in self.weights()}
        return super().taken() | {f"{m}.{last}" if m else last for m in modules for last in ("g_idx", "workspace")}

    def _linear(self, module: str, keys: dict[str, str], how: Packing) -> QuantizedModule:
        """As the settings of all modules say, and where its tensors are others, as those of this one do: patterns are
        tried on few."""
        role = f"{self.role_of(keys['qweight']).removesuffix('qweight')}weight"
        said = self._settings.base
        try:
            fit = self._fit(module, keys, how, said)
            fits = not settings_differ(fit, said)
        except CannotDequantize:
            if not self._settings.overridden:
                raise
            fits = False
        if not fits:
            said = self._settings.of(module)
            fit = self._fit(module, keys, how, said)
            if settings_differ(fit, said):
                self._differing[module] = said, fit
        ordered = said.reordered is not False
        return linear_of(self.checkpoint, module, role, keys, self._forms, fit, ordered, self._stripes)

    def _fit(self, module: str, keys: dict[str, str], how: Packing, said: Said) -> Fit:
        """Found once for all modules whose tensors have the same forms."""
        forms = (*(id(self._forms.get(keys.get(last, ""))) for last in _PARTS), said)
        fit = self._fits.get(forms)
        if fit is None:
            fit = self._fits[forms] = fit_of(self.checkpoint, module, keys, how, said)
        return fit

    def named_modules(self) -> tuple[NamedModules, ...]:
        return self._settings.named_modules(ModuleNames(self.checkpoint.entries))

    def says_quantized(self, module: str) -> bool | None:
        return False if self._settings.leaves_out(module) else None

    def contradictions(self) -> tuple[Contradiction, ...]:
        return contradictions_of(self._declared.where, self._differing_in_words())

    def _differing_in_words(self) -> Iterator[tuple[str, str, str]]:
        """A module, what is said of it, and what it has."""
        for module, (said, fit) in self._differing.items():
            pairs = settings_differ(fit, said)
            says = " and ".join(f"{name} {value}" for name, (value, _) in pairs.items())
            yield module, says, " and ".join(f"{name} {value}" for name, (_, value) in pairs.items())

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *self._differing_said(), *self._unsaid())

    def _differing_said(self) -> Iterator[str]:
        if self._differing:
            module, (said, fit) = next(iter(self._differing.items()))
            pairs = settings_differ(fit, said)
            says = " and ".join(f"{name} {said}" for name, (said, _) in pairs.items())
            stored = " and ".join(f"{name} {found}" for name, (_, found) in pairs.items())
            yield (
                f"{self._declared.where} says {says} of {visible(module, 120)}, its tensors are {stored}: these are "
                f"believed ({some(len(self._differing), 'module')})"
            )

    def _unsaid(self) -> Iterator[str]:
        if any(r.packed.endswith(PERHAPS) for r in self.scales()):
            yield (
                "no setting says whether zero points are stored less 1 (gptq) or as they are (gptq_v2): where all of a "
                "layer are the one of a symmetric model they say it themselves, and elsewhere its values are not known"
            )

    def says(self, topic: Topic, roles: Sequence[str] = ()) -> str:
        if topic is Topic.ORDER and any(r.grid.group_index for r in self.scales()):
            return "g_idx puts columns into other groups"
        return ""


def _most_first(found: Iterable[T]) -> list[T]:
    return [one for one, _ in Counter(found).most_common()]


def _is_codes(checkpoint: Checkpoint, key: str, sure: bool) -> bool:
    last = key[key.rfind(".") + 1 :]
    if last == "qweight":
        return _is_packed(checkpoint, key, sure)
    return last == "B" and any(
        all(f"{key[:-1]}{beside}" in checkpoint for beside in together)
        for together in (("s", "workspace"), ("s_channel", "s_group"))
    )


def _is_packed(checkpoint: Checkpoint, key: str, sure: bool) -> bool:
    """Whether `key` holds words along the input channels, with scales and zero points beside it that fit. sure: it is
    known to be GPTQ's, so that what stands beside it is not looked at."""
    qweight, module = checkpoint.tensor(key), key.removesuffix("qweight")
    if qweight is None or qweight.dtype.name not in WORDS or len(qweight.shape) != 2:
        return False
    scales, qzeros = checkpoint.tensor(f"{module}scales"), checkpoint.tensor(f"{module}qzeros")
    if sure or scales is None or qzeros is None:
        return sure
    if len(scales.shape) != 2 or len(qzeros.shape) != 2 or not qzeros.dtype.is_integer:
        return False
    fits = scales.shape[1] == qweight.shape[1] and scales.shape[0] == qzeros.shape[0]
    return fits and scales.shape[0] < qweight.shape[0]  # as many would be groups of 8, or AWQ's packing for GEMV
