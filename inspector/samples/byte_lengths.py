"""How many bytes of text each token stands for, by what a tokenizer.json says of its tokens.

Two ways of writing bytes into tokens are known: byte-level BPE (GPT-2, Llama 3, Qwen), where each character of a token
is one byte; and SentencePiece's (Llama 2, Gemma), where U+2581 is a blank, `<0x0A>` one byte, and all else is itself.
Of others nothing is said. The text is that which the tokenizer sees, behind its normalizer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_BLANK = "\u2581"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_FAITHFUL = ("NFC", "NFKC", "NFD", "NFKD", "Prepend", "Replace", "Precompiled")
"""Normalizers behind which a token still is its text."""


class ByteLengths:
    """Of one tokenizer. `of` is None for all ids where its way of writing bytes is not known."""

    def __init__(self, content: bytes) -> None:
        """content: of a tokenizer.json that the tokenizers library has read."""
        said = json.loads(content)
        model = _mapping(said.get("model"))
        self._tokens = dict(_tokens(model))
        added = [a for a in _listed(said.get("added_tokens")) if isinstance(a.get("content"), str)]
        self._special = {a["id"] for a in added if a.get("special")}
        self._added = {a["id"]: len(a["content"].encode()) for a in added if not a.get("special")}
        self._unknown = _unknown_id(model, self._tokens)
        self._byte_level = _has(said.get("decoder"), "ByteLevel") and _has(said.get("pre_tokenizer"), "ByteLevel")
        pieces = _has(said.get("decoder"), "Metaspace") or (
            _has(said.get("decoder"), "Replace") and bool(model.get("byte_fallback"))
        )
        plain = all(step.get("type") in _FAITHFUL for step in _steps(said.get("normalizer")))
        self._known = plain and (self._byte_level or pieces)
        self._prefix = _prefixes(said)

    def of(self, ids: Sequence[int]) -> list[int] | None:
        """Of each token of a text from its start; special ones in front of it have 0. None where any is not known."""
        if not self._known:
            return None
        made: list[int] = []
        begun = False
        for i in ids:
            if i in self._special:
                if begun:  # the end of a text, which no byte stands for
                    return None
                made.append(0)
                continue
            length = self._length(i)
            if length is None:
                return None
            if not begun and i not in self._added:
                length -= self._starts_with_blank(i)
            made.append(length)
            begun = True
        return made

    def _length(self, i: int) -> int | None:
        if i in self._added:
            return self._added[i]
        token = self._tokens.get(i)
        if token is None or i == self._unknown:
            return None
        if self._byte_level:
            return len(token)
        return 1 if _BYTE.fullmatch(token) else len(token.replace(_BLANK, " ").encode())

    def _starts_with_blank(self, i: int) -> int:
        """1 where the tokenizer has put a blank in front of the text."""
        token = self._tokens.get(i, "")
        return int(self._prefix and token[:1] == ("\u0120" if self._byte_level else _BLANK))


def _tokens(model: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    vocab = model.get("vocab")
    if isinstance(vocab, dict):
        for token, i in vocab.items():
            yield i, token
    for i, entry in enumerate(vocab if isinstance(vocab, list) else ()):
        if isinstance(entry, list) and entry and isinstance(entry[0], str):
            yield i, entry[0]


def _unknown_id(model: Mapping[str, Any], tokens: Mapping[int, str]) -> int | None:
    found = model.get("unk_id")
    if isinstance(found, int):
        return found
    token = model.get("unk_token")
    return next((i for i, t in tokens.items() if t == token), None) if isinstance(token, str) else None


def _prefixes(said: Mapping[str, Any]) -> bool:
    """Whether a blank is put in front of every text."""
    for step in (*_steps(said.get("normalizer")), *_steps(said.get("pre_tokenizer"))):
        kind = step.get("type")
        if kind == "Prepend" or (kind == "ByteLevel" and step.get("add_prefix_space")):
            return True
        if kind == "Metaspace" and step.get("prepend_scheme", "always") != "never":
            return True
    return False


def _has(part: object, kind: str) -> bool:
    return any(step.get("type") == kind for step in _steps(part))


def _steps(part: object) -> Iterator[Mapping[str, Any]]:
    """Those of a sequence, or the one that it is."""
    said = _mapping(part)
    inner = next((said[k] for k in ("normalizers", "pretokenizers", "decoders") if k in said), None)
    if inner is None:
        if said:
            yield said
        return
    for step in _listed(inner):
        yield from _steps(step)


def _mapping(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _listed(found: object) -> list[Mapping[str, Any]]:
    return [x for x in found if isinstance(x, dict)] if isinstance(found, list) else []
