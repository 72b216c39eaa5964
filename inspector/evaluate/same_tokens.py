"""Whether a token means the same text in a model as in the reference. Both are given the reference's ids: a model that
was trained with others would be measured on text that it does not read. No torch in here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from qinspect.inspector.text import brief, some


def other_tokens_said(reference: str, model: str) -> str | None:
    """A sentence where ids that both tokenizers know stand for other tokens; None where there are none, or either has
    no tokenizer.json that can be read: then it is not known."""
    known, others = _tokens(reference), _tokens(model)
    if known is None or others is None:
        return None
    apart = sorted(i for i in known.keys() & others.keys() if known[i] != others[i])
    if not apart:
        return None
    first = apart[0]
    return (
        f"its tokenizer is another than the reference's: {some(len(apart), 'id')} of {len(known)} stand for another "
        f"token, first {first}, {brief(known[first])} there and {brief(others[first])} here; it was given the "
        "reference's"
    )


def _tokens(path: str) -> Mapping[int, str] | None:
    """By id, with those that were added."""
    place = Path(path)
    file = (place if place.is_dir() else place.parent) / "tokenizer.json"
    try:
        said = json.loads(file.read_bytes())
        vocab = said["model"]["vocab"]
        pairs = vocab.items() if isinstance(vocab, dict) else ((entry[0], i) for i, entry in enumerate(vocab))
        made = {i: token for token, i in pairs if isinstance(i, int)}
        made |= {added["id"]: added["content"] for added in said.get("added_tokens") or ()}
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None
    return made
