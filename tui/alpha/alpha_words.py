"""What the words of `qinspect alpha` want the explorer to show. No Textual in here: looked at before it is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AlphaWords:
    """run: as it was named. The rest as on the command line; None: what the run did."""

    run: str
    alpha: float | None = None
    rule: str | None = None
    bits: int = 8
    checkpoint: str | None = None


def alpha_words_of(words: Sequence[str]) -> AlphaWords | None:
    """What the words after `alpha` want; None where only the command line can answer, or has to say what is wrong."""
    given: dict[str, str] = {}
    runs: list[str] = []
    left = list(words)
    while left:
        word, *left = left
        if not word.startswith("-"):
            runs.append(word)
            continue
        name, equals, value = word.partition("=")
        if not equals and left:
            value, *left = left
        if name not in ("--alpha", "--rule", "--bits", "--checkpoint") or not value or name in given:
            return None
        given[name] = value
    if len(runs) != 1:
        return None
    return _checked(runs[0], given)


def _checked(run: str, given: dict[str, str]) -> AlphaWords | None:
    from qinspect.inspector.alpha.sweep.rules import SWEPT
    from qinspect.inspector.observers import current

    rule = current(given["--rule"]) if "--rule" in given else None
    bits = given.get("--bits", "8")
    try:
        alpha = float(given["--alpha"]) if "--alpha" in given else None
    except ValueError:
        return None
    if (rule is not None and rule not in SWEPT) or bits not in ("8", "4"):
        return None
    has_alpha = rule is None or SWEPT[rule].takes_alpha
    if alpha is not None and not (has_alpha and 0.5 <= alpha <= 1):
        return None
    return AlphaWords(run, alpha, rule, int(bits), given.get("--checkpoint"))
