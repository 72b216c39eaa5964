"""What codes show: told by reading the weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from qinspect.inspector.errors import BrokenNumbers
from qinspect.inspector.finding import Severity
from qinspect.inspector.formats.element import ElementKind
from qinspect.inspector.lint.code_facts import CodeFacts, CommonWord, Groups
from qinspect.inspector.lint.code_reference import clip_of_ends, group_of, usual_ends
from qinspect.inspector.lint.code_shape import codes_without_number, enough, entropy_bits, left_out, share_at_ends
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule, said_of
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.text import count, have, number, share, some

LIKE = 4.0
"""Scales that are further from those of other groups are no such scales."""
AGAIN = "Quantize these modules again from the original."


def _checked(subject: Subject, n: int, found: Iterable[Found]) -> Checked:
    table = subject.codes
    return Checked(n, "weight", tuple(found), table.n_left, table.why_left)


def _percent(ratio: float) -> str:
    """`9.31 %`."""
    return f"{100 * ratio:.3g} %"


@rule(
    "C03", "saturated-codes", Severity.WARNING, Needs.CODES,
    why="A scale that is too small for its group cuts off what is larger: the ends of the range then hold far more "
    "codes than the largest numbers of groups account for.",
    threads=("TensorRT#2757",),
    next="Hold the weights against the original with `qinspect fidelity`; where the loss is real, quantize these "
    "modules again with scales from the largest weight of each group.",
    clip=0.6,
)  # fmt: skip
def saturated_codes(subject: Subject, limits: Limits) -> Checked:
    """More codes of a weight are at the ends of the range than scales 0.6 of the right ones would make, of normally
    distributed weights in groups of that size."""
    large = [f for f in subject.codes.facts if f.weight.bits > 2 and enough(f, 4)]
    looked = [(f, group) for f in large if (group := group_of(f.weight)) is not None]
    kinds: dict[str, list[Place]] = {}
    for facts, group in looked:
        element, found = facts.weight.element, share_at_ends(facts)
        if found <= usual_ends(element, group, limits["clip"]):
            continue
        usual, clip = usual_ends(element, group), clip_of_ends(element, group, found)
        text = (
            f"{_percent(found)} of codes, usual are {_percent(usual)}: as if scales were {clip:.2f} of the right ones"
        )
        kinds.setdefault(facts.weight.stored_as, []).append(Place(facts.weight.role, text, value=found, weight=found))
    n_of = Counter(f.weight.stored_as for f, _ in looked)
    return _checked(subject, len(looked), (_saturated(kind, places, n_of[kind]) for kind, places in kinds.items()))


def _saturated(kind: str, places: list[Place], n_of: int) -> Found:
    worst = max(p.weight for p in places)
    text = (
        f"{some(len(places), 'weight')} of {count(n_of)} in {kind} {have(len(places))} far more codes at the ends of "
        f"the range than groups of that size account for, up to {_percent(worst)}"
    )
    return Found(text, tuple(places), {"weights": len(places), "of": n_of, "worst": worst})


@rule(
    "C04", "few-effective-bits", Severity.NOTE, Needs.CODES,
    why="Codes that crowd on a few levels carry less than their bits: one outlier took the range of a whole group. The "
    "same accuracy fits into fewer bits, or a finer grid makes more of these.",
    threads=("distiller#463", "nncf#225", "QuEST#16"),
    next="Give these modules smaller groups, or a scale for each channel.",
    share=0.65,
)  # fmt: skip
def few_effective_bits(subject: Subject, limits: Limits) -> Checked:
    """The entropy of a weight's codes is far below their width."""
    looked = [f for f in subject.codes.facts if f.weight.bits > 1 and enough(f)]
    kinds: dict[str, list[Place]] = {}
    for facts in looked:
        bits, of = entropy_bits(facts.counts), facts.weight.bits
        if 0 < bits < limits["share"] * of:
            used = int((facts.counts > 0).sum())
            text = f"effective bits of {of}: {used} of {len(facts.counts)} levels are used"
            kinds.setdefault(facts.weight.stored_as, []).append(Place(facts.weight.role, text, (), bits, of - bits))
    found = []
    for kind, places in kinds.items():
        n_of = sum(f.weight.stored_as == kind for f in looked)
        least = min(p.value or 0.0 for p in places)
        text = (
            f"{some(len(places), 'weight')} of {count(n_of)} in {kind} {have(len(places))} codes that carry as little "
            f"as {least:.2f} bits"
        )
        found.append(Found(text, tuple(places), {"weights": len(places), "of": n_of, "least_bits": least}))
    return _checked(subject, len(looked), found)


