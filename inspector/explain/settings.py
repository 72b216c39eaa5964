"""What two checkpoints are declared to have been made with: claims of a provenance, a config, the name of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qinspect.inspector.explain.reach import REACH, Reach
from qinspect.inspector.formats import Format
from qinspect.inspector.formats.own_layout import provenance_of
from qinspect.inspector.provenance import declared_alpha, several_alphas, several_said
from qinspect.inspector.text import brief, visible

ALPHA = "percentile_alpha"
_ALPHA_KEYS = ("alpha", "alphas")
_NOT_OF_SCALES = ("out", "per_sample")
"""Settings that say where a result goes, or how much of it is kept."""
_OWN = ("provenance", "quantization_config")
_DOTS = 4
"""How deep a config is looked into."""


@dataclass(frozen=True, slots=True)
class DeclaredSetting:
    """A setting of which A and B say, or are said to have, different values. a, b: as they are written, None where
    nothing is said. where: what says so. reach: which tensors it can reach, None where that is not known."""

    name: str
    a: str | None
    b: str | None
    where: str
    reach: Reach | None


def differing_settings(a: Format, b: Format) -> tuple[DeclaredSetting, ...]:
    """Those that are declared to differ, percentile_alpha first."""
    return (*_alpha(a, b), *_requested(a, b), *_config(a, b))


def _alpha(a: Format, b: Format) -> Iterator[DeclaredSetting]:
    of_a, of_b = declared_alpha(a), declared_alpha(b)
    several = several_alphas(a), several_alphas(b)
    if of_a is None and of_b is None and several[0] == several[1]:
        return
    if of_a is not None and of_b is not None and of_a.value == of_b.value:
        return
    made = [
        (d.text, d.where) if d else (several_said(s), "provenance") if s else None
        for d, s in zip((of_a, of_b), several, strict=True)
    ]
    places = {m[1]: None for m in made if m}
    texts = [m[0] if m else None for m in made]
    yield DeclaredSetting(ALPHA, texts[0], texts[1], " and ".join(places), REACH[ALPHA])


def _requested(a: Format, b: Format) -> Iterator[DeclaredSetting]:
    of_a, of_b = _asked(a), _asked(b)
    if of_a and of_b:
        yield from _differing(of_a, of_b, "provenance")


def _asked(fmt: Format) -> dict[str, Any]:
    """What the provenance says was asked for; the recipe and the device as they were in effect."""
    made = provenance_of(fmt.checkpoint.config)
    requested, effective = made.get("requested"), made.get("effective")
    if not isinstance(requested, dict):
        return {}
    asked = {str(k): v for k, v in requested.items() if k not in (*_ALPHA_KEYS, *_NOT_OF_SCALES)}
    if isinstance(effective, dict):
        asked |= {k: effective[k] for k in ("recipe", "device", "dtype", "model_sha256") if k in effective}
    return asked


def _config(a: Format, b: Format) -> Iterator[DeclaredSetting]:
    of_a, of_b = (_flat(f.checkpoint.config or {}) for f in (a, b))
    if of_a and of_b:
        yield from _differing(of_a, of_b, "config.json")


def _flat(config: Mapping[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if depth == 0 and key in _OWN:
            continue
        name = f"{prefix}{key}"
        if isinstance(value, dict) and depth < _DOTS:
            flat |= _flat(value, f"{name}.", depth + 1)
        else:
            flat[name] = value
    return flat


def _differing(a: Mapping[str, Any], b: Mapping[str, Any], where: str) -> Iterator[DeclaredSetting]:
    for name in sorted({*a, *b}):
        if a.get(name, ...) != b.get(name, ...):
            values = [_text(x[name]) if name in x else None for x in (a, b)]
            yield DeclaredSetting(name, values[0], values[1], where, REACH.get(name) if where == "provenance" else None)


def _text(value: object) -> str:
    if isinstance(value, str) and value:
        return visible(value, 60)
    if isinstance(value, list) and 0 < len(value) <= 4 and all(isinstance(v, str | int | float) for v in value):
        return ", ".join(_text(v) for v in value)
    return brief(value)
