"""Pairing by shape and content what has no partner by name: one model under the names of another library.

A tensor that varies and is equal to the bit in both models is the same tensor, whatever it is called. From such pairs
follows which module became which, and with that the partners of what else these modules hold. Constant and small
tensors prove nothing on their own; they pair where each model has as many of the same, once something else has paired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.compare.equality import Equality
from qinspect.inspector.errors import QinspectError

LEAST_ELEMENTS = 16
"""A tensor with fewer proves nothing by being equal."""

_PROBE_BYTES = 4096
"""Read at the beginning, in the middle and at the end of a tensor before the whole is compared."""

Probe = tuple[str, tuple[int, ...], bytes]
"""Element type, shape and bytes: tensors whose probes differ are not equal."""


def pair_by_content(
    a: Mapping[str, Tensor], b: Mapping[str, Tensor], equality: Equality, tick: Callable[[int], None]
) -> dict[str, str]:
    """A's role to B's of tensors that are equal to the bit, of those given. {} where nothing that varies is.

    `tick(n)` is called with bytes compared; it may raise to cancel. What cannot be read pairs with nothing.
    """
    shapes = {(t.dtype.name, t.shape) for t in b.values()}
    probes_a = _probes({r: t for r, t in a.items() if (t.dtype.name, t.shape) in shapes})
    shapes = {(t.dtype.name, t.shape) for t in a.values()}
    probes_b = _probes({r: t for r, t in b.items() if (t.dtype.name, t.shape) in shapes})
    found: dict[str, str] = {}
    weak: list[tuple[list[str], list[str]]] = []
    for probe, roles in probes_a.items():
        others = probes_b.get(probe, [])
        if _proves(a[roles[0]], probe):
            found |= _equal_ones(roles, others, a, b, equality, tick)
        elif len(roles) == len(others):
            weak.append((roles, others))
    if found:
        for roles, others in weak:
            found |= _equal_ones(roles, others, a, b, equality, tick)
    return found


def module_names(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """A's module to B's, of pairs of roles that end alike; a module that became two different ones is left out."""
    found: dict[str, str] = {}
    for role_a, role_b in pairs:
        (module_a, _, leaf_a), (module_b, _, leaf_b) = role_a.rpartition("."), role_b.rpartition(".")
        if leaf_a == leaf_b and found.setdefault(module_a, module_b) != module_b:
            found[module_a] = ""
    return {a: b for a, b in found.items() if b and a != b}


def pair_by_module(a: Iterable[str], b: Iterable[str], modules: Mapping[str, str]) -> dict[str, str]:
    """A's role to B's of what has the same last name in modules that are the same."""
    there = set(b)
    found = {}
    for role in a:
        module, _, leaf = role.rpartition(".")
        if (other := modules.get(module)) and f"{other}.{leaf}" in there:
            found[role] = f"{other}.{leaf}"
    return found


def n_of_same_shape(a: Iterable[Tensor], b: Iterable[Tensor]) -> int:
    """How many of A's tensors find one of B's with the same shape, each of B's once."""
    return (Counter(t.shape for t in a) & Counter(t.shape for t in b)).total()


def _probes(tensors: Mapping[str, Tensor]) -> dict[Probe, list[str]]:
    """Roles by what their tensors look like at three places."""
    found: dict[Probe, list[str]] = {}
    for role, t in tensors.items():
        n = t.span_bytes()
        size = min(n, _PROBE_BYTES)
        try:
            read = b"".join(t.file.read(t.offset + at, size) for at in sorted({0, (n - size) // 2, n - size}))
        except QinspectError:
            continue
        found.setdefault((t.dtype.name, t.shape, read), []).append(role)
    return found


def _proves(t: Tensor, probe: Probe) -> bool:
    """Whether equality says something: enough elements, not all alike where the probe looked."""
    width = max(1, t.dtype.bits // 8)
    cells = np.frombuffer(probe[2][: len(probe[2]) // width * width], f"V{width}")
    return t.n_elements >= LEAST_ELEMENTS and bool((cells != cells[:1]).any())


def _equal_ones(
    roles: list[str],
    others: list[str],
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    equality: Equality,
    tick: Callable[[int], None],
) -> dict[str, str]:
    found = {}
    free = list(others)
    for role in roles:
        for other in free:
            try:
                equal = equality.tensors(a[role], b[other], tick)
            except QinspectError:
                continue
            if equal:
                found[role] = other
                free.remove(other)
                break
    return found