@rule(
    "C05", "levels-left-out", Severity.NOTE, Needs.CODES,
    why="Levels between used ones that nothing is rounded to show that the numbers were on a coarser grid before: they "
    "were quantized twice, and have the error of both.",
    threads=("compressed-tensors#712",),
    next="Look up what the checkpoint was made from; quantize from the original where it was a quantized one.",
    share=0.1,
)  # fmt: skip
def levels_left_out(subject: Subject, limits: Limits) -> Checked:
    """Levels in the middle of a weight's range are used by no code, though their neighbours are."""
    looked = [f for f in subject.codes.facts if f.weight.bits > 2 and enough(f)]
    places = []
    for facts in looked:
        n, of = left_out(facts)
        if of and n > limits["share"] * of:
            places.append(Place(facts.weight.role, f"{n} of {of} levels in the middle", value=float(n), weight=n / of))
    found = []
    if places:
        text = (
            f"{some(len(places), 'weight')} of {count(len(looked))} {have(len(places))} unused levels between used ones"
        )
        found.append(Found(text, tuple(places), {"weights": len(places), "of": len(looked)}))
    return _checked(subject, len(looked), found)


@rule(
    "C06", "end-never-used", Severity.NOTE, Needs.CODES,
    why="Two's complement has one negative code more. Of 4 bits it is a sixteenth of the levels; of 8 bits it is "
    "nothing, and leaving it out is usual.",
    threads=("QuEST#16",),
    next="Nothing is wrong. A scale of the largest weight / 7.5, or one with the sign of the larger end, uses it.",
    bits=4.0,
)  # fmt: skip
def end_never_used(subject: Subject, limits: Limits) -> Checked:
    """No weight of a few bits uses the most negative code."""
    kinds: dict[str, list[CodeFacts]] = {}
    for facts in subject.codes.facts:
        element = facts.weight.element
        ends = element.ends() if element.kind is ElementKind.INTEGER and element.symmetric else None
        if ends is not None and ends[0] + ends[1] == -1 and 2 < element.bits <= limits["bits"] and enough(facts):
            kinds.setdefault(facts.weight.stored_as, []).append(facts)
    found = []
    for kind, of_kind in kinds.items():
        if not any(f.counts[0] for f in of_kind):
            levels = len(of_kind[0].counts)
            places = tuple(Place(f.weight.role, f"{count(f.n)} codes") for f in of_kind)
            text = f"none of {some(len(of_kind), 'weight')} in {kind} uses the most negative of {levels} levels"
            found.append(Found(text, places, {"weights": len(of_kind)}))
    return _checked(subject, sum(map(len, kinds.values())), found)


@rule(
    "C07", "zero-groups", Severity.WARNING, Needs.CODES,
    why="A group of zeros has no largest number that a scale could come from. Where the scales of such groups are like "
    "those of others, there were numbers, and their codes are lost; where all have one default, the original was zero: "
    "a dead channel, an expert that was never trained or loaded, padding.",
    threads=("Model-Optimizer#831", "Model-Optimizer#1142", "Model-Optimizer#1560"),
    next="Look at the same rows of the original: where they are not zero, quantize these modules again.",
)  # fmt: skip
def zero_groups(subject: Subject, limits: Limits) -> Checked:
    """All codes of a group stand for zero, and its scale is not zero."""
    looked = [(f, f.groups) for f in subject.codes.facts if f.groups is not None]
    lost = [(f, g) for f, g in looked if g.n_zero and _lost(g)]
    default = [(f, g) for f, g in looked if g.n_zero and not _lost(g)]
    found = []
    for chosen, severity in ((lost, Severity.WARNING), (default, Severity.NOTE)):
        if not chosen:
            continue
        n_groups = sum(g.n_zero for _, g in chosen)
        like = "scales like those of other groups" if severity is Severity.WARNING else "a default for their scale"
        if all(g.n_zero == g.n for _, g in chosen):
            like = "scales that are not zero, and are all that these weights have"
        text = (
            f"{some(n_groups, 'group')} of zeros in {some(len(chosen), 'weight')} of {count(len(looked))} "
            f"{have(n_groups)} {like}"
        )
        places = tuple(_of_zeros(f, g) for f, g in chosen)
        found.append(Found(text, places, {"groups": n_groups, "weights": len(chosen), "of": len(looked)}, severity))
    return _checked(subject, len(looked), found)


