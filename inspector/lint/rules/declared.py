"""What a config says of tensors, against the tensors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set

from qinspect.inspector.finding import Severity
from qinspect.inspector.formats import Format
from qinspect.inspector.formats import declared as settings
from qinspect.inspector.formats.bits import bits_of_quantized
from qinspect.inspector.formats.said import NamedModules
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.text import are, count, some, visible

_THEIR_OWN = "Take the config that was saved with these tensors."
_HEADS = ("lm_head", "output", "embed_out")
"""Output layers, which a model that ties them to its embedding does not store."""


@rule(
    "D01", "settings-contradict", Severity.ERROR, Needs.HEADERS,
    why="An engine makes its layers by the settings and fills them from the tensors: where bits, groups or blocks "
    "differ it refuses the model, or reads codes as what they are not.",
    threads=("auto-round#1283", "sglang#36596", "sglang#39317", "Model-Optimizer#2427"),
    next="Take the config that was saved with these tensors, or correct what it says of the modules that are listed.",
)  # fmt: skip
def settings_contradict(subject: Subject, limits: Limits) -> Checked:
    """Settings say of modules that they are quantized in one way, and their tensors are quantized in another."""
    found = list(_of_another_model(subject))
    for c in subject.fmt.contradictions():
        if c.modules and all(subject.fmt.says_quantized(m) is False for m in c.modules):
            continue  # they are left out, which another rule says
        said, stored = visible(c.said, 120), visible(c.found, 120)
        of = f"{some(len(c.modules), 'module')}" if c.modules else "all modules"
        first = f", first {visible(c.modules[0], 120)}" if len(c.modules) > 1 else ""
        what = f"stored: {stored}" if c.modules else f"it is {stored}"
        places = tuple(Place(m, f"said {said}, stored {stored}") for m in c.modules)
        found.append(Found(f"{c.where} says {said} of {of}{first}; {what}.", places, {"modules": len(c.modules)}))
    n = len(found) if subject.by_tensors_alone else len(subject.quantized) if _has_settings(subject) else 0
    return Checked(n, "quantized module", tuple(found))


def _of_another_model(subject: Subject) -> Iterator[Found]:
    """Settings with which nothing is understood, and without which all is."""
    alone = subject.by_tensors_alone
    if alone is not None:
        said = settings.declared(subject.fmt.checkpoint)
        text = (
            f"{said.where} says quant_method {said.method}, by which no module can be read; without it the tensors are "
            f"{alone.description} ({some(len(alone.weights()), 'weight')})."
        )
        yield Found(text, (), {"weights": len(alone.weights())}, next=_THEIR_OWN)


def _has_settings(subject: Subject) -> bool:
    fmt = subject.fmt
    return bool(fmt.declared_bits or fmt.contradictions() or subject.named)


@rule(
    "D02", "name-without-module", Severity.WARNING, Needs.HEADERS, Needs.WHOLE,
    why="A name in the settings that no module has does nothing, and no library says so: what it was meant to leave "
    "out is taken for quantized, what it was meant to quantize for plain.",
    threads=("compressed-tensors#866", "InvokeAI#9478"),
    next="Correct the names to those that the tensors have, or remove them.",
)  # fmt: skip
def name_without_module(subject: Subject, limits: Limits) -> Checked:
    """An entry of the settings that names modules (what is ignored, targeted, or has an algorithm) is for none."""
    named = subject.named
    mistaken = [n for n in named if n.mistake]
    idle = [n for n in named if not n.modules and not n.mistake and not _is_tied_head(subject, n)]
    certain = [n for n in idle if not _is_general(n)]
    general = [n for n in idle if _is_general(n)]
    found = [
        *_mistaken(mistaken, len(named), {*subject.quantized}),
        *_idle(certain, len(named), Severity.WARNING),
        *_idle(general, len(named), Severity.NOTE),
    ]
    return Checked(len(named), "name", tuple(found))


def _is_general(n: NamedModules) -> bool:
    """Whether an entry may be meant for other models too: a pattern, or a single word, that leaves something out."""
    return n.left_out and (n.pattern or "." not in n.entry)


def _is_tied_head(subject: Subject, n: NamedModules) -> bool:
    config = subject.fmt.checkpoint.config
    inner = config.get("text_config")
    tied = [c.get("tie_word_embeddings") for c in (config, inner if isinstance(inner, dict) else {})]
    return True in tied and n.left_out and n.entry.rpartition(".")[2].removeprefix("re:.*") in _HEADS


def _mistaken(names: Sequence[NamedModules], n: int, quantized: set[str]) -> Iterator[Found]:
    by_mistake: dict[tuple[str, str, bool], list[NamedModules]] = {}
    for one in names:
        by_mistake.setdefault((one.mistake, one.where, one.left_out), []).append(one)
    for (mistake, where, left_out), ones in by_mistake.items():
        meant = len({m for one in ones for m in one.meant if left_out or m in quantized})
        outcome = "quantized, and misses their scales" if left_out else "plain, and has no place for their scales"
        yield Found(
            f"{some(len(ones), 'name')} of {where} {are(len(ones))} for no module: {mistake}. A "
            f"loader that looks for whole names takes {some(meant, 'module')} for {outcome}.",
            tuple(Place(one.entry, _meant(one), weight=len(one.meant)) for one in ones),
            {"names": len(ones), "of": n, "modules": meant},
            Severity.ERROR,
        )


def _meant(one: NamedModules) -> str:
    return f"meant {visible(one.meant[0], 120)}" if one.meant else ""


def _idle(names: Sequence[NamedModules], n: int, severity: Severity) -> Iterator[Found]:
    by_place: dict[str, list[NamedModules]] = {}
    for one in names:
        by_place.setdefault(one.where, []).append(one)
    for where, ones in by_place.items():
        first = visible(ones[0].entry, 120)
        text = (
            f"{first} of {where} is for no module" if len(ones) == 1
            else f"{count(len(ones))} names of {where} are for no module, first {first}"
        )  # fmt: skip
        yield Found(f"{text}.", tuple(Place(one.entry) for one in ones), {"names": len(ones), "of": n}, severity)


@rule(
    "D03", "quantized-though-left-out", Severity.ERROR, Needs.HEADERS,
    why="An engine makes a plain layer of what the settings leave out: the scales in the file have no parameter, and "
    "the codes are taken for weights, or the model is refused.",
    threads=("compressed-tensors#712",),
    next="Remove the entries from the settings if the modules are meant to be quantized, else save them as they were.",
)  # fmt: skip
def quantized_though_left_out(subject: Subject, limits: Limits) -> Checked:
    """Modules hold codes that the settings leave out, or that no target names."""
    says = [(m, subject.fmt.says_quantized(m)) for m in subject.quantized]
    wrong = [m for m, said in says if said is False]
    by = _entry_of(subject.named, wrong)
    found: tuple[Found, ...] = ()
    n = sum(said is not None for _, said in says)
    if wrong:
        first = wrong[0]
        how = f"by {by[first]}" if first in by else "for no entry is for it"
        text = (
            f"{count(len(wrong))} of {some(n, 'quantized module')} {are(len(wrong))} not quantized by the settings, "
            f"first {visible(first, 120)} ({how})."
        )
        found = (Found(text, tuple(Place(m, by.get(m, "no entry is for it")) for m in wrong), {"modules": len(wrong)}),)
    return Checked(n, "quantized module", found)


def _entry_of(named: Iterable[NamedModules], modules: Sequence[str]) -> dict[str, str]:
    """By module, the first entry that leaves it out."""
    wanted, found = {*modules}, dict[str, str]()
    for n in named if wanted else ():
        if n.left_out:
            for m in wanted.intersection(n.modules):
                found.setdefault(m, f"{visible(n.entry, 80)} in {n.where}")
    return found


@rule(
    "D04", "plain-though-targeted", Severity.ERROR, Needs.HEADERS, Needs.WHOLE,
    why="An engine makes a quantized layer of what the settings do not leave out, and finds no scale for it: it stops, "
    "or runs on whatever was in memory.",
    next="Add the modules to what is left out, or quantize them.",
)  # fmt: skip
def plain_though_targeted(subject: Subject, limits: Limits) -> Checked:
    """Modules are in full precision that the settings say are quantized, and others of their name are."""
    fmt = subject.fmt
    called = {m.rpartition(".")[2] for m in subject.quantized}
    own = {m for n in subject.named if not n.left_out and not n.pattern for m in n.modules}
    alike = [m for m in subject.plain_linears if m.rpartition(".")[2] in called or m in own]
    says = [(m, fmt.says_quantized(m)) for m in alike]
    wrong = [m for m, said in says if said]
    found: tuple[Found, ...] = ()
    if wrong:
        text = (
            f"{some(len(wrong), 'module')} {are(len(wrong))} in full precision, though the settings "
            f"do not leave {'it' if len(wrong) == 1 else 'them'} out, first {visible(wrong[0], 120)}; "
            f"{some(len(subject.quantized), 'other')} {are(len(subject.quantized))} quantized."
        )
        found = (Found(text, tuple(map(Place, wrong)), {"modules": len(wrong)}),)
    n = sum(said is not None for _, said in says) + len(subject.quantized) * (bool(subject.named) or bool(wrong))
    return Checked(n, "module", found)


@rule(
    "D11", "router-not-named", Severity.WARNING, Needs.HEADERS, Needs.WHOLE,
    why="Engines make a plain layer of the routers of the models that they know. One that makes its layers by the "
    "settings makes a quantized router, and finds no scale for it. The release notes of one exporter say of two "
    "releases that it wrote such settings before.",
    next="Add the routers to what is left out.",
)  # fmt: skip
def router_not_named(subject: Subject, limits: Limits) -> Checked:
    """Routers are in full precision, and the settings, which leave out other modules by name, do not leave them out."""
    fmt = subject.fmt
    if not any(n.left_out for n in subject.named):
        return Checked(0, "router")
    routers = [m for m in subject.plain_linears if _routes(m, subject.holders_of_experts)]
    wrong = [m for m in routers if fmt.says_quantized(m)]
    found: tuple[Found, ...] = ()
    if wrong:
        text = (
            f"{count(len(wrong))} of {some(len(routers), 'router')} {are(len(wrong))} in full precision, and no entry "
            f"of the settings leaves {'it' if len(wrong) == 1 else 'them'} out, first {visible(wrong[0], 120)}."
        )
        found = (Found(text, tuple(map(Place, wrong)), {"routers": len(wrong), "of": len(routers)}),)
    return Checked(len(routers), "router", found)


_ROUTERS = ("gate", "router")


def _routes(module: str, holders: Set[str]) -> bool:
    """Whether a module stands beside experts and has the name of what chooses among them."""
    parent, _, name = module.rpartition(".")
    return name in _ROUTERS and parent in holders


@rule(
    "D05", "name-for-too-many", Severity.WARNING, Needs.HEADERS,
    why="An engine that takes a name for any part of a longer one leaves out modules that are quantized: `layers.1` is "
    "a part of `layers.10` to `layers.19`. Their scales then belong to no parameter, and the model is refused.",
    next="Write the names so that they are a part of no other, with the dot behind them: `model.layers.1.*`.",
)  # fmt: skip
def name_for_too_many(subject: Subject, limits: Limits) -> Checked:
    """An entry that leaves modules out is taken by an engine for quantized modules that it is not for."""
    quantized = {*subject.quantized}
    caught = ((n, [m for m in n.taken_for if m in quantized]) for n in subject.named)
    found = tuple(_too_many(n, modules) for n, modules in caught if modules)
    return Checked(sum(n.left_out for n in subject.named) if quantized else 0, "name", found)


def _too_many(n: NamedModules, caught: Sequence[str]) -> Found:
    entry, them = visible(n.entry, 80), "it" if len(n.modules) == 1 else "them"
    text = (
        f"{entry} in {n.where} leaves out {some(len(n.modules), 'module')}; {n.taken_by} leaves out "
        f"{some(len(caught), 'quantized module')} with {them}, first {visible(caught[0], 120)}."
    )
    return Found(text, tuple(Place(m, f"by {entry}") for m in caught), {"modules": len(caught)})


@rule(
    "D06", "effective-bits", Severity.NOTE, Needs.HEADERS, Needs.WHOLE,
    why="A width that is declared is that of a code. Scales, zero points, padding and what is left in full precision "
    "come on top, and decide what the model takes in memory.",
    threads=("auto-round#2186", "auto-round#834"),
    next="`qinspect tree` shows the bits of each part; larger groups or a quantized head bring them down.",
    # What scales the weights of checkpoints that libraries wrote takes up to 0.85 bits each (GPTQ in groups of 32).
    excess=1.0, times=1.5,
)  # fmt: skip
def effective_bits(subject: Subject, limits: Limits) -> Checked:
    """Weights take more bits than the settings declare, those that are quantized or all, or several widths are
    declared: then how much there is of each."""
    fmt, declared = subject.fmt, subject.fmt.declared_bits
    if not declared or not subject.quantized:
        return Checked(0, "model")
    of_codes, of_all = bits_of_quantized(fmt)
    said = f"{' and '.join(f'{bits:g}' for bits in declared)} {are(len(declared))} declared"
    found = []
    if of_codes is not None and of_codes > declared[-1] + limits["excess"]:
        text = f"quantized weights take {of_codes:.4g} bits each with what scales them, and {said}."
        found.append(Found(text, (), {"effective": of_codes, "declared": declared[-1]}))
    if of_all is not None and of_all > declared[-1] * limits["times"]:
        of = f", those that are quantized {of_codes:.4g}" if of_codes is not None else ""
        text = f"all weights together take {of_all:.4g} bits each{of}; {said}. The rest is in full precision."
        found.append(Found(text, (), {"effective": of_all, "declared": declared[-1]}))
    if len(declared) > 1 and of_codes is not None:
        found.append(_of_several(fmt, said, of_codes))
    return Checked(1, "model", tuple(found))


def _of_several(fmt: Format, said: str, of_codes: float) -> Found:
    """How much of each width there is, where several are declared."""
    n: Counter[int] = Counter()
    elements: Counter[int] = Counter()
    for weight in fmt.weights():
        n[weight.bits] += 1
        elements[weight.bits] += math.prod(weight.shape)
    mean = sum(bits * size for bits, size in elements.items()) / max(1, elements.total())
    widths = " and ".join(f"{count(n[bits])} of {bits} bits" for bits in sorted(n))
    text = (
        f"{said}: of {some(n.total(), 'quantized weight')} {widths}, {mean:.4g} bits on average over their elements, "
        f"{of_codes:.4g} with what scales them."
    )
    return Found(text, (), {"codes": mean, "effective": of_codes})


RULES = (
    settings_contradict, name_without_module, quantized_though_left_out, plain_though_targeted, name_for_too_many,
    effective_bits, router_not_named,
)  # fmt: skip
