"""What is added to what a checkpoint says of itself: of one application, where scales come from and each that it
replaced. Where it is written: `inspector/provenance.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qinspect.inspector import __version__
from qinspect.inspector.apply.plan import Array, Plan, Replacement
from qinspect.inspector.apply.targets import Target


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the new scales come from, as JSON: what was asked, and of what run or checkpoint."""

    asked: Mapping[str, Any]
    of: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A weights file that was copied. sha256: of all its bytes, before anything was replaced."""

    name: str
    n_bytes: int
    sha256: str


def entry_of(plan: Plan, origin: Origin, files: Sequence[SourceFile]) -> dict[str, Any]:
    """What is added: where scales come from, of which files, and each that was replaced."""
    return {
        "qinspect": __version__,
        **origin.asked,
        **origin.of,
        "format": plan.fmt.description,
        "source": [{"file": f.name, "bytes": f.n_bytes, "sha256": f.sha256} for f in files],
        "replaced": [replaced(r) for r in plan.replacements],
        "unchanged": [t.role for t in plan.same],
    }


def replaced(r: Replacement) -> dict[str, Any]:
    """One scale, as JSON. entries: keys of what holds it or a product of it."""
    return {
        "point": r.target.role, "key": r.key, "rule": r.target.rule, "alpha": r.target.alpha,
        "was": _numbers(r.was), "now": _numbers(r.now), "entries": list(r.keys),
    }  # fmt: skip


def _numbers(values: Array) -> Any:
    """Numbers as JSON has them: one, or nested lists; null for what is not finite."""

    def checked(x: Any) -> Any:
        return [checked(y) for y in x] if isinstance(x, list) else x if math.isfinite(x) else None

    return checked(values.tolist())


def points_of(plan: Plan) -> dict[str, Target]:
    """What each point now has, by the key of its scale: those that were replaced, and those that had it already."""
    targets = {r.target.role: r.target for r in plan.replacements} | {t.role: t for t in plan.same}
    return {r.key: targets[r.role] for r in plan.fmt.scales() if r.role in targets}
