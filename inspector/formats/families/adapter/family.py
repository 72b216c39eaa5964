"""Adapters: small factors that change the weights of another model. LoRA, DoRA, LoHa and LoKr as peft, Kohya's
sd-scripts, LyCORIS, diffusers, XLabs and MLX store them; the methods of peft by name.

An adapter has no scales of quantization. What it does have is of modules of another model: docs/formats.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from qinspect.inspector.checkpoint import Checkpoint, Tensor
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.adapted import AdaptedModule
from qinspect.inspector.formats.contract import Format
from qinspect.inspector.formats.families.adapter import parts
from qinspect.inspector.formats.families.adapter.factors import Update, changed
from qinspect.inspector.formats.families.adapter.flat import branch_of, unfolded
from qinspect.inspector.formats.families.adapter.modules import Adapted, place_of_stem, said_of_numbers
from qinspect.inspector.formats.records import CodeArray, FloatArray, QuantizedWeight, ScaleRecord
from qinspect.inspector.text import count, some, visible

_MAX_METHODS = 4
_ONE_MODEL = "the model itself"


class AdapterFormat(Format):
    """What changes the weights of a model that is not in the file."""

    family = "adapter"
    ordered_by = "file order"
    own_names = True

    def __init__(self, checkpoint: Checkpoint, adapted: Adapted | None = None) -> None:
        super().__init__(checkpoint)
        self._adapted = adapted or Adapted(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        if checkpoint.kind == "GGUF" or not parts.may_hold(checkpoint.entries):
            return None
        adapted = Adapted(checkpoint)
        if not adapted.part_of or adapted.has_weights_of_base:
            return None
        return f"{visible(next(iter(adapted.part_of)), 120)} is a factor of an update"

    @property
    def description(self) -> str:
        modules = self.adapts()
        methods = Counter(m.method for m in modules)
        text = f"{' and '.join(list(methods)[:_MAX_METHODS])} adapter of {some(len(modules), 'module')}"
        ranks = {float(m.rank) for m in modules if m.rank is not None}
        if ranks:
            text += f", rank {said_of_numbers(ranks)}"
        alphas = {m.alpha for m in modules if m.alpha is not None}
        known = sum(m.alpha is not None for m in modules)
        if alphas:
            text += f", alpha {said_of_numbers(alphas)}"
            text += f" (in {count(known)} of {count(len(modules))})" if known < len(modules) else ""
        elif self._adapted.settings.factor is None:
            text += ", alpha not stored"
        return text

    def adapts(self) -> tuple[AdaptedModule, ...]:
        return self._adapted.modules

    def scales(self) -> tuple[ScaleRecord, ...]:
        return ()

    def weights(self) -> tuple[QuantizedWeight, ...]:
        return ()

    def codes(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> CodeArray:
        raise CannotDequantize("holds factors of updates and no codes", file=self.checkpoint.path, key=weight.name)

    def dequantize(self, weight: QuantizedWeight, start: int = 0, stop: int | None = None) -> FloatArray:
        raise CannotDequantize("holds factors of updates and no codes", file=self.checkpoint.path, key=weight.name)

    def adapted_rows(self, module: AdaptedModule, weight: FloatArray, start: int, stop: int) -> FloatArray:
        if module.why_not or module.factor is None:
            raise CannotDequantize(module.why_not or "alpha is not known", key=module.module)
        with np.errstate(all="ignore"):  # NaN and infinities of a file are the file's
            update, magnitude = self._update(module)
            of_rows = None if magnitude is None else magnitude[start:stop]
            return changed(weight, update.rows(start, stop), module.factor, of_rows)

    def _update(self, module: AdaptedModule) -> tuple[Update, FloatArray | None]:
        """The factors of a module, read: of the one that was asked for last they are kept."""
        if self._latest is None or self._latest[0] is not module:
            tensors: dict[str, Tensor] = {}
            entries = self._adapted.entries_of[module]
            for called, name in entries.keys.items():
                tensor = self.checkpoint.tensor(name)
                if tensor is not None and called != parts.ALPHA:
                    tensors[called] = tensor
            found = tensors.pop(parts.MAGNITUDE, None)
            magnitude = None if found is None else found.read().astype(np.float32).reshape(-1)
            (method,) = entries.methods - {""}
            self._latest = (module, Update(method, tensors), magnitude)
        return self._latest[1], self._latest[2]

    _latest: tuple[AdaptedModule, Update, FloatArray | None] | None = None

    def place_of(self, name: str) -> str:
        return self._place(name, "")

    def role_of(self, name: str) -> str:
        return self._roles_of_parts.get(name) or super().role_of(name)

    def tree_path(self, name: str) -> str:
        part = self._adapted.part_of.get(name)
        if part is None:
            return name
        prefix, rest = branch_of(part.stem)
        path = unfolded(rest) if prefix else None
        return f"{prefix}.{path}{name[len(part.stem) :]}" if path else name

    @cached_property
    def _roles_of_parts(self) -> dict[str, str]:
        """Roles that are the same whoever wrote the adapter; of several entries of one role none has it."""
        roles = {name: self._place(name, "") for name in self._adapted.part_of}
        shared = {role for role, n in Counter(roles.values()).items() if n > 1}
        return {name: role for name, role in roles.items() if role not in shared}

    def _place(self, name: str, otherwise: str) -> str:
        part = self._adapted.part_of.get(name)
        if part is None:
            return otherwise or super().place_of(name)
        place = place_of_stem(part.stem)
        given = f".{part.given}" if part.given and part.given != "default" else ""
        return f"{place.branch}.{place.path}{given}.{part.called}".lstrip(".")

    def notes(self) -> tuple[str, ...]:
        return (*self._said(), *super().notes())

    def _said(self) -> Iterator[str]:
        modules, settings = self.adapts(), self._adapted.settings
        if len(self._adapted.branches) > 1:
            of = Counter(m.branch for m in modules)
            yield ", ".join(f"{some(of[b], 'module')} of {b.replace('_', ' ') or _ONE_MODEL}" for b in sorted(of))
        named = f", {settings.base} by {settings.base_said_by}," if settings.base else ""
        yield f"an adapter: the weights of its base{named} are not in it"
        yield from self._factor_said(modules)
        ranks = {m.rank for m in modules if m.rank is not None}
        if settings.rank is not None and ranks and settings.rank not in ranks and not settings.ranks:
            said = said_of_numbers({float(r) for r in ranks})
            yield f"{settings.source} says rank {settings.rank}, and the shapes say {said}"
        broken = [m for m in modules if m.why_not.startswith("its factors")]
        if broken:
            first = visible(broken[0].module, 120)
            yield f"{some(len(broken), 'module')} whose factors are incomplete or do not fit, first {first}"
        flat = [p.stem for p in self._adapted.part_of.values() if not place_of_stem(p.stem).told]
        if flat:
            n = len(dict.fromkeys(flat))
            yield f"{some(n, 'name')} could not be put back into parts and {'is' if n == 1 else 'are'} shown as stored"
        others = sum(name not in self._adapted.part_of for name in self.checkpoint.entries)
        if others:
            yield f"{some(others, 'entry', 'entries')} beside the factors, stored whole"

    def _factor_said(self, modules: tuple[AdaptedModule, ...]) -> Iterator[str]:
        factors = {m.factor for m in modules if m.factor is not None}
        if factors:
            settings = self._adapted.settings
            how = "alpha / sqrt(rank)" if settings.rank_stabilized else "alpha / rank"
            how = f"the scale of {settings.source}" if settings.factor is not None else how
            whole = any(m.rank is None and m.factor == 1 != m.alpha for m in modules)
            how += "; 1 where the factors are whole matrices" if whole else ""
            yield f"the product of the factors is multiplied by {said_of_numbers(factors)} ({how})"
        elif all(m.alpha is None for m in modules) and any(m.rank for m in modules):
            yield "what the product of the factors is multiplied by is not known: no alpha is stored, and no settings"
        if zero := sum(m.alpha == 0 and m.factor is None for m in modules):
            yield f"alpha is 0 in {some(zero, 'module')}: sd-scripts takes the rank for it, others multiply by 0"
