"""Who made a checkpoint, and how: what it says of itself, what the name of its folder claims, what is written of it.

A calibration writes a `Provenance`: under `provenance` in config.json, and once more in the metadata of each file. Who
replaces scales adds an entry to `provenance.applied` and makes what is said of the points true again; a checkpoint
whose own config has no room for it gets a file of its own, `applied.json`. All of it is read back as a claim: it may be
anything, for anybody can write it, and what is not as it should be says nothing.

Quamba's loader takes no unknown key in config.json and its file has no room for one: that is why there is a file beside
it. No time is written: the same input gives the same bytes.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from qinspect.inspector.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.json_file import read_json
from qinspect.inspector.errors import BrokenFile, CannotApply, QinspectError
from qinspect.inspector.formats import Format
from qinspect.inspector.formats.own_layout import (
    METADATA_KEY,
    PROVENANCE,
    QUANT_METHOD,
    effective_of,
    provenance_of,
)
from qinspect.inspector.roles import strip_root

SIDECAR, SIDECAR_SCHEMA = "applied.json", "qinspect.applied/1"
"""What `qinspect apply` writes beside a checkpoint whose own config has no room for it."""

_ALPHA_IN_NAME = re.compile(r"(?:^|[^a-z])pa[-_]?(0?\.\d+|0|1(?:\.0+)?)(?![\d.])", re.IGNORECASE)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a checkpoint comes from, as JSON. requested, effective: settings as asked for, and as they took effect.
    data: `Samples.describe()`. versions: of what took part, by name. None of them may hold a time."""

    requested: Mapping[str, Any]
    effective: Mapping[str, Any]
    data: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Declared:
    """text: the alpha as it is written. where: what says so, `directory name`, `provenance` or `applied.json`."""

    text: str
    where: str

    @property
    def value(self) -> float:
        """The number."""
        return float(self.text)


def model_sha256(checkpoint: Checkpoint) -> str | None:
    """Of the weights that a checkpoint was made from; None where it does not say."""
    found = effective_of(checkpoint.config).get("model_sha256")
    return found if isinstance(found, str) else None


def effective_alphas(fmt: Format) -> dict[str, float]:
    """Of each point that an alpha reached, which, by the checkpoint's provenance."""
    alphas = effective_of(fmt.checkpoint.config).get("alpha")
    if not isinstance(alphas, dict):
        return {}
    return {str(k): float(v) for k, v in alphas.items() if _is_alpha(v)}


def effective_alpha(fmt: Format, role: str) -> float | None:
    """The alpha that reached one point, by the checkpoint's provenance; None where it does not say."""
    return next((alpha for name, alpha in effective_alphas(fmt).items() if strip_root(name) == role), None)


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
    if several_alphas(fmt) or (provenance_of(fmt.checkpoint.config).get("applied") and not effective_alphas(fmt)):
        return None
    requested = provenance_of(fmt.checkpoint.config).get("requested")
    alphas = requested.get("alphas") if isinstance(requested, dict) else None
    for found in ({*effective_alphas(fmt).values()}, alphas):
        if isinstance(found, set | list) and len(found) == 1 and _is_alpha(alpha := next(iter(found))):
            return Declared(repr(alpha), "provenance")
    claimed = claimed_alpha(fmt.checkpoint.path)
    return None if claimed is None else Declared(claimed, "directory name")


class Said(Protocol):
    """What is to be said of a point. reached: whether an alpha has a part in its scale."""

    @property
    def role(self) -> str: ...  # noqa: D102

    @property
    def rule(self) -> str: ...  # noqa: D102

    @property
    def alpha(self) -> float | None: ...  # noqa: D102

    @property
    def reached(self) -> bool | None: ...  # noqa: D102


def updated(described: Mapping[str, Any], points: Mapping[str, Said], entry: Mapping[str, Any]) -> dict[str, Any]:
    """`quantization_config` and `provenance` of qinspect's own, with what the points now have, by key. Other keys
    stay."""
    made: dict[str, Any] = copy.deepcopy(dict(described))
    by_role = {p.role: p for p in points.values()}
    for point in made["quantization_config"]["activations"]["points"]:
        if now := points.get(point["key"]):
            point["rule"], point["alpha_reached"] = now.rule, now.reached
    provenance = made.setdefault(PROVENANCE, {})
    if not isinstance(provenance, dict):
        provenance = made[PROVENANCE] = {"before": provenance}
    effective = provenance.get("effective")
    alphas = effective.get("alpha") if isinstance(effective, dict) else None
    if isinstance(alphas, dict):
        alphas.update((n, by_role[role].alpha) for n in alphas if (role := strip_root(n)) in by_role)
    before = provenance.get("applied")
    provenance["applied"] = [*(before if isinstance(before, list) else []), dict(entry)]
    return made


def config_bytes(path: Path, points: Mapping[str, Said], entry: Mapping[str, Any]) -> bytes | None:
    """config.json with the entry; None where it says nothing of the quantization. Raises BrokenFile, and CannotApply
    where its description cannot be kept true."""
    if not path.is_file():
        return None
    content = read_json(path)
    settings = content.get("quantization_config")
    if not isinstance(settings, dict) or settings.get("quant_method") != QUANT_METHOD:
        return None
    return _kept_true(path, None, lambda: json_bytes(updated(content, points, entry)))


def _kept_true(path: Path, key: str | None, make: Callable[[], T]) -> T:
    """What is made of a description. Raises CannotApply where that is of another form, or nested too deeply."""
    try:
        return make()
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as e:
        raise CannotApply(
            "does not describe the checkpoint as this version does, so it cannot be kept true", file=path, key=key,
            expected="the settings that a calibration writes",
        ) from e  # fmt: skip


def updated_metadata(
    path: Path, metadata: Mapping[str, str], points: Mapping[str, Said], entry: Mapping[str, Any]
) -> dict[str, str]:
    """The metadata of the safetensors files of `path`, with the entry where it describes itself. Raises CannotApply
    where that is not as config.json is."""
    if METADATA_KEY not in metadata:
        return dict(metadata)

    def made() -> str:
        described = updated(json.loads(metadata[METADATA_KEY]), points, entry)
        return json.dumps(described, sort_keys=True, separators=(",", ":"))

    return {**metadata, METADATA_KEY: _kept_true(path, METADATA_KEY, made)}


def sidecar_bytes(path: Path, entry: Mapping[str, Any]) -> bytes:
    """`applied.json` with one entry more than the file at `path`, if it is there. Raises as `config_bytes`."""
    before: list[Any] = []
    if path.is_file():
        content = read_json(path)
        if content.get("schema") != SIDECAR_SCHEMA or not isinstance(content.get("applied"), list):
            raise BrokenFile(
                "is not as this version writes it", file=path, key="schema", expected=SIDECAR_SCHEMA,
                cure="Remove it if another program wrote it.",
            )  # fmt: skip
        before = content["applied"]
    return _kept_true(path, None, lambda: json_bytes({"schema": SIDECAR_SCHEMA, "applied": [*before, entry]}))


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """As a calibration writes config.json."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
