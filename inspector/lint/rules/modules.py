"""Modules that are not understood, or not there: what no rule about single tensors sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from qinspect.inspector.finding import Severity
from qinspect.inspector.formats import Refusal
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule, said_of
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.roles import common_spelling, numberless, place_in_stack
from qinspect.inspector.siblings import GATE_UP
from qinspect.inspector.text import are, count, dims, have, some


@rule(
    "H09", "not-understood", Severity.ERROR, Needs.HEADERS, Needs.WHOLE,
    why="Settings and tensors are both there, and do not go together in any module: an entry that all need was renamed "
    "or left out, or the settings are of another model. An engine that knows the format refuses it, or fills in what "
    "it does not find.",
    threads=("vllm#54623", "sglang#23625"),
    next="Hold the entry named here against the names that the library writes; save the checkpoint again where it is "
    "gone. If the library is newer than this release of qinspect, it may store modules in a way that is not known yet.",
)  # fmt: skip
def not_understood(subject: Subject, limits: Limits) -> Checked:
    """Settings or names say which library wrote a checkpoint, and none of its modules is as that library stores it; or
    some hold codes of another format than the rest."""
    others = subject.loose.of_another_format
    refusals = () if subject.by_tensors_alone else subject.fmt.refusals
    found = [_refused(subject, r) for r in refusals]
    n = len(refusals) or (len(subject.fmt.weights()) + len(subject.fmt.problems()) + len(others))
    if others:
        hold = "holds" if len(others) == 1 else "hold"
        text = f"{some(len(others), 'module')} of {count(n)} {hold} codes of another format than the rest"
        places = tuple(Place(t.name, f"{t.dtype.name} {dims(t.shape)}") for t in others)
        found.append(Found(text, places, {"modules": len(others), "of": n}, Severity.WARNING, _TWO_FORMATS))
    return Checked(n, "quantized module", tuple(found))


_TWO_FORMATS = (
    "Look whether tensors of two models were put into one; a model that is meant to have both formats is not read "
    "whole by this release."
)


def _refused(subject: Subject, refusal: Refusal) -> Found:
    """Only a warning where nothing but names of entries speaks for the family: then it may be another."""
    settings, error = declared(subject.fmt.checkpoint), refusal.error
    who = f"{settings.where} says" if settings else "by the names of its entries it is"
    where = f"{error.key}: " if error.key else ""
    text = f"{who} {refusal.family}, and no module is as that library stores it, first {where}{said_of(error)}."
    places = (Place(error.key),) if error.key else ()
    return Found(text, places, severity=None if settings else Severity.WARNING)


@rule(
    "H10", "missing-module", Severity.ERROR, Needs.HEADERS, Needs.WHOLE,
    why="A layer, an expert or one half of a gated unit is gone with all of its tensors, so that no scale without "
    "codes tells of it. A loader leaves it as it was initialised, or refuses the model. Models whose search left "
    "layers empty are the exception.",
    next="Look for the modules in the original upload, and in what wrote this checkpoint: a filter by names, an expert "
    "that was on another rank.",
)  # fmt: skip
def missing_module(subject: Subject, limits: Limits) -> Checked:
    """Layers or experts are missing by the numbers of the others or of the config, or a gate without its projection."""
    if not subject.quantized:
        return Checked(0, "module")
    modules = _modules(subject)
    found = (*_layers(subject, modules), *_experts(subject), *_halves(modules))
    return Checked(len(modules), "module", tuple(found))


def _modules(subject: Subject) -> dict[str, str]:
    """Of all entries the module by its role, in the words of most libraries; to it by its name in the file."""
    names = list(dict.fromkeys(name.rpartition(".")[0] for name in subject.fmt.checkpoint.entries))
    roles = subject.fmt.roles_of([f"{name}." for name in names])
    return {common_spelling(role)[:-1]: name for role, name in zip(roles, names, strict=True) if name}


def _said(subject: Subject, *names: str) -> tuple[str, int]:
    """What config.json, or the part of it that is about text, says of a number under one of these names: name and
    number; 0 where it says nothing."""
    config = subject.fmt.checkpoint.config
    inner = config.get("text_config")
    told = ((name, c.get(name)) for c in (config, inner if isinstance(inner, dict) else {}) for name in names)
    return next(((name, n) for name, n in told if type(n) is int and 0 < n < _MOST), ("", 0))


_MOST = 10_000
"""Layers of a model, and experts of a layer: what is more is no number of any."""


def _by(name: str, said: int, seen: int) -> str:
    return f"config.json says {name} {said}" if said > seen else "by the numbers of the others"


def _layers(subject: Subject, modules: Iterable[str]) -> Iterator[Found]:
    """Of the stack that `num_hidden_layers` is about. A warning: a layer may be empty on purpose."""
    places = (place_in_stack(f"{module}.weight") for module in modules)
    there = {layer for stack, layer, _ in places if stack == "layers" and layer is not None}
    if not there or max(there) >= _MOST:
        return
    name, said = _said(subject, "num_hidden_layers")
    n = max(said, max(there) + 1)
    missing = [layer for layer in range(n) if layer not in there]
    if missing:
        by = _by(name, said, max(there) + 1)
        text = f"{some(len(missing), 'layer')} of {count(n)} {have(len(missing))} no tensor: {by}"
        found = tuple(Place(f"layers.{layer}", "no tensor") for layer in missing)
        yield Found(text, found, {"layers": len(missing), "of": n}, Severity.WARNING)


def _experts(subject: Subject) -> Iterator[Found]:
    """Those that are missing between others, or at the end by the config or the other layers."""
    layers = [layer for layer in subject.experts.layers if layer.numbers and layer.numbers[-1] < _MOST]
    seen = max((layer.numbers[-1] + 1 for layer in layers), default=0)
    name, said = _said(subject, "num_experts", "n_routed_experts", "num_local_experts")
    most = max(said, seen)
    missing = [(layer.layer, n) for layer in layers for n in sorted({*range(most)}.difference(layer.numbers))]
    if missing:
        n = most * len(layers)
        text = f"{some(len(missing), 'expert')} of {count(n)} {have(len(missing))} no tensor: {_by(name, said, seen)}"
        places = tuple(Place(f"{layer}.experts.{number}", "no tensor") for layer, number in missing)
        yield Found(text, places, {"experts": len(missing), "of": n})


def _halves(modules: Mapping[str, str]) -> Iterator[Found]:
    """A gate without what it is multiplied with, or that without its gate, where others of the kind have both."""
    pairs = {module.removesuffix(last) for module in modules for last in _HALVES if module.endswith(last)}
    there = {pair: [last for last in _HALVES if f"{pair}{last}" in modules] for pair in pairs}
    whole = {numberless(pair) for pair, lasts in there.items() if len(lasts) == len(_HALVES)}
    alone = sorted(p for p, lasts in there.items() if len(lasts) < len(_HALVES) and numberless(p) in whole)
    if alone:
        n = len(_HALVES) * sum(numberless(pair) in whole for pair in pairs)
        text = (
            f"{some(len(alone), 'projection')} of {count(n)} {are(len(alone))} missing beside the other half of a pair"
        )
        places = []
        for pair in alone:
            (last,) = there[pair]
            other = next(o for o in _HALVES if o != last)
            places.append(Place(f"{pair}{other}", f"{modules[f'{pair}{last}']} is there"))
        yield Found(text, tuple(places), {"projections": len(alone), "of": n})


_HALVES = tuple(f".{name}" for name in GATE_UP)


RULES = (not_understood, missing_module)
