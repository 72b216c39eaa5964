"""Bytes of tokens against the texts that the tokenizers library makes tokens of."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from qinspect.inspector.samples.byte_lengths import ByteLengths
from qinspect.inspector.samples.tokens import ByteTokenizer, FileTokenizer

LEARNT = ["the cat sat on the mat", "a text of words, and words of a text", "\u00e9t\u00e9 \u4f60\u597d the the cat"]
BYTES = [f"<0x{i:02X}>" for i in range(256)]


def _byte_level(prefix: bool) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator(LEARNT, trainer)
    return made


def _like_llama_2() -> Tokenizer:
    """A BPE with bytes to fall back on, blanks as U+2581, and one in front of every text."""
    words = ["the", "cat", "\u2581the", "\u2581", "t", "h", "e", "c", "a", "th", "ca"]
    vocab = {t: i for i, t in enumerate(["<unk>", "<s>", *BYTES, *words])}
    merges: list[tuple[str, str]] = [("t", "h"), ("th", "e"), ("\u2581", "the"), ("c", "a"), ("ca", "t")]
    made = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    steps: list[Any] = [
        decoders.Replace("\u2581", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
    made.decoder = decoders.Sequence(steps)
    made.add_special_tokens(["<s>"])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", vocab["<s>"])])
    return made


@lru_cache
def _made(kind: str) -> tuple[Tokenizer, ByteLengths]:
    made = _like_llama_2() if kind == "llama-2" else _byte_level(kind == "prefix")
    return made, ByteLengths(made.to_str().encode())


@pytest.mark.parametrize("kind", ["plain", "prefix", "llama-2"])
@settings(max_examples=60)
@given(text=st.text(st.sampled_from("the cat \n\u00e9\u4f60\U0001f600,"), min_size=1, max_size=30))
def test_tokens_of_a_text_have_all_its_bytes(kind: str, text: str) -> None:
    if kind == "prefix" and text[0] == " ":  # no blank is put in front of one
        text = f"a{text}"
    made, lengths = _made(kind)
    found = lengths.of(made.encode(text).ids)
    assert found is not None
    assert sum(found) == len(text.encode())


def test_what_was_not_written_as_bytes_is_not_known() -> None:
    made = Tokenizer(models.WordPiece({"[UNK]": 0, "the": 1, "##re": 2}, unk_token="[UNK]"))
    made.decoder = decoders.WordPiece()
    assert ByteLengths(made.to_str().encode()).of([1, 2]) is None


def test_an_unknown_piece_a_lower_case_and_an_end_are_not_known() -> None:
    made, lengths = _made("llama-2")
    assert lengths.of([0]) is None
    ids = made.encode("the cat").ids
    assert lengths.of([*ids, ids[0]]) is None
    assert lengths.of([10**6]) is None
    lower = _byte_level(False)
    lower.normalizer = normalizers.Lowercase()
    assert ByteLengths(lower.to_str().encode()).of(lower.encode("THE").ids) is None


def test_a_tokenizer_of_a_file_knows_them(tmp_path: Path) -> None:
    made, _ = _made("plain")
    made.save(str(tmp_path / "tokenizer.json"))
    tokenizer = FileTokenizer(tmp_path / "tokenizer.json")
    text = "the cat \u4f60"
    assert sum(tokenizer.byte_lengths(tokenizer.encode(text)) or ()) == len(text.encode())
    assert ByteTokenizer().byte_lengths([1, 2, 3]) == [1, 1, 1]