def _lost(groups: Groups) -> bool:
    """Whether the scales of groups of zeros are such as numbers make."""
    if groups.n_zero == groups.n:
        return True
    low, high = groups.others
    if groups.n_zero == 1:  # no two that could be one default
        return low < groups.low < high
    return groups.low < groups.high and low / LIKE <= groups.low and groups.high <= high * LIKE


def _of_zeros(facts: CodeFacts, groups: Groups) -> Place:
    n, of = groups.n_zero, groups.n
    scales = number(groups.low) if groups.low == groups.high else f"{number(groups.low)} to {number(groups.high)}"
    text = f"{count(n)} of {some(of, 'group')}, scale {scales}" if of > 1 else f"all codes, scale {scales}"
    return Place(facts.weight.role, text, groups.first if of > 1 else (), weight=n / of)


@rule(
    "C08", "common-word", Severity.WARNING, Needs.CODES,
    why="Neighbouring codes are as good as independent: no word of several repeats often by chance. One that does was "
    "filled in: memory that nothing was written to, or codes of a value that became NaN.",
    threads=("compressed-tensors#832", "compressed-tensors#854", "GPTQModel#3077"),
    next=AGAIN,
    warning=0.01,
    error=0.5,
)  # fmt: skip
def common_word(subject: Subject, limits: Limits) -> Checked:
    """One word of packed codes is a large part of a weight."""
    facts = subject.codes.facts
    by_severity: dict[Severity, list[Place]] = {}
    for of_weight in facts:
        found = _unexplained(of_weight)
        if of_weight.word is not None and found > limits["warning"]:
            severity = Severity.ERROR if found > limits["error"] else Severity.WARNING
            place = Place(of_weight.weight.role, _word_text(of_weight.word), weight=found)
            by_severity.setdefault(severity, []).append(place)
    return _checked(subject, len(facts), _of_words(by_severity, len(facts)))


def _of_words(by_severity: dict[Severity, list[Place]], n: int) -> Iterator[Found]:
    for severity, places in by_severity.items():
        worst = max(p.weight for p in places)
        text = (
            f"{some(len(places), 'weight')} of {count(n)} {'repeats' if len(places) == 1 else 'repeat'} one word of "
            f"codes, up to {_percent(worst)} of all words"
        )
        yield Found(text, tuple(places), {"weights": len(places), "of": n, "worst": worst}, severity)


def _unexplained(facts: CodeFacts) -> float:
    """The share of the commonest word, without groups that are zero and have a scale to say so. Zeros explain
    themselves where a weight may be filled up."""
    if facts.word is None or (facts.weight.filled_up and not facts.word.value):
        return 0.0
    groups = facts.groups
    sound = 0 if groups is None else groups.n_of_zeros - (groups.n_zero if _lost(groups) else 0)
    return facts.word.share - (sound / groups.n if groups is not None and groups.n else 0.0)


def _word_text(word: CommonWord) -> str:
    """`0x88888888, 8 codes, is 97.3 % of 65,536 words`."""
    hexadecimal = f"0x{word.value:08x}"
    return f"{hexadecimal}, {word.codes} codes, is {share(word.n, word.of)} of {count(word.of)} words"


