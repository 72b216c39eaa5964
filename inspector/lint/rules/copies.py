"""What is stored twice: weights that are the same though they should not be, and numbers that should be and are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qinspect.inspector.checkpoint import Tensor
from qinspect.inspector.compare.copies import check_copies
from qinspect.inspector.finding import Severity
from qinspect.inspector.lint.identical import same_codes, same_tensors
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule
from qinspect.inspector.lint.subject import Subject
from qinspect.inspector.roles import place_in_stack
from qinspect.inspector.rows import where
from qinspect.inspector.text import count, number, some

NAMES_SHOWN = 4


@rule(
    "C09", "identical-weights", Severity.WARNING, Needs.CODES,
    why="Two layers, or two experts, that were trained are never the same: one was written over the other, or one was "
    "loaded twice. An embedding that is stored again as the head costs its bytes, and is no fault.",
    threads=("llm-compressor#2798", "llm-compressor#2835"),
    next="Compare these modules of the original, with `qinspect ORIGINAL CHECKPOINT`: where they differ there, "
    "quantize them again.",
)  # fmt: skip
def identical_weights(subject: Subject, limits: Limits) -> Checked:
    """Weights hold the same numbers and are not declared to be one."""
    fmt = subject.fmt
    if not fmt.weights():
        return Checked(0, "weight")  # of a model in full precision nothing is asked
    quantized = [[w.role for w in group] for group in same_codes(fmt, subject.codes.facts)]
    tensors, n = same_tensors(t for t in fmt.other_tensors() if _is_weight(t))
    plain = [[fmt.role_of(t.name) for t in group] for group in tensors]
    n += len(subject.codes.facts)
    groups = [*quantized, *plain]
    in_layers = [g for g in groups if all(place_in_stack(role)[1] is not None for role in g)]
    tied = [g for g in groups if g not in in_layers]
    found = [*_said(in_layers, n, None), *_said(tied, n, Severity.NOTE)]
    return Checked(n, "weight", tuple(found), subject.codes.n_left, subject.codes.why_left)


def _is_weight(tensor: Tensor) -> bool:
    """Whether a tensor can only be a matrix that was trained: not a mask, a table of positions, a norm."""
    return len(tensor.shape) >= 2 and tensor.dtype.is_float and tensor.name.rpartition(".")[2] == "weight"


def _said(groups: Sequence[Sequence[str]], n: int, severity: Severity | None) -> Iterator[Found]:
    if not groups:
        return
    n_weights = sum(map(len, groups))
    text = f"{some(n_weights, 'weight')} of {count(n)} {'is' if n_weights == 1 else 'are'} the same as another"
    if severity is Severity.NOTE:
        text += ", outside of the layers: tied weights that are stored more than once"
    places = tuple(Place(group[0], f"the same numbers as {_listed(group[1:])}", weight=len(group)) for group in groups)
    following = "Nothing, or save the model with tied weights." if severity is Severity.NOTE else None
    yield Found(text, places, {"weights": n_weights, "groups": len(groups), "of": n}, severity, following)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {count(more)} more" if more > 0 else "")


@rule(
    "C10", "copies-disagree", Severity.WARNING, Needs.SCALARS,
    why="One number of a calibration is stored in several places, and programs read one or the other: what they "
    "compute is not the same.",
    next="Save the checkpoint again from the run that calibrated it; do not change one of the places by hand.",
)  # fmt: skip
def copies_disagree(subject: Subject, limits: Limits) -> Checked:
    """A stored copy of a scale, or a product with it, does not agree with it."""
    problems = check_copies("A", subject.fmt)
    n = sum(len(r.copies) for r in where(subject.fmt.scales(), lambda r: r.copies))
    found = []
    if problems:
        places = tuple(
            Place(p.role, f"{p.key} has {number(p.expected)}, {p.copy_key} {number(p.found)} ({p.relation})")
            for p in problems
        )
        does = "does" if len(problems) == 1 else "do"
        text = f"{some(len(problems), 'copy', 'copies')} of {count(n)} {does} not agree with the scale that they repeat"
        found.append(Found(text, places, {"copies": len(problems), "of": n}))
    return Checked(n, "copy", tuple(found))


RULES = (identical_weights, copies_disagree)
