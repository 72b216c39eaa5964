"""Lines that have the words of an error and tell of none: `error: 0.0012`, `no CUDA out of memory`."""

from __future__ import annotations

import re

_NOTHING = re.compile(
    r"(?:none|null|nil|false|off|n/a|\[\]|\{\}|[-+]?\d{1,20}(?:\.\d{0,20})?(?:e[-+]?\d{1,3})?\s*%?)[.!]?",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"(?:\b(?:no|not|never|without|if|0|retry(?:ing)? (?:on|after)|in case of|handle[sd]?|catch(?:es)?)) $", re.I
)
_BEFORE_CHARACTERS = 20


def is_nothing(message: str) -> bool:
    """Whether what stands behind `error:` or `warning:` is a count, a measure or none at all."""
    return _NOTHING.fullmatch(message.strip()) is not None


def is_mentioned(message: str, start: int) -> bool:
    """Whether the words of an error, which begin at `start`, are denied or conditional: `0 CUDA out of memory`."""
    return start > 0 and _DENIED.search(message[max(0, start - _BEFORE_CHARACTERS) : start]) is not None
