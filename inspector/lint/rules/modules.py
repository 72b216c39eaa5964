"""Modules that are not understood, or not there: what no rule about single tensors sees."""

from __future__ import annotations

from qinspect.inspector.finding import Severity
from qinspect.inspector.formats import Refusal
from qinspect.inspector.formats.declared import declared
from qinspect.inspector.lint.rule import Checked, Found, Limits, Needs, Place, rule, said_of
from qinspect.inspector.lint.subject import Subject


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
    """Settings or names say which library wrote a checkpoint, and none of its modules is as that library stores it."""
    refusals = () if subject.by_tensors_alone else subject.fmt.refusals
    found = tuple(_refused(subject, r) for r in refusals)
    n = len(refusals) or (len(subject.fmt.weights()) + len(subject.fmt.problems()))
    return Checked(n, "quantized module", found)


def _refused(subject: Subject, refusal: Refusal) -> Found:
    """Only a warning where nothing but names of entries speaks for the family: then it may be another."""
    settings, error = declared(subject.fmt.checkpoint), refusal.error
    who = f"{settings.where} says" if settings else "by the names of its entries it is"
    where = f"{error.key}: " if error.key else ""
    text = f"{who} {refusal.family}, and no module is as that library stores it, first {where}{said_of(error)}."
    places = (Place(error.key),) if error.key else ()
    return Found(text, places, severity=None if settings else Severity.WARNING)


RULES = (not_understood,)