@rule(
    "C11", "zero-scale-of-codes", Severity.WARNING, Needs.CODES,
    why="Codes times a scale of zero are zeros: what the group held is gone. The scale was below what its type can "
    "hold, as block scales are where the scale over them is too large.",
    threads=("Model-Optimizer#1382", "flashinfer#2440"),
    next="Make the scale over the block scales from the largest weight of the tensor, and quantize these modules "
    "again.",
)  # fmt: skip
def zero_scale_of_codes(subject: Subject, limits: Limits) -> Checked:
    """The scale of a group is zero, and its codes are not."""
    in_blocks = {w.role for w in subject.fmt.weights() if _in_blocks(subject, w.codes_key)}
    looked = [(f, f.groups) for f in subject.codes.facts if f.groups is not None]
    found = []
    for inside, severity in ((False, Severity.WARNING), (True, Severity.NOTE)):
        dead = [(f, g) for f, g in looked if g.n_dead and (f.weight.role in in_blocks) is inside]
        if not dead:
            continue
        n = sum(g.n_dead for _, g in dead)
        text = (
            f"{some(n, 'group')} in {some(len(dead), 'weight')} of {count(len(looked))} {have(n)} a scale of zero and "
            f"codes that are not"
        )
        if inside:
            text += ": their type leaves the codes of a group as they were where it finds nothing to scale"
        places = tuple(
            Place(f.weight.role, f"{count(g.n_dead)} of {some(g.n, 'group')}", g.first_dead, 0.0, g.n_dead / g.n)
            for f, g in dead
        )
        found.append(Found(text, places, {"groups": n, "weights": len(dead), "of": len(looked)}, severity))
    return _checked(subject, len(looked), found)


def _in_blocks(subject: Subject, key: str) -> bool:
    """Whether an entry is of a type that has scales and codes in one block."""
    form = subject.fmt.checkpoint.entries.form(key)
    return form is not None and bool(form[0].block_bytes)


@rule(
    "C12", "codes-not-finite", Severity.ERROR, Needs.CODES,
    why="A weight that is NaN makes every output that it has a part in NaN.",
    threads=("compressed-tensors#832", "ik_llama.cpp#649"),
    next="Look for NaN in the original's weights; quantize these modules again.",
)  # fmt: skip
def codes_not_finite(subject: Subject, limits: Limits) -> Checked:
    """A code of a small float is the pattern of NaN or infinity."""
    looked = [f for f in subject.codes.facts if f.weight.element.kind is ElementKind.FLOAT]
    broken = [(f, n) for f in looked if (n := codes_without_number(f))]
    found = []
    if broken:
        text = f"{some(len(broken), 'weight')} of {count(len(looked))} {have(len(broken))} codes of NaN or infinity"
        places = tuple(Place(f.weight.role, f"{count(n)} of {count(f.n)} codes", weight=n / f.n) for f, n in broken)
        found.append(Found(text, places, {"weights": len(broken), "of": len(looked)}))
    return _checked(subject, len(looked), found)


@rule(
    "C13", "codes-cannot-be-read", Severity.WARNING, Needs.CODES,
    why="What the weight is made of is there, and no numbers come of it: an index that names a group that is not there "
    "makes an engine read beyond the end of the scales. Or settings are not there that say what codes mean.",
    next="Look at the entry named here with `qinspect show`; save the checkpoint again where its numbers are wrong, or "
    "put the config beside it that was saved with it.",
)  # fmt: skip
def codes_cannot_be_read(subject: Subject, limits: Limits) -> Checked:
    """Tensors fit one another, and the weight cannot be read all the same."""
    problems = subject.codes.problems
    n = len(subject.codes.facts) + len(problems)
    found = []
    for severity in (Severity.ERROR, Severity.WARNING):
        of = {r: e for r, e in problems.items() if isinstance(e, BrokenNumbers) is (severity is Severity.ERROR)}
        if of:
            what = f"{have(len(of))} numbers that are not possible" if severity is Severity.ERROR else "cannot be read"
            text = f"{some(len(of), 'weight')} of {count(n)} {what}"
            places = tuple(Place(e.key or role, said_of(e)) for role, e in of.items())
            found.append(Found(text, places, {"weights": len(of), "of": n}, severity))
    return Checked(n, "weight", tuple(found))


RULES = (
    saturated_codes, few_effective_bits, levels_left_out, end_never_used, zero_groups, common_word,
    zero_scale_of_codes, codes_not_finite, codes_cannot_be_read,
)  # fmt: skip
