"""The percentile_alpha that a checkpoint is said to have: by its provenance, or by the name of a folder. A claim."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qinspect.inspector.checkpoint.json_file import read_json
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.formats import Format
from qinspect.inspector.roles import strip_root

SIDECAR, SIDECAR_SCHEMA = "applied.json", "qinspect.applied/1"
"""What `qinspect apply` writes beside a checkpoint whose own config has no room for it."""

_ALPHA_IN_NAME = re.compile(r"(?:^|[^a-z])pa[-_]?(0?\.\d+|0|1(?:\.0+)?)(?![\d.])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Declared:
    """text: the alpha as it is written. where: what says so, `directory name`, `provenance` or `applied.json`."""

    text: str
    where: str

    @property
    def value(self) -> float:
        """The number."""
        return float(self.text)


def provenance_of(fmt: Format) -> dict[str, Any]:
    """What a checkpoint of a calibration says of its making; {} for others."""
    found = fmt.checkpoint.config.get("provenance")
    return found if isinstance(found, dict) else {}


def effective_alphas(fmt: Format) -> dict[str, float]:
    """Of each point that an alpha reached, which, by the checkpoint's provenance."""
    effective = provenance_of(fmt).get("effective")
    alphas = effective.get("alpha") if isinstance(effective, dict) else None
    if not isinstance(alphas, dict):
        return {}
    return {str(k): float(v) for k, v in alphas.items() if _is_alpha(v)}


def _is_alpha(value: object) -> bool:
    """Whether a number of a config, which may be anything, is a share."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def claimed_alpha(path: Path) -> str | None:
    """The percentile_alpha that a directory name claims (`pa-0.9995`, `m1_w8a8_pa0.9995`), as written."""
    for part in reversed(path.absolute().parts):
        if found := _ALPHA_IN_NAME.search(part):
            return found[1]
    return None


def several_alphas(fmt: Format) -> Mapping[str, float]:
    """Of each point by role, which alpha reached it, by the checkpoint's provenance; {} unless there are several."""
    alphas = {strip_root(n): a for n, a in effective_alphas(fmt).items()}
    return alphas if len({*alphas.values()}) > 1 else {}


def several_said(alphas: Mapping[str, float]) -> str:
    """`3 alphas, 0.999 .. 1`."""
    values = {*alphas.values()}
    return f"{len(values)} alphas, {min(values):.9g} .. {max(values):.9g}"


def _applied_alphas(fmt: Format) -> dict[str, object] | None:
    """Of each point by role, the alpha that was applied last, by the file beside the checkpoint; None where there is
    none, or it is not what `apply` writes."""
    path = fmt.checkpoint.path
    try:
        content = read_json((path if path.is_dir() else path.parent) / SIDECAR)
        if content.get("schema") != SIDECAR_SCHEMA:
            return None
        return {str(r["point"]): r["alpha"] for entry in content["applied"] for r in entry["replaced"]}
    except (QinspectError, OSError, KeyError, TypeError):
        return None


def declared_alpha(fmt: Format) -> Declared | None:
    """What the checkpoint's own provenance says, where it names one alpha: that which reached its points, else that
    which was asked for. Else what a directory name claims. None where its points have several, or where their scales
    were replaced by those of a rule without alpha, or only some of them."""
    applied = _applied_alphas(fmt)
    if applied is not None:
        alphas_now = [applied.get(r.role) for r in fmt.scales() if r.alpha_sensitive]
        one = alphas_now[0] if alphas_now and all(a == alphas_now[0] for a in alphas_now) else None
        return Declared(repr(one), SIDECAR) if _is_alpha(one) else None
    if several_alphas(fmt) or (provenance_of(fmt).get("applied") and not effective_alphas(fmt)):
        return None
    requested = provenance_of(fmt).get("requested")
    alphas = requested.get("alphas") if isinstance(requested, dict) else None
    for found in ({*effective_alphas(fmt).values()}, alphas):
        if isinstance(found, set | list) and len(found) == 1 and _is_alpha(alpha := next(iter(found))):
            return Declared(repr(alpha), "provenance")
    claimed = claimed_alpha(fmt.checkpoint.path)
    return None if claimed is None else Declared(claimed, "directory name")
