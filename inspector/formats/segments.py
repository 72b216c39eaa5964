"""The segments of the projections of a model, by the shapes that its tensors have once they are unpacked."""

from __future__ import annotations

import math

from qinspect.inspector.architecture import CONV, IN_PROJ, Segments, mixer_segments
from qinspect.inspector.formats.contract import Format

_OF_MIXER = (IN_PROJ, CONV, "out_proj", "x_proj")
_OF_HEADS = ("A_log", "dt_bias", "D")


class ModelSegments:
    """Of all mixers of a model. Nothing is read but the headers, once, when it is made."""

    def __init__(self, fmt: Format) -> None:
        self._fmt = fmt
        mixers: dict[str, dict[str, tuple[int, ...]]] = {}
        for role, shape in _shapes(fmt):
            module, _, last = role.rpartition(".")
            if last == "weight":
                module, _, last = module.rpartition(".")
            if last in _OF_MIXER or (last in _OF_HEADS and not role.endswith(".weight")):
                mixers.setdefault(module, {})[last] = shape
        config = fmt.checkpoint.config
        self._of = {
            f"{module}.{name}": found
            for module, shapes in mixers.items()
            if IN_PROJ in shapes
            for name, found in mixer_segments(shapes, config).items()
        }
        self._reordered = tuple(fmt.witnesses()) if self._of else ()

    def __bool__(self) -> bool:
        return bool(self._of)

    def of_role(self, role: str) -> Segments:
        """Of a weight, a bias, or a scale of a projection; () of all else."""
        return self._of.get(_module_of(role), ()) if self._of else ()

    def of_entry(self, name: str) -> Segments:
        """Of what stands in the projection's place in the tree of modules."""
        return self._of.get(self._fmt.place_of(name).rpartition(".")[0], ()) if self._of else ()

    def role_of_entry(self, name: str) -> str:
        """Where an entry stands."""
        return self._fmt.place_of(name)

    def reordered(self, role: str) -> bool:
        """Whether the saver may have put heads and channels of these segments in another order, inside of each."""
        return role.startswith(self._reordered) if self._reordered else False


def _shapes(fmt: Format) -> list[tuple[str, tuple[int, ...]]]:
    """(role, shape) of quantized weights and of plain tensors that mixers have."""
    found = [(w.role, w.shape) for w in fmt.weights() if _wanted(w.role)]
    for name, form in fmt.other_forms():
        derived = fmt.derived(name)
        role = derived.role if derived else fmt.role_of(name)
        if _wanted(role):
            found.append((role, form[1] if math.prod(form[1]) else ()))
    return found


def _wanted(role: str) -> bool:
    parts = role.rsplit(".", 2)
    return parts[-1] in _OF_HEADS or (parts[-1] == "weight" and parts[-2:-1] != [] and parts[-2] in _OF_MIXER)


def _module_of(role: str) -> str:
    """`layers.0.mixer.in_proj` of `layers.0.mixer.in_proj.weight#global`."""
    return role.partition("#")[0].partition(":")[0].rpartition(".")[0]
