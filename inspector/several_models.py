"""Several models in one file: which they are, by the names that diffusion tools put in front of their entries.

Stable Diffusion's own code saves U-Net, VAE and text encoder under `model.diffusion_model`, `first_stage_model` and
`cond_stage_model` (`conditioner.embedders.N` from SDXL on); ComfyUI and SD3 have `text_encoders.NAME` and `vae`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from qinspect.inspector.roles import strip_root
from qinspect.inspector.text import some, visible

_PREFIXES = {
    "model.diffusion_model": "the diffusion model", "first_stage_model": "the VAE", "vae": "the VAE",
    "cond_stage_model": "the text encoder", "control_model": "a ControlNet",
    "model_ema": "a moving average of the diffusion model",
}  # fmt: skip
_NUMBERED = {"conditioner.embedders": "text encoder", "text_encoders": "text encoder"}
"""Of several, each under a name of its own."""
_MOST_ENTRIES = 20_000
"""A diffusion model with all its text encoders has some thousands; of more the time is not taken."""
_HEADS = {prefix.partition(".")[0] for prefix in (*_PREFIXES, *_NUMBERED)}


@dataclass(frozen=True, slots=True)
class ModelInside:
    """One of several models of a file. prefix: of its entries, without the dot. said: what it is."""

    prefix: str
    said: str
    n_entries: int


def models_in(names: Collection[str]) -> tuple[ModelInside, ...]:
    """The models of a file, in its order; () where the names do not speak of two or more."""
    if len(names) > _MOST_ENTRIES:
        return ()
    heads = {name.partition(".")[0] for name in names}
    if len(_HEADS & heads) < 2:  # of nearly all models: the rest need not be looked at
        return ()
    counts: Counter[tuple[str, str]] = Counter()
    for name in names:
        if name.partition(".")[0] in _HEADS and (found := _of(name)):
            counts[found] += 1
    if len(counts) < 2:
        return ()
    return tuple(ModelInside(prefix, said, n) for (prefix, said), n in counts.items())


def _of(name: str) -> tuple[str, str] | None:
    parts = name.split(".", 3)
    for n in (1, 2):
        prefix = ".".join(parts[:n])
        if len(parts) > n and prefix in _PREFIXES:
            return prefix, _PREFIXES[prefix]
        if len(parts) > n + 1 and prefix in _NUMBERED:
            return f"{prefix}.{parts[n]}", f"{_NUMBERED[prefix]} {parts[n]}"
    return None


def said_of(models: Iterable[ModelInside]) -> str:
    """`3 models in one file: the diffusion model (model.diffusion_model, 686 entries), the VAE (...), ...`."""
    models = tuple(models)
    each = ", ".join(
        f"{visible(m.said, 60)} ({visible(m.prefix, 60)}, {some(m.n_entries, 'entry', 'entries')})" for m in models[:8]
    )
    return f"{len(models)} models in one file: {each}{', ...' if len(models) > 8 else ''}"


def place_in_file(name: str, prefixes: frozenset[str]) -> str:
    """Where an entry stands in a tree of the file: below its model, `diffusion_model`, `text_encoders.clip_l`. What is
    in none of the models loses the words of savers."""
    parts = name.split(".", 2)
    for n in (1, 2):
        if ".".join(parts[:n]) in prefixes:
            return name.removeprefix("model.")
    return strip_root(name)
