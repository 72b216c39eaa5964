"""bitsandbytes: NF4 and FP4 with the largest magnitude of each block, perhaps quantized itself, and LLM.int8().

state.py has what is stored beside codes of 4 bits, four_bit.py reads these, parts.py knows which weights they are,
eight_bit.py reads int8. docs/formats.md has the layouts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.errors import CannotDequantize
from qinspect.inspector.formats.declared import Declared, declared
from qinspect.inspector.formats.element import integer
from qinspect.inspector.formats.families.bitsandbytes.eight_bit import Int8Weight, int8_weight
from qinspect.inspector.formats.families.bitsandbytes.four_bit import Entries, FourBitWeight, entries_of
from qinspect.inspector.formats.families.bitsandbytes.parts import parts_of
from qinspect.inspector.formats.families.bitsandbytes.state import STATE, TYPES, State, element_of, state_of
from qinspect.inspector.formats.grid import channels
from qinspect.inspector.formats.modular import ModularFormat, Part, by_module
from qinspect.inspector.formats.order import forward_key
from qinspect.inspector.formats.records import DynamicPoint, Problem
from qinspect.inspector.formats.said import commonest
from qinspect.inspector.formats.small import small_entries
from qinspect.inspector.text import some, visible

_METHOD = "bitsandbytes"
_OF_STATE = ".quant_state"
_BESIDE = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")
_STATES = tuple(f"{STATE}{kind}" for kind in TYPES)


class BitsAndBytesFormat(ModularFormat):
    """One checkpoint."""

    family = "bitsandbytes"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._declared = declared(checkpoint)
        self._belonging: set[str] = set()
        self._states: dict[str, State] = {}
        super().__init__(checkpoint)

    @classmethod
    def recognise(cls, checkpoint: Checkpoint) -> str | None:
        entries = checkpoint.entries
        for name in entries.ending(*_STATES):
            key, _, last = name.rpartition(".")
            if last in _STATES and f"{key.removesuffix(_OF_STATE)}.absmax" in entries:
                return f"{name} is beside the scales of blocks"
        for name in entries.ending("SCB"):
            form = entries.form(f"{name.removesuffix('SCB')}weight")
            if name.rpartition(".")[2] == "SCB" and form and form[0].name == "int8" and len(form[1]) == 2:
                return f"{name} scales int8"
        return None

    @property
    def description(self) -> str:
        found = Counter(
            f"{s.kind.upper()} g{s.block}{' (double quantization)' if s.nested else ''}" for s in self._states.values()
        )
        found.update("int8 (LLM.int8)" for m in self._modules.values() if isinstance(m, Int8Weight))
        return f"bitsandbytes {', '.join(commonest(found))}"

    @property
    def declared_bits(self) -> tuple[float, ...]:
        said = (("load_in_4bit", 4.0), ("load_in_8bit", 8.0))
        return tuple(bits for key, bits in said if self._declared.flag(key))

    def dynamic(self) -> tuple[DynamicPoint, ...]:
        element, grid = integer(8), channels(0)
        modules = (w.role.removesuffix(".weight") for w in self.weights() if w.element is element)
        return tuple(DynamicPoint(f"{m}:input", f"the input of {m}", element, grid) for m in modules)

    def taken(self) -> set[str]:
        return super().taken() | self._belonging

    def _find(self) -> Iterator[Part]:
        found = by_module(self.checkpoint.entries)
        of_int8 = {module: keys for module, keys in found.items() if "SCB" in keys}
        states = self._state_keys(found)
        codes = list(dict.fromkeys([*states, *(key for key, keys in found.items() if "absmax" in keys)]))
        wanted = [*states.values(), *(found[key]["quant_map"] for key in codes if "quant_map" in found.get(key, {}))]
        small = small_entries(self.checkpoint, wanted)
        shapes = self._shapes_of(states, small)
        said = (keys["weight_format"] for keys in of_int8.values() if "weight_format" in keys)
        orders = small_entries(self.checkpoint, said, 8)
        for name in sorted({*codes, *of_int8}, key=forward_key):
            if name in of_int8:
                yield self._int8(name, of_int8[name], orders)
            else:
                yield from self._four_bit(name, states.get(name, ""), found.get(name, {}), small, shapes)

    def _state_keys(self, found: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """The name of the codes to the name of their state."""
        states: dict[str, str] = {}
        for module, keys in found.items():
            if module.endswith(_OF_STATE):
                states.update((module.removesuffix(_OF_STATE), keys[last]) for last in keys if last.startswith(STATE))
        return states

    def _shapes_of(self, states: Mapping[str, str], small: Mapping[str, bytes]) -> dict[str, tuple[int, ...]]:
        """The shape of each weight in the codes of 4 bits, as its state says it."""
        found = ((key, state_of(small.get(state, b""))) for key, state in states.items())
        return {key: state.shape for key, state in found if isinstance(state, State)}

    def _int8(self, module: str, keys: Mapping[str, str], orders: Mapping[str, bytes]) -> Part:
        role = self.role_of(keys.get("weight") or (f"{module}.weight" if module else "weight"))
        order = keys.get("weight_format", "")
        stored = orders.get(order)
        made = self._or_problem(keys["SCB"], lambda: int8_weight(self.checkpoint, module, keys, role, stored))
        if order and not isinstance(made, Problem):
            self._belonging.add(order)
        return made

    def _four_bit(
        self, key: str, state_key: str, beside: Mapping[str, str], small: Mapping[str, bytes],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> Iterator[Part]:  # fmt: skip
        try:
            entries = self._entries(key, state_key, beside, small)
        except CannotDequantize as e:
            yield Problem(e.key or key, e)
            return
        self._states[key] = entries.state
        self._belonging.update((state_key, *(beside[last] for last in _BESIDE if last in beside)))
        down = shapes.get(f"{key.rpartition('.')[0]}.down_proj", ())
        for part in parts_of(entries, self.role_of(key), down):
            yield FourBitWeight(self.checkpoint, entries, part)

    def _entries(self, key: str, state_key: str, beside: Mapping[str, str], small: Mapping[str, bytes]) -> Entries:
        expected = f"JSON with quant_type {' or '.join(TYPES)}, shape and blocksize"
        if not state_key:
            raise self._misfit(
                f"{key}{_OF_STATE}.{STATE}nf4", "is missing: only there stands the shape of codes", expected, "nothing"
            )
        state = state_of(small.get(state_key, b""))
        if not isinstance(state, State):
            raise self._misfit(state_key, "does not say how codes are read", expected, state)
        map_key = beside.get("quant_map", f"{key}.quant_map")
        form = self.checkpoint.entries.form(map_key)
        element = element_of(state.kind, small.get(map_key, b"")) if form and form[0].name == "float32" else None
        if element is None:
            found = "nothing" if form is None else f"{form[0].name} {list(form[1])}"
            raise self._misfit(
                map_key, "does not say what codes stand for", "float32 [16], all finite",
                f"{found}, not all finite" if form and form[1] == (16,) and form[0].name == "float32" else found,
            )  # fmt: skip
        return entries_of(self.checkpoint, key, state_key, state, element, beside)

    def _misfit(self, key: str, problem: str, expected: str, found: str) -> CannotDequantize:
        return CannotDequantize(problem, file=self.checkpoint.path, key=key, expected=expected, found=found)

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *_differing(self._declared, self._states, len(self._modules)))


def _differing(said: Declared, states: Mapping[str, State], n_modules: int) -> Iterator[str]:
    """What config.json says otherwise than the tensors do."""
    if not said:
        return
    if said.method not in ("", _METHOD):
        yield f"{said.where} says {said.method}, the tensors are those of bitsandbytes: these are believed"
        return
    if said.flag("load_in_8bit") and states:
        yield f"{said.where} says 8 bits, {some(len(states), 'tensor')} of codes have 4: these are believed"
    if said.flag("load_in_4bit") and n_modules and not states:
        yield f"{said.where} says 4 bits, the tensors are int8: these are believed"
    if not said.flag("load_in_4bit"):
        return
    kind, double = said.text("bnb_4bit_quant_type"), said.flag("bnb_4bit_use_double_quant")
    others = [key for key, s in states.items() if kind and s.kind != kind]
    if others:
        yield (
            f"{said.where} says {kind}, the state of {visible(others[0], 120)} {states[others[0]].kind}: the state is "
            f"believed ({some(len(others), 'tensor')})"
        )
    unlike = [key for key, s in states.items() if double is not None and (s.nested is not None) != double]
    if unlike:
        has = "none" if double else "one"
        yield (
            f"{said.where} says {'a' if double else 'no'} second quantization, of the scales, "
            f"{visible(unlike[0], 120)} has {has}: the tensors are believed ({some(len(unlike), 'tensor')})"
        )
