"""What a checkpoint says of numbers that were measured: scales of its KV cache, the alpha of its calibration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qinspect.inspector.explain.claims import NAME_ROUNDING
from qinspect.inspector.finding import Severity
from qinspect.inspector.formats import Topic
from qinspect.inspector.lint.cache_scales import CacheScale
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.provenance import claimed_alpha, declared_alpha, several_alphas, several_said
from qinspect.inspector.rows import where
from qinspect.inspector.text import count, number, some, visible

_DEFAULT = 1.0
_RECIPE = "Look in the recipe whether the cache was calibrated or only cast."
_NOT_TOLD = "a scale of exactly 1.0 cannot be told from the default"


@rule(
    "D07", "cache-scale-default", Severity.WARNING, Needs.SCALARS, Needs.WHOLE,
    why="An engine takes 1.0 for a scale of the KV cache that it does not find, and says the same of a stored 1.0: "
    "what is beyond 448 is clipped, small values lose their bits, and no message tells in which layers.",
    threads=("vllm#11906", "Model-Optimizer#20", "sglang#18818", "sglang#31224"),
    next="Calibrate the scales of the cache, or serve it in 16 bits.",
)  # fmt: skip
def cache_scale_default(subject: Subject, limits: Limits) -> Checked:
    """The settings declare a quantized KV cache, and its scales are not stored, or are exactly 1.0."""
    said, cache = subject.fmt.declared_cache, subject.cache_scales
    one = [s for s in cache.each if s.value == _DEFAULT]
    found = []
    if said and not cache.stored and cache.without:
        found.append(_absent(said, cache.without, subject.fmt.says(Topic.CACHE)))
    if one and len(one) == len(cache.each):
        found.append(_all_default(one))
    elif one:
        others = sorted(s.value for s in cache.each if s.value is not None and s.value != _DEFAULT)
        span = f", the others {number(others[0])} to {number(others[-1])}" if others else ""
        text = (
            f"{count(len(one))} of {some(len(cache.each), 'scale')} of the KV cache {_are(one)} exactly 1.0{span}: "
            f"{_NOT_TOLD}, and a calibration does not give it."
        )
        found.append(Found(text, tuple(map(_place, one)), {"scales": len(one), "of": len(cache.each)}))
    return Checked(len(cache.each) or len(cache.without) * bool(said), "cache scale", tuple(found))


def _absent(said: str, layers: Sequence[str], meant: str) -> Found:
    """meant: why that is what the library means, a clause; "" where it is not."""
    text = (
        f"a KV cache in {said} is declared, and no scale of it is stored for {some(len(layers), 'layer')} of "
        f"attention, first {visible(layers[0], 120)}: an engine takes 1.0"
    )
    places, numbers = tuple(map(Place, layers)), {"layers": len(layers)}
    return Found(f"{text}; {meant}.", places, numbers, Severity.NOTE, _RECIPE) if meant else Found(
        f"{text}.", places, numbers
    )  # fmt: skip


def _all_default(scales: Sequence[CacheScale]) -> Found:
    which = "the only scale" if len(scales) == 1 else f"all {count(len(scales))} scales"
    text = (
        f"{which} of the KV cache {_are(scales)} exactly 1.0: {_NOT_TOLD}. Exporters that cast the cache without a "
        "calibration write it on purpose."
    )
    return Found(text, tuple(map(_place, scales)), {"scales": len(scales)}, Severity.NOTE, _RECIPE)


def _are(scales: Sequence[object]) -> str:
    return "is" if len(scales) == 1 else "are"


def _have(n: int) -> str:
    return "has" if n == 1 else "have"


def _place(scale: CacheScale) -> Place:
    return Place(scale.key, value=scale.value)


@rule(
    "D08", "cache-scales-partial", Severity.WARNING, Needs.SCALARS, Needs.WHOLE,
    why="A layer without a scale runs with 1.0 beside layers with calibrated ones. A value scale without a key scale "
    "stops an engine, a key scale alone is taken for both; a scale that is a vector is refused.",
    threads=("vllm#46264", "sglang#40243", "vllm#54705"),
    next="Export the scales of keys and values of every layer that has a cache.",
)  # fmt: skip
def cache_scales_partial(subject: Subject, limits: Limits) -> Checked:
    """Scales of the KV cache are there for some layers only, for one of keys and values, or in a form of their own."""
    cache = subject.cache_scales
    found: list[Found] = []
    if cache.stored and cache.without:
        n, lack = len(cache.stored) + len(cache.without), len(cache.without)
        text = (
            f"{count(lack)} of {some(n, 'layer')} of attention {_have(lack)} no scale of the KV cache, first "
            f"{visible(cache.without[0], 120)}."
        )
        found.append(Found(text, tuple(map(Place, cache.without)), {"layers": lack, "of": n}))
    found += _one_of_two(cache.stored)
    if odd := [s for s in cache.each if not s.known_form]:
        text = (
            f"{some(len(odd), 'scale')} of the KV cache {_are(odd)} neither one number nor one a head: "
            f"{visible(odd[0].key, 120)} is {list(odd[0].shape)}; expected [] or [heads, 1, 1]."
        )
        found.append(Found(text, tuple(Place(s.key, f"shape {list(s.shape)}") for s in odd), {"scales": len(odd)}))
    return Checked(len(cache.stored), "layer of attention", tuple(found))


def _one_of_two(stored: dict[str, dict[str, CacheScale]]) -> Iterator[Found]:
    for letter, what, lacks, then, severity in (
        ("v", "values", "keys", "vLLM and SGLang stop at it", Severity.ERROR),
        ("k", "keys", "values", "vLLM and SGLang take it for both", None),
    ):
        alone = [both[letter] for both in stored.values() if {*both} == {letter} and not _is_joint(both[letter])]
        if alone:
            text = (
                f"{some(len(alone), 'layer')} {_have(len(alone))} a scale of the cache of {what} and none of {lacks}, "
                f"first {visible(alone[0].key, 120)}: {then}."
            )
            yield Found(text, tuple(map(_place, alone)), {"layers": len(alone)}, severity)


def _is_joint(scale: CacheScale) -> bool:
    return scale.key.endswith("kv_scale")


@rule(
    "D09", "alphas-differ", Severity.WARNING, Needs.HEADERS,
    why="Two places name the percentile_alpha of one checkpoint: who compares checkpoints by their folders compares "
    "other settings than were used.",
    next="Rename the folder to what its provenance says; `qinspect whence --run RUN` solves for the alpha.",
)  # fmt: skip
def alphas_differ(subject: Subject, limits: Limits) -> Checked:
    """The name of the folder claims another percentile_alpha than the provenance of the checkpoint."""
    fmt = subject.fmt
    claimed, declared = claimed_alpha(fmt.checkpoint.path), declared_alpha(fmt)
    if claimed is None:
        return Checked(0, "claim")
    found: tuple[Found, ...] = ()
    if several := several_alphas(fmt):
        if not any(abs(a - float(claimed)) <= NAME_ROUNDING for a in several.values()):
            text = f"the folder claims percentile_alpha {claimed}, the provenance {several_said(several)}."
            found = (Found(text, (Place(str(fmt.checkpoint.path)),)),)
        return Checked(1, "claim", found)
    if declared is not None and declared.where != "directory name" and declared.value != float(claimed):
        rounded = abs(declared.value - float(claimed)) <= NAME_ROUNDING
        why = ": the name was rounded" if rounded else ""
        text = f"the folder claims percentile_alpha {claimed}, {declared.where} {declared.text}{why}."
        place = Place(str(fmt.checkpoint.path))
        found = (Found(text, (place,), {}, Severity.NOTE if rounded else None),)
    return Checked(1, "claim", found)


@rule(
    "D10", "alpha-not-said", Severity.NOTE, Needs.HEADERS,
    why="Scales that a percentile made are only comparable to others by which percentile it was; a file that does not "
    "say it can be told from no other.",
    threads=("llama.cpp#6656",),
    next="Note the settings beside the checkpoint; `qinspect whence --run RUN` solves for the alpha.",
)  # fmt: skip
def alpha_not_said(subject: Subject, limits: Limits) -> Checked:
    """Scales that percentile_alpha makes are in the file, and nothing says which alpha it was."""
    fmt = subject.fmt
    made = where(fmt.scales(), lambda r: r.alpha_sensitive)
    found: tuple[Found, ...] = ()
    if made and declared_alpha(fmt) is None and not several_alphas(fmt):
        text = (
            f"nothing says which percentile_alpha made {some(len(made), 'scale')}, first {visible(made[0].role, 120)}."
        )
        found = (Found(text, tuple(Place(r.role) for r in made), {"scales": len(made)}),)
    return Checked(len(made), "scale", found)


RULES = (cache_scale_default, cache_scales_partial, alphas_differ, alpha_not_said)
