"""Regular expressions that settings of a checkpoint hold, to say which modules are meant.

They come from the file, and are tried in Python's engine, which can be made to take for ever; what could is not tried,
and counts as an expression that is not known.
"""

from __future__ import annotations

import re
import warnings

_MAX_QUANTIFIERS = 6
"""Quantifiers in one expression."""
_NESTED = re.compile(r"\)\s*(?:[*+]|\{)")
_QUANTIFIER = re.compile(r"(?<!\\)[*+{]")


def compiled(expression: str, longest: int) -> re.Pattern[str] | None:
    """The expression; None of one that is none, that could take too long, or of more than `longest` characters."""
    if len(expression) > longest or _NESTED.search(expression):
        return None
    if len(_QUANTIFIER.findall(expression)) > _MAX_QUANTIFIERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the expression will mean one day
            return re.compile(expression)
    except (re.error, RecursionError, OverflowError):
        return None
