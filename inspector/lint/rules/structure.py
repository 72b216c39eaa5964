"""Entries that are missing, orphaned, or of another shape than the weight asks for: told by headers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from qinspect.inspector.finding import Severity
from qinspect.inspector.formats import Format, Kind, Quantity, QuantizedWeight, ScaleRecord
from qinspect.inspector.formats.element import ElementKind
from qinspect.inspector.formats.grid import PER_TENSOR, Grid
from qinspect.inspector.formats.words import granularity
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule, said_of
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.roles import numberless, place_in_stack
from qinspect.inspector.rows import where
from qinspect.inspector.text import count, dims, have, some


def _word(n: int, one: str, many: str) -> str:
    return one if n == 1 else many


@rule(
    "H01", "misfit", Severity.ERROR, Needs.HEADERS, Needs.WHOLE,
    why="Scales of another shape than the weight, the size of its groups and its packing ask for are applied to the "
    "wrong codes, or to none. An engine refuses them, or reads beyond their end.",
    threads=("gpt-fast#88", "torchchat#37", "mlx-lm#1734"),
    next="Hold the group size in the settings against the shapes named here; save the checkpoint again where a tensor "
    "was cut or padded.",
)  # fmt: skip
def misfit(subject: Subject, limits: Limits) -> Checked:
    """The entries of a module do not fit one another, or what the settings say of them."""
    fmt, loose = subject.fmt, subject.loose
    problems = [p for p in fmt.problems() if not loose.is_missing(p)]
    n = len(fmt.weights()) + len(fmt.problems())
    found = []
    if problems:
        places = [Place(problem.key, said_of(problem.error)) for problem in problems]
        text = f"{some(len(problems), 'module')} of {count(n)} {_word(len(problems), 'does', 'do')} not fit together"
        found.append(Found(text, tuple(places), {"modules": len(problems), "of": n}))
    return Checked(n, "quantized module", tuple(found))


@rule(
    "H02", "missing-scale", Severity.ERROR, Needs.HEADERS, Needs.WHOLE,
    why="Codes without their scale are no numbers. Few loaders check: they take 1, or whatever is in the memory, and "
    "the model talks nonsense or paints noise.",
    threads=("sglang#23625", "stable-diffusion.cpp#1898", "vllm#54623", "vllm#54444"),
    next="Look whether another shard, or an older upload, has the entry; else quantize the module again.",
)  # fmt: skip
def missing_scale(subject: Subject, limits: Limits) -> Checked:
    """A weight is stored in codes, and a scale or zero point of it is not there."""
    fmt, loose = subject.fmt, subject.loose
    missing = [p for p in fmt.problems() if loose.is_missing(p) and not loose.misses_codes(p)]
    places = [Place(loose.lost_scale(p) or p.error.key or p.key, "is missing") for p in missing]
    alone = loose.codes_without_scale
    n = len(fmt.weights()) + len(missing) + len(alone)
    places += [Place(t.name, f"{t.dtype.name} {dims(t.shape)}, and no scale beside it") for t in alone]
    found = []
    if places and fmt.claims:
        stored = _word(len(places), "is stored in codes without all its", "are stored in codes without all their")
        text = f"{some(len(places), 'weight')} of {count(n)} {stored} scales"
        found.append(Found(text, tuple(places), {"weights": len(places), "of": n}))
    elif places and not fmt.refusals:  # then they should have had scales, which is said
        text = (
            f"{some(len(places), 'tensor')} of float8 {have(len(places))} no scale: cast as "
            f"{_word(len(places), 'it was, or its scale is', 'they were, or their scales are')} lost"
        )
        following = "Nothing, where the model was cast and not scaled; else look for the scales where it came from."
        found.append(Found(text, tuple(places), {"weights": len(places), "of": n}, Severity.NOTE, following))
    return Checked(n, "weight in codes", tuple(found))


@rule(
    "H03", "orphan-scale", Severity.ERROR, Needs.HEADERS, Needs.WHOLE,
    why="A scale is stored and the weight that it scales is not: the module is left as it was initialised, or the "
    "loader drops the scale and nobody hears of it.",
    threads=("sglang#23625", "vllm#54623", "GPTQModel#3077"),
    next="Look for the weight under another name, or in a shard that is not there.",
)  # fmt: skip
def orphan_scale(subject: Subject, limits: Limits) -> Checked:
    """Scales or zero points of a weight are there, and its codes are not."""
    fmt, loose = subject.fmt, subject.loose
    missing = [p for p in fmt.problems() if loose.is_missing(p) and loose.misses_codes(p)]
    places = [Place(p.key, f"{p.error.key} is missing" if p.error.key != p.key else "is missing") for p in missing]
    places += [Place(names[0], f"stands without codes{_with(names[1:])}") for names in loose.without_codes]
    n = len(fmt.scales()) + len(places)
    found = []
    if places:
        whose = _word(len(places), "its", "their")
        text = f"the codes of {some(len(places), 'weight')} are missing beside {whose} scales"
        found.append(Found(text, tuple(places), {"weights": len(places), "of": n}))
    return Checked(n, "scale", tuple(found))


def _with(names: Sequence[str]) -> str:
    return f", with {', '.join(n.rpartition('.')[2] for n in names)}" if names else ""


@rule(
    "H04", "partial-group", Severity.WARNING, Needs.HEADERS,
    why="The last group of each row is shorter than the others. Libraries that quantize allow it, most kernels do not: "
    "they refuse the layer, or want it padded.",
    threads=("gpt-fast#88", "torchchat#37", "mlx-lm#1734"),
    next="`qinspect loaders` says which engines take it; a group size that divides the width of the layer is taken by "
    "all.",
)  # fmt: skip
def partial_group(subject: Subject, limits: Limits) -> Checked:
    """The width of a weight is no multiple of the size of its groups."""
    weights = [w for w in subject.fmt.weights() if w.grid.axes == (0, 1) and len(w.grid.block) == 2]
    found = []
    for in_tiles in (False, True):
        places = [
            Place(w.role, f"{dims(w.shape)} in {_in_words(w.grid)}: {_last(w)}")
            for w in weights
            if (w.grid.block[0] > 1) is in_tiles and _ragged(w)
        ]
        if places:
            what = "tiles" if in_tiles else "groups"
            end = _word(len(places), "ends", "end")
            text = f"{some(len(places), 'weight')} of {count(len(weights))} {end} in parts of {what}"
            severity = Severity.NOTE if in_tiles else None
            found.append(Found(text, tuple(places), {"weights": len(places), "of": len(weights)}, severity))
    return Checked(len(weights), "weight in groups", tuple(found))


def _ragged(weight: QuantizedWeight) -> bool:
    """A weight that is smaller than one group has a whole one."""
    return len(weight.shape) == 2 and any(d % b and d > b for d, b in zip(weight.shape, weight.grid.block, strict=True))


def _last(weight: QuantizedWeight) -> str:
    rests = [d % b if d > b else 0 for d, b in zip(weight.shape, weight.grid.block, strict=True)]
    return " and ".join(
        f"{rest} {what} in the last" for rest, what in zip(rests, ("rows", "columns"), strict=True) if rest
    )


@rule(
    "H05", "no-outer-scale", Severity.ERROR, Needs.HEADERS, Needs.WHOLE,
    why="Block scales in float8 reach down to 2^-9; without one scale over them all, those of ordinary weights are "
    "below that, or lose most of their digits. A loader that misses the outer scale takes 1: off by a factor of "
    "thousands.",
    threads=("llama.cpp#22858", "llama.cpp#22897"),
    next="Write the missing scales from the checkpoint that this one was converted from; else convert it again.",
)  # fmt: skip
def no_outer_scale(subject: Subject, limits: Limits) -> Checked:
    """FP4 codes in blocks have block scales in float8, and no scale over these."""
    fmt = subject.fmt
    fp4 = [w for w in fmt.weights() if w.element.kind is ElementKind.FLOAT and w.bits == 4]
    weights = [w for w in fp4 if w.grid.group_size == 16]
    outer = {r.role for r in where(fmt.scales(), _is_outer)}
    outer |= {r.role for r in where(fmt.scales(), lambda r: r.sources)}  # whose numbers have another in them already
    without = [w for w in weights if outer.isdisjoint(w.scale_roles)]
    found = []
    if without:
        places = tuple(Place(w.role, w.stored_as) for w in without)
        text = (
            f"{some(len(without), 'weight')} of {count(len(weights))} in FP4 {have(len(without))} no scale over the "
            "block scales"
        )
        all_of_them = len(without) == len(weights)
        severity = Severity.WARNING if all_of_them else Severity.ERROR
        following = "Quantize from the original with a scale for the whole of each tensor." if all_of_them else None
        found.append(Found(text, places, {"weights": len(without), "of": len(weights)}, severity, following))
    return Checked(len(weights), "FP4 weight in blocks of 16", tuple(found))


def _is_outer(record: ScaleRecord) -> bool:
    return record.quantity is Quantity.GLOBAL_SCALE or (record.quantity is Quantity.SCALE and record.grid == PER_TENSOR)


@rule(
    "H06", "stray-scale", Severity.WARNING, Needs.HEADERS, Needs.WHOLE,
    why="A number beside a quantized weight that its format has no use for: one loader multiplies by it, another drops "
    "it, a third refuses the file.",
    threads=("compressed-tensors#809", "vllm#54623"),
    next="Delete the entry where it is a leftover of another format; where it belongs there, correct the settings that "
    "name the format.",
)  # fmt: skip
def stray_scale(subject: Subject, limits: Limits) -> Checked:
    """An entry that is called a scale stands beside a quantized weight, and has no part in it; or one stands over block
    scales that are powers of two, which reach everywhere without it."""
    fmt = subject.fmt
    strays = [(t.name, f"{t.dtype.name} {dims(t.shape)}") for t in subject.loose.strays]
    strays += [(r.key, f"{r.dtype} {dims(r.shape)} over powers of two") for r in _over_powers(fmt)]
    found = []
    if strays:
        by_last = Counter(name.rpartition(".")[2] for name, _ in strays)
        listed = ", ".join(f"{count(k)} {last}" for last, k in by_last.most_common(3))
        text = (
            f"{some(len(strays), 'entry', 'entries')} beside quantized weights {have(len(strays))} no part in them: "
            f"{listed}"
        )
        places = tuple(Place(name, said) for name, said in strays)
        found.append(Found(text, places, {"entries": len(strays), "of": len(fmt.weights())}))
    return Checked(len(fmt.weights()), "quantized weight", tuple(found))


def _over_powers(fmt: Format) -> list[ScaleRecord]:
    """Scales over the block scales of weights whose block scales are exponents."""
    outer = {r.role.removesuffix("#global"): r for r in where(fmt.scales(), _is_global)}
    if not outer:
        return []
    inner = where(fmt.scales(), lambda r: _is_exponents(r) and r.quantity is Quantity.SCALE)
    return [outer[r.role] for r in inner if r.role in outer]


def _is_exponents(record: ScaleRecord) -> bool:
    """Of blocks of 32, bytes are exponents; of blocks of 16, small floats."""
    in_bytes = record.dtype == "uint8" and record.grid.group_size == 32
    return record.dtype == "float8_e8m0fnu" or in_bytes


def _is_global(record: ScaleRecord) -> bool:
    return record.quantity is Quantity.GLOBAL_SCALE and record.kind is Kind.WEIGHT


@rule(
    "H07", "other-groups", Severity.WARNING, Needs.HEADERS,
    why="One kind of layer has groups of another size in a few places: a scale that lost all numbers but one still "
    "fits a weight, as one scale for all of it.",
    threads=("mlx-lm#1734", "auto-round#1283"),
    next="Compare the shapes of the scales named here with those of the same module in other layers.",
    share=0.5,
)  # fmt: skip
def other_groups(subject: Subject, limits: Limits) -> Checked:
    """Weights of one element, and of one kind or one shape, have scales for other groups than most."""
    weights = [w for w in subject.fmt.weights() if len(w.shape) == 2 and not w.grid.flattened]
    odd = list(_minorities(weights, limits["share"]))
    found = []
    if odd:
        places = tuple(
            Place(w.role, f"{_in_words(w.grid)} for {dims(w.shape)}, where others have {_in_words(g)}") for w, g in odd
        )
        text = (
            f"{some(len(odd), 'weight')} of {count(len(weights))} {have(len(odd))} other groups than most of the kind"
        )
        found.append(Found(text, places, {"weights": len(odd), "of": len(weights)}))
    return Checked(len(weights), "weight", tuple(found))


def _minorities(weights: Iterable[QuantizedWeight], share: float) -> Iterator[tuple[QuantizedWeight, Grid]]:
    """Weights whose grid few of their kind have, with the one that most have."""
    kinds: dict[tuple[object, ...], list[QuantizedWeight]] = {}
    for weight in weights:
        kind = numberless(place_in_stack(weight.role)[2])
        kinds.setdefault((weight.element, weight.called, kind), []).append(weight)
    for key in [key for key, of_kind in kinds.items() if len(of_kind) == 1]:
        alone = kinds.pop(key)[0]
        kinds.setdefault((alone.element, alone.called, alone.shape), []).append(alone)
    in_all = Counter(_cells(w) for of_kind in kinds.values() for w in of_kind)
    for of_kind in kinds.values():
        grids = Counter(map(_cells, of_kind))
        usual = max(grids, key=lambda cells: (grids[cells], in_all[cells]))
        for weight in of_kind:
            if _cells(weight) != usual and grids[_cells(weight)] <= share * len(of_kind):
                yield weight, usual


def _cells(weight: QuantizedWeight) -> Grid:
    """Without the entry that says which columns are in which group."""
    return replace(weight.grid, group_index="") if weight.grid.group_index else weight.grid


def _in_words(grid: Grid) -> str:
    return f"{granularity(grid)} {'x'.join(map(str, grid.block))}".strip() if len(grid.block) > 1 else granularity(grid)


@rule(
    "H08", "some-without-zero-points", Severity.WARNING, Needs.HEADERS, Needs.WHOLE,
    why="Where most weights have zero points and a few have none, these are read with zero in the middle of the codes: "
    "off by however far the real one was.",
    threads=("vllm#38966", "pytorch#126266"),
    next="Look for the zero points in the original upload; quantize the module again where they are lost.",
    share=0.25,
)  # fmt: skip
def some_without_zero_points(subject: Subject, limits: Limits) -> Checked:
    """Of weights that have zero points elsewhere in the model, a few have none."""
    kinds: dict[tuple[object, ...], list[QuantizedWeight]] = {}
    for weight in subject.fmt.weights():
        if weight.element.kind is ElementKind.INTEGER:
            kinds.setdefault((weight.bits, weight.grid, weight.called), []).append(weight)
    with_points = {k: ws for k, ws in kinds.items() if any(w.element.offset is None for w in ws)}
    n = sum(map(len, with_points.values()))
    places = []
    for of_kind in with_points.values():
        without = [w for w in of_kind if w.element.offset is not None]
        if 0 < len(without) <= limits["share"] * len(of_kind):
            places += [Place(w.role, f"zero is taken as code {w.element.offset:g}") for w in without]
    found = []
    if places:
        text = f"{some(len(places), 'weight')} of {count(n)} {have(len(places))} no zero points, and the others have"
        found.append(Found(text, tuple(places), {"weights": len(places), "of": n}))
    return Checked(n, "weight in a scheme with zero points", tuple(found))


RULES = (
    misfit, missing_scale, orphan_scale, partial_group, no_outer_scale, stray_scale, other_groups,
    some_without_zero_points,
)  # fmt: skip
