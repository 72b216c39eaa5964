"""What is typed into the filter, and which scales it lets through. No widget in here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from qinspect.inspector.compare.results import ScalePair

FILTER_KEYS = ("name", "role", "format", "status", "dtype")
"""What `key:word` can ask for: the scale's name; what it is a scale of; scheme, granularity and scheme of its weight;
status; stored dtype. Names have colons too (`x_proj:input`), so a word with any other key is plain text."""

HINT = "words, or name: role: format: status: dtype: and a word; escape clears"

Schemes = Mapping[str, str]
"""Roles of scales to the scheme of the weight that they belong to, of A and B both where they differ."""


def matcher(text: str, schemes: Schemes) -> Callable[[ScalePair], bool] | None:
    """Whether a scale has all the words of `text`, in A or in B; None where there is nothing to match."""
    words = [w for w in (_split(word) for word in text.lower().split()) if w[1]]
    if not words:
        return None

    def matches(pair: ScalePair) -> bool:
        return all(word in _looked_at(key, pair, schemes) for key, word in words)

    return matches


def _split(word: str) -> tuple[str, str]:
    """(key, what to look for); the key is "" for a bare word."""
    key, colon, rest = word.partition(":")
    return (key, rest) if colon and key in FILTER_KEYS else ("", word)


def _looked_at(key: str, pair: ScalePair, schemes: Schemes) -> str:
    """The text that a word is looked for in, in small letters."""
    records = [r for r in (pair.a, pair.b) if r]
    match key:
        case "name":
            found = [pair.role.lower()]
        case "status":
            found = [str(pair.status).lower()]
        case "role":
            found = [_small(f"{r.kind} {r.of}") for r in records]
        case "dtype":
            found = [_small(r.dtype) for r in records]
        case "format":
            found = [_small(schemes.get(pair.role, "")), *(_small(f"{r.scheme}\n{r.granularity}") for r in records)]
        case _:
            found = [pair.role.lower(), str(pair.status).lower(), _small(schemes.get(pair.role, ""))]
            found += [_small(f"{r.kind}\n{r.scheme}\n{r.granularity}\n{r.dtype}") for r in records]
    return "\n".join(found)


# Thousands of scales have a handful of schemes.
@lru_cache(4096)
def _small(text: str) -> str:
    return text.lower()
