"""What a checkpoint says of itself after its scales were replaced: an entry is added, nothing that it said is lost.

qinspect's own checkpoints keep it under `provenance.applied`, in config.json and in the metadata of each file, beside
the rule and alpha that each point now has. Quamba's loader takes no unknown key in config.json and its file has no room
for one, so there it is a file of its own, `applied.json`. No time is written: the same input gives the same bytes.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from qinspect.inspector import __version__
from qinspect.inspector.apply.plan import Array, Plan, Replacement
from qinspect.inspector.checkpoint.json_file import read_json
from qinspect.inspector.errors import BrokenFile, CannotApply
from qinspect.inspector.formats.own_layout import METADATA_KEY, QUANT_METHOD
from qinspect.inspector.noise.declared import SIDECAR_SCHEMA
from qinspect.inspector.roles import strip_root

T = TypeVar("T")


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


def updated(described: Mapping[str, Any], plan: Plan, entry: Mapping[str, Any]) -> dict[str, Any]:
    """`quantization_config` and `provenance` of qinspect's own, with what the points now have. Other keys stay."""
    made: dict[str, Any] = copy.deepcopy(dict(described))
    targets = {r.target.role: r.target for r in plan.replacements} | {t.role: t for t in plan.same}
    keys = {r.key: targets[r.role] for r in plan.fmt.scales() if r.role in targets}
    for point in made["quantization_config"]["activations"]["points"]:
        if target := keys.get(point["key"]):
            point["rule"], point["alpha_reached"] = target.rule, target.reached
    provenance = made.setdefault("provenance", {})
    if not isinstance(provenance, dict):
        provenance = made["provenance"] = {"before": provenance}
    effective = provenance.get("effective")
    alphas = effective.get("alpha") if isinstance(effective, dict) else None
    if isinstance(alphas, dict):
        alphas.update((n, targets[role].alpha) for n in alphas if (role := strip_root(n)) in targets)
    before = provenance.get("applied")
    provenance["applied"] = [*(before if isinstance(before, list) else []), dict(entry)]
    return made


def config_bytes(path: Path, plan: Plan, entry: Mapping[str, Any]) -> bytes | None:
    """config.json with the entry; None where it says nothing of the quantization. Raises BrokenFile, and CannotApply
    where its description cannot be kept true."""
    if not path.is_file():
        return None
    content = read_json(path)
    settings = content.get("quantization_config")
    if not isinstance(settings, dict) or settings.get("quant_method") != QUANT_METHOD:
        return None
    return _kept_true(path, None, lambda: json_bytes(updated(content, plan, entry)))


def _kept_true(path: Path, key: str | None, make: Callable[[], T]) -> T:
    """What is made of a description. Raises CannotApply where that is of another form, or nested too deeply."""
    try:
        return make()
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as e:
        raise CannotApply(
            "does not describe the checkpoint as this version does, and cannot be kept true", file=path, key=key,
            expected="the settings that a calibration writes",
        ) from e  # fmt: skip


def updated_metadata(metadata: Mapping[str, str], plan: Plan, entry: Mapping[str, Any]) -> dict[str, str]:
    """The metadata of a safetensors file, with the entry where it describes itself. Raises CannotApply where that is
    not as config.json is."""
    if METADATA_KEY not in metadata:
        return dict(metadata)

    def made() -> str:
        described = updated(json.loads(metadata[METADATA_KEY]), plan, entry)
        return json.dumps(described, sort_keys=True, separators=(",", ":"))

    return {**metadata, METADATA_KEY: _kept_true(plan.fmt.checkpoint.path, METADATA_KEY, made)}


def sidecar_bytes(path: Path, entry: Mapping[str, Any]) -> bytes:
    """`applied.json` with one entry more than the file at `path`, if it is there. Raises as `config_bytes`."""
    before: list[Any] = []
    if path.is_file():
        content = read_json(path)
        if content.get("schema") != SIDECAR_SCHEMA or not isinstance(content.get("applied"), list):
            raise BrokenFile(
                "is not as this version writes it", file=path, key="schema", expected=SIDECAR_SCHEMA,
                cure="Remove it, if it is of another program.",
            )  # fmt: skip
        before = content["applied"]
    return _kept_true(path, None, lambda: json_bytes({"schema": SIDECAR_SCHEMA, "applied": [*before, entry]}))


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """As a calibration writes config.json."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
